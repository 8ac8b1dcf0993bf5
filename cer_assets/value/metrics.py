"""How near a figure came to what customers then spent, and how sure that is; no model lives here."""

from collections.abc import Callable, Mapping

import numpy as np
from scipy.stats import rankdata

from cer_assets.value.histories import Floats

Metric = Callable[[Floats, Floats], float]

# Nineteen bootstrap intervals in twenty hold the figure of the population the customers are drawn from.
TAIL = 0.025


def with_interval(metric: Metric, figure: Floats, actual: Floats, samples: np.ndarray) -> tuple[float, float, float]:
    """A metric's value, and the limits of its bootstrap interval."""
    drawn = np.array([metric(figure[sample], actual[sample]) for sample in samples])
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return metric(figure, actual), np.nan, np.nan
    low, high = np.quantile(drawn, [TAIL, 1 - TAIL])
    return metric(figure, actual), float(low), float(high)


def mae(figure: Floats, actual: Floats) -> float:
    """Mean absolute error, in money."""
    return float(np.abs(figure - actual).mean())


def spearman(figure: Floats, actual: Floats) -> float:
    """Correlation of ranks, ties at their mean rank; no number where either is constant."""
    ranks = [rankdata(values) - (len(values) + 1) / 2 for values in (figure, actual)]
    scale = np.sqrt(np.sum(ranks[0] ** 2) * np.sum(ranks[1] ** 2))
    return float(np.sum(ranks[0] * ranks[1]) / scale) if scale > 0 else np.nan


def top_decile_lift(figure: Floats, actual: Floats) -> float:
    """Spend of the tenth with the highest figures over a tenth of all spend."""
    top = np.argsort(-figure, kind="stable")[: max(1, len(figure) // 10)]
    mean = actual.mean()
    return float(actual[top].mean() / mean) if mean > 0 else np.nan


def bias(figure: Floats, actual: Floats) -> float:
    """Sum of figures over sum of spend, less 1."""
    total = actual.sum()
    return float(figure.sum() / total - 1) if total > 0 else np.nan


def share(hit: Floats, _: Floats) -> float:
    """Share of customers for whom something holds."""
    return float(hit.mean())


METRICS: Mapping[str, Metric] = {
    "mae": mae,
    "spearman": spearman,
    "top_decile_lift": top_decile_lift,
    "bias": bias,
}
