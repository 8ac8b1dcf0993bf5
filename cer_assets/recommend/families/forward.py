"""What was bought before foretells what is bought next: ridge regression from one time to the time after it."""

from collections.abc import Sequence
from datetime import date
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from cer_assets.recommend.interactions import Interactions, days_since_epoch
from cer_assets.recommend.likeness import scale_rows
from cer_assets.recommend.linear import (
    LinearRecommender,
    mean_squared_length,
    most_bought,
    of_like_length,
    of_rank,
    ridge,
    usual_length,
)
from cer_assets.recommend.model import Recommender, Settings


class ForwardSettings(Settings):
    """From what to what is learned."""

    window_days: int = Field(default=56, ge=1)
    """The last days before the cut: what was bought in them is to be explained by what was bought before them."""
    half_life_days: float | None = Field(default=180.0, gt=0)
    """Age at which a purchase counts half; none: all count alike."""
    regularization: float = Field(default=12.0, gt=0)
    """Weight of the squared coefficients, in mean squared lengths of a customer's weights."""
    length_power: float = Field(default=0.5, ge=0, le=1)
    """0: who buys more has larger scores and teaches more; 1: all customers are alike."""
    rank: int | None = Field(default=128, ge=1)
    """Of the coefficients: fewer leave out what is chance between two products; none: as they are."""
    intercept: float = Field(default=1.0, ge=0)
    """Weight of what everyone's score begins with, in root mean squared lengths; 0: nothing."""
    max_products: int = Field(default=6000, ge=1)
    """Products learned, the most bought first; costs as in `EaseSettings.max_products`."""


class Forward(LinearRecommender):
    """Each product of the last weeks from all products bought before them.

    EASE explains purchases by others of the same time, so that it cannot tell what follows from what goes together,
    and has to hold a product's own coefficient at zero. Here a product may explain itself, as that is buying it again;
    what it says of others is then what is left to say. Recent purchases are what is explained, so that the season and
    the trend are in the coefficients.
    """

    settings: ForwardSettings

    def __init__(self, settings: ForwardSettings | None = None, name: str = "forward"):
        self.name = name
        self.settings = settings or ForwardSettings()

    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        """Learn the step from what was bought before the window to what was bought in it, then take it from today."""
        settings = self.settings
        self.interactions_ = interactions
        self.columns_ = most_bought(interactions, settings.max_products)
        began = days_since_epoch(as_of) - settings.window_days
        before = self._counted(interactions, began)
        before = of_like_length(before, settings.length_power)
        after = self._bought(interactions, interactions.days >= began)
        after.data[:] = 1
        learning = np.flatnonzero(np.diff(before.indptr) * np.diff(after.indptr))
        inputs, targets = before[learning], after[learning]
        unit = mean_squared_length(before)
        intercept = np.float32(settings.intercept * unit**0.5)
        inputs = sparse.csr_matrix(sparse.hstack([inputs, sparse.csr_matrix(np.full((len(learning), 1), intercept))]))
        coefficients = ridge(inputs, targets, np.full(inputs.shape[1], settings.regularization * unit))
        if settings.rank is not None:
            coefficients = of_rank(coefficients, inputs, settings.rank)
        self.coefficients_, self.intercept_ = coefficients[:-1], intercept * coefficients[-1]
        self._learned = len(learning) > 0
        self._usual = usual_length(self._counted(interactions, days_since_epoch(as_of)))
        self._place(interactions, as_of)
        return self

    def _weighed(self, interactions: Interactions, as_of: date) -> sparse.csr_matrix:
        weights = self._counted(interactions, days_since_epoch(as_of))
        weights = of_like_length(weights, self.settings.length_power, self._usual)
        if not self._learned:
            # Nobody has bought both before and since: nothing was learned, and nothing is said of anyone.
            weights = sparse.csr_matrix(scale_rows(weights, np.zeros(interactions.shape[0])))
            weights.eliminate_zeros()
        return weights

    def _counted(self, seen: Interactions, day: int) -> sparse.csr_matrix:
        """What was bought before a day, later purchases weighing more."""
        half_life = self.settings.half_life_days or np.inf
        weights = self._bought(seen, seen.days < day, np.exp2((seen.days - day) / half_life))
        weights.data = np.log1p(weights.data)
        return weights

    def _bought(
        self, seen: Interactions, some: NDArray[np.bool_], weights: NDArray[np.float64] | None = None
    ) -> sparse.csr_matrix:
        values = np.ones(int(some.sum())) if weights is None else weights[some]
        entries = (values.astype(np.float32), (seen.rows[some], seen.columns[some]))
        return sparse.csr_matrix(sparse.csr_matrix(entries, shape=seen.shape)[:, self.columns_])


def members() -> Sequence[Recommender]:
    """One step of eight weeks."""
    return [Forward()]
