"""The ranking that customers are shown: their own favourites, discoveries, and what is trending, in one score."""

from datetime import date
from typing import ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from cer_assets.recommend.context import ANYTIME, Context
from cer_assets.recommend.families.frequency import FrequencySettings, PersonalFrequency
from cer_assets.recommend.families.popularity import Trending
from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.model import Indices, Recommender, Scores, Settings, Voice


class BlendSettings(Settings):
    """Weights of `Blend`."""

    half_life_days: float = Field(default=90.0, gt=0)
    """Age at which a customer's own purchase counts half."""
    discovery_weight: float = Field(default=0.5, ge=0)
    """Weight of the discovery model beside a customer's own purchases, which weigh 1."""
    trending_weight: float = Field(default=0.05, ge=0)
    """Weight of what is trending: it orders the rest, and is all there is for a customer without history."""


class Blend(Recommender):
    """z(own decayed frequency) + w z(discovery) + v z(trending), each standardised over a customer's products.

    Standardising puts the parts on one scale per customer. A part with nothing to say about a product adds nothing, so
    that one formula ranks a regular, a newcomer and a customer never seen.
    """

    voice: ClassVar[Voice] = Voice.REPEAT

    def __init__(self, discovery: Recommender, settings: BlendSettings | None = None):
        self.name = "blend"
        self.discovery = discovery
        self.settings: BlendSettings = settings or BlendSettings()

    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        """Fit the three parts."""
        self.interactions_ = interactions
        self.repeat_ = PersonalFrequency(FrequencySettings(half_life_days=self.settings.half_life_days)).fit(
            interactions, products, as_of
        )
        self.trending_ = Trending().fit(interactions, products, as_of)
        self.discovery.fit(interactions, products, as_of)
        self.trend_ = self.trending_.trend_[None, :].copy()
        standardise(self.trend_, np.ones_like(self.trend_, dtype=bool))
        return self

    def score(self, rows: Indices, context: Context = ANYTIME) -> Scores:
        """The weighted sum of the standardised parts; -inf for a product that no part speaks for."""
        return self.score_and_discover(rows)[0]

    def score_and_discover(self, rows: Indices) -> tuple[Scores, NDArray[np.bool_]]:
        """The blended scores, and beside them which products the discovery model had something to say about."""
        scores = self.discovery.score(rows)
        known = np.isfinite(scores)
        standardise(scores, known)
        scores *= np.float32(self.settings.discovery_weight)
        scores += np.float32(self.settings.trending_weight) * self.trend_
        own = self.repeat_.frequency_[rows]
        bought = np.repeat(np.arange(len(rows)), np.diff(own.indptr)), own.indices
        scores[bought] += own.data / np.repeat(_spread(own), np.diff(own.indptr))
        silent = ~known & (self.trending_.trend_ <= 0)
        silent[bought] = False
        scores[silent] = -np.inf
        return scores, known


def _spread(own: sparse.csr_matrix) -> NDArray[np.float64]:
    """Standard deviation of each row, zeros included; 1 where all are equal.

    The mean stays in the scores: it shifts a row as a whole, and without it they are no longer sparse.
    """
    width = max(own.shape[1], 1)
    mean, mean_square = own.sum(axis=1).A1 / width, own.multiply(own).sum(axis=1).A1 / width
    spread = np.sqrt(np.maximum(mean_square - np.square(mean), 0))
    return np.where(spread > 0, spread, 1)


def standardise(scores: Scores, known: NDArray[np.bool_]) -> None:
    """Take the mean of each row's known scores from them and divide by their standard deviation, in place.

    Unknown scores become 0, and so do the known ones of a row where all are equal.
    """
    count = np.maximum(known.sum(axis=1), 1)[:, None].astype(np.float32)
    np.copyto(scores, 0, where=~known)
    scores -= scores.sum(axis=1, keepdims=True) / count
    np.copyto(scores, 0, where=~known)
    spread = np.sqrt(np.einsum("ij,ij->i", scores, scores)[:, None] / count)
    scores /= np.where(spread > 0, spread, np.float32(np.inf))
