"""A small lake's tables, as the report reads them: forty customers over half a year, and names with markup in them."""

import datetime as dt
from functools import cache

import polars as pl

from cer_assets.insight.report import Tables

LAST = dt.date(2024, 6, 30)
DAY, FOUR_WEEKS = LAST - dt.timedelta(days=1), LAST - dt.timedelta(days=28)
HOSTILE = '<script>alert("1")</script> & \'co\' id="a" url(#b)'
CUSTOMERS = [f"customer-{n:03}" for n in range(40)]


def purchases() -> pl.DataFrame:
    """Customer n comes from its day n on, every few days; every fifth stops in April."""
    rows = [
        (customer, day, 1, 10 + n)
        for n, customer in enumerate(CUSTOMERS)
        for day in (dt.date(2024, 1, 1) + dt.timedelta(days=2 * n + step) for step in range(0, 182, 4 + n % 9))
        if day <= (dt.date(2024, 4, 20) if n % 5 == 0 else LAST)
    ]
    schema = {"customer_id": pl.String, "ordered_on": pl.Date, "baskets": pl.Int64, "amount": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.col("amount").cast(pl.Decimal(18, 2)))


def rfm(bought: pl.DataFrame, day: dt.date) -> pl.DataFrame:
    return (
        bought.filter(pl.col("ordered_on") <= day)
        .group_by("customer_id")
        .agg(
            recency_days=(pl.lit(day) - pl.col("ordered_on").max()).dt.total_days(),
            frequency=pl.col("baskets").sum(),
            monetary=pl.col("amount").sum().cast(pl.Decimal(18, 2)),
        )
        .with_columns(as_of=pl.lit(day))
        .sort("customer_id")
    )


def buckets(day: dt.date, shift: int = 0) -> pl.DataFrame:
    known = pl.DataFrame({"customer_id": CUSTOMERS, "n": range(len(CUSTOMERS))})
    place = (pl.col("n") + shift) % len(CUSTOMERS)
    bucket = pl.when(place < 8).then(pl.lit("high")).when(place < 20).then(pl.lit("mid")).otherwise(pl.lit("low"))
    return known.select(
        as_of=pl.lit(day), customer_id="customer_id", bucket=bucket, value=(1000 / (1 + place)).cast(pl.Float64)
    )


def migration() -> pl.DataFrame:
    rows = [
        (DAY, "high", "high", 7, 700.0),
        (DAY, "high", "mid", 1, 60.0),
        (DAY, "low", "low", 20, 100.1),
        (FOUR_WEEKS, "high", "high", 5, 600.5),
        (FOUR_WEEKS, "high", "mid", 2, 120.25),
        (FOUR_WEEKS, "mid", "high", 3, 500.0),
        (FOUR_WEEKS, "mid", "mid", 10, 400.0),
        (FOUR_WEEKS, "low", "low", 19, 90.0),
        (FOUR_WEEKS, "new", "low", 1, 4.0),
        (FOUR_WEEKS, "low", "gone", 2, 0.0),
    ]
    schema = ["from_on", "from_bucket", "to_bucket", "customers", "value"]
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(as_of=pl.lit(LAST))


def segments(day: dt.date, moved: int = 0) -> pl.DataFrame:
    return pl.DataFrame({"customer_id": CUSTOMERS, "n": range(len(CUSTOMERS))}).select(
        as_of=pl.lit(day), customer_id="customer_id", segment=(pl.col("n") < 15 + moved).cast(pl.Int64)
    )


def profiles() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "as_of": [LAST] * 4,
            "kind": ["behaviour", "behaviour", "preference", "preference"],
            "segment": [0, 1, 0, 1],
            "name": ["Frequent, evenings", HOSTILE, "Beef & pork", "A wide mix"],
            "customers": [25, 15, 25, 15],
            "share": [0.625, 0.375, 0.625, 0.375],
            "mean_recency_days": [12.25, 3.5, 12.25, 3.5],
            "mean_frequency": [20.1, 30.0, 20.1, 30.0],
            "mean_monetary": [420.1, 800.0, 420.1, 800.0],
            "summary": ["They come often.", HOSTILE, "Meat.", "Of everything."],
            "action": ["Write to them.", HOSTILE, None, None],
            "owner": ["CRM team", HOSTILE, None, None],
        }
    )


def churn(horizon: int) -> pl.DataFrame:
    n = pl.int_range(len(CUSTOMERS))
    known = n % 8 != 7
    return pl.DataFrame({"customer_id": CUSTOMERS}).select(
        as_of=pl.lit(LAST),
        customer_id="customer_id",
        horizon_days=pl.lit(horizon, pl.Int64),
        probability=pl.when(known).then(n / 45),
        reason=pl.when(~known).then(pl.lit("fewer than 3 days with a purchase")),
    )


def clv(horizon: int) -> pl.DataFrame:
    n = pl.int_range(len(CUSTOMERS))
    return pl.DataFrame({"customer_id": CUSTOMERS}).select(
        as_of=pl.lit(LAST),
        customer_id="customer_id",
        horizon_days=pl.lit(horizon, pl.Int64),
        expected_spend=pl.when(n < 37).then(horizon * 10 / (1 + n)),
    )


def calibration() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "model": ["churn"] * 3 + ["purchase"] * 2,
            "horizon_days": [28, 28, 28, 7, 7],
            "bin": [0, 1, 2, 0, 1],
            "predicted": [0.1, 0.3, 0.6, 0.2, 0.7],
            "observed": [0.12, 0.29, 0.55, 0.4, 0.9],
            "low": [0.07, 0.21, 0.41, 0.25, 0.74],
            "high": [0.2, 0.39, 0.68, 0.58, 0.97],
            "customers": [100, 100, 50, 30, 30],
        }
    )


@cache
def frames() -> dict[str, pl.DataFrame]:
    """Every table that the report reads, by its name there."""
    bought = purchases()
    orders = bought.select("customer_id", "ordered_on", merchandise_amount="amount")
    unknown = orders.head(60).with_columns(customer_id=pl.lit(None, pl.String), ordered_on=pl.lit(LAST))
    return {
        "people": pl.DataFrame({"customer_id": [*CUSTOMERS, "customer-040"], "records": [2] * 41}),
        "orders": pl.concat([orders, unknown]),
        "purchases": bought,
        "rfm": pl.concat([rfm(bought, day) for day in (FOUR_WEEKS, DAY, LAST)]),
        "clv": pl.concat([clv(28), clv(91), clv(365)]),
        "buckets": pl.concat([buckets(DAY, 3), buckets(LAST)]),
        "migration": migration(),
        "behaviour": pl.concat([segments(DAY, 2), segments(LAST)]),
        "preference": segments(LAST),
        "profiles": profiles(),
        "churn": pl.concat([churn(28), churn(56)]),
        "calibration": calibration(),
    }


def tables(given: dict[str, pl.DataFrame]) -> Tables:
    """The frames as the report takes them."""
    return Tables(**{name: frame.lazy() for name, frame in given.items()})
