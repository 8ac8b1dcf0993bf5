"""Churn: trained on earlier cuts, judged on the latest one whose horizon has passed."""

import datetime as dt

import dagster as dg
import polars as pl

from cer_assets.defs.io import model, picture, python_table, read, table
from cer_assets.defs.partitions import as_days, refuse_hindsight
from cer_assets.predict import ChurnModel, backtest, fit, hold_out
from cer_assets.predict.charts import backtest_chart, calibration_chart

_DAY = dt.timedelta(days=1)


@model("predict/churn_model", ins={"purchases": read("value/purchases")}, kinds=["scikitlearn"])
def churn_model(purchases: pl.DataFrame) -> dg.Output[ChurnModel]:
    """Who stays away for 28 days, learned from earlier cuts; features are strictly before each cut.

    Held out is the latest cut whose 28 days have passed; beside the model stand the base rate, recency alone, and
    recency over the customer's own mean gap.
    """
    last = purchases["ordered_on"].max()
    if not isinstance(last, dt.date):
        raise dg.Failure("value.purchases is empty: there is nothing to learn from", allow_retries=False)
    learned, held_out = fit(purchases, last + _DAY), hold_out(purchases, last + _DAY)
    judged = backtest(held_out)
    metadata = {"backtest": table(judged), "examples": learned.examples, "held out": held_out.height}
    if judged.height:
        metadata |= {
            "backtest plot": picture(backtest_chart(judged)),
            "calibration": picture(calibration_chart(held_out)),
        }
    return dg.Output(learned, metadata=metadata)


@python_table(
    "predict/churn",
    columns={
        "as_of": "The last day of purchases that is known; the horizon begins the next morning.",
        "customer_id": "The person.",
        "horizon_days": "Length of the horizon.",
        "probability": "Probability of no purchase in the horizon; null where there is a reason.",
        "reason": "Why there is no figure.",
    },
    origins={
        "customer_id": [("value/purchases", "customer_id")],
        "probability": [("value/purchases", name) for name in ("ordered_on", "baskets", "amount")],
        "reason": [("value/purchases", "ordered_on")],
    },
    ins={"purchases": read("value/purchases"), "churn_model": read("predict/churn_model")},
    daily=True,
    kinds=("scikitlearn",),
)
def churn(
    context: dg.AssetExecutionContext, purchases: pl.DataFrame, churn_model: dict[str, bytes]
) -> dg.Output[pl.DataFrame]:
    """How likely each customer is to stay away for the next 28 days, or why that cannot be said."""
    learned = ChurnModel.from_files(churn_model)
    refuse_hindsight(as_days(context.partition_keys)[0], learned.as_of - _DAY)
    frame = pl.concat(
        learned.predict(purchases, day + _DAY).with_columns(as_of=pl.lit(day))
        for day in as_days(context.partition_keys)
    )
    reasons = frame.group_by("reason").agg(
        pl.len().alias("customers"), pl.col("probability").mean().alias("mean probability")
    )
    return dg.Output(frame, metadata={"figures and reasons": table(reasons.sort("customers", descending=True))})


@dg.definitions
def predict() -> dg.Definitions:
    """The stage's assets."""
    return dg.Definitions(assets=[churn_model, churn])
