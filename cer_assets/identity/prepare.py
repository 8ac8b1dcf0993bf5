"""Records as one DuckDB table of comparable values, facets and rarities; nothing is blocked or compared here."""

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import duckdb
import polars as pl
from sqlglot import exp, parse_one

from cer_assets.identity.fields import GENERATION, KINDS, MatchField, name_partner

DIALECT = "duckdb"


@dataclass(frozen=True)
class Prepared:
    """Records ready for blocking and comparing.

    The temporary table `prepared` has one row per record: `position` (the record's place when sorted by `record_id`),
    per field i its value `f{i}`, its facets `f{i}_<facet>` and `f{i}_rarity` (natural logarithm of one over the share
    of filled records that hold the value), and `generation` (jr, sr, ii, ... behind a name).
    """

    connection: duckdb.DuckDBPyConnection
    fields: tuple[MatchField, ...]
    record_ids: pl.Series
    uniqueness: tuple[float, ...]
    """Per field, what the mean agreeing pair's rarity would be: minus ln of the chance that two records agree."""
    filled: tuple[int, ...]
    """Per field, how many records hold a value."""

    @property
    def size(self) -> int:
        """Number of records."""
        return len(self.record_ids)


@contextmanager
def prepared(
    records: pl.DataFrame,
    fields: Sequence[MatchField],
    connection: duckdb.DuckDBPyConnection | None = None,
) -> Generator[Prepared]:
    """Open a workspace over the records; its temporary tables go when it closes.

    Args:
        records: `record_id` and a column per field; rows in any order.
        fields: the columns that tell people apart.
        connection: whose memory limit, spill folder and threads to use; it is left as it was.

    Raises:
        ValueError: a column is missing, `record_id` is null or repeated, or there is no field.
    """
    _refuse_unusable(records, fields)
    # A cursor has temporary tables of its own, so the caller's connection never sees ours.
    base = connection if connection is not None else duckdb.connect()
    cursor = base.cursor()
    ordered = records.sort("record_id")
    try:
        _create_table(cursor, ordered, fields)
        filled = _filled(cursor, fields)
        yield Prepared(cursor, tuple(fields), ordered["record_id"], _uniqueness(cursor, fields, filled), filled)
    finally:
        cursor.close()
        if connection is None:
            base.close()


def _refuse_unusable(records: pl.DataFrame, fields: Sequence[MatchField]) -> None:
    if not fields:
        raise ValueError("fields: name at least one field to match on")
    missing = [c for c in ("record_id", *(f.column for f in fields)) if c not in records.columns]
    if missing:
        raise ValueError(f"records: column(s) {', '.join(missing)} missing; have {records.columns}")
    ids = records["record_id"]
    if ids.null_count() or ids.n_unique() != len(ids):
        repeated = len(ids) - ids.n_unique()
        raise ValueError(
            f"records: record_id must be there and differ on every row; {ids.null_count()} null, {repeated} repeated"
        )


def _create_table(cursor: duckdb.DuckDBPyConnection, ordered: pl.DataFrame, fields: Sequence[MatchField]) -> None:
    texts = ordered.select(
        pl.int_range(pl.len(), dtype=pl.Int32).alias("position"),
        *(pl.col(f.column).cast(pl.String).alias(f"raw{i}") for i, f in enumerate(fields)),
    )
    cursor.register("raw_records", texts)
    cursor.register("diminutives", _diminutives())
    for table, query in (("standard_records", _standard_sql), ("prepared", _prepared_sql)):
        cursor.execute(f"create or replace temp table {table} as {query(tuple(fields))}")
    for view in ("raw_records", "diminutives"):
        cursor.unregister(view)
    cursor.execute("drop table standard_records")


@cache
def _standard_sql(fields: tuple[MatchField, ...]) -> str:
    """Each field in its kind's standard form."""
    standard = (
        exp.alias_(rename(KINDS[field.kind].standard, lambda _, _name, raw=f"raw{i}": raw), f"f{i}")
        for i, field in enumerate(fields)
    )
    return exp.select("position", *standard).from_("raw_records").sql(DIALECT)


@cache
def _prepared_sql(fields: tuple[MatchField, ...]) -> str:
    """Name endings apart, facets beside each value, and each value's rarity joined to it."""
    names = [i for i, f in enumerate(fields) if f.kind == "name"]
    values = (
        f"regexp_replace(f{i}, '{GENERATION}', '') as f{i}" if i in names else f"f{i}" for i in range(len(fields))
    )
    plain = exp.select("position", *values, exp.alias_(_generation(names), "generation")).from_("standard_records")
    query = exp.select("p.position", "p.generation").with_("plain_records", as_=plain).from_("plain_records as p")
    for i, field in enumerate(fields):
        query = _add_field(query, i, field)
    return query.order_by("p.position").sql(DIALECT)


def _generation(names: Sequence[int]) -> exp.Expr:
    """The first ending behind any of the names, in its short spelling; null where there is none."""
    if not names:
        return exp.cast(exp.null(), "varchar")
    found = ", ".join(f"nullif(regexp_extract(f{i}, '{GENERATION}', 1), '')" for i in names)
    return parse_one(
        f"""
        case coalesce({found}) when 'junior' then 'jr' when 'senior' then 'sr'
        else coalesce({found}) end
        """,
        dialect=DIALECT,
    )


def _add_field(query: exp.Select, position: int, field: MatchField) -> exp.Select:
    value, values = f"f{position}", f"values{position}"
    counts = parse_one(
        f"""
        select {value} as value, ln(sum(count(*)) over () / count(*)) as rarity
        from plain_records where {value} is not null group by {value}
        """,
        dialect=DIALECT,
    )
    query = (
        query.with_(values, as_=counts)
        .join(values, on=f"{values}.value = p.{value}", join_type="left")
        .select(f"p.{value}", f"coalesce({values}.rarity, 0)::float as {value}_rarity")
    )
    for facet, template in KINDS[field.kind].facets.items():
        expression = rename(template, lambda _, _name: f"p.{value}")
        query = query.select(exp.alias_(expression, f"{value}_{facet}"))
    if field.kind == "name":
        forms = f"forms{position}"
        query = query.join(
            f"diminutives as {forms}",
            on=f"{forms}.name = split_part(p.{value}, ' ', 1)",
            join_type="left",
        ).select(f"{forms}.forms as {value}_forms")
    return query


def _filled(cursor: duckdb.DuckDBPyConnection, fields: Sequence[MatchField]) -> tuple[int, ...]:
    counts = exp.select(*(f"count(f{i})" for i in range(len(fields)))).from_("prepared")
    return cursor.execute(counts.sql(DIALECT)).fetchall()[0]


def _uniqueness(
    cursor: duckdb.DuckDBPyConnection, fields: Sequence[MatchField], filled: Sequence[int]
) -> tuple[float, ...]:
    """Minus ln of the chance that two different records, both filled, hold one value of the field.

    At least one such pair is granted, so that a field without any repeated value stays finite.
    """
    result: list[float] = []
    for i in range(len(fields)):
        ((agreeing,),) = cursor.execute(
            f"""
            select coalesce(sum(n * (n - 1)), 0)::double
            from (select count(*) as n from prepared where f{i} is not null group by f{i})
            """
        ).fetchall()
        pairs = filled[i] * (filled[i] - 1)
        result.append(math.log(pairs / max(agreeing, 2.0)) if pairs else 0.0)
    return tuple(result)


@cache
def _diminutives() -> pl.DataFrame:
    """`name` and the `forms` (formal names) it may stand for; a formal name stands for itself."""
    table = pl.read_csv(files("cer_assets.identity").joinpath("diminutives.csv").read_bytes())
    short = table.select("formal", name=pl.col("short").str.split(" ")).explode("name")
    return (
        pl.concat([short, table.select("formal", name="formal")])
        .group_by("name")
        .agg(forms=pl.col("formal").unique().sort())
        .sort("name")
    )


@cache
def _parsed(template: str) -> exp.Expr:
    return parse_one(template, dialect=DIALECT)


def rename(template: str, column: Callable[[str, str], str | None]) -> exp.Expr:
    """The template as an expression with each column named by `column(table, name)`; None makes it null."""

    def renamed(node: exp.Expr) -> exp.Expr:
        if not isinstance(node, exp.Column):
            return node
        target = column(node.table, node.name)
        return exp.null() if target is None else exp.column(*reversed(target.split(".")))

    return _parsed(template).copy().transform(renamed)


def of_field(template: str, fields: Sequence[MatchField], position: int) -> exp.Expr:
    """A kind's template over `l` and `r`, bound to one field's columns in `prepared`."""
    partner = name_partner(fields, position)

    def column(table: str, name: str) -> str | None:
        if name == "partner":
            return None if partner is None else f"{table}.f{partner}"
        return f"{table}.f{position}" if name == "value" else f"{table}.f{position}_{name}"

    return rename(template, column)
