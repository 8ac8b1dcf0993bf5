"""RFM from `sql/value/`, lifetime value, and the buckets cut from it."""

import datetime as dt

import dagster as dg
import polars as pl
from pydantic import Field

from cer_assets.defs.io import model, picture, python_table, read, same_day, sql_assets_of, table
from cer_assets.defs.partitions import as_days, refuse_hindsight
from cer_assets.value import CLVModel, backtest, bucket, customer_value, fit
from cer_assets.value.charts import backtest_intervals, bucket_sizes, clv_concentration, rfm_grid

BACKTEST_DAYS = 91


@model("value/clv_model", ins={"purchases": read("value/purchases")}, kinds=["scipy"])
def clv_model(purchases: pl.DataFrame) -> dg.Output[CLVModel]:
    """How often customers come back and how much they spend, by maximum likelihood on their purchases so far.

    The backtest refits it as of 13 weeks before the newest purchase and judges it on what came after, beside two rules
    without a model.
    """
    learned = fit(purchases)
    judged = backtest(purchases, learned.as_of - dt.timedelta(days=BACKTEST_DAYS), learned.as_of)
    return dg.Output(
        learned, metadata={"backtest": table(judged, most=60), "backtest plot": picture(backtest_intervals(judged))}
    )


class Horizon(dg.Config):
    """How far ahead to look."""

    horizon_days: int = Field(default=91, gt=0, description="Days after the as-of day that the figures are for.")


_PURCHASE = [("value/purchases", "customer_id"), ("value/purchases", "ordered_on"), ("value/purchases", "amount")]


@python_table(
    "value/clv",
    columns={
        "as_of": "The last day that is known.",
        "customer_id": "The person.",
        "horizon_days": "Days ahead that the figures are for.",
        "expected_purchases": "Days with a purchase to be expected.",
        "expected_spend": "Spend to be expected, in the retailer's currency.",
        "p_active": "Probability that the customer still comes.",
        "low": "10th percentile of the customer's spend.",
        "high": "90th percentile of the customer's spend.",
        "reason": "Why there is no figure; null where there is one.",
    },
    origins={"customer_id": [("value/purchases", "customer_id")]}
    | dict.fromkeys(("expected_purchases", "expected_spend", "p_active", "low", "high", "reason"), _PURCHASE),
    ins={"purchases": read("value/purchases"), "clv_model": read("value/clv_model")},
    daily=True,
    kinds=("scipy",),
)
def clv(
    context: dg.AssetExecutionContext, config: Horizon, purchases: pl.DataFrame, clv_model: dict[str, bytes]
) -> dg.Output[pl.DataFrame]:
    """Expected purchases and spend of every customer, with an interval, or the reason why there is no figure."""
    learned = CLVModel.from_files(clv_model)
    refuse_hindsight(as_days(context.partition_keys)[0], learned.as_of)
    frame = pl.concat(learned.predict(purchases, day, config.horizon_days) for day in as_days(context.partition_keys))
    reasons = frame.group_by("reason").len("customers").sort("customers", descending=True)
    return dg.Output(frame, metadata={"concentration": picture(clv_concentration(frame)), "reasons": table(reasons)})


@python_table(
    "value/buckets",
    columns={
        "as_of": "The day.",
        "customer_id": "The person.",
        "bucket": "high, mid or low.",
        "value": "Expected spend, or spend so far where none can be expected yet; in the retailer's currency.",
    },
    origins={
        "customer_id": [("value/rfm", "customer_id")],
        "bucket": [("value/clv", "expected_spend"), ("value/rfm", "monetary")],
        "value": [("value/clv", "expected_spend"), ("value/rfm", "monetary")],
    },
    ins={"rfm": same_day("value/rfm"), "clv": same_day("value/clv")},
    daily=True,
    kinds=("numpy",),
)
def buckets(rfm: pl.DataFrame, clv: pl.DataFrame) -> dg.Output[pl.DataFrame]:
    """High, mid and low: k-means on the logarithm of value, so that the cut lies where customers are few."""
    days = rfm.partition_by("as_of", as_dict=True)
    of_day = {key[0]: clv.filter(pl.col("as_of") == key[0]) for key in days}
    frame = pl.concat(bucket(customer_value(part, of_day[key[0]])) for key, part in sorted(days.items()))
    sizes = frame.group_by("bucket").agg(
        pl.len().alias("customers"), pl.col("value").mean().alias("mean value"), pl.col("value").sum().alias("value")
    )
    return dg.Output(
        frame,
        metadata={
            "sizes": table(sizes.sort("mean value", descending=True)),
            "sizes plot": picture(bucket_sizes(frame)),
            "rfm": picture(rfm_grid(rfm)),
        },
    )


@dg.definitions
def value() -> dg.Definitions:
    """The stage's assets."""
    return dg.Definitions(assets=[*sql_assets_of("value"), clv_model, clv, buckets])
