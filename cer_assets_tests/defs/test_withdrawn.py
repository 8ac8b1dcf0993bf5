"""Who withdraws leaves the lists that stand, and waits for no check of purchases."""

import datetime as dt
from typing import cast

import dagster as dg
import duckdb
import polars as pl
import pytest

from cer_assets.defs.automation import job_assets
from cer_assets.defs.plan import standing_on
from cer_assets.defs.provenance import Graph
from cer_assets.defs.recommend import withdrawn
from cer_assets.defs.recommend.withdrawn import LISTS
from cer_assets.defs.resources import Home
from cer_assets.defs.wiring import resources
from cer_assets.lake import build_warehouse, read_snapshot, take_snapshot

FIRST, SECOND, THIRD = (dt.date(2017, 9, day) for day in (7, 8, 9))
CONSENTS = {"customer_id": pl.String, "purpose": pl.String, "granted": pl.Boolean, "known_on": pl.Date}
LISTED = {"as_of": pl.Date, "customer_id": pl.String, "product_id": pl.String}


@pytest.fixture
def home(empty_home: Home) -> Home:
    """Lists of two days for three customers and strangers, as people read them; purchases went on since."""
    rows = [(day, customer, "tea") for day in (FIRST, SECOND) for customer in ("a", "b", "c", "unknown")]
    lake = empty_home.lake
    lake.publish(LISTS, pl.DataFrame(rows, LISTED, orient="row"), partition_by="as_of", keys=[FIRST, SECOND])
    lake.publish("customer.orders", pl.DataFrame({"order_id": ["1"]}))
    build_warehouse(lake, take_snapshot(lake, empty_home.snapshots), empty_home.warehouse)
    lake.publish("customer.orders", pl.DataFrame({"order_id": ["1", "2"]}))
    said = [("a", "personalisation", True), ("b", "personalisation", False), ("c", "email", False)]
    consents = pl.DataFrame([(*one, SECOND) for one in said], CONSENTS, orient="row")
    lake.publish("customer.consents", consents)
    return empty_home


def computed(instance: dg.DagsterInstance, home: Home) -> dg.ExecuteInProcessResult:
    return dg.materialize([withdrawn.withdrawn_customers], instance=instance, resources=resources(home))


def on_lists(home: Home, day: dt.date) -> set[str]:
    return set(home.read(LISTS).filter(pl.col("as_of") == day)["customer_id"])


def in_the_warehouse(home: Home) -> set[str]:
    with duckdb.connect(home.warehouse, read_only=True) as con:
        return {row[0] for row in con.execute(f"select customer_id from {LISTS} where as_of = $1", [SECOND]).fetchall()}


def test_who_withdrew_is_off_the_newest_lists_in_lake_snapshot_and_warehouse(
    instance: dg.DagsterInstance, home: Home
) -> None:
    before = read_snapshot(home.snapshots).versions
    assert computed(instance, home).success
    assert home.read("recommend.withdrawn").rows() == [("b", SECOND)]
    assert on_lists(home, SECOND) == in_the_warehouse(home) == {"a", "c", "unknown"}
    assert on_lists(home, FIRST) == {"a", "b", "c", "unknown"}
    now = read_snapshot(home.snapshots).versions
    assert now == {**before, LISTS: home.lake.version(LISTS)}

    # Once more: nothing is written anew.
    written = home.warehouse.stat().st_mtime_ns
    assert computed(instance, home).success
    assert home.warehouse.stat().st_mtime_ns == written


@pytest.mark.parametrize("step", ["build_warehouse", "make_current"])
def test_killed_before_people_read_the_shorter_lists_it_is_brought_to_its_end(
    instance: dg.DagsterInstance, home: Home, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def killed(*_: object) -> None:
        pytest.fail("killed here")

    with monkeypatch.context() as patched:
        patched.setattr(withdrawn, step, killed)
        with pytest.raises(pytest.fail.Exception):
            computed(instance, home)
    assert on_lists(home, SECOND) == {"a", "c", "unknown"}
    assert "b" in home.served(LISTS)["customer_id"]
    assert computed(instance, home).success
    assert in_the_warehouse(home) == {"a", "c", "unknown"}
    assert read_snapshot(home.snapshots).versions[LISTS] == home.lake.version(LISTS)


def test_lists_that_nobody_reads_yet_are_not_shown_for_a_withdrawal(instance: dg.DagsterInstance, home: Home) -> None:
    newer = home.read(LISTS).filter(pl.col("as_of") == SECOND).with_columns(as_of=pl.lit(THIRD))
    home.lake.publish(LISTS, newer, partition_by="as_of", keys=[THIRD])
    assert computed(instance, home).success
    assert in_the_warehouse(home) == on_lists(home, SECOND) == {"a", "c", "unknown"}
    assert home.served(LISTS)["as_of"].max() == home.read(LISTS)["as_of"].max() == SECOND


def test_lists_that_wait_for_a_check_stay_where_nobody_who_reads_any_has_withdrawn(
    instance: dg.DagsterInstance, home: Home
) -> None:
    assert computed(instance, home).success
    newer = home.read(LISTS).filter(pl.col("as_of") == FIRST).with_columns(as_of=pl.lit(THIRD))
    home.lake.publish(LISTS, newer, partition_by="as_of", keys=[THIRD])
    assert computed(instance, home).success
    assert on_lists(home, THIRD) == {"a", "c", "unknown"}
    assert home.served(LISTS)["as_of"].max() == SECOND


def test_before_there_are_lists_or_a_snapshot_it_is_a_table_alone(
    instance: dg.DagsterInstance, empty_home: Home
) -> None:
    consents = pl.DataFrame([("b", "personalisation", False, SECOND)], CONSENTS, orient="row")
    empty_home.lake.publish("customer.consents", consents)
    assert computed(instance, empty_home).success
    assert empty_home.read("recommend.withdrawn").height == 1
    assert not empty_home.warehouse.exists()


@pytest.mark.parametrize("feed", ["transactions", "events", "weather", "products", "campaigns"])
def test_a_red_check_of_what_is_sold_does_not_hold_it_back(project: dg.Definitions, feed: str) -> None:
    graph = cast("Graph", project.resolve_asset_graph())
    lists, own = (dg.AssetKey(["recommend", name]) for name in ("recommendations", "withdrawn"))
    above = standing_on(graph, dg.AssetKey(["raw", feed]))
    assert own not in above
    assert feed == "campaigns" or lists in above
    assert [job for job, keys in job_assets(graph).items() if own in keys] == ["customers"]
