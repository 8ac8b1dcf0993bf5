"""Features say what happened before the cut, and nothing else."""

import datetime as dt
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.predict.purchases import FEATURES, MEMORY_DAYS, bought_within, features
from cer_assets_tests.predict.conftest import AS_OF, days_before, purchases


def test_features_of_a_customer_are_as_computed_by_hand() -> None:
    known = features(purchases({"a": days_before(AS_OF, 100, 60, 20, 5)}), AS_OF).row(0, named=True)
    expected = {
        "purchase_days": 4,
        "recency_days": 5,
        "tenure_days": 100,
        "gap_mean": pytest.approx(95 / 3),
        "gap_max": 40,
        "gap_last": 15,
        "recency_over_gap": pytest.approx(5 / (95 / 3)),
        "overdue": 0,
        "trend": pytest.approx((2 / 28) / (5 / 107)),
        "spend_mean": 10,
        "spend_last_over_mean": 1,
        "discount_share": pytest.approx(0.2),
        "products_mean": 2,
        "days_1w": 1,
        "days_2w": 1,
        "days_4w": 2,
        "days_8w": 2,
        "days_13w": 3,
        "spend_2w": 10,
        "spend_4w": 20,
        "spend_8w": 20,
        "spend_13w": 30,
        "decayed_21d": pytest.approx(sum(0.5 ** (age / 21) for age in (5, 20, 60, 100))),
        "blocks_28d": pytest.approx(2 / 3),
        "silent_28d": pytest.approx((12 + 12) / 128),
        "outlasts_28d": pytest.approx(2.25 / 4),
    }
    assert set(FEATURES) == set(known) - {"customer_id"}
    assert {name: known[name] for name in expected} == expected


def test_a_single_day_has_no_gap() -> None:
    known = features(purchases({"a": days_before(AS_OF, 3)}), AS_OF).row(0, named=True)
    assert (known["gap_mean"], known["gap_std"], known["recency_over_gap"]) == (None, None, None)


def test_a_day_of_returns_only_is_no_day_of_purchase() -> None:
    returns = purchases({"a": days_before(AS_OF, 1)}).with_columns(baskets=pl.lit(0, pl.Int64))
    bought = purchases({"a": days_before(AS_OF, 9)})
    assert features(pl.concat([bought, returns]), AS_OF).equals(features(bought, AS_OF))
    assert bought_within(returns, AS_OF - dt.timedelta(days=2), 28).is_empty()


@settings(deadline=None, max_examples=8)
@given(late=st.lists(st.integers(0, 60), max_size=5), seed=st.integers(0, 100))
def test_a_row_planted_on_or_after_the_cut_changes_no_feature(year: pl.DataFrame, late: list[int], seed: int) -> None:
    cut = AS_OF - dt.timedelta(days=90)
    known = year.filter(pl.col("ordered_on") < cut)
    planted = purchases({"c001": days_before(cut, *(-day for day in late)), "new": days_before(cut, 0)})
    shuffled = pl.concat([known, planted]).sample(fraction=1, shuffle=True, seed=seed)
    assert features(shuffled, cut).equals(features(known, cut))


def test_the_horizon_starts_on_the_cut_and_ends_before_its_last_day_is_over() -> None:
    bought = purchases({"before": days_before(AS_OF, 1), "first": [AS_OF], "last": days_before(AS_OF, -27)})
    late = purchases({"after": days_before(AS_OF, -28)})
    assert sorted(bought_within(pl.concat([bought, late]), AS_OF, 28)) == ["first", "last"]


def test_what_lies_further_back_than_the_memory_is_not_read() -> None:
    lately = days_before(AS_OF, MEMORY_DAYS, 30, 5)
    long_ago = purchases({"a": days_before(AS_OF, 900, MEMORY_DAYS + 1), "gone": days_before(AS_OF, 500)})
    known = purchases({"a": lately})
    assert features(pl.concat([known, long_ago]), AS_OF).equals(features(known, AS_OF))


def test_who_returned_all_they_bought_has_no_figure_over_the_mean_spend() -> None:
    paid = purchases({"a": days_before(AS_OF, 45, 60)}).with_columns(
        amount=pl.Series([Decimal(5), Decimal(-5)], dtype=pl.Decimal(18, 2))
    )
    known = features(paid, AS_OF)
    assert known["spend_mean"].item() == 0
    assert known["spend_last_over_mean"].item() is None
    assert known.select(pl.col(FEATURES).is_finite().fill_null(value=True)).row(0) == (True,) * len(FEATURES)
