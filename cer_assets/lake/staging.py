"""Rows on their way into a table: a frame, or what a query left in DuckDB, in types that Delta holds.

Both say the same of the same rows: their columns, their sums, and themselves as a stream of Arrow batches, so that
neither is copied whole once more.
"""

import datetime as dt
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import duckdb
import polars as pl
import pyarrow as pa
from sqlglot import exp

from cer_assets.lake.content import UNBOUNDED, Memory, Sums, sums_by, sums_in

Key = dt.date | str
"""What a partition is named by."""
Parameters = Sequence[object] | Mapping[str, object]
"""Values of a query's placeholders."""
BATCH_ROWS = 250_000
"""Rows of an Arrow batch: some tens of MB, of which a few are on their way at a time."""

_STAGED = "cer_staged_rows"
_CASTS = {
    "enum": "varchar",
    "uuid": "varchar",
    "utinyint": "bigint",
    "usmallint": "bigint",
    "uinteger": "bigint",
    "ubigint": "bigint",
    "hugeint": "decimal(38, 0)",
    "uhugeint": "decimal(38, 0)",
    "timestamp_s": "timestamp",
    "timestamp_ms": "timestamp",
}
"""Types of DuckDB that Delta does not know, and what they are held as: what `storable` makes of the same in polars."""
_NANOSECONDS = "timestamp_ns"
_TYPES = {
    *("boolean", "tinyint", "smallint", "integer", "bigint", "float", "double", "decimal", "varchar", "blob"),
    *("date", "timestamp", "timestamp with time zone", "list", "struct", "map"),
}


class ArrowStream(Protocol):
    """Batches of rows in Arrow's own form, one after the other."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Hand them over."""
        ...


class Rows(Protocol):
    """What is asked of rows that are to be published."""

    @property
    def columns(self) -> Mapping[str, pl.DataType]:
        """Their columns and polars types."""
        ...

    def homeless(self, column: str) -> int:
        """How many have no value in a column."""
        ...

    def sums(self, column: str | None) -> Sums:
        """Their sums per value of a column, or of all of them under None."""
        ...

    def stream(self, column: str | None, keys: Sequence[Key] | None) -> ArrowStream:
        """Those of some partitions (None: all), one partition after the other."""
        ...


class FrameRows:
    """The rows of a polars frame."""

    def __init__(self, frame: pl.DataFrame, memory: Memory = UNBOUNDED) -> None:
        self._frame, self._memory = frame, memory

    @property
    def columns(self) -> Mapping[str, pl.DataType]:
        """The frame's."""
        return self._frame.schema

    def homeless(self, column: str) -> int:
        """Nulls in the column."""
        return self._frame[column].null_count()

    def sums(self, column: str | None) -> Sums:
        """As `sums_by` computes them."""
        return sums_by(self._frame, column, self._memory)

    def stream(self, column: str | None, keys: Sequence[Key] | None) -> ArrowStream:
        """In slices, of which each is put in order as it goes."""
        schema = self._frame.head(0).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
        return pa.RecordBatchReader.from_batches(schema, self._batches(column, keys))

    def _batches(self, column: str | None, keys: Sequence[Key] | None) -> Iterator[Any]:
        order = None if column is None else _order(self._frame[column], keys)
        height = self._frame.height if order is None else order.len()
        for start in range(0, height, BATCH_ROWS):
            part = (
                self._frame.slice(start, BATCH_ROWS) if order is None else self._frame[order.slice(start, BATCH_ROWS)]
            )
            yield from part.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()).to_batches()


def _order(column: pl.Series, keys: Sequence[Key] | None) -> pl.Series:
    """The places of the wanted rows, partition after partition."""
    places = pl.DataFrame({"key": column, "place": pl.int_range(column.len(), dtype=pl.UInt32, eager=True)}).lazy()
    wanted = places if keys is None else places.filter(pl.col("key").is_in(list(keys)))
    return wanted.sort("key", maintain_order=True).select("place").collect()["place"]


class QueryRows:
    """The rows that a query left in a table of its own connection, where they spill to disk when memory is short."""

    def __init__(self, con: duckdb.DuckDBPyConnection, table: str) -> None:
        self._con = con
        kinds = con.sql(f"from {_STAGED} limit 0")
        casts = [_cast(name, kind, table) for name, kind in zip(kinds.columns, kinds.types, strict=True)]
        self._rows = exp.select(*casts).from_(_STAGED)
        self._columns = con.sql(self._rows.limit(0).sql(dialect="duckdb")).pl().schema

    @property
    def columns(self) -> Mapping[str, pl.DataType]:
        """As polars would receive them."""
        return self._columns

    def homeless(self, column: str) -> int:
        """Nulls in the column."""
        missing = exp.Is(this=exp.column(column, quoted=True), expression=exp.null())
        query = exp.select(exp.func("count", exp.Star())).from_(_STAGED).where(missing)
        ((count,),) = self._con.execute(query.sql(dialect="duckdb")).fetchall()
        return count

    def sums(self, column: str | None) -> Sums:
        """Computed where the rows lie."""
        return sums_in(self._con, self._rows.subquery("rows_"), self._columns, column)

    def stream(self, column: str | None, keys: Sequence[Key] | None) -> ArrowStream:
        """Sorted by partition in DuckDB, as they lie where there are none."""
        query = exp.select("*").from_(self._rows.subquery("rows_"))
        values: list[Any] = []
        if column is not None:
            place = exp.column(column, quoted=True)
            if keys is not None:
                query = query.where(exp.EQ(this=place.copy(), expression=exp.Any(this=exp.Placeholder())))
                values = [list(keys)]
            query = query.order_by(place)
        return self._con.sql(query.sql(dialect="duckdb"), params=values).to_arrow_reader(BATCH_ROWS)


@contextmanager
def query_rows(
    con: duckdb.DuckDBPyConnection, query: str, parameters: Parameters | None, table: str
) -> Generator[QueryRows]:
    """Run a query once and keep its result in DuckDB for as long as it is being published.

    Raises:
        TypeError: a column's type is none that Delta holds.
    """
    try:
        con.execute(f"create or replace temp table {_STAGED} as {query}", parameters)
        yield QueryRows(con, table)
    finally:
        con.execute(f"drop table if exists {_STAGED}")


def storable(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    """The frame in types that Delta holds: categories as text, unsigned integers signed, times in microseconds.

    Raises:
        ValueError: a column holds nothing but untyped nulls.
        TypeError: a column's type is none that Delta holds.
    """
    untyped = [name for name, dtype in frame.schema.items() if dtype == pl.Null]
    _refuse_untyped(untyped, table)
    unknown = (pl.Time, pl.Duration, pl.Object, pl.Int128)
    for name, dtype in frame.schema.items():
        if isinstance(dtype, unknown):
            raise _no_type_of_delta(table, name, str(dtype))
    text = [n for n, t in frame.schema.items() if isinstance(t, pl.Enum | pl.Categorical)]
    unsigned = [n for n, t in frame.schema.items() if t.is_unsigned_integer()]
    times = [n for n, t in frame.schema.items() if isinstance(t, pl.Datetime)]
    return frame.with_columns(
        pl.col(text).cast(pl.String),
        pl.col(unsigned).cast(pl.Int64),
        pl.col(times).dt.cast_time_unit("us"),
    )


def _cast(name: str, kind: Any, table: str) -> exp.Expr:
    column = exp.column(name, quoted=True)
    if kind.id == "null":
        _refuse_untyped([name], table)
    if kind.id == _NANOSECONDS:
        return exp.func("make_timestamp", _microseconds(column)).as_(name, quoted=True)
    if kind.id not in _TYPES and kind.id not in _CASTS:
        raise _no_type_of_delta(table, name, str(kind))
    return exp.cast(column, _CASTS[kind.id]).as_(name, quoted=True) if kind.id in _CASTS else column


def _microseconds(column: exp.Expr) -> exp.Expr:
    """Whole microseconds before a time in nanoseconds, as polars cuts it; a cast of DuckDB would round it."""
    since = exp.func("epoch_ns", column)
    thousand = exp.Literal.number(1000)
    rest = exp.Mod(this=exp.paren(exp.Mod(this=since, expression=thousand) + thousand), expression=thousand)
    return exp.IntDiv(this=exp.paren(since - rest), expression=thousand)


def _refuse_untyped(columns: Sequence[str], table: str) -> None:
    if columns:
        raise ValueError(f"{table}: give the columns {list(columns)} a type; they hold untyped nulls only")


def _no_type_of_delta(table: str, column: str, kind: str) -> TypeError:
    return TypeError(
        f"{table}: the column {column} is of type {kind}, which Delta does not hold; cast it to one it does"
    )
