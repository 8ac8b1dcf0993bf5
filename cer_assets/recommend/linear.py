"""What linear recommenders share: ridge regression on its smaller side, scores, the own product behind a score."""

from abc import abstractmethod
from datetime import date
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve

from cer_assets.recommend.context import ANYTIME, Context
from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.likeness import own_product_behind, scale_columns, scale_rows
from cer_assets.recommend.model import Indices, Recommender, Scores, Voice
from cer_assets.recommend.topk import one_blas_thread

OVERSAMPLED, ITERATIONS = 16, 6
"""Directions beyond the rank, and rounds, of the subspace iteration."""


class LinearRecommender(Recommender):
    """Scores that add up what each product bought says: purchases times coefficients, over a bounded set of products.

    `fit` sets what is declared here. Coefficients take products^2 x 4 bytes.
    """

    voice: ClassVar[Voice] = Voice.LIKENESS

    columns_: Indices
    """Products that are scored."""
    weights_: sparse.csr_matrix
    """What each of them counts for each customer (customers + 1 x products scored)."""
    coefficients_: NDArray[np.float32]
    """What each of them adds to the score of each (products scored x products scored)."""
    intercept_: NDArray[np.float32]
    """What everyone's score begins with."""

    def _place(self, interactions: Interactions, as_of: date) -> None:
        self.weights_ = self._weighed(interactions, as_of)

    @abstractmethod
    def _weighed(self, interactions: Interactions, as_of: date) -> sparse.csr_matrix:
        """`weights_` of some customers, by the usual length of those the model was fitted with."""

    def score(self, rows: Indices, context: Context = ANYTIME) -> Scores:
        """What the customer's purchases say.

        -inf for rows of whose purchases no product says anything, for products of which neither they nor the intercept
        do, and for products beyond the bound.
        """
        scores = np.full((len(rows), len(self.interactions_.products)), -np.inf, np.float32)
        said = self.weights_[rows] @ self.coefficients_
        unsaid = said == 0
        said += self.intercept_
        said[unsaid & ((self.intercept_ == 0) | unsaid.all(axis=1, keepdims=True))] = -np.inf
        scores[:, self.columns_] = said
        return scores

    def behind(self, rows: Indices, columns: Indices, titles: NDArray[np.int64]) -> Indices:
        """The own product with the largest part in the score."""
        if not len(self.columns_):
            return super().behind(rows, columns, titles)
        place = np.full(len(self.interactions_.products), -1)
        place[self.columns_] = np.arange(len(self.columns_))

        def strength(own: Indices, weight: NDArray[np.float32], asked: Indices) -> Scores:
            return weight[:, None] * np.where(
                place[asked] >= 0, self.coefficients_[place[own][:, None], place[asked]], 0
            )

        return own_product_behind(self._weights_of_all(), rows, columns, titles, strength)

    def card(self) -> dict[str, Any]:
        """Settings and size."""
        return {**super().card(), "products": len(self.columns_)}

    def _weights_of_all(self) -> sparse.csr_matrix:
        weights = self.weights_
        return sparse.csr_matrix(
            (weights.data, self.columns_[weights.indices], weights.indptr), self.interactions_.shape
        )


def most_bought(interactions: Interactions, limit: int) -> Indices:
    """Columns of the products bought on most days, at most `limit`, in column order; of equals the first."""
    days = np.bincount(interactions.columns, minlength=len(interactions.products))
    return np.sort(np.argsort(-days, kind="stable")[:limit]).astype(np.int32)


def ridge(inputs: sparse.csr_matrix, targets: sparse.csr_matrix, penalty: NDArray[np.float64]) -> NDArray[np.float32]:
    """Coefficients of ridge regression, (X'X + L)^-1 X'Y, with a penalty L of its own for each product.

    With Z = X L^-1/2 they are L^-1/2 (Z'Z + I)^-1 Z'Y or, the same, L^-1/2 Z'(ZZ' + I)^-1 Y: solved between products
    or between examples, whichever are fewer. A Cholesky factor takes n^3 / 3 operations, the solution 2 n^2 for each
    column of the targets. BLAS has one thread, as a product split over threads adds in another order each time.

    Args:
        inputs: X (examples x products).
        targets: Y (examples x products to explain).
        penalty: the diagonal of L, above 0.

    Returns:
        (products x products to explain).
    """
    examples, products = inputs.shape
    scale = (1 / np.sqrt(penalty)).astype(np.float32)
    scaled = scale_columns(inputs, scale)
    with one_blas_thread():
        if examples < products:
            coefficients = np.asarray(scaled.T @ _solved(scaled @ scaled.T, targets), np.float32)
        else:
            coefficients = _solved(scaled.T @ scaled, scaled.T @ targets)
    # Laid out row by row, or every product of a block of customers with them would copy them first.
    return np.multiply(coefficients, scale[:, None], order="C")


def of_rank(
    coefficients: NDArray[np.float32], inputs: sparse.csr_matrix, rank: int, seed: int = 0
) -> NDArray[np.float32]:
    """The coefficients of at most a rank whose fitted values are nearest to what they were.

    What single products say of single products is left out, what groups of them have in common stays. Reduced-rank
    regression (Izenman 1975): fitted values are projected on their leading right singular vectors, found by subspace
    iteration from a seeded start (Halko, Martinsson, Tropp 2011).
    """
    if rank >= coefficients.shape[1]:
        return coefficients
    with one_blas_thread():
        start = np.random.default_rng(seed).standard_normal((coefficients.shape[1], rank + OVERSAMPLED))
        basis = np.linalg.qr(start.astype(np.float32))[0]
        for _ in range(ITERATIONS):
            basis = np.linalg.qr(coefficients.T @ (inputs.T @ (inputs @ (coefficients @ basis))))[0]
        fitted = inputs @ (coefficients @ basis)
        # Eigenvectors come smallest first.
        leading = basis @ np.linalg.eigh(fitted.T @ fitted)[1][:, -rank:]
        return (coefficients @ leading) @ leading.T


def squares(inputs: sparse.csr_matrix) -> NDArray[np.float64]:
    """Sum of the squares of each column: the diagonal of X'X."""
    return np.asarray(inputs.multiply(inputs).sum(axis=0), np.float64).ravel()


def usual_length(weights: sparse.csr_matrix) -> float:
    """Mean length of the rows that are not empty; 0 where all are."""
    lengths = _lengths(weights)
    return float(lengths[lengths > 0].mean()) if lengths.any() else 0.0


def of_like_length(weights: sparse.csr_matrix, power: float, usual: float | None = None) -> sparse.csr_matrix:
    """Rows brought nearer to the usual length, of these rows unless given: 0 leaves them, 1 makes all alike."""
    lengths = _lengths(weights)
    usual = usual_length(weights) if usual is None else usual
    some = lengths > 0
    if not power or not some.any():
        return weights
    return scale_rows(weights, (usual / np.where(some, lengths, 1)) ** power)


def _lengths(weights: sparse.csr_matrix) -> NDArray[np.float64]:
    return np.sqrt(np.asarray(weights.multiply(weights).sum(axis=1), np.float64).ravel())


def mean_squared_length(inputs: sparse.csr_matrix) -> float:
    """Of the rows that are not empty: the unit in which a regularisation suits customers of many purchases or few."""
    lengths = np.asarray(inputs.multiply(inputs).sum(axis=1)).ravel()
    some = lengths[lengths > 0]
    return float(some.mean()) if len(some) else 1.0


def _solved(gram: Any, right: Any) -> NDArray[np.float32]:
    matrix = gram.toarray(order="F")
    matrix[np.diag_indices(len(matrix))] += 1
    factor = cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
    return cho_solve(factor, right.toarray(order="F"), overwrite_b=True, check_finite=False)
