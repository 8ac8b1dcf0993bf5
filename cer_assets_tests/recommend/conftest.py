"""A small shop with two tastes: even customers buy the first half of the products, odd ones the second."""

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from cer_assets.recommend import AlsSettings

START = dt.date(2024, 1, 1)
CUT = dt.date(2024, 4, 1)
CUSTOMERS, PRODUCTS = 40, 30
SMALL = AlsSettings(factors=8, regularization=0.25, iterations=5, threads=1)


def order_lines(bought: Iterable[tuple[str | None, str, dt.date]]) -> pl.DataFrame:
    """One basket of one unit for each (customer, product, day)."""
    rows = [
        {
            "basket_id": f"b{number:05}",
            "customer_id": customer,
            "source": "crm",
            "source_id": customer,
            "product_id": product,
            "quantity": Decimal(1),
            "amount": Decimal("2.50"),
            "ordered_at": dt.datetime.combine(day, dt.time(12)),
            "ordered_on": day,
            "merchandise": True,
        }
        for number, (customer, product, day) in enumerate(bought)
    ]
    schema = {
        "basket_id": pl.String,
        "customer_id": pl.String,
        "source": pl.String,
        "source_id": pl.String,
        "product_id": pl.String,
        "quantity": pl.Decimal(18, 3),
        "amount": pl.Decimal(18, 2),
        "ordered_at": pl.Datetime("us"),
        "ordered_on": pl.Date,
        "merchandise": pl.Boolean,
    }
    return pl.DataFrame(rows, schema=schema)


def catalogue(**changed: object) -> pl.DataFrame:
    """All products with a title; `p03=False` makes p03 unavailable."""
    ids = [f"p{number:02}" for number in range(PRODUCTS)]
    return pl.DataFrame(
        {
            "product_id": ids,
            "title": [f"Product {number}" for number in range(PRODUCTS)],
            "available": [changed.get(name, True) for name in ids],
            "merchandise": [True] * PRODUCTS,
        },
        schema_overrides={"available": pl.Boolean},
    )


@pytest.fixture(scope="session")
def shop() -> pl.DataFrame:
    """The small shop."""
    return small_shop()


def small_shop() -> pl.DataFrame:
    """Four months of purchases, three distinct products of the own half at each visit."""
    rng = np.random.default_rng(7)
    half = PRODUCTS // 2
    bought: list[tuple[str | None, str, dt.date]] = []
    for customer in range(CUSTOMERS):
        liked = rng.permutation(half)[:8] + half * (customer % 2)
        for day in np.sort(rng.choice(120, size=12, replace=False)):
            for product in rng.choice(liked, size=3, replace=False, p=np.arange(8, 0, -1) / 36):
                bought.append((f"c{customer:02}", f"p{product:02}", START + dt.timedelta(days=int(day))))
    return order_lines(bought)


@pytest.fixture(scope="session")
def buckets() -> pl.DataFrame:
    """The first half of the customers is high, the second low."""
    return pl.DataFrame(
        {
            "customer_id": [f"c{number:02}" for number in range(CUSTOMERS)],
            "bucket": ["high" if number < CUSTOMERS // 2 else "low" for number in range(CUSTOMERS)],
        }
    )
