"""What a table holds, as sums: read from its newest commit, and from its rows only where that does not say."""

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import polars as pl
from deltalake import DeltaTable
from sqlglot import exp

from cer_assets.lake.content import UNBOUNDED, Memory, Sums, bounded, described, hashed_by, sums_in
from cer_assets.lake.staging import Key

SUMS = "cer.sums"
"""In a commit: the sums of every partition that the table then holds, so that nobody has to read it to compare."""


@dataclass(frozen=True)
class Held:
    """The sums of the partitions that would be replaced, and of all that are known."""

    wanted: Sums
    all: Sums


def sums_text(columns: Mapping[str, pl.DataType], sums: Sums, before: int) -> str:
    """What a commit says of the table's rows, some forty bytes a partition.

    Args:
        columns: the columns that the sums were computed over; how they were hashed is told with them.
        sums: the sums of every partition.
        before: the version that the writer saw: where another came between, the sums are not those of the table.
    """
    parts = {"" if key is None else str(key): f"{rows:x}:{total:x}" for key, (rows, total) in sums.items()}
    return json.dumps({"columns": _hashed(columns), "before": before, "sums": parts}, separators=(",", ":"))


def held_sums(
    opened: DeltaTable,
    columns: Mapping[str, pl.DataType],
    partition_by: str | None,
    keys: Sequence[Key] | None,
    memory: Memory = UNBOUNDED,
) -> Held | None:
    """What a table holds of some partitions (None: of all); None where its columns or its layout are others.

    Partitions of which the newest commit says nothing, or not what the files hold, are read.
    """
    laid_out = opened.metadata().partition_columns
    if laid_out != ([] if partition_by is None else [partition_by]):
        return None
    if dict(pl.scan_delta(opened).collect_schema()) != dict(columns):
        return None
    there = _rows_of_files(opened, partition_by, columns)
    wanted = set(there) if keys is None or partition_by is None else set(there) & set(keys)
    said = _recorded(opened, columns, partition_by)
    known = {key: sums for key, sums in said.items() if there.get(key) == sums[0]}
    unknown = wanted - set(known)
    if unknown:
        known |= _read(opened, columns, partition_by, unknown, memory)
    return Held({key: sums for key, sums in known.items() if key in wanted}, known)


def _hashed(columns: Mapping[str, pl.DataType]) -> str:
    return hashlib.sha256("\n".join([hashed_by(), *described(columns)]).encode()).hexdigest()[:16]


def _rows_of_files(
    opened: DeltaTable, partition_by: str | None, columns: Mapping[str, pl.DataType]
) -> dict[object, int]:
    """Partition -> rows, as the log counts them; no partition without rows."""
    files = pl.DataFrame(opened.get_add_actions(flatten=True))
    part = pl.lit(None) if partition_by is None else pl.col(f"partition.{partition_by}").cast(columns[partition_by])
    counts = files.group_by(part.alias("key")).agg(pl.col("num_records").sum())
    return {key: rows for key, rows in counts.iter_rows() if rows}


def _recorded(opened: DeltaTable, columns: Mapping[str, pl.DataType], partition_by: str | None) -> Sums:
    """The sums that the newest commit names; none where it is no commit of ours, or not of these columns."""
    newest = next(iter(opened.history(1)), {})
    if newest.get("version") != opened.version() or SUMS not in newest:
        return {}
    said = cast("dict[str, Any]", json.loads(newest[SUMS]))
    if said["columns"] != _hashed(columns) or said["before"] != opened.version() - 1:
        return {}
    return {_key(name, partition_by, columns): _numbers(text) for name, text in said["sums"].items()}


def _key(name: str, partition_by: str | None, columns: Mapping[str, pl.DataType]) -> object:
    if partition_by is None:
        return None
    return dt.date.fromisoformat(name) if columns[partition_by] == pl.Date else name


def _numbers(text: str) -> tuple[int, int]:
    rows, _, total = text.partition(":")
    return int(rows, 16), int(total, 16)


def _read(
    opened: DeltaTable, columns: Mapping[str, pl.DataType], partition_by: str | None, keys: set[object], memory: Memory
) -> dict[object, tuple[int, int]]:
    """The sums of the rows themselves, streamed through DuckDB."""
    data = opened.to_pyarrow_dataset()
    rows = exp.table_("rows_")
    with bounded(memory) as con:
        con.execute("set timezone = 'UTC'")
        con.register("rows_", data)
        if partition_by is not None:
            con.execute("create temp table wanted as select unnest(?) as key", [sorted(cast("set[Any]", keys))])
            within = exp.column(partition_by, quoted=True).isin(query=exp.select("key").from_("wanted"))
            rows = exp.select("*").from_("rows_").where(within).subquery("rows_")
        return sums_in(con, rows, columns, partition_by)
