"""Which products are worth ranking for each customer: the union of every family's best; nothing is ranked here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cer_assets.recommend.context import ANYTIME, Context
from cer_assets.recommend.evaluate import Targets
from cer_assets.recommend.heard import Heard
from cer_assets.recommend.model import Indices, Recommender, Scores, Settings
from cer_assets.recommend.topk import blocks, top_k

HELD = 1 << 26
"""Scores of all families held at once: rows of a block x products x families."""


class CandidateSettings(Settings):
    """How many candidates a family brings."""

    of_each_family: int = Field(default=60, ge=1)
    """Best products of each family, for each customer."""


@dataclass(frozen=True)
class Candidates:
    """Pairs of a customer and a product, by customer and then by column, with what every family says of them."""

    places: Indices
    """Position, in the rows asked for, of each pair's customer (n): rising."""
    rows: Indices
    """Its matrix row (n)."""
    columns: Indices
    """Its product (n)."""
    families: tuple[str, ...]
    scores: Scores
    """Each family's score, standardised over all products it speaks of to that customer (n x families); nan: silent."""
    ranks: Scores
    """Place of that score among the customer's candidates, from 0 (n x families); nan: silent."""

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.columns)

    def among(self, wanted: Targets) -> NDArray[np.bool_]:
        """Which pairs are targets (n)."""
        return np.isin(self.rows.astype(np.int64) * wanted.width + self.columns, wanted.cells)

    def taken(self, which: NDArray[np.bool_]) -> "Candidates":
        """Some of the pairs, with their places among all."""
        return Candidates(
            self.places[which],
            self.rows[which],
            self.columns[which],
            self.families,
            self.scores[which],
            self.ranks[which],
        )


def candidates(
    fitted: Mapping[str, Recommender],
    rows: Indices,
    settings: CandidateSettings | None = None,
    context: Context = ANYTIME,
) -> Candidates:
    """The union of every family's best products for a block of matrix rows.

    A family that has nothing to say of a customer brings nothing for that customer; equal scores at a family's last
    place come in column order.

    Args:
        fitted: families fitted on the same interactions, by name.
        rows: a block of matrix rows; see `blocks_of`.
        settings: how many each family brings.
        context: the moment, as the families take it.
    """
    settings = settings or CandidateSettings()
    families = tuple(sorted(fitted))
    width = len(fitted[families[0]].interactions_.products) if families else 0
    said = [fitted[name].score(rows, context) for name in families]
    wanted = np.zeros((len(rows), width), bool)
    for scores in said:
        wanted |= _best(scores, settings.of_each_family)
    places, columns = (index.astype(np.int32) for index in wanted.nonzero())
    known = [_standardised_at(scores, places, columns) for scores in said]
    heard = np.column_stack(known) if known else np.empty((len(columns), 0), np.float32)
    return Candidates(places, rows[places], columns, families, heard, ranks_within(places, heard))


def blocks_of(rows: Indices, width: int, families: int) -> Iterator[tuple[int, Indices]]:
    """Cut rows into blocks whose scores by all families fit in memory: (position of the first, rows)."""
    return blocks(rows, rows_of_block(width, families))


def rows_of_block(width: int, families: int) -> int:
    """Customers whose scores by all families are held at once."""
    return int(np.clip(HELD // max(width * families, 1), 16, 1024))


def standardised(scores: Scores) -> Scores:
    """Scores less the mean of their row's finite ones, over their standard deviation; nan where they are not finite."""
    heard = Heard.of(scores)
    mean, spread = _centred(heard)
    return heard.spread_out((heard.scores - heard.each(mean)) / heard.each(spread), np.nan)


def _standardised_at(scores: Scores, places: Indices, columns: Indices) -> Scores:
    """`standardised` of some cells (n), without the others."""
    mean, spread = _centred(Heard.of(scores))
    found = scores[places, columns]
    found[~np.isfinite(found)] = np.nan
    return (found - mean[places]) / spread[places]


def _centred(heard: Heard) -> tuple[Scores, Scores]:
    """What each row is moved by and divided by; a row whose scores are all alike is divided by infinity."""
    mean, spread = heard.moments()
    return mean, np.where(spread > 0, spread, np.float32(np.inf))


def ranks_within(places: Indices, scores: Scores) -> Scores:
    """Place of each score among those of its customer, column by column, from 0; equal ones in order; nan for nan.

    Args:
        places: customer of each pair (n), rising.
        scores: (n x m).
    """
    ranks = np.empty_like(scores)
    first = np.searchsorted(places, places)
    for of, own in zip(scores.T, ranks.T, strict=True):
        order = np.lexsort((-of, places))
        own[order] = np.arange(len(of)) - first[order]
        own[np.isnan(of)] = np.nan
    return ranks


def _best(scores: Scores, n: int) -> NDArray[np.bool_]:
    """Which scores are among the `n` best of their row; of equal ones at the last place the first."""
    columns, best = top_k(scores, n)
    row, place = np.isfinite(best).nonzero()
    among = np.zeros(scores.shape, bool)
    among[row, columns[row, place]] = True
    return among
