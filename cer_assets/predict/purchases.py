"""A customer's days of purchase and what they say about the next weeks, strictly before a cut; no model lives here."""

from datetime import date, timedelta

import polars as pl

WEEKS = (2, 4, 8, 13)
"""Windows before the cut over which days and spend are counted."""
FEATURES = (
    "purchase_days",
    "recency_days",
    "tenure_days",
    "gap_mean",
    "gap_std",
    "gap_max",
    "recency_over_gap",
    "trend",
    "spend_mean",
    *(f"days_{weeks}w" for weeks in WEEKS),
    *(f"spend_{weeks}w" for weeks in WEEKS),
)
"""Columns of `features`, beside customer_id."""


def features(purchases: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """What each customer's days before `as_of` say.

    Args:
        purchases: customer_id, ordered_on, baskets, amount, as in `value.purchases`. A day without a basket, of returns
            only, is no day of purchase.
        as_of: the cut: this day and later ones are not read.

    Returns:
        customer_id and FEATURES (Float64), by customer_id; customers without a day before the cut are left out.
        Recency, tenure and gaps in days, spend in money. `trend` is the rate of purchase days of the last four weeks
        over the rate of all. Gaps are null with one day alone, their spread with fewer than three days.
    """
    age = (pl.lit(as_of) - pl.col("ordered_on")).dt.total_days()
    return (
        purchases.filter(pl.col("ordered_on") < as_of, pl.col("baskets") > 0)
        .sort("customer_id", "ordered_on")
        .with_columns(
            age=age,
            gap=pl.col("ordered_on").diff().over("customer_id").dt.total_days(),
            amount=pl.col("amount").cast(pl.Float64),
        )
        .group_by("customer_id", maintain_order=True)
        .agg(
            purchase_days=pl.len(),
            recency_days=pl.col("age").min(),
            tenure_days=pl.col("age").max(),
            gap_mean=pl.col("gap").mean(),
            gap_std=pl.col("gap").std(),
            gap_max=pl.col("gap").max(),
            spend_mean=pl.col("amount").mean(),
            **{f"days_{weeks}w": _within(weeks).sum() for weeks in WEEKS},
            **{f"spend_{weeks}w": pl.col("amount").filter(_within(weeks)).sum() for weeks in WEEKS},
        )
        .with_columns(
            recency_over_gap=pl.col("recency_days") / pl.col("gap_mean"),
            trend=(pl.col("days_4w") / 4) / ((pl.col("purchase_days") + 1) / (pl.col("tenure_days") / 7 + 1)),
        )
        .select("customer_id", pl.col(FEATURES).cast(pl.Float64))
    )


def bought_within(purchases: pl.DataFrame, as_of: date, days: int) -> pl.Series:
    """customer_ids with a purchase on `as_of` or one of the following days, `days` in all."""
    window = pl.col("ordered_on").is_between(as_of, as_of + timedelta(days=days - 1))
    return purchases.filter(window, pl.col("baskets") > 0)["customer_id"].unique()


def _within(weeks: int) -> pl.Expr:
    return pl.col("age") <= 7 * weeks
