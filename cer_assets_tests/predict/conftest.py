"""A year of made-up purchase days: each customer has a rhythm, and some stop."""

import datetime as dt
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from cer_assets.predict.purchases import DAYS

FIRST = dt.date(2023, 1, 1)
AS_OF = dt.date(2024, 1, 1)


def purchases(days: dict[str, list[dt.date]]) -> pl.DataFrame:
    """Rows of `predict.purchase_days`: a basket of two products for ten on each day, of twelve and a half."""
    rows = [(customer, day, 1, Decimal(10), Decimal("2.5"), 2, 1) for customer, own in days.items() for day in own]
    return pl.DataFrame(rows, schema=DAYS, orient="row")


def days_before(cut: dt.date, *ages: int) -> list[dt.date]:
    """The days that lie so many days before a cut."""
    return [cut - dt.timedelta(days=age) for age in ages]


@pytest.fixture(scope="session")
def year() -> pl.DataFrame:
    """300 customers with gaps of 2 to 40 days on average, a third of whom stop on some day."""
    rng = np.random.default_rng(11)
    days: dict[str, list[dt.date]] = {}
    for customer in range(300):
        gap = rng.uniform(2, 40)
        end = rng.uniform(60, 365) if customer % 3 == 0 else 365
        at = np.cumsum(rng.exponential(gap, 250) + 1)
        days[f"c{customer:03}"] = [FIRST + dt.timedelta(days=int(day)) for day in at[at < end]]
    return purchases(days)
