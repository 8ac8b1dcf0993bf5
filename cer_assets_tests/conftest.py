"""A small home in which everything was materialized once; tests that change it take a copy."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

PROJECT = Path(__file__).parents[1]
LIVE = "e2e/test_live.py"
"""The module whose tests follow each other over one live Dagster."""


class OneLiveDagster(LoadScopeScheduling):
    """The tests over the live Dagster are one worker's; every other test is handed out by itself.

    xdist's own `loadgroup` writes the group into an attribute that pytest 9.2 no longer reads (pytest-xdist#1386):
    each worker then starts a Dagster of its own.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.split("::")[0]
        return module if module.endswith(LIVE) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> OneLiveDagster:
    return OneLiveDagster(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first; while one worker makes the finished home, the other has tests that can do without it."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    if item.nodeid.split("::")[0].endswith(LIVE):
        return 0
    if "finished_home" not in getattr(item, "fixturenames", ()):
        return 1
    return 2 if "e2e/" in item.nodeid else 3


def environment(home: Path) -> dict[str, str]:
    """The environment of every process over a home."""
    return os.environ | {
        "CER_HOME": str(home),
        "DAGSTER_HOME": str(home / "dagster"),
        "CER_LAST_DAY": "2018-01-31",
        "CER_SENSOR_SECONDS": "2",
    }


def run_home(home: Path, *arguments: str) -> str:
    """`make run` over a home; what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "cer_assets.defs.run", *arguments],
        cwd=PROJECT,
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copied(home: Path, target: Path) -> Path:
    """A copy of a home, or of a part of it."""
    return Path(shutil.copytree(home, target, ignore=shutil.ignore_patterns("dagster-dev.log")))


@pytest.fixture(scope="session")
def finished_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 households and the last 60 days of the year, from drops to recommendations; made once for all workers."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "finished"
    done, failed = folder / "done", folder / "failed"
    try:
        folder.mkdir()
    except FileExistsError:
        while not done.exists():
            assert not failed.exists(), "another worker could not make the home"
            time.sleep(0.5)
        return folder / "home"
    try:
        run_home(folder / "home", "--customers", "200", "--days", "60")
        done.touch()
    finally:
        if not done.exists():
            failed.touch()
    return folder / "home"
