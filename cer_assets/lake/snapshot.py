"""A snapshot names one version of every table; `warehouse.duckdb` is a snapshot as views for people and BI tools."""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlglot import exp

from cer_assets.lake.content import bounded
from cer_assets.lake.engine import copy_table, view_over
from cer_assets.lake.files import staged_for, write_atomically
from cer_assets.lake.tables import Lake

CURRENT = "current.json"
STANDS_STILL = 10
"""How often the versions of all tables are read before they are said to move."""


@dataclass(frozen=True)
class Snapshot:
    """One version of every table that existed when it was taken."""

    versions: Mapping[str, int]

    @property
    def name(self) -> str:
        """The same versions have the same name."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    @property
    def text(self) -> str:
        """The file's text."""
        return json.dumps({"tables": dict(sorted(self.versions.items()))}, indent=1)


def take_snapshot(lake: Lake, folder: Path) -> Snapshot:
    """Write down the current version of every table, and make it the one that `current.json` names.

    The versions are those of one moment: they are read until they stand still.

    Raises:
        RuntimeError: they never do, because another run is writing.
    """
    versions = _versions(lake)
    for _ in range(STANDS_STILL):
        before, versions = versions, _versions(lake)
        if versions == before:
            break
    else:
        raise RuntimeError(
            f"no snapshot of {lake.root}: its tables change while they are looked at; is another run on?"
        )
    return make_current(Snapshot(versions), folder)


def make_current(snapshot: Snapshot, folder: Path) -> Snapshot:
    """Write a snapshot down, and make it the one that `current.json` names."""
    write_atomically(folder / f"{snapshot.name}.json", snapshot.text.encode())
    write_atomically(folder / CURRENT, snapshot.text.encode())
    return snapshot


def _versions(lake: Lake) -> dict[str, int]:
    return {table: lake.open(table).version() for table in lake.tables()}


def prune_snapshots(folder: Path, days: float) -> list[Snapshot]:
    """Remove the snapshots that were taken more than some days ago, but for the current one and the one before.

    The age is that of the file, not of the data: whoever works from a snapshot has so many days of his own to do it in,
    however many days a run caught up with. A snapshot that was taken again is as young as that.

    Returns:
        those that are kept.
    """
    taken = sorted((p for p in folder.glob("*.json") if p.name != CURRENT), key=_age)
    current = read_snapshot(folder).name
    former = [path for path in taken if path.stem != current]
    old = [path for path in former[1:] if _age(path) > days * 86_400]
    for path in old:
        path.unlink(missing_ok=True)
    return [_read(path) for path in taken if path not in set(old)]


def _age(path: Path) -> float:
    """Seconds since the file was written."""
    return time.time() - path.stat().st_mtime


def needed_versions(snapshots: Iterable[Snapshot]) -> dict[str, set[int]]:
    """Table -> the versions of it that some of the snapshots name."""
    needed: dict[str, set[int]] = {}
    for snapshot in snapshots:
        for table, version in snapshot.versions.items():
            needed.setdefault(table, set()).add(version)
    return needed


def read_snapshot(folder: Path) -> Snapshot:
    """The snapshot that consumers read.

    Raises:
        FileNotFoundError: none was taken yet.
    """
    return _read(folder / CURRENT)


def _read(path: Path) -> Snapshot:
    return Snapshot(json.loads(path.read_text())["tables"])


def build_warehouse(lake: Lake, snapshot: Snapshot, path: Path) -> None:
    """Write a DuckDB file with a view per table beside `path`, then put it in its place.

    Whoever has the old file open goes on reading the old snapshot. Where the lake lies on `s3://`, which DuckDB reads
    by an extension only, the file holds the tables' rows instead of views.
    """
    staged = staged_for(path)
    with bounded(lake.memory, staged) as con:
        for table, version in sorted(snapshot.versions.items()):
            schema = exp.to_identifier(table.split(".")[0], quoted=True)
            create = exp.Create(this=schema, kind="schema", exists=True)
            con.execute(create.sql(dialect="duckdb"))
            if lake.store.remote:
                copy_table(con, lake, table, version)
            else:
                con.execute(view_over(lake, table, version).sql(dialect="duckdb"))
    staged.replace(path)
