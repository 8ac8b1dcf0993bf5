"""A small home that was run once, and a live Dagster over it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cer_assets_tests.e2e.live import PROJECT, Live, environment


def run_once(home: Path, *arguments: str) -> str:
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


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 households, the year's last 120 days, everything materialized."""
    folder = tmp_path_factory.mktemp("home")
    run_once(folder, "--customers", "200", "--days", "120")
    return folder


@pytest.fixture(scope="session")
def live(home: Path) -> Iterator[Live]:
    """The UI, the daemon and the code server, answering."""
    dagster = Live(home)
    try:
        dagster.wait("the UI to answer", dagster.runs, 120)
        yield dagster
    finally:
        dagster.stop()
