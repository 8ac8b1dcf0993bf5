"""Publishing: whole or not at all, days replaced, nothing written where nothing changed."""

import datetime as dt
import itertools
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import duckdb
import polars as pl
import pytest
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.lake import Lake, MissingTable, attach, held, stretches
from cer_assets_tests.lake.conftest import day


@pytest.fixture
def lake(either_lake: Lake) -> Lake:
    """Every law holds in a folder and on `s3://`."""
    return either_lake


def test_days_of_one_run_appear_in_one_version(lake: Lake, two_days: pl.DataFrame) -> None:
    done = lake.publish("value.rfm", two_days, partition_by="as_of", keys=[day(0), day(1)])
    assert (done.version, done.rows, done.changed) == (0, 3, True)


def test_publishing_the_same_rows_again_makes_no_version(lake: Lake, two_days: pl.DataFrame) -> None:
    lake.publish("value.rfm", two_days, partition_by="as_of", keys=[day(0), day(1)])
    again = lake.publish("value.rfm", two_days.reverse(), partition_by="as_of", keys=[day(0), day(1)])
    assert (again.version, again.changed) == (0, False)


def test_a_day_is_replaced_and_the_others_stay(lake: Lake, two_days: pl.DataFrame) -> None:
    lake.publish("value.rfm", two_days, partition_by="as_of", keys=[day(0), day(1)])
    new = two_days.tail(1).with_columns(customer_id=pl.lit("z"))
    lake.publish("value.rfm", new, partition_by="as_of", keys=[day(1)])
    assert sorted(lake.scan("value.rfm").collect()["customer_id"]) == ["a", "b", "z"]


def test_a_day_replaced_by_no_rows_is_empty(lake: Lake, two_days: pl.DataFrame) -> None:
    lake.publish("value.rfm", two_days, partition_by="as_of", keys=[day(0), day(1)])
    lake.publish("value.rfm", two_days.clear(), partition_by="as_of", keys=[day(0)])
    assert lake.scan("value.rfm").collect()["customer_id"].to_list() == ["c"]


def test_rows_of_other_days_are_refused_and_nothing_is_written(lake: Lake, two_days: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="outside the partitions"):
        lake.publish("value.rfm", two_days, partition_by="as_of", keys=[day(0)])
    assert not lake.exists("value.rfm")


def test_a_partition_may_be_a_name_with_a_quote_in_it(lake: Lake) -> None:
    rows = pl.DataFrame({"feed": ["o'hara", "web"], "files": [1, 2]})
    lake.publish("raw.deliveries", rows, partition_by="feed", keys=["o'hara", "web"])
    lake.publish("raw.deliveries", rows.head(1).with_columns(files=9), partition_by="feed", keys=["o'hara"])
    assert dict(lake.scan("raw.deliveries").collect().iter_rows()) == {"o'hara": 9, "web": 2}
    with duckdb.connect() as con:
        attach(con, lake, ["raw.deliveries"])
        assert dict(con.execute("select feed, files from raw.deliveries").fetchall()) == {"o'hara": 9, "web": 2}


@pytest.mark.parametrize("keys", [None, [day(0), day(1)]])
def test_a_day_whose_rows_stay_is_not_written_again(
    lake: Lake, two_days: pl.DataFrame, keys: list[dt.date] | None
) -> None:
    lake.publish("identity.records", two_days, partition_by="as_of", keys=keys)
    before = set(lake.open("identity.records").file_uris())
    changed = two_days.with_columns(customer_id=pl.col("customer_id").replace("c", "z"))
    lake.publish("identity.records", changed, partition_by="as_of", keys=keys)
    stayed = before & set(lake.open("identity.records").file_uris())
    assert [f"as_of={day(0)}" in uri for uri in stayed] == [True]
    assert sorted(lake.scan("identity.records").collect()["customer_id"]) == ["a", "b", "z"]


def test_writers_at_once_lose_and_double_nothing(lake: Lake) -> None:
    rows = pl.DataFrame({"part": ["a", "b", "c"], "x": [1, 2, 3]})
    lake.publish("a.b", rows.head(1), partition_by="part")

    def write(number: int) -> None:
        part = rows[number % 3 : number % 3 + 1]
        lake.publish("a.b", part, partition_by="part", keys=part["part"].to_list())

    with ThreadPoolExecutor(4) as several:
        list(several.map(write, range(4)))
    assert lake.scan("a.b").sort("part").collect().equals(rows)
    assert not lake.publish("a.b", rows, partition_by="part").changed


def test_a_row_of_no_day_is_refused_by_the_name_of_the_column(lake: Lake, two_days: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="2 rows have no as_of"):
        lake.publish(
            "a.b", two_days.with_columns(as_of=pl.when(pl.int_range(3) > 1).then("as_of")), partition_by="as_of"
        )


def test_a_table_can_be_laid_out_by_day_later(lake: Lake, two_days: pl.DataFrame) -> None:
    lake.publish("identity.records", two_days.drop("as_of"))
    lake.publish("identity.records", two_days, partition_by="as_of")
    assert lake.open("identity.records").metadata().partition_columns == ["as_of"]
    assert lake.scan("identity.records").collect().height == 3


def test_a_table_that_another_writer_began_goes_on_and_its_log_forgets_values(lake: Lake) -> None:
    rows = pl.DataFrame({"feed": ["a b", "o'hara"], "name": ["planted-one", "planted-two"]})
    write_deltalake(lake.uri("raw.x"), rows, partition_by=["feed"])
    more = rows.tail(1).with_columns(at=dt.datetime(2017, 1, 1))
    lake.publish("raw.x", more, partition_by="feed", keys=["o'hara"])
    newest = lake.store.read(f"raw/x/_delta_log/{lake.version('raw.x'):020}.json")
    assert b"planted" not in newest
    assert newest.count(b"numRecords") == 2
    held = lake.scan("raw.x").sort("feed").collect()
    assert held["name"].to_list() == ["planted-one", "planted-two"]
    assert held["at"].to_list() == [None, dt.datetime(2017, 1, 1)]


def test_no_value_stands_in_a_log(lake: Lake) -> None:
    for turn in range(4):
        rows = pl.DataFrame({"day": [day(0), day(1)], "email": ["planted@example.org", f"planted{turn}@example.org"]})
        lake.publish("identity.records", rows, partition_by="day")
        lake.publish("identity.customers", rows)
    lake.open("identity.records").delete("email like '%0@%'")
    lake.vacuum("identity.records", [2], grace=dt.timedelta(0))
    logs = [file for file in lake.store.files("identity") if "_delta_log" in file]
    assert not [file for file in logs if b"planted" in lake.store.read(f"identity/{file}")]
    assert any(file.endswith(".checkpoint.parquet") for file in logs)


def test_a_former_version_can_still_be_read(lake: Lake, two_days: pl.DataFrame) -> None:
    lake.publish("a.b", two_days)
    lake.publish("a.b", two_days.head(1))
    assert lake.scan("a.b", version=0).collect().height == 3


def test_untyped_nulls_are_refused_by_name(lake: Lake) -> None:
    with pytest.raises(ValueError, match=r"a\.b.*\['empty'\]"):
        lake.publish("a.b", pl.DataFrame({"empty": [None]}))


def test_reading_what_nobody_built_says_so(lake: Lake) -> None:
    with pytest.raises(MissingTable, match=r"value\.rfm has not been built yet"):
        lake.scan("value.rfm")


def test_duckdb_reads_types_and_partitions_as_polars_does(lake: Lake, two_days: pl.DataFrame) -> None:
    lake.publish("value.rfm", two_days, partition_by="as_of", keys=[day(0), day(1)])
    with duckdb.connect() as con:
        attach(con, lake, ["value.rfm"])
        assert con.sql("from value.rfm order by customer_id").pl().equals(two_days)


def test_duckdb_reads_an_empty_and_an_absent_table(lake: Lake, two_days: pl.DataFrame) -> None:
    lake.publish("value.rfm", two_days.clear())
    with duckdb.connect() as con:
        attach(con, lake, ["value.rfm", "raw.weather"], absent={"raw.weather": {"day": pl.Date}})
        assert con.sql("from value.rfm").pl().schema == two_days.schema
        assert con.sql("from raw.weather").pl().schema == {"day": pl.Date}


def test_duckdb_refuses_a_table_that_is_absent_and_unknown(lake: Lake) -> None:
    with duckdb.connect() as con, pytest.raises(MissingTable):
        attach(con, lake, ["value.rfm"])


@settings(deadline=None)
@given(st.sets(st.dates(dt.date(2017, 1, 1), dt.date(2017, 2, 1))))
def test_stretches_hold_each_day_once_and_have_gaps_between(days: set[dt.date]) -> None:
    spans = list(stretches(sorted(days)))
    covered = [first + dt.timedelta(days=i) for first, last in spans for i in range((last - first).days + 1)]
    assert covered == sorted(days)
    assert all(a[1] + dt.timedelta(days=1) < b[0] for a, b in itertools.pairwise(spans))


@pytest.mark.parametrize("partition_by", [None, "day", "text"])
def test_rows_whose_sums_were_made_otherwise_are_read_and_make_no_version(lake: Lake, partition_by: str | None) -> None:
    rows = pl.DataFrame(
        {
            "text": ["a", "b", "ü"],
            "day": [dt.date(2017, 1, 1), dt.date(2017, 1, 2), dt.date(2018, 1, 1)],
            "moment": [dt.datetime(2017, 1, 1, 12, 30), None, dt.datetime(2018, 1, 1)],
            "instant": [dt.datetime(2017, 1, 1, tzinfo=dt.UTC), None, dt.datetime(2018, 1, 1, tzinfo=dt.UTC)],
            "money": pl.Series([Decimal("1.25"), None, Decimal("-3.00")], dtype=pl.Decimal(18, 2)),
            "number": [0.5, float("nan"), -0.0],
            "small": pl.Series([1, None, -1], dtype=pl.Int8),
            "flag": [True, False, None],
            "words": [["a", "b"], [], None],
            "bytes": [b"a", b"", None],
        }
    )
    with pytest.MonkeyPatch.context() as before:
        before.setattr(held, "hashed_by", lambda: "otherwise")
        first = lake.publish("s.sums", rows, partition_by=partition_by)
    again = lake.publish("s.sums", rows, partition_by=partition_by)
    assert (again.changed, again.version, again.content) == (False, first.version, first.content)


def test_whose_rows_moved_since_a_version_is_seen_by_the_rows(lake: Lake) -> None:
    people, things = ["c1", "c2", "c3", None], ["p1", "p2", "p3", "p4"]
    bought = pl.DataFrame({"who": people, "what": things, "amount": [1, 2, 3, 4], "line": [1, 1, 1, 1]})
    more = pl.concat([bought, bought.with_columns(pl.lit("p5").alias("what"))])

    def published(frame: pl.DataFrame) -> int:
        return lake.publish("s.bought", frame).version

    def moved(since: int) -> list[str]:
        return sorted(lake.moved("s.bought", since, "who", ["what", "amount"]))

    first = published(more)
    assert moved(first) == []
    published(more.with_columns(line=pl.lit(2, pl.Int64)))
    assert moved(first) == []
    merged = published(more.with_columns(pl.col("who").replace("c1", "c2")))
    assert moved(first) == ["c1", "c2"]
    dearer = pl.when(pl.col("who") == "c3").then(pl.col("amount") + 1).otherwise("amount")
    published(more.with_columns(amount=dearer))
    assert moved(merged) == ["c1", "c2", "c3"]
    assert moved(first) == ["c3"]
