"""The content hash of a frame: the same rows give the same hash, in whatever order they stand."""

import hashlib
from collections.abc import Mapping

import duckdb
import polars as pl
from sqlglot import exp

_SEPARATOR, _NULL = exp.func("chr", exp.Literal.number(31)), exp.func("chr", exp.Literal.number(0))


def content_hash(frame: pl.DataFrame, sums: Mapping[object, tuple[int, int]] | None = None) -> str:
    """Hash the columns' names and types and the rows, as a multiset.

    Each row's MD5 is cut to 64 bits and the rows' numbers are added up without overflow: one pass, no sort, and no two
    orders of the same rows can differ. This tells whether a table changed; it is no defence against a forger.

    Args:
        frame: the rows.
        sums: what `sums_by` says of them, where it was asked already: the whole is added up from its parts.

    Returns:
        32 hexadecimal characters.
    """
    schema = [f"{name}:{dtype}" for name, dtype in frame.schema.items()]
    total = _sum_of_row_hashes(frame) if sums is None else sum(part for _, part in sums.values())
    rows = f"{frame.height}:{total}"
    return hashlib.sha256("\n".join([*schema, rows]).encode()).hexdigest()[:32]


def sums_by(frame: pl.DataFrame, column: str) -> dict[object, tuple[int, int]]:
    """Per value of a column, the number of its rows and the sum of their hashes: equal where the rows are equal."""
    if frame.is_empty():
        return {}
    query = _row_hashes(frame).select(exp.column(column, quoted=True), exp.func("count", exp.Star())).group_by("all")
    with duckdb.connect(":memory:") as con:
        con.register("rows_", frame)
        return {key: (rows, int(total)) for total, key, rows in con.execute(query.sql(dialect="duckdb")).fetchall()}


def _sum_of_row_hashes(frame: pl.DataFrame) -> int:
    if frame.is_empty() or not frame.columns:
        return 0
    with duckdb.connect(":memory:") as con:
        con.register("rows_", frame)
        ((total,),) = con.execute(_row_hashes(frame).sql(dialect="duckdb")).fetchall()
    return int(total)


def _row_hashes(frame: pl.DataFrame) -> exp.Select:
    """The sum of the rows' hashes, as a query over `rows_`."""
    texts = [
        exp.func("coalesce", exp.cast(exp.column(name, quoted=True), "varchar"), _NULL.copy()) for name in frame.columns
    ]
    row = exp.func("md5_number_lower", exp.func("concat_ws", _SEPARATOR.copy(), *texts))
    return exp.select(exp.func("sum", exp.cast(row, "hugeint"))).from_("rows_")
