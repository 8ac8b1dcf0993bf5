"""A lake in a temporary folder, and a small frame of two days."""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from cer_assets.lake import Lake

DAY = dt.date(2017, 1, 1)


def day(number: int) -> dt.date:
    return DAY + dt.timedelta(days=number)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def two_days() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "as_of": [day(0), day(0), day(1)],
            "customer_id": ["a", "b", "c"],
            "monetary": [Decimal("1.20"), None, Decimal("3.00")],
            "seen_at": [dt.datetime(2017, 1, 1, 12)] * 3,
            "share": [0.5, None, 2.0],
        },
        schema_overrides={"monetary": pl.Decimal(18, 2)},
    )
