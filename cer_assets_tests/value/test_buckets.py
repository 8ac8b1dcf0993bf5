from datetime import date
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from cer_assets.value import bucket, customer_value

DAY = date(2024, 1, 1)
RANK = {"low": 0, "mid": 1, "high": 2}


def values(*amounts: float) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "as_of": [DAY] * len(amounts),
            "customer_id": [f"c{number:04}" for number in range(len(amounts))],
            "value": list(amounts),
        },
        schema={"as_of": pl.Date, "customer_id": pl.String, "value": pl.Float64},
    )


def inertia(points: np.ndarray, cuts: tuple[int, int]) -> float:
    return sum(float(np.sum((part - part.mean()) ** 2)) for part in np.split(points, cuts))


amounts = st.lists(st.floats(0, 1e5).map(lambda value: round(value, 1)), min_size=1, max_size=60)


@settings(deadline=None, max_examples=80)
@given(amounts)
def test_bucket_means_rise_with_value_and_buckets_do_not_overlap(drawn: list[float]) -> None:
    rows = (
        bucket(values(*drawn)).with_columns(pl.col("bucket").replace_strict(RANK).alias("rank")).sort("value", "rank")
    )
    assert rows["rank"].is_sorted()
    assert rows.group_by("value").agg(pl.col("rank").n_unique())["rank"].to_list() == [1] * rows["value"].n_unique()
    means = rows.group_by("rank").agg(pl.col("value").mean()).sort("rank")["value"]
    assert (means.diff().drop_nulls() > 0).all()


@settings(deadline=None, max_examples=80)
@given(amounts.filter(lambda drawn: len(set(drawn)) >= 3))
def test_no_other_two_cuts_leave_less_inertia(drawn: list[float]) -> None:
    rows = bucket(values(*drawn)).sort("value")
    points = np.log1p(rows["value"].to_numpy())
    sizes = np.cumsum([(rows["bucket"] == name).sum() for name in ("low", "mid")])
    best = min(inertia(points, cuts) for cuts in combinations(range(1, len(points)), 2))
    assert inertia(points, (int(sizes[0]), int(sizes[1]))) <= best * (1 + 1e-9) + 1e-9


@settings(deadline=None, max_examples=30)
@given(amounts, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_leaves_no_trace(drawn: list[float], random: object) -> None:
    frame = values(*drawn)
    assert_frame_equal(bucket(frame.sample(fraction=1, shuffle=True, seed=len(drawn))), bucket(frame))


def test_three_groups_of_customers_are_found() -> None:
    rows = bucket(values(1, 1.1, 20, 22, 25, 900, 950))
    assert rows["bucket"].to_list() == ["low", "low", "mid", "mid", "mid", "high", "high"]


def test_many_customers_fall_where_the_best_cuts_are() -> None:
    generator = np.random.default_rng(0)
    drawn = np.sort(np.exp(generator.normal(np.repeat([1.0, 4.0, 7.0], [4000, 2000, 1000]), 0.3)))
    sizes = bucket(values(*drawn)).group_by("bucket").len()
    assert dict(sizes.iter_rows()) == {"low": 4000, "mid": 2000, "high": 1000}


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        ([], []),
        ([7.0], ["mid"]),
        ([7.0, 7.0, 7.0], ["mid", "mid", "mid"]),
        ([0.0, 9.0], ["low", "high"]),
        ([9.0, 0.0, 9.0, 0.0], ["high", "low", "high", "low"]),
        ([0.0, 5.0, 90.0], ["low", "mid", "high"]),
    ],
)
def test_few_different_values_follow_the_stated_rule(drawn: list[float], expected: list[str]) -> None:
    rows = bucket(values(*drawn))
    assert rows["bucket"].to_list() == expected
    assert dict(rows.schema) == {
        "as_of": pl.Date,
        "customer_id": pl.String,
        "bucket": pl.String,
        "value": pl.Float64,
    }


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf"), None])
def test_a_value_that_is_none_is_refused(wrong: float | None) -> None:
    frame = pl.concat([values(3.0), values(4.0).with_columns(pl.lit(wrong, dtype=pl.Float64).alias("value"))])
    with pytest.raises(ValueError, match="finite and not negative"):
        bucket(frame)


def test_several_days_at_once_are_refused() -> None:
    later = values(3.0).with_columns(pl.lit(date(2024, 1, 2)).alias("as_of"))
    with pytest.raises(ValueError, match="one day"):
        bucket(pl.concat([values(3.0), later]))


def test_value_is_expected_spend_or_else_what_was_spent_and_never_negative() -> None:
    rfm = pl.DataFrame(
        {"as_of": [DAY] * 4, "customer_id": ["d", "c", "b", "a"], "monetary": ["5.00", "-3.00", "70.00", "8.00"]}
    ).with_columns(pl.col("monetary").cast(pl.Decimal(18, 2)))
    clv = pl.DataFrame({"customer_id": ["a", "b", "elsewhere"], "expected_spend": [12.5, None, 3.0]})
    assert customer_value(rfm, clv)["value"].to_list() == [12.5, 70.0, 0.0, 5.0]
