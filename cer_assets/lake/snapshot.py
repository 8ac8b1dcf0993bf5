"""A snapshot names one version of every table; `warehouse.duckdb` is a snapshot as views for people and BI tools."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
from sqlglot import exp

from cer_assets.lake.engine import copy_table, view_over
from cer_assets.lake.files import staged_for, write_atomically
from cer_assets.lake.tables import Lake

CURRENT = "current.json"


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
    """Write down the current version of every table, and make it the one that `current.json` names."""
    versions = {table: lake.open(table).version() for table in lake.tables()}
    snapshot = Snapshot(versions)
    write_atomically(folder / f"{snapshot.name}.json", snapshot.text.encode())
    write_atomically(folder / CURRENT, snapshot.text.encode())
    return snapshot


def read_snapshot(folder: Path) -> Snapshot:
    """The snapshot that consumers read.

    Raises:
        FileNotFoundError: none was taken yet.
    """
    return Snapshot(json.loads((folder / CURRENT).read_text())["tables"])


def build_warehouse(lake: Lake, snapshot: Snapshot, path: Path) -> None:
    """Write a DuckDB file with a view per table beside `path`, then put it in its place.

    Whoever has the old file open goes on reading the old snapshot. Where the lake lies on `s3://`, which DuckDB reads
    by an extension only, the file holds the tables' rows instead of views.
    """
    staged = staged_for(path)
    with duckdb.connect(staged) as con:
        for table, version in sorted(snapshot.versions.items()):
            schema = exp.to_identifier(table.split(".")[0], quoted=True)
            create = exp.Create(this=schema, kind="schema", exists=True)
            con.execute(create.sql(dialect="duckdb"))
            if lake.store.remote:
                copy_table(con, lake, table, version)
            else:
                con.execute(view_over(lake, table, version).sql(dialect="duckdb"))
    staged.replace(path)
