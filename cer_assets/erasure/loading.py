"""What is delivered, without the rows of who is on the suppression list: they are counted, and not let in."""

from dataclasses import replace

import duckdb
import polars as pl

from cer_assets.erasure.suppression import Suppression
from cer_assets.feeds import CONTRACTS, Delivery, Feed, Layout, contract_columns, required_columns

NAMING = ("source", "source_id", "anonymous_id", "record_a", "record_b", "record_id")
"""Columns that name a record or a visitor, in whatever contract."""

_LAYOUTS = pl.Schema({"file": pl.String, "layout": pl.Int64})
_VALUES = """
select case when json_valid(content) then json_extract_string(content, $pointers) end as texts
from delivered
"""


def naming_columns(feed: Feed) -> list[str]:
    """The columns of a feed that name a record or a visitor."""
    return [name for name in NAMING if name in contract_columns(CONTRACTS[feed.contract])]


def names_people(feed: Feed) -> bool:
    """Whether rows of a feed name records or visitors at all."""
    return bool(naming_columns(feed))


def kept_out(feed: Feed, delivery: Delivery, suppression: Suppression) -> Delivery:
    """A delivery without rows of who is on the list, accepted or rejected; `files` counts them as suppressed."""
    if not len(suppression) or not names_people(feed):
        return delivery
    accepted = suppression.of_rows(delivery.accepted).is_null()
    rejects = of_rejects(feed, delivery.rejects, suppression).is_null()
    lost = [
        frame.filter(~kept).group_by("delivered_on", "file").agg(pl.len().cast(pl.Int64).alias(count))
        for frame, kept, count in ((delivery.accepted, accepted, "let_in"), (delivery.rejects, rejects, "turned_away"))
    ]
    files = delivery.files
    for counts in lost:
        files = files.join(counts, on=["delivered_on", "file"], how="left", maintain_order="left")
    files = files.with_columns(pl.col("let_in", "turned_away").fill_null(0)).with_columns(
        accepted=pl.col("accepted") - pl.col("let_in"),
        rejected=pl.col("rejected") - pl.col("turned_away"),
        suppressed=pl.col("suppressed") + pl.col("let_in") + pl.col("turned_away"),
    )
    return replace(
        delivery,
        accepted=delivery.accepted.filter(accepted),
        rejects=delivery.rejects.filter(rejects),
        files=files.select(delivery.files.columns),
    )


def of_rejects(feed: Feed, rejects: pl.DataFrame, suppression: Suppression) -> pl.Series:
    """The request that each rejected row goes back to: by the delivered columns that name a record.

    A row that has no such columns, or none of what they must hold, goes by any word of it.

    Args:
        feed: what they were delivered for.
        rejects: `file` and `content`, as the rejects hold them.
        suppression: the list.
    """
    found = pl.repeat(None, rejects.height, dtype=pl.String, eager=True).alias("request")
    if not len(suppression) or rejects.is_empty() or not names_people(feed):
        return found
    places = {id(layout): place for place, layout in enumerate(feed.layouts)}
    written = [(name, places.get(id(feed.layout_of(name)))) for name in rejects["file"].unique().sort()]
    layouts = pl.DataFrame(written, schema=_LAYOUTS, orient="row").drop_nulls("layout")
    rows = rejects.select("file").with_row_index("at").join(layouts, on="file")
    for (place,), part in rows.partition_by("layout", as_dict=True).items():
        at = part["at"].sort()
        found = found.scatter(at, _of_layout(feed, feed.layouts[place], rejects["content"][at], suppression))
    return found


def of_named(rows: pl.DataFrame, required: list[str], texts: pl.Series, suppression: Suppression) -> pl.Series:
    """The request that each row goes back to: by what it names, or by any word where it names nobody but should."""
    found = suppression.of_rows(rows)
    unnamed = pl.any_horizontal(pl.lit(value=False), *(pl.col(name).is_null() for name in required))
    at = rows.with_row_index("at").filter(unnamed & found.is_null())["at"]
    return found.scatter(at, suppression.of_texts(texts[at])) if len(at) else found


def required_naming(feed: Feed) -> list[str]:
    """The naming columns that every row of a feed must hold."""
    return [name for name in naming_columns(feed) if name in required_columns(CONTRACTS[feed.contract])]


def _of_layout(feed: Feed, layout: Layout, content: pl.Series, suppression: Suppression) -> pl.Series:
    names = naming_columns(feed)
    pointers = ["/" + layout.delivered_name(name).replace("~", "~0").replace("/", "~1") for name in names]
    with duckdb.connect(":memory:", config={"temp_directory": ""}) as con:
        con.register("delivered", pl.DataFrame({"content": content}))
        told = con.sql(_VALUES, params={"pointers": pointers}).pl()["texts"].to_frame("texts")
    given = {
        name: pl.lit(layout.constants[name])
        if name in layout.constants
        else _text(pl.col("texts").list.get(at), layout)
        for at, name in enumerate(names)
    }
    return of_named(told.select(**given), required_naming(feed), content, suppression)


def _text(value: pl.Expr, layout: Layout) -> pl.Expr:
    """As the loader reads it: a whole number has no decimals, and what stands for nothing is none."""
    stripped = value.str.strip_chars().str.replace(r"^(-?[0-9]+)\.0+$", "${1}")
    return pl.when(stripped.is_in(["", *layout.null_values]).not_()).then(stripped)
