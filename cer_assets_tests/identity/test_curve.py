import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.identity.curve import Costs, Curve, share, wilson

labelled = st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=40)
cost = st.floats(0.01, 100)


def curve(rows: list[tuple[float, bool]]) -> Curve:
    return Curve.fitted(np.array([s for s, _ in rows]), np.array([a for _, a in rows], dtype=bool))


@settings(deadline=None, max_examples=30)
@given(labelled, cost, cost, cost)
def test_a_dearer_wrong_merge_never_lowers_the_cut(
    rows: list[tuple[float, bool]], wrong: float, dearer: float, missed: float
) -> None:
    fitted = curve(rows)
    low, high = sorted([wrong, dearer])
    assert 0 < fitted.cut(Costs(low, missed)) <= fitted.cut(Costs(high, missed)) < 1


@settings(deadline=None, max_examples=30)
@given(labelled)
def test_whatever_the_labels_are_chances_rise_with_scores_and_intervals_hold_their_value(
    rows: list[tuple[float, bool]],
) -> None:
    fitted, scores = curve(rows), np.linspace(0, 1, 101)
    chance = fitted.chance(scores)
    assert (np.diff(chance) >= 0).all()
    for figure in fitted.figures(scores, scores >= 0.5).values():
        assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1


def test_no_other_cut_has_a_lower_expected_cost() -> None:
    fitted, scores = curve([(0.3, True), (0.2, False), (0.35, True)]), np.linspace(0.01, 0.99, 99)
    chance, costs = fitted.chance(scores), Costs(3.0, 1.0)
    expected = [np.where(scores >= cut, 3 * (1 - chance), chance).sum() for cut in scores]
    assert scores[int(np.argmin(expected))] == pytest.approx(fitted.cut(costs), abs=0.011)


def test_labels_move_the_cut_to_where_matches_begin() -> None:
    matches_from_a_quarter_on = [(s, s >= 0.25) for s in np.linspace(0.05, 0.6, 30)]
    assert curve([]).cut(Costs()) == pytest.approx(0.45, abs=0.01)
    assert curve(matches_from_a_quarter_on).cut(Costs()) == pytest.approx(0.25, abs=0.05)


def test_a_few_right_answers_do_not_make_links_certain() -> None:
    scores = np.full(100, 0.999)
    few, many = (
        Curve.fitted(scores[:n], np.ones(n, dtype=bool)).figures(scores, scores > 0.5)["precision"] for n in (5, 100)
    )
    assert few["low"] < many["low"] < 1
    assert few["high"] > 0.99


def test_figures_of_no_pair_at_all_are_perfect() -> None:
    none = np.zeros(0)
    figures = curve([]).figures(none, none.astype(bool))
    assert figures["precision"]["value"] == figures["recall"]["value"] == 1


def test_a_share_has_an_interval_even_where_all_agree() -> None:
    assert share(3, 3) == {"value": 1.0, "low": pytest.approx(0.4385, abs=1e-3), "high": 1.0}
    assert share(0, 0) == {"value": None, "low": None, "high": None}


def test_an_interval_covers_less_the_more_was_seen() -> None:
    assert wilson(0.9, 0) == (0, 1)
    (low, high), (nearer_low, nearer_high) = wilson(0.9, 10), wilson(0.9, 1000)
    assert low < nearer_low < 0.9 < nearer_high < high


def test_a_share_and_its_interval_are_those_of_wilson() -> None:
    low, high = wilson(7 / 9, 9)
    assert share(7, 9) == {"value": 0.7778, "low": round(low, 4), "high": round(high, 4)}


@pytest.mark.parametrize(("wrong", "missed"), [(0.0, 1.0), (1.0, -1.0), (float("inf"), 1.0)])
def test_costs_that_leave_nothing_to_weigh_are_refused(wrong: float, missed: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Costs(wrong, missed)
