"""Laws of the lift that a moment gives to products."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace
from random import Random

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.recommend.context import ANYTIME, DAYPARTS, Context, ContextLift, daypart
from cer_assets.recommend.interactions import Interactions, interactions
from cer_assets_tests.recommend.conftest import CUT, START, order_lines

WET, DRY = 8.0, 0.0
COLD, WARM = 2.0, 26.0


def bought(purchases: Iterable[tuple[str, str, dt.datetime]], weather: pl.DataFrame | None = None) -> Interactions:
    """(customer, product, moment) as interactions."""
    rows = list(purchases)
    lines = order_lines([(customer, product, at.date()) for customer, product, at in rows]).with_columns(
        ordered_at=pl.Series([at for _, _, at in rows], dtype=pl.Datetime("us"))
    )
    found = interactions(lines, CUT, min_customers=1)
    return found if weather is None else replace(found, weather=weather)


def lift_of(lift: ContextLift, product: str, context: Context) -> float:
    """Lift of one product."""
    return float(lift.lift(context)[lift.products_.to_list().index(product)])


def moments(days: Iterable[int], hour: int = 12) -> list[dt.datetime]:
    """That hour of some days since START."""
    return [dt.datetime.combine(START + dt.timedelta(days=day), dt.time(hour)) for day in days]


def sky(days: int = 80) -> pl.DataFrame:
    """Wet on even days; warmer every day."""
    return pl.DataFrame(
        {
            "day": [START + dt.timedelta(days=day) for day in range(days)],
            "temperature": [COLD + (WARM - COLD) * day / days for day in range(days)],
            "rain": [WET if day % 2 == 0 else DRY for day in range(days)],
        }
    )


@pytest.fixture(scope="module")
def rainy() -> ContextLift:
    """Umbrellas on wet days, ice cream on warm ones, bread always, coffee in the morning, wine on Saturday evenings."""
    purchases = [("a", "umbrella", at) for at in moments(range(0, 80, 2))]
    purchases += [("b", "ice", at) for at in moments(range(40, 80))]
    purchases += [(customer, "bread", at) for customer in "abcd" for at in moments(range(80))]
    purchases += [("c", "coffee", at) for at in moments(range(80), hour=8)]
    purchases += [("d", "wine", at) for at in moments(range(5, 80, 7), hour=19)]
    return ContextLift().fit(bought(purchases, sky()), pl.DataFrame(), CUT)


def test_an_unknown_moment_lifts_nothing_at_all(rainy: ContextLift) -> None:
    assert not rainy.lift(ANYTIME).any()
    assert rainy.lift(ANYTIME).dtype == np.float32
    assert rainy.lift(ANYTIME).shape == (5,)


def test_what_is_bought_on_wet_days_is_lifted_in_rain_and_lowered_without(rainy: ContextLift) -> None:
    assert lift_of(rainy, "umbrella", Context(rain=WET)) > 0.1
    assert lift_of(rainy, "umbrella", Context(rain=DRY)) < -0.1
    assert abs(lift_of(rainy, "bread", Context(rain=WET))) < abs(lift_of(rainy, "umbrella", Context(rain=WET)))


def test_what_is_bought_on_warm_days_is_lifted_by_a_warm_day_of_this_climate(rainy: ContextLift) -> None:
    assert lift_of(rainy, "ice", Context(temperature=WARM + 5)) > 0.1
    assert lift_of(rainy, "ice", Context(temperature=COLD)) < -0.1


def test_hours_and_weekdays_lift_what_belongs_to_them(rainy: ContextLift) -> None:
    assert lift_of(rainy, "coffee", Context(hour=7)) > 0.1
    assert lift_of(rainy, "wine", Context(hour=20)) > 0.1
    assert lift_of(rainy, "wine", Context(weekday=6)) > 0.1
    assert lift_of(rainy, "wine", Context(weekday=2)) < 0


def test_known_parts_add_up(rainy: ContextLift) -> None:
    parts = [Context(hour=9), Context(weekday=4), Context(temperature=12), Context(rain=3)]
    together = Context(hour=9, weekday=4, temperature=12, rain=3)
    np.testing.assert_allclose(rainy.lift(together), sum(rainy.lift(part) for part in parts), rtol=1e-5)


def test_an_hour_nothing_was_bought_in_lifts_nothing(rainy: ContextLift) -> None:
    assert not rainy.lift(Context(hour=2)).any()


def test_without_a_weather_feed_weather_lifts_nothing() -> None:
    dry = ContextLift().fit(bought([("a", "tea", at) for at in moments(range(30))]), pl.DataFrame(), CUT)
    assert not dry.lift(Context(temperature=30, rain=20)).any()


def test_days_without_weather_say_nothing_about_it() -> None:
    purchases = [("a", "umbrella", at) for at in moments(range(0, 80, 2))]
    purchases += [("b", "bread", at) for at in moments(range(80))]
    later = [("a", "bread", at) for at in moments(range(80, 90))]
    wet = Context(temperature=COLD, rain=WET)
    with_later = ContextLift().fit(bought([*purchases, *later], sky()), pl.DataFrame(), CUT)
    without = ContextLift().fit(bought(purchases, sky()), pl.DataFrame(), CUT)
    np.testing.assert_array_equal(with_later.lift(wet), without.lift(wet))


def test_purchases_without_an_hour_say_nothing_about_hours() -> None:
    lines = order_lines([("a", "tea", at.date()) for at in moments(range(30))]).drop("ordered_at")
    timeless = ContextLift().fit(interactions(lines, CUT, min_customers=1), pl.DataFrame(), CUT)
    assert not timeless.lift(Context(hour=8)).any()


def test_a_product_seldom_bought_borrows_from_its_kind() -> None:
    coffees = [(f"c{kind}", f"coffee {kind}", at) for kind in range(5) for at in moments(range(60), hour=8)]
    wines = [(f"w{kind}", f"wine {kind}", at) for kind in range(5) for at in moments(range(60), hour=19)]
    new = [("x", "coffee new", at) for at in moments([3], hour=12)]
    found = bought([*coffees, *wines, *new])
    catalogue = pl.DataFrame(
        {"product_id": found.products, "type": [name.split()[0] for name in found.products.to_list()], "category": None}
    )
    kin = ContextLift().fit(found, catalogue, CUT)
    assert lift_of(kin, "coffee new", Context(hour=8)) > 0.1
    assert lift_of(kin, "coffee 0", Context(hour=8)) > lift_of(kin, "coffee new", Context(hour=8))
    alone = ContextLift().fit(found, catalogue.with_columns(type=pl.lit(None, pl.String)), CUT)
    assert lift_of(alone, "coffee new", Context(hour=8)) <= 0


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(0, 60), st.integers(0, 23)), min_size=1, max_size=60
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_purchases_changes_no_lift_and_every_lift_is_finite(
    cells: list[tuple[int, int, int, int]], random: Random
) -> None:
    purchases = [
        (f"c{customer}", f"p{product}", dt.datetime.combine(START + dt.timedelta(days=day), dt.time(hour)))
        for customer, product, day, hour in cells
    ]
    shuffled = random.sample(purchases, len(purchases))
    moment = Context(hour=9, weekday=3, temperature=4, rain=5)
    one = ContextLift().fit(bought(purchases, sky()), pl.DataFrame(), CUT).lift(moment)
    other = ContextLift().fit(bought(shuffled, sky()), pl.DataFrame(), CUT).lift(moment)
    assert one.tobytes() == other.tobytes()
    assert np.isfinite(one).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 200))
def test_only_wet_days_mean_a_lift_in_rain_however_few(umbrellas: int, bread: int) -> None:
    purchases = [("a", "umbrella", at) for at in moments(range(0, 2 * umbrellas, 2))]
    purchases += [(f"b{n // 80}", "bread", at) for n, at in enumerate(moments(day % 80 for day in range(bread)))]
    lift = ContextLift().fit(bought([*purchases, ("z", "bread", moments([1])[0])], sky()), pl.DataFrame(), CUT)
    assert lift_of(lift, "umbrella", Context(rain=WET)) > 0 > lift_of(lift, "umbrella", Context(rain=DRY))


def test_dayparts_meet_without_a_gap_and_the_night_lasts_past_midnight() -> None:
    names = list(DAYPARTS)
    found = [names[part] for part in daypart(np.arange(24))]
    assert found[23] == found[0] == found[5] == "night"
    assert [found[hour] for hour in DAYPARTS.values()] == names
    assert daypart(np.array([-1])) == -1
