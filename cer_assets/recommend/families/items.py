"""Item neighbours: products bought by the same customers as those the customer bought."""

from collections.abc import Sequence
from datetime import date
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from cer_assets.recommend.context import ANYTIME, Context
from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.likeness import (
    cells,
    own_product_behind,
    scale_columns,
    scale_rows,
    scaled_to_length_one,
    strongest,
    weighted,
)
from cer_assets.recommend.model import Indices, Recommender, Scores, Settings, Voice

SATURATION, LENGTH = 1.2, 0.75
"""k1 and b of BM25, as the literature has them (Robertson, Zaragoza 2009)."""


class ItemNeighboursSettings(Settings):
    """Which products are alike, and how many of them count."""

    weighting: Literal["cosine", "tfidf", "bm25"] = "cosine"
    """What a customer tells about a product they bought. A product is a document, its customers are the terms:
    cosine: the log of the days; tfidf: times the customer's IDF, as who buys everything tells little of anything;
    bm25: the days saturate, and products of many purchases are held back."""
    neighbours: int = Field(default=100, ge=1)
    """Neighbours kept of each product; the model takes at most twice products x neighbours x 8 bytes."""
    hub_power: float = Field(default=0.25, ge=0, le=1)
    """Scores are divided by the sum of a product's likenesses to this power: who is near to all is held back."""
    half_life_days: float | None = Field(default=None, gt=0)
    """Age at which a purchase of the customer counts half; none: all count alike."""


class ItemNeighbours(Recommender):
    """Score of a product: the customer's weighted purchases, each times its likeness (Deshpande, Karypis 2004).

    Time grows with the sum over customers of the square of the products they bought; memory with products x neighbours,
    for likenesses are made and pruned in blocks.
    """

    voice: ClassVar[Voice] = Voice.LIKENESS

    def __init__(self, settings: ItemNeighboursSettings | None = None, name: str | None = None):
        self.settings: ItemNeighboursSettings = settings or ItemNeighboursSettings()
        self.name = name or f"items_{self.settings.weighting}"

    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        """Find each product's nearest neighbours among the candidates."""
        self.interactions_ = interactions
        self._place(interactions, as_of)
        described = _described(interactions, as_of, self.settings.weighting)
        customers = sparse.csr_matrix(described.T)
        width = len(interactions.products)

        def likeness(some: slice) -> sparse.csr_matrix:
            alike = sparse.csr_matrix(described[some] @ customers)
            itself = np.repeat(np.arange(some.start, some.stop), np.diff(alike.indptr)) == alike.indices
            alike.data[itself] = 0
            return alike

        near = strongest(likeness, (width, width), self.settings.neighbours)
        # A pair counts where one of the two is among the other's nearest, and twice where both are.
        mutual = sparse.csr_matrix(near + near.T)
        sums = np.asarray(mutual.sum(axis=0), np.float64).ravel()
        self.likeness_ = scale_columns(mutual, np.where(sums > 0, sums, 1) ** -self.settings.hub_power)
        return self

    def _place(self, interactions: Interactions, as_of: date) -> None:
        self.weights_ = weighted(interactions, as_of, self.settings.half_life_days)

    def score(self, rows: Indices, context: Context = ANYTIME) -> Scores:
        """Likeness to what the customer bought, added up; -inf for what is like nothing of it."""
        scores = (self.weights_[rows] @ self.likeness_).toarray()
        scores[scores <= 0] = -np.inf
        return scores

    def behind(self, rows: Indices, columns: Indices, titles: NDArray[np.int64]) -> Indices:
        """The own product with the largest part in the score."""

        def strength(own: Indices, weight: NDArray[np.float32], asked: Indices) -> Scores:
            return weight[:, None] * cells(self.likeness_, own, asked)

        return own_product_behind(self.weights_, rows, columns, titles, strength)

    def card(self) -> dict[str, Any]:
        """Settings and size."""
        return {**super().card(), "products": self.likeness_.shape[0], "likenesses": int(self.likeness_.nnz)}


def members() -> Sequence[Recommender]:
    """One recommender a weighting."""
    return [
        ItemNeighbours(ItemNeighboursSettings(weighting="cosine")),
        ItemNeighbours(ItemNeighboursSettings(weighting="tfidf")),
        ItemNeighbours(ItemNeighboursSettings(weighting="bm25")),
    ]


def _described(interactions: Interactions, as_of: date, weighting: str) -> sparse.csr_matrix:
    """Products by their customers (products x customers), such that a product of two rows is their likeness."""
    days = interactions.counts()[:-1]
    distinct = np.diff(days.indptr)
    tells = np.log(max(days.shape[1], 1) / np.maximum(distinct, 1))
    if weighting == "bm25":
        sold = np.asarray(days.sum(axis=0)).ravel()
        length = 1 - LENGTH + LENGTH * sold / max(float(sold.mean()) if len(sold) else 0.0, 1e-12)
        days.data *= (SATURATION + 1) / (days.data + np.float32(SATURATION) * length[days.indices].astype(np.float32))
        return sparse.csr_matrix(scale_rows(days, tells).T)
    weights = weighted(interactions, as_of)[:-1]
    if weighting == "tfidf":
        weights = scale_rows(weights, tells)
    return scaled_to_length_one(sparse.csr_matrix(weights.T))
