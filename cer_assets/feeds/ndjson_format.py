"""NDJSON drops: one JSON object a line, every value with the type JSON gave it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import duckdb
import numpy as np
import polars as pl

from cer_assets.feeds.parcel import BROKEN, JSON_CELL, UNDECODED, Opened, Parcel, as_json

# Counts what is delivered on the text itself, apart from how `_lines` takes it to pieces.
_LINE_WITH_CONTENT = re.compile(r"^[^\n]*[^ \t\r\n]", re.MULTILINE)

_VALUES = """
select
    place,
    file_line,
    content,
    undecoded,
    json_valid(content) as valid,
    case when json_valid(content) then json_type(content) end as kind,
    case when json_valid(content) then json_extract_string(content, $pointers) end as texts,
    case when json_valid(content) then json_type(content, $pointers) end as types
from line
order by place, file_line
"""
_KEYS = """
select distinct place, unnest(json_keys(content)) as name
from line
where case when json_valid(content) then json_type(content) = 'OBJECT' else false end
"""


def open_ndjson(drops: Sequence[Opened]) -> list[Parcel]:
    """Read NDJSON drops of one layout together; a drop delivers its lines that are not blank.

    A column is a `JSON_CELL`. A line that is no JSON object, or that holds a list or an object where a single value
    is wanted, is broken.
    """
    wanted = drops[0].wanted
    names = list(dict.fromkeys(wanted.values()))
    values, keys = _extract(_lines(drops), names)
    judged = values.with_columns(_fault(wanted, names, drops[0].encoding_reason).alias("fault")).unnest("fault")
    sound = judged.filter(pl.col("reason").is_null())
    broken = judged.filter(pl.col("reason").is_not_null())
    content = pl.when("valid").then("content").otherwise(as_json(broken.select(line="content")))
    cells = [_cell(at).alias(name) for at, name in enumerate(names)]
    found = {place: list(part["name"]) for (place,), part in keys.partition_by("place", as_dict=True).items()}
    kept = _by_place(sound.select("place", "file_line", "content", pl.struct(cells).alias("cells")), len(drops))
    rejected = _by_place(broken.select("place", *BROKEN.names()[:-1], content), len(drops))
    return [
        opened.parcel(
            delivered=len(_LINE_WITH_CONTENT.findall(opened.text)),
            rows=kept[place]["cells"].struct.unnest(),
            lines=kept[place]["file_line"],
            broken=rejected[place].drop("place"),
            found=frozenset(found.get(place, names)),
            originals=kept[place]["content"],
        )
        for place, opened in enumerate(drops)
    ]


def _lines(drops: Sequence[Opened]) -> pl.DataFrame:
    """The lines that are not blank, of each drop by its place: place, file_line, content, undecoded."""
    return pl.concat(
        pl.DataFrame({"content": opened.text.split("\n")}, schema={"content": pl.String})
        .with_row_index("file_line", offset=1)
        .select(
            pl.lit(place, pl.Int64).alias("place"),
            pl.col("file_line").cast(pl.Int64),
            pl.col("content").str.strip_chars(" \t\r"),
        )
        .filter(pl.col("content") != "")
        .with_columns(undecoded=pl.col("content").str.contains(UNDECODED, literal=True) & opened.damaged)
        for place, opened in enumerate(drops)
    )


def _extract(lines: pl.DataFrame, names: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Each line's values under these names, as lists of texts and JSON types; the names found at each place."""
    pointers = ["/" + name.replace("~", "~0").replace("/", "~1") for name in names]
    with duckdb.connect(":memory:", config={"temp_directory": ""}) as con:
        con.register("line", lines)
        return con.sql(_VALUES, params={"pointers": pointers}).pl(), con.sql(_KEYS).pl()


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
