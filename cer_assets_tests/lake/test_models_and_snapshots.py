"""Model files and snapshots: what was stored comes back, and nothing else."""

import os
import time
from pathlib import Path

import duckdb
import polars as pl
import pytest

from cer_assets.lake import (
    Lake,
    ModelStore,
    build_warehouse,
    needed_versions,
    prune_snapshots,
    read_snapshot,
    take_snapshot,
)


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


def test_a_reader_of_the_warehouse_sees_the_snapshot_not_the_lake(
    tmp_path: Path, either_lake: Lake, two_days: pl.DataFrame
) -> None:
    lake, warehouse = either_lake, tmp_path / "warehouse.duckdb"
    lake.publish("value.rfm", two_days)
    build_warehouse(lake, take_snapshot(lake, tmp_path / "snapshots"), warehouse)
    with duckdb.connect(warehouse, read_only=True) as reader:
        lake.publish("value.rfm", two_days.head(1))
        build_warehouse(lake, take_snapshot(lake, tmp_path / "snapshots"), warehouse)
        assert reader.execute("select count(*) from value.rfm").fetchall() == [(3,)]
    with duckdb.connect(warehouse, read_only=True) as reader:
        assert reader.execute("select count(*) from value.rfm").fetchall() == [(1,)]
    assert read_snapshot(tmp_path / "snapshots").versions == {"value.rfm": 1}


def test_snapshots_go_when_they_are_old_but_for_the_current_one_and_the_one_before(tmp_path: Path, lake: Lake) -> None:
    folder, names = tmp_path / "snapshots", []
    for number in range(4):
        lake.publish("a.b", pl.DataFrame({"x": [number]}))
        names.append(take_snapshot(lake, folder).name)
    for age, name in enumerate(reversed(names)):
        os.utime(folder / f"{name}.json", (time.time() - (10 + age) * 86_400,) * 2)
    kept = prune_snapshots(folder, days=12.5)
    assert needed_versions(kept) == {"a.b": {1, 2, 3}}
    assert needed_versions(prune_snapshots(folder, days=0)) == {"a.b": {2, 3}}
    assert sorted(path.stem for path in folder.glob("*.json")) == sorted([names[2], names[3], "current"])
    assert read_snapshot(folder).versions == {"a.b": 3}


def test_no_snapshot_is_taken_of_tables_that_move(tmp_path: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.publish("a.b", pl.DataFrame({"x": [1]}))
    moments = iter(range(100))
    monkeypatch.setattr("cer_assets.lake.snapshot._versions", lambda _: {"a.b": next(moments)})
    with pytest.raises(RuntimeError, match="is another run on"):
        take_snapshot(lake, tmp_path / "snapshots")
    assert not (tmp_path / "snapshots").exists()
