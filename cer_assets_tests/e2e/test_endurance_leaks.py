"""A person in the drops is in the tables that hold people, and nowhere else: no log, no error, no metadata, no page."""

import datetime as dt
import gzip
import json
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from cer_assets.lake import Lake
from cer_assets.sample import write_sample
from cer_assets_tests.conftest import PROJECT, environment
from cer_assets_tests.e2e.live import Live

pytestmark = pytest.mark.endurance

NAME, MAIL, PHONE = ("Zephyrine", "Quackenbosch"), "zephyrine.q8@nowhere.example", "(555) 867-5309"
TRACES = ("zephyrine", "quackenbosch", "zephyrine.q8", "nowhere.example", "867-5309", "8675309")
"""Any of these, in small or in capital letters, is the person."""
LAST = dt.date(2017, 12, 31)


def plant(landing: Path) -> dict[Path, str | None]:
    """The person in two systems, in rows that are accepted, rows that are not, and files that cannot be read.

    Returns:
        The files that hold everybody back, and what the shop puts in their place; None: it withdraws them.
    """
    first, last = NAME
    crm = "CUSTNO;LASTNAME;FIRSTNAME;DOB;EMAIL;PHONE;STREET;CITY;STATE;ZIP;CHANGED\n"
    row = f"{{}};{last};{first};;{MAIL};{PHONE};1 Elm Street;Dayton;OH;45420;{{}}\n"
    (landing / "crm_customers" / f"{LAST}.planted.csv").write_text(crm + row.format("C7000000001", "01.12.2017 10:00"))
    account = {"user_id": "u7000000001", "name": f"{first} {last}", "mail": MAIL, "mobile": PHONE}
    delivered = json.dumps(account | {"updated_at": "2017-12-14T16:25:10Z"})
    (landing / "web_accounts" / f"{LAST}.planted.ndjson").write_text(delivered)

    broken = [row.format("", "01.12.2017 10:00"), row.format("C7000000002", f"{first} {last}") * 400]
    broken += [f'"{first};{MAIL}\n', f"\0{last}\n"]
    torn = [account | {"user_id": {"of": [MAIL]}}, account | {"updated_at": f"{first} {last}"}]
    torn = [*map(json.dumps, torn), f'{{"user_id": "u7000000002", "name": "{last}", {MAIL}']
    person = f"{first},{last},{MAIL},{PHONE}\n"
    bad = {
        f"crm_customers/{LAST}.broken.csv": (crm + "".join(broken)).encode(),
        f"web_accounts/{LAST}.torn.ndjson": "\n".join(torn).encode(),
        "web_accounts/2017-12-01.wide.ndjson": ("\0" + person).encode("utf-16"),
        f"loyalty_members/{LAST}.headless.csv": (person * 3).encode(),
        f"loyalty_members/{LAST}.torn.csv.gz": gzip.compress((person * 999).encode())[:-40],
        f"demographics/{LAST}.renamed.parquet": (person * 9).encode(),
    }
    for name, content in bad.items():
        (landing / name).write_bytes(content)
    bland = {"user_id": "u7000000002", "name": "Ann Lee", "updated_at": "2017-11-14T16:25:10Z"}
    good = {"csv": f"{crm}C7000000002;Lee;Ann;;;;;Dayton;OH;45420;01.12.2017 10:00\n", "ndjson": json.dumps(bland)}
    # Of a file that was refused nothing was loaded; one that was read can be replaced, and is not withdrawn.
    better = {name: good[name.split(".")[-1]] for name in bad if name.startswith(("crm", "web"))}
    return {landing / name: better.get(name) for name in bad}


def run(home: Path, module: str) -> str:
    """What a run over the home said, on either channel."""
    done = subprocess.run(
        [sys.executable, "-m", module, "--no-sample"],
        cwd=PROJECT,
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout


def told(home: Path) -> str:
    """What a daemon and a code server write of a home in which a run failed, where they are to tell it in their log."""
    live = Live(home, {"CER_ALERTS": "log:"})
    try:
        live.wait("the failed run to be told", lambda: "error: customers" in live.log.read_text(), 600)
        live.wait("what is due again to be done", live.settled, 600)
    finally:
        live.stop()
    return live.log.read_text()


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home in which drops are bad, libraries fail, a daemon tells it, then all goes well; and all that was said."""
    home = tmp_path_factory.mktemp("leaks") / "home"
    write_sample(home, customers=200, days=10)
    bad = plant(home / "landing")
    said = run(home, "cer_assets.defs.run")
    rejects = Lake(str(home / "lake")).scan("raw.crm_customers_rejects").collect()["content"]
    assert rejects.str.contains(MAIL, literal=True).sum() > 400
    for file, better in bad.items():
        file.unlink() if better is None else file.write_text(better)
    said += run(home, "cer_assets_tests.e2e.faulty")
    return home, said + told(home) + run(home, "cer_assets.defs.run")


def traces(data: bytes) -> list[str]:
    """What of the person stands in some bytes, as text of either width."""
    low = data.lower()
    return [trace for trace in TRACES if trace.encode() in low or trace.encode("utf-16-le") in low]


def test_the_person_was_really_there(said: tuple[Path, str]) -> None:
    home, words = said
    lake = Lake(str(home / "lake"))
    everyone = lake.scan("identity.records").filter(pl.col("surname") == "quackenbosch").collect()
    assert set(everyone["source"]) == {"crm", "web"}
    assert "little_rejected failed" in words
    assert "every_file_read failed" in words
    assert "InvalidOperationError at cer_assets/defs/identity/assets.py" in words
    assert "ConversionException at cer_assets/defs/identity/assets.py" in words
    assert "ConversionException at cer_assets/defs/checking.py" in words
    assert "error: customers | step identity__" in words
    assert (home / "warehouse.duckdb").exists()


def test_what_runs_say_names_nobody(said: tuple[Path, str]) -> None:
    assert traces(said[1].encode()) == []


def test_no_file_that_keeps_no_people_names_anybody(said: tuple[Path, str]) -> None:
    """Event log, ticks, compute logs, the daemon's log, models, snapshots, pages, the warehouse, the logs of tables."""
    home, _ = said
    files = [
        path
        for path in home.rglob("*")
        if path.is_file() and path.relative_to(home).parts[0] not in ("landing", "sample_truth", "caches")
    ]
    looked_at = [path for path in files if path.suffix != ".parquet"]
    assert {"dagster", "models", "reports", "snapshots", "warehouse.duckdb", "lake"} <= {
        path.relative_to(home).parts[0] for path in looked_at
    }
    found = {str(path.relative_to(home)): traces(path.read_bytes()) for path in looked_at}
    assert {path: what for path, what in found.items() if what} == {}


def test_what_the_instance_keeps_packed_names_nobody(said: tuple[Path, str]) -> None:
    found = [trace for path in (said[0] / "dagster").rglob("*.db") for blob in packed(path) for trace in traces(blob)]
    assert found == []


def packed(path: Path) -> Iterator[bytes]:
    """What a database holds compressed."""
    with sqlite3.connect(path) as con:
        for (table,) in con.execute("select name from sqlite_master where type = 'table'").fetchall():
            for row in con.execute(f'select * from "{table}"'):
                for value in row:
                    if isinstance(value, bytes):
                        try:
                            yield zlib.decompress(value)
                        except zlib.error:
                            continue


def test_only_tables_marked_as_personal_hold_the_person(said: tuple[Path, str]) -> None:
    from cer_assets.definitions import defs

    home, _ = said
    graph = defs().resolve_asset_graph()
    marked = {".".join(key.path) for key in graph.get_all_asset_keys() if graph.get(key).tags.get("personal_data")}
    lake = Lake(str(home / "lake"))
    holding = {table for table in lake.tables() if traces(lake.scan(table).collect().write_ndjson().encode())}
    assert {"identity.records", "identity.customers", "raw.crm_customers", "raw.web_accounts"} <= holding
    assert holding - marked == set()
