"""The content of rows as numbers: a sum per partition and one hash, the same in whatever order the rows stand."""

import hashlib
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import duckdb
import polars as pl
from sqlglot import exp

_PROBE = {
    "boolean": "true",
    **dict.fromkeys(("tinyint", "smallint", "integer", "bigint"), "1"),
    **dict.fromkeys(("float", "double", "decimal(9, 2)", "decimal(18, 2)", "decimal(38, 2)"), "1.5"),
    **dict.fromkeys(("varchar", "blob"), "text of more than twelve letters"),
    **dict.fromkeys(("date", "timestamp", "timestamp with time zone"), "2017-01-01"),
}
"""A value of every type that is hashed."""

Sums = Mapping[object, tuple[int, int]]
"""Partition -> the number of its rows and the sum of their hashes: equal where the rows are equal. Rows that are not
laid out by anything are one partition, named None."""


@dataclass(frozen=True)
class Memory:
    """What a connection of DuckDB may hold (`6GB`), and where it spills to; DuckDB's own bounds if empty."""

    limit: str = ""
    spill: str = ""


UNBOUNDED = Memory()


@contextmanager
def bounded(memory: Memory, database: str | Path = ":memory:") -> Generator[duckdb.DuckDBPyConnection]:
    """A connection within bounds, with a folder of its own to spill into: two that share one name their files alike."""
    if not memory.limit:
        with duckdb.connect(database) as con:
            yield con
        return
    Path(memory.spill).mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=memory.spill, ignore_cleanup_errors=True) as folder,
        duckdb.connect(database, config={"memory_limit": memory.limit, "temp_directory": folder}) as con,
    ):
        yield con


def content_hash(frame: pl.DataFrame, sums: Sums | None = None) -> str:
    """Hash the columns' names and types and the rows, as a multiset.

    Each row's values are hashed to 64 bits by DuckDB and the rows' numbers are added up without overflow: one pass, no
    sort, and no two orders of the same rows can differ. 0.0 and -0.0 are equal, and so are any two nan; lists and
    structs are hashed as text, since DuckDB does not tell an empty one from none. This tells whether a table changed;
    it is no defence against a forger. Another release of DuckDB may hash otherwise (`hashed_by`): then every table has
    changed once. An MD5 of the values as text would not, and takes ten times as long: more than all else that
    publishing rows does.

    Args:
        frame: the rows.
        sums: what `sums_by` says of them, where it was asked already: the whole is added up from its parts.

    Returns:
        32 hexadecimal characters.
    """
    return hash_of(frame.schema, sums_by(frame, None) if sums is None else sums)


def hash_of(columns: Mapping[str, pl.DataType], sums: Sums) -> str:
    """The content hash of rows of which the columns and the sums are known."""
    rows, total = sum(rows for rows, _ in sums.values()), sum(part for _, part in sums.values())
    return hashlib.sha256("\n".join([*described(columns), f"{rows}:{total}"]).encode()).hexdigest()[:32]


def described(columns: Mapping[str, pl.DataType]) -> list[str]:
    """The columns' names and types, in order."""
    return [f"{name}:{dtype}" for name, dtype in columns.items()]


def sums_by(frame: pl.DataFrame, column: str | None, memory: Memory = UNBOUNDED) -> dict[object, tuple[int, int]]:
    """The sums of a frame's rows per value of a column, or of all of them under None."""
    if frame.is_empty() or not frame.columns:
        return {}
    with bounded(memory) as con:
        con.execute("set timezone = 'UTC'")  # of times within lists, which are read as text
        con.register("rows_", frame)
        return sums_in(con, exp.table_("rows_"), frame.schema, column)


def sums_in(
    con: duckdb.DuckDBPyConnection, rows: exp.Expr, columns: Mapping[str, pl.DataType], column: str | None
) -> dict[object, tuple[int, int]]:
    """The sums of the rows of a relation, per value of a column, or of all of them under None; none of no rows."""
    row = _row_hash([_flat(exp.column(name, quoted=True), kind) for name, kind in columns.items()])
    part = exp.null() if column is None else exp.column(column, quoted=True)
    query = (
        exp.select(part, exp.func("count", exp.Star()), exp.func("sum", exp.cast(row, "hugeint")))
        .from_(rows)
        .group_by("all")
    )
    found = con.execute(query.sql(dialect="duckdb")).fetchall()
    return {key: (count, int(total)) for key, count, total in found if count}


@cache
def hashed_by() -> str:
    """What this DuckDB makes of a row that never changes: sums are comparable where this is the same."""
    row = [exp.cast(exp.Literal.string(value), kind) for kind, value in _PROBE.items()]
    with duckdb.connect(":memory:") as con:
        con.execute("set timezone = 'UTC'")
        found = con.execute(exp.select(_row_hash([*row, exp.null()])).sql(dialect="duckdb")).fetchone()
    assert found is not None
    return f"{found[0]:x}"


def _flat(value: exp.Expr, kind: pl.DataType) -> exp.Expr:
    return exp.cast(value, "varchar") if kind.is_nested() else value


def _row_hash(values: Sequence[exp.Expr]) -> exp.Expr:
    """The hash of some values, hashed again.

    DuckDB puts the hashes of several values together by an exclusive or: a value that two rows exchange could otherwise
    leave the sum of both as it was.
    """
    return exp.func("hash", exp.func("hash", *values))
