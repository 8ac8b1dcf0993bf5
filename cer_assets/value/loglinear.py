"""A log-linear regression of spend on past behaviour, kept as plain numbers."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.linear_model import PoissonRegressor
from threadpoolctl import threadpool_limits

from cer_assets.value.histories import FEATURES, Floats

# Totals and tenure grow with time: a line through them would be followed to where no example ever was.
COLUMNS = tuple(
    name
    for name in FEATURES
    if name not in ("purchase_days", "spend", "tenure_days", "gap_mean", "gap_std", "gap_max", "first")
)
# Rates are a day's; four weeks of them have the size of the other features, so that log(1 + .) bends them alike.
RATES = np.array([28.0 if "rate" in name or "fading" in name else 1.0 for name in COLUMNS])
PENALTY = 1e-3


@dataclass(frozen=True, eq=False)
class LogLinear:
    """log of the mean = intercept + sum of coefficient * log(1 + feature), features held to the range once seen.

    It goes on where trees stay level, so that who spends most is told apart; trees bend where a line cannot.

    Attributes:
        low: least value of each of `COLUMNS` seen, on the log scale.
        high: the greatest.
        unknown: the mean, which stands in for nan.
        coefficient: of each of `COLUMNS`.
        intercept: log of the mean where all features are 0.
    """

    low: Floats
    high: Floats
    unknown: Floats
    coefficient: Floats
    intercept: float

    @classmethod
    def fit(cls, X: Floats, y: Floats) -> Self:
        """Learn a mean above zero by penalised Poisson likelihood.

        Args:
            X: `Past.features` (n x f).
            y: outcomes (n), not negative, not all zero.
        """
        logs = _logs(X)
        known = ~np.isnan(logs)
        unknown = np.where(known, logs, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        low, high = np.where(known, logs, np.inf).min(axis=0), np.where(known, logs, -np.inf).max(axis=0)
        low, high = np.minimum(low, unknown), np.maximum(high, unknown)
        Z = np.where(known, logs, unknown)
        centre, scale, level = Z.mean(axis=0), Z.std(axis=0) + 1e-9, float(y.mean())
        with threadpool_limits(1, user_api="blas"):  # sums over more threads come out differently each time
            model = PoissonRegressor(alpha=PENALTY, max_iter=300).fit((Z - centre) / scale, y / level)
        coefficient = np.asarray(model.coef_) / scale
        intercept = float(model.intercept_) + np.log(level) - float(np.sum(coefficient * centre))
        return cls(low, high, unknown, coefficient, float(intercept))

    def predict(self, X: Floats) -> Floats:
        """The mean of each row of `Past.features` (n x f)."""
        Z = np.clip(_logs(X), self.low, self.high)
        # Added up column by column: the same sum whatever the number of rows and threads.
        total = np.full(len(X), self.intercept)
        for column, unknown, coefficient in zip(Z.T, self.unknown, self.coefficient, strict=True):
            total += coefficient * np.where(np.isnan(column), unknown, column)
        return np.exp(total)

    def as_json(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        arrays = {name: getattr(self, name).tolist() for name in ("low", "high", "unknown", "coefficient")}
        return {**arrays, "intercept": self.intercept}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The regression that `as_json` wrote."""
        arrays = (np.array(data[name], dtype=np.float64) for name in ("low", "high", "unknown", "coefficient"))
        return cls(*arrays, intercept=float(data["intercept"]))

    def __eq__(self, other: object) -> bool:
        """Whether both are the same numbers."""
        return isinstance(other, LogLinear) and self.as_json() == other.as_json()


def _logs(X: Floats) -> Floats:
    names = list(FEATURES)
    columns = X[:, [names.index(name) for name in COLUMNS]]
    return np.log1p(np.maximum(columns, 0) * RATES)
