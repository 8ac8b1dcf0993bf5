"""A delivery outside its own history is told, and one within it is not."""

import datetime as dt

import dagster as dg
import numpy as np
import polars as pl
import pytest

from cer_assets.defs.resources import LEDGER, Home
from cer_assets_tests.defs.conftest import evaluate

FIRST = dt.date(2017, 1, 1)


def delivered(home: Home, feed: str, rows: list[int], without_brand: list[float]) -> None:
    """Deliveries of so many products, a share of each without a brand."""
    from cer_assets.defs.resources import feeds, raw_schema

    days = [FIRST + dt.timedelta(days=7 * n) for n in range(len(rows))]
    frames = [
        pl.DataFrame(
            {"product_id": [f"p{n}" for n in range(count)], "delivered_on": day, "file": f"{day}.csv"}
        ).with_columns(
            brand=pl.when(pl.int_range(pl.len()) >= round(share * count)).then(pl.lit("b")),
            file_line=pl.int_range(pl.len()) + 2,
        )
        for day, count, share in zip(days, rows, without_brand, strict=True)
    ]
    schema = raw_schema(feeds()[feed])
    table = pl.concat([pl.DataFrame(schema=schema), *frames], how="diagonal_relaxed")
    home.lake.publish(f"raw.{feed}", table.cast(pl.Schema(schema)), partition_by="delivered_on")
    ledger = pl.DataFrame(
        {"feed": feed, "delivered_on": days, "file": [f"{day}.csv" for day in days], "fingerprint": "f", "layout": "l"}
    ).with_columns(delivered=pl.Series(rows), accepted=pl.Series(rows), rejected=pl.lit(0))
    home.lake.publish(LEDGER, ledger, partition_by="feed")


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([100] * 9 + [110], None),
        ([100] * 9 + [20], "20 rows accepted, expected 33 to 302 after 9 deliveries before it"),
        ([100] * 9 + [400], "400 rows accepted"),
        ([100] * 5 + [5000], None),
        ([10, 1000, 30, 5000, 100, 20, 800, 50, 3000, 2], None),
    ],
)
def test_a_delivery_of_more_or_fewer_rows_than_usual_is_told(
    project: dg.Definitions, empty_home: Home, rows: list[int], told: str | None
) -> None:
    delivered(empty_home, "products", rows, [0.0] * len(rows))
    result = evaluate(project, empty_home, "raw/products", "usual_volume")
    assert result.passed == (told is None)
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert told is None or told in (result.description or "")
    assert {"day", "rows", "deliveries before"} <= set(result.metadata)


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ([0.1] * 9 + [0.12], None),
        ([0.1] * 9 + [0.4], "brand: empty in 40.0% of 2017-03-05, 10.0% before, bound"),
        ([0.9] * 9 + [0.0], "brand: empty in 0.0%"),
        ([0.1] * 5 + [1.0], None),
        ([0.1, 0.9, 0.2, 0.8, 0.5, 0.3, 0.6, 0.1, 0.9, 1.0], None),
    ],
)
def test_a_column_emptier_or_fuller_than_usual_is_told(
    project: dg.Definitions, empty_home: Home, shares: list[float], told: str | None
) -> None:
    delivered(empty_home, "products", [500] * len(shares), shares)
    result = evaluate(project, empty_home, "raw/products", "usual_gaps")
    assert result.passed == (told is None)
    assert told is None or told in (result.description or "")


def test_chance_alone_is_not_told(project: dg.Definitions, empty_home: Home) -> None:
    shares = np.random.default_rng(0).binomial(60, 0.3, 29) / 60
    delivered(empty_home, "products", [60] * 29, shares.tolist())
    assert evaluate(project, empty_home, "raw/products", "usual_gaps").passed
