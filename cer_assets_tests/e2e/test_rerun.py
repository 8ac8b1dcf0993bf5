"""Running again: the same tables from the same drops, nothing to do a second time, and nothing left by a killed run."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cer_assets.lake import Lake
from cer_assets_tests.conftest import PROJECT, copied, environment, run_home
from cer_assets_tests.e2e.undisturbed import contents


@pytest.fixture
def only_drops(finished_home: Path, tmp_path: Path) -> Path:
    """A home with the same drops, from which nothing was built."""
    home = tmp_path / "fresh"
    for part in ("landing", "sample_truth"):
        copied(finished_home / part, home / part)
    return home


def test_a_second_run_finds_nothing_to_do(finished_home: Path, tmp_path: Path) -> None:
    home = copied(finished_home, tmp_path / "home")
    before = contents(home)
    said = run_home(home)
    assert "nothing to do" in said
    assert "load:" not in said
    assert contents(home) == before


# One file's rows, and one of the tables that a function computes together.
KILLED_AT = ("raw.events", "identity.edges")


def killed_at(home: Path, table: str) -> None:
    """`make run` over a home, killed as soon as the table begins to be written."""
    run = subprocess.Popen(
        [sys.executable, "-m", "cer_assets.defs.run"],
        cwd=PROJECT,
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    begun = Path(Lake(str(home / "lake")).uri(table))
    while not begun.exists():
        assert run.poll() is None, f"the run ended before {table}"
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()


@pytest.mark.endurance
def test_a_run_killed_twice_and_started_again_gives_the_tables_of_an_undisturbed_one(
    finished_home: Path, only_drops: Path
) -> None:
    for table in KILLED_AT:
        killed_at(only_drops, table)
    run_home(only_drops)
    assert contents(only_drops) == contents(finished_home)
