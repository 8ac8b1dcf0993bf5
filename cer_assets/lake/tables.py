"""Delta tables by address: publish rows in one commit, read a version, say which version is current."""

import datetime as dt
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import polars as pl
from deltalake import CommitProperties, DeltaTable, write_deltalake

from cer_assets.lake.content import content_hash, sums_by

Key = dt.date | str
"""What a partition is named by."""


class MissingTable(LookupError):
    """A table was read that nothing has published yet."""


@dataclass(frozen=True)
class Published:
    """What a call of `Lake.publish` left behind.

    `version` is the table's Delta version, `rows` and `content` speak of the rows handed over, `table_rows` and `bytes`
    of the whole table, and `changed` says whether a new version was needed to hold them.
    """

    version: int
    rows: int
    table_rows: int
    bytes: int
    content: str
    changed: bool


@dataclass(frozen=True)
class Lake:
    """The Delta tables under one root; a table's name is its address, `schema.table`.

    The root is a folder; delta-rs would take an `s3://` address too, but listing tables and DuckDB's views read files.
    """

    root: str

    def uri(self, table: str) -> str:
        """Where the table's Delta log lies."""
        schema, name = table.split(".")
        return f"{self.root.rstrip('/')}/{schema}/{name}"

    def exists(self, table: str) -> bool:
        """Whether anything was ever published under this name."""
        return DeltaTable.is_deltatable(self.uri(table))

    def tables(self) -> list[str]:
        """The names of all tables of a lake that is a folder, in order."""
        logs = Path(self.root).glob("*/*/_delta_log")
        return sorted(f"{log.parent.parent.name}.{log.parent.name}" for log in logs)

    def version(self, table: str) -> int | None:
        """The current version, or None where the table does not exist."""
        return self.open(table).version() if self.exists(table) else None

    def open(self, table: str, version: int | None = None) -> DeltaTable:
        """The Delta table at a version (default: the current one).

        Raises:
            MissingTable: nothing was published under this name.
        """
        if not self.exists(table):
            raise MissingTable(f"{table} has not been built yet: nothing lies at {self.uri(table)}")
        return DeltaTable(self.uri(table), version=version)

    def scan(self, table: str, version: int | None = None) -> pl.LazyFrame:
        """The table's rows, lazily, in no promised order.

        Raises:
            MissingTable: nothing was published under this name.
        """
        return pl.scan_delta(self.open(table, version))

    def publish(
        self,
        table: str,
        frame: pl.DataFrame,
        *,
        partition_by: str | None = None,
        keys: Sequence[Key] | None = None,
    ) -> Published:
        """Replace the table, or some of its partitions, in one commit; write nothing where nothing would change.

        Of a partitioned table only the partitions whose rows differ are written.

        Args:
            table: `schema.table`.
            frame: the rows; categories become text and unsigned integers signed, which Delta does not know.
            partition_by: the column that a partitioned table is laid out by: a day, or a short name.
            keys: the partitions that `frame` replaces; None replaces the whole table. Rows of others are refused.

        Raises:
            ValueError: a row lies outside `keys` or in no partition, or a column holds nothing but untyped nulls.
        """
        frame = _storable(frame, table)
        if partition_by is not None and (homeless := frame[partition_by].null_count()):
            raise ValueError(f"{table}: {homeless} rows have no {partition_by}, by which the table is laid out")
        sums = {} if partition_by is None else sums_by(frame, partition_by)
        content = content_hash(frame, sums or None)
        if keys is not None and partition_by is not None:
            _refuse_others(frame, partition_by, keys, table)
        held = self._held(table, frame, partition_by, keys)
        if held is None:
            self._write(table, frame, content, partition_by, None if not self.exists(table) else keys)
        elif partition_by is None:
            if held.height == frame.height and content_hash(held) == content:
                return self._published(table, frame.height, content, changed=False)
            self._write(table, frame, content, None, None)
        else:
            moved = _moved(sums_by(held, partition_by), sums)
            if not moved:
                return self._published(table, frame.height, content, changed=False)
            self._write(table, frame.filter(pl.col(partition_by).is_in(moved)), content, partition_by, moved)
        return self._published(table, frame.height, content, changed=True)

    def _held(
        self, table: str, frame: pl.DataFrame, partition_by: str | None, keys: Sequence[Key] | None
    ) -> pl.DataFrame | None:
        """The rows that `frame` would replace, where they have its columns."""
        if not self.exists(table):
            return None
        held = self.scan(table)
        if keys is not None and partition_by is not None:
            held = held.filter(pl.col(partition_by).is_in(list(keys)))
        if dict(held.collect_schema()) != dict(frame.schema):
            return None
        return held.select(frame.columns).collect()

    def _write(
        self,
        table: str,
        frame: pl.DataFrame,
        content: str,
        partition_by: str | None,
        keys: Sequence[Key] | None,
    ) -> None:
        """Replace some partitions, or without keys the whole table, in one commit."""
        write_deltalake(
            self.uri(table),
            frame.sort(partition_by) if partition_by else frame,
            mode="overwrite",
            partition_by=[partition_by] if partition_by else None,
            schema_mode="overwrite" if keys is None else "merge",
            predicate=None if keys is None or partition_by is None else _within(partition_by, keys),
            commit_properties=CommitProperties(custom_metadata={"cer.content": content}),
        )

    def _published(self, table: str, rows: int, content: str, *, changed: bool) -> Published:
        opened = self.open(table)
        files = pl.DataFrame(opened.get_add_actions(flatten=True))
        table_rows, size = int(files["num_records"].sum()), int(files["size_bytes"].sum())
        return Published(opened.version(), rows, table_rows, size, content, changed)


def _storable(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    untyped = [name for name, dtype in frame.schema.items() if dtype == pl.Null]
    if untyped:
        raise ValueError(f"{table}: give the columns {untyped} a type; they hold untyped nulls only")
    text = [n for n, t in frame.schema.items() if isinstance(t, pl.Enum | pl.Categorical)]
    unsigned = [n for n, t in frame.schema.items() if t.is_unsigned_integer()]
    times = [n for n, t in frame.schema.items() if isinstance(t, pl.Datetime)]
    return frame.with_columns(
        pl.col(text).cast(pl.String),
        pl.col(unsigned).cast(pl.Int64),
        pl.col(times).dt.cast_time_unit("us"),
    )


def _moved(before: Mapping[object, tuple[int, int]], now: Mapping[object, tuple[int, int]]) -> list[Key]:
    """The partitions whose rows differ."""
    return sorted(cast("set[Any]", {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}))


def _refuse_others(frame: pl.DataFrame, column: str, keys: Sequence[Key], table: str) -> None:
    others = set(frame[column].unique()) - set(keys)
    if others:
        raise ValueError(f"{table}: {len(others)} values of {column} are outside the partitions to be replaced")


def _within(column: str, keys: Sequence[Key]) -> str:
    """A delta-rs predicate; it takes text only, so a day is written as ISO and a name with its quotes doubled."""
    days = sorted(key for key in keys if isinstance(key, dt.date))
    names = sorted(key for key in keys if isinstance(key, str))
    ranges = [f"({column} >= '{first}' and {column} <= '{last}')" for first, last in stretches(days)]
    equal = [f"{column} = '" + name.replace("'", "''") + "'" for name in names]
    return " or ".join([*ranges, *equal]) or "false"


def stretches(days: Sequence[dt.date]) -> Iterator[tuple[dt.date, dt.date]]:
    """Runs of consecutive days, of days in order, as (first, last)."""
    breaks = [i for i, day in enumerate(days) if i == 0 or day - days[i - 1] > dt.timedelta(days=1)]
    for start, end in itertools.pairwise([*breaks, len(days)]):
        yield days[start], days[end - 1]
