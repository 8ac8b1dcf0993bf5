"""A live Dagster over a copy of the finished home."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cer_assets_tests.conftest import copied
from cer_assets_tests.e2e.live import Live


@pytest.fixture(scope="module")
def home(finished_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home to drop files into."""
    return copied(finished_home, tmp_path_factory.mktemp("live") / "home")


@pytest.fixture(scope="module")
def live(home: Path) -> Iterator[Live]:
    """The UI, the daemon and the code server, answering."""
    dagster = Live(home)
    try:
        yield dagster
    finally:
        dagster.stop()
