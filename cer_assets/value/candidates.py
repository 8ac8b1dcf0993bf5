"""The ways to foretell spend that compete for a retailer's data: a rule, two count models, what is learned, a blend."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from cer_assets.value.bg_nbd import BGNBD
from cer_assets.value.calendar import Calendar
from cer_assets.value.counts import Counts
from cer_assets.value.gamma_gamma import GammaGamma
from cer_assets.value.histories import DAYS_PER_WEEK, Floats, Past
from cer_assets.value.learned import Learned, learn
from cer_assets.value.pareto_nbd import ParetoNBD

Candidate = Literal[
    "own_rate", "pareto_nbd x gamma_gamma", "bg_nbd x gamma_gamma", "boosting", "boosting x loglinear", "blend"
]
CountModel = Literal["pareto_nbd", "bg_nbd"]

CANDIDATES: tuple[Candidate, ...] = get_args(Candidate)
"""Simplest first. `own_rate`: a customer's spend a day since the first purchase goes on. `boosting`: trees over past
behaviour, for other horizons than they learned stretched as the Pareto/NBD stretches a customer's purchases; with
`x loglinear` the geometric mean of them and of a log-linear regression on the same examples. `blend`: the geometric
mean of all three: trees, line, and Pareto/NBD x Gamma-Gamma, of which the first two know the data and the third what
customers are like."""

LEARNED: tuple[Candidate, ...] = ("boosting", "boosting x loglinear", "blend")

COUNT_MODELS: Mapping[CountModel, type[ParetoNBD] | type[BGNBD]] = {"pareto_nbd": ParetoNBD, "bg_nbd": BGNBD}

# Four parameters from fewer customers who came back would be noise.
MIN_RETURNED = 30


@dataclass(frozen=True)
class Parts:
    """What was fitted on the purchases up to one day, and all that the candidates need.

    Attributes:
        counts: how often customers buy, by one model or two.
        gamma_gamma: how much they spend when they buy.
        learned: spend of earlier periods; None where they were too short or not wanted.
    """

    counts: Mapping[CountModel, ParetoNBD | BGNBD]
    gamma_gamma: GammaGamma
    learned: Learned | None

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Those that these parts suffice for."""
        counted = ["own_rate", *(f"{name} x gamma_gamma" for name in self.counts)]
        learned = LEARNED if self.learned and "pareto_nbd" in self.counts else ()
        return tuple(each for each in CANDIDATES if each in counted or each in learned)


def fit_parts(
    calendar: Calendar, day: int, horizon_days: int, candidates: tuple[Candidate, ...] = CANDIDATES
) -> Parts | None:
    """Fit what some candidates need on what was known on a day; None where too few customers came back."""
    past = Past(calendar, day)
    if np.count_nonzero(past.histories.x) < MIN_RETURNED:
        return None
    counts = set(candidates) - {"bg_nbd x gamma_gamma"}
    wanted: dict[CountModel, bool] = {"pareto_nbd": bool(counts), "bg_nbd": "bg_nbd x gamma_gamma" in candidates}
    return Parts(
        {name: COUNT_MODELS[name].fit(past.histories) for name, needed in wanted.items() if needed},
        GammaGamma.fit(past.days, past.mean_spend),
        learn(calendar, day, horizon_days) if set(candidates) & set(LEARNED) else None,
    )


class Outlook:
    """What the candidates say of some customers on a day; what several of them need is computed once."""

    def __init__(self, parts: Parts, past: Past) -> None:
        """Look ahead with these parts from this past."""
        self._parts, self._past = parts, past
        self._active: dict[CountModel, Floats] = {}
        self._counts: dict[tuple[CountModel, int], Counts] = {}
        self._learned: tuple[Floats, Floats] | None = None
        self._size = parts.gamma_gamma.expected_spend(past.days, past.mean_spend)

    def p_active(self, candidate: Candidate) -> Floats:
        """Probability of being active on the day, by the candidate's count model."""
        name = self._counting(candidate)
        if name not in self._active:
            self._active[name] = self._parts.counts[name].p_active(self._past.histories)
        return self._active[name]

    @property
    def spend_so_far(self) -> Floats:
        """Net spend up to the day."""
        return self._past.spend

    @property
    def observed_days(self) -> int:
        """Days since the first purchase of any of these customers, that day included."""
        return int(self._past.tenure_days.max()) + 1

    def counts(self, candidate: Candidate, days: int) -> Counts:
        """The number of days with a purchase in the next `days`."""
        name = self._counting(candidate)
        if (name, days) not in self._counts:
            model, active = self._parts.counts[name], self.p_active(candidate)
            self._counts[name, days] = model.counts(self._past.histories, days / DAYS_PER_WEEK, active)
        return self._counts[name, days]

    def expected_spend(self, candidate: Candidate, days: int) -> Floats:
        """Spend to be expected in the next `days`, of shape (customers,)."""
        if candidate == "own_rate":
            return np.maximum(self._past.spend, 0) / (self._past.tenure_days + 1) * days
        if candidate == "boosting":
            return self._learn(days)[0]
        if candidate == "boosting x loglinear":
            trees, line = self._learn(days)
            return np.sqrt(trees * line)
        counted = self.counts(candidate, days).mean * self._size
        if candidate == "blend":
            trees, line = self._learn(days)
            return np.cbrt(trees * line * counted)
        return counted

    def quantile(self, candidate: Candidate, days: int, probability: float) -> Floats:
        """A quantile of the spend itself: that of the count model, moved to where the candidate's mean is."""
        counts = self.counts(candidate, days)
        spread = self._parts.gamma_gamma.total_quantile(probability, counts, self._past.days, self._past.mean_spend)
        counted = counts.mean * self._size
        moved = self.expected_spend(candidate, days) / np.where(counted > 0, counted, 1)
        return spread * moved

    def _learn(self, days: int) -> tuple[Floats, Floats]:
        """What the trees and the line say, stretched from the days they learned to others."""
        learned = self._parts.learned
        if learned is None:
            raise ValueError("these parts have learned nothing")
        if self._learned is None:
            self._learned = learned.expected_spend(self._past)
        if days == learned.days:
            return self._learned
        seen, wanted = (self.counts("boosting", each).mean for each in (learned.days, days))
        stretch = np.divide(wanted, seen, out=np.full_like(wanted, days / learned.days), where=seen > 0)
        return self._learned[0] * stretch, self._learned[1] * stretch

    def _counting(self, candidate: Candidate) -> CountModel:
        names = list(self._parts.counts)
        return "bg_nbd" if candidate == "bg_nbd x gamma_gamma" else names[0]
