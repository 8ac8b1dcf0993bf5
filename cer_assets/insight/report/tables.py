"""The tables that the report is made of, which day of each is read, and sums that no order of rows can change."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

AHEAD_DAYS = 91
"""The report speaks of the spend expected within so many days, or of the nearest horizon there is."""
CHURN_DAYS = 28
"""... and of the probability of staying away for so many, or the nearest there is."""
ACTIVE_DAYS = 28
"""A customer is active who bought within so many days."""


@dataclass(frozen=True)
class Tables:
    """Tables of the lake by what they hold; one that was never built is None. Columns as in the tables' own words."""

    people: pl.LazyFrame | None = None
    """`identity.customers`; only counted."""
    orders: pl.LazyFrame | None = None
    """`customer.orders`."""
    purchases: pl.LazyFrame | None = None
    """`value.purchases`."""
    rfm: pl.LazyFrame | None = None
    """`value.rfm`."""
    clv: pl.LazyFrame | None = None
    """`value.clv`."""
    buckets: pl.LazyFrame | None = None
    """`value.buckets`."""
    migration: pl.LazyFrame | None = None
    """`value.migration`."""
    behaviour: pl.LazyFrame | None = None
    """`segment.behaviour`."""
    preference: pl.LazyFrame | None = None
    """`segment.preference`."""
    profiles: pl.LazyFrame | None = None
    """`segment.profiles`."""
    churn: pl.LazyFrame | None = None
    """`predict.churn`."""
    calibration: pl.LazyFrame | None = None
    """`predict.calibration`."""

    def newest_day(self) -> date | None:
        """The newest day that any table holds figures for: what the report is as of."""
        dated = (self.rfm, self.clv, self.buckets, self.profiles, self.churn)
        return max((held[0] for table in dated if (held := days_of(table))), default=None)

    def earlier_day(self, as_of: date) -> date | None:
        """The day before `as_of` that a run has left figures for: of value buckets, else of RFM."""
        for table in (self.buckets, self.rfm):
            if earlier := [day for day in days_of(table) if day < as_of]:
                return earlier[0]
        return None


def days_of(table: pl.LazyFrame | None) -> list[date]:
    """The days a table holds figures for, the newest first."""
    if table is None:
        return []
    return table.select(pl.col("as_of").drop_nulls().unique()).collect()["as_of"].sort(descending=True).to_list()


def columns_of(table: pl.LazyFrame | None) -> Sequence[str]:
    """The columns of a table; none where it does not exist."""
    return [] if table is None else table.collect_schema().names()


def newest(table: pl.LazyFrame | None) -> tuple[pl.LazyFrame, date] | None:
    """The newest day's rows and that day; None where there are none."""
    held = days_of(table)
    return None if table is None or not held else (table.filter(pl.col("as_of") == held[0]), held[0])


def nearest_horizon(table: pl.LazyFrame | None, wanted: int) -> tuple[pl.LazyFrame, date, int] | None:
    """The newest day's rows of the horizon nearest to `wanted` days (the shorter of two), the day, and the horizon."""
    found = newest(table)
    if found is None:
        return None
    rows, day = found
    held = rows.select(pl.col("horizon_days").drop_nulls().unique()).collect()["horizon_days"].to_list()
    if not held:
        return None
    horizon = min(held, key=lambda each: (abs(each - wanted), each))
    return rows.filter(pl.col("horizon_days") == horizon), day, horizon


def cents(column: str) -> pl.Expr:
    """Money in whole hundredths, whose sum is the same in any order."""
    return (pl.col(column).cast(pl.Float64) * 100).round().fill_nan(None).cast(pl.Int64)


def millionths(column: str) -> pl.Expr:
    """Probabilities in whole millionths, whose sum is the same in any order."""
    return (pl.col(column).cast(pl.Float64) * 1e6).round().fill_nan(None).cast(pl.Int64)


def mean_probability(column: str) -> pl.Expr:
    """The mean of a probability over the rows that have one; null where none has."""
    scaled = millionths(column)
    return scaled.sum() / pl.when(scaled.count() > 0).then(scaled.count()) / 1e6


def is_active() -> pl.Expr:
    """Whether a row of `value.rfm` is of somebody who bought within `ACTIVE_DAYS` of its day."""
    return pl.col("recency_days") < ACTIVE_DAYS


def window(until: date, days: int) -> pl.Expr:
    """Whether `ordered_on` is one of the `days` days that end with `until`."""
    return (pl.col("ordered_on") > until - timedelta(days=days)) & (pl.col("ordered_on") <= until)
