"""Runs that are killed anywhere and started again end where undisturbed ones do; what was killed is noticed."""

import datetime as dt
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cer_assets.sample import next_day_drop, write_sample
from cer_assets_tests.conftest import copied
from cer_assets_tests.e2e.killed import Moment
from cer_assets_tests.e2e.undisturbed import (
    differing,
    finished,
    holdings,
    killed_at_each,
    random_moments,
    runs_of,
)

pytestmark = pytest.mark.endurance

SECOND_DAY = dt.date(2018, 1, 1)
FOUR_WEEKS_ON = dt.date(2018, 1, 29)
"""Day on which the models of the lists are old enough for a challenger."""
GONE = "the process that executed this run is gone; what it left undone is due again"


class Story:
    """A home before its next run, and what an undisturbed run makes of it."""

    def __init__(self, folder: Path) -> None:
        self.before, self.after = folder / "before", folder / "after"
        self._steps = folder / "steps.json"

    def tell(self) -> None:
        copied(self.before, self.after)
        self._steps.write_text(json.dumps(finished(self.after).steps))

    @property
    def steps(self) -> list[tuple[str, float]]:
        return [(step, seconds) for step, seconds in json.loads(self._steps.read_text())]

    def disturbed(self, home: Path, moments: list[Moment]) -> None:
        """Kill at each moment, run to the end, compare."""
        copied(self.before, home)
        before = runs_of(home).total()
        places = killed_at_each(home, moments)
        print(f"killed {len(places)} times:", *places, sep="\n  ")  # noqa: T201  # pytest shows it of a failed test
        assert len(places) == len(moments), f"{moments[len(places)]} never came"
        finished(home)
        assert differing(holdings(home), holdings(self.after)) == []
        ended = runs_of(home)
        assert {ending for ending, _ in ended} <= {"SUCCESS", "FAILURE"}
        assert {said for ending, said in ended if ending == "FAILURE"} == {GONE}
        assert 0 < ended["FAILURE", GONE] <= len(places)
        assert ended.total() > before
        assert leftovers(home) == []


def leftovers(home: Path) -> list[str]:
    """Files that were being written beside their place when their writer was killed."""
    return sorted(str(path.relative_to(home)) for path in home.rglob("*.tmp") if "dagster" not in path.parts)


def made_once(folder: Path, make: Callable[[], None]) -> None:
    """Something that takes long, made by the first worker that asks for it."""
    done, failed = folder / "done", folder / "failed"
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        while not done.exists():
            assert not failed.exists(), "another worker could not make it"
            time.sleep(0.5)
        return
    try:
        make()
        done.touch()
    finally:
        if not done.exists():
            failed.touch()


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers share."""
    folder = tmp_path_factory.getbasetemp()
    return (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "kills"


@pytest.fixture(scope="session")
def first_day(workshop: Path) -> Story:
    """From the drops of 10 days and nothing else."""
    story = Story(workshop / "first")

    def make() -> None:
        write_sample(story.before, customers=200, days=10)
        story.tell()

    made_once(workshop / "first", make)
    return story


@pytest.fixture(scope="session")
def second_day(workshop: Path, first_day: Story) -> Story:
    """A day's drop over what the first run left: ids are known, and most stays as it is."""
    story = Story(workshop / "second")

    def make() -> None:
        copied(first_day.after, story.before)
        next_day_drop(story.before, SECOND_DAY)
        story.tell()

    made_once(workshop / "second", make)
    return story


@pytest.fixture(scope="session")
def challenged(workshop: Path, finished_home: Path) -> Story:
    """A drop four weeks later, where there is enough to judge by: models are trained, the champion challenged."""
    story = Story(workshop / "challenged")

    def make() -> None:
        copied(finished_home, story.before)
        next_day_drop(story.before, FOUR_WEEKS_ON)
        story.tell()

    made_once(workshop / "challenged", make)
    return story


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_anywhere_between_the_first_drop_and_the_lists(first_day: Story, tmp_path: Path, seed: int) -> None:
    first_day.disturbed(tmp_path / "home", random_moments(random.Random(seed), 7, first_day.steps))


@pytest.mark.parametrize("seed", [3])
def test_killed_anywhere_on_the_second_day(second_day: Story, tmp_path: Path, seed: int) -> None:
    second_day.disturbed(tmp_path / "home", random_moments(random.Random(seed), 8, second_day.steps))


@pytest.mark.parametrize("seed", [4])
def test_killed_anywhere_while_a_champion_is_challenged(challenged: Story, tmp_path: Path, seed: int) -> None:
    challenged.disturbed(tmp_path / "home", random_moments(random.Random(seed), 8, challenged.steps))


FIRST_MOMENTS = [
    Moment("unstarted"),
    Moment("event", "PIPELINE_START"),
    Moment("event", "PIPELINE_SUCCESS"),
    Moment("uncommitted", "raw.crm_customers"),
    Moment("published", "raw.events"),
    Moment("unstored", "raw/products"),
    Moment("unsaid", "transactions"),
    Moment("said", "web_accounts"),
    Moment("published", "identity.labels"),
    Moment("saved", "identity_model"),
    Moment("promoted", "identity_model"),
    Moment("published", "identity.history"),
    Moment("uncommitted", "identity.edges"),
    Moment("published", "identity.links"),
    Moment("published", "identity.households"),
    Moment("saved", "segment_behaviour_model"),
    Moment("unplaced", "customers.html"),
    Moment("placed", "current.json"),
    Moment("unplaced", "warehouse.duckdb"),
    Moment("unstored", "insight/snapshot"),
]
SECOND_MOMENTS = [
    Moment("unsaid", "web_accounts"),
    Moment("published", "identity.records"),
    Moment("published", "identity.history"),
    Moment("published", "identity.edges"),
    Moment("uncommitted", "identity.links"),
    Moment("published", "identity.links"),
    Moment("uncommitted", "customer.orders"),
    Moment("published", "identity.households"),
    Moment("published", "value.buckets"),
    Moment("published", "recommend.recommendations"),
    Moment("unplaced", "current.json"),
    Moment("placed", "warehouse.duckdb"),
]
CHALLENGED_MOMENTS = [
    Moment("promoted", "recommend_als-all"),
    Moment("uncommitted", "recommend.evaluation"),
    Moment("published", "recommend.evaluation"),
    Moment("published", "recommend.leaks"),
    Moment("published", "recommend.decisions"),
    Moment("saved", "recommend_model"),
    Moment("uncommitted", "recommend.recommendations"),
    Moment("published", "recommend.recommendations"),
]


def test_killed_between_two_writes_on_the_first_day(first_day: Story, tmp_path: Path) -> None:
    first_day.disturbed(tmp_path / "home", FIRST_MOMENTS)


def test_killed_between_two_writes_on_the_second_day(second_day: Story, tmp_path: Path) -> None:
    second_day.disturbed(tmp_path / "home", SECOND_MOMENTS)


def test_killed_between_two_writes_of_a_challenge(challenged: Story, tmp_path: Path) -> None:
    challenged.disturbed(tmp_path / "home", CHALLENGED_MOMENTS)
