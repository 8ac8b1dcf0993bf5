"""How likely what a customer bought is bought again in the days ahead, given how often, how lately and what it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from cer_assets.arrays import distinct
from cer_assets.recommend.context import ANYTIME, Context
from cer_assets.recommend.interactions import Interactions, days_since_epoch
from cer_assets.recommend.kin import kin_of, ratios
from cer_assets.recommend.model import Indices, Recommender, Scores, Settings, Voice
from cer_assets.recommend.topk import one_blas_thread

Floats = NDArray[np.float64]

TRENDS = ((7, 28), (14, 90))
"""Half-lives in days: how much a product sells by the shorter, over how much by the longer."""
SHARES, TRIPS = 40, 6
"""Quantiles by which pairs are told apart when it is asked what usually becomes of a pair."""
WIDEST = 4.0
"""Standard deviations from the mean beyond which a measure says no more."""
SLICE = 100_000
"""Pairs whose squares and products of measures are held at once."""


class HazardSettings(Settings):
    """What is looked back on."""

    days: int = Field(default=28, ge=1)
    """Days ahead that a purchase is foretold for."""
    windows: int = Field(default=3, ge=1)
    """Windows of so many days from which it is learned how readily a product is bought again."""
    basket_decay: float = Field(default=0.95, gt=0, le=1)
    """Weight of a basket relative to the one after it."""
    examples: int = Field(default=400_000, ge=1)
    """Pairs that are learned from; of more than that a sample is drawn."""
    seed: int = 0
    """Of that sample."""


class Hazard(Recommender):
    """Logistic regression of buying again in a window on what was known before it.

    Of a pair of customer and product: its share of the customer's fading baskets, its number of purchases, the days
    since the last, the customer's trips of late. Of the product: how much more readily it was bought again in earlier
    windows than other products in the same place (drawn towards its kind, `kin.ratios`), how many buy it, and whether
    it sells more or less than usual. All with their squares and products (a discrete hazard; Cox 1972, "Regression
    models and life tables").
    """

    voice: ClassVar[Voice] = Voice.REPEAT

    def __init__(self, settings: HazardSettings | None = None, name: str = "hazard"):
        self.name = name
        self.settings: HazardSettings = settings or HazardSettings()

    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        """Learn from the last window before `as_of`, then judge every pair bought before it."""
        self.interactions_ = interactions
        today = days_since_epoch(as_of)
        kin = kin_of(interactions.products, products)
        before = [self._pairs(today - self.settings.days * number) for number in range(self.settings.windows + 2)]
        now, last = before[0], before[1]
        bought = self._measured(last, self._readiness(before[2:], kin))
        self._curve = self._learn(bought, *self._outcome(last))
        self._of_product = self._measured_products(now, self._readiness(before[1:-1], kin))
        self._judge(now)
        return self

    def _place(self, interactions: Interactions, as_of: date) -> None:
        self._judge(self._pairs(days_since_epoch(as_of)))

    def _judge(self, now: "_Pairs") -> None:
        chance = now.share if self._curve is None else self._curve(_measured_pairs(now, self._of_product))
        entries = (chance.astype(np.float32), (now.rows, now.columns))
        self.chance_ = sparse.csr_matrix(entries, shape=self.interactions_.shape)

    def score(self, rows: Indices, context: Context = ANYTIME) -> Scores:
        """Probability that each product is bought again in the days ahead, -inf for what was never bought."""
        own = self.chance_[rows]
        scores = np.full(own.shape, -np.inf, np.float32)
        scores[np.repeat(np.arange(len(rows)), np.diff(own.indptr)), own.indices] = own.data
        return scores

    def _pairs(self, day: int) -> "_Pairs":
        return _Pairs.of(self.interactions_, day, self.settings)

    def _outcome(self, pairs: "_Pairs") -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which pairs were bought in the window after their day, and whose customer bought anything then."""
        bought = self.interactions_
        within = (bought.days >= pairs.day) & (bought.days < pairs.day + self.settings.days)
        width = bought.shape[1]
        again = distinct(bought.rows[within].astype(np.int64) * width + bought.columns[within])
        came = np.zeros(bought.shape[0], bool)
        came[bought.rows[within]] = True
        return np.isin(pairs.rows.astype(np.int64) * width + pairs.columns, again), came[pairs.rows]

    def _readiness(self, windows: Sequence["_Pairs"], kin: Sequence[NDArray[np.int64]]) -> Floats:
        """How much more readily each product was bought again than others in the same place (products)."""
        seen = np.zeros((self.interactions_.shape[1], 1))
        expected = np.zeros_like(seen)
        for pairs in windows:
            again, came = self._outcome(pairs)
            place, again, columns = pairs.place()[came], again[came], pairs.columns[came]
            usual = np.bincount(place, again) / np.maximum(np.bincount(place), 1)
            seen[:, 0] += np.bincount(columns, again, minlength=len(seen))
            expected[:, 0] += np.bincount(columns, usual[place], minlength=len(seen))
        return ratios(seen, expected, kin)[:, 0]

    def _measured(self, pairs: "_Pairs", readiness: Floats) -> Floats:
        """Natural logs of what is known of each pair (pairs x measures)."""
        return _measured_pairs(pairs, self._measured_products(pairs, readiness))

    def _measured_products(self, pairs: "_Pairs", readiness: Floats) -> list[Floats]:
        """What is known of each product on the eve of the pairs' day."""
        bought, width = self.interactions_, self.interactions_.shape[1]
        past = bought.days < pairs.day
        age, columns = pairs.day - bought.days[past], bought.columns[past]
        trends: list[Floats] = []
        for short, long in TRENDS:
            lately, usually = (np.bincount(columns, np.exp2(-age / half), minlength=width) for half in (short, long))
            all_products = lately.sum() / max(usually.sum(), 1e-12)
            trends.append((lately + all_products) / (usually + 1) / max(all_products, 1e-12))
        return [readiness, np.bincount(pairs.columns, minlength=width).astype(np.float64), *trends]

    def _learn(self, X: Floats, again: NDArray[np.bool_], came: NDArray[np.bool_]) -> "_Curve | None":
        """Learn from the pairs of customers who came, None where none or all of them were bought again."""
        drawn = np.flatnonzero(came)
        if len(drawn) > self.settings.examples:
            random = np.random.default_rng(self.settings.seed)
            drawn = np.sort(random.choice(drawn, self.settings.examples, replace=False))
        if not again[drawn].any() or again[drawn].all():
            return None
        return _Curve.of(X[drawn], again[drawn])


@dataclass(frozen=True)
class _Pairs:
    """What was known, on the eve of a day, of everything each customer had bought: an entry a customer and product."""

    day: int
    rows: Indices
    columns: Indices
    share: Floats
    """Fading baskets that held the product, over all of the customer's."""
    count: NDArray[np.int64]
    """Days it was bought on."""
    age: Indices
    """Days since the last of them."""
    trips: NDArray[np.int64]
    """Days the customer bought anything on, in the last window."""

    @classmethod
    def of(cls, interactions: Interactions, day: int, settings: HazardSettings) -> Self:
        past = interactions.days < day
        rows, columns, days = interactions.rows[past], interactions.columns[past], interactions.days[past]
        baskets, basket = np.unique(rows.astype(np.int64) * (day + 1) + days, return_inverse=True)
        customer, on = baskets // (day + 1), baskets % (day + 1)
        customers = interactions.shape[0]
        number = np.bincount(customer, minlength=customers)
        weight = settings.basket_decay ** (np.cumsum(number)[customer] - 1 - np.arange(len(baskets)))
        whole = np.bincount(customer, weight, minlength=customers)
        trips = np.bincount(customer, on >= day - settings.days, minlength=customers).astype(np.int64)
        # Sorted by customer, product and day: a pair's entries follow one another, the last one latest.
        first = np.flatnonzero(np.append(True, (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1]))[: len(rows)])
        last = np.append(first[1:], len(rows))[: len(first)] - 1
        held = np.add.reduceat(weight[basket], first) if len(first) else np.empty(0)
        own = rows[first]
        return cls(day, own, columns[first], held / whole[own], last - first + 1, day - days[last], trips[own])

    def place(self) -> NDArray[np.int64]:
        """A code for pairs of like share and trips."""
        by_share, by_trips = _quantile(self.share, SHARES), _quantile(self.trips.astype(np.float64), TRIPS)
        return by_share * TRIPS + by_trips


@dataclass(frozen=True)
class _Curve:
    """Probability by measures, their squares and products, each in standard deviations from its mean."""

    mean: Floats
    spread: Floats
    weights: Floats
    """The last one is the intercept."""

    @classmethod
    def of(cls, X: Floats, y: NDArray[np.bool_]) -> Self:
        mean, spread = X.mean(axis=0), X.std(axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        with one_blas_thread():
            model = LogisticRegression(max_iter=100, tol=1e-3).fit(_with_products((X - mean) / spread), y)
        return cls(mean, spread, np.append(model.coef_[0], model.intercept_))

    def __call__(self, X: Floats) -> Floats:
        parts = [self._chance(X[start : start + SLICE]) for start in range(0, len(X), SLICE)]
        return np.concatenate(parts) if parts else np.empty(0)

    def _chance(self, X: Floats) -> Floats:
        with one_blas_thread():
            odds = _with_products((X - self.mean) / self.spread) @ self.weights[:-1] + self.weights[-1]
        return 1 / (1 + np.exp(-odds))


def _measured_pairs(pairs: _Pairs, of_product: Sequence[Floats]) -> Floats:
    own = [pairs.share, pairs.count, pairs.age, pairs.trips + 1.0]
    known = [*own, *(values[pairs.columns] for values in of_product)]
    return np.log(np.maximum(np.column_stack(known), 1e-4))


def _with_products(z: Floats) -> Floats:
    z = np.clip(z, -WIDEST, WIDEST)
    one, other = np.triu_indices(z.shape[1])
    return np.hstack([z, z[:, one] * z[:, other]])


def _quantile(values: Floats, parts: int) -> NDArray[np.int64]:
    """Which of so many equal parts each value is in, from 0; equal values in one part."""
    if not len(values):
        return np.empty(0, np.int64)
    return np.searchsorted(np.quantile(values, np.arange(1, parts) / parts), values, side="right")


def members() -> Sequence[Recommender]:
    """One, for the four weeks ahead."""
    return [Hazard()]
