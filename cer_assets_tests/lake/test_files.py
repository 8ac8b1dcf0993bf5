"""Files that appear whole or not at all, and what killed writers leave beside them."""

import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cer_assets.lake.files import staged_for, write_atomically


def ended_process() -> int:
    """The number of a process that is gone."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_a_file_takes_the_place_of_the_former_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    page = tmp_path / "pages" / "page.html"
    write_atomically(page, b"one")
    write_atomically(page, b"two")
    assert page.read_bytes() == b"two"
    assert list(page.parent.iterdir()) == [page]


@pytest.mark.parametrize("mode", [0o600, 0o444, 0o664])
def test_a_file_keeps_the_rights_of_the_former_and_is_never_wider_on_the_way(
    tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, on_the_way = tmp_path / "page.html", list[int]()
    write_atomically(page, b"one")
    page.chmod(mode)
    if os.geteuid() == 0:
        os.chown(page, 1234, 2345)
    before, sync = page.stat(), os.fsync

    def syncing(file: int) -> None:
        if stat.S_ISREG(os.fstat(file).st_mode):
            on_the_way.append(stat.S_IMODE(os.fstat(file).st_mode))
        sync(file)

    monkeypatch.setattr(os, "fsync", syncing)
    write_atomically(page, b"two")
    after = page.stat()
    assert page.read_bytes() == b"two"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert on_the_way == [0o600]


def test_what_a_killed_writer_left_is_cleared_by_the_next_and_what_one_is_writing_is_not(tmp_path: Path) -> None:
    page, host = tmp_path / "page.html", socket.gethostname().replace(".", "-")
    left, wal = (tmp_path / f".page.html.{host}.{ended_process()}.{ending}" for ending in ("tmp", "tmp.wal"))
    writing, other = (
        tmp_path / f".{name}.{host}.{pid}.tmp" for name, pid in (("page.html", os.getppid()), ("other", 1))
    )
    for file in (left, wal, writing, other):
        file.touch()
    assert staged_for(page).name == f".page.html.{host}.{os.getpid()}.tmp"
    assert set(tmp_path.iterdir()) == {writing, other}


def test_what_another_host_is_writing_on_the_same_volume_stays_until_it_is_a_day_old(tmp_path: Path) -> None:
    page, day = tmp_path / "page.html", 24 * 60 * 60
    writing = tmp_path / f".page.html.another-host.{os.getpid()}.tmp"
    old, nameless = (tmp_path / f".page.html.{writer}.tmp" for writer in (f"a-third.{os.getpid()}", "4711"))
    for file in (writing, old, nameless):
        file.touch()
    before = time.time() - day - 60
    for file in (old, nameless):
        os.utime(file, (before, before))
    staged_for(page)
    assert set(tmp_path.iterdir()) == {writing}


def test_a_write_that_fails_leaves_the_file_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.html"
    write_atomically(page, b"one")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(page, b"two")
    assert page.read_bytes() == b"one"
