"""Popular and trending products: what every learned recommender must beat, and all there is for a stranger."""

from collections.abc import Sequence
from datetime import date
from typing import ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from cer_assets.recommend.context import ANYTIME, Context, ContextLift
from cer_assets.recommend.interactions import Interactions, days_since_epoch
from cer_assets.recommend.model import Indices, Recommender, Scores, Settings, Voice


class Popularity(Recommender):
    """The products bought by most customers, the same list for everyone."""

    voice: ClassVar[Voice] = Voice.TREND

    def __init__(self) -> None:
        self.name = "popularity"
        self.settings = Settings()

    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        """Count the customers of each product."""
        self.interactions_ = interactions
        self.popularity_ = buyers(interactions).astype(np.float32)
        return self

    def score(self, rows: Indices, context: Context = ANYTIME) -> Scores:
        """Customers of each product, once per row."""
        return np.tile(self.popularity_, (len(rows), 1))


class TrendingSettings(Settings):
    """How fast a trend is forgotten."""

    days: int = Field(default=56, ge=1)
    """Days before the cut that are looked at."""
    half_life_days: float = Field(default=14.0, gt=0)
    """Age at which a purchase counts half."""


class Trending(Recommender):
    """The products bought most in the last weeks, later purchases weighing more, the same list for everyone.

    In a known moment a product counts as much more as it is bought more often then (`ContextLift`, at full weight);
    when nothing is known of it, the list is the plain one.
    """

    voice: ClassVar[Voice] = Voice.TREND

    def __init__(self, settings: TrendingSettings | None = None):
        self.name = "trending"
        self.settings: TrendingSettings = settings or TrendingSettings()

    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        """Add up the decayed day-baskets of the last `days`, and count who bought each product in that time."""
        self.interactions_ = interactions
        age = days_since_epoch(as_of) - interactions.days
        recent = age <= self.settings.days
        weights = np.exp2(-age[recent] / self.settings.half_life_days)
        trend = np.bincount(interactions.columns[recent], weights, minlength=len(interactions.products))
        self.trend_ = trend.astype(np.float32)
        self.buyers_ = buyers(interactions, recent)
        self.lift_ = ContextLift().fit(interactions, products, as_of)
        return self

    def score(self, rows: Indices, context: Context = ANYTIME) -> Scores:
        """Decayed day-baskets of each product in this moment, once per row; -inf for what nobody bought lately."""
        trend = np.where(self.trend_ > 0, self.trend_ * np.exp(self.lift_.lift(context)), -np.inf)
        return np.tile(trend.astype(np.float32), (len(rows), 1))


def members() -> Sequence[Recommender]:
    """What is popular at all, and what is trending."""
    return [Popularity(), Trending()]


def buyers(interactions: Interactions, entries: NDArray[np.bool_] | slice = slice(None)) -> NDArray[np.int64]:
    """Number of customers who bought each product, in all entries or in some."""
    row, column = interactions.rows[entries], interactions.columns[entries]
    # Sorted by row and column: a customer's further days of a product follow the first.
    first = np.append(True, (row[1:] != row[:-1]) | (column[1:] != column[:-1]))[: len(row)]
    return np.bincount(column[first], minlength=len(interactions.products))
