"""Where the lake holds somebody on the suppression list, found by what columns hold rather than by a list of tables.

Ids of records (`source:source_id`) and of customers are looked for in every column of text, alone or within a
sentence; pairs of `source` and `source_id`, and the delivered rows that rejects hold, besides.
"""

import datetime as dt
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import polars as pl
from sqlglot import exp

from cer_assets.erasure.loading import of_rejects
from cer_assets.erasure.suppression import CUSTOMER, RECORD, VISITOR, Suppression
from cer_assets.feeds import Feed
from cer_assets.lake import Lake, attach, clean_connection

SCHEMA = "erasure"
"""The schema of the erasure's own tables, which hold hashes and counts alone."""
DELIVERED = ["delivered_on", "file"]
_HEX = "[0-9a-f]{16}"
_CONTENT, _VISITOR = "content", "anonymous_id"
_HELD = pl.Schema({"column": pl.String, "value": pl.String})


@dataclass(frozen=True)
class Naming:
    """The values of one table by which its rows name somebody: column -> value, request."""

    values: dict[str, pl.DataFrame]
    pairs: pl.DataFrame
    """`source`, `source_id`, `request`."""

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.values) or not self.pairs.is_empty()


@contextmanager
def engine(lake: Lake, spill: str, memory: str) -> Generator[duckdb.DuckDBPyConnection]:
    """A connection that sees every table of the lake but the erasure's own.

    Args:
        lake: the tables.
        spill: folder for what does not fit into memory.
        memory: what it may hold before it spills, such as `6GB`.
    """
    config: dict[str, str | bool | int | float | list[str]] = {"temp_directory": spill, "memory_limit": memory}
    with duckdb.connect(":memory:", config=config) as con:
        clean_connection(con)
        attach(con, lake, tables_of_people(lake))
        yield con


def tables_of_people(lake: Lake) -> list[str]:
    """Every table in which somebody may stand."""
    return [table for table in lake.tables() if not table.startswith(f"{SCHEMA}.")]


def naming(con: duckdb.DuckDBPyConnection, table: str, suppression: Suppression, feeds: Mapping[str, Feed]) -> Naming:
    """The values by which rows of a table name somebody on the list.

    Args:
        con: sees the table.
        table: its name.
        suppression: the list.
        feeds: by which layouts delivered rows were written that rejects hold.
    """
    columns = [name for name, kind in _columns(con, table).items() if kind == "VARCHAR"]
    queries = [_values(table, name, suppression, columns) for name in columns if name != _CONTENT]
    held = con.sql(" union all ".join(_sql(query) for query in queries)).pl() if queries else _HELD.to_frame()
    told = pl.concat(
        [_ids(held, suppression), _delivered(con, table, columns, suppression, feeds), _visitors(held, suppression)]
    )
    told = told.unique(["column", "value"], keep="first", maintain_order=True)
    pairs = pl.DataFrame(schema={"source": pl.String, "source_id": pl.String, "request": pl.String})
    if {"source", "source_id"} <= set(columns):
        query = exp.select(_column("source"), _column("source_id")).distinct().from_(_relation(table))
        ids = con.sql(_sql(query.where(exp.column("source").is_(exp.null()).not_()))).pl()
        pairs = ids.with_columns(suppression.of_rows(ids)).drop_nulls("request")
    values = {str(name): part.drop("column") for (name,), part in told.partition_by("column", as_dict=True).items()}
    return Naming(values, pairs)


def counted(con: duckdb.DuckDBPyConnection, table: str, found: Naming) -> pl.DataFrame:
    """How many rows of a table go back to each request: `request`, `rows`; for a raw table by day and file as well."""
    keys = [name for name in DELIVERED if table.startswith("raw.") and name in _columns(con, table)]
    with _registered(con, table, found) as request:
        named = exp.select(*[_column(name) for name in keys], request.as_("request")).from_(_relation(table))
        query = exp.select("request", *map(_column, keys), exp.func("count", exp.Star()).as_("rows"))
        query = query.from_(named.subquery("named")).where(exp.column("request").is_(exp.null()).not_())
        rows = con.sql(_sql(query.group_by("all"))).pl()
    return rows.sort("request", *keys)


def held_by_file(con: duckdb.DuckDBPyConnection, table: str) -> pl.DataFrame:
    """How many rows a raw table holds of each file: `delivered_on`, `file`, `held`."""
    rows = exp.select(*map(_column, DELIVERED), exp.func("count", exp.Star()).as_("held")).from_(_relation(table))
    return con.sql(_sql(rows.group_by("all"))).pl()


def remove(con: duckdb.DuckDBPyConnection, lake: Lake, table: str, found: Naming) -> None:
    """Publish a table without the rows that name somebody; of a partitioned one only the partitions that hold such.

    Rows are left out of what is published rather than deleted by a predicate: a predicate would stand in the table's
    log, with the ids in it.
    """
    partitions = lake.open(table).metadata().partition_columns
    by = partitions[0] if partitions else None
    with _registered(con, table, found) as request:
        gone = request.copy().is_(exp.null()).not_()
        everything = exp.select(exp.Star()).from_(_relation(table)).where(request.copy().is_(exp.null()))
        if by is None:
            lake.publish_query(con, table, _sql(everything))
            return
        days = exp.select(_column(by)).distinct().from_(_relation(table)).where(gone)
        keys: Sequence[dt.date | str] = sorted(key for (key,) in con.execute(_sql(days)).fetchall())
        con.register("touched", pl.DataFrame({"key": keys}))
        chosen = exp.select("key").from_("touched").subquery()
        part = everything.where(exp.In(this=_column(by), query=chosen))
        lake.publish_query(con, table, _sql(part), partition_by=by, keys=keys)


def _values(table: str, column: str, suppression: Suppression, beside: Collection[str]) -> exp.Select:
    """The values of a column that may hold an id: `column`, `value`."""
    values = exp.select(exp.Literal.string(column).as_("column"), _column(column).as_("value"))
    values = values.distinct().from_(_relation(table))
    if column == _VISITOR:
        return values.where(_column(column).is_(exp.null()).not_(), *_nobody_named(beside))
    pattern = "|".join([_HEX, *(f"{_escaped(system)}:" for system in suppression.sources)])
    return values.where(exp.func("regexp_matches", _column(column), exp.Literal.string(pattern)))


def _ids(held: pl.DataFrame, suppression: Suppression) -> pl.DataFrame:
    """The values that are an id on the list, or hold one: `column`, `value`, `request`."""
    customers = _parts(held, rf"\b{_HEX}\b")
    records = _parts(held, r"""[^\s,;"'{}\[\]()<>]+:[^\s,;"'{}\[\]()<>]+""")
    told = [
        held.with_columns(suppression.requests(RECORD, held["value"])),
        customers.select("column", "value", suppression.requests(CUSTOMER, customers["part"])),
        records.select("column", "value", suppression.requests(RECORD, records["part"])),
    ]
    return pl.concat(told).drop_nulls("request")


def _delivered(
    con: duckdb.DuckDBPyConnection,
    table: str,
    columns: list[str],
    suppression: Suppression,
    feeds: Mapping[str, Feed],
) -> pl.DataFrame:
    """The delivered rows in rejects that name somebody."""
    told = [pl.DataFrame(schema={"column": pl.String, "value": pl.String, "request": pl.String})]
    if {"feed", "file", _CONTENT} <= set(columns):
        query = exp.select(*[_column(name) for name in ("feed", "file", _CONTENT)]).distinct().from_(_relation(table))
        rows = con.sql(_sql(query)).pl().drop_nulls(_CONTENT)
        for (name,), part in rows.partition_by("feed", as_dict=True).items():
            if str(name) in feeds:
                found = part.with_columns(of_rejects(feeds[str(name)], part, suppression)).drop_nulls("request")
                told.append(found.select(pl.lit(_CONTENT).alias("column"), value=_CONTENT, request="request"))
    return pl.concat(told)


def _visitors(held: pl.DataFrame, suppression: Suppression) -> pl.DataFrame:
    ids = held.filter(pl.col("column") == _VISITOR)
    return ids.with_columns(suppression.requests(VISITOR, ids["value"])).drop_nulls("request")


def _parts(held: pl.DataFrame, pattern: str) -> pl.DataFrame:
    found = held.select("column", "value", part=pl.col("value").str.extract_all(pattern))
    return found.explode("part").drop_nulls("part")


@contextmanager
def _registered(con: duckdb.DuckDBPyConnection, table: str, found: Naming) -> Generator[exp.Expr]:
    """The request that a row goes back to, as an expression over a table; null for everybody else's."""
    beside = _columns(con, table)
    answers: list[exp.Expr] = []
    names: list[str] = []
    for number, (column, values) in enumerate(found.values.items()):
        names.append(f"named_{number}")
        con.register(names[-1], values.select("value", "request"))
        answer = _looked_up(names[-1], {"value": column})
        if column == _VISITOR and (unnamed := _nobody_named(beside)):
            answer = exp.Case().when(exp.and_(*unnamed), answer)
        answers.append(answer)
    if found.pairs.height:
        names.append("named_pair")
        con.register("named_pair", found.pairs)
        answers.append(_looked_up("named_pair", {"source": "source", "source_id": "source_id"}))
    yield exp.cast(exp.func("coalesce", *answers, exp.null()), "varchar")
    for name in names:
        con.unregister(name)


def _nobody_named(columns: Collection[str]) -> list[exp.Expr]:
    """That a row names nobody but the visitor: whoever signs in on a device later is another person."""
    names = [name for name in ("source_id", "customer_id") if name in columns]
    return [exp.Is(this=exp.column(name, table="held_rows", quoted=True), expression=exp.null()) for name in names]


def _looked_up(relation: str, columns: dict[str, str]) -> exp.Expr:
    """The largest request among rows of a relation whose columns equal those of the row outside."""
    inner = exp.select(exp.func("max", exp.column("request", table=relation))).from_(relation)
    for own, outer in columns.items():
        inner = inner.where(exp.column(own, table=relation).eq(exp.column(outer, table="held_rows", quoted=True)))
    return exp.paren(inner.subquery())


def _relation(table: str) -> exp.Table:
    schema, name = table.split(".")
    return exp.table_(
        exp.to_identifier(name, quoted=True), db=exp.to_identifier(schema, quoted=True), alias="held_rows"
    )


def _column(name: str) -> exp.Column:
    return exp.column(name, quoted=True)


def _escaped(text: str) -> str:
    return "".join(character if character.isalnum() else f"\\{character}" for character in text)


def _columns(con: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    relation = con.sql(_sql(exp.select(exp.Star()).from_(_relation(table))))
    return dict(zip(relation.columns, map(str, relation.types), strict=True))


def _sql(expression: exp.Expr) -> str:
    return expression.sql(dialect="duckdb")
