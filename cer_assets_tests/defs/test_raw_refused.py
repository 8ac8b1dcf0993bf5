"""A file that cannot be read is told, and takes no other with it."""

import gzip
import shutil
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from cer_assets.defs.resources import LEDGER, Home
from cer_assets.defs.wiring import resources
from cer_assets_tests.defs.conftest import evaluate
from cer_assets_tests.defs.test_erasure import loaded

HEADER = "basket_id,line,source,source_id,product_id,quantity,amount,discount,store_id,ordered_at"
GOOD, BAD = "2017-01-01.csv", "2017-01-02.csv"


def line(day: str, amount: str = "2.50") -> str:
    return f"{HEADER}\nb{day},1,crm,1,p1,1,{amount},0,s1,{day}T15:00:00\n"


@pytest.fixture
def shop(empty_home: Home) -> Home:
    """Purchases of two days, loaded never."""
    for name in (GOOD, BAD):
        drop(empty_home, name, line(name[:10]))
    return empty_home


def drop(home: Home, name: str, content: str) -> None:
    path = home.landing / "transactions" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def load(project: dg.Definitions, home: Home, first: str = GOOD[:10], last: str = BAD[:10]) -> dict[str, bool]:
    """Load a stretch of days; whether each check passed."""
    definitions = dg.Definitions(
        assets=project.assets, asset_checks=project.asset_checks, jobs=project.jobs, resources=resources(home)
    )
    with dg.DagsterInstance.ephemeral() as instance:
        done = definitions.resolve_job_def("load").execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(["raw", "transactions"])],
            tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
            raise_on_error=False,
        )
    assert done.get_asset_materialization_events(), "the load itself must go through"
    return {check.check_name: check.passed for check in done.get_asset_check_evaluations()}


def held(home: Home) -> list[str]:
    return home.read("raw.transactions").sort("delivered_on")["basket_id"].to_list()


def test_a_file_that_cannot_be_read_is_told_and_the_others_of_its_stretch_are_loaded(
    project: dg.Definitions, shop: Home
) -> None:
    drop(shop, BAD, "basket_id;line\n")
    checks = load(project, shop)

    assert held(shop) == ["b2017-01-01"]
    assert not checks["every_file_read"]
    assert checks["nothing_lost"]
    told = evaluate(project, shop, "raw/transactions", "every_file_read").description or ""
    assert told.startswith("transactions/2017-01-02.csv: required columns are missing")
    ledger = shop.ledger("transactions").sort("file")
    assert ledger.select("delivered", "accepted", "rejected", "suppressed").rows() == [(1, 1, 0, 0), (0, 0, 0, 0)]
    assert ledger["refused"].to_list() == [None, told]


def test_a_file_that_cannot_be_read_takes_the_rows_of_the_one_it_replaced_with_it_and_says_so(
    project: dg.Definitions, shop: Home
) -> None:
    assert all(load(project, shop).values())
    drop(shop, BAD, "")
    checks = load(project, shop, first=BAD[:10])

    assert held(shop) == ["b2017-01-01"]
    assert not checks["every_file_read"]
    assert checks["nothing_lost"]
    before = shop.lake.scan("raw.transactions", version=0).collect()
    assert before.height == 2, "the former version holds what was there before"

    drop(shop, BAD, line(BAD[:10], "9.99"))
    assert all(load(project, shop, first=BAD[:10]).values())
    assert held(shop) == ["b2017-01-01", "b2017-01-02"]


def test_a_refused_file_that_is_taken_away_leaves_its_day_as_it_stands_without_it(
    project: dg.Definitions, shop: Home
) -> None:
    late = "2017-01-02.late.csv"
    drop(shop, late, "")
    assert not load(project, shop)["every_file_read"]
    for name in (BAD, late):  # the sound one was archived meanwhile
        (shop.landing / "transactions" / name).unlink()
    assert all(load(project, shop, first=BAD[:10]).values())

    assert held(shop) == ["b2017-01-01", "b2017-01-02"]
    assert shop.ledger("transactions")["file"].sort().to_list() == [GOOD, BAD]


@pytest.mark.parametrize("late_at_first", ["", None], ids=["refused at first", "not there at first"])
def test_a_file_archived_after_its_load_keeps_its_rows_until_its_name_comes_again_without_any(
    project: dg.Definitions, shop: Home, late_at_first: str | None
) -> None:
    late = "2017-01-02.late.csv"
    if late_at_first is not None:
        drop(shop, late, late_at_first)
    loaded(shop)
    (shop.landing / "transactions" / BAD).unlink()
    drop(shop, late, line(BAD[:10]).replace("b2017-01-02", "late"))
    assert all(load(project, shop, first=BAD[:10]).values())

    assert sorted(held(shop)) == ["b2017-01-01", "b2017-01-02", "late"]
    assert shop.ledger("transactions")["file"].sort().to_list() == [GOOD, BAD, late]

    drop(shop, BAD, f"{HEADER}\n")
    assert all(load(project, shop, first=BAD[:10]).values())
    assert held(shop) == ["b2017-01-01", "late"]


def test_a_file_that_was_packed_where_it_lies_is_the_same_file(project: dg.Definitions, shop: Home) -> None:
    loaded(shop)
    file = shop.landing / "transactions" / BAD
    file.with_name(f"{BAD}.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    assert all(load(project, shop, first=BAD[:10]).values())
    assert held(shop) == ["b2017-01-01", "b2017-01-02"]
    assert shop.ledger("transactions")["file"].sort().to_list() == [GOOD, f"{BAD}.gz"]


def test_rows_of_an_archived_file_from_before_a_column_was_known_are_kept_without_it(
    project: dg.Definitions, shop: Home
) -> None:
    loaded(shop)
    rows = shop.read("raw.transactions")
    shutil.rmtree(Path(shop.root, "lake", "raw", "transactions"))
    shop.lake.publish("raw.transactions", rows.drop("store_id"), partition_by="delivered_on")
    (shop.landing / "transactions" / BAD).unlink()
    drop(shop, "2017-01-02.late.csv", line(BAD[:10]).replace("b2017-01-02", "late"))
    assert all(load(project, shop, first=BAD[:10]).values())
    stores = shop.read("raw.transactions").filter(pl.col("basket_id") != "b2017-01-01").sort("basket_id")["store_id"]
    assert stores.to_list() == [None, "s1"]


def test_a_load_of_days_without_any_file_fails_as_before(project: dg.Definitions, shop: Home) -> None:
    with pytest.raises(AssertionError, match="must go through"):
        load(project, shop, first="2017-02-01", last="2017-02-02")


def test_a_first_load_of_nothing_but_refused_files_is_an_empty_table_and_a_red_check(
    project: dg.Definitions, shop: Home
) -> None:
    for name in (GOOD, BAD):
        drop(shop, name, "")
    checks = load(project, shop)

    assert held(shop) == []
    assert not checks["every_file_read"]


def test_a_ledger_from_before_files_could_be_refused_is_read_and_goes_on(project: dg.Definitions, shop: Home) -> None:
    load(project, shop)
    old = shop.lake.scan(LEDGER).collect().drop("refused", "suppressed")
    shop.lake.publish(LEDGER, old, partition_by="feed")
    assert shop.ledger("transactions").select("suppressed", "refused").rows() == [(0, None)] * 2
    assert evaluate(project, shop, "raw/transactions", "every_file_read").passed

    drop(shop, BAD, "")
    assert not load(project, shop, first=BAD[:10])["every_file_read"]
    assert shop.ledger("transactions").sort("file")["refused"].is_null().to_list() == [True, False]


def test_rows_of_who_asked_to_be_forgotten_count_as_delivered(project: dg.Definitions, shop: Home) -> None:
    load(project, shop)
    ledger = shop.lake.scan(LEDGER).collect()
    first = pl.col("file") == GOOD
    rows = shop.read("raw.transactions")
    shop.lake.publish("raw.transactions", rows.filter(~first), partition_by="delivered_on")
    assert not evaluate(project, shop, "raw/transactions", "nothing_lost").passed
    counted = {"accepted": pl.when(first).then(0).otherwise("accepted"), "suppressed": first.cast(pl.Int64)}
    shop.lake.publish(LEDGER, ledger.with_columns(**counted), partition_by="feed")
    assert evaluate(project, shop, "raw/transactions", "nothing_lost").passed
