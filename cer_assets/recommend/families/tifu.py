"""TIFU-KNN: what each customer bought, basket by basket and lately more, mixed with those who buy most alike."""

from collections.abc import Sequence
from datetime import date
from typing import ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from cer_assets.recommend.context import ANYTIME, Context
from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.likeness import rows_among
from cer_assets.recommend.model import Indices, Recommender, Scores, Settings, Voice, top_k


class TifuSettings(Settings):
    """How baskets fade, and how much the neighbours say."""

    groups: int = Field(default=1, ge=1)
    """Stretches of equally many baskets that a history is cut into."""
    basket_decay: float = Field(default=0.95, gt=0, le=1)
    """Weight of a basket relative to the one after it."""
    group_decay: float = Field(default=0.9, gt=0, le=1)
    """Weight of a stretch relative to the one after it."""
    neighbours: int = Field(default=300, ge=1)
    """Customers who buy most alike."""
    own_weight: float = Field(default=0.5, ge=0, le=1)
    """Weight of a customer's own baskets; the neighbours have the rest."""
    max_references: int = Field(default=20_000, ge=1)
    """Customers among whom neighbours are sought; of more than that a sample is drawn."""
    seed: int = 0
    """Of that sample."""


class TifuKnn(Recommender):
    """Personal item frequency with decay, smoothed over the nearest customers.

    A customer is the mean over their baskets, each fading with every later basket and every later stretch; the score is
    `own_weight` times that vector plus the rest times the mean vector of the nearest customers by Euclidean distance
    (Hu et al. 2020, "Modeling personalized item frequency information for next-basket recommendation"). Unlike there, a
    basket fades with all later baskets, not only with those of its own stretch; one stretch is then enough.

    Time grows as customers x references x products that two of them share, memory as a block of customers times
    references and products.
    """

    voice: ClassVar[Voice] = Voice.REPEAT

    def __init__(self, settings: TifuSettings | None = None, name: str = "tifu_knn"):
        self.name = name
        self.settings: TifuSettings = settings or TifuSettings()

    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        """Weigh the baskets of every customer, and choose among whom neighbours are sought."""
        self.interactions_ = interactions
        self._place(interactions, as_of)
        buying = np.flatnonzero(np.diff(self.vectors_.indptr)).astype(np.int32)
        if len(buying) > self.settings.max_references:
            drawn = np.random.default_rng(self.settings.seed).choice(
                buying, self.settings.max_references, replace=False
            )
            buying = np.sort(drawn)
        self.references_ = buying
        self._reference_customers = interactions.customers.gather(buying)
        self._pool = self.vectors_[buying]
        self._by_product: sparse.csr_matrix = self._pool.T.tocsr()
        self._square = _squares(self._pool)
        return self

    def of_others(self, interactions: Interactions, as_of: date) -> Self:
        """As every family: the references stay who they are, and nobody is their own neighbour."""
        found = super().of_others(interactions, as_of)
        found.references_ = rows_among(interactions, self._reference_customers)
        return found

    def _place(self, interactions: Interactions, as_of: date) -> None:
        self.vectors_ = self._vectors(interactions)

    def score(self, rows: Indices, context: Context = ANYTIME) -> Scores:
        """Own and neighbours' weighted share of baskets, 0 to 1; -inf for what neither bought, and for empty rows."""
        own = self.vectors_[rows]
        mixed = self.settings.own_weight * own + (1 - self.settings.own_weight) * (
            self._nearest(rows, own) @ self._pool
        )
        scores: Scores = mixed.toarray().astype(np.float32, copy=False)
        scores[scores <= 0] = -np.inf
        return scores

    def _nearest(self, rows: Indices, own: sparse.csr_matrix) -> sparse.csr_matrix:
        """Rows that take the mean of the nearest references (rows x references); nothing for an empty row."""
        others = len(self.references_) - np.isin(rows, self.references_)
        kept = np.where(np.diff(own.indptr) > 0, np.minimum(self.settings.neighbours, others), 0)
        widest = int(kept.max(initial=0))
        # The square of the customer's own vector is the same for all references, so it orders nothing.
        distance = (own @ self._by_product).toarray()
        distance *= -2
        distance += self._square
        distance[rows[:, None] == self.references_[None, :]] = np.inf
        nearest, _ = top_k(np.negative(distance, out=distance), widest)
        share = np.repeat(1 / np.maximum(kept, 1), kept).astype(np.float32)
        ends = np.concatenate([[0], np.cumsum(kept)])
        return sparse.csr_matrix((share, nearest[np.arange(widest) < kept[:, None]], ends), shape=distance.shape)

    def _vectors(self, interactions: Interactions) -> sparse.csr_matrix:
        """The weighted mean of each customer's baskets (customers + 1 x products)."""
        baskets, basket = _baskets(interactions)
        number = np.bincount(baskets, minlength=interactions.shape[0])
        of = number[baskets]
        place = np.arange(len(baskets)) - np.repeat(np.cumsum(number) - number, number)
        stretches = np.minimum(of, self.settings.groups)
        # The first stretches are the shorter ones where the baskets do not divide evenly.
        short, longer = of // stretches, of % stretches
        in_short = (stretches - longer) * short
        stretch = np.where(place < in_short, place // short, stretches - longer + (place - in_short) // (short + 1))
        size = np.where(place < in_short, short, short + 1)
        fading = self.settings.basket_decay ** (of - 1 - place) * self.settings.group_decay ** (stretches - 1 - stretch)
        weight = (fading / (size * stretches)).astype(np.float32)
        cells = weight[basket], (interactions.rows, interactions.columns)
        return sparse.csr_matrix(cells, shape=interactions.shape)


def members() -> Sequence[Recommender]:
    """One, with the settings that did best on earlier windows."""
    return [TifuKnn()]


def _baskets(interactions: Interactions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The customer of each basket, by customer and day, and the basket of each interaction."""
    width = int(interactions.days.max(initial=0)) + 1
    found, basket = np.unique(interactions.rows.astype(np.int64) * width + interactions.days, return_inverse=True)
    return found // width, basket


def _squares(vectors: sparse.csr_matrix) -> NDArray[np.float32]:
    return np.asarray(vectors.multiply(vectors).sum(axis=1), np.float32).ravel()
