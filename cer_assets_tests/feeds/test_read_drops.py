import datetime as dt
import hashlib
import logging

import polars as pl
import pytest

from cer_assets.feeds import (
    CONTRACTS,
    FILES,
    Feed,
    Reject,
    key_columns,
    newest,
    polars_schema,
    read_drops,
)
from cer_assets.feeds import read as reading

from .conftest import ZONE, Read, declare

MEMBERS = declare("loyalty_members")
EVENTS = declare("events", partitions="daily")


def _members(*rows: str) -> str:
    return "\n".join(["source,source_id,surname,updated_at", *rows, ""])


def _events(*rows: str) -> str:
    return "\n".join(["event_id,anonymous_id,kind,occurred_at", *rows, ""])


def test_no_drops_are_an_empty_delivery():
    delivery = read_drops(MEMBERS, [], ZONE)

    assert delivery.accepted.schema == polars_schema(CONTRACTS["customer_record"])
    assert delivery.rejects.schema == polars_schema(Reject)
    assert delivery.files.schema == FILES
    assert (delivery.ignored, delivery.absent) == ((), ())


def test_each_file_is_accounted_for(read: Read):
    content = _members("loyalty,1,a,2024-01-01", "loyalty,,b,2024-01-01")
    delivery = read(MEMBERS, {"2024-01-02.csv": content, "2024-01-01.csv": _members()})

    assert delivery.files.rows(named=True)[1] == {
        "feed": "loyalty_members",
        "delivered_on": dt.date(2024, 1, 2),
        "file": "2024-01-02.csv",
        "bytes": len(content),
        "fingerprint": hashlib.sha256(content.encode()).hexdigest(),
        "delivered": 2,
        "accepted": 1,
        "rejected": 1,
        "suppressed": 0,
        "refused": None,
    }
    assert delivery.accepted.schema == polars_schema(CONTRACTS["customer_record"])
    assert delivery.rejects.schema == polars_schema(Reject)
    assert delivery.files.schema == FILES


def test_counting_does_not_follow_what_is_lost_on_the_way(read: Read, monkeypatch: pytest.MonkeyPatch):
    values = reading._read_values  # pyright: ignore[reportPrivateUsage]

    def losing(*arguments: object) -> tuple[pl.DataFrame, pl.DataFrame]:
        rows, faults = values(*arguments)  # pyright: ignore[reportArgumentType]
        return rows.head(-1), faults

    monkeypatch.setattr(reading, "_read_values", losing)
    for name, content in {
        "2024-01-02.csv": _members("crm,1,a,", "crm,2,b,"),
        "2024-01-02.ndjson": '{"source":"crm","source_id":1}\n{"source":"crm","source_id":2}',
        "2024-01-02.parquet": pl.DataFrame({"source": ["crm"] * 2, "source_id": [1, 2]}),
    }.items():
        files = read(MEMBERS, {name: content}).files
        assert files.select("delivered", "accepted", "rejected").row(0) == (2, 1, 0)


def test_of_several_faults_the_first_column_is_told(read: Read):
    content = "event_id,anonymous_id,kind,product_id,occurred_at\n1,,buy,,never\n,v,view,,never\n2,v,buy,,never\n"
    delivery = read(EVENTS, {"2024-01-02.csv": content})

    assert delivery.rejects.select("file_line", "column").rows() == [(2, "source_id"), (3, "event_id"), (4, "kind")]


def test_in_a_daily_feed_the_first_of_a_repeated_key_is_kept(read: Read):
    row = "1,v,view,2024-01-02"
    delivery = read(
        EVENTS,
        {
            "2024-01-02.a.csv": _events(row, "2,v,view,2024-01-02", row),
            "2024-01-02.b.csv": _events(row),
            "2024-01-03.csv": _events(row),
        },
    )

    assert delivery.accepted.select("event_id", "file", "file_line").rows() == [
        ("1", "2024-01-02.a.csv", 2),
        ("2", "2024-01-02.a.csv", 3),
        ("1", "2024-01-03.csv", 2),
    ]
    assert delivery.rejects.select("file", "file_line", "column", "reason").rows() == [
        (file, line, "event_id", "duplicate key: expected event_id once a delivery day; the first is kept")
        for file, line in [("2024-01-02.a.csv", 4), ("2024-01-02.b.csv", 2)]
    ]


def test_in_a_feed_of_changes_the_last_of_a_repeated_key_is_kept(read: Read):
    content = _members("crm,1,a,", "crm,2,b,", "crm,1,c,")
    delivery = read(MEMBERS, {"2024-01-02.csv": content, "2024-01-03.csv": content})

    assert delivery.accepted["file_line"].to_list() == [3, 4, 3, 4]
    assert delivery.rejects["file_line"].to_list() == [2, 2]
    assert delivery.rejects["reason"][0].endswith("the last is kept")


def test_a_row_that_is_rejected_repeats_no_key(read: Read):
    content = _events("1,v,buy,2024-01-02", "1,v,view,never", "1,v,view,2024-01-02", "1,v,buy,2024-01-02")
    delivery = read(EVENTS, {"2024-01-02.csv": content})

    assert delivery.accepted["file_line"].to_list() == [4]
    assert delivery.rejects["column"].to_list() == ["kind", "occurred_at", "kind"]


def test_a_value_that_cannot_be_read_is_rejected_even_where_none_is_required(read: Read):
    content = "product_id,price\n1,cheap\n2,\n1,2.50\n"
    delivery = read(declare("products"), {"2024-01-02.csv": content})

    assert delivery.accepted["product_id"].to_list() == ["2", "1"]
    assert delivery.rejects.select("file_line", "column").rows() == [(2, "price")]


def test_formats_of_one_feed_are_read_side_by_side(read: Read):
    files = {
        "2024-01-01.csv.gz": _members("crm,1,a,2024-01-01"),
        "2024-01-02.ndjson": '{"source":"crm","source_id":2,"surname":"b"}',
        "2024-01-03.parquet": pl.DataFrame({"source": ["crm"], "source_id": [3]}),
    }
    delivery = read(MEMBERS, files)

    assert delivery.accepted["file"].to_list() == list(files)
    assert delivery.accepted["source_id"].to_list() == ["1", "2", "3"]
    assert {"surname", "updated_at", "email"} <= set(delivery.absent)


def test_a_constant_stands_in_every_row_and_over_a_delivered_column(read: Read):
    feed = declare("erasure_requests", layout={"constants": {"source": "web"}})
    delivery = read(feed, {"2024-01-02.csv": "source,source_id,at\ncrm,1,2024-01-01\n"})

    assert delivery.accepted["source"].to_list() == ["web"]
    assert delivery.ignored == ("source",)


def test_nothing_personal_is_told_outside_the_rejected_row(read: Read, caplog: pytest.LogCaptureFixture):
    name = "Zaphod Beeblebrox"
    feed = declare("loyalty_members", layout={"columns": {"surname": "surname"}})
    content = _members(f"crm,1,{name},{name}", f',"{name},x', f"crm,1,{name},,{name}", f"crm,,{name},")
    with caplog.at_level(logging.DEBUG):
        delivery = read(feed, {"2024-01-02.csv": content})

    told = delivery.rejects.drop("content")
    assert delivery.rejects["content"].str.contains(name).all()
    assert delivery.rejects.height == 4
    assert name not in caplog.text
    assert name not in told.write_csv() + delivery.files.write_csv() + str(delivery.ignored)


def test_logs_tell_how_many_files_and_rows(read: Read, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        read(MEMBERS, {"2024-01-02.csv": _members("crm,1,a,", "crm,,a,")})

    assert caplog.messages == [
        "reading 1 files of loyalty_members",
        "loyalty_members: 1 rows accepted, 1 rejected",
    ]


def test_an_unknown_zone_is_told_before_anything_is_read():
    with pytest.raises(KeyError, match="Mars"):
        read_drops(MEMBERS, [], "Mars/Olympus")


def _state(read: Read, feed: Feed) -> list[tuple[str, str]]:
    delivery = read(
        feed,
        {
            "2024-01-01.csv": _members("crm,1,a,", "crm,2,a,"),
            "2024-01-02.csv": _members("crm,1,b,", "crm,3,b,"),
            "2024-01-02.late.csv": _members("crm,3,c,"),
        },
    )
    keys = key_columns(CONTRACTS[feed.contract])
    shuffled = delivery.accepted.sample(fraction=1, shuffle=True, seed=1)
    return newest(shuffled, keys, feed.delivers).select("source_id", "surname").rows()


def test_the_newest_change_of_each_key_is_the_current_state(read: Read):
    assert _state(read, declare("loyalty_members")) == [("1", "b"), ("2", "a"), ("3", "c")]


def test_what_the_newest_full_delivery_leaves_out_is_gone(read: Read):
    assert _state(read, declare("loyalty_members", delivers="full")) == [("1", "b"), ("3", "c")]


def test_a_record_stands_as_it_is_since_the_first_delivery_that_held_it_so(read: Read):
    feed = declare("loyalty_members", delivers="full")
    delivered = read(
        feed,
        {
            "2024-01-01.csv": _members("crm,1,a,", "crm,2,a,", "crm,3,a,"),
            "2024-01-02.csv": _members("crm,1,a,", "crm,2,b,", "crm,3,b,"),
            "2024-01-03.csv": _members("crm,1,a,", "crm,2,b,", "crm,3,a,"),
        },
    ).accepted.reverse()

    current = newest(delivered, key_columns(CONTRACTS[feed.contract]), "full")

    assert [day.day for day in current["changed_on"]] == [1, 2, 3]
