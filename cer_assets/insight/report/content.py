"""What a section of the report is made of, before it is laid out: sentences, tables, cards and charts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import altair as alt

Chart = alt.Chart | alt.LayerChart | alt.HConcatChart | alt.VConcatChart | alt.ConcatChart


@dataclass(frozen=True)
class Figure:
    """A chart, with the name that its ids begin with and the words that stand for it where it cannot be seen."""

    name: str
    title: str
    chart: Chart
    alternative: str


@dataclass(frozen=True)
class Table:
    """Rows of text; the first column names the row, all others are figures."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False
    """Whether it only repeats a chart's figures, and is opened by who wants them."""


@dataclass(frozen=True)
class Card:
    """A group of customers: its name, its figures, and what to do about it."""

    title: str
    text: str
    facts: Mapping[str, str]
    action: str | None = None
    owner: str | None = None


@dataclass(frozen=True)
class Block:
    """What is read together: sentences, and beside them a chart, a table or cards."""

    title: str | None = None
    reading: Sequence[str] = ()
    figure: Figure | None = None
    tables: Sequence[Table] = ()
    cards: Sequence[Card] = ()


@dataclass(frozen=True)
class Tile:
    """One figure at the top of the page, and what to compare it with."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Section:
    """One question of the report, with its answer in a sentence; without blocks, `empty` says why."""

    name: str
    title: str
    question: str
    headline: str | None = None
    blocks: Sequence[Block] = ()
    empty: str = ""

    @property
    def figures(self) -> list[Figure]:
        """All charts of the section."""
        return [block.figure for block in self.blocks if block.figure]
