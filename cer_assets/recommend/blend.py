"""The ranking that customers are shown: their own favourites, discoveries, and what is trending, in one score."""

from datetime import date
from typing import ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from cer_assets.recommend.baselines import PersonalFrequency, Trending
from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.model import Indices, Recommender, Scores


class BlendSettings(BaseModel):
    """Weights of `Blend`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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

    name: ClassVar[str] = "blend"

    def __init__(self, discovery: Recommender, settings: BlendSettings | None = None):
        self.discovery = discovery
        self.settings = settings or BlendSettings()

    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        """Fit the three parts."""
        self.interactions_ = interactions
        self.repeat_ = PersonalFrequency(self.settings.half_life_days).fit(interactions, products, as_of)
        self.trending_ = Trending().fit(interactions, products, as_of)
        self.discovery.fit(interactions, products, as_of)
        return self

    def score(self, rows: Indices) -> Scores:
        """The weighted sum of the standardised parts."""
        return self.score_and_discover(rows)[0]

    def score_and_discover(self, rows: Indices) -> tuple[Scores, NDArray[np.bool_]]:
        """The blended scores, and beside them which products the discovery model had something to say about."""
        scores = self.discovery.score(rows)
        known = np.isfinite(scores)
        standardise(scores, known)
        scores *= np.float32(self.settings.discovery_weight)
        trend = self.trending_.score(rows[:1])
        standardise(trend, np.isfinite(trend))
        scores += np.float32(self.settings.trending_weight) * trend
        self._add_repeat(scores, rows)
        return scores, known

    def _add_repeat(self, scores: Scores, rows: Indices) -> None:
        # Products never bought all have frequency 0; leaving the mean in shifts a row as a whole and keeps it sparse.
        own = self.repeat_.frequency_[rows]
        mean = own.mean(axis=1).A1
        spread = np.sqrt(np.maximum(own.multiply(own).mean(axis=1).A1 - np.square(mean), 0))
        of = np.repeat(np.arange(len(rows)), np.diff(own.indptr))
        scores[of, own.indices] += own.data / np.maximum(spread, np.finfo(np.float32).tiny)[of]


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
