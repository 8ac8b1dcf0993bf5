"""A logistic regression over piecewise linear curves, one per feature, kept as plain numbers."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class LogisticCurves:
    """log odds = intercept + sum over features of a curve, straight between knots and level beyond the outer ones.

    A generalised additive model (Hastie and Tibshirani 1990): it bends like a boosted tree where one feature matters
    alone, is fitted by likelihood and so calibrated on its training rows, and its parts can be read one by one.
    """

    knots: tuple[tuple[float, ...], ...]
    """Knots of each feature, rising; a feature that never varied has one and says nothing."""
    rises: tuple[tuple[float, ...], ...]
    """Rise of the log odds from each knot to the next."""
    missing: tuple[float, ...]
    """Log odds of a feature that is not known (nan)."""
    intercept: float

    @classmethod
    def fit(cls, X: Matrix, y: NDArray[np.bool_], knots: int = 5, penalty: float = 10.0) -> Self:
        """Put the knots at equally spaced quantiles and fit by penalised likelihood.

        Args:
            X: features (n x f), nan for not known.
            y: outcome (n); both must occur.
            knots: knots per feature, fewer where quantiles coincide.
            penalty: weight of half the sum of squared coefficients.
        """
        at = [_knots(column, knots) for column in X.T]
        model = LogisticRegression(C=1 / penalty, max_iter=2000)
        with threadpool_limits(1, user_api="blas"):  # sums over more threads come out differently each time
            model.fit(_ramps(X, at), y)
        each = np.split(np.asarray(model.coef_[0]), np.cumsum([len(knot) for knot in at])[:-1])
        return cls(
            knots=tuple(tuple(knot.tolist()) for knot in at),
            rises=tuple(tuple(weights[:-1].tolist()) for weights in each),
            missing=tuple(float(weights[-1]) for weights in each),
            intercept=float(np.ravel(model.intercept_)[0]),
        )

    def probability(self, X: Matrix) -> NDArray[np.float64]:
        """Probability of the outcome for each row of features (n x f)."""
        return 1 / (1 + np.exp(-self.log_odds(X)))

    def log_odds(self, X: Matrix) -> NDArray[np.float64]:
        """The intercept and all contributions of each row added up (n)."""
        return self.intercept + self.contributions(X).sum(axis=1)

    def contributions(self, X: Matrix) -> Matrix:
        """What each feature adds to the log odds of each row (n x f)."""
        curves = zip(X.T, self.knots, self.rises, self.missing, strict=True)
        return np.column_stack([_curve(column, knots, rises, missing) for column, knots, rises, missing in curves])

    def as_json(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        return {"knots": self.knots, "rises": self.rises, "missing": self.missing, "intercept": self.intercept}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The curves that `as_json` wrote."""
        knots, rises = (tuple(tuple(map(float, row)) for row in data[name]) for name in ("knots", "rises"))
        return cls(knots, rises, tuple(map(float, data["missing"])), float(data["intercept"]))


def _knots(column: NDArray[np.float64], knots: int) -> NDArray[np.float64]:
    known = column[~np.isnan(column)]
    return np.unique(np.quantile(known, np.linspace(0, 1, knots))) if len(known) else np.zeros(1)


def _ramps(X: Matrix, knots: list[NDArray[np.float64]]) -> Matrix:
    """How far each value has come from each knot to the next (0 to 1), and whether it is missing."""
    columns: list[Matrix] = []
    for column, knot in zip(X.T, knots, strict=True):
        unknown = np.isnan(column)
        ramps = np.clip((column[:, None] - knot[:-1]) / np.diff(knot), 0, 1)
        columns += [np.where(unknown[:, None], 0, ramps), unknown[:, None].astype(np.float64)]
    return np.hstack(columns)


def _curve(
    column: NDArray[np.float64], knots: tuple[float, ...], rises: tuple[float, ...], missing: float
) -> NDArray[np.float64]:
    height = np.concatenate([[0.0], np.cumsum(rises)])
    return np.where(np.isnan(column), missing, np.interp(column, knots, height))
