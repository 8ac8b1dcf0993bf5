import datetime as dt
from decimal import Decimal

import dataframely as dy
import polars as pl
import pytest

from cer_assets.feeds import (
    CONTRACTS,
    Reject,
    column_descriptions,
    key_columns,
    personal_columns,
    polars_schema,
    required_columns,
)


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_column_of_every_contract_is_described(name: str):
    descriptions = column_descriptions(CONTRACTS[name])

    assert list(descriptions) == polars_schema(CONTRACTS[name]).names()
    assert all(descriptions.values())


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_table_ends_with_where_its_rows_came_from(name: str):
    assert polars_schema(CONTRACTS[name]).names()[-3:] == ["delivered_on", "file", "file_line"]


def test_keys_are_unique_within_a_delivery_day():
    assert key_columns(CONTRACTS["transactions"]) == ["basket_id", "line"]
    assert "delivered_on" in CONTRACTS["transactions"].primary_key()


def test_names_and_addresses_are_personal_and_so_is_what_was_rejected():
    assert set(personal_columns(CONTRACTS["customer_record"])) == {
        *("full_name", "given_name", "surname", "birth_date", "email", "phone"),
        *("street", "city", "region", "postcode", "country"),
    }
    assert personal_columns(Reject) == ["content"]
    assert personal_columns(CONTRACTS["transactions"]) == []


def test_only_keys_amounts_and_their_moment_are_required_of_a_basket_line():
    assert required_columns(CONTRACTS["transactions"]) == [
        *("basket_id", "line", "product_id", "quantity", "amount", "ordered_at")
    ]


def _rejected_for(contract: type[dy.Schema], **values: object) -> set[str]:
    lineage = {"delivered_on": dt.date(2024, 1, 2), "file": "2024-01-02.csv", "file_line": 2}
    row = dict.fromkeys(polars_schema(contract)) | lineage | values
    frame = pl.DataFrame([row], schema=polars_schema(contract))
    return set(contract.filter(frame).failure.counts())


_LINE = {
    "basket_id": "1",
    "line": 1,
    "product_id": "2",
    "quantity": Decimal("1.000"),
    "amount": Decimal("2.50"),
    "ordered_at": dt.datetime(2024, 1, 2, 9),
}
_FUTURE = "ordered_at|check__in the future: expected no later than the end of the day after the delivery"


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ({"ordered_at": dt.datetime(2024, 1, 3, 23, 59, 59)}, None),
        ({"ordered_at": dt.datetime(2024, 1, 4)}, _FUTURE),
        ({"ordered_at": dt.datetime(1989, 12, 31)}, "ordered_at|min"),
        ({"quantity": Decimal("-1.000"), "amount": Decimal("-2.50")}, None),
        ({"amount": None}, "amount|nullability"),
        ({"discount": Decimal("-0.01")}, "discount|min"),
        ({"source_id": "9"}, "source|check__expected a value, because source_id is given"),
        ({"source": "crm", "source_id": "9"}, None),
    ],
)
def test_a_basket_line_keeps_its_contract(value: dict[str, object], rule: str | None):
    assert _rejected_for(CONTRACTS["transactions"], **(_LINE | value)) == ({rule} if rule else set())


def test_an_event_belongs_to_a_record_or_a_visitor():
    event = {"event_id": "1", "kind": "view", "occurred_at": dt.datetime(2024, 1, 2)}

    assert not _rejected_for(CONTRACTS["events"], **event, anonymous_id="v")
    assert not _rejected_for(CONTRACTS["events"], **event, source="web", source_id="1")
    assert _rejected_for(CONTRACTS["events"], **event)
    assert _rejected_for(CONTRACTS["events"], **event | {"kind": "purchase"}, anonymous_id="v")


def test_two_records_of_a_question_differ():
    answer = {"answer": "match", "by": "a", "at": dt.datetime(2024, 1, 1)}

    assert not _rejected_for(CONTRACTS["pair_labels"], **answer, record_a="crm:1", record_b="web:1")
    assert _rejected_for(CONTRACTS["pair_labels"], **answer, record_a="crm:1", record_b="crm:1")


def test_an_answer_is_told_apart_by_who_gave_it():
    contract = CONTRACTS["pair_labels"]
    answer = {"answer": "match", "at": dt.datetime(2024, 1, 1), "record_a": "crm:1", "record_b": "web:1"}

    assert key_columns(contract) == ["record_a", "record_b", "by", "at"]
    assert personal_columns(contract) == ["by"]
    assert _rejected_for(contract, **answer) == {"by|nullability"}


def test_two_who_answer_at_the_same_second_are_both_accepted():
    contract = CONTRACTS["pair_labels"]
    lineage = {"delivered_on": dt.date(2024, 1, 2), "file": "2024-01-02.csv", "file_line": 2}
    event = {"record_a": "crm:1", "record_b": "web:1", "answer": "match", "at": dt.datetime(2024, 1, 1)}
    rows = [dict.fromkeys(polars_schema(contract)) | lineage | event | {"by": by} for by in ("ann", "bob")]

    assert not contract.filter(pl.DataFrame(rows, schema=polars_schema(contract))).failure.counts()
