import datetime as dt
import json
from decimal import Decimal
from pathlib import Path

import pytest

from cer_assets.feeds import Delivery, list_drops, read_drops

from .conftest import ZONE, Read, declare, write

REQUESTS = declare("erasure_requests")
DAY = "2024-01-02.ndjson"


def _line(**values: object) -> str:
    return json.dumps({"source": "crm", "source_id": "1", "at": "2024-01-01"} | values) + "\n"


def _rejects(delivery: Delivery) -> list[tuple[int, str | None, str]]:
    return delivery.rejects.select("file_line", "column", "reason").rows()


def test_a_broken_line_costs_itself(read: Read):
    bad = ["no", '{"source": "crm"', "[1]", '"text"', "1", '{"source": "\\ud800"}']
    delivery = read(REQUESTS, {DAY: _line() + "\n \t\n" + "\n".join(bad) + "\r\n" + _line(source_id="2")})

    assert delivery.accepted.select("source_id", "file_line").rows() == [("1", 1), ("2", 10)]
    assert _rejects(delivery) == [(line, None, "expected one JSON object a line") for line in range(4, 10)]
    assert delivery.files.select("delivered", "accepted", "rejected").row(0) == (8, 2, 6)
    assert json.loads(delivery.rejects["content"][0]) == {"line": "no"}


def test_a_file_of_too_many_lines_is_refused_though_no_other_comes_with_it(tmp_path: Path):
    write(tmp_path / REQUESTS.feed / DAY, _line() * 2_000)

    delivery = read_drops(REQUESTS, list_drops(tmp_path, REQUESTS.feed), ZONE, most_bytes=150_000)

    assert len(delivery.refused) == 1 and "or 1,500 rows once unpacked" in delivery.refused[0]
    assert delivery.accepted.is_empty()


def test_a_list_or_an_object_is_no_value(read: Read):
    delivery = read(REQUESTS, {DAY: _line(source_id=[1]) + _line(at={"day": 1})})

    reason = "expected a single value, found a list or an object"
    assert _rejects(delivery) == [(1, "source_id", reason), (2, "at", reason)]
    assert json.loads(delivery.rejects["content"][0])["source_id"] == [1]


@pytest.mark.parametrize(
    ("value", "text"), [(12, "12"), (12.0, "12"), (1.5, "1.5"), (10**25, str(10**25)), (True, "true"), (" a ", "a")]
)
def test_an_id_may_be_a_number(read: Read, value: object, text: str):
    assert read(REQUESTS, {DAY: _line(source_id=value)}).accepted["source_id"].item() == text


@pytest.mark.parametrize("value", [None, "", "  ", float("nan")])
def test_no_value_is_no_value_however_it_is_written(read: Read, value: object):
    delivery = read(REQUESTS, {DAY: _line(source_id=value)})

    assert _rejects(delivery) == [(1, "source_id", "expected a value, found none")]


def test_floating_numbers_are_rounded_and_texts_are_not(read: Read):
    line = {"basket_id": 1, "product_id": 2, "ordered_at": "2024-01-02T09:00:00Z", "quantity": 1}
    rows = [line | {"line": n, "amount": amount} for n, amount in enumerate([2.9999999, "2.99", "2.999", 3, 1e30])]
    delivery = read(declare("transactions"), {DAY: "\n".join(map(json.dumps, rows))})

    assert delivery.accepted["amount"].to_list() == [Decimal("3.00"), Decimal("2.99"), Decimal("3.00")]
    assert delivery.rejects.select("file_line", "column").rows() == [(3, "amount"), (5, "amount")]
    assert delivery.accepted["ordered_at"][0] == dt.datetime(2024, 1, 2, 4)


def test_a_number_is_no_timestamp(read: Read):
    assert read(REQUESTS, {DAY: _line(at=1704067200.5)}).rejects["column"].to_list() == ["at"]
    assert read(REQUESTS, {DAY: _line(at=1704067200)}).rejects["column"].to_list() == ["at"]


def test_delivered_names_may_hold_any_character(read: Read):
    feed = declare("erasure_requests", layout={"columns": {"source_id": "a/b~c.d$\"'", "at": "when"}})
    line = json.dumps({"source": "crm", "a/b~c.d$\"'": "1", "when": "2024-01-01", "extra": 1})
    delivery = read(feed, {DAY: line})

    assert delivery.accepted["source_id"].to_list() == ["1"]
    assert delivery.ignored == ("extra",)


def test_one_delivered_column_may_fill_two(read: Read):
    feed = declare("products", layout={"columns": {"product_id": "sku", "title": "sku", "brand": "maker"}})

    for name, content in {DAY: '{"sku":"1"}', "2024-01-02.csv": "sku\n1\n"}.items():
        assert read(feed, {name: content}).accepted.select("product_id", "title", "brand").rows() == [("1", "1", None)]


def test_bytes_of_another_encoding_cost_their_line(read: Read):
    content = _line(source_id="ä").encode() + b'{"source":"crm","source_id":"\xe4","at":"2024-01-01"}\n'
    delivery = read(REQUESTS, {DAY: content})

    assert _rejects(delivery) == [(2, None, "expected text in the encoding utf-8")]
    assert delivery.accepted["source_id"].to_list() == ["ä"]


def test_an_empty_file_is_a_day_without_rows(read: Read):
    delivery = read(REQUESTS, {DAY: "", "2024-01-01.ndjson": _line()})

    assert delivery.files["delivered"].to_list() == [1, 0]
    assert delivery.absent == ()


def test_files_read_together_are_read_as_if_alone(read: Read, monkeypatch: pytest.MonkeyPatch):
    files = {f"2024-01-0{n}.ndjson": _line(source_id=n) * n + "broken\n" for n in range(1, 6)}
    together = read(REQUESTS, files)
    monkeypatch.setattr("cer_assets.feeds.read._BYTES_AT_ONCE", 1)
    alone = read(REQUESTS, files)

    assert together.accepted.equals(alone.accepted)
    assert together.rejects.equals(alone.rejects)
    assert together.files.equals(alone.files)
    assert together.files.select("delivered", "rejected").rows() == [(n + 1, n) for n in range(1, 6)]
