"""Files that appear whole or not at all, and what killed writers leave beside them."""

import os
import subprocess
import sys
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


def test_what_a_killed_writer_left_is_cleared_by_the_next_and_what_one_is_writing_is_not(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    left, wal = (tmp_path / f".page.html.{ended_process()}.{ending}" for ending in ("tmp", "tmp.wal"))
    writing, other = tmp_path / f".page.html.{os.getppid()}.tmp", tmp_path / f".other.html.{ended_process()}.tmp"
    for file in (left, wal, writing, other):
        file.touch()
    assert staged_for(page).name == f".page.html.{os.getpid()}.tmp"
    assert set(tmp_path.iterdir()) == {writing, other}


def test_a_write_that_fails_leaves_the_file_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.html"
    write_atomically(page, b"one")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(page, b"two")
    assert page.read_bytes() == b"one"
