"""Purchases before a cut as trips and as pairs of a customer and a product: what features are counted from."""

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cer_assets.recommend.interactions import Interactions, days_since_epoch

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Columns = dict[str, NDArray[Any]]
"""Features by name, an entry a pair asked about."""


@dataclass(frozen=True)
class Ledger:
    """The entries of `Interactions` (sorted by customer, product and day) with their age at the cut."""

    interactions: Interactions
    as_of: date

    @cached_property
    def rows(self) -> Ints:
        """Customer of each entry."""
        return self.interactions.rows.astype(np.int64)

    @cached_property
    def columns(self) -> Ints:
        """Product of each entry."""
        return self.interactions.columns.astype(np.int64)

    @cached_property
    def ages(self) -> Ints:
        """Days from each entry to the cut: 1 is the day before it."""
        return days_since_epoch(self.as_of) - self.interactions.days.astype(np.int64)

    @property
    def customers(self) -> int:
        """Matrix rows, the stranger's included."""
        return self.interactions.shape[0]

    @property
    def products(self) -> int:
        """Matrix columns."""
        return self.interactions.shape[1]

    @cached_property
    def trips(self) -> "Trips":
        """Days on which customers bought."""
        return Trips.of(self.rows, self.ages, self.customers)

    @cached_property
    def pairs(self) -> "Keys":
        """Customer and product of everything ever bought."""
        return Keys.of(self.rows * self.products + self.columns)

    def find(self, rows: Ints, columns: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Position among `pairs` of each pair asked about, and whether it is there (0 where it is not)."""
        return self.pairs.find(rows.astype(np.int64) * self.products + columns)


@dataclass(frozen=True)
class Trips:
    """A customer's days of purchase, numbered from the first."""

    rows: Ints
    """Customer of each trip, rising."""
    ages: Ints
    """Days from the trip to the cut, falling within a customer."""
    entry: Ints
    """Trip of each entry of the ledger."""
    first: Ints
    """First trip of each customer."""
    number: Ints
    """Trips of each customer."""

    @classmethod
    def of(cls, rows: Ints, ages: Ints, customers: int) -> "Trips":
        """Trips of entries in any order."""
        oldest = int(ages.max(initial=0))
        keys, entry = np.unique(rows * (oldest + 1) + (oldest - ages), return_inverse=True)
        owner = keys // (oldest + 1)
        number = np.bincount(owner, minlength=customers)
        return cls(owner, oldest - keys % (oldest + 1), entry, np.cumsum(number) - number, number)

    def ordinal(self, trips: Ints) -> Ints:
        """Number of each trip within its customer's, from 0."""
        return trips - self.first[self.rows[trips]]


@dataclass(frozen=True)
class Keys:
    """Groups of entries that share a key, in the order of the keys."""

    keys: Ints
    """The key of each group, rising."""
    group: Ints
    """Group of each entry."""
    order: Ints
    """Entries by group, in their own order within it."""
    start: Ints
    """Where each group begins in `order`."""
    count: Ints
    """Entries of each group."""

    @classmethod
    def of(cls, keys: Ints) -> "Keys":
        """Group entries by key."""
        known, group, count = np.unique(keys, return_inverse=True, return_counts=True)
        return cls(known, group, np.argsort(group, kind="stable"), np.cumsum(count) - count, count)

    def find(self, wanted: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Group of each key wanted, and whether there is one (0 where there is not)."""
        if not len(self.keys):
            return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
        at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        found = self.keys[at] == wanted
        return np.where(found, at, 0), found

    def total(self, values: NDArray[np.generic]) -> Floats:
        """Sum of the entries' values in each group."""
        return np.bincount(self.group, values.astype(np.float64), minlength=len(self.keys)).astype(np.float64)

    def least(self, values: Ints) -> Ints:
        """Smallest of the entries' values in each group."""
        return np.minimum.reduceat(values[self.order], self.start) if len(self.keys) else np.empty(0, np.int64)

    def most(self, values: Ints) -> Ints:
        """Largest of the entries' values in each group."""
        return -self.least(-values)


def over(numerator: NDArray[np.generic], denominator: NDArray[np.generic]) -> Floats:
    """A ratio, nan where the denominator is not above zero."""
    below = denominator.astype(np.float64)
    return np.divide(numerator, below, out=np.full(np.broadcast(numerator, below).shape, np.nan), where=below > 0)


def gathered(values: NDArray[Any], at: Ints, found: NDArray[np.bool_], otherwise: float) -> Floats:
    """The values at some places, and something else where there is none."""
    if not len(values):
        return np.full(len(at), otherwise)
    return np.where(found, values[at], otherwise)
