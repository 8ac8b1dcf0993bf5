"""NDJSON drops: one JSON object a line, every value with the type JSON gave it."""

from __future__ import annotations

import re

import duckdb
import polars as pl

from cer_assets.feeds.parcel import BROKEN, JSON_CELL, UNDECODED, Opened, Parcel, as_json

# Counts what is delivered on the text itself, apart from how `_lines` takes it to pieces.
_LINE_WITH_CONTENT = re.compile(r"^[^\n]*[^ \t\r\n]", re.MULTILINE)

_VALUES = """
select
    file_line,
    content,
    json_valid(content) as valid,
    case when json_valid(content) then json_type(content) end as kind,
    case when json_valid(content) then json_extract_string(content, $pointers) end as texts,
    case when json_valid(content) then json_type(content, $pointers) end as types
from line
order by file_line
"""
_KEYS = """
select distinct unnest(json_keys(content)) as name
from line
where case when json_valid(content) then json_type(content) = 'OBJECT' else false end
"""


def open_ndjson(opened: Opened) -> Parcel:
    """Read an NDJSON drop, whose lines that are not blank are what it delivers.

    A column is a `JSON_CELL`. A line that is no JSON object, or that holds a list or an object
    where a single value is wanted, is broken.

    Raises:
        UnreadableDrop: The text cannot be had.
    """
    values, found = _extract(_lines(opened.text), list(opened.wanted.values()))
    judged = values.with_columns(_fault(opened).alias("fault")).unnest("fault")
    sound = judged.filter(pl.col("reason").is_null())
    broken = judged.filter(pl.col("reason").is_not_null())
    content = pl.when("valid").then("content").otherwise(as_json(broken.select(line="content")))
    return Parcel(
        opened=opened,
        delivered=len(_LINE_WITH_CONTENT.findall(opened.text)),
        rows=sound.select(_cell(place).alias(name) for place, name in enumerate(opened.wanted.values())),
        lines=sound["file_line"],
        broken=broken.with_columns(content).select(BROKEN.names()),
        found=found,
        originals=sound["content"],
    )


def _lines(text: str) -> pl.DataFrame:
    """The lines that are not blank: file_line, content."""
    return (
        pl.DataFrame({"content": text.split("\n")}, schema={"content": pl.String})
        .with_row_index("file_line", offset=1)
        .with_columns(pl.col("file_line").cast(pl.Int64), pl.col("content").str.strip_chars(" \t\r"))
        .filter(pl.col("content") != "")
    )


def _extract(lines: pl.DataFrame, names: list[str]) -> tuple[pl.DataFrame, frozenset[str]]:
    """Each line's values under these names, as lists of texts and JSON types; all names found."""
    pointers = ["/" + name.replace("~", "~0").replace("/", "~1") for name in names]
    with duckdb.connect(":memory:") as con:
        con.register("line", lines)
        values = con.sql(_VALUES, params={"pointers": pointers}).pl()
        found = frozenset(con.sql(_KEYS).pl()["name"])
    return values, found if lines.height else frozenset(names)


def _fault(opened: Opened) -> pl.Expr:
    """Struct of column and reason; the reason is null where the line is sound."""
    nested = pl.coalesce(
        pl.when(pl.col("types").list.get(place).is_in(["ARRAY", "OBJECT"])).then(pl.lit(column))
        for place, column in enumerate(opened.wanted)
    )
    undecoded = pl.lit(opened.damaged) & pl.col("content").str.contains(UNDECODED, literal=True)
    return pl.struct(
        column=nested,
        reason=pl.when(undecoded)
        .then(pl.lit(opened.encoding_reason))
        .when(pl.col("kind").eq_missing("OBJECT").not_())
        .then(pl.lit("expected one JSON object a line"))
        .when(nested.is_not_null())
        .then(pl.lit("expected a single value, found a list or an object")),
    )


def _cell(place: int) -> pl.Expr:
    """The value at a place of the lists, as a `JSON_CELL`."""
    text = pl.col("texts").list.get(place)
    # JSON integers of any length keep their digits as text.
    floating = (pl.col("types").list.get(place) == "DOUBLE") & text.str.contains(r"[^0-9-]")
    return pl.struct(
        text=pl.when(floating.not_()).then(text),
        number=pl.when(floating).then(text.cast(pl.Float64, strict=False)),
    ).cast(JSON_CELL)
