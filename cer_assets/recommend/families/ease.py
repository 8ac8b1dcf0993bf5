"""EASE: a linear model of what else a customer buys, in closed form."""

from collections.abc import Sequence
from datetime import date
from typing import Self

import numpy as np
import polars as pl
from pydantic import Field
from scipy import sparse

from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.likeness import weighted
from cer_assets.recommend.linear import (
    LinearRecommender,
    mean_squared_length,
    most_bought,
    of_like_length,
    ridge,
    squares,
    usual_length,
)
from cer_assets.recommend.model import Recommender, Settings

RELATIVE = 3.0
"""What is published as best comes to 3 to 5 mean squared lengths (MovieLens 20M: 500 at 130 films a user, Netflix:
1,000 at 200, MSD: 200 at 57)."""


class EaseSettings(Settings):
    """What is learned, and how much of it."""

    regularization: float | None = Field(default=None, gt=0)
    """Weight of the squared coefficients; none: RELATIVE mean squared lengths of a customer's weights."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the purchases that the coefficients must do without: holds those of much bought products down (Steck
    2020, "Autoencoders that don't overfit towards the identity")."""
    length_power: float = Field(default=0.0, ge=0, le=1)
    """0: who buys more teaches more; 1: all customers are alike."""
    half_life_days: float | None = Field(default=None, gt=0)
    """Age at which a purchase counts half; none: all count alike."""
    logarithm: bool = True
    """Count log(1 + days of purchase), not whether it was bought at all."""
    max_products: int = Field(default=6000, ge=1)
    """Products learned, the most bought first; of the others the model says nothing. Their coefficients take
    products^2 x 4 bytes (6,000: 144 MB), twice that while they are learned, and products^3 operations, or
    customers^3 where there are fewer of these."""


class Ease(LinearRecommender):
    """Each product from all others by ridge regression, itself held at zero (Steck 2019, "Embarrassingly Shallow...").

    With R the coefficients of the same regression where a product may explain itself, those wanted are
    R / (1 - diag(R)), column by column: their formula from the inverse of the Gram matrix, said in one solve that may
    also be done between customers.
    """

    settings: EaseSettings

    def __init__(self, settings: EaseSettings | None = None, name: str = "ease"):
        self.name = name
        self.settings = settings or EaseSettings()

    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        """Learn the coefficients between the most bought products."""
        settings = self.settings
        self.interactions_ = interactions
        self.columns_ = most_bought(interactions, settings.max_products)
        self._usual = usual_length(self._counted(interactions, as_of))
        self._place(interactions, as_of)
        bought = self.weights_[:-1]
        penalty = settings.regularization or RELATIVE * mean_squared_length(bought)
        explained = ridge(bought, bought, penalty + settings.dropout / (1 - settings.dropout) * squares(bought))
        explained /= 1 - explained.diagonal()
        np.fill_diagonal(explained, 0)
        self.coefficients_ = explained
        self.intercept_ = np.zeros(len(self.columns_), np.float32)
        return self

    def _weighed(self, interactions: Interactions, as_of: date) -> sparse.csr_matrix:
        return of_like_length(self._counted(interactions, as_of), self.settings.length_power, self._usual)

    def _counted(self, interactions: Interactions, as_of: date) -> sparse.csr_matrix:
        weights = weighted(interactions, as_of, self.settings.half_life_days)
        if not self.settings.logarithm:
            weights.data[:] = 1
        return sparse.csr_matrix(weights[:, self.columns_])


def members() -> Sequence[Recommender]:
    """One model of all purchases."""
    return [Ease()]
