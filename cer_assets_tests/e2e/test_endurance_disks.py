"""A disk that is full or read-only: a run says so, and which folder; what was there stays; all goes on later."""

import datetime as dt
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cer_assets.sample import next_day_drop, write_sample
from cer_assets_tests.conftest import copied
from cer_assets_tests.e2e.undisturbed import Ran, differing, finished, holdings, run_until

pytestmark = pytest.mark.endurance

SECOND_DAY = dt.date(2018, 1, 1)


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small home, and a drop that is not loaded yet."""
    home = tmp_path_factory.mktemp("before") / "home"
    write_sample(home, customers=200, days=10)
    finished(home)
    next_day_drop(home, SECOND_DAY)
    return home


@pytest.fixture(scope="module")
def after(before: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What it comes to where there is room."""
    home = copied(before, tmp_path_factory.mktemp("after") / "home")
    finished(home)
    return holdings(home)


class Disk:
    """A file system of its own, of a size that can be changed, in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._mount("size=1g", "tmpfs")

    def room(self, kilobytes: int) -> None:
        """Leave so much free, and no more."""
        self._mount(f"remount,rw,size={shutil.disk_usage(self.folder).used + kilobytes * 1024}")

    def read_only(self) -> None:
        self._mount("remount,ro")

    def healed(self) -> None:
        self._mount("remount,rw,size=1g")

    def _mount(self, options: str, *kind: str) -> None:
        what = ["-t", *kind, *kind] if kind else []
        done = subprocess.run(["mount", "-o", options, *what, self.folder], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"needs a file system of its own, and none can be mounted here: {done.stderr.strip()}")

    def gone(self) -> None:
        subprocess.run(["umount", "--lazy", self.folder], check=False)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk that is gone with the test."""
    one = Disk(tmp_path / "disk")
    yield one
    one.gone()


FULL = ("is full: make room there", "No space left on device")
READ_ONLY = ("cannot be written by user", "Read-only file system")
"""What a run says of a disk in its own words, or in the system's where it says what could not be written."""


def clearly(ran: Ran, folder: Path, wrong: tuple[str, str]) -> None:
    """The run failed, said which folder is to blame and what for, and showed nobody the inside of a library."""
    assert ran.code == 1, ran.said
    assert str(folder) in ran.said, ran.said
    assert any(words in ran.said for words in wrong), ran.said
    assert "Traceback" not in ran.said, ran.said


def harmed(now: dict[str, str], held: dict[str, str], after: dict[str, str]) -> set[str]:
    """What holds neither what it held nor what it is to hold, and what people see that is not what they saw."""
    seen = ("snapshot of", "rows of view")
    torn = {name for name in differing(now, held) if now.get(name) != after.get(name)}
    return torn | {name for name in held if name.startswith(seen) and now.get(name) != held[name]}


@pytest.mark.parametrize("kilobytes", [0, 400, 1600, 6400])
def test_a_full_disk_under_the_home_fails_clearly_and_harms_nothing(
    before: Path, after: dict[str, str], disk: Disk, kilobytes: int
) -> None:
    home = copied(before, disk.folder / "home")
    held = holdings(home)
    disk.room(kilobytes)
    clearly(run_until(home), home, FULL)
    assert harmed(holdings(home), held, after) == set()

    disk.healed()
    finished(home)
    assert differing(holdings(home), after) == []


@pytest.mark.parametrize(("sick", "wrong"), [("full", FULL), ("read-only", READ_ONLY)])
def test_a_lake_that_cannot_be_written_fails_the_run_in_its_event_log(
    before: Path, after: dict[str, str], disk: Disk, tmp_path: Path, sick: str, wrong: tuple[str, str]
) -> None:
    home = copied(before, tmp_path / "home")
    lake = disk.folder / "lake"
    shutil.move(home / "lake", lake)
    (home / "lake").symlink_to(lake)
    held = holdings(home)
    disk.room(50) if sick == "full" else disk.read_only()
    ran = run_until(home)
    clearly(ran, home / "lake", wrong)
    assert "FAILED" in ran.said
    assert harmed(holdings(home), held, after) == set()

    disk.healed()
    finished(home)
    assert differing(holdings(home), after) == []


def test_a_home_that_is_read_only_fails_clearly_and_can_be_read(
    before: Path, after: dict[str, str], disk: Disk
) -> None:
    home = copied(before, disk.folder / "home")
    held = holdings(home)
    disk.read_only()
    clearly(run_until(home), home, READ_ONLY)
    assert differing(holdings(home), held) == []

    disk.healed()
    finished(home)
    assert differing(holdings(home), after) == []
