from datetime import date, timedelta
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from cer_assets.value import bucket, customer_value
from cer_assets.value.buckets import migration

DAY = date(2024, 1, 1)
RANK = {"low": 0, "mid": 1, "high": 2}


def values(*amounts: float, day: int = 0) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "as_of": [DAY + timedelta(days=day)] * len(amounts),
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
        "starts_at": pl.Float64,
    }


@settings(deadline=None, max_examples=60)
@given(amounts, amounts)
def test_bucket_means_rise_with_value_whatever_the_day_before_was(drawn: list[float], earlier: list[float]) -> None:
    rows = bucket(values(*drawn, day=1), bucket(values(*earlier)))
    means = rows.group_by(pl.col("bucket").replace_strict(RANK)).agg(pl.col("value").mean()).sort("bucket")["value"]
    assert (means.diff().drop_nulls() > 0).all()
    assert rows["customer_id"].to_list() == values(*drawn)["customer_id"].to_list()


@settings(deadline=None, max_examples=60)
@given(amounts)
def test_on_a_day_that_changes_nothing_nobody_moves(drawn: list[float]) -> None:
    before = bucket(values(*drawn))
    for day in (1, 2):
        now = bucket(values(*drawn, day=day), before)
        assert_frame_equal(now.drop("as_of"), before.drop("as_of"))
        before = now


def test_a_customer_moves_only_with_a_value_beyond_the_bounds_of_the_bucket() -> None:
    drawn = [*[1.0] * 50, *[40.0] * 50, *[900.0] * 50]
    before = bucket(values(*drawn))
    starts = dict(before.select("bucket", "starts_at").unique().iter_rows())
    for value, expected in ((0.91, "high"), (0.89, "mid")):
        drawn[-1] = starts["high"] * value
        assert bucket(values(*drawn, day=1), before)["bucket"][-1] == expected
    for value, expected in ((1.09, "low"), (1.11, "mid")):
        drawn[0] = starts["mid"] * value
        assert bucket(values(*drawn, day=1), before)["bucket"][0] == expected


def test_cuts_stand_until_the_values_have_moved_away_from_them() -> None:
    generator = np.random.default_rng(0)
    drawn = np.exp(generator.normal(np.repeat([1.0, 4.0, 7.0], 300), 0.5))
    before = bucket(values(*drawn))
    little, much = bucket(values(*drawn * 1.02, day=1), before), bucket(values(*drawn * 3, day=1), before)
    assert little["starts_at"].unique().sort().equals(before["starts_at"].unique().sort())
    assert much["starts_at"].max() == pytest.approx(3 * before["starts_at"].max(), rel=0.1)


def test_few_customers_move_whose_values_hardly_change() -> None:
    generator = np.random.default_rng(1)
    drawn = np.exp(generator.normal(4, 1.5, 2000))
    before, moved, anew = bucket(values(*drawn)), 0, 0
    fresh = before
    for day in range(1, 11):
        drawn = drawn * np.exp(generator.normal(0, 0.01, 2000))
        now, without = bucket(values(*drawn, day=day), before), bucket(values(*drawn, day=day))
        moved += (now["bucket"] != before["bucket"]).sum()
        anew += (without["bucket"] != fresh["bucket"]).sum()
        before, fresh = now, without
    assert moved <= 0.002 * 10 * 2000
    assert moved * 3 < anew


def buckets_of(day: int, **customers: str) -> pl.DataFrame:
    """Buckets by customer, each worth 1.25."""
    rows = [(DAY + timedelta(days=day), name, place, 1.25) for name, place in customers.items()]
    schema = {"as_of": pl.Date, "customer_id": pl.String, "bucket": pl.String, "value": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_migration_counts_who_went_where() -> None:
    earlier = buckets_of(0, ann="high", bob="high", cyd="low", dee="mid")
    later = buckets_of(7, ann="high", bob="mid", cyd="low", eve="low")
    found = migration(earlier, later)
    assert found.select("from_bucket", "to_bucket", "customers", "value").rows() == [
        ("high", "high", 1, 1.25),
        ("high", "mid", 1, 1.25),
        ("mid", "gone", 1, 0.0),
        ("low", "low", 1, 1.25),
        ("new", "low", 1, 1.25),
    ]
    assert found.select("from_on", "as_of").unique().rows() == [(DAY, DAY + timedelta(days=7))]


places = st.dictionaries(st.sampled_from("abcdefghij"), st.sampled_from(sorted(RANK)), min_size=1)


@settings(deadline=None, max_examples=60)
@given(places, places)
def test_migration_sums_to_the_population_of_both_days(then: dict[str, str], now: dict[str, str]) -> None:
    earlier, later = buckets_of(0, **then), buckets_of(1, **now)
    moves = migration(earlier, later)
    for column, none, frame in (("from_bucket", "new", earlier), ("to_bucket", "gone", later)):
        counted = moves.filter(pl.col(column) != none).group_by(column).agg(pl.col("customers").sum())
        assert dict(counted.iter_rows()) == dict(frame["bucket"].value_counts().iter_rows())
    assert moves["value"].sum() == later["value"].sum()
    assert (moves["customers"] > 0).all()
    assert_frame_equal(moves, migration(earlier.reverse(), later.reverse()))


@pytest.mark.parametrize(("then", "now"), [(1, 1), (1, 0)])
def test_migration_needs_an_earlier_and_a_later_day(then: int, now: int) -> None:
    with pytest.raises(ValueError, match="a later day"):
        migration(buckets_of(then, ann="low"), buckets_of(now, ann="low"))
    with pytest.raises(ValueError, match="a later day"):
        migration(buckets_of(0), buckets_of(1, ann="low"))


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
