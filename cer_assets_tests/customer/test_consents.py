import datetime as dt

import polars as pl

from cer_assets_tests.statement import rows_of

Said = tuple[str, str, bool, int]


def consents(*said: Said, links: dict[str, str]) -> list[tuple[str, str, bool]]:
    """`customer.consents` of statements (record, purpose, granted, day): customer, purpose, granted."""
    delivered = pl.DataFrame(
        [
            (*record.split(":"), purpose, granted, dt.datetime(2024, 1, day), dt.date(2024, 1, day), "a.csv", line)
            for line, (record, purpose, granted, day) in enumerate(said)
        ],
        schema={"source": pl.String, "source_id": pl.String, "purpose": pl.String, "granted": pl.Boolean}
        | {"at": pl.Datetime("us"), "delivered_on": pl.Date, "file": pl.String, "file_line": pl.Int64},
        orient="row",
    )
    known = pl.DataFrame({"record_id": list(links), "customer_id": list(links.values())})
    found = rows_of("customer/consents", {"raw.consents": delivered, "identity.links": known})
    return found.select("customer_id", "purpose", "granted").sort("customer_id", "purpose").rows()


def test_the_newest_statement_under_any_record_counts_and_a_withdrawal_wins_a_tie() -> None:
    links = {"crm:1": "ann", "web:2": "ann", "crm:3": "bob", "crm:4": "cid"}
    found = consents(
        ("crm:1", "email", True, 1),
        ("web:2", "email", False, 2),
        ("crm:3", "email", False, 1),
        ("crm:3", "email", True, 2),
        ("crm:4", "email", False, 2),
        ("crm:4", "email", True, 2),
        ("crm:9", "email", False, 2),
        links=links,
    )
    assert found == [("ann", "email", False), ("bob", "email", True), ("cid", "email", False)]


def test_a_purpose_is_a_statement_of_its_own() -> None:
    found = consents(("crm:1", "email", False, 2), ("crm:1", "personalisation", True, 1), links={"crm:1": "ann"})
    assert found == [("ann", "email", False), ("ann", "personalisation", True)]
