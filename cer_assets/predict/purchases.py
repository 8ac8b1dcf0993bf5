"""A customer's days of purchase and what they say about the next weeks, strictly before a cut; no model lives here."""

from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import polars as pl

MEMORY_DAYS = 364
"""Days before a cut that are read. What a day costs follows the customers of a year, not the length of the records."""
WEEKS = (1, 2, 4, 8, 13)
"""Windows before the cut over which days and spend are counted."""
HALF_LIVES = (7, 21, 60)
"""Days after which a purchase day counts half in a decayed count."""
BLOCKS = (7, 28, 56)
"""Lengths, in days, of the blocks before the cut of which it is counted how many saw a purchase."""
FEATURES = (
    "purchase_days",
    "recency_days",
    "tenure_days",
    "gap_mean",
    "gap_std",
    "gap_max",
    "gap_last",
    "gap_recent",
    "gap_cv",
    "recency_over_gap",
    "overdue",
    "trend",
    "spend_mean",
    "spend_std",
    "spend_trend",
    "spend_last_over_mean",
    "days_since_big",
    "baskets_mean",
    "products_mean",
    "categories_mean",
    "discount_share",
    "discount_share_8w",
    "weekend_share",
    *(f"days_{weeks}w" for weeks in WEEKS),
    *(f"spend_{weeks}w" for weeks in WEEKS),
    *(f"decayed_{days}d" for days in HALF_LIVES),
    *(f"blocks_{days}d" for days in BLOCKS),
    *(f"silent_{days}d" for days in BLOCKS),
    *(f"outlasts_{days}d" for days in BLOCKS),
)
"""Columns of `features`, beside customer_id."""
SLICE = 100_000
"""Customers looked at at a time, so that memory does not grow with their number."""
DAYS = {
    "customer_id": pl.String,
    "ordered_on": pl.Date,
    "baskets": pl.Int64,
    "amount": pl.Decimal(18, 2),
    "discount": pl.Decimal(18, 2),
    "products": pl.Int64,
    "categories": pl.Int64,
}
"""Columns of `predict.purchase_days`."""


def features(days: pl.DataFrame, cut: date) -> pl.DataFrame:
    """What each customer's days before the cut say.

    Args:
        days: rows of `predict.purchase_days`. A day without a basket, of returns only, is no day of purchase.
        cut: this day and later ones are not read, nor are those more than MEMORY_DAYS before it.

    Returns:
        customer_id and FEATURES (Float64), by customer_id; customers without a day in the memory are left out.
        Recency, tenure and gaps in days, spend in money. `overdue` is the share of the customer's own gaps that the
        present one has outlasted, of one more gap than there were; `blocks_<n>d` the share of whole blocks of n days
        before the cut, as far as the customer's tenure reaches, with a purchase. Trends are of the last four weeks over
        all. `silent_<n>d` is the share of days on which a customer's next n days would have been without a purchase;
        `outlasts_<n>d` the share of the customer's own gaps, among those as long as the present one, that went on for
        another n days, drawn towards a quarter. Gaps are null with one day alone, their spread with fewer than three;
        so is what is taken over the mean spend, where returns left nothing of it.
    """
    known = pl.col("ordered_on").is_between(cut - timedelta(days=MEMORY_DAYS), cut - timedelta(days=1))
    sorted_days = days.filter(known, pl.col("baskets") > 0).sort("customer_id", "ordered_on")
    first = np.flatnonzero(sorted_days["customer_id"].rle_id().diff().fill_null(1).to_numpy())
    bounds = [*first[::SLICE].tolist(), sorted_days.height]
    slices = [sorted_days[start:end] for start, end in pairwise(bounds)]
    return pl.concat([_features(part, cut) for part in slices or [sorted_days]])


def _features(sorted_days: pl.DataFrame, cut: date) -> pl.DataFrame:
    """As `features`, of days of purchase in the memory, sorted."""
    age = (pl.lit(cut) - pl.col("ordered_on")).dt.total_days()
    figure = pl.col(FEATURES).cast(pl.Float64)
    return (
        sorted_days.with_columns(
            pl.col("amount", "discount").cast(pl.Float64),
            age=age,
            gap=pl.col("ordered_on").diff().over("customer_id").dt.total_days(),
        )
        .with_columns(recency=pl.col("age").min().over("customer_id"))
        .group_by("customer_id", maintain_order=True)
        .agg(
            purchase_days=pl.len(),
            recency_days=pl.col("age").min(),
            tenure_days=pl.col("age").max(),
            gap_mean=pl.col("gap").mean(),
            gap_std=pl.col("gap").std(),
            gap_max=pl.col("gap").max(),
            gap_last=pl.col("gap").last(),
            gap_recent=pl.col("gap").tail(5).mean(),
            overdue=(pl.col("gap") < pl.col("recency")).sum() / pl.len(),
            spend_mean=pl.col("amount").mean(),
            spend_std=pl.col("amount").std(),
            spend_last=pl.col("amount").last(),
            days_since_big=pl.col("age").filter(pl.col("amount") >= pl.col("amount").mean()).min(),
            baskets_mean=pl.col("baskets").mean(),
            products_mean=pl.col("products").mean(),
            categories_mean=pl.col("categories").mean(),
            discount_share=_share(pl.col("discount").sum(), pl.col("amount").sum()),
            discount_share_8w=_share(
                pl.col("discount").filter(_within(56)).sum(), pl.col("amount").filter(_within(56)).sum()
            ),
            weekend_share=(pl.col("ordered_on").dt.weekday() > 5).mean(),
            **{f"days_{weeks}w": _within(7 * weeks).sum() for weeks in WEEKS},
            **{f"spend_{weeks}w": pl.col("amount").filter(_within(7 * weeks)).sum() for weeks in WEEKS},
            **{f"decayed_{half}d": (0.5 ** (pl.col("age") / half)).sum() for half in HALF_LIVES},
            **{f"blocks_{length}d": _blocks(length) for length in BLOCKS},
            **{f"silent_{length}d": _silent(length) for length in BLOCKS},
            **{f"outlasts_{length}d": _outlasts(length) for length in BLOCKS},
        )
        .with_columns(
            recency_over_gap=pl.col("recency_days") / pl.col("gap_mean"),
            gap_cv=pl.col("gap_std") / pl.col("gap_mean"),
            spend_last_over_mean=pl.col("spend_last") / pl.col("spend_mean"),
            trend=pl.col("days_4w") / 28 / ((pl.col("purchase_days") + 1) / (pl.col("tenure_days") + 7)),
            spend_trend=pl.col("spend_4w")
            / 28
            / (pl.col("spend_mean") * (pl.col("purchase_days") + 1) / (pl.col("tenure_days") + 7)),
        )
        .select("customer_id", pl.when(figure.is_finite()).then(figure).name.keep())
    )


def bought_within(days: pl.DataFrame, cut: date, horizon_days: int) -> pl.Series:
    """customer_ids with a purchase on the cut or one of the following days, `horizon_days` in all."""
    window = pl.col("ordered_on").is_between(cut, cut + timedelta(days=horizon_days - 1))
    return days.filter(window, pl.col("baskets") > 0)["customer_id"].unique()


def _within(days: int) -> pl.Expr:
    return pl.col("age") <= days


def _share(discount: pl.Expr, amount: pl.Expr) -> pl.Expr:
    """Of what the goods would have cost; null where that is nothing."""
    gross = discount + amount
    return pl.when(gross > 0).then(discount / gross)


def _blocks(length: int) -> pl.Expr:
    whole = pl.col("age").max() // length
    return pl.when(whole > 0).then(
        ((pl.col("age") - 1) // length).filter(pl.col("age") <= whole * length).n_unique() / whole
    )


def _silent(length: int) -> pl.Expr:
    gaps = (pl.col("gap") - length).clip(0).sum() + (pl.col("recency").first() - length).clip(0)
    return gaps / (pl.col("age").max() + length)


def _outlasts(length: int) -> pl.Expr:
    longer = (pl.col("gap") >= pl.col("recency") + length).sum()
    return (longer + 0.25) / ((pl.col("gap") >= pl.col("recency")).sum() + 1)
