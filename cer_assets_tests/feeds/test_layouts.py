"""Every feed that the project declares reads a file as its source writes it."""

import datetime as dt
import io
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from cer_assets.feeds import Feed

from .conftest import Read

DAY = "2017-06-15"


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


_BASKET_LINE = pl.DataFrame(
    {
        "basket_id": ["31198570044"],
        "line": [1],
        "source": ["loyalty"],
        "source_id": ["4711"],
        "product_id": ["1095275"],
        "quantity": [Decimal("1.000")],
        "amount": [Decimal("0.50")],
        "discount": [Decimal("0.00")],
        "store_id": ["330"],
        "ordered_at": [dt.datetime(2017, 6, 16, 2, 30)],
    },
    schema_overrides={"quantity": pl.Decimal(18, 3), "amount": pl.Decimal(18, 2), "discount": pl.Decimal(18, 2)},
)

_FILES: dict[str, tuple[str, str | bytes, dict[str, Any]]] = {
    "crm_customers": (
        "csv",
        (
            "CUSTNO;LASTNAME;FIRSTNAME;DOB;EMAIL;PHONE;STREET;CITY;STATE;ZIP;CHANGED\r\n"
            'C1;Müller;Zoë;03/04/1971;z@example.com;(513) 555-0100;"12 Elm St; Apt 3";Cincinnati;OH;45202;'
            "14.06.2017 23:05\r\n"
        ).encode("cp1252"),
        {
            "source": "crm",
            "source_id": "C1",
            "surname": "Müller",
            "given_name": "Zoë",
            "birth_date": "03/04/1971",
            "street": "12 Elm St; Apt 3",
            "region": "OH",
            "postcode": "45202",
            "updated_at": dt.datetime(2017, 6, 14, 23, 5),
        },
    ),
    "web_accounts": (
        "ndjson",
        (
            '{"user_id":17,"name":"Zoë Müller","dob":"1971-03-04","mail":"z@example.com","mobile":null,'
            '"street":"12 Elm St","city":"Cincinnati","state":"OH","zip":"45202","updated_at":"2017-06-15T03:05:00Z"}\n'
        ),
        {
            "source": "web",
            "source_id": "17",
            "full_name": "Zoë Müller",
            "birth_date": "1971-03-04",
            "email": "z@example.com",
            "phone": None,
            "postcode": "45202",
            "updated_at": dt.datetime(2017, 6, 14, 23, 5),
        },
    ),
    "loyalty_members": (
        "csv.gz",
        (
            "card_number,first,last,birthday,phone,email,addr1,town,state,postal_code,modified_at\n"
            "6011,Zoë,Müller,1971-03-04,513-555-0100,,12 Elm St,Cincinnati,OH,45202,2017-06-14T23:05:00\n"
        ),
        {
            "source": "loyalty",
            "source_id": "6011",
            "given_name": "Zoë",
            "email": None,
            "street": "12 Elm St",
            "city": "Cincinnati",
            "updated_at": dt.datetime(2017, 6, 14, 23, 5),
        },
    ),
    "transactions": (
        "parquet",
        _parquet(_BASKET_LINE),
        _BASKET_LINE.row(0, named=True) | {"ordered_at": dt.datetime(2017, 6, 15, 22, 30)},
    ),
    "events": (
        "ndjson",
        (
            '{"id":"e1","type":"view","sys":null,"user":null,"visitor":"v9","sku":"1095275",'
            '"ts":"2017-06-16T02:30:00Z"}\n'
        ),
        {
            "event_id": "e1",
            "kind": "view",
            "source": None,
            "anonymous_id": "v9",
            "product_id": "1095275",
            "occurred_at": dt.datetime(2017, 6, 15, 22, 30),
        },
    ),
    "products": (
        "csv",
        (
            "product_id,title,department,category,type,brand,size,price,available,merchandise\n"
            '1,"Pizza, 12""",GROCERY,FROZEN,PIZZA,PRIVATE,12 OZ,4.99,true,\n'
        ),
        {
            "product_id": "1",
            "title": 'Pizza, 12"',
            "price": Decimal("4.99"),
            "available": True,
            "merchandise": None,
        },
    ),
    "demographics": (
        "csv",
        (
            "source,source_id,age,income,home_ownership,marital_status,household_size,household_comp,kids\n"
            "loyalty,6011,35-44,50-74K,Homeowner,,2,2 Adults No Kids,0\n"
        ),
        {"source_id": "6011", "age": "35-44", "marital_status": None, "kids": "0"},
    ),
    "weather": (
        "csv",
        "day,place,temperature,rain\n2017-06-15,Cincinnati,24.5,\n",
        {"day": dt.date(2017, 6, 15), "place": "Cincinnati", "temperature": 24.5, "rain": None},
    ),
    "campaigns": (
        "csv",
        "campaign_id,name,kind,starts_on,ends_on,product_id\n18,Type A 18,Type A,2017-06-01,2017-07-02,1095275\n",
        {"campaign_id": "18", "starts_on": dt.date(2017, 6, 1), "ends_on": dt.date(2017, 7, 2)},
    ),
    "campaign_sends": (
        "csv",
        "campaign_id,source,source_id,at\n18,web,17,2017-06-15T08:00:00\n",
        {"campaign_id": "18", "at": dt.datetime(2017, 6, 15, 8)},
    ),
    "campaign_responses": (
        "csv",
        "campaign_id,source,source_id,coupon_id,at\n18,web,17,51380041013,2017-06-15T08:00:00\n",
        {"coupon_id": "51380041013", "at": dt.datetime(2017, 6, 15, 8)},
    ),
    "consents": (
        "csv",
        "source,source_id,purpose,granted,at\nweb,17,marketing,false,2017-06-15T08:00:00\n",
        {"purpose": "marketing", "granted": False},
    ),
    "erasure_requests": (
        "csv",
        "source,source_id,at\nweb,17,2017-06-15T08:00:00\n",
        {"source": "web", "source_id": "17", "at": dt.datetime(2017, 6, 15, 8)},
    ),
    "pair_labels": (
        "csv",
        "record_a,record_b,answer,by,at\ncrm:C1,web:17,match,ann,2017-06-15T08:00:00\n",
        {"record_a": "crm:C1", "record_b": "web:17", "answer": "match", "by": "ann"},
    ),
}


def test_there_is_a_file_for_every_feed(feeds: dict[str, Feed]):
    assert sorted(_FILES) == list(feeds)


@pytest.mark.parametrize("name", _FILES)
def test_a_feed_reads_what_its_source_writes(feeds: dict[str, Feed], read: Read, name: str):
    ending, content, expected = _FILES[name]
    delivery = read(feeds[name], {f"{DAY}.{ending}": content})

    assert delivery.rejects.is_empty()
    assert delivery.ignored == ()
    (row,) = delivery.accepted.rows(named=True)
    assert {column: row[column] for column in expected} == expected
    assert row["delivered_on"] == dt.date(2017, 6, 15)
