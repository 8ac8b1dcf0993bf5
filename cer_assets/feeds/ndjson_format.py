"""NDJSON drops: one JSON object a line, every value with the type JSON gave it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import polars as pl

from cer_assets.feeds.parcel import BROKEN, JSON_CELL, UNDECODED, Opened, Parcel, as_json

# Counts what is delivered on the text itself, apart from how `_lines` takes it to pieces.
_LINE_WITH_CONTENT = re.compile(r"^[^\n]*[^ \t\r\n]", re.MULTILINE)

_LINES_AT_ONCE = 20_000
_MOST_BYTES_A_LINE = 1_000_000
"""No record is so long; a line of nothing but brackets takes fifty times its length to be looked into."""

_VALUES = """
with line as (select *, coalesce(json_valid(content), false) as valid from given)
select
    place,
    file_line,
    undecoded,
    long,
    valid,
    case when valid then json_type(content) end as kind,
    case when valid then json_extract_string(content, $pointers) end as texts,
    case when valid then json_type(content, $pointers) end as types,
    case when valid then len(list_distinct(json_keys(content))) < len(json_keys(content)) end as repeats
from line
order by place, file_line
"""
# Beside the name that is null stands how many objects there are.
_KEYS = """
with object as (
    select place, json_keys(content) as names
    from given
    where case when json_valid(content) then json_type(content) = 'OBJECT' else false end
),
key as (select place, unnest(list_append(names, null)) as name from object)
select place, name, count(*) as times
from key
group by place, name
order by place, name
"""


@dataclass(frozen=True)
class Lines:
    """A drop taken to its lines, apart from its text."""

    opened: Opened
    delivered: int
    frame: pl.DataFrame
    """The lines that are not blank: file_line, content, undecoded (whether there are bytes of another encoding in it),
    long (whether it is too long to be looked into)."""


def take_to_lines(opened: Opened) -> Lines:
    """The lines of an NDJSON drop.

    Raises:
        UnreadableDrop: There are too many.
    """
    text, damaged = opened.decoded()
    opened.require_room(text.count("\n") + 1)
    delivered = sum(1 for _ in _LINE_WITH_CONTENT.finditer(text))
    frame = (
        pl.DataFrame({"content": text.split("\n")}, schema={"content": pl.String})
        .with_row_index("file_line", offset=1)
        .select(pl.col("file_line").cast(pl.Int64), pl.col("content").str.strip_chars(" \t\r"))
        .filter(pl.col("content") != "")
        .with_columns(
            undecoded=pl.col("content").str.contains(UNDECODED, literal=True) & damaged,
            long=pl.col("content").str.len_bytes() > _MOST_BYTES_A_LINE,
        )
    )
    return Lines(opened, delivered, frame)


def open_ndjson(drops: Sequence[Lines]) -> list[Parcel]:
    """Read NDJSON drops of one layout together; a drop delivers its lines that are not blank.

    A column is a `JSON_CELL`. A line that is no JSON object, or that holds a list or an object where a single value
    is wanted, is broken.
    """
    first = drops[0].opened
    names = list(dict.fromkeys(first.wanted.values()))
    fault = _fault(first.wanted, names, first.encoding_reason).alias("fault")
    cells = pl.struct(_cell(at).alias(name) for at, name in enumerate(names)).alias("cells")
    lines = pl.concat(drop.frame.with_columns(place=pl.lit(at, pl.Int64)) for at, drop in enumerate(drops))
    content = pl.when("valid").then("content")
    sound: list[pl.DataFrame] = []
    broken: list[pl.DataFrame] = []
    keys: list[pl.DataFrame] = []
    with duckdb.connect(":memory:", config={"temp_directory": ""}) as con:
        for some in [*lines.iter_slices(_LINES_AT_ONCE)] or [lines]:
            values, names_found = _extract(con, some, names)
            judged = values.with_columns(fault).unnest("fault")
            sound.append(judged.filter(pl.col("reason").is_null()).select("place", "file_line", "content", cells))
            bad = judged.filter(pl.col("reason").is_not_null())
            broken.append(
                bad.select("place", *BROKEN.names()[:-1], content.otherwise(as_json(bad.select(line="content"))))
            )
            keys.append(names_found)
    kept, rejected = _by_place(pl.concat(sound), len(drops)), _by_place(pl.concat(broken), len(drops))
    found = _names_told(pl.concat(keys), names)
    return [
        drop.opened.parcel(
            delivered=drop.delivered,
            rows=kept[place]["cells"].struct.unnest(),
            lines=kept[place]["file_line"],
            broken=rejected[place].drop("place"),
            found=frozenset(found.get(place, names)),
            originals=kept[place]["content"],
        )
        for place, drop in enumerate(drops)
    ]


def _extract(
    con: duckdb.DuckDBPyConnection, lines: pl.DataFrame, names: list[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Each line's values under these names, as lists of texts and JSON types; how often each name is found."""
    pointers = ["/" + name.replace("~", "~0").replace("/", "~1") for name in names]
    con.register("given", lines.with_columns(content=pl.when(pl.col("long").not_()).then("content")))
    values = con.sql(_VALUES, params={"pointers": pointers}).pl()
    return values.with_columns(lines["content"]), con.sql(_KEYS).pl()


def _names_told(keys: pl.DataFrame, wanted: list[str]) -> dict[int, list[str]]:
    """The names of each place's objects; one that stands in few may be a value that went astray, and is not told."""
    counted = keys.group_by("place", "name").agg(pl.col("times").sum())
    objects = counted.filter(pl.col("name").is_null()).select("place", objects="times")
    told = (
        counted.filter(pl.col("name").is_not_null())
        .join(objects, on="place")
        .filter((pl.col("times") * 2 >= pl.col("objects")) | pl.col("name").is_in(wanted))
    )
    return {place: list(part["name"]) for (place,), part in told.partition_by("place", as_dict=True).items()} | {
        place: [] for place in set(objects["place"]) - set(told["place"])
    }


def _fault(wanted: dict[str, str], names: list[str], encoding_reason: str) -> pl.Expr:
    """Struct of column and reason; the reason is null where the line is sound."""
    nested = pl.coalesce(
        pl.when(pl.col("types").list.get(names.index(name)).is_in(["ARRAY", "OBJECT"])).then(pl.lit(column))
        for column, name in wanted.items()
    )
    return pl.struct(
        column=nested,
        reason=pl.when("undecoded")
        .then(pl.lit(encoding_reason))
        .when(pl.col("kind").eq_missing("OBJECT").not_())
        .then(pl.lit("expected one JSON object a line"))
        .when("repeats")
        .then(pl.lit("expected each name once in an object"))
        .when(nested.is_not_null())
        .then(pl.lit("expected a single value, found a list or an object")),
    )


def _cell(at: int) -> pl.Expr:
    """The value at a place of the lists, as a `JSON_CELL`."""
    text = pl.col("texts").list.get(at)
    # JSON integers of any length keep their digits as text.
    floating = (pl.col("types").list.get(at) == "DOUBLE") & text.str.contains(r"[^0-9-]")
    return pl.struct(
        text=pl.when(floating.not_()).then(text),
        number=pl.when(floating).then(text.cast(pl.Float64, strict=False)),
    ).cast(JSON_CELL)


def _by_place(frame: pl.DataFrame, places: int) -> list[pl.DataFrame]:
    """The part of a frame, ordered by place, that belongs to each place."""
    ends = frame["place"].search_sorted(np.arange(places), side="right").to_list()
    return [frame[start:end] for start, end in zip([0, *ends], ends, strict=False)]
