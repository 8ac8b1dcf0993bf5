"""How the report's charts look, and how they become SVG; which figures they show is said where those are computed.

Few colours are used, each for one thing, and the page's style sheet puts others in their place on a dark screen.
"""

import io
import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

import altair as alt
import polars as pl

from cer_assets.insight.report import words
from cer_assets.insight.report.content import Chart

INK, QUIET, RULE = "#1c2430", "#5c6776", "#dde2e9"
ACCENT, OTHER, ON_ACCENT = "#1f5c99", "#e0912f", "#fcfcfd"
COLOURS = {
    INK: "--ink",
    QUIET: "--quiet",
    RULE: "--rule",
    ACCENT: "--accent",
    OTHER: "--other",
    ON_ACCENT: "--on-accent",
}
"""Colour of a chart -> the variable of the style sheet that stands for it on the page."""

WIDTH = 520
FONT = "Liberation Sans"
"""Comes with the drawing library, so that a chart is laid out alike on every machine; the page sets its own."""
PERCENT = ".0%"
_NOT_KEPT = ("class", "role", "aria-", "pointer-events", "version")
"""Attributes that the page has no use for: a chart is read by its label there."""
DARK_FROM = 0.7
"""From this depth of colour on, text on it is light."""


def styled(chart: Chart, background: str = "white") -> Chart:
    """The chart in the report's style, as a picture of its own."""
    return chart.configure(
        font=FONT,
        aria=False,
        background=background,
        view=alt.ViewConfig(stroke=None),
        title=alt.TitleConfig(color=INK, fontSize=13, fontWeight="normal", anchor="start", offset=8),
        axis=alt.AxisConfig(
            labelColor=QUIET,
            titleColor=QUIET,
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            gridColor=RULE,
            domainColor=RULE,
            tickColor=RULE,
            labelLimit=260,
            titlePadding=10,
        ),
        legend=alt.LegendConfig(
            labelColor=QUIET,
            labelFontSize=12,
            orient="top",
            title=None,
            symbolType="square",
            offset=8,
            columnPadding=20,
        ),
        text=alt.MarkConfig(fontSize=12, color=INK),
    )


def svg(chart: Chart, name: str) -> str:
    """A chart as an `svg` element to stand in a page: see-through, scalable, with ids of its own.

    Args:
        chart: not styled yet.
        name: what its ids begin with, so that no other chart of the page has the same.
    """
    buffer = io.StringIO()
    styled(chart, "transparent").save(buffer, format="svg")
    drawn = ElementTree.fromstring(buffer.getvalue())
    # The library counts ids on from chart to chart, for as long as the process lives.
    named = [element.attrib["id"] for element in drawn.iter() if "id" in element.attrib]
    ids = {found: f"{name}-{place}" for place, found in enumerate(named)}
    for element in drawn.iter():
        element.tag = element.tag.rpartition("}")[2]
        kept = {key: value for key, value in element.attrib.items() if not key.startswith(_NOT_KEPT)}
        element.attrib = {key: _with_ids(key, value, ids) for key, value in kept.items()}
    # The page says how wide; the chart keeps its shape.
    drawn.attrib = {
        "style": f"max-width:{drawn.attrib['width']}px",
        "aria-hidden": "true",
        "viewBox": drawn.attrib["viewBox"],
    }
    return ElementTree.tostring(drawn, encoding="unicode")


def _with_ids(key: str, value: str, ids: Mapping[str, str]) -> str:
    """An attribute's value, its id or reference to one replaced."""
    if key == "id":
        return ids[value]
    return re.sub(r"#([^)]+)\)", lambda found: f"#{ids[found[1]]})", value) if value.startswith("url(#") else value


def heat(
    cells: pl.DataFrame,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    row_title: str | None,
    column_title: str,
    width: int = WIDTH,
    row_height: int = 44,
) -> alt.LayerChart:
    """A matrix whose cells are the deeper in colour the larger their `depth`, with a text in each.

    Args:
        cells: row, column, text String, depth Float64 from 0 to 1.
        rows: from top to bottom.
        columns: from left to right.
        row_title: what a row is; None where its labels say so.
        column_title: what a column is.
        width: of the matrix without its labels, pixels.
        row_height: pixels.
    """
    shown = cells.with_columns(
        ink=pl.when(pl.col("depth") >= DARK_FROM).then(pl.lit("light")).otherwise(pl.lit("dark"))
    )
    base = alt.Chart(shown).encode(
        x=alt.X(
            "column:N",
            title=column_title,
            sort=list(columns),
            scale=alt.Scale(domain=list(columns), paddingInner=0.03),
            axis=alt.Axis(orient="top", labelAngle=0, domain=False, ticks=False, labelPadding=6),
        ),
        y=alt.Y(
            "row:N",
            title=row_title,
            sort=list(rows),
            scale=alt.Scale(domain=list(rows), paddingInner=0.05),
            axis=alt.Axis(domain=False, ticks=False, labelPadding=8),
        ),
    )
    depth = alt.FillOpacity("depth:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[0.04, 1], clamp=True))
    ink = alt.Color("ink:N", legend=None, scale=alt.Scale(domain=["dark", "light"], range=[INK, ON_ACCENT]))
    layers = [base.mark_rect(fill=ACCENT, cornerRadius=2).encode(fillOpacity=depth)]
    # The middle of a text of two lines is that of its first.
    text = base.mark_text(lineBreak="\n", dy=-7 if cells["text"].str.contains("\n").any() else 0)
    layers.append(text.encode(text="text:N", color=ink))
    return alt.LayerChart(layer=layers).properties(width=width, height=alt.Step(row_height))


def two_shares(shares: pl.DataFrame, first: str, second: str) -> alt.LayerChart:
    """Two bars a group: its share of the one beside its share of the other.

    Args:
        shares: group String in the order to be shown, first and second Float64 shares.
        first: what `first` is a share of, in words.
        second: what `second` is a share of.
    """
    groups = shares["group"].to_list()
    long = pl.concat(
        [
            shares.select("group", share=pl.col(column), of=pl.lit(words), place=pl.lit(place))
            for place, (column, words) in enumerate((("first", first), ("second", second)))
        ]
    )
    long = long.with_columns(text=pl.Series([words.percent(share) for share in long["share"]], dtype=pl.String))
    most = float(max(0.1, *long["share"].to_list()))
    base = alt.Chart(long).encode(
        y=alt.Y("group:N", title=None, sort=groups, axis=alt.Axis(domain=False, ticks=False, labelPadding=8)),
        yOffset=alt.YOffset("of:N", sort=[first, second]),
        x=alt.X("share:Q", axis=None, scale=alt.Scale(domain=[0, most * 1.12])),
    )
    colour = alt.Color("of:N", title=None, scale=alt.Scale(domain=[first, second], range=[OTHER, ACCENT]))
    bars = base.mark_bar().encode(color=colour)
    text = base.mark_text(align="left", dx=5).encode(text="text:N")
    return alt.LayerChart(layer=[bars, text]).properties(width=WIDTH - 120, height=alt.Step(20))
