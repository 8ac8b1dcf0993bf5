"""The page: all sections as one HTML file that needs nothing beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cer_assets.insight.report import words
from cer_assets.insight.report.changes import changes, tiles
from cer_assets.insight.report.charts import COLOURS, styled, svg
from cer_assets.insight.report.cohorts import cohorts
from cer_assets.insight.report.content import Chart, Figure, Section, Tile
from cer_assets.insight.report.risk import risk
from cer_assets.insight.report.segments import segments
from cer_assets.insight.report.tables import Tables
from cer_assets.insight.report.trust import trust
from cer_assets.insight.report.worth import concentration, value_buckets

TEMPLATE = "customers.html.jinja"


@dataclass(frozen=True)
class Report:
    """What the tables have to say, before and after it is laid out as a page."""

    as_of: date | None
    """The day it is as of; None where no table holds a figure."""
    tiles: Sequence[Tile]
    sections: Sequence[Section]
    about: str
    """Who is meant, in a sentence."""

    @property
    def headlines(self) -> Mapping[str, str]:
        """The answer of each section that has one, by its title."""
        return {section.title: section.headline for section in self.sections if section.headline}

    @property
    def charts(self) -> Mapping[str, Chart]:
        """All charts as pictures of their own, by section and title."""
        return {
            section.title if figure.title == section.title else f"{section.title}: {figure.title}": styled(figure.chart)
            for section in self.sections
            for figure in section.figures
        }

    def html(self) -> str:
        """The page. The same report is the same text; all that comes from the tables is escaped."""
        pages = Environment(
            loader=PackageLoader("cer_assets.insight.report", package_path=""),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        pages.filters["svg"] = _drawn
        as_of = words.day(self.as_of) if self.as_of else None
        return pages.get_template(TEMPLATE).render(report=self, as_of=as_of, colours=COLOURS)


def customer_report(tables: Tables) -> Report:
    """Everything the report says of the newest day of the tables.

    The same tables give the same report, whatever the order of their rows; a table that is missing or empty leaves its
    section with a sentence that says so.
    """
    as_of = tables.newest_day()
    if as_of is None:
        return Report(None, (), (), "")
    sections = [
        changes(tables, as_of),
        value_buckets(tables),
        concentration(tables),
        segments(tables),
        risk(tables),
        cohorts(tables, as_of),
        trust(tables),
    ]
    return Report(as_of, tiles(tables, as_of), sections, _about(tables))


def _drawn(figure: Figure) -> Markup:
    """What the drawing library wrote; it escapes what it was given to write."""
    return Markup(svg(figure.chart, figure.name))


def _about(tables: Tables) -> str:
    if tables.people is None:
        return ""
    people = tables.people.select(people=pl.len(), records=pl.col("records").sum()).collect().row(0, named=True)
    if not people["people"]:
        return ""
    return (
        f"A customer is a person: {words.counted(people['people'], 'person', 'people')} are known, put together from"
        f" {words.counted(int(people['records']), 'record')} of the source systems. Counted are those who bought goods."
    )
