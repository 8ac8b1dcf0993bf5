"""Curves and trees averaged, then brought to the level of what came later; what either is lives beside this."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from cer_assets.predict.curves import LogisticCurves, Matrix
from cer_assets.predict.trees import Trees

FLATTEST = 0.05
"""Least slope of the calibration: a higher score never means a lower probability."""


@dataclass(frozen=True)
class Blend:
    """log odds = intercept + slope * mean of the log odds of curves and trees.

    Curves are smooth and reach beyond what was seen, trees find what only matters together; their mean is better than
    either. The line through it (Platt 1999) is drawn on rows later than those that both had learned from, and keeps
    the parts of the log odds what they are: parts that add up.
    """

    curves: LogisticCurves
    trees: Trees
    slope: float
    intercept: float
    centre: tuple[float, ...]
    """Mean contribution of each feature over the rows learned from."""

    @classmethod
    def fit(cls, X: Matrix, y: NDArray[np.bool_], earlier: NDArray[np.bool_], later: NDArray[np.bool_]) -> Self:
        """Learn from all rows; calibrate on the later ones what the earlier ones alone would have said.

        Args:
            X: features (n x f), nan for not known.
            y: outcome (n); both must occur among the earlier and among the later rows.
            earlier: rows whose outcome was known before any of the later rows' features (n).
            later: rows to calibrate on (n).
        """
        raw = _mean_log_odds(LogisticCurves.fit(X[earlier], y[earlier]), Trees.fit(X[earlier], y[earlier]), X[later])
        slope, intercept = _line(raw, y[later])
        curves, trees = LogisticCurves.fit(X, y), Trees.fit(X, y)
        parts = (curves.contributions(X) + trees.contributions(X)) / 2 * slope
        return cls(curves, trees, slope, intercept, tuple(parts.mean(axis=0).tolist()))

    @property
    def base(self) -> float:
        """Log odds of a row whose every contribution is the mean one."""
        alone = (self.curves.intercept + self.trees.base) / 2
        return self.intercept + self.slope * alone + float(np.sum(self.centre))

    def contributions(self, X: Matrix) -> Matrix:
        """What each feature adds to the log odds of each row, beside what it adds on average (n x f)."""
        return (self.curves.contributions(X) + self.trees.contributions(X)) / 2 * self.slope - np.asarray(self.centre)

    def probability(self, X: Matrix) -> NDArray[np.float64]:
        """Probability of the outcome for each row of features (n x f)."""
        return sigmoid(self.intercept + self.slope * _mean_log_odds(self.curves, self.trees, X))

    def as_json(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        return {
            "curves": self.curves.as_json(),
            "trees": self.trees.as_json(),
            "slope": self.slope,
            "intercept": self.intercept,
            "centre": self.centre,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The blend that `as_json` wrote."""
        return cls(
            LogisticCurves.from_json(data["curves"]),
            Trees.from_json(data["trees"]),
            data["slope"],
            data["intercept"],
            tuple(data["centre"]),
        )


def sigmoid(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of log odds."""
    return np.exp(-np.logaddexp(0, -log_odds))


def _mean_log_odds(curves: LogisticCurves, trees: Trees, X: Matrix) -> NDArray[np.float64]:
    return (curves.log_odds(X) + trees.log_odds(X)) / 2


def _line(log_odds: NDArray[np.float64], y: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and intercept of a logistic regression on one score, hardly penalised."""
    model = LogisticRegression(C=100.0)
    with threadpool_limits(1, user_api="blas"):
        model.fit(log_odds[:, None], y)
    slope, intercept = float(model.coef_[0, 0]), float(np.ravel(model.intercept_)[0])
    if slope >= FLATTEST:
        return slope, intercept
    level = float(np.log(y.mean() / (1 - y.mean())))
    return FLATTEST, level - FLATTEST * float(log_odds.mean())
