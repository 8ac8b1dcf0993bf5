"""User neighbours: what customers with the likest purchases buy."""

from collections.abc import Sequence
from datetime import date
from typing import ClassVar, Self

import numpy as np
import polars as pl
from pydantic import Field
from scipy import sparse

from cer_assets.recommend.context import ANYTIME, Context
from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.likeness import rows_among, scale_columns, scaled_to_length_one, strongest, weighted
from cer_assets.recommend.model import Indices, Recommender, Scores, Settings, Voice


class UserNeighboursSettings(Settings):
    """Who is alike, and how many of them count."""

    neighbours: int = Field(default=60, ge=1)
    """Customers who count."""
    idf_power: float = Field(default=0.25, ge=0)
    """0: all products tell alike who is like whom; 1: times the log of customers with any purchase over those
    of the product."""
    pool: int = Field(default=20_000, ge=1)
    """Customers who may be neighbours, those of most purchases first: they are who has most to say, and the time to
    score a row grows with them."""
    likeness_power: float = Field(default=1.0, gt=0)
    """More than 1 lets the likest customers count for more."""
    half_life_days: float | None = Field(default=180.0, gt=0)
    """Age at which a purchase counts half, for likeness; none: all count alike."""
    bought_half_life_days: float | None = Field(default=None, gt=0)
    """The same for what the neighbours recommend."""


class UserNeighbours(Recommender):
    """Score of a product: the purchases of the nearest customers, each times their likeness (Sarwar et al. 2000).

    Customers are documents, products their terms, likeness is the cosine of TF-IDF. Nothing is precomputed but the
    weights: neighbours are found when a row is scored, in blocks of a bounded number of cells. Time to score one row
    grows with the customers of the pool who share a product with it. No product stands behind a score: customers do.
    """

    voice: ClassVar[Voice] = Voice.CUSTOMERS

    def __init__(self, settings: UserNeighboursSettings | None = None, name: str = "users"):
        self.name = name
        self.settings: UserNeighboursSettings = settings or UserNeighboursSettings()

    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        """Weigh what each customer bought: once for likeness, once for what it says to others."""
        self.interactions_ = interactions
        settings = self.settings
        described = weighted(interactions, as_of, settings.half_life_days)
        buyers = np.bincount(described.indices, minlength=described.shape[1])
        customers = np.count_nonzero(np.diff(described.indptr))
        self._idf = np.log(max(customers, 1) / np.maximum(buyers, 1)) ** settings.idf_power
        self._place(interactions, as_of)
        purchases = np.bincount(interactions.rows, minlength=len(interactions.customers))
        self.pool_ = np.sort(np.argsort(-purchases, kind="stable")[: settings.pool]).astype(np.int32)
        self._pool_customers = interactions.customers.gather(self.pool_)
        self._pool_by_product = sparse.csr_matrix(self.described_[self.pool_].T)
        self.bought_ = sparse.csr_matrix(weighted(interactions, as_of, settings.bought_half_life_days)[self.pool_])
        return self

    def of_others(self, interactions: Interactions, as_of: date) -> Self:
        """As every family: the neighbours stay who they are, and nobody is their own."""
        found = super().of_others(interactions, as_of)
        found.pool_ = rows_among(interactions, self._pool_customers)
        return found

    def _place(self, interactions: Interactions, as_of: date) -> None:
        described = weighted(interactions, as_of, self.settings.half_life_days)
        self.described_ = scaled_to_length_one(scale_columns(described, self._idf))

    def score(self, rows: Indices, context: Context = ANYTIME) -> Scores:
        """Purchases of the neighbours, weighed by their likeness; -inf for what none of them bought."""
        nearest = self.neighbours(rows)
        nearest.data **= np.float32(self.settings.likeness_power)
        scores = (nearest @ self.bought_).toarray()
        scores[scores <= 0] = -np.inf
        return scores

    def neighbours(self, rows: Indices) -> sparse.csr_matrix:
        """Likeness of each row's nearest other customers (rows x customers of the pool)."""

        def likeness(some: slice) -> sparse.csr_matrix:
            asked = rows[some]
            alike = sparse.csr_matrix(self.described_[asked] @ self._pool_by_product)
            alike.data[np.repeat(asked, np.diff(alike.indptr)) == self.pool_[alike.indices]] = 0
            return alike

        return strongest(likeness, (len(rows), len(self.pool_)), self.settings.neighbours)


def members() -> Sequence[Recommender]:
    """One set of neighbours."""
    return [UserNeighbours()]
