"""A small shop whose customers fall into groups that the tests know of."""

from datetime import date, datetime, time, timedelta

import numpy as np
import polars as pl

START = date(2024, 1, 1)
AS_OF = date(2024, 6, 30)

CATALOGUE = pl.DataFrame(
    {
        "product_id": ["ale", "beef", "cake", "dye", "egg"],
        "department": ["drinks", "fresh", "bakery", "home", None],
        "category": ["BEER", "MEAT", "SWEETS", None, None],
    }
)

LINES = {
    "customer_id": pl.String,
    "basket_id": pl.String,
    "product_id": pl.String,
    "amount": pl.Decimal(18, 2),
    "discount": pl.Decimal(18, 2),
    "ordered_at": pl.Datetime("us"),
    "ordered_on": pl.Date,
    "merchandise": pl.Boolean,
}


def lines(*rows: tuple[str | None, str, str, str, int, int]) -> pl.DataFrame:
    """Basket lines of (customer, basket, product, amount, day, hour), at full price."""
    return pl.DataFrame(
        [
            (customer, basket, product, amount, "0.00", *_at(day, hour), True)
            for customer, basket, product, amount, day, hour in rows
        ],
        schema=LINES | {"amount": pl.String, "discount": pl.String},
        orient="row",
    ).cast({"amount": pl.Decimal(18, 2), "discount": pl.Decimal(18, 2)})


def _at(day: int, hour: int) -> tuple[datetime, date]:
    on = START + timedelta(days=day)
    return datetime.combine(on, time(hour)), on


def rfm(order_lines: pl.DataFrame, as_of: date = AS_OF) -> pl.DataFrame:
    """`value.rfm` without scores, of lines each of which is a purchase."""
    first, last = pl.col("ordered_on").min(), pl.col("ordered_on").max()
    return (
        order_lines.filter(pl.col("ordered_on") <= as_of)
        .drop_nulls("customer_id")
        .group_by("customer_id")
        .agg(
            pl.lit(as_of).alias("as_of"),
            (pl.lit(as_of) - last).dt.total_days().alias("recency_days"),
            pl.col("basket_id").n_unique().cast(pl.Int64).alias("frequency"),
            pl.col("amount").sum().alias("monetary"),
            (pl.lit(as_of) - first).dt.total_days().alias("tenure_days"),
        )
        .sort("customer_id")
    )


def town(customers: int = 300, seed: int = 0) -> pl.DataFrame:
    """Lines of three kinds of customers, told by their id: `r` regulars who like meat, `s` Saturday
    shoppers with big baskets of sweets, `l` who left long ago and drank beer."""
    generator = np.random.default_rng(seed)
    kinds = {"r": (40, 1, 0, 178, 10, "beef"), "s": (12, 6, 0, 178, 14, "cake"), "l": (4, 1, 0, 60, 20, "ale")}
    made: list[pl.DataFrame] = []
    for kind, (baskets, size, first, last, hour, liked) in kinds.items():
        number = customers // 3
        who = np.repeat(np.arange(number), generator.poisson(baskets, number) + 2)
        day = generator.integers(first, last, len(who))
        if kind == "s":
            day = np.minimum(day // 7 * 7 + 5, 178)
        basket = np.repeat(np.arange(len(who)), size)
        products = np.where(
            generator.random(len(basket)) < 0.8,
            liked,
            generator.choice(CATALOGUE["product_id"].to_numpy(), len(basket)),
        )
        at = pl.Series(np.clip(hour + generator.integers(-1, 2, len(who)), 0, 23)[basket])
        made.append(
            pl.DataFrame({"who": who[basket], "basket": basket, "product_id": products, "day": day[basket], "hour": at})
            .with_columns(
                pl.format("{}{}", pl.lit(kind), pl.col("who")).alias("customer_id"),
                pl.format("{}-{}", pl.lit(kind), pl.col("basket")).alias("basket_id"),
                pl.Series("amount", generator.gamma(4.0, 2.0, len(basket)).round(2) + 0.01).cast(pl.Decimal(18, 2)),
                (pl.lit(START) + pl.duration(days="day")).cast(pl.Date).alias("ordered_on"),
                pl.lit("0.00").cast(pl.Decimal(18, 2)).alias("discount"),
                pl.lit(True).alias("merchandise"),
            )
            .with_columns(
                (pl.col("ordered_on").cast(pl.Datetime("us")) + pl.duration(hours="hour")).alias("ordered_at")
            )
            .select(list(LINES))
        )
    return pl.concat(made)
