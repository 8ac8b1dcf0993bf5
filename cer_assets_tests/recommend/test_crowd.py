"""Lists in blocks, by models that only some customers taught, are what lists made at once are."""

import datetime as dt
from dataclasses import replace

import duckdb
import numpy as np
import polars as pl
import pytest

from cer_assets.recommend import (
    CrowdSettings,
    Hybrid,
    Interactions,
    PersonalFrequency,
    Popularity,
    Recommender,
    everyone,
    interactions,
    learn_rhythm,
    rank,
    rank_everyone,
    teachers,
)
from cer_assets.recommend.crowd import Lists
from cer_assets.recommend.families.tifu import TifuKnn
from cer_assets.recommend.interactions import Events
from cer_assets_tests.recommend.conftest import CUSTOMERS, CUT, catalogue

DAY = dt.timedelta(days=1)
LAST = CUT - DAY
CUSTOMER_IDS = pl.Series([f"c{number:02}" for number in range(CUSTOMERS)])
SMALL_BLOCKS = CrowdSettings(block=7)


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    moments = [dt.datetime(2024, 3, 30, 9), dt.datetime(2024, 3, 30, 10), dt.datetime(2024, 4, 1)]
    looked = {"customer_id": ["looking", "c00", "c01"], "product_id": ["p03", "p20", "p20"], "kind": ["view"] * 3}
    return pl.DataFrame({**looked, "occurred_at": moments})


@pytest.fixture(scope="module")
def lines(shop: pl.DataFrame) -> pl.DataFrame:
    """The shop with an hour, a discount and a second line now and then, and with a return."""
    more = shop.with_row_index("n").with_columns(
        ordered_at=pl.col("ordered_at").dt.offset_by("-2h"),
        discount=(pl.col("n") % 3).cast(pl.Decimal(18, 2)),
        quantity=pl.when(pl.col("n") % 5 == 0).then(-pl.col("quantity")).otherwise(pl.col("quantity")),
    )
    return pl.concat([shop.with_columns(discount=pl.lit(0).cast(pl.Decimal(18, 2))), more.drop("n")[::2]])


@pytest.fixture
def con(lines: pl.DataFrame, events: pl.DataFrame) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute("create schema customer")
    con.from_arrow(lines.to_arrow()).create("customer.order_lines")
    con.from_arrow(events.to_arrow()).create("customer.events")
    return con


@pytest.fixture(scope="module")
def history(lines: pl.DataFrame, events: pl.DataFrame, buckets: pl.DataFrame) -> Interactions:
    return interactions(lines, CUT, 1, pl.Series(["c05"]), events=events, traits=buckets)


@pytest.fixture(scope="module")
def model(history: Interactions) -> Recommender:
    families: dict[str, Recommender] = {
        "frequency": PersonalFrequency(),
        "popularity": Popularity(),
        "tifu_knn": TifuKnn(),
    }
    return Hybrid(None, families=lambda: families).fit(history, catalogue(), CUT)


def test_purchases_of_everyone_are_the_interactions_of_everyone(
    con: duckdb.DuckDBPyConnection, history: Interactions, buckets: pl.DataFrame
) -> None:
    crowd = everyone(con, CUT, pl.Series(["c05"]), buckets)
    assert crowd.customers.to_list() == history.customers.to_list()
    assert crowd.products.to_list() == history.products.to_list()
    assert crowd.traits.equals(history.traits)
    for name in ("rows", "columns", "days", "hours", "amounts", "discounts", "quantities"):
        np.testing.assert_array_equal(getattr(crowd, name), getattr(history, name))
        assert getattr(crowd, name).dtype == getattr(history, name).dtype
    for name in ("rows", "columns", "days", "kinds"):
        np.testing.assert_array_equal(getattr(crowd.events, name), getattr(history.events, name))


def test_lists_made_in_blocks_are_those_made_at_once(history: Interactions, model: Recommender) -> None:
    asked = pl.concat([history.customers, pl.Series(["zz", "aa"])])
    rhythm = learn_rhythm(history, catalogue(), CUT)
    at_once = rank(model, asked, catalogue(p03=False), LAST, rhythm=rhythm)
    in_blocks = rank_everyone(model, history, asked, catalogue(p03=False), LAST, rhythm, settings=SMALL_BLOCKS).rows
    assert in_blocks.sort("customer_id", "rank").equals(at_once)


def test_who_did_not_teach_has_a_list_of_their_own_purchases(history: Interactions) -> None:
    taught = history.of(pl.Series([one for one in CUSTOMER_IDS if one not in ("c00", "c05")]))
    model = PersonalFrequency().fit(taught, catalogue(), CUT)
    rhythm = learn_rhythm(taught, catalogue(), CUT)
    lists = rank_everyone(model, history, pl.Series(["c00"]), catalogue(), LAST, rhythm).rows.filter(customer_id="c00")
    mine = history.columns[history.rows == history.row_of(pl.Series(["c00"]))[0]]
    bought = history.products.gather(np.unique(mine))
    assert lists.head(len(bought))["product_id"].is_in(bought.implode()).all()
    assert lists.head(len(bought))["reason"].str.contains("last on|Bought once").all()


def test_all_families_are_asked_for_those_who_spent_most_and_one_for_the_others(
    history: Interactions, model: Recommender
) -> None:
    rhythm = learn_rhythm(history, catalogue(), CUT)
    few = CrowdSettings(block=7, ranked_by_all=10)
    found = rank_everyone(model, history, history.customers, catalogue(), LAST, rhythm, settings=few)
    assert (found.by_model, found.by_plain) == (10, len(history.customers) - 10)
    lists = found.rows.sort("customer_id", "rank")
    by_all = rank(model, history.customers, catalogue(), LAST, rhythm=rhythm)
    alone = rank(TifuKnn().fit(history, catalogue(), CUT), history.customers, catalogue(), LAST, rhythm=rhythm)
    rows = lists.filter(pl.col("customer_id") != "unknown")
    assert rows.join(by_all, on=rows.columns, how="semi")["customer_id"].n_unique() >= 10
    others = rows.join(by_all, on=rows.columns, how="anti")["customer_id"].unique()
    mine = rows.filter(pl.col("customer_id").is_in(others.implode()))
    assert mine.equals(alone.filter(pl.col("customer_id").is_in(others.implode())))


def test_who_teaches_goes_on_teaching_when_others_come() -> None:
    def counted(number: int) -> pl.DataFrame:
        return pl.DataFrame({"customer_id": [f"c{one:04}" for one in range(number)], "lines": [10] * number})

    some, more = (teachers(counted(number), CrowdSettings(teachers=100)) for number in (500, 600))
    assert some is not None
    assert more is not None
    assert some.len() == more.len() == 100
    assert some.is_in(more.implode()).sum() > 60
    assert teachers(counted(100), CrowdSettings(teachers=100)) is None
    heavy = teachers(counted(100), CrowdSettings(teachers=100, lessons=500))
    assert heavy is not None
    assert heavy.len() == 50


def test_who_did_not_move_keeps_the_list_of_the_day_before(history: Interactions, model: Recommender) -> None:
    rhythm = learn_rhythm(history, catalogue(), CUT)
    settings = CrowdSettings(block=7, carried_days=3)

    def lists(
        asked: pl.Series, before: pl.DataFrame | None, products: pl.DataFrame, moved: pl.Series | None = None
    ) -> Lists:
        return rank_everyone(
            model, history, asked, products, LAST, rhythm, settings=settings, before=before, moved=moved
        )

    anew = lists(history.customers, None, catalogue())
    marked = anew.rows.with_columns(as_of=pl.lit(LAST - DAY), reason=pl.lit("of the day before"))
    rarest = anew.rows["product_id"].value_counts().sort("count", "product_id")["product_id"][0]
    after = lists(history.customers[1:], marked, catalogue(**{rarest: False}))
    kept = after.rows.filter(reason="of the day before")
    assert 0 < kept["customer_id"].n_unique() == after.carried < len(history.customers)
    assert kept["as_of"].unique().to_list() == [LAST]
    assert not kept["customer_id"].is_in([history.customers[0], "unknown"]).any()
    assert rarest not in after.rows["product_id"]
    quiet = kept["customer_id"].unique().sort()[:1]
    told = lists(history.customers[1:], marked, catalogue(**{rarest: False}), moved=quiet)
    assert told.carried == after.carried - 1
    bought_that_day = history.customers.gather(np.unique(history.rows[history.days == history.days.max()]))
    assert not kept["customer_id"].is_in(bought_that_day.implode()).any()
    assert set(after.rows["customer_id"]) == {*history.customers[1:], "unknown"}
    assert after.rows.select("customer_id", "rank").is_unique().all()


def test_a_list_is_made_anew_before_it_is_too_old(history: Interactions, model: Recommender) -> None:
    rhythm = learn_rhythm(history, catalogue(), CUT)
    settings = CrowdSettings(block=7, carried_days=3)
    nobody_moved = replace(history, days=np.minimum(history.days, history.days.max() - 5), events=Events.none())
    asked, made = history.customers, set[str]()
    lists = rank_everyone(model, nobody_moved, asked, catalogue(), LAST, rhythm, settings=settings).rows
    for later in range(1, 4):
        before = lists.with_columns(reason=pl.lit("carried"))
        found = rank_everyone(
            model, nobody_moved, asked, catalogue(), LAST + later * DAY, rhythm, settings=settings, before=before
        )
        lists = found.rows
        made |= set(lists.filter(pl.col("reason") != "carried")["customer_id"])
        assert found.carried > 0
    assert made >= set(asked)
    late = LAST + 10 * DAY
    old = rank_everyone(model, nobody_moved, asked, catalogue(), late, rhythm, settings=settings, before=lists)
    assert old.carried == 0
