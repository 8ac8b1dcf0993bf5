"""Matrix factorisation by alternating least squares, over all customers or one model per value bucket.

Only item factors are learned and stored. A customer's factors are solved from their own purchases when they are scored,
so that a model file holds nothing about any customer and a purchase made since training counts at once.
"""

import io
import json
from collections.abc import Mapping, Sequence
from copy import copy
from datetime import date
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from pydantic import Field
from threadpoolctl import threadpool_limits

from cer_assets.recommend.context import ANYTIME, Context
from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.model import Indices, Recommender, Scores, Settings, Voice, top_k

FAVOURITES = 20
"""How many of a customer's own products may stand behind a recommendation."""


class AlsSettings(Settings):
    """Hyperparameters of `Als`."""

    factors: int = Field(default=128, ge=1)
    """Length of a factor."""
    regularization: float = Field(default=20.0, ge=0)
    """Weight of the squared length of the factors."""
    alpha: float = Field(default=2.0, gt=0)
    """Confidence of one purchase today, where a product never bought has 1: with 1 a single purchase weighs nothing
    more than none. On groceries more than 10 halves the ranking quality."""
    half_life_days: float | None = Field(default=90.0, gt=0)
    """Age at which a purchase counts half; none: all count alike."""
    iterations: int = Field(default=15, ge=1)
    """Passes over customers and items."""
    seed: int = 0
    """Start of the factors."""
    threads: int = Field(default=0, ge=0)
    """Threads of the solver, 0 for one per core. Every row is solved on its own, so the factors do not depend on it."""


class Als(Recommender):
    """Implicit-feedback ALS (Hu, Koren, Volinsky 2008; conjugate gradient after Takacs, Pilaszy, Tikk 2011).

    A purchase weighs `alpha * 2 ** (-age / half_life)`, added over the days a product was bought.
    """

    voice: ClassVar[Voice] = Voice.LIKENESS

    def __init__(self, settings: AlsSettings | None = None, name: str = "als_global"):
        self.name = name
        self.settings: AlsSettings = settings or AlsSettings()

    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        """Learn item factors from everything bought before `as_of`, then score the same customers."""
        weights = interactions.decayed(as_of, self.settings.half_life_days)
        seen = np.unique(interactions.columns)
        solver = self._solver()
        with _one_blas_thread():
            solver.fit(weights[:-1][:, seen], show_progress=False)
        self.products_ = interactions.products.gather(seen)
        self.item_factors_: NDArray[np.float32] = solver.item_factors
        return self.apply(interactions, as_of)

    def apply(self, interactions: Interactions, as_of: date) -> Self:
        """Score these customers and products from now on, with the item factors already learned.

        Products the model never saw score -inf.
        """
        self.interactions_ = interactions
        self.column_ = interactions.column_of(self.products_)
        known = self.column_ >= 0
        factors = np.zeros((len(interactions.products), self.item_factors_.shape[1]), np.float32)
        factors[self.column_[known]] = self.item_factors_[known]
        self.factors_ = factors
        self.unknown_ = np.setdiff1d(np.arange(len(interactions.products)), self.column_[known])
        self.weights_ = interactions.decayed(as_of, self.settings.half_life_days)
        self._fold_in = self._solver()
        self._fold_in.item_factors = factors
        return self

    def score(self, rows: Indices, context: Context = ANYTIME) -> Scores:
        """Predicted preference, about 0 to 1; -inf for whole rows without a purchase and for products never seen."""
        weights = self.weights_[rows]
        with _one_blas_thread():
            customer_factors = self._fold_in.recalculate_user(np.arange(len(rows)), weights)
            scores = customer_factors @ self.factors_.T
        scores[np.diff(weights.indptr) == 0] = -np.inf
        scores[:, self.unknown_] = -np.inf
        return scores

    def files(self) -> dict[str, bytes]:
        """Item factors with their product ids, and the settings; the same model gives the same bytes."""
        arrays = io.BytesIO()
        np.savez(arrays, product_ids=self.products_.to_numpy().astype(np.str_), item_factors=self.item_factors_)
        settings = json.dumps(self.settings.model_dump(), indent=2, sort_keys=True)
        return {"factors.npz": arrays.getvalue(), "settings.json": settings.encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """The model that `files` wrote; `apply` it to interactions before it scores."""
        model = cls(AlsSettings.model_validate_json(files["settings.json"]))
        with np.load(io.BytesIO(files["factors.npz"]), allow_pickle=False) as arrays:
            model.products_ = pl.Series("product_id", arrays["product_ids"], dtype=pl.String)
            model.item_factors_ = arrays["item_factors"]
        return model

    def card(self) -> dict[str, Any]:
        """Settings and size."""
        return {"family": "als", "settings": self.settings.model_dump(), "products": len(self.products_)}

    def _solver(self) -> AlternatingLeastSquares:
        settings = self.settings
        with _one_blas_thread():
            return AlternatingLeastSquares(
                factors=settings.factors,
                regularization=settings.regularization,
                alpha=settings.alpha,
                iterations=settings.iterations,
                num_threads=settings.threads,
                random_state=settings.seed,
            )

    def behind(self, rows: Indices, columns: Indices, titles: NDArray[np.int64]) -> Indices:
        """The favourite product whose factor points most nearly where the recommended one's does (cosine)."""
        favourites, weight = top_k(self.weights_[rows].toarray(), FAVOURITES)
        direction = self.factors_ / np.maximum(np.linalg.norm(self.factors_, axis=1, keepdims=True), 1e-12)
        with _one_blas_thread():
            likeness = np.matmul(direction[columns], direction[favourites].transpose(0, 2, 1))
        same_title = titles[columns][:, :, None] == titles[favourites][:, None, :]
        likeness[same_title | (weight <= 0)[:, None, :]] = 0
        closest = likeness.argmax(axis=2)
        found = np.take_along_axis(likeness, closest[:, :, None], axis=2)[:, :, 0] > 0
        return np.where(found, np.take_along_axis(favourites, closest, axis=1), -1).astype(np.int32)


class AlsByBucket(Recommender):
    """One `Als` per value bucket, each customer scored by the model of their own bucket.

    Customers without a bucket, or in one without a model, score -inf.
    """

    voice: ClassVar[Voice] = Voice.LIKENESS

    def __init__(self, settings: AlsSettings | None = None, models: Mapping[str, Als] | None = None):
        """Models trained before are used as they are; without any, `fit` trains them."""
        self.name = "als_bucket"
        self.settings: AlsSettings = settings or AlsSettings()
        self.models = models

    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        """Train a model per bucket unless they were given, then score the customers of `interactions`."""
        self.interactions_ = interactions
        trained = self._train(interactions, products, as_of) if self.models is None else self.models
        # Copies: a model handed in may be applied elsewhere to other interactions.
        self.models_ = {bucket: copy(trained[bucket]).apply(interactions, as_of) for bucket in sorted(trained)}
        self.bucket_ = interactions.trait("bucket")
        return self

    def score(self, rows: Indices, context: Context = ANYTIME) -> Scores:
        """Predicted preference by the model of each row's bucket."""
        scores = np.full((len(rows), len(self.interactions_.products)), -np.inf, np.float32)
        for bucket, model in self.models_.items():
            mine = self.bucket_[rows] == bucket
            scores[mine] = model.score(rows[mine])
        return scores

    def behind(self, rows: Indices, columns: Indices, titles: NDArray[np.int64]) -> Indices:
        """As `Als.behind`, by the model of each row's bucket."""
        products = np.full(columns.shape, -1, np.int32)
        for bucket, model in self.models_.items():
            mine = self.bucket_[rows] == bucket
            products[mine] = model.behind(rows[mine], columns[mine], titles)
        return products

    def _train(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> dict[str, Als]:
        bucket = interactions.trait("bucket")
        names = sorted({name for name in bucket if name is not None})
        own = {name: interactions.of(interactions.customers.filter(bucket[:-1] == name)) for name in names}
        return {b: Als(self.settings).fit(bought, products, as_of) for b, bought in own.items() if len(bought.rows)}


def customers_by_bucket(buckets: pl.DataFrame) -> dict[str, pl.Series]:
    """Sorted customer_ids of each bucket, from rows of customer_id, bucket."""
    members = buckets.drop_nulls("bucket").group_by("bucket").agg(pl.col("customer_id").sort()).sort("bucket")
    return {bucket: pl.Series("customer_id", customers) for bucket, customers in members.iter_rows()}


def members() -> Sequence[Recommender]:
    """One model of everyone, and one per value bucket."""
    return [Als(), AlsByBucket()]


def _one_blas_thread() -> threadpool_limits:
    # implicit runs its own threads, and a matrix product split over BLAS threads adds in another order each time.
    return threadpool_limits(1, user_api="blas")
