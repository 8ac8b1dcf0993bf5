"""A small shop whose customers fall into groups that the tests know of."""

from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import polars as pl

START = date(2024, 1, 1)
AS_OF = date(2024, 6, 30)

SQL = Path(__file__).parents[2] / "sql"

PRODUCT = dict.fromkeys(("product_id", "title", "department", "category", "type", "brand"), pl.String) | {
    "price": pl.Decimal(18, 2)
}


def catalogue(**columns: list[str | None]) -> pl.DataFrame:
    """`customer.products`; a column that is not named is null."""
    given = pl.DataFrame(columns).cast({column: PRODUCT[column] for column in columns})
    return given.select(
        pl.col(name) if name in columns else pl.lit(None, dtype).alias(name) for name, dtype in PRODUCT.items()
    )


CATALOGUE = catalogue(
    product_id=["ale", "beef", "cake", "dye", "egg"],
    department=["drinks", "fresh", "bakery", "home", None],
    category=["BEER", "MEAT", "SWEETS", None, None],
)

LINES = {
    "customer_id": pl.String,
    "basket_id": pl.String,
    "product_id": pl.String,
    "quantity": pl.Decimal(18, 3),
    "amount": pl.Decimal(18, 2),
    "discount": pl.Decimal(18, 2),
    "store_id": pl.String,
    "ordered_at": pl.Datetime("us"),
    "ordered_on": pl.Date,
    "merchandise": pl.Boolean,
}


def lines(*rows: tuple[str | None, str, str, str, int, int]) -> pl.DataFrame:
    """Basket lines of (customer, basket, product, amount, day, hour), at full price."""
    return pl.DataFrame(
        [
            (customer, basket, product, "1", amount, "0.00", None, *_at(day, hour), True)
            for customer, basket, product, amount, day, hour in rows
        ],
        schema=LINES | dict.fromkeys(("quantity", "amount", "discount"), pl.String),
        orient="row",
    ).cast({column: LINES[column] for column in ("quantity", "amount", "discount")})


def _at(day: int, hour: int) -> tuple[datetime, date]:
    on = START + timedelta(days=day)
    return datetime.combine(on, time(hour)), on


def rfm(order_lines: pl.DataFrame, as_of: date = AS_OF) -> pl.DataFrame:
    """`value.rfm` without scores, of lines each of which is a purchase."""
    first, last = pl.col("ordered_on").min(), pl.col("ordered_on").max()
    return (
        order_lines.filter(pl.col("merchandise") & (pl.col("ordered_on") <= as_of))
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


class Counts(NamedTuple):
    """The tables of `sql/segment/`."""

    assortment: pl.DataFrame
    habits: pl.DataFrame
    tastes: pl.DataFrame


def counts(order_lines: pl.DataFrame, *days: date, products: pl.DataFrame = CATALOGUE) -> Counts:
    """What `sql/segment/` makes of some lines for the days, by default the last."""
    days = days or (AS_OF,)
    with duckdb.connect(config={"threads": 1}) as con:
        for schema in ("customer", "value", "segment", "run"):
            con.execute(f"create schema {schema}")
        relations = {
            "customer.order_lines": order_lines.with_columns(
                pl.lit(None, pl.String).alias(name) for name in ("source", "source_id")
            ),
            "customer.products": products,
            "value.rfm": pl.concat([rfm(order_lines, day) for day in days]),
            "run.days": pl.DataFrame({"day": days}, schema={"day": pl.Date}),
        }
        for name, relation in relations.items():
            con.register("relation", relation)
            con.execute(f"create table {name} as from relation")
        made = ("customer.orders", "segment.assortment", "segment.habits", "segment.tastes")
        for name in made:
            con.execute(f"create table {name} as {(SQL / name.replace('.', '/')).with_suffix('.sql').read_text()}")
        return Counts(*(con.sql(f"from {name} order by all").pl() for name in made[1:]))


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
                pl.lit("1").cast(pl.Decimal(18, 3)).alias("quantity"),
                pl.lit(None, pl.String).alias("store_id"),
                pl.lit(True).alias("merchandise"),
            )
            .with_columns(
                (pl.col("ordered_on").cast(pl.Datetime("us")) + pl.duration(hours="hour")).alias("ordered_at")
            )
            .select(list(LINES))
        )
    return pl.concat(made)
