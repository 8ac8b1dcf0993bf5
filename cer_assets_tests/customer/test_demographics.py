from datetime import date

import polars as pl

from cer_assets_tests.statement import rows_of

FACTS = ("age", "income", "home_ownership", "marital_status", "household_size", "household_comp", "kids")


def facts(*rows: tuple[str, int, dict[str, str]], links: dict[str, str]) -> pl.DataFrame:
    """`customer.demographics` of deliveries of (record, day, what is said)."""
    delivered = pl.DataFrame(
        [
            (*record.split(":"), *(said.get(fact) for fact in FACTS), date(2024, 1, day), f"{day}.csv", line)
            for line, (record, day, said) in enumerate(rows)
        ],
        schema=dict.fromkeys(("source", "source_id", *FACTS), pl.String)
        | {"delivered_on": pl.Date, "file": pl.String, "file_line": pl.Int64},
        orient="row",
    )
    known = pl.DataFrame(
        {"record_id": list(links), "customer_id": list(links.values())},
        schema={"record_id": pl.String, "customer_id": pl.String},
    )
    tables = {"raw.demographics": delivered, "identity.links": known}
    return rows_of("customer/demographics", tables).sort("customer_id")


def test_a_customer_has_of_each_fact_what_was_said_last_of_any_record() -> None:
    known = facts(
        ("crm:1", 1, {"age": "35-44", "kids": "1"}),
        ("web:2", 3, {"age": "45-54"}),
        ("crm:9", 1, {"age": "65+"}),
        links={"crm:1": "ann", "web:2": "ann", "crm:9": "bob"},
    )
    assert known.select("customer_id", "age", "kids").rows() == [("ann", "45-54", "1"), ("bob", "65+", None)]


def test_a_records_newest_delivery_replaces_those_before_it() -> None:
    known = facts(("crm:1", 2, {"age": "45-54"}), ("crm:1", 1, {"age": "35-44", "kids": "1"}), links={"crm:1": "ann"})
    assert known.select("age", "kids").rows() == [("45-54", None)]


def test_what_is_said_of_a_record_that_is_nobodys_is_left_out() -> None:
    assert facts(("crm:1", 1, {"age": "35-44"}), links={}).is_empty()
    assert facts(links={"crm:1": "ann"}).columns == ["customer_id", *FACTS]
