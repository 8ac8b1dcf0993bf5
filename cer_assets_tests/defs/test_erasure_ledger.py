"""What an erasure leaves of files that were replaced, archived or lost in part; the ledger tells it."""

import os
from pathlib import Path
from typing import cast

import dagster as dg
import duckdb
import polars as pl
import pytest

from cer_assets.defs.automation import job_assets
from cer_assets.defs.erasure.automation import erasure_step
from cer_assets.defs.provenance import Graph
from cer_assets.defs.resources import LEDGER, Home
from cer_assets.erasure.receipts import FILE, NOT_READ
from cer_assets.erasure.traces import Naming
from cer_assets_tests.defs.conftest import evaluate
from cer_assets_tests.defs.test_erasure import CRM, KEY, OTHERS, OWN, forget, lines, loaded, write
from cer_assets_tests.defs.test_landing import locked

DAY = "2017-01-01"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """One file of customers with the person, who has asked to be forgotten."""
    monkeypatch.setenv("CER_SUPPRESSION_KEY", KEY)
    home = Home(root=str(tmp_path))
    write(home, "crm_customers", f"{DAY}.csv", lines(CRM, *OTHERS[:5], OWN))
    write(home, "erasure_requests", "2017-01-02.csv", lines("source,source_id,at", "crm,Z1,2017-01-02T09:00:00"))
    loaded(home)
    return home


def test_a_file_replaced_meanwhile_is_left_alone_even_where_size_and_time_are_the_same(
    project: dg.Definitions, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cer_assets.defs.erasure import removal

    path = Path(home.root, "landing", "crm_customers", f"{DAY}.csv")
    before, replaced = path.stat(), path.read_bytes().replace(b"Ann4", b"Eve4")
    enter = removal.enter

    def entering(*arguments: object) -> None:
        enter(*arguments)  # pyright: ignore
        path.write_bytes(replaced)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    monkeypatch.setattr(removal, "enter", entering)
    forget(home)
    assert path.stat().st_size == before.st_size and path.read_bytes() == replaced


def test_what_was_lost_before_is_still_missed_after(project: dg.Definitions, home: Home) -> None:
    Path(home.root, "landing", "crm_customers", f"{DAY}.csv").unlink()
    rows = home.read("raw.crm_customers")
    home.lake.publish("raw.crm_customers", rows.filter(pl.col("source_id") != "C2"), partition_by="delivered_on")
    forget(home)
    told = home.ledger("crm_customers").select("delivered", "accepted").row(0)
    assert (told, home.read("raw.crm_customers").height) == ((5, 5), 4)
    assert not evaluate(project, home, "raw/crm_customers", "nothing_lost").passed


def test_a_file_with_rows_kept_out_makes_an_erasure_due_until_it_is_archived(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(empty_home, "crm_customers", f"{DAY}.csv", lines(CRM, *OTHERS[:5]))
    loaded(empty_home)
    files = empty_home.lake.scan(LEDGER).collect()
    empty_home.lake.publish(LEDGER, files.with_columns(suppressed=pl.lit(1, pl.Int64)), partition_by="feed")
    graph = project.resolve_asset_graph()

    def due() -> bool:
        return erasure_step(instance, cast("Graph", graph), empty_home, job_assets(graph)) is not None

    assert due()
    with monkeypatch.context() as patched:
        locked(patched, empty_home.landing / "crm_customers")
        assert due(), "it may lie there still"
    path.unlink()
    assert not due()


def test_a_file_archived_after_its_load_keeps_its_rows_and_its_line(project: dg.Definitions, home: Home) -> None:
    late = write(home, "crm_customers", f"{DAY}.late.csv", lines(CRM, *OTHERS[5:8], "C99;;;;;;;;;;02.01.2099 10:00"))
    loaded(home)
    late.unlink()
    forget(home)
    assert sorted(home.read("raw.crm_customers")["source_id"]) == [f"C{n}" for n in range(2, 10)]
    assert home.read("raw.crm_customers_rejects")["file"].to_list() == [late.name]
    told = home.ledger("crm_customers").sort("file").select("file", "delivered", "accepted", "rejected").rows()
    assert told == [(f"{DAY}.csv", 5, 5, 0), (late.name, 4, 3, 1)]
    assert evaluate(project, home, "raw/crm_customers", "nothing_lost").passed


OUTSIDE = ("2016-12-31.csv", "2099-01-01.csv")


def test_drops_outside_the_daily_grid_are_cleaned_and_told_and_still_not_loaded(
    project: dg.Definitions, home: Home
) -> None:
    left = {write(home, "crm_customers", name, lines(CRM, *OTHERS[:2], OWN, OTHERS[2])) for name in OUTSIDE}
    forget(home)
    wanted = lines(CRM, *OTHERS[:2], "", OTHERS[2]).encode("cp1252")
    assert {path.read_bytes() for path in left} == {wanted}
    told = dict(home.read("erasure.receipts").filter(pl.col("kind") == FILE).select("name", "rows").iter_rows())
    assert {name: told.get(f"crm_customers/{name}") for name in OUTSIDE} == dict.fromkeys(OUTSIDE, 1)
    assert home.ledger("crm_customers")["file"].to_list() == [f"{DAY}.csv"]
    assert evaluate(project, home, "erasure/receipts", "receipts_add_up").passed


def test_a_drop_outside_the_grid_whose_erasure_was_killed_is_cleaned_by_the_next_and_not_loaded(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cer_assets.defs.erasure import removal

    path = write(home, "crm_customers", OUTSIDE[0], lines(CRM, *OTHERS[5:8], OWN))
    tell = removal._tell  # pyright: ignore[reportPrivateUsage]

    def told_at_last(home: Home, kind: str, name: str, rows: dict[str, int] | None) -> None:
        tell(home, kind, name, rows)
        if name.endswith(path.name):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(removal, "_tell", told_at_last)
        with pytest.raises(KeyboardInterrupt):
            forget(home)
    assert b"Z1" in path.read_bytes()
    forget(home)
    assert b"Z1" not in path.read_bytes()
    assert home.read("raw.crm_customers").height == 5


def test_what_was_left_unfinished_for_a_day_is_told_by_its_place_until_it_is_gone(
    project: dg.Definitions, home: Home
) -> None:
    left = write(home, "crm_customers", f"{DAY}.zeb.csv.part", lines(CRM, OWN))
    lost = write(home, "zeb", ".zeb.csv", lines(CRM, OWN))
    fresh = write(home, "consents", "2017-01-02.csv.part", lines("source,source_id,purpose,granted,at"))
    keep = write(home, "web_accounts", ".gitkeep", "")
    for path in (left, lost, keep):
        os.utime(path, (0, 0))
    forget(home)
    told = home.read("erasure.receipts").filter(pl.col("kind") == NOT_READ)["name"].to_list()
    assert told == ["./: unfinished files", "crm_customers/: unfinished files"]
    assert fresh.exists()
    check = evaluate(project, home, "erasure/receipts", "every_file_was_looked_into")
    assert not check.passed and check.metadata["left unfinished"].value == 2
    left.unlink()
    lost.unlink()
    assert evaluate(project, home, "erasure/receipts", "every_file_was_looked_into").passed


def test_a_rewritten_file_keeps_its_rights(home: Home) -> None:
    path = Path(home.root, "landing", "crm_customers", f"{DAY}.csv")
    path.chmod(0o600)
    forget(home)
    assert b"Z1" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_erasure_holds_no_more_in_memory_than_was_set(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from cer_assets.defs.erasure import removal

    monkeypatch.setenv("CER_MEMORY", "1GiB")
    held: list[tuple[object, ...]] = []
    counted = removal.counted

    def counting(con: duckdb.DuckDBPyConnection, table: str, found: Naming) -> pl.DataFrame:
        settings = "select current_setting('memory_limit'), current_setting('temp_directory')"
        held.extend(con.execute(settings).fetchall())
        return counted(con, table, found)

    monkeypatch.setattr(removal, "counted", counting)
    forget(home)
    assert set(held) == {("1.0 GiB", str(Path(home.root, "spill")))}
