"""The days on which customers bought, as sorted arrays; what they say about a customer is read in `histories`."""

from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

Integers = npt.NDArray[np.int64]

EPOCH = date(1970, 1, 1)

# Bits of a whole number that hold any day there is, and what makes days before 1970 positive.
DAY_BITS, SHIFT = 23, 2**20


@dataclass(frozen=True)
class Calendar:
    """Customer days in the order of customer and day.

    Attributes:
        ids: customer_id of every customer, rising.
        starts: where each customer's days begin, and the end, of shape (customers + 1,).
        day: days since 1970, of shape (days,).
        cents: net amount of the day, likewise; whole, so that sums are exact.
    """

    ids: pl.Series
    starts: Integers
    day: npt.NDArray[np.int32]
    cents: Integers

    @classmethod
    def of(cls, purchases: pl.DataFrame, until: date, at_most: int | None = None) -> "Calendar":
        """The purchases up to a day, of all customers or of a sample.

        Args:
            purchases: `value.purchases`: customer_id, ordered_on Date, amount (money, net of returns), one row per
                customer and day, in any order.
            until: the last day that counts; what comes after it is dropped here and seen by nobody.
            at_most: customers; of more every n-th is taken, which is a random sample, for customer_id is a hash, and
                the same each time.
        """
        known = purchases.lazy().filter(pl.col("ordered_on") <= until)
        ids = known.select(pl.col("customer_id").unique().sort()).collect().to_series()
        if at_most is not None and len(ids) > at_most:
            ids = ids.gather_every(-(-len(ids) // at_most))
            known = known.filter(pl.col("customer_id").is_in(ids.implode()))
        code = pl.col("customer_id").cast(pl.Enum(ids)).to_physical().cast(pl.Int64)
        # Customer and day in one whole number: sorting those is far quicker than sorting text.
        rows = known.select(
            key=code * 2**DAY_BITS + pl.col("ordered_on").to_physical() + SHIFT,
            cents=(pl.col("amount").cast(pl.Decimal(18, 2)) * 100).cast(pl.Int64),
        ).collect()
        key, cents = rows["key"].to_numpy(), rows["cents"].to_numpy()
        order = np.argsort(key, kind="stable")
        key = key[order]
        starts = np.searchsorted(key, np.arange(len(ids) + 1, dtype=np.int64) << DAY_BITS)
        return cls(ids, starts, ((key & (2**DAY_BITS - 1)) - SHIFT).astype(np.int32), cents[order])

    def __len__(self) -> int:
        """Number of customers."""
        return len(self.ids)

    @property
    def first_day(self) -> int | None:
        """The first day of any customer, in days since 1970; None without any."""
        return int(self.day.min()) if len(self.day) else None

    @property
    def customer(self) -> Integers:
        """Whose each day is, as a place in `ids`, of shape (days,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def part(self, first: int, end: int) -> "Calendar":
        """The customers from one place up to another."""
        rows = slice(int(self.starts[first]), int(self.starts[end]))
        starts = self.starts[first : end + 1] - self.starts[first]
        return replace(self, ids=self.ids[first:end], starts=starts, day=self.day[rows], cents=self.cents[rows])

    def take(self, places: Integers) -> "Calendar":
        """The customers at some places, rising."""
        lengths = np.diff(self.starts)[places]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        rows = np.arange(starts[-1]) + np.repeat(self.starts[places] - starts[:-1], lengths)
        return Calendar(self.ids.gather(places), starts, self.day[rows], self.cents[rows])

    def spend(self, after: int, until: int) -> npt.NDArray[np.float64]:
        """Net spend of every customer after one day and up to another, of shape (customers,)."""
        window = (self.day > after) & (self.day <= until)
        return np.bincount(self.customer[window], self.cents[window], minlength=len(self)) / 100


def day_number(day: date) -> int:
    """Days since 1970."""
    return (day - EPOCH).days
