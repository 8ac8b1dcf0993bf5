"""How long a purchase lasts, by product type and by customer, learned from gaps between purchases; no score lives here.

A purchase starts a clock. The hazard of the next purchase of the type by the same customer is constant within bins of
days (piecewise exponential survival; Kalbfleisch and Prentice 2002, ch. 4); gaps still open at the cut count with the
days they have lasted. Types lend each other what few gaps cannot tell: all types, department, category, type.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from cer_assets.arrays import distinct
from cer_assets.recommend.interactions import Interactions, days_since_epoch, positions
from cer_assets.recommend.model import Indices, Settings

logger = logging.getLogger(__name__)

ENDS = np.array([1, 2, 3, 4, 5, 6, 7, 10, 14, 21, 28, 42, 56, 91, 182, 365])
"""Last day of each bin of days since a purchase; a further bin holds all later days."""
STARTS = np.concatenate([np.zeros(1), ENDS])
LEVELS = ("department", "category", "type")
"""Catalogue columns, coarse to fine, that say which products stand for each other, where there are such columns."""

Floats = NDArray[np.float64]


class RhythmSettings(Settings):
    """What is believed before any gap has been seen."""

    share: float = Field(default=0.1, gt=0, lt=1)
    """A purchase is held back until this share of such purchases has been followed by another."""
    lasting_days: float = Field(default=365.0, gt=0)
    """How long a purchase is held back of a type that nobody has bought twice."""
    repeats: float = Field(default=2.0, gt=0)
    """Repurchases of a type that say as much about how long it lasts as that nobody would buy it twice."""
    level_weight: float = Field(default=5.0, gt=0)
    """Repurchases that say as much about a type's pace as the level above it does."""
    shape_weight: float = Field(default=20.0, gt=0)
    """Repurchases in a bin that say as much about it as the level above does."""
    own_weight: float = Field(default=2.0, gt=0)
    """Repurchases of one customer that say as much about their own pace as the type does."""


@dataclass(frozen=True)
class Clock:
    """When each kind of product is bought again, and how far the last purchases of it have come."""

    kinds: pl.DataFrame
    """product_id, kind (its position), by product_id."""
    rates: Floats
    """Hazard per day of the next purchase (kinds x bins)."""
    progress: sparse.csr_matrix
    """The hazard added up since each customer's last purchase of each kind, at the customer's own pace (customers + 1 x
    kinds): about 1 when it is usually bought again."""
    pace: sparse.csr_matrix
    """How many times as fast as usual for the kind the customer buys it again; same pattern."""

    def kind_of(self, products: pl.Series) -> Indices:
        """Kind of each product_id, -1 for a product of none."""
        asked = products.alias("product_id").to_frame()
        found = asked.join(self.kinds, on="product_id", how="left", maintain_order="left")
        return found["kind"].fill_null(-1).to_numpy().astype(np.int32)

    def days(self, progress: float) -> Floats:
        """Days after which a purchase of each kind has come so far, for a customer of the usual pace."""
        added = _added(self.rates)
        place = (added <= progress).sum(axis=1) - 1
        row = np.arange(len(added))
        return STARTS[place] + (progress - added[row, place]) / self.rates[row, place]

    def early(self, progress: float, lasting_days: float) -> sparse.csr_matrix:
        """Last purchases that have come less far than `progress`, an entry of 1 each (customers + 1 x kinds).

        Args:
            progress: how far they should have come.
            lasting_days: what the customer's own pace brings so far in less than this is left out.
        """
        all_kinds = np.arange(len(self.rates), dtype=np.int32)
        by_then = _added_until(self.rates, all_kinds, np.full(len(all_kinds), lasting_days))
        lasts = self.pace.data * by_then[self.pace.indices] <= progress
        early = (lasts & (self.progress.data < progress)).astype(np.float32)
        matrix = sparse.csr_matrix((early, self.pace.indices, self.pace.indptr), shape=self.pace.shape, copy=True)
        matrix.eliminate_zeros()
        return matrix


@dataclass(frozen=True)
class Rhythm:
    """When customers buy again, as of a cut; `learn_rhythm` makes one.

    Products of a type stand for each other: whoever bought one has no need of another for as long as it lasts.
    """

    settings: RhythmSettings
    customers: pl.Series
    """customer_id of each row of the clocks, sorted; they have one row more, for a customer never seen."""
    types: Clock
    """The products that share all levels of the catalogue's description; a product without any is a type of its own."""

    def row_of(self, customers: pl.Series) -> Indices:
        """Row of each customer_id, -1 for one never seen."""
        return positions(self.customers, customers)

    def of_others(self, interactions: Interactions, as_of: date) -> "Rhythm":
        """How far these customers' purchases have come, by hazards learned of others, on the same day.

        Args:
            interactions: purchases before `as_of`; what is of no type known here holds nothing back.
            as_of: the day the rhythm was learned as of.
        """
        kind_of, rates = self.types.kind_of(interactions.products), self.types.rates
        known = interactions.in_products(interactions.products.filter(pl.Series(kind_of >= 0)))
        row, kind, gap, still = _gaps(known, kind_of[kind_of >= 0], len(rates), days_since_epoch(as_of))
        progress, pace = _progress(kind, gap, still, rates, self.settings.own_weight)
        places, size = (row[still], kind[still]), (interactions.shape[0], len(rates))
        progress, pace = (sparse.csr_matrix((values, places), size) for values in (progress, pace))
        return Rhythm(self.settings, interactions.customers, Clock(self.types.kinds, rates, progress, pace))

    def held(self, lasting_days: float = 0) -> sparse.csr_matrix:
        """Types that a customer bought too lately to be shown them now, an entry of 1 each (customers + 1 x types).

        Args:
            lasting_days: what would be held back for less is not held back at all.
        """
        return self.types.early(self.threshold, lasting_days)

    def held_days(self) -> Floats:
        """Days for which a purchase of each type is held back, for a customer of the usual pace."""
        return self.types.days(self.threshold)

    def typical_days(self) -> Floats:
        """Days after which half of the purchases of each type have been followed by another."""
        return self.types.days(float(np.log(2)))

    @property
    def threshold(self) -> float:
        """The progress a purchase must have made to be shown again."""
        return float(-np.log1p(-self.settings.share))


def learn_rhythm(
    interactions: Interactions, products: pl.DataFrame, as_of: date, settings: RhythmSettings | None = None
) -> Rhythm:
    """Hazards of every type, and how far every customer's purchases have come on the day `as_of`.

    Args:
        interactions: purchases before `as_of`. Of a lasting product few are sold: what is bought too rarely to be a
            candidate belongs in here all the same.
        products: the catalogue, product_id and of department, category, type whatever there is; it may be empty.
        as_of: first day that is not read.
        settings: what is believed beforehand.
    """
    settings = settings or RhythmSettings()
    kinds, above = _types(interactions.products, products)
    own = interactions.products.alias("product_id").to_frame()
    kind_of = own.join(kinds, on="product_id", how="left", maintain_order="left")["kind"].to_numpy().astype(np.int32)
    width = len(above[0])
    row, kind, gap, still = _gaps(interactions, kind_of, width, days_since_epoch(as_of))
    rates = _rates(kind, gap, still, above, settings)
    progress, pace = _progress(kind, gap, still, rates, settings.own_weight)
    places, size = (row[still], kind[still]), (interactions.shape[0], width)
    logger.info("rhythm: %s types, %s repurchases", width, len(gap) - int(still.sum()))
    clock = Clock(kinds, rates, sparse.csr_matrix((progress, places), size), sparse.csr_matrix((pace, places), size))
    return Rhythm(settings, interactions.customers, clock)


def _types(bought: pl.Series, products: pl.DataFrame) -> tuple[pl.DataFrame, list[Indices]]:
    """The type of every product (product_id, kind), and each type's department and category; -1 where it has none.

    A name means something within the levels above it alone: the same type of two categories is two types.
    """
    described = _described(bought, products)
    itself = pl.when(pl.all_horizontal(pl.col(LEVELS).is_null())).then("product_id")
    coded = described.with_columns(kind=(pl.struct(*LEVELS, itself).rank("dense") - 1).cast(pl.Int32))
    of_kind = coded.unique("kind").sort("kind")
    above = [_codes(of_kind, LEVELS[:depth]) for depth in range(1, len(LEVELS))]
    return coded.select("product_id", "kind").sort("product_id"), above


def _described(bought: pl.Series, products: pl.DataFrame) -> pl.DataFrame:
    """product_id and all LEVELS, for what was bought and what the catalogue holds."""
    ids = bought.cast(pl.String).alias("product_id").to_frame()
    if not products.is_empty():
        known = products.select("product_id", *(level for level in LEVELS if level in products.columns))
        known = known.unique("product_id", keep="first", maintain_order=True)
        ids = pl.concat([ids, known.select("product_id")]).unique().join(known, on="product_id", how="left")
    absent = [pl.lit(None, pl.String).alias(level) for level in LEVELS if level not in ids.columns]
    return ids.with_columns(absent).sort("product_id")


def _codes(described: pl.DataFrame, levels: Sequence[str]) -> Indices:
    """The group of the last level within those above it, -1 where that level is not known."""
    within = pl.struct(levels).rank("dense").cast(pl.Int32) - 1
    return described.select(pl.when(pl.col(levels[-1]).is_not_null()).then(within).otherwise(-1)).to_series().to_numpy()


def _gaps(
    interactions: Interactions, kind_of: Indices, width: int, cut: int
) -> tuple[Indices, Indices, Indices, NDArray[np.bool_]]:
    """Row, kind, days until the next purchase of it, and whether that is still to come (then until the cut)."""
    first = int(interactions.days.min(initial=cut))
    span = cut - first + 1
    pair = interactions.rows.astype(np.int64) * width + kind_of[interactions.columns]
    bought = distinct(pair * span + (interactions.days - first))
    pair, day = bought // span, (bought % span).astype(np.int32) + first
    still = np.append(pair[1:] != pair[:-1], True)[: len(pair)]
    following = np.append(day[1:], cut)[: len(day)]
    gap = np.where(still, cut, following) - day
    return (pair // width).astype(np.int32), (pair % width).astype(np.int32), gap.astype(np.int32), still


def _rates(
    kind: Indices, gap: Indices, still: NDArray[np.bool_], above: list[Indices], settings: RhythmSettings
) -> Floats:
    """Hazards per day (kinds x bins), each level shrunk to the one above it."""
    width, bins = len(above[0]), len(STARTS)
    # A gap still open was not over on the eve of the cut; the cut itself is not read.
    lasted = gap - still
    place = _bin(lasted)
    ended = np.bincount(kind * bins + place, minlength=width * bins).reshape(width, bins)
    rest = np.bincount(kind * bins + place, lasted - STARTS[place], width * bins).reshape(width, bins)
    later = ended[:, ::-1].cumsum(axis=1)[:, ::-1] - ended
    at_risk = rest + later * np.diff(STARTS, append=STARTS[-1])
    again = np.bincount((kind * bins + place)[~still], minlength=width * bins).reshape(width, bins).astype(np.float64)
    lasting = -np.log1p(-settings.share) / settings.lasting_days
    everything = _shrunk(again.sum(axis=0, keepdims=True), at_risk.sum(axis=0, keepdims=True), lasting, settings)
    prior = np.repeat(everything, width, axis=0)
    for level in above:
        prior = np.where(level[:, None] >= 0, _of_level(level, again, at_risk, prior, settings), prior)
    repeats = again.sum(axis=1, keepdims=True)
    known = repeats / (repeats + settings.repeats)
    return _shrunk(again, at_risk, known * prior + (1 - known) * lasting, settings)


def _of_level(level: Indices, again: Floats, at_risk: Floats, above: Floats, settings: RhythmSettings) -> Floats:
    """Hazards of each type's group on some level (types x bins); what is -1 has no group, and any hazards."""
    member = level >= 0
    groups = int(level.max(initial=-1)) + 1
    total = np.zeros((4, groups, again.shape[1]))
    for sums, figures in zip(total, (again, at_risk, above, np.ones_like(above)), strict=True):
        np.add.at(sums, level[member], figures[member])
    repeats, days, prior, size = total
    hazards = np.ones_like(again)
    hazards[member] = _shrunk(repeats, days, np.where(size > 0, prior / np.maximum(size, 1), 1.0), settings)[
        level[member]
    ]
    return hazards


def _shrunk(again: Floats, at_risk: Floats, prior: Floats | float, settings: RhythmSettings) -> Floats:
    """Repurchases over days at risk, the pace shrunk to the prior's first, then each bin to what it lets expect."""
    expected = (at_risk * prior).sum(axis=1, keepdims=True)
    pace = (again.sum(axis=1, keepdims=True) + settings.level_weight) / (expected + settings.level_weight)
    return (again + settings.shape_weight) / (at_risk + settings.shape_weight / (pace * prior))


def _progress(
    kind: Indices, gap: Indices, still: NDArray[np.bool_], rates: Floats, own_weight: float
) -> tuple[Floats, Floats]:
    """Hazard added up since the last purchase of each customer and kind, and their pace (Gamma-Poisson frailty)."""
    added = _added_until(rates, kind, gap)
    last = np.flatnonzero(still)
    first = np.concatenate([[0], last[:-1] + 1]).astype(np.int64)
    lived = np.add.reduceat(added, first) if len(last) else np.empty(0)
    pace = (last - first + own_weight) / (lived + own_weight)
    return added[last] * pace, pace


def _bin(days: NDArray[np.integer] | Floats) -> Indices:
    return np.searchsorted(ENDS, days, side="left").astype(np.int32)


def _added(rates: Floats) -> Floats:
    """Hazard added up until each bin begins (types x bins)."""
    added = np.zeros_like(rates)
    np.cumsum(rates[:, :-1] * np.diff(STARTS), axis=1, out=added[:, 1:])
    return added


def _added_until(rates: Floats, kind: Indices, days: NDArray[np.integer] | Floats) -> Floats:
    """Hazard added up over some days of some types."""
    place = _bin(days)
    return _added(rates)[kind, place] + rates[kind, place] * (days - STARTS[place])
