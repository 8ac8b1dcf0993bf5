"""A customer's purchases as the models of value read them; no model is fitted here."""

from dataclasses import dataclass
from datetime import date
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

Floats: TypeAlias = npt.NDArray[np.float64]

DAYS_PER_WEEK = 7.0


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


def customer_histories(purchases: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """One row per customer with a purchase up to a day, in the order of `customer_id`.

    A day on which returns outweigh purchases is no purchase, but its amount still counts.

    Args:
        purchases: `value.purchases`: customer_id, ordered_on Date, amount (money, net of returns),
            one row per customer and day.
        as_of: the last day that counts.

    Returns:
        customer_id, first_ordered_on Date, days Int64 (with a purchase), x, t_x, T (Float64, as in
        `Histories`), spend Float64 (net) and mean_spend Float64 (net, per day with a purchase).
    """
    bought = pl.col("amount") > 0
    weeks = DAYS_PER_WEEK
    first, last = pl.col("first_ordered_on"), pl.col("last_ordered_on")
    return (
        purchases.filter(pl.col("ordered_on") <= as_of)
        .group_by("customer_id")
        .agg(
            pl.col("ordered_on").filter(bought).min().alias("first_ordered_on"),
            pl.col("ordered_on").filter(bought).max().alias("last_ordered_on"),
            bought.sum().cast(pl.Int64).alias("days"),
            # Summed as decimals: exact, whatever the order of the rows.
            pl.col("amount").cast(pl.Decimal(18, 2)).sum().cast(pl.Float64).alias("spend"),
        )
        .filter(pl.col("days") > 0)
        .sort("customer_id")
        .select(
            "customer_id",
            "first_ordered_on",
            "days",
            (pl.col("days") - 1).cast(pl.Float64).alias("x"),
            ((last - first).dt.total_days() / weeks).alias("t_x"),
            ((pl.lit(as_of) - first).dt.total_days() / weeks).alias("T"),
            "spend",
            (pl.col("spend") / pl.col("days")).alias("mean_spend"),
        )
    )


def timing(histories: pl.DataFrame) -> Histories:
    """The `x`, `t_x` and `T` of a frame of `customer_histories` as arrays."""
    return Histories(
        x=histories["x"].to_numpy().astype(np.float64),
        t_x=histories["t_x"].to_numpy().astype(np.float64),
        T=histories["T"].to_numpy().astype(np.float64),
    )
