"""What counts as an interaction, in which order, and for whom."""

import datetime as dt
from decimal import Decimal

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.recommend import Interactions, interactions
from cer_assets.recommend.interactions import EVENT_KINDS, Events
from cer_assets_tests.recommend.conftest import CUT, START, order_lines

DAY = dt.timedelta(days=1)


def test_two_purchases_of_a_day_are_one_interaction() -> None:
    history = interactions(order_lines([("a", "p", START), ("a", "p", START), ("a", "p", START + DAY)]), CUT, 1)
    assert history.counts().toarray().tolist() == [[2], [0]]


def test_the_cut_and_later_days_are_not_read() -> None:
    known = order_lines([("a", "p", CUT - DAY)])
    planted = pl.concat([known, order_lines([("a", "p", CUT), ("b", "q", CUT + DAY)])])
    assert _content(interactions(planted, CUT, 1)) == _content(interactions(known, CUT, 1))


def test_returns_and_what_is_no_goods_are_left_out() -> None:
    lines = order_lines([("a", "p", START), ("a", "q", START), ("a", "r", START), (None, "s", START)])
    unlike_goods = lines.with_columns(
        quantity=pl.when(pl.col("product_id") == "q").then(Decimal(-1)).otherwise("quantity"),
        amount=pl.when(pl.col("product_id") == "q").then(Decimal(-1)).otherwise("amount"),
        merchandise=pl.col("product_id") != "r",
    )
    assert interactions(unlike_goods, CUT, 1).products.to_list() == ["p"]


def test_a_product_needs_enough_customers() -> None:
    lines = order_lines([("a", "p", START), ("b", "p", START), ("a", "q", START), ("a", "q", START + DAY)])
    assert interactions(lines, CUT, 2).products.to_list() == ["p"]


def test_who_withdrew_is_in_no_row() -> None:
    lines = order_lines([("a", "p", START), ("b", "p", START)])
    assert interactions(lines, CUT, 1, withdrawn=pl.Series(["a"])).customers.to_list() == ["b"]


def test_a_purchase_weighs_half_after_a_half_life() -> None:
    history = interactions(order_lines([("a", "p", CUT - 30 * DAY), ("a", "p", CUT - 60 * DAY)]), CUT, 1)
    assert history.decayed(CUT, 30).toarray()[0].tolist() == [0.75]


def test_the_last_day_is_kept_beside_the_count() -> None:
    history = interactions(order_lines([("a", "p", START), ("a", "p", START + DAY), ("b", "q", START)]), CUT, 1)
    first = (START - dt.date(1970, 1, 1)).days
    assert history.last_day().toarray()[:2].tolist() == [[first + 1, 0], [0, first]]


def test_a_customer_never_seen_has_an_empty_row() -> None:
    history = interactions(order_lines([("a", "p", START)]), CUT, 1)
    rows = history.row_of(pl.Series(["a", "nobody"]))
    assert (rows.tolist(), history.counts()[rows].toarray().tolist()) == ([0, -1], [[1], [0]])


def test_some_customers_keep_all_columns() -> None:
    history = interactions(order_lines([("a", "p", START), ("b", "q", START), ("c", "q", START)]), CUT, 1)
    some = history.of(pl.Series(["c", "b", "nobody"]))
    assert some.customers.to_list() == ["b", "c"]
    assert some.counts().toarray().tolist() == [[0, 1], [0, 1], [0, 0]]


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_the_order_of_the_lines_changes_nothing(shop: pl.DataFrame, seed: int) -> None:
    assert _content(interactions(shop.sample(fraction=1, shuffle=True, seed=seed), CUT, 2)) == _content(
        interactions(shop, CUT, 2)
    )


EVENTS = pl.DataFrame(
    {
        "customer_id": ["a", "looker", "a", "a", None, "a"],
        "product_id": ["p", "p", "p", "unsold", "p", "p"],
        "kind": ["view", "cart", "view", "view", "view", "unheard of"],
        "occurred_at": [dt.datetime(2024, 1, day) for day in (2, 3, 4, 5, 6, 7)],
    }
)


def test_who_only_looked_has_a_row_and_no_purchase() -> None:
    history = interactions(order_lines([("a", "p", START)]), CUT, 1, events=EVENTS)
    assert history.customers.to_list() == ["a", "looker"]
    assert history.counts().toarray().tolist() == [[1], [0], [0]]


def test_events_of_nobody_of_no_candidate_and_of_no_known_kind_are_left_out() -> None:
    seen = interactions(order_lines([("a", "p", START)]), CUT, 1, events=EVENTS).events
    first = (dt.date(2024, 1, 1) - dt.date(1970, 1, 1)).days
    kinds = [EVENT_KINDS[kind] for kind in seen.kinds]
    assert list(zip(seen.rows.tolist(), (seen.days - first).tolist(), kinds, strict=True)) == [
        (0, 1, "view"),
        (0, 3, "view"),
        (1, 2, "cart"),
    ]


def test_events_and_weather_of_the_cut_and_later_are_not_read() -> None:
    weather = pl.DataFrame({"day": [CUT - DAY, CUT], "temperature": [1.0, 2.0], "rain": [0.0, 0.0]})
    late = EVENTS.with_columns(occurred_at=pl.lit(dt.datetime.combine(CUT, dt.time())))
    history = interactions(order_lines([("a", "p", START)]), CUT, 1, events=late, weather=weather)
    assert len(history.events.rows) == 0
    assert history.weather["day"].to_list() == [CUT - DAY]


def test_weather_of_several_places_is_their_mean() -> None:
    weather = pl.DataFrame(
        {"day": [START, START], "place": ["b", "a"], "temperature": [1.0, 2.0], "rain": [0.0, None]},
    )
    history = interactions(order_lines([("a", "p", START)]), CUT, 1, weather=weather)
    assert history.weather.row(0) == (START, 1.5, 0.0)


def test_traits_stand_in_the_order_of_the_rows_and_are_null_for_who_has_none() -> None:
    traits = pl.DataFrame({"customer_id": ["b", "nobody"], "bucket": ["high", "low"]})
    history = interactions(order_lines([("a", "p", START), ("b", "p", START)]), CUT, 1, traits=traits)
    assert history.trait("bucket").tolist() == [None, "high", None]
    assert history.trait("unheard of").tolist() == [None, None, None]
    assert history.of(pl.Series(["b"])).trait("bucket").tolist() == ["high", None]


def test_who_withdrew_leaves_no_event() -> None:
    history = interactions(order_lines([("a", "p", START)]), CUT, 1, withdrawn=pl.Series(["looker"]), events=EVENTS)
    assert history.customers.to_list() == ["a"]


def test_the_first_purchase_of_a_day_gives_the_hour() -> None:
    lines = order_lines([("a", "p", START), ("a", "p", START)])
    at = pl.Series([dt.datetime(2024, 1, 1, 17), dt.datetime(2024, 1, 1, 8)])
    assert interactions(lines.with_columns(ordered_at=at), CUT, 1).hours.tolist() == [8]
    assert interactions(lines.drop("ordered_at"), CUT, 1).hours.tolist() == [-1]


def _content(history: Interactions) -> list[object]:
    return [_plain(value) for value in vars(history).values()]


def _plain(value: object) -> object:
    if isinstance(value, Events):
        return [part.tolist() for part in vars(value).values()]
    if isinstance(value, pl.DataFrame):
        return value.to_dict(as_series=False)
    return value.tolist() if isinstance(value, np.ndarray) else value.to_list()
