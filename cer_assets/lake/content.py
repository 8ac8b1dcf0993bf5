"""The content of rows as numbers: a sum per partition and one hash, the same in whatever order the rows stand."""

import hashlib
from collections.abc import Mapping, Sequence

import duckdb
import polars as pl
from sqlglot import exp

_SEPARATOR, _NULL = exp.func("chr", exp.Literal.number(31)), exp.func("chr", exp.Literal.number(0))

Sums = Mapping[object, tuple[int, int]]
"""Partition -> the number of its rows and the sum of their hashes: equal where the rows are equal. Rows that are not
laid out by anything are one partition, named None."""


def content_hash(frame: pl.DataFrame, sums: Sums | None = None) -> str:
    """Hash the columns' names and types and the rows, as a multiset.

    Each row's MD5 is cut to 64 bits and the rows' numbers are added up without overflow: one pass, no sort, and no two
    orders of the same rows can differ. This tells whether a table changed; it is no defence against a forger.

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


def sums_by(frame: pl.DataFrame, column: str | None) -> dict[object, tuple[int, int]]:
    """The sums of a frame's rows per value of a column, or of all of them under None."""
    if frame.is_empty() or not frame.columns:
        return {}
    with duckdb.connect(":memory:") as con:
        con.execute("set timezone = 'UTC'")
        con.register("rows_", frame)
        return sums_in(con, exp.table_("rows_"), frame.columns, column)


def sums_in(
    con: duckdb.DuckDBPyConnection, rows: exp.Expr, columns: Sequence[str], column: str | None
) -> dict[object, tuple[int, int]]:
    """The sums of the rows of a relation, per value of a column, or of all of them under None; none of no rows."""
    texts = [exp.func("coalesce", exp.cast(exp.column(name, quoted=True), "varchar"), _NULL.copy()) for name in columns]
    row = exp.func("md5_number_lower", exp.func("concat_ws", _SEPARATOR.copy(), *texts))
    part = exp.null() if column is None else exp.column(column, quoted=True)
    query = (
        exp.select(part, exp.func("count", exp.Star()), exp.func("sum", exp.cast(row, "hugeint")))
        .from_(rows)
        .group_by("all")
    )
    found = con.execute(query.sql(dialect="duckdb")).fetchall()
    return {key: (count, int(total)) for key, count, total in found if count}
