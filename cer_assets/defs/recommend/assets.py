"""ALS by value bucket, the lists that customers are shown, and the backtest that judges them."""

import datetime as dt

import dagster as dg
import polars as pl
from pydantic import Field

from cer_assets.defs.io import model, picture, python_table, read, table
from cer_assets.defs.partitions import as_days, buckets
from cer_assets.recommend import (
    Als,
    AlsByBucket,
    Blend,
    backtest,
    customers_by_bucket,
    interactions,
    rank,
    withdrawn_customers,
)
from cer_assets.recommend.charts import evaluation_chart
from cer_assets.value.past import buckets_as_of

BACKTEST_DAYS = 28


class Purchases(dg.Config):
    """Which products can be recommended."""

    min_customers: int = Field(default=10, ge=1, description="Customers who must have bought a product.")


_READS = {
    "order_lines": read("customer/order_lines"),
    "products": read("customer/products"),
    "consents": read("raw/consents"),
    "links": read("identity/links"),
}


@model(
    "recommend/als",
    ins=_READS | {"value_buckets": read("value/buckets")},
    kinds=["implicit"],
    partitions_def=buckets,
)
def als(
    context: dg.AssetExecutionContext,
    config: Purchases,
    order_lines: pl.DataFrame,
    products: pl.DataFrame,
    consents: pl.DataFrame,
    links: pl.DataFrame,
    value_buckets: pl.DataFrame,
) -> dg.Output[dict[str, Als]]:
    """What goes with what, learned from the purchases of one value bucket as of the newest day of the buckets.

    Customers who withdrew their consent to personalisation are not in it.
    """
    newest = value_buckets.filter(pl.col("as_of") == pl.col("as_of").max())
    cut = _morning_after(newest["as_of"].max())
    history = interactions(order_lines, cut, config.min_customers, withdrawn_customers(consents, links))
    members = customers_by_bucket(newest)
    wanted = [name for name in context.partition_keys if name in members]
    models: dict[str, Als] = {}
    for name in wanted:
        own = history.of(members[name])
        context.log.info(f"{name}: {len(own.customers):,} customers, {len(own.rows):,} purchases")
        models[name] = Als().fit(own, products, cut)
    sizes = pl.DataFrame({"bucket": wanted, "customers": [len(members[name]) for name in wanted]})
    return dg.Output(models, metadata={"trained on": table(sizes), "as of": str(cut)})


def _morning_after(day: object) -> dt.date:
    """What was known at the end of a day is what was bought strictly before the next."""
    if not isinstance(day, dt.date):
        raise dg.Failure("value.buckets is empty: nobody has bought anything yet", allow_retries=False)
    return day + dt.timedelta(days=1)


@python_table(
    "recommend/recommendations",
    columns={
        "as_of": "The last day of purchases that is known.",
        "customer_id": "The person; `unknown` is whom the till does not recognise.",
        "rank": "Place in the list, from 1.",
        "product_id": "What to show.",
        "score": "Comparable within one customer's list only.",
        "source": "repeat, als:<bucket> or trending.",
        "reason": "Why, naming what stands behind it.",
    },
    origins={
        "customer_id": [("identity/customers", "customer_id")],
        "product_id": [("customer/order_lines", "product_id"), ("customer/products", "available")],
        "score": [("customer/order_lines", name) for name in ("customer_id", "product_id", "ordered_on")],
        "source": [("value/buckets", "bucket")],
        "reason": [("customer/products", "title"), ("customer/order_lines", "ordered_on")],
    },
    ins=_READS
    | {
        "customers": read("identity/customers"),
        "value_buckets": read("value/buckets"),
        "als": read("recommend/als"),
    },
    daily=True,
    kinds=("implicit",),
)
def recommendations(
    context: dg.AssetExecutionContext,
    config: Purchases,
    order_lines: pl.DataFrame,
    products: pl.DataFrame,
    consents: pl.DataFrame,
    links: pl.DataFrame,
    customers: pl.DataFrame,
    value_buckets: pl.DataFrame,
    als: dict[str, dict[str, bytes]],
) -> dg.Output[pl.DataFrame]:
    """Ten products a customer: own favourites, discoveries by the bucket's ALS; for the unknown what is trending."""
    withdrawn = withdrawn_customers(consents, links)
    lists: list[pl.DataFrame] = []
    for day in as_days(context.partition_keys):
        cut = _morning_after(day)
        of_day = value_buckets.filter(pl.col("as_of") == day).select("customer_id", "bucket")
        history = interactions(order_lines, cut, config.min_customers, withdrawn, traits=of_day)
        discovery = AlsByBucket(models={bucket: Als.from_files(files) for bucket, files in als.items()})
        blend = Blend(discovery).fit(history, products, cut)
        lists.append(rank(blend, customers["customer_id"], products, day, withdrawn))
    frame = pl.concat(lists)
    sources = frame.group_by("source").agg(pl.len().alias("rows"), pl.col("customer_id").n_unique().alias("customers"))
    examples = frame.sort("source", "rank", "customer_id").group_by("source", maintain_order=True).head(3)
    return dg.Output(
        frame,
        metadata={
            "by source": table(sources.sort("source")),
            "examples": table(examples.select("source", "rank", "product_id", "reason")),
            "left out for want of consent": len(withdrawn),
        },
    )


@python_table(
    "recommend/evaluation",
    columns={
        "as_of": "First day that no model saw.",
        "model": "The recommender.",
        "bucket": "Value bucket of the customers, or all.",
        "protocol": "A: all that is bought in the window; B: the first day's basket; C: what was never bought before.",
        "metric": "ndcg@10, recall@10, map@10 or coverage@10.",
        "value": "Mean over customers.",
        "low": "Lower end of the 95 % bootstrap interval.",
        "high": "Upper end.",
    },
    origins={"value": [("customer/order_lines", name) for name in ("customer_id", "product_id", "ordered_on")]},
    ins=_READS | {"purchases": read("value/purchases")},
    daily=True,
    kinds=("implicit",),
    code=("value", "predict"),
)
def evaluation(
    context: dg.AssetExecutionContext,
    config: Purchases,
    order_lines: pl.DataFrame,
    products: pl.DataFrame,
    consents: pl.DataFrame,
    links: pl.DataFrame,
    purchases: pl.DataFrame,
) -> dg.Output[pl.DataFrame]:
    """The recommenders on 28 days that none of them saw, beside popularity and each customer's own favourites."""
    frames: list[pl.DataFrame] = []
    for day in as_days(context.partition_keys):
        cut = _morning_after(day) - dt.timedelta(days=BACKTEST_DAYS)
        known = order_lines.filter(pl.col("ordered_on") <= day)
        judged = backtest(
            known,
            buckets_as_of(purchases, cut - dt.timedelta(days=1)),
            cut,
            BACKTEST_DAYS,
            config.min_customers,
            products,
            withdrawn_customers(consents, links),
        )
        frames.append(judged.with_columns(as_of=pl.lit(day)))
    frame = pl.concat(frames)
    headline = frame.filter(pl.col("bucket") == "all", pl.col("metric").is_in(["ndcg@10", "recall@10"]))
    return dg.Output(
        frame,
        metadata={
            "backtest": table(headline.drop("as_of", "bucket"), most=60),
            "plot": picture(evaluation_chart(frame)),
        },
    )


@dg.definitions
def recommend() -> dg.Definitions:
    """The stage's assets."""
    return dg.Definitions(assets=[als, recommendations, evaluation])
