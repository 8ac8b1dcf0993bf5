"""A publish that fails half way: it says where and why, the table stays as it was, and nothing of it lies about."""

import errno
import io
import os
import pkgutil
from pathlib import Path
from typing import IO

import polars as pl
import pytest

from cer_assets.lake import Lake
from cer_assets.lake.store import Store


class Full(io.FileIO):
    """A file on a disk that is full as soon as more than a few bytes are written."""

    def write(self, data) -> int:
        if len(data) > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


ROWS = pl.DataFrame({"part": ["a", "b", "c"], "x": ["old", "old", "old"]})


@pytest.mark.parametrize("partition_by", [None, "part"])
@pytest.mark.parametrize("full_at", [0, 2])
def test_a_full_disk_leaves_the_old_version_and_no_rest(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, partition_by: str | None, full_at: int
) -> None:
    lake.publish("a.b", ROWS, partition_by=partition_by)
    before, opened, write = set(Path(lake.root).rglob("*")), 0, Store.write

    def until_full(self: Store, path: str) -> IO[bytes]:
        nonlocal opened
        opened += 1
        file = write(self, path)
        if partition_by is None or opened > full_at:
            file.close()
            return Full(f"{self.root}/{path}", "wb")  # pyright: ignore[reportReturnType]
        return file

    with (
        monkeypatch.context() as patch,
        pytest.raises(OSError, match=r"a/b: could not be written, and stays") as raised,
    ):
        patch.setattr(Store, "write", until_full)
        lake.publish("a.b", ROWS.with_columns(x=pl.lit("new")), partition_by=partition_by)
    assert raised.value.errno == errno.ENOSPC
    assert str(raised.value.filename).endswith("lake/a/b")
    assert lake.version("a.b") == 0
    assert lake.scan("a.b").collect()["x"].unique().to_list() == ["old"]
    assert set(Path(lake.root).rglob("*")) == before
    assert lake.publish("a.b", ROWS.with_columns(x=pl.lit("new")), partition_by=partition_by).version == 1


def test_a_commit_that_fails_leaves_no_files(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.publish("a.b", ROWS, partition_by="part")
    before = set(Path(lake.root).rglob("*"))

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="Read-only"):
        patch.setattr("cer_assets.lake.tables.DeltaTable.create_write_transaction", fail)
        lake.publish("a.b", ROWS.with_columns(x=pl.lit("new")), partition_by="part")
    assert set(Path(lake.root).rglob("*")) == before


@pytest.mark.parametrize(
    ("partition_by", "commit"),
    [(None, "create_table_with_add_actions"), ("part", "DeltaTable.create_write_transaction")],
)
def test_what_fails_after_the_commit_takes_no_file_of_the_version_that_stands(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, partition_by: str | None, commit: str
) -> None:
    rows = ROWS.with_columns(part=pl.lit("a name's"))
    lake.publish("a.b", rows, partition_by=partition_by)
    where, _, name = f"cer_assets.lake.tables.{commit}".rpartition(".")
    written = getattr(pkgutil.resolve_name(where), name)

    def without_checkpoint(*given: object, **named: object) -> None:
        written(*given, **named)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(f"{where}.{name}", without_checkpoint)
        lake.publish("a.b", rows.with_columns(x=pl.lit("new")), partition_by=partition_by)
    assert lake.version("a.b") == 1
    assert lake.scan("a.b").collect()["x"].unique().to_list() == ["new"]
    assert not lake.publish("a.b", rows.with_columns(x=pl.lit("new")), partition_by=partition_by).changed


def test_of_two_writers_the_second_looks_again(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.publish("a.b", ROWS.head(1), partition_by="part")
    opened, raced = Lake.open, False

    def open_and_be_overtaken(self: Lake, table: str, version: int | None = None):
        nonlocal raced
        found = opened(self, table, version)
        if not raced:
            raced = True
            Lake(self.root).publish("a.b", ROWS.tail(1), partition_by="part", keys=["c"])
        return found

    monkeypatch.setattr(Lake, "open", open_and_be_overtaken)
    done = lake.publish("a.b", ROWS[1:2], partition_by="part", keys=["b"])
    assert done.version == 2
    assert sorted(lake.scan("a.b").collect()["part"]) == ["a", "b", "c"]
    assert not lake.publish("a.b", ROWS, partition_by="part").changed


@pytest.mark.parametrize("partition_by", [None, "part"])
def test_files_outlast_a_power_cut_before_a_commit_names_them_and_the_commit_before_it_is_said_to_stand(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, partition_by: str | None
) -> None:
    log, seen, sync = Path(lake.uri("a.b"), "_delta_log"), list[tuple[int, Path]](), os.fsync

    def recorded(held: int) -> None:
        seen.append((len(list(log.glob("*.json"))), Path(f"/proc/self/fd/{held}").resolve()))
        sync(held)

    monkeypatch.setattr(os, "fsync", recorded)
    for version, rows in enumerate((ROWS, ROWS.with_columns(x=pl.lit("new")))):
        seen.clear()
        lake.publish("a.b", rows, partition_by=partition_by, keys=None if version == 0 else list("abc"))
        files = {Path(file) for file in lake.files("a.b")}
        folders = {folder for file in files for folder in file.parents if folder.is_relative_to(lake.root)}
        assert {path for commits, path in seen if commits == version} == files | folders
        after = [path for commits, path in seen if commits == version + 1]
        assert after[0] == log / f"{version:020}.json"
        assert after.index(log) < after.index(log.parent)
