"""Delta tables by address: publish rows in one commit, read a version, say which version is current."""

import datetime as dt
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import duckdb
import polars as pl
from deltalake import CommitProperties, DeltaTable, write_deltalake

from cer_assets.lake.content import Sums, hash_of
from cer_assets.lake.held import SUMS, held_sums, sums_text
from cer_assets.lake.staging import FrameRows, Key, Parameters, Rows, query_rows, storable

CONTENT = "cer.content"
"""In a commit: the content hash of the rows handed over."""
STATISTICS, NONE_OF_VALUES = "delta.dataSkippingNumIndexedCols", "0"
"""The table property that keeps the smallest and largest values of columns, which may be a person's, out of the log."""


class MissingTable(LookupError):
    """A table was read that nothing has published yet."""


@dataclass(frozen=True)
class Published:
    """What a call of `Lake.publish` left behind.

    `version` is the table's Delta version, `rows` and `content` speak of the rows handed over, `table_rows` and `bytes`
    of the whole table, and `changed` says whether a new version was needed to hold them. `columns` are the polars types
    as they are held, `partitions` the rows handed over of each partition that has any.
    """

    version: int
    rows: int
    table_rows: int
    bytes: int
    content: str
    changed: bool
    columns: Mapping[str, pl.DataType]
    partitions: Mapping[Key, int]


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
            TypeError: a column's type is none that Delta holds.
        """
        return self._publish(table, FrameRows(storable(frame, table)), partition_by, keys)

    def publish_query(
        self,
        con: duckdb.DuckDBPyConnection,
        table: str,
        query: str,
        *,
        parameters: Parameters | None = None,
        partition_by: str | None = None,
        keys: Sequence[Key] | None = None,
    ) -> Published:
        """Publish what a query gives, as `publish` would its frame, without ever holding it in memory whole.

        The query runs once. Its result stays in DuckDB, which spills to disk where the connection names a folder for
        that, and is handed over batch by batch.

        Args:
            con: a clean connection that sees what the query reads; nothing else may use it meanwhile.
            table: `schema.table`.
            query: one select.
            parameters: values of its placeholders.
            partition_by: as for `publish`.
            keys: as for `publish`.

        Raises:
            ValueError: as for `publish`.
            TypeError: a column's type is none that Delta holds.
        """
        with query_rows(con, query, parameters, table) as rows:
            return self._publish(table, rows, partition_by, keys)

    def _publish(self, table: str, rows: Rows, partition_by: str | None, keys: Sequence[Key] | None) -> Published:
        if partition_by is not None:
            _refuse_unnamed(rows, partition_by, table)
        sums = rows.sums(partition_by)
        if keys is not None and partition_by is not None:
            _refuse_others(sums, keys, table)
        handed = Handed(table, rows.columns, sums, hash_of(rows.columns, sums), partition_by)
        opened = self.open(table) if self.exists(table) else None
        held = None if opened is None else held_sums(opened, rows.columns, partition_by, keys)
        if opened is None or held is None:
            self._write(handed, rows, None if opened is None else keys, opened)
        elif held.wanted == dict(sums):
            return self._published(handed, changed=False)
        else:
            moved = None if partition_by is None else _moved(held.wanted, sums)
            self._write(handed, rows, moved, opened, held.all)
        return self._published(handed, changed=True)

    def _write(
        self,
        handed: "Handed",
        rows: Rows,
        keys: Sequence[Key] | None,
        opened: DeltaTable | None,
        held: Sums | None = None,
    ) -> None:
        """Replace some partitions, or without keys the whole table, in one commit."""
        before = -1 if opened is None else opened.version()
        if opened is not None and opened.metadata().configuration.get(STATISTICS) != NONE_OF_VALUES:
            opened.alter.set_table_properties({STATISTICS: NONE_OF_VALUES})
            before = opened.version()
        replaced = None if keys is None or handed.partition_by is None else list(keys)
        kept = {} if replaced is None or held is None else {k: v for k, v in held.items() if k not in set(replaced)}
        written = handed.sums if replaced is None else {k: v for k, v in handed.sums.items() if k in set(replaced)}
        write_deltalake(
            self.uri(handed.table),
            rows.stream(handed.partition_by, replaced),
            mode="overwrite",
            partition_by=None if handed.partition_by is None else [handed.partition_by],
            schema_mode="overwrite" if replaced is None else "merge",
            predicate=None
            if replaced is None or handed.partition_by is None
            else _within(handed.partition_by, replaced),
            configuration={STATISTICS: NONE_OF_VALUES},
            commit_properties=CommitProperties(
                custom_metadata={CONTENT: handed.content, SUMS: sums_text(handed.columns, {**kept, **written}, before)}
            ),
        )

    def _published(self, handed: "Handed", *, changed: bool) -> Published:
        opened = self.open(handed.table)
        files = pl.DataFrame(opened.get_add_actions(flatten=True))
        return Published(
            version=opened.version(),
            rows=sum(rows for rows, _ in handed.sums.values()),
            table_rows=int(files["num_records"].sum()),
            bytes=int(files["size_bytes"].sum()),
            content=handed.content,
            changed=changed,
            columns=handed.columns,
            partitions={} if handed.partition_by is None else {cast("Key", k): n for k, (n, _) in handed.sums.items()},
        )


@dataclass(frozen=True)
class Handed:
    """Rows that were handed over to be published: what is known of them without holding them."""

    table: str
    columns: Mapping[str, pl.DataType]
    sums: Sums
    content: str
    partition_by: str | None


def _moved(before: Sums, now: Sums) -> list[Key]:
    """The partitions whose rows differ."""
    return sorted(cast("set[Any]", {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}))


def _refuse_unnamed(rows: Rows, column: str, table: str) -> None:
    """Refuse rows that lie in no partition, and columns that name none."""
    kind = rows.columns[column]
    if not isinstance(kind, pl.Date | pl.String):
        raise TypeError(f"{table}: lay it out by a day or a short name; {column} is of type {kind}")
    if homeless := rows.homeless(column):
        raise ValueError(f"{table}: {homeless} rows have no {column}, by which the table is laid out")


def _refuse_others(sums: Sums, keys: Sequence[Key], table: str) -> None:
    others = set(sums) - set(keys)
    if others:
        raise ValueError(f"{table}: rows of {len(others)} partitions are outside the partitions to be replaced")


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
