"""Four processes read in a loop during a full run and a daily run: no error, no torn table, no mix of two runs."""

import datetime as dt
import subprocess
import sys
from pathlib import Path

import pytest

from cer_assets.sample import next_day_drop
from cer_assets_tests.conftest import PROJECT, run_home
from cer_assets_tests.e2e.readers import KINDS

pytestmark = pytest.mark.endurance
SIZE = ("--customers", "200", "--days", "10")


def test_readers_see_whole_tables_during_a_full_run_and_a_daily_run(tmp_path: Path) -> None:
    home, stop = tmp_path / "home", tmp_path / "stop"
    command = [sys.executable, "-m", "cer_assets_tests.e2e.readers"]
    readers = {
        kind: subprocess.Popen(
            [*command, kind, str(home), str(stop)],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for kind in KINDS
    }
    try:
        run_home(home, *SIZE)
        next_day_drop(home, dt.date(2018, 1, 1))
        run_home(home, *SIZE)
    finally:
        stop.touch()
        said = {kind: reader.communicate(timeout=120) for kind, reader in readers.items()}
    assert {kind: reader.returncode for kind, reader in readers.items()} == dict.fromkeys(KINDS, 0), said
    assert all(int(reads) > 3 for reads, _ in said.values()), said
