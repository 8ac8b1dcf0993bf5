"""With the UI and the daemon running: drops become recommendations, broken rows are counted, a bad drop stops there."""

import datetime as dt
import os
from pathlib import Path

import pytest

from cer_assets.sample import broken_drop, next_day_drop
from cer_assets_tests.conftest import copied, needs
from cer_assets_tests.e2e.browser import DRIVER, browser
from cer_assets_tests.e2e.live import Live

# A day lies between the second and the third, so that each is loaded by a run of its own.
FIRST, SECOND, THIRD = (dt.date(2018, 1, day) for day in (1, 2, 4))


def figure(materialization: dict, label: str) -> int:
    return next(entry["intValue"] for entry in materialization["metadataEntries"] if entry["label"] == label)


def refused(live: Live) -> dict | None:
    newest = live.checks("raw/transactions")["little_rejected"]
    return newest if newest and newest["evaluation"] and not newest["evaluation"]["success"] else None


@pytest.fixture(scope="module")
def broken(live: Live, home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A drop with some broken rows and one of which half is broken, there from one moment to the next."""
    aside = tmp_path_factory.mktemp("broken")
    copied(home / "sample_truth", aside / "sample_truth")
    broken_drop(aside, SECOND, 0.03)
    broken_drop(aside, THIRD, 0.5)
    for file in sorted((aside / "landing" / "transactions").iterdir()):
        file.rename(home / "landing" / "transactions" / file.name)


def test_a_days_drop_becomes_recommendations_with_no_hand_on_anything(live: Live, home: Path) -> None:
    next_day_drop(home, FIRST)
    live.wait("the drop to be loaded", lambda: live.materialization("raw/transactions", str(FIRST)))
    fresh = live.wait(
        "recommendations as of the new day", lambda: live.materialization("recommend/recommendations", str(FIRST))
    )
    assert figure(fresh, "dagster/row_count") > 0
    live.wait("everything to come to rest", live.settled)


@pytest.mark.usefixtures("broken")
def test_a_drop_with_some_broken_rows_is_loaded_and_its_rejects_counted(live: Live) -> None:
    loaded = live.wait("the drop to be loaded", lambda: live.materialization("raw/transactions", str(SECOND)))
    assert figure(loaded, "rejected") > 0
    assert figure(loaded, "delivered") == figure(loaded, "rejected") + figure(loaded, "dagster/partition_row_count")


@pytest.mark.usefixtures("broken")
def test_a_drop_that_fails_a_blocking_check_stops_there_and_says_why(live: Live, home: Path) -> None:
    live.wait("the drop to be loaded", lambda: live.materialization("raw/transactions", str(THIRD)))
    failed = live.wait("the check to fail", lambda: refused(live))
    assert str(THIRD) in failed["evaluation"]["description"]
    live.wait(
        "the sensor to say what holds it back",
        lambda: any("raw/transactions:little_rejected" in reason for reason in live.skip_reasons("catch_up")),
    )
    assert live.materialization("recommend/recommendations", str(THIRD)) is None

    broken_drop(home, THIRD, 0)
    live.wait("recommendations", lambda: live.materialization("recommend/recommendations", str(THIRD)))


PAGES = {
    "lineage": ("/asset-groups", ["recommend", "identity", "value"]),
    "asset": ("/assets/recommend/evaluation", ["recommend", "evaluation", "Description"]),
    "checks": ("/assets/raw/transactions?view=checks", ["nothing_lost", "little_rejected"]),
}


@pytest.mark.browser
def test_the_pages_people_open_show_what_they_came_for(live: Live, tmp_path: Path) -> None:
    needs(DRIVER.exists(), "Debian's chromium and chromium-driver")
    folder = Path(os.environ.get("CER_SCREENSHOTS", tmp_path))
    with browser() as window:
        for page, (path, words) in PAGES.items():
            window.open(live.url + path, folder / f"{page}.png", words)
