"""Model files and snapshots: what was stored comes back, and nothing else."""

from pathlib import Path

import duckdb
import polars as pl
import pytest

from cer_assets.lake import Lake, ModelStore, build_warehouse, read_snapshot, take_snapshot


def test_the_same_files_are_the_same_version(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    assert store.save("als", {"f": b"1"}, {"seed": 0}) == store.save("als", {"f": b"1"}, {"seed": 0})


def test_a_rollback_brings_the_former_files_back(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    first, second = (store.save("als", {"f": data}, {}) for data in (b"1", b"2"))
    store.promote("als", second)
    store.promote("als", first)
    assert store.load("als") == {"f": b"1"}


def test_files_changed_behind_the_stores_back_are_refused(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.promote("als", version := store.save("als", {"f": b"1"}, {}))
    (tmp_path / "als" / version / "f").write_bytes(b"forged")
    with pytest.raises(LookupError, match="were changed since"):
        store.load("als")


def test_a_version_that_was_never_stored_cannot_be_promoted(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="no version"):
        ModelStore(tmp_path).promote("als", "0")


def test_a_reader_of_the_warehouse_sees_the_snapshot_not_the_lake(tmp_path: Path, two_days: pl.DataFrame) -> None:
    lake, warehouse = Lake(str(tmp_path / "lake")), tmp_path / "warehouse.duckdb"
    lake.publish("value.rfm", two_days)
    build_warehouse(lake, take_snapshot(lake, tmp_path / "snapshots"), warehouse)
    with duckdb.connect(warehouse, read_only=True) as reader:
        lake.publish("value.rfm", two_days.head(1))
        build_warehouse(lake, take_snapshot(lake, tmp_path / "snapshots"), warehouse)
        assert reader.execute("select count(*) from value.rfm").fetchall() == [(3,)]
    with duckdb.connect(warehouse, read_only=True) as reader:
        assert reader.execute("select count(*) from value.rfm").fetchall() == [(1,)]
    assert read_snapshot(tmp_path / "snapshots").versions == {"value.rfm": 1}
