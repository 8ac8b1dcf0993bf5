import datetime as dt
from decimal import Decimal

import polars as pl

from cer_assets_tests.recommend.conftest import order_lines
from cer_assets_tests.statement import rows_of

SHOWN = dt.date(2024, 3, 1)
JUDGED = SHOWN + dt.timedelta(days=7)


def outcomes(lists: list[tuple[str, str, str]], lines: pl.DataFrame) -> pl.DataFrame:
    """`recommend.outcomes` a week after lists of (customer, product, source) were shown."""
    shown = pl.DataFrame(lists, schema=["customer_id", "product_id", "source"], orient="row")
    tables = {
        "recommend.recommendations": shown.with_columns(as_of=pl.lit(SHOWN)),
        "customer.order_lines": lines,
        "run.days": pl.DataFrame({"day": [JUDGED]}),
    }
    return rows_of("recommend/outcomes", tables).sort("source")


def test_what_was_bought_from_the_day_after_the_list_to_the_day_of_judgement_counts() -> None:
    lists = [("ann", "milk", "tifu"), ("ann", "bread", "tifu"), ("ann", "cake", "ease"), ("bob", "milk", "tifu")]
    bought = [
        ("ann", "bread", SHOWN),
        ("ann", "milk", SHOWN + dt.timedelta(days=1)),
        ("ann", "milk", JUDGED),
        ("ann", "cake", JUDGED + dt.timedelta(days=1)),
    ]
    found = outcomes(lists, order_lines(bought))
    # Bob did not come at all: his list was not put to the test.
    assert found.select("source", "customers", "shown", "bought", "bought_share").rows() == [
        ("ease", 1, 1, 0, 0.0),
        ("tifu", 1, 2, 1, 0.5),
    ]
    assert found["shown_on"].unique().to_list() == [SHOWN]


def test_what_was_brought_back_was_not_bought() -> None:
    bought = order_lines([("ann", "milk", JUDGED), ("ann", "bread", JUDGED)])
    back = bought.with_columns(quantity=pl.when(product_id="milk").then(-Decimal(1)).otherwise("quantity"))
    found = outcomes([("ann", "milk", "tifu")], back)
    assert found["bought"].to_list() == [0]
