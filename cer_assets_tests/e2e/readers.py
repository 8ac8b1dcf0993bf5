"""A reader of a home in a process of its own: reads in a loop while runs write, and checks whatever it reads.

A torn table does not hold the rows that its log counts; a mix of versions does not keep the laws between tables.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl

from cer_assets.lake import Lake, attach, read_snapshot

LINKED, PEOPLE = "identity.links", "identity.customers"


def counted(lake: Lake, table: str, version: int) -> int:
    """The rows of a version, as its log counts them."""
    return int(pl.DataFrame(lake.open(table, version).get_add_actions(flatten=True))["num_records"].sum())


def warehouse(home: Path, lake: Lake) -> None:
    """Every view twice over one connection, as a BI tool does; who is linked is a customer."""
    with duckdb.connect(home / "warehouse.duckdb", read_only=True) as con:
        views = con.execute("select schema_name, view_name from duckdb_views() where not internal").fetchall()
        counts = [[con.table(f'"{s}"."{v}"').count("*").fetchall() for s, v in views] for _ in range(2)]
        assert counts[0] == counts[1]
        linked = f"select count(*) from {LINKED} anti join {PEOPLE} using (customer_id)"
        if {("identity", "links"), ("identity", "customers")} <= set(views):
            assert con.execute(linked).fetchall() == [(0,)]


def engine(home: Path, lake: Lake) -> None:
    """DuckDB over the current version of each table."""
    for table in lake.tables():
        with duckdb.connect() as con:
            attach(con, lake, [table])
            schema, name = table.split(".")
            rows = [con.table(f'"{schema}"."{name}"').count("*").fetchall() for _ in range(2)]
            assert rows[0] == rows[1], table


def scans(home: Path, lake: Lake) -> None:
    """Every column of the current version of each table, with polars."""
    for table in lake.tables():
        version = lake.version(table)
        assert version is not None
        assert lake.scan(table, version).collect().height == counted(lake, table, version), table


def snapshots(home: Path, lake: Lake) -> None:
    """The versions that the current snapshot names; who is linked in it is a customer in it."""
    versions = read_snapshot(home / "snapshots").versions
    for table, version in versions.items():
        assert lake.scan(table, version).select(pl.len()).collect().item() == counted(lake, table, version), table
    if {LINKED, PEOPLE} <= set(versions):
        linked, people = (lake.scan(name, versions[name]) for name in (LINKED, PEOPLE))
        assert linked.join(people, on="customer_id", how="anti").collect().is_empty()


KINDS: dict[str, Callable[[Path, Lake], None]] = {
    "warehouse": warehouse,
    "engine": engine,
    "scans": scans,
    "snapshots": snapshots,
}
NEEDS = {"warehouse": "warehouse.duckdb", "snapshots": "snapshots/current.json"}
"""What is not there before the end of the first run."""


def main(kind: str, home: Path, stop: Path) -> None:
    """Read until the file `stop` is there; say how often."""
    lake, reads = Lake(str(home / "lake")), 0
    while not stop.exists():
        if (home / NEEDS.get(kind, "lake")).exists():
            KINDS[kind](home, lake)
            reads += 1
        time.sleep(0.1)
    sys.stdout.write(f"{reads}\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
