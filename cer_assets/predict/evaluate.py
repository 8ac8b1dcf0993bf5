"""How good a probability is on customers it never saw: AUC, average precision, Brier score, and their intervals."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

METRICS = ("auc", "average_precision", "brier")


def resample_counts(n: int, times: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each of n customers is drawn in a bootstrap resample (n), `times` times; one seed, one sequence."""
    rng = np.random.default_rng(seed)
    return (np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64) for _ in range(times))


def measure(
    happened: NDArray[np.bool_], probability: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """AUC, average precision and Brier score (in the order of METRICS) of weighted customers.

    Equal probabilities count half a pair in the AUC and one threshold in the average precision (Hanley and McNeil 1982;
    Brier 1950). AUC and average precision are nan where only one outcome occurs.

    Args:
        happened: what came (n).
        probability: what was predicted (n).
        weights: how often each customer counts (n).
    """
    order = np.argsort(-probability, kind="stable")
    sorted_, hit = probability[order], np.where(happened[order], weights[order], 0.0)
    last = np.flatnonzero(np.append(sorted_[1:] != sorted_[:-1], True))
    found, seen = np.cumsum(hit)[last], np.cumsum(weights[order])[last]
    missed = seen - found
    hits, misses = np.diff(found, prepend=0.0), np.diff(missed, prepend=0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        above = (misses * (found - hits / 2)).sum() / (found[-1] * missed[-1])
        precision = (hits * np.where(seen > 0, found / seen, 0.0)).sum() / found[-1]
    return np.array([above, precision, np.average(np.square(probability - happened), weights=weights)])


def measure_with_intervals(
    happened: NDArray[np.bool_], probability: NDArray[np.float64], resamples: int = 200, seed: int = 0
) -> NDArray[np.float64]:
    """Each metric with its 95 % bootstrap interval over customers: (METRICS x value, low, high)."""
    value = measure(happened, probability, np.ones(len(happened)))
    drawn = np.array(
        [measure(happened, probability, counts) for counts in resample_counts(len(happened), resamples, seed)]
    )
    low, high = np.nanquantile(drawn, [0.025, 0.975], axis=0)
    return np.column_stack([value, low, high])
