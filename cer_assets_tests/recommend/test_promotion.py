"""When a challenger takes the champion's place: laws of the verdict, and what makes a model be looked at again."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.recommend import interactions
from cer_assets.recommend.promotion import (
    BASELINES,
    DRIFT_DAYS,
    INTERVALS,
    LEAST_CUSTOMERS,
    MARGIN,
    RELATIVE_MARGIN,
    Kind,
    best_of,
    drift,
    retrain_reason,
    verdict,
)
from cer_assets_tests.recommend.conftest import CUT, order_lines

DAY = dt.timedelta(days=1)
CUSTOMERS = 400


def _values(seed: int = 0, customers: int = CUSTOMERS, **leads: float) -> pl.DataFrame:
    """NDCG of a champion, the baselines .1 behind it, and of others that lead it by so much, give or take."""
    rng = np.random.default_rng(seed)
    champion = rng.uniform(0.2, 0.6, customers)
    columns = {"champion": champion} | {name: champion - 0.1 + rng.normal(0, 0.02, customers) for name in BASELINES}
    columns |= {name: champion + lead + rng.normal(0, 0.02, customers) for name, lead in leads.items()}
    buckets = np.array(["high", "mid", "low"])[np.arange(customers) % 3]
    return pl.DataFrame(
        {
            "customer_id": [f"c{number:04}" for number in range(customers)],
            "bucket": buckets,
            "new": np.arange(customers) % 50 == 0,
            **columns,
        }
    )


def test_a_better_challenger_is_promoted() -> None:
    found = verdict(_values(better=0.02), "better", "champion")
    assert found.promoted, found.why
    assert dict(found.intervals.schema) == INTERVALS
    overall = found.intervals.filter(bucket="all")
    assert overall["against"].to_list() == ["champion", *BASELINES]
    assert (overall["low"] > 0).all()
    assert found.intervals.filter(pl.col("bucket") != "all")["bucket"].to_list() == ["high", "low", "mid", "new"]


def test_a_worse_challenger_is_refused() -> None:
    found = verdict(_values(worse=-0.02), "worse", "champion")
    assert not found.promoted
    assert found.why.startswith("not surely better than champion by -0.0")


def test_an_equal_challenger_is_refused() -> None:
    values = _values().with_columns(equal=pl.col("champion"))
    assert not verdict(values, "equal", "champion").promoted


def test_a_lead_that_may_be_chance_is_refused() -> None:
    values = _values().with_columns(
        lucky=pl.col("champion") + pl.Series(np.random.default_rng(1).normal(0.001, 0.1, 400))
    )
    assert not verdict(values, "lucky", "champion").promoted


def test_a_challenger_of_the_champion_must_beat_every_baseline_too() -> None:
    values = _values(better=0.02).with_columns(decayed_frequency=pl.col("champion") + 0.05)
    found = verdict(values, "better", "champion")
    assert not found.promoted
    assert "decayed_frequency" in found.why


def test_a_challenger_that_one_bucket_pays_for_is_refused() -> None:
    loses = pl.when(pl.col("bucket") == "low").then(-3 * MARGIN).otherwise(0.05)
    found = verdict(_values(better=0.0).with_columns(better=pl.col("better") + loses), "better", "champion")
    assert not found.promoted
    assert found.why.startswith("bucket low may lose: champion by -0.03")
    assert found.intervals.filter(bucket="all", against="champion")["low"].item() > 0


def test_the_new_are_a_bucket_of_their_own_that_must_not_surely_lose() -> None:
    loses = pl.when("new").then(-0.1).otherwise(0.05)
    values = _values(better=0.0).with_columns(better=pl.col("better") + loses)
    assert verdict(values, "better", "champion").why.startswith("bucket new may lose")
    assert verdict(values.with_columns(new=pl.lit(False)), "better", "champion").promoted


def test_in_a_bucket_of_many_a_loss_of_the_margin_must_be_ruled_out() -> None:
    values = _values(customers=1200).with_columns(new=pl.lit(False))
    low = (values["bucket"] == "low").to_numpy()
    spread = np.random.default_rng(2).normal(0, 0.1, low.sum())
    margin = RELATIVE_MARGIN * values["champion"].filter(low).mean()
    lead = np.full(len(low), 0.05)
    lead[low] = spread - spread.mean() - 0.8 * margin
    found = verdict(values.with_columns(better=pl.col("champion") + lead), "better", "champion")
    assert found.why.startswith("bucket low may lose")
    row = found.intervals.filter(bucket="low").row(0, named=True)
    assert row["low"] < -margin < row["value"]
    lead[low] += 0.8 * margin
    assert verdict(values.with_columns(better=pl.col("champion") + lead), "better", "champion").promoted


def test_in_a_small_bucket_a_loss_that_may_be_chance_is_borne() -> None:
    noise = np.random.default_rng(2).normal(0, 0.1, CUSTOMERS)
    loses = pl.when("new").then(pl.Series(noise) - 0.001).otherwise(0.05)
    found = verdict(_values(better=0.0).with_columns(better=pl.col("better") + loses), "better", "champion")
    assert found.promoted, found.why
    assert found.intervals.filter(bucket="new")["low"].item() < -MARGIN


def test_the_first_champion_has_the_baselines_to_beat() -> None:
    values = _values(first=0.0)
    assert verdict(values, "first").promoted
    assert verdict(values, "first").intervals["against"].unique().sort().to_list() == sorted(BASELINES)
    assert not verdict(values.with_columns(popularity=pl.col("first") + 0.01), "first").promoted


def test_a_baseline_takes_back_the_place_of_a_champion_it_beats() -> None:
    values = _values().with_columns(popularity=pl.col("champion") + 0.02, personal_frequency=pl.col("champion") + 0.02)
    assert verdict(values, "popularity", "champion").promoted


@pytest.mark.parametrize("customers", [0, 1, LEAST_CUSTOMERS - 1])
def test_few_customers_promote_nobody(customers: int) -> None:
    found = verdict(_values(customers=customers, better=0.1), "better", "champion")
    assert not found.promoted
    assert f"{customers} customers" in found.why


def test_without_anyone_to_compare_with_nobody_is_promoted() -> None:
    assert not verdict(_values(alone=0.1).drop(*BASELINES, "champion"), "alone").promoted


@settings(deadline=None, max_examples=25)
@given(lead=st.sampled_from([-0.02, -0.002, 0.0, 0.002, 0.02]), seed=st.integers(0, 1000))
def test_the_order_of_customers_changes_no_figure_of_the_verdict(lead: float, seed: int) -> None:
    values = _values(seed, 60, other=lead)
    one = verdict(values, "other", "champion", resamples=50)
    two = verdict(values.sample(fraction=1, shuffle=True, seed=seed), "other", "champion", resamples=50)
    assert (one.promoted, one.why) == (two.promoted, two.why)
    assert one.intervals.equals(two.intervals)


@settings(deadline=None, max_examples=25)
@given(lead=st.floats(-0.05, 0.05), seed=st.integers(0, 1000))
def test_of_two_models_at_most_one_is_promoted_over_the_other(lead: float, seed: int) -> None:
    values = _values(seed, 90, other=lead)
    there = verdict(values, "other", "champion", (), resamples=50)
    back = verdict(values, "champion", "other", (), resamples=50)
    assert not (there.promoted and back.promoted)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), gain=st.floats(0.0, 0.2))
def test_who_is_promoted_still_is_when_it_gains_for_everyone(seed: int, gain: float) -> None:
    values = _values(seed, 90, other=0.02)
    if verdict(values, "other", "champion", resamples=50).promoted:
        more = values.with_columns(other=pl.col("other") + gain)
        assert verdict(more, "other", "champion", resamples=50).promoted


def test_customers_of_several_origins_are_drawn_with_all_their_rows() -> None:
    values = _values(better=0.01, customers=100).with_columns(cut=pl.lit(CUT))
    twice = pl.concat([values, values.with_columns(cut=pl.lit(CUT + DAY))])
    once, again = (verdict(frame, "better", "champion").intervals for frame in (values, twice))
    np.testing.assert_allclose(once["low"].to_numpy(), again["low"].to_numpy())
    assert again["customers"].equals(once["customers"])


def test_the_best_is_that_with_the_highest_mean_of_those_that_are_there() -> None:
    values = _values(good=0.1, better=0.2)
    assert best_of(values, ["good", "better", "gone"]) == "better"
    assert best_of(values.with_columns(a=pl.col("good")), ["good", "a"]) == "a"
    assert best_of(values.clear(), ["good"]) is None


CARD = {"as_of": "2024-03-04", "learned_from": "2024-01-01", "learned_before": "2024-02-05"}
"""Chosen on 4 March, on four weeks it had not learned from."""


def _shop(moved: bool, days: int = 100) -> pl.DataFrame:
    """Ten products a day; where purchases have moved, others from 5 February on."""
    turn = dt.date(2024, 2, 5)
    bought = [
        (f"c{number:02}", f"p{number + (20 if moved and day >= turn else number % 2):02}", day)
        for day in (dt.date(2024, 1, 1) + number * DAY for number in range(days))
        for number in range(10)
    ]
    return order_lines([*bought, *((f"c{n:02}", f"p{n + 20:02}", dt.date(2024, 1, 1)) for n in range(10))])


def test_without_a_champion_one_is_trained() -> None:
    assert retrain_reason(None, interactions(_shop(False), CUT, 1), CUT).kind is Kind.TRAIN


@pytest.mark.parametrize(("age", "kind"), [(0, Kind.NONE), (27, Kind.NONE), (28, Kind.TRAIN), (300, Kind.TRAIN)])
def test_a_champion_is_challenged_by_its_age(age: int, kind: Kind) -> None:
    as_of = dt.date(2024, 3, 4) + age * DAY
    assert retrain_reason(CARD, interactions(_shop(False), as_of, 1), as_of).kind is kind


def test_a_champion_that_held_its_place_is_not_challenged_the_next_day() -> None:
    as_of = dt.date(2024, 4, 2)
    history = interactions(_shop(False), as_of, 1)
    assert retrain_reason(CARD, history, as_of).kind is Kind.TRAIN
    assert retrain_reason(CARD, history, as_of, challenged=as_of - DAY).kind is Kind.NONE


def test_purchases_that_moved_ask_for_an_evaluation_and_never_for_more() -> None:
    as_of = dt.date(2024, 3, 10)
    found = retrain_reason(CARD, interactions(_shop(True), as_of, 1), as_of)
    assert found.kind is Kind.EVALUATE
    assert "products" in found.why


def test_after_an_evaluation_drift_waits_a_week() -> None:
    as_of = dt.date(2024, 3, 10)
    history = interactions(_shop(True), as_of, 1)
    kinds = [retrain_reason(CARD, history, as_of, evaluated=as_of - days * DAY).kind for days in (0, 6, 7)]
    assert kinds == [Kind.NONE, Kind.NONE, Kind.EVALUATE]


def test_a_day_before_what_was_learned_asks_for_another_model() -> None:
    as_of = dt.date(2024, 2, 1)
    assert retrain_reason(CARD, interactions(_shop(False), as_of, 1), as_of).kind is Kind.TRAIN


def test_drift_is_measured_over_products_and_over_categories() -> None:
    as_of = dt.date(2024, 3, 10)
    products = pl.DataFrame(
        {"product_id": [f"p{n:02}" for n in range(30)], "category": ["Bread"] * 20 + ["Paint"] * 10}
    )
    days = (dt.date(2024, 1, 2), dt.date(2024, 2, 5), as_of)

    def moved(shop: pl.DataFrame, catalogue: pl.DataFrame | None) -> dict[str, float]:
        return dict(drift(interactions(shop, as_of, 1), *days, catalogue).iter_rows())

    still = moved(_shop(False), products)
    assert set(still) == {"products", "categories"}
    assert max(still.values()) < 0.1
    assert set(moved(_shop(False), None)) == {"products"}
    nothing_learned = drift(interactions(_shop(False), as_of, 1), dt.date(2020, 1, 1), dt.date(2020, 2, 1), as_of, None)
    assert nothing_learned.is_empty()
    assert moved(_shop(True), products)["products"] > 1
    assert DRIFT_DAYS == 28
