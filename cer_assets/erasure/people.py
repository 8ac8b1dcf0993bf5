"""Whom a request is about: every record of the customer that the named record belongs to, and the ids they had."""

import polars as pl

from cer_assets.erasure.suppression import CUSTOMER, RECORD, VISITOR, Keyed

VISITS = pl.Schema({"anonymous_id": pl.String, "source": pl.String, "source_id": pl.String})
"""Of events that name both a device and a record: which is which."""


def asked(requests: pl.DataFrame, keyed: Keyed) -> pl.DataFrame:
    """Requests by the hash of the record they name: `record_id`, `source`, `request`, `asked_at` (the first time).

    Args:
        requests: `source`, `source_id`, `at`.
        keyed: the key.
    """
    first = requests.group_by("source", "source_id").agg(asked_at=pl.col("at").min())
    named = first.with_columns(record_id=pl.concat_str("source", "source_id", separator=":")).sort("record_id")
    return named.with_columns(request=keyed.hashes(RECORD, named["record_id"])).select(
        "record_id", "source", "request", "asked_at"
    )


def persons(named: pl.DataFrame, links: pl.DataFrame) -> pl.DataFrame:
    """Each request with its person: `request`, `asked_at`, `person` (the request that stands for the person).

    Two requests about records of one customer are one person's; the smaller hash stands for both.

    Args:
        named: as `asked` returns it.
        links: `record_id`, `customer_id`.
    """
    known = named.join(links.select("record_id", "customer_id"), on="record_id", how="left")
    alone = pl.coalesce("customer_id", "record_id")
    return known.with_columns(person=pl.col("request").min().over(alone)).sort("request")


def listed(
    named: pl.DataFrame, links: pl.DataFrame, former: pl.DataFrame, visits: pl.DataFrame, keyed: Keyed
) -> pl.DataFrame:
    """The rows of the suppression list for some requests: records, customer ids, and visitor ids nobody else used.

    An id that the person had before counts where it leads to them alone; one that was shared with somebody else is
    somebody else's as well.

    Args:
        named: as `asked` returns it.
        links: `record_id`, `customer_id`.
        former: `old_id`, `customer_id`: where each former customer id leads to now.
        visits: `anonymous_id`, `source`, `source_id` of events that name both.
        keyed: the key.
    """
    people = persons(named, links)
    customers = people.drop_nulls("customer_id").select("customer_id", "person").unique()
    linked = links.join(customers, on="customer_id").select("record_id", "person")
    records = pl.concat([people.select("record_id", "person"), linked]).unique("record_id")
    system = records["record_id"].str.extract(r"^([^:]*):")
    led = former.join(customers, on="customer_id", how="left")
    alone = led.filter(pl.col("person").is_not_null().all().over("old_id")).select(
        "person", customer_id=pl.col("old_id")
    )
    ids = pl.concat([customers.select("person", "customer_id"), alone])
    return pl.concat(
        [
            keyed.listed(RECORD, records["person"], records["record_id"], system),
            keyed.listed(CUSTOMER, ids["person"], ids["customer_id"]),
            _visitors(visits, records, keyed),
        ]
    )


def _visitors(visits: pl.DataFrame, records: pl.DataFrame, keyed: Keyed) -> pl.DataFrame:
    used = visits.with_columns(record_id=pl.concat_str("source", "source_id", separator=":"))
    used = used.join(records, on="record_id", how="left").drop_nulls("anonymous_id")
    own = used.filter((pl.col("person").is_not_null() & (pl.col("person").n_unique() == 1)).all().over("anonymous_id"))
    return keyed.listed(VISITOR, own["person"], own["anonymous_id"])
