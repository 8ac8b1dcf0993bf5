"""Daemons killed again and again while drops arrive, runs and the code server killed too: all comes to its end."""

import datetime as dt
import random
import time
from pathlib import Path

import pytest

from cer_assets.sample import next_day_drop, write_sample
from cer_assets_tests.conftest import copied
from cer_assets_tests.e2e.live import Live
from cer_assets_tests.e2e.undisturbed import differing, finished, holdings, runs_of

pytestmark = pytest.mark.endurance

DAYS = (dt.date(2018, 1, 1), dt.date(2018, 1, 2))
DAEMON_KILLS = {DAYS[0]: 3, DAYS[1]: 2}
LONGEST = 25.0
"""Seconds: at most so long after the drop, or after the kill before, a daemon is killed; a day takes about that."""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small home as its first run left it."""
    home = tmp_path_factory.mktemp("opened") / "home"
    write_sample(home, customers=200, days=10)
    finished(home)
    return home


@pytest.fixture(scope="module")
def undisturbed(opened: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two more days over it, each brought to its end in peace."""
    home = copied(opened, tmp_path_factory.mktemp("undisturbed") / "home")
    for day in DAYS:
        next_day_drop(home, day)
        finished(home)
    return home


def arrive(source: Path, home: Path, day: dt.date) -> None:
    """The day's files, purchases last, as a shop drops them."""
    files = sorted((source / "landing").glob(f"*/{day}*"), key=lambda file: (file.parent.name == "transactions", file))
    copied_truth = source / "sample_truth" / "people.parquet"
    (home / "sample_truth" / "people.parquet").write_bytes(copied_truth.read_bytes())
    for file in files:
        beside = home / "landing" / file.parent.name / f".{file.name}"
        beside.write_bytes(file.read_bytes())
        beside.replace(beside.with_name(file.name))


def kill_a_run(live: Live) -> str:
    """Kill a run's process, as the kernel does when memory runs out; which run it was."""
    process = live.wait("a run's process", lambda: [p for p in live.run_processes() if p.is_running()], 300)[0]
    time.sleep(3)
    under_way = [run["jobName"] for run in live.runs() if run["status"] == "STARTED"]
    process.kill()
    return ", ".join(under_way)


def test_daemons_runs_and_code_servers_that_are_killed_change_nothing(
    opened: Path, undisturbed: Path, tmp_path: Path
) -> None:
    chance, home = random.Random(5), copied(opened, tmp_path / "home")
    live = Live(home)
    try:
        for day in DAYS:
            arrive(undisturbed, home, day)
            for _ in range(DAEMON_KILLS[day]):
                time.sleep(moment := chance.uniform(0, LONGEST))
                live.restart_daemon()
                print(f"{day}: daemon killed after {moment:.1f} s")  # noqa: T201  # pytest shows it of a failed test
            if not live.settled():
                print(f"{day}: run of {kill_a_run(live)} killed")  # noqa: T201
            if day == DAYS[-1]:
                live.restart_code_server()
            live.wait(
                f"the lists of {day}",
                lambda day=day: live.materialization("recommend/recommendations", str(day)),
                900,
            )
            live.wait("everything to come to rest", live.settled, 900)
    finally:
        live.stop()
    assert "FAILURE" in {ending for ending, _ in runs_of(home)}, "no run was killed"
    assert differing(holdings(home), holdings(undisturbed)) == []
