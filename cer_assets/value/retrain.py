"""Whether a model of lifetime value still does: a model that knows its customers is kept from day to day."""

from datetime import date

import polars as pl

from cer_assets.value.calendar import day_number
from cer_assets.value.clv import CLVModel

EVERY_DAYS = 28
"""A model is trained anew at the latest when it is so many days old."""
SETTLED_DAYS = 7
"""Days of purchases that must have come before spend is compared with what was expected."""
MOST_OFF = 0.25
"""How far spend may be from what was expected, as a share of it."""
MOST_GROWTH = 1.25
"""How many times the customers of training there may be."""


def retrain_reason(
    model: CLVModel, purchases: pl.DataFrame, as_of: date | None = None, every_days: int = EVERY_DAYS
) -> str | None:
    """Why a model should be trained anew, in a sentence; None while it does.

    Far cheaper than training: customers are counted, and one prediction of the days since is compared with what came.

    Args:
        model: the model in use.
        purchases: `value.purchases`.
        as_of: the last day that counts; the last day in `purchases` unless given.
        every_days: the age at which any model is trained anew.
    """
    last = as_of or purchases["ordered_on"].max()
    if not isinstance(last, date):
        return None
    age = day_number(last) - day_number(model.as_of)
    if model.parts is None:
        return "it could not be fitted: there may be enough purchases now" if age else None
    if age < 0:
        return "it has seen days that are no longer there"
    if age >= every_days:
        return f"it is {age} days old"
    known = purchases.filter(pl.col("ordered_on") <= last)
    customers = known.filter(pl.col("amount") > 0)["customer_id"].n_unique()
    if customers > MOST_GROWTH * model.customers:
        return f"customers went from {model.customers:,} to {customers:,}"
    if age < SETTLED_DAYS:
        return None
    expected = model.predict(known, model.as_of, age).select("customer_id", "expected_spend").drop_nulls()
    since = known.filter(pl.col("ordered_on") > model.as_of).join(expected, on="customer_id", how="semi")
    came = float(since["amount"].cast(pl.Float64).sum())
    total = float(expected["expected_spend"].sum())
    off = came / total - 1 if total > 0 else 0.0
    return f"customers spent {off:+.0%} of what it expected in {age} days" if abs(off) > MOST_OFF else None
