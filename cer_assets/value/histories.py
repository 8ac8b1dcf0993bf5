"""What a customer's past says on a day: what the models of value read, and nothing from after that day."""

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cer_assets.value.calendar import Calendar, Integers

Floats: TypeAlias = npt.NDArray[np.float64]

DAYS_PER_WEEK = 7.0

# What returns cost cannot turn a mean amount into nothing or less: the models need a positive one.
SMALLEST_SPEND = 0.01

WINDOWS = (14, 28, 56, 91, 182)
"""Days before the day over which purchases and spend are counted."""
HALF_LIVES = (14, 42, 120)
"""Days after which a purchase counts half, in the rates that fade."""

FEATURES = {
    "purchase_days": 1,
    "spend": 1,
    "mean_spend": 1,
    "recency_days": -1,
    "tenure_days": 0,
    "rate": 1,
    "spend_rate": 1,
    "gap_mean": 0,
    "gap_std": 0,
    "gap_max": 0,
    "recency_over_gap": -1,
    "largest": 1,
    "newest": 0,
    "first": 0,
    **{f"days_{days}": 1 for days in WINDOWS},
    **{f"spend_{days}": 1 for days in WINDOWS},
    **{f"fading_rate_{days}": 1 for days in HALF_LIVES},
    **{f"fading_spend_{days}": 1 for days in HALF_LIVES},
}
"""Columns of `Past.features`, and whether later spend may only rise (1) or fall (-1) with them."""


@dataclass(frozen=True)
class Histories:
    """When customers bought: what a model of counts needs to know, each of shape (customers,).

    Attributes:
        x: days with a purchase after the first one.
        t_x: weeks from the first to the last purchase.
        T: weeks from the first purchase to the day the history is as of.
    """

    x: Floats
    t_x: Floats
    T: Floats

    def __len__(self) -> int:
        """Number of customers."""
        return len(self.x)


class Past:
    """The customers of a calendar who had bought something by a day, and what was known of them then.

    A day on which returns outweigh purchases is no purchase, but its amount still counts.

    Attributes:
        place: where each customer stands in the calendar's `ids`, of shape (customers,), as all that follow.
        first: day of the first purchase, in days since 1970.
        last: day of the last one.
        days: days with a purchase.
        spend: net amount so far, in money.
    """

    def __init__(self, calendar: Calendar, day: int) -> None:
        """Read a calendar up to a day, in days since 1970; days after it are not looked at."""
        known = calendar.day <= day
        bought = known & (calendar.cents > 0)
        customer = calendar.customer
        self._day = day
        self._known = customer[known], calendar.day[known], calendar.cents[known]
        self._bought = customer[bought], calendar.day[bought].astype(np.int64), calendar.cents[bought]
        self._customers = len(calendar)
        self._starts = np.flatnonzero(np.diff(self._bought[0], prepend=-1))
        self._ends = np.append(self._starts, len(self._bought[0]))[1:]
        self.place: Integers = self._bought[0][self._starts]
        self.first: Integers = self._bought[1][self._starts]
        self.last: Integers = self._bought[1][self._ends - 1]
        self.days = (self._ends - self._starts).astype(np.float64)
        self.spend = self._sum(self._known[0], self._known[2]) / 100

    def __len__(self) -> int:
        """Number of customers."""
        return len(self.place)

    @property
    def mean_spend(self) -> Floats:
        """Net amount of a day with a purchase, in money; above zero.

        The first purchase counts. The papers leave it out; with it every customer says something of their own.
        """
        return np.maximum(self.spend / self.days, SMALLEST_SPEND)

    @property
    def tenure_days(self) -> Integers:
        """Days since the first purchase."""
        return self._day - self.first

    @cached_property
    def histories(self) -> Histories:
        """What a model of counts needs to know."""
        return Histories(
            x=self.days - 1,
            t_x=(self.last - self.first) / DAYS_PER_WEEK,
            T=self.tenure_days / DAYS_PER_WEEK,
        )

    def features(self) -> Floats:
        """Recency, frequency, monetary value and behaviour, of shape (customers, FEATURES), by column in memory.

        Days and money; gaps are nan with one purchase alone. A rate that fades weighs a purchase by half after each
        half-life, so it is near to what happened lately without a sharp end.
        """
        tenure = self.tenure_days
        recency = (self._day - self.last).astype(np.float64)
        gaps = self._gaps()
        amount = self._bought[2] / 100
        columns = {
            "purchase_days": self.days,
            "spend": self.spend,
            "mean_spend": self.spend / self.days,
            "recency_days": recency,
            "tenure_days": tenure.astype(np.float64),
            # A week of grace: who came first yesterday does not buy daily.
            "rate": self.days / (tenure + DAYS_PER_WEEK),
            "spend_rate": self.spend / (tenure + DAYS_PER_WEEK),
            **gaps,
            "recency_over_gap": recency / gaps["gap_mean"],
            "largest": np.maximum.reduceat(amount, self._starts) if len(self) else amount,
            "newest": amount[self._ends - 1],
            "first": amount[self._starts],
        }
        for days in WINDOWS:
            columns[f"days_{days}"] = self._count(days)
            columns[f"spend_{days}"] = self._amount(days)
        for days in HALF_LIVES:
            columns[f"fading_rate_{days}"], columns[f"fading_spend_{days}"] = self._fading(days)
        return np.column_stack([columns[name] for name in FEATURES]).astype(np.float64, order="F")

    def _sum(self, customer: Integers, values: npt.NDArray[np.generic]) -> Floats:
        total = np.bincount(customer, values.astype(np.float64), minlength=self._customers)
        return total[self.place].astype(np.float64)

    def _count(self, days: int) -> Floats:
        lately = self._bought[1] > self._day - days
        return self._sum(self._bought[0][lately], np.ones(int(lately.sum())))

    def _amount(self, days: int) -> Floats:
        lately = self._known[1] > self._day - days
        return self._sum(self._known[0][lately], self._known[2][lately]) / 100

    def _fading(self, half_life: int) -> tuple[Floats, Floats]:
        bought = 0.5 ** ((self._day - self._bought[1]) / half_life)
        known = 0.5 ** ((self._day - self._known[1]) / half_life)
        amount = known * self._known[2] / 100
        return self._sum(self._bought[0], bought) / half_life, self._sum(self._known[0], amount) / half_life

    def _gaps(self) -> dict[str, Floats]:
        """Mean, spread and greatest of the days from one purchase to the next."""
        gap = np.diff(self._bought[1], prepend=0).astype(np.float64)
        gap[self._starts] = 0
        several = np.where(self.days > 1, self.days - 1, np.nan)
        mean = (self.last - self.first) / several
        square = self._sum(self._bought[0], gap**2) / several
        greatest = np.maximum.reduceat(gap, self._starts) if len(self) else gap
        return {
            "gap_mean": mean,
            "gap_std": np.sqrt(np.maximum(square - mean**2, 0)),
            "gap_max": np.where(self.days > 1, greatest, np.nan),
        }
