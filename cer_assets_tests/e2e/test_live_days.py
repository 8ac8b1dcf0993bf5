"""From an empty home, untouched: three days of drops become recommendations, and a bad drop is red where it is bad.

The same story over SQLite and folders, and over a PostgreSQL server with landing zone and lake on s3://.
"""

import datetime as dt
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from upath import UPath

from cer_assets_tests.conftest import PROJECT, needs
from cer_assets_tests.e2e import postgres, s3
from cer_assets_tests.e2e.browser import DRIVER, browser
from cer_assets_tests.e2e.listener import Listener, listening
from cer_assets_tests.e2e.live import HASTE, Live
from cer_assets_tests.e2e.shop import Shop

pytestmark = pytest.mark.endurance

FIRST, SECOND, THIRD = dt.date(2017, 12, 31), dt.date(2018, 1, 1), dt.date(2018, 1, 2)
PAGES = {
    "lineage": ("/asset-groups", ["recommend", "identity", "value"]),
    "list": ("/assets/recommend/recommendations", ["recommendations", "Latest materialization"]),
    "checks": ("/assets/raw/transactions?view=checks&checkDetail=little_rejected", ["nothing_lost", "worst day"]),
    "events": ("/assets/raw/events?view=checks", ["every_file_read", "refused"]),
    "runs": ("/runs", ["customers", "load"]),
    "sensors": ("/automation", ["landing", "catch_up", "alerts", "daily"]),
    "timeline": ("/overview/timeline", ["Timeline", "customers", "recommendations"]),
}
"""The pages that people open in the morning: where they are, and what they say."""
BAD = {"raw/transactions:little_rejected", "raw/events:every_file_read", "raw/events:usual_volume"}
"""The checks that must fail where half the purchases of a day are broken and its events are no file at all, so that the
day has no event where fifteen are usual. Half the purchases of a day are no unusual number."""
TOO_SMALL = {
    "predict/churn:most_active_customers_have_a_figure",
    "segment/behaviour:same_as_before",
    "segment/behaviour_model:stable",
    "segment/preference:same_as_before",
    "segment/preference_model:stable",
    "value/clv:most_have_a_figure",
}
"""Warnings that are right about a shop of 200 households and a month: there is too little to learn from."""


@dataclass
class Deployment:
    """A live Dagster that began with an empty home, and the shop that drops into its landing zone."""

    name: str
    live: Live
    shop: Shop
    alerts: Listener
    reached: set[str] = field(default_factory=set)

    def after(self, step: str) -> None:
        """Do not wait for what cannot come."""
        assert step in self.reached, f"{step} was not reached"

    def red(self) -> set[str]:
        """The checks that did not pass, besides those that the size of the shop explains."""
        return self.live.red() - TOO_SMALL

    def lists_stand_on(self, day: dt.date) -> None:
        """Wait until nothing is left to do, and assert that the lists are of the day."""
        self.live.wait(
            f"recommendations as of {day}",
            lambda: self.live.materialization("recommend/recommendations", str(day)),
            2400,
        )
        self.live.wait("everything to come to rest", self.live.settled, 1200)
        assert figure(self.live.materialization("recommend/recommendations", str(day)), "dagster/row_count") > 0


@pytest.fixture(scope="module", params=["sqlite", "postgres+s3"])
def deployment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    home = tmp_path_factory.mktemp("days") / "home"
    home.mkdir()
    aside, settings, variables = home.parent / "shop", HASTE, {"CER_SENSOR_SECONDS": "5"}
    landing = UPath(home / "landing")
    with ExitStack() as servers:
        if "postgres" in request.param:
            needs(postgres.binaries() is not None, "Debian's postgresql, and setpriv where root runs the tests")
            variables |= servers.enter_context(postgres.server())
            settings += (PROJECT / "deploy" / "postgres.yaml").read_text()
        if "s3" in request.param:
            needs(s3.installed(), "moto and flask, of the dev extra")
            store = servers.enter_context(s3.server(home.parent / "s3.log"))
            variables |= store
            landing = s3.place(store["CER_LANDING"], store)
        alerts = servers.enter_context(listening())
        live = Live(home, variables | {"CER_ALERTS": alerts.url}, settings)
        servers.callback(live.stop)
        yield Deployment(request.param, live, Shop(aside, landing, households=200, days=30), alerts)


def figure(materialization: dict, label: str) -> int:
    return next(entry["intValue"] for entry in materialization["metadataEntries"] if entry["label"] == label)


def pictures(deployment: Deployment, morning: str, folder: Path) -> None:
    needs(DRIVER.exists(), "Debian's chromium and chromium-driver")
    folder = Path(os.environ.get("CER_SCREENSHOTS", folder))
    with browser() as window:
        for page, (path, words) in PAGES.items():
            window.open(deployment.live.url + path, folder / f"{deployment.name}_{morning}_{page}.png", words)


def test_from_an_empty_home_a_shops_first_drop_becomes_recommendations(deployment: Deployment) -> None:
    live = deployment.live
    assert live.standing() == {}
    live.wait("the sensor to look", lambda: any("nothing new" in reason for reason in live.skip_reasons("landing")))
    deployment.shop.opens()
    deployment.lists_stand_on(FIRST)
    assert deployment.red() == set()
    assert live.unsuccessful() == []
    assert deployment.alerts.heard == []
    deployment.reached.add("first")


def test_a_day_whose_daemon_is_killed_is_brought_to_its_end_by_the_next_one(deployment: Deployment) -> None:
    deployment.after("first")
    live = deployment.live
    deployment.shop.day(SECOND, broken=0.03)
    live.wait("a run to begin", lambda: not live.idle())
    live.kill_daemon()
    live.start_daemon()
    deployment.lists_stand_on(SECOND)
    loaded = live.materialization("raw/transactions", str(SECOND))
    assert figure(loaded, "rejected") > 0
    assert figure(loaded, "delivered") == figure(loaded, "rejected") + figure(loaded, "dagster/partition_row_count")
    assert deployment.red() == set()
    assert live.unsuccessful() == []
    assert deployment.alerts.heard == []
    deployment.reached.add("second")


def test_a_bad_drop_is_red_where_it_is_bad_and_nowhere_else(deployment: Deployment) -> None:
    deployment.after("second")
    live = deployment.live
    deployment.shop.bad_day(THIRD)
    live.wait("the bad day to be seen", lambda: deployment.red() >= BAD, 600)
    live.wait(
        "the sensor to say what holds it back",
        lambda: live.idle() and any("little_rejected" in reason for reason in live.skip_reasons("catch_up")[:1]),
    )
    assert deployment.red() == BAD
    live.wait("somebody to be told", lambda: deployment.alerts.began() >= BAD)
    assert deployment.alerts.began() == BAD
    assert all(alert["link"].startswith(live.url) for alert in deployment.alerts.heard)
    assert live.materialization("recommend/recommendations", str(THIRD)) is None
    deployment.reached.add("bad")


@pytest.mark.browser
def test_a_bad_morning_can_be_seen(deployment: Deployment, tmp_path: Path) -> None:
    deployment.after("bad")
    pictures(deployment, "bad", tmp_path)


def test_once_the_bad_files_are_replaced_all_is_green_and_the_lists_are_of_the_day(deployment: Deployment) -> None:
    deployment.after("bad")
    deployment.shop.mend(THIRD)
    deployment.lists_stand_on(THIRD)
    assert deployment.red() == set()
    deployment.live.wait("all tables to be in time", lambda: deployment.live.stale() == set())
    deployment.live.wait("the good news", lambda: deployment.alerts.ended() == deployment.alerts.began())
    deployment.reached.add("mended")


@pytest.mark.browser
def test_a_good_morning_can_be_seen(deployment: Deployment, tmp_path: Path) -> None:
    deployment.after("mended")
    pictures(deployment, "good", tmp_path)
