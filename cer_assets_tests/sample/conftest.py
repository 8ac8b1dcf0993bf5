"""One reading of the real purchases for all tests of the sample."""

from pathlib import Path

import pytest

from cer_assets.sample import drops
from cer_assets.sample.draws import Draws
from cer_assets.sample.journey import Journey, households, read_journey


@pytest.fixture(scope="session")
def journey() -> Journey:
    return read_journey()


@pytest.fixture(scope="session")
def population(journey: Journey) -> drops._Population:
    """The people of all real households."""
    draws = Draws(0)
    return drops._population(households(journey, None, draws), draws)


@pytest.fixture(autouse=True)
def _read_once(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drops, "read_journey", lambda: journey)


@pytest.fixture(scope="session")
def small_home(journey: Journey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole sample of sixty households; tests read it and leave it as it is."""
    home = tmp_path_factory.mktemp("sample")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drops, "read_journey", lambda: journey)
        drops.write_sample(home, customers=60)
    return home
