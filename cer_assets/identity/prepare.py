"""Records as one DuckDB table of comparable values, facets and rarities; nothing is blocked or compared here."""

import itertools
import math
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files

import duckdb
import numpy as np
import numpy.typing as npt
import polars as pl
from sqlglot import exp, parse_one

from cer_assets.identity.columns import as_text
from cer_assets.identity.fields import GENERATION, KINDS, PLAIN, MatchField, name_partner

DIALECT = "duckdb"

ENDINGS = ("jr", "sr", "ii", "iii", "iv")
"""What may stand behind a name, in its short spelling."""

MEMORY = "2GB"
"""What DuckDB may hold where the caller brings no connection of its own; what is more goes to disk."""


THREADS = 2
"""Columns are read so many at a time."""

_WORKSPACES = itertools.count()

Codes = npt.NDArray[np.int32]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Texts:
    """Records as text, a series per field, in the order of `record_id`."""

    record_ids: pl.Series
    fields: tuple[MatchField, ...]
    columns: tuple[pl.Series, ...]

    @classmethod
    def of(cls, records: pl.DataFrame, fields: Sequence[MatchField]) -> "Texts":
        """Read the fields of records in any order.

        Raises:
            ValueError: a column is missing, `record_id` is null or repeated, or there is no field.
        """
        _refuse_unusable(records, fields)
        ids = records["record_id"]
        ordered = records if ids.is_sorted() else records.sort("record_id")
        with ThreadPoolExecutor(THREADS) as pool:
            columns = tuple(pool.map(partial(as_text, ordered), fields))
        return cls(ordered["record_id"], tuple(fields), columns)

    def __len__(self) -> int:
        """Number of records."""
        return len(self.record_ids)

    def at(self, positions: npt.NDArray[np.integer]) -> "Texts":
        """Some of the records."""
        return Texts(self.record_ids[positions], self.fields, tuple(column[positions] for column in self.columns))


@dataclass(frozen=True)
class Workspace:
    """Records ready for comparing, in a database in memory.

    The table `prepared` has one row per record: `position` (the record's place when sorted by `record_id`),
    per field i its value `f{i}`, its facets `f{i}_<facet>` and `f{i}_rarity` (natural logarithm of one over the share
    of filled records that hold the value), and `generation` (jr, sr, ii, ... behind a name). Where the workspace is not
    `complete` it holds no more than what `fill` was asked for.
    """

    connection: duckdb.DuckDBPyConnection
    texts: Texts
    name: str
    """Of the in-memory database that all of this lives in, so that other cursors see it too."""
    complete: bool

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Another cursor on the workspace, for another thread; what it makes there has to be temporary."""
        return _opened(self.connection, self.name)

    @property
    def fields(self) -> tuple[MatchField, ...]:
        """The columns that tell people apart."""
        return self.texts.fields

    @property
    def record_ids(self) -> pl.Series:
        """By position."""
        return self.texts.record_ids

    @property
    def size(self) -> int:
        """Number of records."""
        return len(self.texts)


@dataclass(frozen=True)
class Prepared(Workspace):
    """A workspace that has read every record, ready for blocking too.

    `record_facets` has the columns of `prepared`, always for every record; `facets{i}` has those of field i for every
    different value, numbered by `v`.
    """

    values: tuple[Codes, ...]
    """Per field and position the number `v` of the value, 0 where there is none."""
    counts: tuple[npt.NDArray[np.int64], ...]
    """Per field and value how many records hold it; the first place counts those without a value."""
    value_hashes: tuple[Hashes, ...]
    """Per field and value a hash of it, 0 for none; the same wherever this version of polars runs."""
    hashes: Hashes
    """Per record a hash of its values as they were handed in; the same in every run, process and version."""

    @property
    def filled(self) -> tuple[int, ...]:
        """Per field, how many records hold a value."""
        return tuple(int(n[1:].sum()) for n in self.counts)

    @property
    def uniqueness(self) -> tuple[float, ...]:
        """Per field, what the mean agreeing pair's rarity would be: minus ln of the chance that two records agree.

        The chance is that of two different records that both hold a value. At least one such pair is granted, so that a
        field without any repeated value stays finite.
        """
        return tuple(_uniqueness(n[1:]) for n in self.counts)


@dataclass(frozen=True)
class Sparse(Workspace):
    """A workspace that reads no record before `fill` asks for it, and keeps it; what is rare is known beforehand."""

    read: npt.NDArray[np.bool_]
    """Which positions `prepared` holds."""
    holders: Codes
    """Per field and position how many of all records hold the record's value."""
    filled: tuple[int, ...]
    """Per field, how many of all records hold a value."""


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
    with prepared_texts(Texts.of(records, fields), connection, complete) as workspace:
        yield workspace


@contextmanager
def prepared_texts(
    texts: Texts, connection: duckdb.DuckDBPyConnection | None = None, complete: bool = True
) -> Generator[Prepared]:
    """Open a workspace over records that were read; see `prepared`."""
    with _database(connection) as (cursor, name):
        columns = _columns(cursor, name, texts)
        _create_records(cursor, np.arange(len(texts)), columns)
        hashes = np.zeros(len(texts), dtype=np.uint64)
        for column in columns:
            hashes = mixed(hashes, column.hashes)
        workspace = Prepared(
            connection=cursor,
            texts=texts,
            name=name,
            complete=complete,
            values=tuple(column.values for column in columns),
            counts=tuple(column.counts for column in columns),
            value_hashes=tuple(column.value_hashes for column in columns),
            hashes=hashes,
        )
        if complete:
            fill(workspace)
        yield workspace


@contextmanager
def sparse(
    texts: Texts, holders: Codes, filled: Sequence[int], connection: duckdb.DuckDBPyConnection | None = None
) -> Generator[Sparse]:
    """Open a workspace that reads records when they are asked for.

    Args:
        texts: all records.
        holders: per field and position how many of all records hold the record's value.
        filled: per field how many of all records hold a value.
        connection: whose memory limit, spill folder and threads to use; it is left as it was.
    """
    with _database(connection) as (cursor, name):
        read = np.zeros(len(texts), dtype=bool)
        yield Sparse(cursor, texts, name, complete=False, read=read, holders=holders, filled=tuple(filled))


def fill(workspace: Workspace, positions: npt.NDArray[np.integer] | None = None) -> None:
    """Create `prepared` for records at these positions, or for all.

    What is rare is counted among all records either way.
    """
    cursor = workspace.connection
    if isinstance(workspace, Sparse):
        _read_further(workspace, np.arange(workspace.size) if positions is None else positions)
    elif positions is None:
        cursor.execute("create or replace table prepared as from record_facets")
        cursor.execute("create or replace view record_facets as from prepared")
    else:
        cursor.register("records_to_fill", pl.DataFrame({"position": positions.astype(np.int32)}))
        cursor.execute(f"create or replace table prepared as {_some_sql(workspace.fields)}")
        cursor.unregister("records_to_fill")


def _read_further(workspace: Sparse, positions: npt.NDArray[np.integer]) -> None:
    """Add records to `prepared` that are not in it yet."""
    cursor, chosen = workspace.connection, positions[~workspace.read[positions]]
    if not len(chosen):
        return
    texts, holders = workspace.texts.at(chosen), workspace.holders[:, chosen]
    columns = _columns(cursor, workspace.name, texts, holders, workspace.filled)
    _create_records(cursor, chosen, columns)
    if workspace.read.any():
        cursor.execute("insert into prepared from record_facets")
    else:
        cursor.execute("create table prepared as from record_facets")
    workspace.read[chosen] = True


@contextmanager
def _database(connection: duckdb.DuckDBPyConnection | None) -> Generator[tuple[duckdb.DuckDBPyConnection, str]]:
    """A cursor on a database of its own in memory, and its name."""
    # A cursor has temporary tables of its own, so the caller's connection never sees ours.
    base = connection if connection is not None else duckdb.connect(config={"memory_limit": MEMORY})
    name = f"workspace_{next(_WORKSPACES)}"
    base.execute(f"attach ':memory:' as {name}")
    cursor = _opened(base, name)
    cursor.register("diminutives_frame", _diminutives())
    cursor.execute("create table diminutives as from diminutives_frame")
    cursor.unregister("diminutives_frame")
    try:
        yield cursor, name
    finally:
        cursor.close()
        base.execute(f"detach {name}")
        if connection is None:
            base.close()


def _opened(connection: duckdb.DuckDBPyConnection, name: str) -> duckdb.DuckDBPyConnection:
    cursor = connection.cursor()
    cursor.execute(f"use {name}")
    return cursor


def _refuse_unusable(records: pl.DataFrame, fields: Sequence[MatchField]) -> None:
    if not fields:
        raise ValueError("fields: name at least one field to match on")
    missing = [c for c in ("record_id", *(f.column for f in fields)) if c not in records.columns]
    if missing:
        raise ValueError(f"records: column(s) {', '.join(missing)} missing; have {records.columns}")
    ids = records["record_id"]
    # In order, repeated ids stand side by side.
    once = not (ids == ids.shift()).any() if ids.is_sorted() else ids.n_unique() == len(ids)
    if ids.null_count() or not once:
        repeated = len(ids) - ids.n_unique()
        raise ValueError(
            f"records: record_id must be there and differ on every row; {ids.null_count()} null, {repeated} repeated"
        )


@dataclass(frozen=True)
class _Column:
    """One field of some records: per place the number of the value, of the ending, a hash; and counts per value."""

    values: Codes
    endings: npt.NDArray[np.int8]
    hashes: Hashes
    value_hashes: Hashes
    counts: npt.NDArray[np.int64]


def _columns(
    cursor: duckdb.DuckDBPyConnection,
    name: str,
    texts: Texts,
    holders: Codes | None = None,
    filled: Sequence[int] | None = None,
) -> list[_Column]:
    """Read the fields, and create their values and facets.

    Everything that depends on one value only is computed once per different value, not once per record.

    Args:
        cursor: on the workspace.
        name: of its database.
        texts: of some records.
        holders: per field and place how many of all records hold the value, where these are not all.
        filled: per field how many of all records hold a value, likewise.
    """

    def column(position: int) -> _Column:
        own = _opened(cursor, name)
        known = None if holders is None or filled is None else (holders[position], filled[position])
        found = _column(texts.columns[position], own, position, texts.fields[position], known)
        own.close()
        return found

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(column, range(len(texts.fields))))


def _column(
    text: pl.Series,
    cursor: duckdb.DuckDBPyConnection,
    position: int,
    field: MatchField,
    known: tuple[Codes, int] | None,
) -> _Column:
    raw_of_record, raws = _numbered(text)
    standard = _standardised(cursor, raws, field, hashed=known is None)
    value_of_raw, texts = _numbered(standard["value"])
    values = value_of_raw[raw_of_record]
    if known is None:
        counts = np.bincount(values, minlength=len(texts) + 1)
        filled = int(counts[1:].sum())
    else:
        holders, filled = known
        counts = np.zeros(len(texts) + 1, dtype=np.int64)
        counts[values] = holders
    _create_values(cursor, position, texts, counts[1:], filled)
    cursor.execute(f"create or replace view facets{position} as {_facets_sql(position, field)}")
    ending, hashed = standard["ending"].to_numpy(), standard["hash"].to_numpy()
    value_hashes = np.concatenate([np.zeros(1, dtype=np.uint64), texts.hash().to_numpy()])
    return _Column(values, ending[raw_of_record], hashed[raw_of_record], value_hashes, counts)


def _create_records(
    cursor: duckdb.DuckDBPyConnection, positions: npt.NDArray[np.integer], columns: Sequence[_Column]
) -> None:
    """The table of which record holds which values, and the view of records made of these."""
    endings = np.zeros(len(positions), dtype=np.int8)
    for column in columns:
        endings = np.where(endings == 0, column.endings, endings)
    values = {f"v{i}": column.values for i, column in enumerate(columns)}
    frame = pl.DataFrame({"position": positions.astype(np.int32), **values, "ending": endings})
    cursor.register("record_frame", frame)
    cursor.execute("create or replace table record_values as from record_frame")
    cursor.unregister("record_frame")
    query = _records_sql("record_values", [f"facets{i}" for i in range(len(columns))])
    cursor.execute(f"create or replace view record_facets as {query}")


def _numbered(texts: pl.Series) -> tuple[Codes, pl.Series]:
    """A number per different text, counted from 1, and these texts; 0 for null.

    Texts are told apart by 64 bits of hash: among a million, two share theirs once in thirty million fields.
    """
    there = np.flatnonzero(texts.is_not_null().to_numpy())
    hashes = texts.hash().to_numpy()[there]
    order = np.argsort(hashes)
    ordered = hashes[order]
    begins = np.ones(len(ordered), dtype=bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    numbers = np.zeros(len(texts), dtype=np.int32)
    numbers[there[order]] = np.cumsum(begins)
    return numbers, texts.gather(there[order[begins]])


def _standardised(cursor: duckdb.DuckDBPyConnection, raws: pl.Series, field: MatchField, hashed: bool) -> pl.DataFrame:
    """Per number of a raw text: `value` in standard form, `ending` behind a name, `hash`; the first row is of none."""
    cursor.register("raw_frame", pl.DataFrame({"raw": raws}).with_row_index("number", offset=1))
    found = cursor.sql(_standard_sql(field, hashed)).pl()
    cursor.unregister("raw_frame")
    nothing = {"value": [None], "ending": [0], "hash": [0]}
    return pl.concat([pl.DataFrame(nothing, schema=found.schema), found])


@cache
def _standard_sql(field: MatchField, hashed: bool) -> str:
    """The standard form of the texts in `raw_frame`, which of `ENDINGS` stands behind it, from 1, and their hash."""
    standard = rename(KINDS[field.kind].standard, lambda _, _name: "raw")
    ending = "null"
    if field.kind == "name":
        listed = ", ".join(f"'{e}'" for e in ENDINGS)
        said = f"regexp_extract(standard, '{GENERATION}', 1)"
        said = f"case {said} when 'junior' then 'jr' when 'senior' then 'sr' else {said} end"
        ending = f"list_position([{listed}], {said})"
    return f"""
        with standard_text as (
            select number, raw, {standard.sql(DIALECT)} as standard from raw_frame
        )
        select {_kept(field).sql(DIALECT)} as value, coalesce({ending}, 0)::tinyint as ending,
            {"md5_number_lower(raw)" if hashed else "0::ubigint"} as hash
        from standard_text order by number
    """


def standards(fields: Sequence[MatchField]) -> str:
    """All that decides what a text's value and its facets are, written out."""
    written = [_standard_sql(field, hashed=True) + _facets_sql(i, field) for i, field in enumerate(fields)]
    return "\n".join([*written, _diminutives().write_csv()])


def _kept(field: MatchField) -> exp.Expr:
    """The standard value in plain letters without what stands behind a name; null where it stands for none."""
    junk = rename(KINDS[field.kind].junk, lambda _, _name: "standard")
    value = rename(PLAIN, lambda _, _name: "standard")
    if field.kind == "name":
        value = exp.func("regexp_replace", value, exp.Literal.string(GENERATION), exp.Literal.string(""))
    return exp.Case().when(exp.not_(exp.paren(junk)), value)


def _create_values(
    cursor: duckdb.DuckDBPyConnection, position: int, texts: pl.Series, counts: npt.NDArray[np.int64], filled: int
) -> None:
    frame = pl.DataFrame({"value": texts.cast(pl.String), "records": counts}).with_row_index("v", offset=1)
    cursor.register("values_frame", frame)
    cursor.execute(
        f"""
        create or replace table values{position} as
        select v::integer as v, value, ln($filled / records)::float as rarity from values_frame
        """,
        {"filled": filled},
    )
    cursor.unregister("values_frame")


_MIX = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: multiplying by it spreads a number over all bits (Knuth, TAOCP 3, 6.4)."""


def mixed(hashes: Hashes, more: Hashes) -> Hashes:
    """Hashes of all values so far and one more; the order of the fields counts."""
    mixed = (hashes ^ more) * _MIX
    return mixed ^ (mixed >> np.uint64(29))


@cache
def _facets_sql(position: int, field: MatchField, values: str = "") -> str:
    """The values of a field and what is derived from each, as columns of `prepared`, from a table of values."""
    value = f"f{position}"
    columns = ["v", f"p.value as {value}", f"p.rarity as {value}_rarity"]
    for facet, template in KINDS[field.kind].facets.items():
        # A facet may read another one by its name.
        expression = rename(template, lambda _, name: "p.value" if name == "value" else f"{value}_{name}")
        columns.append(f"{expression.sql(DIALECT)} as {value}_{facet}")
    joined = ""
    if field.kind == "name":
        columns.append(f"forms.forms as {value}_forms")
        joined = "left join diminutives as forms on forms.name = split_part(p.value, ' ', 1)"
    return f"select {', '.join(columns)} from {values or f'values{position}'} as p {joined}"


def _records_sql(records: str, facets: Sequence[str]) -> str:
    """The columns of `prepared`, for a table of records and one of facets per field."""
    listed = ", ".join(f"'{e}'" for e in ENDINGS)
    columns = ["r.position", f"list_extract([{listed}], r.ending) as generation"]
    columns += [
        f"facets{i}.* exclude (v, f{i}_rarity), coalesce(f{i}_rarity, 0) as f{i}_rarity" for i in range(len(facets))
    ]
    joins = [f"left join {table} as facets{i} on facets{i}.v = r.v{i}" for i, table in enumerate(facets)]
    return f"select {', '.join(columns)} from {records} as r {' '.join(joins)}"


@cache
def _some_sql(fields: tuple[MatchField, ...]) -> str:
    """The columns of `prepared` for the records in `records_to_fill`, derived from their values only."""
    parts = ["chosen_records as materialized (from record_values semi join records_to_fill using (position))"]
    for i, field in enumerate(fields):
        held = f"(select * from values{i} where v in (select v{i} from chosen_records))"
        parts.append(f"chosen_facets{i} as ({_facets_sql(i, field, held)})")
    query = _records_sql("chosen_records", [f"chosen_facets{i}" for i in range(len(fields))])
    return f"with {', '.join(parts)} {query}"


def _uniqueness(counts: npt.NDArray[np.int64]) -> float:
    filled = int(counts.sum())
    agreeing = int((counts * (counts - 1)).sum())
    pairs = filled * (filled - 1)
    return math.log(pairs / max(agreeing, 2)) if pairs else 0.0


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
