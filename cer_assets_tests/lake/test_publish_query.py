"""Publishing a query: as publishing its frame, without the frame."""

import datetime as dt
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.lake import Lake, clean_connection
from cer_assets_tests.lake.conftest import day

values = st.one_of(st.none(), st.integers(-9, 9))
rows = st.lists(st.tuples(st.integers(0, 3), st.one_of(st.none(), st.text(max_size=3)), values), max_size=12)


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        yield clean_connection(con)


def frame(values: list[tuple[int, str | None, int | None]]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            (day(number), text, count, count and Decimal(count), dt.datetime(2017, 1, 1, 12, number))
            for number, text, count in values
        ],
        schema={
            "as_of": pl.Date,
            "name": pl.String,
            "count": pl.Int64,
            "money": pl.Decimal(18, 2),
            "at": pl.Datetime("us"),
        },
        orient="row",
    )


@settings(deadline=None, max_examples=12)
@given(rows, rows, st.sampled_from([None, "as_of"]))
def test_a_query_leaves_what_its_frame_would(before, after, partition_by) -> None:
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as con:
        frames, queries = Lake(f"{folder}/frames"), Lake(f"{folder}/queries")
        for values in (before, after):
            con.register("delivered", frame(values))
            one = queries.publish_query(con, "a.b", "from delivered", partition_by=partition_by)
            other = frames.publish("a.b", frame(values), partition_by=partition_by)
            assert replace(one, bytes=0) == replace(other, bytes=0)
        assert sorted(queries.scan("a.b").collect().rows(), key=str) == sorted(frame(after).rows(), key=str)


def test_only_the_days_that_moved_are_written(lake: Lake, con: duckdb.DuckDBPyConnection) -> None:
    query = "select date '2017-01-01' + range::int as as_of, range = ? as moved from range(3)"
    lake.publish_query(con, "a.b", query, parameters=[-1], partition_by="as_of")
    before = set(lake.open("a.b").file_uris())
    done = lake.publish_query(con, "a.b", query, parameters=[1], partition_by="as_of")
    assert done.changed
    assert len(before & set(lake.open("a.b").file_uris())) == 2
    assert not lake.publish_query(con, "a.b", query, parameters=[1], partition_by="as_of").changed


def test_a_query_for_some_days_leaves_the_others(lake: Lake, con: duckdb.DuckDBPyConnection) -> None:
    query = "select date '2017-01-01' + range::int as as_of, range as x from range(?, ?)"
    lake.publish_query(con, "a.b", query, parameters=[0, 3], partition_by="as_of")
    lake.publish_query(con, "a.b", query, parameters=[0, 0], partition_by="as_of", keys=[day(1)])
    assert sorted(lake.scan("a.b").collect()["x"]) == [0, 2]
    with pytest.raises(ValueError, match="outside the partitions"):
        lake.publish_query(con, "a.b", query, parameters=[0, 3], partition_by="as_of", keys=[day(1)])


def test_types_that_delta_does_not_know_become_those_of_the_frame(lake: Lake, con: duckdb.DuckDBPyConnection) -> None:
    query = """
    select sum(range) as total, 7::utinyint as small, 'a'::enum ('a', 'b') as kind, '0'::json as j,
        timestamp_ns '2017-01-01 00:00:00.123456789' as ns, timestamp_ns '1912-01-01 00:00:00.123456789' as past,
        timestamp_s '2017-01-01 00:00:01' as s, [1, 2] as several,
        '00000000-0000-0000-0000-000000000001'::uuid as id
    from range(5)
    """
    done = lake.publish_query(con, "a.b", query)
    again = lake.publish("a.b", con.sql(query).pl())
    assert (again.changed, again.content, dict(again.columns)) == (False, done.content, dict(done.columns))
    assert dict(lake.scan("a.b").collect_schema()) == dict(done.columns)


@pytest.mark.parametrize("value", ["time '10:00'", "interval 1 day", "'101'::bit"])
def test_what_delta_cannot_hold_is_refused_by_the_name_of_the_column(
    lake: Lake, con: duckdb.DuckDBPyConnection, value: str
) -> None:
    with pytest.raises(TypeError, match=r"a\.b: the column odd is of type"):
        lake.publish_query(con, "a.b", f"select 1 as fine, {value} as odd")
    assert con.execute("show tables").fetchall() == []


def test_untyped_nulls_and_rows_of_no_day_are_refused(lake: Lake, con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(ValueError, match=r"a\.b.*\['empty'\]"):
        lake.publish_query(con, "a.b", "select null as empty")
    with pytest.raises(ValueError, match="1 rows have no as_of"):
        lake.publish_query(con, "a.b", "select null::date as as_of, 1 as x", partition_by="as_of")
    with pytest.raises(TypeError, match="x is of type"):
        lake.publish_query(con, "a.b", "select 1 as x", partition_by="x")


def test_what_is_held_is_known_from_the_newest_commit_alone(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.publish("a.b", frame([(0, "a", 1), (1, "b", 2)]), partition_by="as_of")
    lake.publish("a.b", frame([(1, "c", 3)]), partition_by="as_of", keys=[day(1)])
    monkeypatch.setattr("cer_assets.lake.held._read", lambda *_: pytest.fail("the rows were read"))
    assert not lake.publish("a.b", frame([(0, "a", 1), (1, "c", 3)]), partition_by="as_of").changed


def test_what_another_wrote_without_sums_is_read(lake: Lake) -> None:
    lake.publish("a.b", frame([(0, "a", 1), (1, "b", 2)]), partition_by="as_of")
    lake.open("a.b").delete("name = 'b'")
    assert not lake.publish("a.b", frame([(0, "a", 1)]), partition_by="as_of").changed
    assert lake.publish("a.b", frame([(0, "a", 1), (1, "b", 2)]), partition_by="as_of").changed


def test_sums_over_other_columns_are_not_believed(lake: Lake) -> None:
    lake.publish("a.b", frame([(0, "a", 1), (1, "b", 2)]).drop("count"), partition_by="as_of")
    lake.publish("a.b", frame([(1, "b", 2)]), partition_by="as_of", keys=[day(1)])
    old = frame([(0, "a", None), (1, "b", 2)]).with_columns(money=pl.Series([1, 2]).cast(pl.Decimal(18, 2)))
    assert not lake.publish("a.b", old, partition_by="as_of").changed
