from datetime import date, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest

from cer_assets.identity.standardise import COLUMNS

SQL = Path(__file__).parents[2] / "sql" / "identity" / "customers.sql"


@pytest.fixture
def customers() -> pl.DataFrame:
    text = dict.fromkeys(COLUMNS, pl.String) | {"updated_at": pl.Datetime("us"), "birth_date": pl.Date}
    records = pl.DataFrame(
        [
            {"record_id": "crm:1", "updated_at": datetime(2017, 1, 1), "surname": "abbott", "email": "old@a.com"},
            {
                "record_id": "web:1",
                "updated_at": datetime(2017, 5, 1),
                "surname": "keller",
                "birth_date": date(1980, 4, 3),
            },
            {"record_id": "web:2", "updated_at": datetime(2017, 5, 1), "surname": "kellner", "phone": "+16144392210"},
            {"record_id": "loy:1", "updated_at": None, "surname": "abbot", "city": "dayton"},
            {"record_id": "loy:2", "updated_at": datetime(2016, 1, 1), "surname": "moreno"},
        ],
        schema=text,
    )
    links = pl.DataFrame(
        {"record_id": records["record_id"], "customer_id": ["p", "p", "p", "p", "q"], "confidence": [0.9] * 5}
    )
    with duckdb.connect() as connection:
        connection.execute("create schema identity")
        for name, frame in (("records", records), ("links", links)):
            connection.register("frame", frame)
            connection.execute(f"create table identity.{name} as from frame")
        return connection.sql(SQL.read_text()).pl().sort("customer_id")


def test_each_field_is_the_newest_value_that_any_record_holds(customers: pl.DataFrame) -> None:
    person = customers.row(0, named=True)
    assert (person["customer_id"], person["records"]) == ("p", 4)
    # Two records of one moment: the smaller record id speaks.
    assert (person["surname"], person["surname_record"]) == ("keller", "web:1")
    assert (person["email"], person["email_record"]) == ("old@a.com", "crm:1")
    assert (person["phone"], person["phone_record"]) == ("+16144392210", "web:2")
    assert (person["birth_date"], person["birth_date_record"]) == (date(1980, 4, 3), "web:1")
    assert (person["city"], person["city_record"]) == ("dayton", "loy:1")
    assert (person["street"], person["street_record"]) == (None, None)


def test_every_person_is_one_row_with_a_value_and_its_record_for_each_field(customers: pl.DataFrame) -> None:
    fields = [c for c in COLUMNS if c not in ("record_id", "source", "source_id", "updated_at")]
    assert customers.columns == ["customer_id", "records", *(x for f in fields for x in (f, f"{f}_record"))]
    assert customers["customer_id"].to_list() == ["p", "q"]
