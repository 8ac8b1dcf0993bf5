"""Delta tables by address: publish rows in one commit, read a version, say which version is current."""

import datetime as dt
import itertools
import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote

import duckdb
import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema, TableFeatures
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, create_table_with_add_actions

from cer_assets.lake.content import UNBOUNDED, Memory, Sums, hash_of
from cer_assets.lake.held import SUMS, held_sums, sums_text
from cer_assets.lake.staging import FrameRows, Key, Parameters, Rows, query_rows, storable
from cer_assets.lake.store import Store
from cer_assets.lake.vacuum import GRACE, Vacuumed, files_of, holds, vacuum
from cer_assets.lake.writing import discard, write_files

CONTENT = "cer.content"
"""In a commit: the content hash of the rows handed over."""
STATISTICS, NONE_OF_VALUES = "delta.dataSkippingNumIndexedCols", "0"
"""The table property that keeps the smallest and largest values of columns, which may be a person's, out of the log."""
LOG_STAYS = PostCommitHookProperties(cleanup_expired_logs=False)
"""After a commit delta-rs would remove what is old of the log, and with it versions that a snapshot names: what may go
is known to `vacuum` alone."""
ATTEMPTS = 5
"""How often rows are compared and written again where another wrote the table meanwhile."""

_log = logging.getLogger(__name__)


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

    The root is a folder or an `s3://` address (`cer_assets.lake.store` says what that reads from the environment).
    """

    root: str
    memory: Memory = UNBOUNDED
    """What comparing rows and copying them into a warehouse may hold; a query's connection brings bounds of its own."""

    @property
    def store(self) -> Store:
        """The files under the root."""
        return Store(self.root)

    def uri(self, table: str) -> str:
        """Where the table's Delta log lies."""
        schema, name = table.split(".")
        return f"{self.root.rstrip('/')}/{schema}/{name}"

    def exists(self, table: str) -> bool:
        """Whether anything was ever published under this name."""
        return DeltaTable.is_deltatable(self.uri(table))

    def tables(self) -> list[str]:
        """The names of all tables, in order."""
        store = self.store
        names = [f"{schema}.{name}" for schema in store.folders() for name in store.folders(schema)]
        return [name for name in sorted(names) if self.exists(name)]

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

    def holds(self, table: str, version: int) -> bool:
        """Whether a version can still be read."""
        return self.exists(table) and holds(self.store, folder_of(table), version)

    def nearest(self, table: str, version: int) -> int:
        """The version, or the oldest after it that is still held where it was vacuumed.

        Raises:
            MissingTable: nothing was published under this name.
        """
        current = self.open(table).version()
        return next((v for v in range(version, current) if self.holds(table, v)), current)

    def files(self, table: str, version: int | None = None) -> list[str]:
        """Where the files of one version of a table lie, in order: paths in a folder, or addresses."""
        return [f"{self.uri(table)}/{path}" for path in files_of(self.open(table, version))]

    def vacuum(self, table: str, keep_versions: Collection[int], *, grace: dt.timedelta = GRACE) -> Vacuumed:
        """Remove the data files that neither the current version nor a kept one names, and the log before the oldest.

        No version is made by it. Whatever it is killed at, every kept version can be read, and another call removes
        the rest.

        Args:
            table: `schema.table`.
            keep_versions: the versions that are still read; those that are gone already are none.
            grace: what is younger stays. None at all (`timedelta(0)`) asks that nobody else writes or opens the table.

        Raises:
            MissingTable: nothing was published under this name.
        """
        self.open(table)
        return vacuum(self.store, folder_of(table), keep_versions, grace)

    def scan(self, table: str, version: int | None = None) -> pl.LazyFrame:
        """The table's rows, lazily, in no promised order.

        Raises:
            MissingTable: nothing was published under this name.
        """
        return pl.scan_delta(self.open(table, version))

    def moved(self, table: str, version: int, by: str, columns: Sequence[str]) -> pl.Series:
        """The values of a column whose rows are not those of an earlier version, in whatever order these stand.

        Args:
            table: `schema.table`.
            version: the earlier one.
            by: the column whose values are told; rows where it is null are of nobody.
            columns: what rows are compared in.

        Raises:
            MissingTable: nothing was published under this name.
        """

        def told(of: int) -> pl.LazyFrame:
            # A sum of hashes, as a content hash is, but one a value; 40 bits of each row leave room to add up.
            row = pl.struct(columns).hash(0) // (1 << 24)
            rows = self.scan(table, of).filter(pl.col(by).is_not_null())
            return rows.group_by(by).agg(rows=pl.len(), sum=row.sum())

        current = self.open(table).version()
        if current == version:
            return self.scan(table, version).select(by).head(0).collect()[by]
        both = told(version).join(told(current), on=by, how="full", coalesce=True)
        other = pl.col("rows").ne_missing(pl.col("rows_right")) | pl.col("sum").ne_missing(pl.col("sum_right"))
        return both.filter(other).select(by).collect(engine="streaming")[by]

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
            pyarrow.ArrowInvalid: some partitions are replaced, and a value does not fit its column's type in the table.
        """
        return self._publish(table, FrameRows(storable(frame, table), self.memory), partition_by, keys)

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
        for attempt in range(ATTEMPTS):
            try:
                return self._published(handed, changed=self._attempt(handed, rows, keys))
            except CommitFailedError:
                if attempt == ATTEMPTS - 1:
                    raise
                _log.info("%s: another wrote it meanwhile; looking again at what it holds", table)
        raise AssertionError

    def _attempt(self, handed: "Handed", rows: Rows, keys: Sequence[Key] | None) -> bool:
        """Compare with what the table holds now, and write what differs; whether anything did.

        Raises:
            CommitFailedError: another came first, so what was compared is no longer what is held.
        """
        if not self.exists(handed.table):
            self._write_whole(handed, rows, None)
            return True
        opened = self.open(handed.table)
        held = held_sums(opened, handed.columns, handed.partition_by, keys, self.memory)
        if held is not None and held.wanted == dict(handed.sums):
            return False
        if handed.partition_by is None or (held is None and keys is None):
            self._write_whole(handed, rows, opened)
        elif held is None:
            self._write_parts(handed, rows, list(keys or []), opened, {})
        else:
            self._write_parts(handed, rows, _moved(held.wanted, handed.sums), opened, held.all)
        return True

    def _write_whole(self, handed: "Handed", rows: Rows, opened: DeltaTable | None) -> None:
        """Put the rows in the place of all there was, columns and layout included, in one commit."""
        before = -1 if opened is None else opened.version()
        written = write_files(
            self.store, folder_of(handed.table), rows.stream(handed.partition_by, None), handed.partition_by
        )
        try:
            create_table_with_add_actions(
                self.uri(handed.table),
                Schema.from_arrow(written.schema),
                list(written.files),
                mode="error" if opened is None else "overwrite",
                partition_by=handed.partition_by,
                configuration={STATISTICS: NONE_OF_VALUES},
                commit_properties=_said(handed, handed.sums, before),
                post_commithook_properties=LOG_STAYS,
            )
        except BaseException as error:
            self._discard(handed.table, written.files)
            if opened is None and self.exists(handed.table):
                raise CommitFailedError(f"{handed.table} was made by another meanwhile") from error
            raise
        self._settle_log(handed.table, before + 1, before + 1)

    def _write_parts(self, handed: "Handed", rows: Rows, keys: Sequence[Key], opened: DeltaTable, held: Sums) -> None:
        """Put the rows of some partitions in the place of what these hold, in one commit."""
        assert handed.partition_by is not None
        found = opened.version()
        stripped = _prepare(opened, handed)
        before = opened.version()
        kept = {key: sums for key, sums in held.items() if key not in set(keys)}
        stream = rows.stream(handed.partition_by, keys)
        held_as = pa.schema(opened.schema().to_arrow())
        written = write_files(self.store, folder_of(handed.table), stream, handed.partition_by, held_as)
        moved = {key: sums for key, sums in handed.sums.items() if key in set(keys)}
        names = {str(key) for key in keys}
        try:
            opened.create_write_transaction(
                [*written.files, *(f for f in stripped if f.partition_values[handed.partition_by] not in names)],
                mode="overwrite",
                schema=_merged(opened, written.schema),
                partition_by=[handed.partition_by],
                partition_filters=[(handed.partition_by, "in", sorted(names))],
                commit_properties=_said(handed, {**kept, **moved}, before),
                post_commithook_properties=LOG_STAYS,
            )
        except BaseException:
            self._discard(handed.table, written.files)
            raise
        self._settle_log(handed.table, found + 1, before + 1)

    def _settle_log(self, table: str, first: int, last: int) -> None:
        """Wait until some versions of a table, and the checkpoint after the last, would outlast a power cut.

        delta-rs itself waits for none of it: until then, for milliseconds, a cut may take the newest version.
        """
        names = [f"{version:020}.json" for version in range(first, last + 1)]
        names += [f"{last:020}.checkpoint.parquet", "_last_checkpoint"]
        self.store.settle(f"{folder_of(table)}/_delta_log/{name}" for name in names)

    def _discard(self, table: str, files: Sequence[AddAction]) -> None:
        """Take away what was written for a commit that failed; what failed after the commit stood takes nothing."""
        held = files_of(self.open(table)) if self.exists(table) else []
        named = {path.rpartition("/")[2] for path in held}
        if named.isdisjoint(file.path.rpartition("/")[2] for file in files):
            discard(self.store, folder_of(table), files)

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


def _said(handed: Handed, sums: Sums, before: int) -> CommitProperties:
    """What the commit says of the rows; it fails where another version came after `before`."""
    said = {CONTENT: handed.content, SUMS: sums_text(handed.columns, sums, before)}
    return CommitProperties(custom_metadata=said, max_commit_retries=0)


def _prepare(opened: DeltaTable, handed: Handed) -> list[AddAction]:
    """Make a table that another kind of writer began ready for these rows; its files, without values of theirs.

    A file that is named again replaces what was said of it.
    """
    if any(isinstance(kind, pl.Datetime) and kind.time_zone is None for kind in handed.columns.values()):
        features = opened.protocol().writer_features or []
        if "timestampNtz" not in features:
            opened.alter.add_feature([TableFeatures.TimestampWithoutTimezone], allow_protocol_versions_increase=True)
    if opened.metadata().configuration.get(STATISTICS) == NONE_OF_VALUES:
        return []
    opened.alter.set_table_properties({STATISTICS: NONE_OF_VALUES})
    files = pl.DataFrame(opened.get_add_actions(flatten=True))
    part = f"partition.{handed.partition_by}"
    return [
        AddAction(
            unquote(file["path"]),
            file["size_bytes"],
            {cast("str", handed.partition_by): str(file[part])},
            file["modification_time"],
            data_change=False,
            stats=json.dumps({"numRecords": file["num_records"]}),
        )
        for file in files.iter_rows(named=True)
    ]


def _merged(opened: DeltaTable, schema: Any) -> Schema:
    """The table's columns and, after them, those that it does not have yet."""
    held = opened.schema().fields
    names = {field.name for field in held}
    return Schema([*held, *(field for field in Schema.from_arrow(schema).fields if field.name not in names)])


def folder_of(table: str) -> str:
    """Where a table lies under the root."""
    return table.replace(".", "/")


def stretches(days: Sequence[dt.date]) -> Iterator[tuple[dt.date, dt.date]]:
    """Runs of consecutive days, of days in order, as (first, last)."""
    breaks = [i for i, day in enumerate(days) if i == 0 or day - days[i - 1] > dt.timedelta(days=1)]
    for start, end in itertools.pairwise([*breaks, len(days)]):
        yield days[start], days[end - 1]
