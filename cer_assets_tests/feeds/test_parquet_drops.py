import base64
import datetime as dt
import json
from decimal import Decimal

import polars as pl
import pytest

from .conftest import Read, declare

BASKETS = declare("transactions", layout={"timezone": "UTC"}, partitions="daily")
DAY = "2024-01-02.parquet"


def _lines(**columns: object) -> pl.DataFrame:
    rows = {
        "basket_id": [1, 2],
        "line": [1, 1],
        "product_id": ["a", "b"],
        "quantity": [1.0, 2.0],
        "amount": [2.999999, -1.0],
        "ordered_at": [dt.datetime(2024, 1, 2, 12)] * 2,
    }
    return pl.DataFrame(rows | columns)


def test_rows_read_with_their_number(read: Read):
    delivery = read(BASKETS, {DAY: _lines(), "2024-01-03.parquet": _lines(ordered_at=[dt.datetime(2024, 1, 3)] * 2)})

    assert delivery.accepted.select("basket_id", "amount", "ordered_at", "file", "file_line").rows()[:2] == [
        ("1", Decimal("3.00"), dt.datetime(2024, 1, 2, 7), DAY, 1),
        ("2", Decimal("-1.00"), dt.datetime(2024, 1, 2, 7), DAY, 2),
    ]
    assert delivery.files["accepted"].to_list() == [2, 2]


def test_a_type_may_change_from_day_to_day(read: Read):
    later = _lines(basket_id=["3", "4"], amount=["2.50", "2.505"], quantity=[1, 2], line=[1.0, 2.0])
    delivery = read(BASKETS, {DAY: _lines(), "2024-01-03.parquet": later.with_columns(extra=pl.lit(1))})

    assert delivery.accepted["basket_id"].to_list() == ["1", "2", "3"]
    assert delivery.rejects.select("file", "file_line", "column").rows() == [("2024-01-03.parquet", 2, "amount")]
    assert delivery.ignored == ("extra",)


def test_a_rejected_row_is_kept_as_it_was_delivered(read: Read):
    extra = {"bytes": [b"a", b"\xff"], "nested": [[b"a"], [b"\xff"]], "list": [[1], [2]], "none": [None, None]}
    delivery = read(BASKETS, {DAY: _lines(amount=[Decimal("1.50"), None], **extra)})

    content = json.loads(delivery.rejects["content"].item())
    assert content == {
        "basket_id": 2,
        "line": 1,
        "product_id": "b",
        "quantity": 2.0,
        "amount": None,
        "ordered_at": "2024-01-02 12:00:00",
        "bytes": base64.b64encode(b"\xff").decode(),
        "list": [2],
        "none": None,
    }
    assert delivery.rejects.select("file_line", "column", "reason").row(0) == (
        2,
        "amount",
        "expected a value, found none",
    )


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "it cannot be read"),
        (b"PAR1PAR1", "it cannot be read"),
        (_lines().drop("amount"), "required columns are missing: amount"),
        (_lines(amount=[[1], [2]]), "the column amount is of type List; expected a type that can be read as Decimal"),
        (_lines(ordered_at=[1, 2]), "the column ordered_at is of type Int64"),
    ],
)
def test_a_file_that_can_never_be_read_is_refused(read: Read, content: bytes | pl.DataFrame, fault: str):
    (told,) = read(BASKETS, {DAY: content}).refused

    assert told.startswith(f"transactions/{DAY}: {fault}")


def test_a_file_whose_types_do_not_fit_takes_no_other_with_it(read: Read):
    delivery = read(BASKETS, {DAY: _lines(), "2024-01-03.parquet": _lines(amount=[[1], [2]])})

    assert delivery.files.select("file", "delivered", "accepted").rows() == [(DAY, 2, 2), ("2024-01-03.parquet", 0, 0)]


def test_a_file_without_rows_is_a_delivery_of_none(read: Read):
    assert read(BASKETS, {DAY: _lines().clear()}).files["delivered"].to_list() == [0]
