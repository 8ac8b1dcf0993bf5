"""Vacuum: what is kept can be read, what is not is gone from the disk, and no version is made."""

import datetime as dt
import os
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.lake import Lake

NOW = dt.timedelta(0)


def history(lake: Lake, versions: int) -> None:
    """Each version has a part that moved and, but for every fifth, one that stayed."""
    for number in range(versions):
        rows = pl.DataFrame({"part": ["moves", "o'stays"], "x": [f"planted{number}", f"planted{number // 5}"]})
        lake.publish("a.b", rows, partition_by="part")


def rows(lake: Lake, version: int) -> list[str]:
    return lake.scan("a.b", version).sort("part").collect()["x"].to_list()


@settings(deadline=None, max_examples=4)
@given(st.integers(1, 15), st.sets(st.integers(0, 25), max_size=4))
def test_kept_versions_are_read_as_before_and_others_are_gone(tmp_path_factory, versions, keep) -> None:
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    history(lake, versions)
    kept = {v for v in keep if v < versions} | {versions - 1}
    lake.vacuum("a.b", keep, grace=NOW)
    assert lake.version("a.b") == versions - 1
    assert {v: rows(lake, v) for v in kept} == {v: [f"planted{v}", f"planted{v // 5}"] for v in kept}
    named = {value for v in kept for value in (f"planted{v}", f"planted{v // 5}")}
    files = [file for file in Path(lake.root).rglob("*.parquet") if "_delta_log" not in str(file)]
    assert {pl.read_parquet(file, hive_partitioning=False)["x"].item() for file in files} == named
    assert not any(lake.holds("a.b", v) for v in range(min(kept)))
    assert lake.vacuum("a.b", keep, grace=NOW).files == 0


def test_what_is_young_stays_for_writers_and_readers(lake: Lake) -> None:
    history(lake, 3)
    half_written = Path(lake.uri("a.b"), "part=moves", "not-committed.parquet")
    half_written.write_bytes(b"PAR1")
    assert lake.vacuum("a.b", []).files == 0
    assert lake.holds("a.b", 0)
    assert rows(lake, 0) == ["planted0", "planted0"]


@pytest.mark.parametrize("partition_by", [None, "part"])
def test_a_commit_takes_nothing_of_the_log_however_old(lake: Lake, partition_by: str | None) -> None:
    def day(number: int) -> pl.DataFrame:
        return pl.DataFrame({"part": ["a"], "x": [number]})

    lake.publish("a.b", day(0), partition_by=partition_by)
    lake.open("a.b").alter.set_table_properties({"delta.checkpointInterval": "2"})
    for number in range(2, 8):
        for file in Path(lake.uri("a.b"), "_delta_log").iterdir():
            os.utime(file, (time.time() - 90 * 86_400,) * 2)
        lake.publish("a.b", day(number), partition_by=partition_by)
    assert [lake.scan("a.b", v).collect()["x"].item() for v in range(2, 8)] == list(range(2, 8))


def test_what_a_killed_writer_left_goes_when_it_is_old(lake: Lake) -> None:
    history(lake, 1)
    left = [
        Path(lake.uri("a.b"), *place) for place in (("part=moves", "x.parquet"), ("_delta_log", "_commit_1.json.tmp"))
    ]
    for file in left:
        file.write_bytes(b"PAR1")
        os.utime(file, (time.time() - 90_000,) * 2)
    assert lake.vacuum("a.b", []).files == 1
    assert not any(file.exists() for file in left)
    assert rows(lake, 0) == ["planted0", "planted0"]


def test_a_table_goes_on_after_a_vacuum_and_what_it_holds_is_still_known(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    history(lake, 12)
    lake.vacuum("a.b", [], grace=NOW)
    monkeypatch.setattr("cer_assets.lake.held._read", lambda *_: pytest.fail("the rows were read"))
    last = pl.DataFrame({"part": ["moves", "o'stays"], "x": ["planted11", "planted2"]})
    assert not lake.publish("a.b", last, partition_by="part").changed
    assert lake.publish("a.b", last.with_columns(x=pl.lit("new")), partition_by="part").version == 12


def test_opening_reads_few_commits_however_many_there_were(lake: Lake) -> None:
    for _ in range(3):
        history(lake, 9)
        lake.vacuum("a.b", range(1000))
    newest = max(int(file.name[:20]) for file in Path(lake.uri("a.b")).rglob("*.checkpoint.parquet"))
    version = lake.version("a.b")
    assert version is not None
    assert version - newest < 10
    assert rows(lake, 0) == ["planted0", "planted0"]


@pytest.mark.parametrize("kill_at", range(3))
def test_a_vacuum_that_is_killed_leaves_all_that_is_kept(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, kill_at: int
) -> None:
    history(lake, 12)
    deleted = 0

    def until_killed(self: object, paths) -> int:
        nonlocal deleted
        for path in paths:
            if deleted == kill_at * 5:
                raise KeyboardInterrupt
            Path(lake.root, path).unlink()
            deleted += 1
        return 0

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("cer_assets.lake.store.Store.remove", until_killed)
        lake.vacuum("a.b", [7], grace=NOW)
    assert rows(lake, 7) == ["planted7", "planted1"]
    assert lake.nearest("a.b", 7) == 7
    lake.vacuum("a.b", [7], grace=NOW)
    assert (rows(lake, 7), rows(lake, 11)) == (["planted7", "planted1"], ["planted11", "planted2"])
    assert not lake.holds("a.b", 6)
    assert [lake.nearest("a.b", version) for version in (3, 7, 11, 12)] == [7, 7, 11, 11]


def test_the_checkpoint_outlasts_a_power_cut_before_the_log_before_it_goes(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for x in range(3):
        lake.publish("a.b", pl.DataFrame({"x": [x]}))
    log, sync, synced = Path(lake.uri("a.b"), "_delta_log"), os.fsync, dict[str, bool]()

    def recorded(held: int) -> None:
        synced[Path(f"/proc/self/fd/{held}").resolve().name] = (log / f"{0:020}.json").exists()
        sync(held)

    monkeypatch.setattr(os, "fsync", recorded)
    lake.vacuum("a.b", (), grace=dt.timedelta(0))
    assert not (log / f"{0:020}.json").exists()
    assert synced[f"{2:020}.checkpoint.parquet"] and synced["_last_checkpoint"] and synced["_delta_log"]
