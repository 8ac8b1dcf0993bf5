"""RFM from `sql/value/`, lifetime value, and the buckets cut from it."""

import datetime as dt

import dagster as dg
import polars as pl
from pydantic import Field

from cer_assets.defs.io import live_files, model, picture, python_table, read, same_day, sql_assets_of, table
from cer_assets.defs.partitions import as_days, refuse_hindsight
from cer_assets.defs.resources import Home
from cer_assets.value import (
    CLVModel,
    bucket,
    customer_value,
    earlier_periods,
    fit,
    models_of,
    retrain_reason,
    trajectory,
)
from cer_assets.value.buckets import NO_MOVES, migration
from cer_assets.value.charts import (
    backtest_intervals,
    bucket_sizes,
    clv_concentration,
    clv_history,
    migration_grid,
    rfm_grid,
)
from cer_assets.value.clv import FIT_AT_MOST, HORIZONS
from cer_assets.value.evaluate import measured
from cer_assets.value.retrain import EVERY_DAYS

HISTORY_WEEKS = 13
BUCKET_HORIZON_DAYS = 91
MIGRATION_DAYS = (1, 7, 28, 91)


class Training(dg.Config):
    """When lifetime value is learned anew."""

    every_days: int = Field(
        default=EVERY_DAYS, ge=0, description="Age in days at which a model is trained anew; 0 now."
    )


@model("value/clv_model", ins={"purchases": read("value/purchases")}, kinds=["scipy", "scikitlearn"])
def clv_model(
    context: dg.AssetExecutionContext, config: Training, home: Home, purchases: pl.DataFrame
) -> dg.Output[CLVModel]:
    """How often customers come back and how much they spend: count models, boosted trees, and their blend.

    Which of them is used is settled by the periods before the newest purchase: all are fitted as of their beginning and
    judged on what came after. The model is kept from day to day while it does: it is trained anew when it is four weeks
    old, when spend has left what it expected, when there are many more customers, or when its code changed.
    """
    files = live_files(context, home)
    live = None if files is None else CLVModel.from_files(files)
    why = (
        "there was none that this code trained"
        if live is None
        else retrain_reason(live, purchases, None, config.every_days)
    )
    if live is not None and why is None:
        return dg.Output(live, metadata={"trained": f"kept: trained on purchases until {live.as_of}", "why": live.why})
    if purchases.is_empty():
        raise dg.Failure("value.purchases is empty: nobody has bought anything yet", allow_retries=False)
    periods = earlier_periods(purchases)
    learned = fit(purchases, periods=periods)
    metadata: dict[str, dg.MetadataValue | str | None] = {
        "trained": f"anew: {why}",
        "why": learned.why or learned.reason,
        "earlier periods": table(pl.DataFrame(learned.standings)) if learned.standings else "none was long enough",
    }
    if periods:
        judged = measured(periods[0], learned.model, learned.levels)
        weeks = [learned.as_of - dt.timedelta(days=7 * back) for back in range(HISTORY_WEEKS)]
        history = trajectory(purchases, models_of(periods, learned), weeks, at_most=FIT_AT_MOST)
        metadata |= {
            "newest period": table(judged, most=60),
            "newest period plot": picture(backtest_intervals(judged)),
            "by what was known of purchases then": picture(clv_history(history)),
        }
    return dg.Output(learned, metadata=metadata)


class Horizons(dg.Config):
    """How far ahead to look."""

    horizon_days: list[int] = Field(
        default=list(HORIZONS), min_length=1, description="Days after the as-of day that the figures are for, each."
    )


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
        "model": "What made the expected spend; null where there is none.",
    },
    origins={"customer_id": [("value/purchases", "customer_id")]}
    | dict.fromkeys(("expected_purchases", "expected_spend", "p_active", "low", "high", "reason", "model"), _PURCHASE),
    ins={"purchases": read("value/purchases"), "clv_model": read("value/clv_model")},
    daily=True,
    kinds=("scipy",),
)
def clv(
    context: dg.AssetExecutionContext,
    config: Horizons,
    home: Home,
    purchases: pl.DataFrame,
    clv_model: dict[str, bytes],
) -> dg.Output[pl.DataFrame]:
    """Expected purchases and spend of every customer, with an interval, or the reason why there is no figure."""
    learned, wanted = CLVModel.from_files(clv_model), as_days(context.partition_keys)
    refuse_hindsight(wanted[0], learned.as_of)
    frame = pl.concat(learned.predict(purchases, day, config.horizon_days) for day in wanted)
    newest = frame.filter(pl.col("as_of") == wanted[-1])
    shown = newest.filter(pl.col("horizon_days") == _shown(config.horizon_days))
    reasons = newest.group_by("horizon_days", "reason", "model").agg(
        pl.len().alias("customers"), pl.col("expected_spend").sum(), pl.col("p_active").mean()
    )
    return dg.Output(
        frame,
        metadata={
            "figures and reasons": table(reasons.sort("horizon_days", "customers", descending=[False, True])),
            "why this model": learned.why or learned.reason or "",
            "concentration": picture(clv_concentration(shown)),
            "history": picture(clv_history(pl.concat([_days_before(home, shown), shown]))),
        },
    )


def _shown(horizons: list[int]) -> int:
    """The horizon of the charts: that of the buckets, or else the first."""
    return BUCKET_HORIZON_DAYS if BUCKET_HORIZON_DAYS in horizons else horizons[0]


def _days_before(home: Home, newest: pl.DataFrame) -> pl.DataFrame:
    """`value.clv` of the same horizon on some days of the last quarter that the lake has; no other day is read."""
    if newest.is_empty() or not home.lake.exists("value.clv"):
        return newest.clear()
    day, horizon = newest["as_of"][0], newest["horizon_days"][0]
    parts = {dt.date.fromisoformat(part["as_of"]) for part in home.lake.open("value.clv").partitions()}
    known = sorted(part for part in parts if day - dt.timedelta(days=7 * HISTORY_WEEKS) < part < day)
    some = known[:: -(-len(known) // HISTORY_WEEKS) or 1]
    held = home.lake.scan("value.clv").filter(pl.col("as_of").is_in(some), pl.col("horizon_days") == horizon).collect()
    # A day of an earlier layout may lack a column.
    return pl.concat(
        [newest.clear(), held.select(column for column in newest.columns if column in held.columns)], how="diagonal"
    )


@python_table(
    "value/buckets",
    columns={
        "as_of": "The day.",
        "customer_id": "The person.",
        "bucket": "high, mid or low.",
        "value": "Expected spend, or spend so far where none can be expected yet; in the retailer's currency.",
        "starts_at": "The value at which the bucket starts.",
    },
    origins={"customer_id": [("value/rfm", "customer_id")]}
    | {c: [("value/clv", "expected_spend"), ("value/rfm", "monetary")] for c in ("bucket", "value", "starts_at")},
    ins={"rfm": same_day("value/rfm"), "clv": same_day("value/clv")},
    daily=True,
    kinds=("numpy",),
)
def buckets(
    context: dg.AssetExecutionContext, home: Home, rfm: pl.DataFrame, clv: pl.DataFrame
) -> dg.Output[pl.DataFrame]:
    """High, mid and low: k-means on the logarithm of value, so that the cut lies where customers are few.

    A day starts from the buckets of the newest day before it: cuts stand while they will do, and a customer leaves a
    bucket once the value lies 10% beyond its bounds.
    """
    wanted = as_days(context.partition_keys)
    before = _buckets_before(home, wanted[0])
    days: list[pl.DataFrame] = []
    for day in wanted:
        of_day = pl.col("as_of") == day
        figures = clv.filter(of_day, pl.col("horizon_days") == BUCKET_HORIZON_DAYS)
        if figures.is_empty() and not clv.filter(of_day).is_empty():
            raise dg.Failure(
                f"value.clv of {day} has no figures for {BUCKET_HORIZON_DAYS} days: run it with that horizon"
            )
        days.append(bucket(customer_value(rfm.filter(of_day), figures), before))
        before = days[-1] if days[-1].height else before
    sizes = (
        days[-1]
        .group_by("bucket")
        .agg(
            pl.len().alias("customers"),
            pl.col("starts_at").last().alias("starts at"),
            pl.col("value").mean().alias("mean value"),
            pl.col("value").sum().alias("value"),
        )
    )
    return dg.Output(
        pl.concat(days),
        metadata={
            "sizes": table(sizes.sort("mean value", descending=True)),
            "sizes plot": picture(bucket_sizes(days[-1])),
            "rfm": picture(rfm_grid(rfm.filter(pl.col("as_of") == wanted[-1]))),
        },
    )


_BUCKET = [("value/buckets", "bucket"), ("value/buckets", "customer_id")]


@python_table(
    "value/migration",
    columns={
        "from_on": "The day before: one, 7, 28 and 91 days earlier, where that day has buckets.",
        "as_of": "The day.",
        "from_bucket": "The bucket then; `new` for who had none.",
        "to_bucket": "The bucket now; `gone` for who has none any more.",
        "customers": "How many customers went this way.",
        "value": "What they are worth now.",
    },
    origins=dict.fromkeys(("from_bucket", "to_bucket", "customers"), _BUCKET)
    | {"value": [*_BUCKET, ("value/buckets", "value")]},
    ins={"buckets": dg.AssetIn(key=["value", "buckets"], dagster_type=dg.Nothing)},
    daily=True,
)
def bucket_migration(context: dg.AssetExecutionContext, home: Home) -> dg.Output[pl.DataFrame]:
    """How many customers went from which bucket to which, up to each day."""
    held = set(_bucket_days(home))
    moves = [NO_MOVES]
    for day in as_days(context.partition_keys):
        earlier = [day - dt.timedelta(days=back) for back in MIGRATION_DAYS]
        of_day = _buckets_on(home, [day, *(known for known in earlier if known in held)]).partition_by(
            "as_of", as_dict=True
        )
        if (day,) in of_day:
            moves += [migration(of_day[known,], of_day[day,]) for known in earlier if (known,) in of_day]
    frame = pl.concat(moves)
    newest = frame.filter(pl.col("as_of") == pl.col("as_of").max())
    return dg.Output(
        frame, metadata={"moves": table(newest.drop("as_of"), most=100), "plot": picture(migration_grid(newest))}
    )


def _bucket_days(home: Home) -> list[dt.date]:
    """The days that have buckets."""
    if not home.lake.exists("value.buckets"):
        return []
    return sorted(dt.date.fromisoformat(part["as_of"]) for part in home.lake.open("value.buckets").partitions())


def _buckets_on(home: Home, wanted: list[dt.date]) -> pl.DataFrame:
    """The buckets of some days; only these are read."""
    return home.lake.scan("value.buckets").filter(pl.col("as_of").is_in(wanted)).collect()


def _buckets_before(home: Home, day: dt.date) -> pl.DataFrame | None:
    """The buckets of the newest day before a day, if any are known with their bounds."""
    earlier = [known for known in _bucket_days(home) if known < day]
    found = _buckets_on(home, earlier[-1:]) if earlier else None
    return found if found is not None and "starts_at" in found.columns else None


@dg.definitions
def value() -> dg.Definitions:
    """The stage's assets."""
    return dg.Definitions(assets=[*sql_assets_of("value"), clv_model, clv, buckets, bucket_migration])
