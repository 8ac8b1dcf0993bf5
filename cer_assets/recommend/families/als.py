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
from scipy import sparse

from cer_assets.arrays import distinct
from cer_assets.recommend.context import ANYTIME, Context
from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.model import Indices, Recommender, Scores, Settings, Voice, as_frame
from cer_assets.recommend.topk import best_by_factors, blocks, one_blas_thread

FAVOURITES = 20
"""How many of a customer's own products may stand behind a recommendation."""
LOSS_CELLS = 1 << 17
"""Cells that the training loss is estimated from where there are more, evenly spaced: all would double the time."""


class AlsSettings(Settings):
    """Hyperparameters of `Als`."""

    factors: int = Field(default=128, ge=1)
    """Length of a factor."""
    regularization: float = Field(default=0.75, gt=0)
    """Weight of the squared length of the factors, in units of `noise`: one figure suits many customers or few, of
    many purchases or few. Above 1 little is left but what is popular."""
    alpha: float = Field(default=1.0, gt=0)
    """Confidence of one purchase today, where a product never bought has 1. On groceries 2 ranks worse than 1, and more
    than 10 halves the ranking quality."""
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
        seen = distinct(interactions.columns)
        # Who only looked is no example of anything: without a purchase a row would but raise the noise.
        confidence = self._confidence(interactions, as_of)[distinct(interactions.rows)][:, seen]
        self.as_of_ = as_of
        self.products_ = interactions.products.gather(seen)
        self.regularization_ = float(self.settings.regularization * noise(confidence))
        """Weight of the squared length of the factors."""
        self.losses_: list[float] = []
        """Training loss after each iteration, see `_Loss`."""
        self.item_factors_ = self._learn(confidence)
        return self.apply(interactions, as_of)

    def of_others(self, interactions: Interactions, as_of: date) -> Self:
        """As every family; see `apply`."""
        return copy(self).apply(interactions, as_of)

    def apply(self, interactions: Interactions, as_of: date, audience: NDArray[np.bool_] | None = None) -> Self:
        """Score these customers and products from now on, with the item factors already learned.

        Products the model never saw score -inf, and so does everything for who bought nothing else.

        Args:
            interactions: what was bought.
            as_of: the day from which age is counted.
            audience: which matrix rows are to be scored, all others as if they had bought nothing; by default all.
        """
        self.interactions_ = interactions
        column = interactions.column_of(self.products_)
        known = column >= 0
        self.factors_ = np.zeros((len(interactions.products), self.settings.factors), np.float32)
        self.factors_[column[known]] = self.item_factors_[known]
        self.unknown_ = np.setdiff1d(np.arange(len(interactions.products)), column[known])
        self.confidence_ = self._confidence(interactions, as_of)
        # A purchase of what has no factor says nothing, and without any learned there is no equation to solve.
        bought = self.confidence_ @ np.asarray(self.factors_.any(axis=1), np.float32) > 0
        mine = np.flatnonzero(bought if audience is None else bought & audience)
        self.customer_factors_ = np.zeros((len(bought), self.settings.factors), np.float32)
        self.customer_factors_[mine] = self._solved_for(self.confidence_[mine])
        self.silent_ = ~np.asarray(self.customer_factors_.any(axis=1))
        return self

    def score(self, rows: Indices, context: Context = ANYTIME) -> Scores:
        """Predicted preference, about 0 to 1; -inf for products never seen, and for rows that bought no other."""
        with one_blas_thread():
            scores = self.customer_factors_[rows] @ self.factors_.T
        scores[self.silent_[rows]] = -np.inf
        scores[:, self.unknown_] = -np.inf
        return scores

    def best(
        self, rows: Indices, k: int, without: sparse.csr_matrix | None = None, threads: int = 0
    ) -> tuple[Indices, Scores]:
        """Columns and scores of the k best as in `top_k`, without making all scores; `without`: what is left out."""
        barred = np.zeros(len(self.factors_), bool)
        barred[self.unknown_] = True
        left_out = None if without is None else without[rows]
        return best_by_factors(self.customer_factors_[rows], self.factors_, k, left_out, barred, threads)

    def recommend(self, customers: pl.Series, k: int = 10, context: Context = ANYTIME) -> pl.DataFrame:
        """As every family; customers and products are compared only where a product may come onto the list."""
        return as_frame(customers, *self.best(self.interactions_.row_of(customers), k), self.interactions_.products)

    def behind(self, rows: Indices, columns: Indices, titles: NDArray[np.int64]) -> Indices:
        """The favourite product whose factor points most nearly where the recommended one's does (cosine)."""
        length = np.linalg.norm(self.factors_, axis=1, keepdims=True)
        direction = self.factors_ / np.maximum(length, 1e-12)
        found = np.full(columns.shape, -1, np.int32)
        for start, block in blocks(rows):
            asked = columns[start : start + len(block)]
            found[start : start + len(block)] = self._behind(block, asked, titles, direction)
        return found

    def files(self) -> dict[str, bytes]:
        """Item factors with their product ids, the settings, and how it was learned; the same model, the same bytes."""
        arrays = io.BytesIO()
        np.savez(arrays, product_ids=self.products_.to_numpy().astype(np.str_), item_factors=self.item_factors_)
        return {
            "factors.npz": arrays.getvalue(),
            "settings.json": _json(self.settings.model_dump()),
            "training.json": _json({"name": self.name, **self._training()}),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """The model that `files` wrote; `apply` it to interactions before it scores."""
        training = json.loads(files["training.json"])
        model = cls(AlsSettings.model_validate_json(files["settings.json"]), training["name"])
        model.as_of_ = date.fromisoformat(training["as_of"])
        model.regularization_, model.losses_ = training["regularization"], training["losses"]
        with np.load(io.BytesIO(files["factors.npz"]), allow_pickle=False) as arrays:
            model.products_ = pl.Series("product_id", arrays["product_ids"], dtype=pl.String)
            model.item_factors_ = arrays["item_factors"]
        return model

    def card(self) -> dict[str, Any]:
        """Settings, size, and how it was learned: as_of, regularization, losses."""
        return {**super().card(), "family": "als", "products": len(self.products_), **self._training()}

    def _training(self) -> dict[str, Any]:
        return {
            "as_of": self.as_of_.isoformat(),
            "regularization": self.regularization_,
            "losses": self.losses_,
        }

    def _confidence(self, interactions: Interactions, as_of: date) -> sparse.csr_matrix:
        confidence = interactions.decayed(as_of, self.settings.half_life_days)
        confidence.data *= np.float32(self.settings.alpha)
        return confidence

    def _learn(self, confidence: sparse.csr_matrix) -> NDArray[np.float32]:
        if not confidence.nnz:
            return np.zeros((confidence.shape[1], self.settings.factors), np.float32)
        solver, loss = self._solver(), _Loss(confidence, self.regularization_)

        def note(*_: object) -> None:
            self.losses_.append(loss.of(solver.user_factors, solver.item_factors))

        with one_blas_thread():
            solver.fit(confidence, show_progress=False, callback=note)
        return solver.item_factors

    def _solved_for(self, confidence: sparse.csr_matrix) -> NDArray[np.float32]:
        solver = self._solver()
        solver.item_factors = self.factors_
        with one_blas_thread():
            return solver.recalculate_user(np.arange(confidence.shape[0]), confidence)

    def _solver(self) -> AlternatingLeastSquares:
        settings = self.settings
        with one_blas_thread():  # it warns of more when it is made
            return AlternatingLeastSquares(
                factors=settings.factors,
                regularization=self.regularization_,
                alpha=1.0,
                iterations=settings.iterations,
                num_threads=settings.threads,
                random_state=settings.seed,
            )

    def _behind(
        self, rows: Indices, columns: Indices, titles: NDArray[np.int64], direction: NDArray[np.float32]
    ) -> Indices:
        favourites = largest_entries(self.confidence_[rows], FAVOURITES)
        with one_blas_thread():
            likeness = np.matmul(direction[columns], direction[favourites].transpose(0, 2, 1))
        same_title = titles[columns][:, :, None] == titles[favourites][:, None, :]
        likeness[same_title | (favourites < 0)[:, None, :]] = 0
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
        self._trained = self._train(interactions, products, as_of) if self.models is None else self.models
        self._place(interactions, as_of)
        return self

    def _place(self, interactions: Interactions, as_of: date) -> None:
        self.bucket_ = interactions.trait("bucket")
        # Copies: a model handed in may be applied elsewhere to other interactions.
        self.models_ = {
            bucket: copy(self._trained[bucket]).apply(interactions, as_of, self.bucket_ == bucket)
            for bucket in sorted(self._trained)
        }

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

    def card(self) -> dict[str, Any]:
        """Settings, and the card of each bucket's model."""
        return {**super().card(), "buckets": {bucket: model.card() for bucket, model in self.models_.items()}}

    def _train(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> dict[str, Als]:
        bucket = interactions.trait("bucket")
        names = pl.Series(bucket, dtype=pl.String).drop_nulls().unique().sort()
        own = {name: interactions.of(interactions.customers.filter(bucket[:-1] == name)) for name in names}
        return {b: Als(self.settings).fit(bought, products, as_of) for b, bought in own.items() if len(bought.rows)}


class _Loss:
    """Mean over all cells of confidence * (bought - predicted)^2, and of the penalty on the factors' squared length.

    What `implicit` calls the training loss, without its pass over all that was bought.
    """

    def __init__(self, confidence: sparse.csr_matrix, regularization: float):
        customers, items = confidence.shape
        step = -(-confidence.nnz // LOSS_CELLS)
        chosen = np.arange(0, confidence.nnz, step)
        self._rows = np.searchsorted(confidence.indptr, chosen, side="right") - 1
        self._columns, self._confidence = confidence.indices[chosen], confidence.data[chosen].astype(np.float64)
        self._each = confidence.nnz / len(chosen)
        self._cells = float(confidence.data.sum(dtype=np.float64)) + customers * items - confidence.nnz
        self._regularization = regularization

    def of(self, customer_factors: NDArray[np.float32], item_factors: NDArray[np.float32]) -> float:
        """The loss of these factors."""
        predicted = np.empty(len(self._rows))
        for start in range(0, len(predicted), 1 << 14):
            some = slice(start, start + (1 << 14))
            own, theirs = customer_factors[self._rows[some]], item_factors[self._columns[some]]
            predicted[some] = np.einsum("ij,ij->i", own, theirs)
        # Every cell as if it was not bought: the sum of all squared predictions, from two small matrices.
        gram, other = customer_factors.T @ customer_factors, item_factors.T @ item_factors
        unbought = float(np.vdot(gram, other))
        bought = float((self._confidence * (1 - predicted) ** 2 - predicted**2).sum()) * self._each
        length = float(np.trace(gram) + np.trace(other))
        return round((unbought + bought + self._regularization * length) / self._cells, 9)


def noise(confidence: sparse.csr_matrix) -> float:
    """Largest singular value to expect if the same entries were scattered over the cells at random.

    Root mean square of all cells, the empty ones too, times (sqrt(rows) + sqrt(columns)) (Bai and Yin 1993, "Limit of
    the smallest eigenvalue of a large dimensional sample covariance matrix"). What a factor explains below that is
    no taste: at a confidence of 1, ALS takes the weight of its penalty from every singular value.
    """
    rows, columns = confidence.shape
    squares = float(np.square(confidence.data, dtype=np.float64).sum())
    return float(np.sqrt(squares / max(rows * columns, 1)) * (np.sqrt(rows) + np.sqrt(columns)))


def largest_entries(matrix: sparse.csr_matrix, k: int) -> Indices:
    """Columns of the k largest entries of each row, equal ones in column order, -1 where there are fewer (rows x k)."""
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((matrix.indices, -matrix.data, row))
    place = np.arange(len(row)) - matrix.indptr[row]
    kept = place < k
    columns = np.full((matrix.shape[0], k), -1, np.int32)
    columns[row[kept], place[kept]] = matrix.indices[order[kept]]
    return columns


def members() -> Sequence[Recommender]:
    """One model of everyone, and one per value bucket."""
    return [Als(), AlsByBucket()]


def _json(figures: Mapping[str, Any]) -> bytes:
    return json.dumps(figures, indent=2, sort_keys=True).encode()
