"""What every learned recommender must beat: popular products, trending ones, and each customer's own favourites."""

from datetime import date
from typing import ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cer_assets.recommend.interactions import Interactions, days_since_epoch
from cer_assets.recommend.model import Indices, Recommender, Scores


class Popularity(Recommender):
    """The products bought by most customers, the same list for everyone."""

    name: ClassVar[str] = "popularity"

    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        """Count the customers of each product."""
        self.interactions_ = interactions
        self.popularity_ = buyers(interactions).astype(np.float32)
        return self

    def score(self, rows: Indices) -> Scores:
        """Customers of each product, once per row."""
        return np.tile(self.popularity_, (len(rows), 1))


class Trending(Recommender):
    """The products bought most in the last weeks, later purchases weighing more, the same list for everyone."""

    name: ClassVar[str] = "trending"

    def __init__(self, days: int = 56, half_life_days: float = 14.0):
        self.days = days
        self.half_life_days = half_life_days

    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        """Add up the decayed day-baskets of the last `days`, and count who bought each product in that time."""
        self.interactions_ = interactions
        age = days_since_epoch(as_of) - interactions.days
        recent = age <= self.days
        weights = np.exp2(-age[recent] / self.half_life_days)
        trend = np.bincount(interactions.columns[recent], weights, minlength=len(interactions.products))
        self.trend_ = trend.astype(np.float32)
        self.buyers_ = buyers(interactions, recent)
        return self

    def score(self, rows: Indices) -> Scores:
        """Decayed day-baskets of each product, once per row; -inf for what nobody bought lately."""
        return np.tile(np.where(self.trend_ > 0, self.trend_, -np.inf).astype(np.float32), (len(rows), 1))


class PersonalFrequency(Recommender):
    """The products each customer bought on most days, then the popular ones.

    Simple, and hard to beat where people buy the same things again (Hu et al. 2020, "Modeling personalized item
    frequency information for next-basket recommendation").
    """

    name: ClassVar[str] = "personal_frequency"

    def __init__(self, half_life_days: float | None = None, popularity_weight: float = 1e-3):
        self.half_life_days = half_life_days
        self.popularity_weight = popularity_weight

    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        """Weigh each customer's days by age, and keep popularity to order what they never bought."""
        self.interactions_ = interactions
        self.frequency_ = interactions.decayed(as_of, self.half_life_days)
        popularity = Popularity().fit(interactions, products, as_of).popularity_
        self.popularity_ = popularity / max(float(popularity.max(initial=0)), 1.0)
        return self

    def score(self, rows: Indices) -> Scores:
        """(Decayed) days of purchase plus popularity small enough to only break ties."""
        return self.frequency_[rows].toarray() + np.float32(self.popularity_weight) * self.popularity_


def buyers(interactions: Interactions, entries: NDArray[np.bool_] | slice = slice(None)) -> NDArray[np.int64]:
    """Number of customers who bought each product, in all entries or in some."""
    row, column = interactions.rows[entries], interactions.columns[entries]
    # Sorted by row and column: a customer's further days of a product follow the first.
    first = np.append(True, (row[1:] != row[:-1]) | (column[1:] != column[:-1]))[: len(row)]
    return np.bincount(column[first], minlength=len(interactions.products))
