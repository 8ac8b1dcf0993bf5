"""Bought together: products of one shopping trip, for what the customer bought lately and for a page on a product."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from cer_assets.recommend.context import ANYTIME, Context
from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.likeness import CELLS, cells, own_product_behind, strongest, weighted
from cer_assets.recommend.model import Indices, Recommender, Scores, Settings, Voice

PAIRS = {"product_id": pl.String, "with_product_id": pl.String, "baskets": pl.Int64, "lift": pl.Float64}
"""Columns of `pairs`."""


class TogetherSettings(Settings):
    """Which pairs count, and for which of the customer's products."""

    least_baskets: int = Field(default=3, ge=1)
    """Baskets that must hold both products of a pair."""
    shrinkage: float = Field(default=20.0, ge=0)
    """Baskets, beside its own, in which a product meets every other as often as anywhere: what was seen in few baskets
    is held back."""
    partners: int = Field(default=200, ge=1)
    """Partners kept of each product; memory is products x partners x 8 bytes."""
    half_life_days: float | None = Field(default=60.0, gt=0)
    """Age at which a purchase of the customer counts half; none: all count alike."""


class Together(Recommender):
    """Score of a product: by how much each product bought raises the chance of meeting it in the basket, added up.

    A basket is what a customer bought on one day. The chance is shrunk to what it is anywhere, so that popularity alone
    adds nothing and two baskets in common are not yet a rule.
    """

    voice: ClassVar[Voice] = Voice.TOGETHER

    def __init__(self, settings: TogetherSettings | None = None, name: str = "together"):
        self.name = name
        self.settings: TogetherSettings = settings or TogetherSettings()

    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        """Count baskets and pairs, and keep the best partners of each product."""
        settings = self.settings
        self.interactions_ = interactions
        self._place(interactions, as_of)
        met = _meetings(interactions, settings.least_baskets)
        raised = met.raised(settings.shrinkage)
        self.raised_ = strongest(lambda some: raised[some], met.shape, settings.partners)
        return self

    def _place(self, interactions: Interactions, as_of: date) -> None:
        self.weights_ = weighted(interactions, as_of, self.settings.half_life_days)

    def score(self, rows: Indices, context: Context = ANYTIME) -> Scores:
        """Chance raised by what the customer bought; -inf where nothing raises it."""
        scores = (self.weights_[rows] @ self.raised_).toarray()
        scores[scores <= 0] = -np.inf
        return scores

    def behind(self, rows: Indices, columns: Indices, titles: NDArray[np.int64]) -> Indices:
        """The own product that raises the chance most."""

        def strength(own: Indices, weight: NDArray[np.float32], asked: Indices) -> Scores:
            return weight[:, None] * cells(self.raised_, own, asked)

        return own_product_behind(self.weights_, rows, columns, titles, strength)

    def card(self) -> dict[str, Any]:
        """Settings and size."""
        return {**super().card(), "products": self.raised_.shape[0], "pairs": int(self.raised_.nnz)}


def pairs(
    interactions: Interactions, least_baskets: int = 10, shrinkage: float = 20.0, partners: int = 10
) -> pl.DataFrame:
    """What each product is bought together with: its best partners, by how much it raises the chance of meeting them.

    Args:
        interactions: a basket is what a customer bought on one day.
        least_baskets: baskets that must hold both.
        shrinkage: as in `TogetherSettings`.
        partners: longest list of a product.

    Returns:
        product_id, with_product_id, baskets (that hold both), lift (times as often as if they met by chance, unshrunk);
        for each product best first, only partners with a lift above 1.
    """
    met = _meetings(interactions, least_baskets)
    raised = met.raised(shrinkage)
    best = strongest(lambda some: raised[some], met.shape, partners)
    product = np.repeat(np.arange(met.shape[0], dtype=np.int32), np.diff(best.indptr))
    partner = best.indices.astype(np.int32)
    both = cells(met.pairs, product, partner[:, None])[:, 0].astype(np.float64)
    lift = both * met.baskets / (met.of_product[product] * met.of_product[partner])
    return (
        pl.DataFrame(
            {
                "product_id": interactions.products.gather(product),
                "with_product_id": interactions.products.gather(partner),
                "baskets": both.astype(np.int64),
                "lift": lift,
                "raised": best.data,
            },
            schema={**PAIRS, "raised": pl.Float32},
        )
        .sort("product_id", "raised", "with_product_id", descending=[False, True, False])
        .select(*PAIRS)
    )


@dataclass(frozen=True)
class _Meetings:
    """Which products met in how many baskets."""

    baskets: int
    """All there are."""
    of_product: NDArray[np.int64]
    """Baskets with each product."""
    pairs: sparse.csr_matrix
    """Baskets with both products, float32 (products x products), zero where they are too few."""

    @property
    def shape(self) -> tuple[int, int]:
        """Products, twice."""
        return len(self.of_product), len(self.of_product)

    def raised(self, shrinkage: float) -> sparse.csr_matrix:
        """By how much a product (row) raises the chance of meeting another; nothing where it lowers it."""
        share = self.of_product / max(self.baskets, 1)
        product = np.repeat(np.arange(len(share)), np.diff(self.pairs.indptr))
        elsewhere = share[self.pairs.indices]
        chance = (self.pairs.data + shrinkage * elsewhere) / (self.of_product[product] + shrinkage)
        above = np.maximum(chance - elsewhere, 0).astype(np.float32)
        return sparse.csr_matrix((above, self.pairs.indices, self.pairs.indptr), shape=self.shape)


def _meetings(interactions: Interactions, least_baskets: int) -> _Meetings:
    """Count pairs, some products at a time, so that pairs too rare are never all there at once."""
    trip = interactions.rows.astype(np.int64) << 32 | interactions.days
    trips, basket = np.unique(trip, return_inverse=True)
    width = len(interactions.products)
    ones = np.ones(len(basket), np.float32)
    baskets = sparse.csr_matrix((ones, (basket, interactions.columns)), shape=(len(trips), width))
    of_product = np.bincount(interactions.columns, minlength=width)
    by_product = sparse.csr_matrix(baskets.T)
    size = max(CELLS // max(width, 1), 1)
    kept = [sparse.csr_matrix(np.empty((0, width), np.float32))]
    for start in range(0, width, size):
        met = sparse.csr_matrix(by_product[start : start + size] @ baskets)
        itself = np.repeat(np.arange(start, start + met.shape[0]), np.diff(met.indptr)) == met.indices
        met.data[itself | (met.data < least_baskets)] = 0
        met.eliminate_zeros()
        met.sort_indices()
        kept.append(met)
    return _Meetings(len(trips), of_product, sparse.csr_matrix(sparse.vstack(kept, format="csr")))


def members() -> Sequence[Recommender]:
    """Partners of what was bought lately."""
    return [Together()]
