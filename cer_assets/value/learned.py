"""Spend learned from earlier periods: every example's features end where its outcome begins."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from cer_assets.value.calendar import Calendar
from cer_assets.value.histories import FEATURES, Floats, Past
from cer_assets.value.loglinear import LogLinear
from cer_assets.value.trees import Trees

log = logging.getLogger(__name__)

LONGEST = 91
"""Days of an outcome at most: a longer horizon is reached by the curve of a count model, not by fewer examples."""
SHORTEST = 14
CUTS = 4
"""Earlier days from which examples are taken."""
YOUNGEST = 14
"""Days a customer must have been known on such a day."""
MIN_EXAMPLES = 200
TREES, BAGS = 100, 3

# How far the sum over the newest examples may move all figures.
MOST_CORRECTION = 1.25


@dataclass(frozen=True)
class Learned:
    """Expected spend of `days` after a day, learned twice over: by boosted trees, and by a log-linear regression.

    Attributes:
        days: length of the outcomes it learned from.
        trees: boosted trees over `FEATURES`.
        line: a log-linear regression.
        factors: what figures of the trees and of the line are multiplied by, so that they add up to what the newest
            examples spent.
        examples: customers at earlier days that it learned from.
        cuts: these days, in days since 1970, newest first.
    """

    days: int
    trees: Trees
    line: LogLinear
    factors: tuple[float, float]
    examples: int
    cuts: tuple[int, ...]

    def expected_spend(self, past: Past) -> tuple[Floats, Floats]:
        """Spend to be expected in the next `days` by the trees, and by the line, each of shape (customers,)."""
        X = past.features()
        return self.factors[0] * self.trees.predict(X), self.factors[1] * self.line.predict(X)

    def as_json(self) -> dict[str, Any]:
        """Plain lists and numbers, and the names of the features they were learned from."""
        return {
            "days": self.days,
            "factors": list(self.factors),
            "examples": self.examples,
            "cuts": list(self.cuts),
            "features": list(FEATURES),
            "trees": self.trees.as_json(),
            "line": self.line.as_json(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Learned":
        """What `as_json` wrote.

        Raises:
            ValueError: it learned from other features than this code computes.
        """
        if data["features"] != list(FEATURES):
            raise ValueError("lifetime value was learned from other features than these: train it again")
        return cls(
            data["days"],
            Trees.from_json(data["trees"]),
            LogLinear.from_json(data["line"]),
            (data["factors"][0], data["factors"][1]),
            data["examples"],
            tuple(data["cuts"]),
        )


def learn(calendar: Calendar, day: int, horizon_days: int) -> Learned | None:
    """Learn spend from the periods that were over by a day; None where they are too short or too few.

    Examples are taken at up to four earlier days a third of a period apart, each with the customers known then and what
    they spent in the period that followed; each day leaves as much history before it as its period is long.
    """
    first = calendar.first_day
    if first is None:
        return None
    days = min(horizon_days, LONGEST, (day - first + 1) // 3)
    if days < SHORTEST:
        return None
    newest, step = day - days, max(days // 3, 7)
    cuts = [cut for cut in (newest - step * back for back in range(CUTS)) if cut - first >= days]
    taken = [_examples(calendar, cut, days) for cut in cuts]
    X, y = np.concatenate([x for x, _ in taken]), np.concatenate([spent for _, spent in taken])
    if len(y) < MIN_EXAMPLES or not y.any():
        return None
    trees = Trees.fit(X, y, list(FEATURES.values()), trees=TREES, bags=BAGS, least=max(20, min(100, len(y) // 100)))
    line = LogLinear.fit(X, y)
    factors = _factor(trees.predict(taken[0][0]), taken[0][1]), _factor(line.predict(taken[0][0]), taken[0][1])
    log.info("learned spend of %d days from %d examples at %d earlier days", days, len(y), len(cuts))
    return Learned(days, trees, line, factors, len(y), tuple(cuts))


def _factor(foretold: Floats, came: Floats) -> float:
    return float(np.clip(came.sum() / foretold.sum(), 1 / MOST_CORRECTION, MOST_CORRECTION))


def _examples(calendar: Calendar, cut: int, days: int) -> tuple[Floats, Floats]:
    """Features of the customers known on a day, and what each spent in the days after it; net returns are nothing."""
    past = Past(calendar, cut)
    old = past.tenure_days >= YOUNGEST
    spent = np.maximum(calendar.spend(cut, cut + days)[past.place], 0)
    return past.features()[old], spent[old]
