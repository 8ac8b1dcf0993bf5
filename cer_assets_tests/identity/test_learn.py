import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.identity.compare import Compared
from cer_assets.identity.fields import CUSTOMER_FIELDS
from cer_assets.identity.learn import Beliefs, believed, fit, logistic, measure_beliefs
from cer_assets.identity.prepare import prepared
from cer_assets_tests.identity.people import population

BELIEFS = Beliefs((np.array([0.0, 5.0, -2.0]), np.array([0.0, 4.0, -1.0])), match=-6.0)


def pairs(*levels: tuple[int, int]) -> Compared:
    n = len(levels)
    return Compared(np.zeros((n, 2), np.int32), np.array(levels, np.uint8).reshape(n, 2), np.zeros((n, 2), np.float32))


BOTH, FIRST, SECOND, NONE = (1, 1), (1, 2), (2, 1), (2, 2)


def test_without_labels_agreement_speaks_for_a_match() -> None:
    chance = believed(BELIEFS, 2).chance(pairs(BOTH, FIRST, NONE))
    assert chance[0] > 0.5 > chance[1] > chance[2]


def test_labels_correct_beliefs() -> None:
    compared = pairs(*[FIRST] * 10, *[SECOND] * 10)
    answers = np.array([True] * 10 + [False] * 10)
    chance = fit(BELIEFS, compared, answers, np.ones(20)).chance(pairs(FIRST, SECOND))
    assert chance[0] > 0.8
    assert chance[1] < 0.2


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.booleans()), max_size=60))
def test_no_set_of_labels_makes_the_fit_fail(rows: list[tuple[int, int, bool]]) -> None:
    compared = pairs(*[(a, b) for a, b, _ in rows])
    weights = fit(BELIEFS, compared, np.array([y for *_, y in rows], dtype=bool), np.ones(len(rows)))
    assert np.isfinite(np.concatenate([[weights.bias], *weights.levels, weights.rarities])).all()


def test_a_label_trusted_less_moves_less() -> None:
    compared, answer = pairs(SECOND), np.array([True])
    before = believed(BELIEFS, 2).chance(compared)[0]
    little, much = (fit(BELIEFS, compared, answer, np.array([t])).chance(compared)[0] for t in (0.2, 1.0))
    assert before < little < much


def test_what_two_records_seldom_share_by_chance_is_believed_more() -> None:
    with prepared(population(150)[0], CUSTOMER_FIELDS) as ready:
        beliefs = measure_beliefs(ready, np.random.default_rng(0))
    exact = {field.column: beliefs.levels[i][1] for i, field in enumerate(CUSTOMER_FIELDS)}
    assert exact["email"] > exact["surname"] > exact["city"] > 0
    assert beliefs.match < 0


def test_the_logistic_function_survives_extremes() -> None:
    assert logistic(np.array([-1e4, 0.0, 1e4])) == pytest.approx([0, 0.5, 1])
