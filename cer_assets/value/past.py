"""Value buckets as they would have been cut on a past day, for whoever is judged on the days after it."""

from datetime import date

import polars as pl

from cer_assets.value.buckets import bucket, customer_value
from cer_assets.value.clv import fit


def buckets_as_of(purchases: pl.DataFrame, day: date, horizon_days: int = 91) -> pl.DataFrame:
    """Cut buckets from nothing but what was known at the end of a day.

    Value is foretold by Pareto/NBD x Gamma-Gamma, which needs no earlier periods to be chosen by.

    Args:
        purchases: `value.purchases`: customer_id, ordered_on, amount; later days are not looked at.
        day: the last day that counts.
        horizon_days: how far ahead spend is expected.

    Returns:
        `value.buckets` of that day; no rows where nobody had bought anything.
    """
    known = purchases.filter(pl.col("ordered_on") <= day)
    spent = known.group_by("customer_id").agg(monetary=pl.col("amount").sum()).with_columns(as_of=pl.lit(day))
    return bucket(
        customer_value(spent, fit(known, day, model="pareto_nbd x gamma_gamma").predict(known, day, horizon_days))
    )
