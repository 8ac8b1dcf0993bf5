"""A reader in a process of its own: reads in a loop, believes nothing, and says what it saw when it is told to stop.

Each row of each table carries the number of the run that wrote it, and each run as many rows as its number says: a torn
table or a mix of two runs cannot add up.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl

from cer_assets.lake import Lake, attach, read_snapshot

TABLES = ("a.whole", "a.parts")


def rows_of(run: int) -> pl.DataFrame:
    """The rows of a run, half of which stand in a part that no run moves."""
    runs = pl.DataFrame({"part": ["moves"] * (10 + run % 7), "run": run})
    return pl.concat([runs, pl.DataFrame({"part": ["stays"] * 5, "run": -1}, schema=runs.schema)])


def verify(table: str, counts: list[tuple[int, int]]) -> None:
    """Rows by run: those of one run, all of them, and those that stay."""
    assert dict(counts).pop(-1, 0) == 5, (table, counts)
    runs = [(run, rows) for run, rows in counts if run >= 0]
    assert len(runs) == 1 and runs[0][1] == 10 + runs[0][0] % 7, (table, counts)


def warehouse(home: Path, lake: Lake) -> None:
    """The views of the warehouse, opened as a BI tool would."""
    with duckdb.connect(home / "warehouse.duckdb", read_only=True) as con:
        _counted(con)


def engine(home: Path, lake: Lake) -> None:
    """DuckDB over the current versions."""
    with duckdb.connect() as con:
        attach(con, lake, TABLES)
        _counted(con)


def scans(home: Path, lake: Lake) -> None:
    """Polars over the current versions."""
    for table in TABLES:
        verify(table, lake.scan(table).group_by("run").len().collect().rows())


def snapshots(home: Path, lake: Lake) -> None:
    """The versions that the current snapshot names."""
    for table, version in read_snapshot(home / "snapshots").versions.items():
        verify(table, lake.scan(table, version).group_by("run").len().collect().rows())


def _counted(con: duckdb.DuckDBPyConnection) -> None:
    for table in TABLES:
        for _ in range(2):
            verify(table, con.execute(f"select run, count(*) from {table} group by all").fetchall())


KINDS: dict[str, Callable[[Path, Lake], None]] = {
    "warehouse": warehouse,
    "engine": engine,
    "scans": scans,
    "snapshots": snapshots,
}


def main(kind: str, home: Path) -> None:
    """Read until a file called `stop` lies in the home."""
    lake, reads = Lake(str(home / "lake")), 0
    while not (home / "stop").exists() or not reads:
        KINDS[kind](home, lake)
        reads += 1
        if reads == 1:
            (home / f"reading-{kind}").touch()
        time.sleep(0.002)
    sys.stdout.write(f"{reads}\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
