"""The content hash: what changes it and what does not."""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from cer_assets.lake import Lake, Memory, build_warehouse, content_hash, take_snapshot
from cer_assets.lake.content import hashed_by, sums_by, sums_in

rows = st.lists(
    st.tuples(st.one_of(st.none(), st.text(max_size=4)), st.one_of(st.none(), st.integers(-9, 9))), max_size=8
)


def frame(values: list[tuple[str | None, int | None]]) -> pl.DataFrame:
    return pl.DataFrame(values, schema={"name": pl.String, "count": pl.Int64}, orient="row")


@settings(deadline=None, max_examples=40)
@given(rows, st.randoms())
def test_the_order_of_rows_does_not_matter(values, random) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    assert content_hash(frame(values)) == content_hash(frame(shuffled))


@settings(deadline=None, max_examples=40)
@given(rows, st.integers(0, 7))
def test_a_changed_value_changes_the_hash(values, place) -> None:
    if not values:
        return
    changed = list(values)
    name, count = changed[place % len(values)]
    changed[place % len(values)] = (name, (count or 0) + 100)
    assert content_hash(frame(values)) != content_hash(frame(changed))


def test_a_row_that_stands_twice_is_not_a_row_that_stands_once() -> None:
    assert content_hash(frame([("a", 1), ("a", 1)])) != content_hash(frame([("a", 1)]))


def test_null_is_not_the_empty_text() -> None:
    assert content_hash(frame([(None, 1)])) != content_hash(frame([("", 1)]))


def test_values_do_not_run_into_each_other() -> None:
    pair = {"x": pl.String, "y": pl.String}
    left, right = pl.DataFrame([("ab", "c")], pair, orient="row"), pl.DataFrame([("a", "bc")], pair, orient="row")
    assert content_hash(left) != content_hash(right)


def test_the_type_of_a_column_counts() -> None:
    assert content_hash(pl.DataFrame({"x": [1]})) != content_hash(pl.DataFrame({"x": ["1"]}))


def test_the_hash_of_the_whole_is_added_up_from_its_parts() -> None:
    frame = pl.DataFrame({"part": ["a", "a", "b"], "x": [1, None, 3]})
    assert content_hash(frame, sums_by(frame, "part")) == content_hash(frame)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(max_size=3), min_size=2, max_size=2, unique=True), st.integers(-9, 9), st.integers(1, 9), rows)
def test_a_value_that_two_rows_exchange_changes_the_hash(names, count, more, rest) -> None:
    one, other = names
    before = [(one, count), (other, count + more), *rest]
    assert content_hash(frame(before)) != content_hash(frame([(one, count + more), (other, count), *rest]))


def test_an_empty_list_is_not_none_nor_a_list_of_nothing() -> None:
    kind = {"x": pl.List(pl.String)}
    values = [[], None, [None], [""], ["a", "b"], ["b", "a"]]
    assert len({content_hash(pl.DataFrame({"x": [value]}, kind)) for value in values}) == len(values)


def test_rows_hash_the_same_wherever_they_lie(tmp_path) -> None:
    own = pl.DataFrame(
        {
            "text": ["a", None, "ü"],
            "day": [dt.date(2017, 1, 1), None, dt.date(2018, 1, 1)],
            "moment": [dt.datetime(2017, 1, 1, 12, 30), None, dt.datetime(2018, 1, 1)],
            "money": pl.Series([Decimal("1.25"), None, Decimal("-3.00")], dtype=pl.Decimal(18, 2)),
            "number": [0.5, float("nan"), None],
            "flag": [True, False, None],
            "words": [["a", "b"], [], None],
        }
    )
    own.write_parquet(tmp_path / "rows.parquet")
    with duckdb.connect() as con:
        con.execute("create table rows_ as from read_parquet(?) order by day desc", [str(tmp_path / "rows.parquet")])
        there = sums_in(con, exp.table_("rows_"), own.schema, None)
    assert there == sums_by(own, None)


def test_how_rows_are_hashed_is_known_to_change_when_it_does() -> None:
    """Where this fails after another DuckDB was installed, every table counts as changed once: say so to its users."""
    assert hashed_by() == "9a2dd6c92460f86"


def test_what_compares_rows_and_copies_them_is_bound_and_spills_where_it_is_told_to_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []
    connect = duckdb.connect

    def told(*args: object, **kwargs: dict[str, str]) -> duckdb.DuckDBPyConnection:
        config = kwargs.get("config", {})
        seen.append((config.get("memory_limit", ""), Path(config.get("temp_directory", "/none")).is_dir()))
        return connect(*args, **kwargs)

    hashed_by()  # one row that never changes is hashed by a connection without bounds, once a process
    lake = Lake(str(tmp_path / "lake"), Memory("100MB", str(tmp_path / "spill")))
    lake.publish("a.b", pl.DataFrame({"x": [1]}))
    pl.DataFrame({"x": [2]}).write_delta(lake.uri("a.b"), mode="append")
    monkeypatch.setattr(duckdb, "connect", told)
    lake.publish("a.b", pl.DataFrame({"x": [1]}))
    build_warehouse(lake, take_snapshot(lake, tmp_path / "snapshots"), tmp_path / "warehouse.duckdb")
    assert seen == [("100MB", True)] * 3, "the rows handed over, those that another wrote, and the warehouse"
    assert list((tmp_path / "spill").iterdir()) == []
