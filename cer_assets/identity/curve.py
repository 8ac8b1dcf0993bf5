"""How scores become chances: a curve fitted to a few labels, where it says to cut, and how good links then are.

A few labels say little about scores that none of them has, so nothing is read off a single fit. The posterior of the
curve gives every figure its interval, as in Welinder, Welling and Perona, "A lazy man's approach to benchmarking:
semisupervised classifier evaluation and recalibration" (2013). How the labelled pairs were drawn does not matter to it
as long as they were drawn by their score.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LEVELS = np.linspace(-5.0, 6.0, 45)
SLOPES = np.linspace(0.3, 5.0, 25)
SLIPS = np.array([1e-5, 0.0005, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.11, 0.15, 0.2, 0.3, 0.5])
"""The grid on which the posterior is held."""

PRIOR_LEVEL, PRIOR_SLOPE = 0.4, 2.0
"""What is held of the curve, log-odds = level + slope * log-odds of the score, before any label; give or take 1.

Joining groups raises the expected F1 while their chance is over half the F1 reached (Lipton and others, "Optimal
thresholding of classifiers to maximize F1 measure", 2014), and links are worth having from .9 on: so .45 is held to
be even odds. A mean over pairs of records says more than one of its pairs, so the curve is held to be steep."""

SLIP = (0.25, 25.0)
"""Beta prior of how often a pair is two people that nothing in the records tells apart: one in a hundred."""

Z95 = 1.959964
"""The 97.5th percentile of the standard normal distribution."""

MOST_CERTAIN = 1e-4
"""No score counts as more certain than this, either way."""


@dataclass(frozen=True)
class Costs:
    """What a pair of records costs that is put together and is two people, and one kept apart that is one person."""

    wrong_merge: float = 1.0
    missed_match: float = 1.0

    def __post_init__(self) -> None:
        """Refuse costs that leave nothing to weigh."""
        if not (0 < self.wrong_merge < math.inf and 0 < self.missed_match < math.inf):
            raise ValueError(f"costs: {self.wrong_merge} and {self.missed_match}; both must be above 0 and finite")


@dataclass(frozen=True)
class Curve:
    """The posterior of a logistic curve over scores, with a share of slips that no score shows.

    Arrays of equal length, one entry per curve held possible: its `level`, `slope` and `slip`, and its `weight`.
    """

    level: Floats
    slope: Floats
    slip: Floats
    weight: Floats

    @classmethod
    def fitted(cls, scores: Floats, answers: Bools) -> "Curve":
        """The curve after some labels.

        Args:
            scores: of labelled pairs that were drawn by their score or at random.
            answers: true for one person.
        """
        level, slope, slip = (a.ravel() for a in np.meshgrid(LEVELS, SLOPES, SLIPS, indexing="ij"))
        a, b = SLIP
        width = np.gradient(SLIPS)[np.searchsorted(SLIPS, slip)]
        log_weight = (
            -0.5 * (level - PRIOR_LEVEL) ** 2
            - 0.5 * (slope - PRIOR_SLOPE) ** 2
            + (a - 1) * np.log(slip)
            + (b - 1) * np.log1p(-slip)
            + np.log(width)
        )
        for logit, matches, others in zip(*_counted(scores, answers), strict=True):
            chance = (1 - slip) / (1 + np.exp(-(level + slope * logit)))
            log_weight += matches * np.log(chance) + others * np.log1p(-chance)
        weight = np.exp(log_weight - log_weight.max())
        kept = weight > 1e-7
        return cls(level[kept], slope[kept], slip[kept], weight[kept] / weight[kept].sum())

    def chance(self, scores: Floats) -> Floats:
        """The chance that pairs of these scores are one person, slips left out; it rises with the score."""
        return 0.5 * (1 + np.tanh(0.5 * (self._mean(self.level) + self._mean(self.slope) * log_odds(scores))))

    def cut(self, costs: Costs) -> float:
        """The score from which on putting pairs together costs less than keeping them apart.

        As the chance rises with the score, no other cut has a lower expected cost over the pairs.
        """
        even = math.log(costs.wrong_merge / costs.missed_match)
        return 1 / (1 + math.exp((self._mean(self.level) - even) / self._mean(self.slope)))

    def figures(self, scores: Floats, together: Bools) -> dict[str, dict[str, float]]:
        """Precision and recall of putting pairs together, each `value`, `low` and `high`.

        The interval is the shortest that holds 95% of the posterior.

        Args:
            scores: of all pairs.
            together: which of them are put together.
        """
        logit = np.round(log_odds(scores), 1)
        at, place = np.unique(logit, return_inverse=True)
        joined, apart = (np.bincount(place, side, len(at)) for side in (together, ~together))
        found, missed = np.zeros(len(self.weight)), np.zeros(len(self.weight))
        for each, inside, outside in zip(at, joined, apart, strict=True):
            chance = (1 - self.slip) / (1 + np.exp(-(self.level + self.slope * each)))
            found += inside * chance
            missed += outside * chance
        precision = found / joined.sum() if joined.sum() else np.ones_like(found)
        recall = found / np.maximum(found + missed, 1e-12) if len(at) else np.ones_like(found)
        return {"precision": self._interval(precision), "recall": self._interval(recall)}

    def _mean(self, values: Floats) -> float:
        return float(self.weight @ values)

    def _interval(self, values: Floats) -> dict[str, float]:
        order = np.argsort(values, kind="stable")
        ranked, upto = values[order], np.cumsum(self.weight[order])
        before = np.concatenate([[0.0], upto[:-1]])
        high = np.minimum(np.searchsorted(upto, before + 0.95 - 1e-9), len(ranked) - 1)
        width = np.where(before <= 0.05, np.round(ranked[high] - ranked, 9), np.inf)
        low = int(np.argmin(width))
        return _rounded(value=self._mean(values), low=float(ranked[low]), high=float(ranked[int(high[low])]))


def log_odds(scores: Floats) -> Floats:
    """The log-odds of scores, certainties brought down to `MOST_CERTAIN`."""
    kept = np.clip(scores, MOST_CERTAIN, 1 - MOST_CERTAIN)
    return np.log(kept / (1 - kept))


def share(successes: int, trials: int) -> Mapping[str, float | None]:
    """A share with its 95% interval (`wilson`): `value`, `low`, `high`; nulls without a trial."""
    if not trials:
        return {"value": None, "low": None, "high": None}
    low, high = wilson(successes / trials, trials)
    return _rounded(value=successes / trials, low=low, high=high)


def wilson(share: float, n: float) -> tuple[float, float]:
    """The 95% interval of a share seen in `n` draws (Wilson, "Probable inference", 1927); `n` need not be whole."""
    if n <= 0:
        return 0.0, 1.0
    centre = share + Z95**2 / (2 * n)
    reach = Z95 * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n * n))
    scale = 1 + Z95**2 / n
    return max(0.0, (centre - reach) / scale), min(1.0, (centre + reach) / scale)


def _counted(scores: Floats, answers: Bools) -> tuple[Floats, Floats, Floats]:
    """Log-odds to a tenth, each once, with its numbers of matches and of others."""
    at, place = np.unique(np.round(log_odds(scores), 1), return_inverse=True)
    matches, others = (np.bincount(place, side, len(at)).astype(np.float64) for side in (answers, ~answers))
    return at, matches, others


def _rounded(**figures: float) -> dict[str, float]:
    return {name: round(min(max(value, 0.0), 1.0), 4) for name, value in figures.items()}
