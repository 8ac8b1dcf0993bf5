from datetime import date, datetime

import polars as pl

from cer_assets_tests.statement import rows_of

AT = datetime(2024, 1, 5, 23, 30)


def events(*rows: tuple[str, int, str | None, str], links: dict[str, str]) -> pl.DataFrame:
    """`customer.events` of deliveries of (event, day delivered, source_id or none, kind)."""
    delivered = pl.DataFrame(
        [
            (
                event,
                None if who is None else "web",
                who,
                f"device of {event}",
                kind,
                "p1",
                AT,
                date(2024, 1, day),
                "f",
                n,
            )
            for n, (event, day, who, kind) in enumerate(rows)
        ],
        schema=dict.fromkeys(("event_id", "source", "source_id", "anonymous_id", "kind", "product_id"), pl.String)
        | {"occurred_at": pl.Datetime("us"), "delivered_on": pl.Date, "file": pl.String, "file_line": pl.Int64},
        orient="row",
    )
    known = pl.DataFrame({"record_id": list(links), "customer_id": list(links.values())})
    return rows_of("customer/events", {"raw.events": delivered, "identity.links": known}).sort("event_id")


def test_an_event_is_that_of_the_person_the_record_belongs_to_and_a_visitors_is_nobodys() -> None:
    seen = events(("e1", 5, "2", "view"), ("e2", 5, None, "cart"), ("e3", 5, "9", "view"), links={"web:2": "ann"})
    assert seen["customer_id"].to_list() == ["ann", None, None]
    assert seen["occurred_on"].unique().to_list() == [date(2024, 1, 5)]


def test_an_event_delivered_twice_is_the_one_delivered_last() -> None:
    seen = events(("e1", 6, "2", "cart"), ("e1", 5, "2", "view"), links={"web:2": "ann"})
    assert seen.select("event_id", "kind").rows() == [("e1", "cart")]
