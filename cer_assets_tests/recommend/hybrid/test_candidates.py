"""Which products are ranked at all: every family's best, and nothing else."""

from datetime import date
from typing import Self

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as some

from cer_assets.recommend.context import ANYTIME, Context
from cer_assets.recommend.hybrid.candidates import (
    CandidateSettings,
    blocks_of,
    candidates,
    ranks_within,
    standardised,
)
from cer_assets.recommend.interactions import Interactions, interactions
from cer_assets.recommend.model import Indices, Recommender, Scores, Settings, Voice
from cer_assets_tests.recommend.conftest import CUT, START, order_lines


class Told(Recommender):
    """A family that says what it is told to."""

    voice = Voice.LIKENESS

    def __init__(self, name: str, scores: Scores):
        self.name, self.told = name, scores
        self.settings = Settings()
        self.interactions_ = shop(scores.shape[1])

    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        return self

    def score(self, rows: Indices, context: Context = ANYTIME) -> Scores:
        return self.told[rows].copy()


def shop(products: int) -> Interactions:
    return interactions(order_lines([("c", f"p{number:03}", START) for number in range(products)]), CUT, 1)


def told(scores: list[list[float]], name: str = "a") -> dict[str, Recommender]:
    return {name: Told(name, np.array(scores, np.float32))}


def test_candidates_are_the_union_of_every_familys_best() -> None:
    families = told([[3, 2, 1, 0]], "a") | told([[0, 1, 2, 3]], "b")
    found = candidates(families, np.array([0], np.int32), CandidateSettings(of_each_family=1))
    assert found.columns.tolist() == [0, 3]
    assert found.families == ("a", "b")
    assert found.ranks.tolist() == [[0, 1], [1, 0]]


def test_a_silent_family_brings_nothing_and_is_not_known() -> None:
    inf = np.inf
    families = told([[-inf, -inf, -inf]], "a") | told([[2, 1, -inf]], "b")
    found = candidates(families, np.array([0], np.int32), CandidateSettings(of_each_family=3))
    assert found.columns.tolist() == [0, 1]
    assert np.isnan(found.scores[:, 0]).all()
    assert np.isnan(found.ranks[:, 0]).all()


def test_equal_scores_at_the_last_place_come_in_the_order_of_the_products() -> None:
    found = candidates(told([[1, 5, 1, 1]]), np.array([0], np.int32), CandidateSettings(of_each_family=3))
    assert found.columns.tolist() == [0, 1, 2]


def test_no_family_at_all_gives_no_candidates() -> None:
    assert len(candidates({}, np.array([0], np.int32))) == 0


@settings(deadline=None, max_examples=25)
@given(
    some.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 9)),
        elements=st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0]),
    ),
    st.integers(1, 5),
)
def test_each_customer_gets_as_many_as_the_family_can_name_and_the_best_of_them(scores: Scores, n: int) -> None:
    rows = np.arange(len(scores), dtype=np.int32)
    found = candidates({"a": Told("a", scores)}, rows, CandidateSettings(of_each_family=n))
    for row in rows:
        mine = found.columns[found.places == row]
        finite = np.sort(scores[row][np.isfinite(scores[row])])[::-1]
        assert np.sort(scores[row][mine])[::-1].tolist() == finite[:n].tolist()


def test_standardised_scores_have_mean_zero_and_spread_one_over_what_is_known() -> None:
    z = standardised(np.array([[1, 2, 3, -np.inf], [4, 4, 4, 4]], np.float32))
    assert np.allclose([z[0, :3].mean(), z[0, :3].std()], [0, 1])
    assert np.isnan(z[0, 3])
    assert (z[1] == 0).all()


def test_ranks_count_within_a_customer() -> None:
    places = np.array([0, 0, 1, 1, 1], np.int32)
    scores = np.array([[1], [2], [5], [np.nan], [7]], np.float32)
    assert np.array_equal(ranks_within(places, scores).ravel(), [1, 0, 1, np.nan, 0], equal_nan=True)


def test_blocks_shrink_as_products_and_families_grow() -> None:
    rows = np.arange(3000, dtype=np.int32)
    assert len(next(blocks_of(rows, 20_000, 15))[1]) < len(next(blocks_of(rows, 500, 15))[1])
    assert np.array_equal(np.concatenate([block for _, block in blocks_of(rows, 20_000, 15)]), rows)
