"""Which candidate foretold spend best in earlier periods: fitted on a past day, judged on what came after it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cer_assets.value.calendar import Calendar
from cer_assets.value.candidates import CANDIDATES, Candidate, Outlook, Parts, fit_parts
from cer_assets.value.histories import Floats, Past
from cer_assets.value.metrics import METRICS, bias, spearman

log = logging.getLogger(__name__)

PERIODS = 2
SHORTEST = 14
"""Days that a period is judged on at least."""

MIN_HISTORY_DAYS = 28
"""Four weeks: below, a customer's rhythm is a guess, and the figure would be everyone's average."""

# How much further off in total than the least biased a candidate may be and still be chosen.
MOST_BIAS = 0.15

LOW, HIGH = (0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.015, 0.005), (0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.985, 0.995)
"""Levels of the models' own spread that are tried for the 10th and the 90th percentile."""
OUTSIDE = 0.1


@dataclass(frozen=True)
class Period:
    """Candidates as they stood on a past day, and what their customers then spent.

    Attributes:
        cut: the last day they knew, in days since 1970.
        days: how many days after it they are judged on.
        parts: what was fitted then.
        outlook: what it says of the customers judged.
        actual: what these spent, of shape (customers,).
    """

    cut: int
    days: int
    parts: Parts
    outlook: Outlook
    actual: Floats

    def figure(self, candidate: Candidate) -> Floats:
        """What a candidate expected them to spend."""
        return self.outlook.expected_spend(candidate, self.days)


def judge(calendar: Calendar, cut: int, days: int, parts: Parts) -> Period | None:
    """What parts fitted up to a day say of its customers, beside what these spent; None without customers."""
    past = Past(calendar, cut)
    calendar = calendar.take(past.place[past.tenure_days >= MIN_HISTORY_DAYS])
    if not len(calendar):
        return None
    past = Past(calendar, cut)
    return Period(cut, days, parts, Outlook(parts, past), calendar.spend(cut, cut + days)[past.place])


def roll(calendar: Calendar, day: int, horizon_days: int) -> list[Period]:
    """The last periods before a day that leave as much history before them, newest first, two at most.

    A period is as long as the horizon, or a third of the history where that is shorter.
    """
    first = calendar.first_day
    if first is None:
        return []
    days = min(horizon_days, (day - first + 1) // 3)
    cuts = [day - days * back for back in range(1, PERIODS + 1)]
    cuts = [cut for cut in cuts if days >= SHORTEST and cut - first + 1 >= max(days, MIN_HISTORY_DAYS)]
    periods: list[Period] = []
    for cut in cuts:
        parts = fit_parts(calendar, cut, days)
        period = parts and judge(calendar, cut, days, parts)
        if period and period.actual.sum() > 0:
            periods.append(period)
    return periods


def standings(periods: Sequence[Period]) -> list[dict[str, Any]]:
    """Every metric of every candidate in every period, as rows of JSON values."""
    return [
        {
            "period": index + 1,
            "days": period.days,
            "customers": len(period.actual),
            "model": candidate,
            **{name: _rounded(metric(period.figure(candidate), period.actual)) for name, metric in METRICS.items()},
        }
        for index, period in enumerate(periods)
        for candidate in period.parts.candidates
    ]


def choose(periods: Sequence[Period]) -> tuple[Candidate, str]:
    """The candidate that ranked customers best by later spend, among those whose total was near; and a sentence why.

    Averages over the periods decide: the rank correlation with later spend, among candidates that are at most 15 points
    further off in total than the least biased. Of equals the simpler is taken. A candidate must have been there in
    every period.
    """
    if not periods:
        why = "there was no earlier period long enough to judge models on"
        return "pareto_nbd x gamma_gamma", f"pareto_nbd x gamma_gamma: {why}"
    everywhere: list[Candidate] = [
        each for each in CANDIDATES if all(each in period.parts.candidates for period in periods)
    ]
    rank = {each: float(np.mean([spearman(p.figure(each), p.actual) for p in periods])) for each in everywhere}
    off = {each: abs(float(np.mean([bias(p.figure(each), p.actual) for p in periods]))) for each in everywhere}
    near: list[Candidate] = [each for each in everywhere if off[each] <= min(off.values()) + MOST_BIAS]
    best: Candidate = max(near, key=lambda each: (np.nan_to_num(rank[each], nan=-1.0), -CANDIDATES.index(each)))
    others = ", ".join(
        f"{each} {rank[each]:.3f}" + ("" if each in near else f" (its total {off[each]:.0%} off, so not taken)")
        for each in everywhere
        if each != best
    )
    why = (
        f"{best}: rank correlation with later spend {rank[best]:.3f}, its total {off[best]:.0%} off, on average over"
        f" {len(periods)} earlier periods of {periods[0].days} days; the others: {others}"
    )
    log.info("lifetime value by %s", why)
    return best, why


def levels(period: Period, candidate: Candidate) -> tuple[float, float]:
    """The levels of a candidate's spread below and above which at most a tenth of the customers then spent.

    The spread of a count model knows nothing of what the model itself has wrong; the period shows it.
    """
    at = {level: period.outlook.quantile(candidate, period.days, level) for level in LOW + HIGH}
    low = next((level for level in LOW if np.mean(period.actual < at[level]) <= OUTSIDE), LOW[-1])
    high = next((level for level in HIGH if np.mean(period.actual > at[level]) <= OUTSIDE), HIGH[-1])
    return low, high


def _rounded(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None
