"""A small home in which everything was materialized once; tests that change it take a copy."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

settings.register_profile("same", deadline=None, derandomize=True)
if os.environ.get("CER_REQUIRE_ALL"):
    # What lands is judged by the same examples each time; elsewhere new ones are sought.
    settings.load_profile("same")

PROJECT = Path(__file__).parents[1]
LIVE = "e2e/test_live"
"""How modules begin whose tests follow each other over a live Dagster, one for each of their parameters."""


class OneLiveDagster(LoadScopeScheduling):
    """The tests over one live Dagster are one worker's; every other test is handed out by itself.

    xdist's own `loadgroup` writes the group into an attribute that pytest 9.2 no longer reads (pytest-xdist#1386):
    each worker then starts a Dagster of its own.
    """

    def _split_scope(self, nodeid: str) -> str:
        module, _, test = nodeid.partition("::")
        return f"{module}[{test.partition('[')[2]}" if LIVE in module else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> OneLiveDagster:
    return OneLiveDagster(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first; while one worker makes the finished home, the other has tests that can do without it."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    if LIVE in item.nodeid.split("::")[0]:
        return 0
    if "finished_home" not in getattr(item, "fixturenames", ()):
        return 1
    return 2 if "e2e/" in item.nodeid else 3


def needs(present: bool, what: str) -> None:
    """Skip the test where the machine lacks something, and say what."""
    if not present:
        pytest.skip(f"needs {what}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With `CER_REQUIRE_ALL`, on a machine that must lack nothing, a skipped test is a failed one."""
    report = yield
    if report.skipped and os.environ.get("CER_REQUIRE_ALL"):
        report.outcome = "failed"
        report.longrepr = f"skipped where CER_REQUIRE_ALL lets nothing be skipped: {report.longrepr}"
    return report


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
