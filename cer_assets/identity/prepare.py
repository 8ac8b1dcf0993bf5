"""Records as one DuckDB table of comparable values, facets and rarities; nothing is blocked or compared here."""

import logging
import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

import duckdb
import numpy as np
import numpy.typing as npt
import polars as pl
from sqlglot import exp, parse_one

from cer_assets.identity.columns import as_text
from cer_assets.identity.fields import GENERATION, KINDS, PLAIN, MatchField, name_partner

DIALECT = "duckdb"

MEMORY = "2GB"
"""What DuckDB may hold where the caller brings no connection of its own; what is more goes to disk."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """Records ready for blocking and comparing.

    The temporary table `prepared` has one row per record: `position` (the record's place when sorted by `record_id`),
    per field i its value `f{i}`, its facets `f{i}_<facet>` and `f{i}_rarity` (natural logarithm of one over the share
    of filled records that hold the value), and `generation` (jr, sr, ii, ... behind a name). Where the workspace is not
    `complete` it holds only the records last asked of `fill`. `record_facets` has all of that but the rarities, always
    for every record.
    """

    connection: duckdb.DuckDBPyConnection
    fields: tuple[MatchField, ...]
    record_ids: pl.Series
    complete: bool = True

    @property
    def size(self) -> int:
        """Number of records."""
        return len(self.record_ids)

    @cached_property
    def filled(self) -> tuple[int, ...]:
        """Per field, how many records hold a value."""
        counts = exp.select(*(f"count(f{i})" for i in range(len(self.fields)))).from_("plain_records")
        return self.connection.execute(counts.sql(DIALECT)).fetchall()[0]

    @cached_property
    def uniqueness(self) -> tuple[float, ...]:
        """Per field, what the mean agreeing pair's rarity would be: minus ln of the chance that two records agree."""
        return _uniqueness(self.connection, self.filled)

    @cached_property
    def hashes(self) -> npt.NDArray[np.uint64]:
        """Per record a hash of its values as they were handed in; the same in every run, process and version."""
        values = ", ".join(f"coalesce(raw{i}, chr(30))" for i in range(len(self.fields)))
        query = f"select md5_number_lower(concat_ws(chr(31), {values})) as hash from raw_records order by position"
        return self.connection.sql(query).pl()["hash"].to_numpy()


@contextmanager
def prepared(
    records: pl.DataFrame,
    fields: Sequence[MatchField],
    connection: duckdb.DuckDBPyConnection | None = None,
    complete: bool = True,
) -> Generator[Prepared]:
    """Open a workspace over the records; its temporary tables go when it closes.

    Args:
        records: `record_id` and a column per field; rows in any order.
        fields: the columns that tell people apart.
        connection: whose memory limit, spill folder and threads to use; it is left as it was.
        complete: whether every record is made ready to be compared; otherwise `fill` does so for those it is asked for.

    Raises:
        ValueError: a column is missing, `record_id` is null or repeated, or there is no field.
    """
    _refuse_unusable(records, fields)
    # A cursor has temporary tables of its own, so the caller's connection never sees ours.
    base = connection if connection is not None else duckdb.connect(config={"memory_limit": MEMORY})
    cursor = base.cursor()
    ids = records["record_id"]
    ordered = records if ids.is_sorted() else records.sort("record_id")
    workspace = Prepared(cursor, tuple(fields), ordered["record_id"], complete)
    try:
        _create_plain(cursor, ordered, workspace.fields)
        if complete:
            fill(workspace)
        yield workspace
    finally:
        cursor.close()
        if connection is None:
            base.close()


def fill(workspace: Prepared, positions: npt.NDArray[np.integer] | None = None) -> None:
    """Create the table `prepared` for records at these positions, or for all.

    What is rare is counted among all records either way.
    """
    cursor = workspace.connection
    if positions is not None:
        cursor.register("records_to_fill", pl.DataFrame({"position": positions.astype(np.int32)}))
    query = _prepared_sql(workspace.fields, positions is None)
    cursor.execute(f"create or replace temp table prepared as {query}")
    if positions is None:
        cursor.execute("create or replace temp view record_facets as from prepared")
    else:
        cursor.unregister("records_to_fill")


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


def _create_plain(cursor: duckdb.DuckDBPyConnection, ordered: pl.DataFrame, fields: tuple[MatchField, ...]) -> None:
    texts = ordered.select(
        pl.int_range(pl.len(), dtype=pl.Int32).alias("position"),
        *(as_text(ordered, f).alias(f"raw{i}") for i, f in enumerate(fields)),
    )
    cursor.register("raw_records", texts)
    cursor.register("diminutives_frame", _diminutives())
    cursor.execute("create or replace temp table diminutives as from diminutives_frame")
    cursor.unregister("diminutives_frame")
    cursor.execute(f"create or replace temp table plain_records as {_plain_sql(fields)}")
    cursor.execute(f"create or replace temp view record_facets as {_facets_sql(fields)}")


@cache
def _plain_sql(fields: tuple[MatchField, ...]) -> str:
    """Each field in its kind's standard form, name endings apart."""
    standard = (
        exp.alias_(rename(KINDS[field.kind].standard, lambda _, _name, raw=f"raw{i}": raw), f"f{i}")
        for i, field in enumerate(fields)
    )
    names = [i for i, f in enumerate(fields) if f.kind == "name"]
    values = (_kept(i, field) for i, field in enumerate(fields))
    return (
        exp.select("position", *values, exp.alias_(_generation(names), "generation"))
        .with_("standard_records", as_=exp.select("position", *standard).from_("raw_records"))
        .from_("standard_records")
        .order_by("position")
        .sql(DIALECT)
    )


@cache
def _facets_sql(fields: tuple[MatchField, ...]) -> str:
    """What is derived from each value, beside it."""
    query = exp.select("p.position", "p.generation").from_("plain_records as p")
    for i, field in enumerate(fields):
        value = f"f{i}"
        query = query.select(f"p.{value}")
        for facet, template in KINDS[field.kind].facets.items():
            # A facet may read another one by its name.
            expression = rename(
                template, lambda _, name, value=value: f"p.{value}" if name == "value" else f"{value}_{name}"
            )
            query = query.select(exp.alias_(expression, f"{value}_{facet}"))
        if field.kind == "name":
            forms = f"forms{i}"
            query = query.join(
                f"diminutives as {forms}", on=f"{forms}.name = split_part(p.{value}, ' ', 1)", join_type="left"
            ).select(f"{forms}.forms as {value}_forms")
    return query.sql(DIALECT)


@cache
def _prepared_sql(fields: tuple[MatchField, ...], every: bool) -> str:
    """Facets and the rarity of each value, of every record or of those in `records_to_fill`."""
    query = exp.select("r.*").from_("records as r")
    chosen = "" if every else "semi join records_to_fill using (position)"
    query = query.with_("records", as_=parse_one(f"select * from ({_facets_sql(fields)}) {chosen}", dialect=DIALECT))
    for i in range(len(fields)):
        value, values = f"f{i}", f"values{i}"
        held = "" if every else f"and {value} in (select {value} from records)"
        counts = f"""
            select {value} as value, ln((select count({value}) from plain_records) / count(*)) as rarity
            from plain_records where {value} is not null {held} group by {value}
        """
        query = (
            query.with_(values, as_=parse_one(counts, dialect=DIALECT))
            .join(values, on=f"{values}.value = r.{value}", join_type="left")
            .select(f"coalesce({values}.rarity, 0)::float as {value}_rarity")
        )
    return query.order_by("r.position").sql(DIALECT)


def _kept(position: int, field: MatchField) -> exp.Expr:
    """The standard value in plain letters without what stands behind a name; null where it stands for none."""
    column = f"f{position}"
    junk = rename(KINDS[field.kind].junk, lambda _, _name: column)
    value = rename(PLAIN, lambda _, _name: column)
    if field.kind == "name":
        value = exp.func("regexp_replace", value, exp.Literal.string(GENERATION), exp.Literal.string(""))
    return exp.alias_(exp.Case().when(exp.not_(exp.paren(junk)), value), column)


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


def _uniqueness(cursor: duckdb.DuckDBPyConnection, filled: Sequence[int]) -> tuple[float, ...]:
    """Minus ln of the chance that two different records, both filled, hold one value of the field.

    At least one such pair is granted, so that a field without any repeated value stays finite.
    """
    result: list[float] = []
    for i, records in enumerate(filled):
        ((agreeing,),) = cursor.execute(
            f"""
            select coalesce(sum(n * (n - 1)), 0)::double
            from (select count(*) as n from plain_records where f{i} is not null group by f{i})
            """
        ).fetchall()
        pairs = records * (records - 1)
        result.append(math.log(pairs / max(agreeing, 2.0)) if pairs else 0.0)
    return tuple(result)


@cache
def _diminutives() -> pl.DataFrame:
    """`name` and the `forms` (formal names, blanks between) it may stand for; a formal name stands for itself."""
    table = pl.read_csv(files("cer_assets.identity").joinpath("diminutives.csv").read_bytes())
    short = table.select("formal", name=pl.col("short").str.split(" ")).explode("name")
    return (
        pl.concat([short, table.select("formal", name="formal")])
        .group_by("name")
        .agg(forms=pl.col("formal").unique().sort().str.join(" "))
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
        if name.startswith("partner"):
            return None if partner is None else f"{table}.f{partner}{name.removeprefix('partner')}"
        return f"{table}.f{position}" if name == "value" else f"{table}.f{position}_{name}"

    return rename(template, column)
