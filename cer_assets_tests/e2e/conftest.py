"""A live Dagster over a copy of the finished home."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cer_assets_tests.conftest import copied
from cer_assets_tests.e2e.live import Live

# Dagster looks into its queue every five seconds; a day's drop is seven runs, one after the other.
HASTE = """
run_coordinator:
  module: dagster
  class: QueuedRunCoordinator
  config:
    dequeue_interval_seconds: 1
"""


@pytest.fixture(scope="module")
def home(finished_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home to drop files into."""
    home = copied(finished_home, tmp_path_factory.mktemp("live") / "home")
    with (home / "dagster" / "dagster.yaml").open("a") as settings:
        settings.write(HASTE)
    return home


@pytest.fixture(scope="module")
def live(home: Path) -> Iterator[Live]:
    """The UI, the daemon and the code server, answering."""
    dagster = Live(home)
    try:
        dagster.wait("the UI to answer", dagster.runs, 120)
        yield dagster
    finally:
        dagster.stop()
