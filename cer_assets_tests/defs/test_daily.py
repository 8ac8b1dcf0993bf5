"""The daily schedule, and what lets it and every other run of the project stand beside each other."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from cer_assets.defs.resources import Home, daily_at
from cer_assets_tests.conftest import PROJECT
from cer_assets_tests.defs.test_automation import loaded


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance that a schedule can open: by its folder."""
    (tmp_path / "instance").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "instance")) as instance:
        yield instance


def tick(
    project: dg.Definitions, instance: dg.DagsterInstance, home: Home, day: int = 1
) -> dg.RunRequest | dg.SkipReason:
    """The schedule's answer on a day."""
    from cer_assets.defs.automation import daily_schedule

    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=dt.datetime(2018, 1, day, 10, tzinfo=dt.UTC),
        resources={"home": home},
        repository_def=project.get_repository_def(),
    )
    with context:
        return daily_schedule(context)  # type: ignore[return-value]


def test_it_skips_with_a_reason_when_nothing_came_and_while_anything_runs(
    project: dg.Definitions, kept: dg.DagsterInstance, empty_home: Home
) -> None:
    nothing = tick(project, kept, empty_home)
    assert isinstance(nothing, dg.SkipReason)
    assert nothing.skip_message == "no purchases were loaded yet"
    loaded(empty_home, [dt.date(2017, 1, 1)])
    first, second = (tick(project, kept, empty_home, day) for day in (1, 2))
    assert isinstance(first, dg.RunRequest)
    assert isinstance(second, dg.RunRequest)
    assert first.job_name == "customers"
    assert first.run_key != second.run_key  # what failed is tried again the next day
    kept.create_run_for_job(dg.job(name="load")(lambda: None), status=dg.DagsterRunStatus.NOT_STARTED)
    waiting = tick(project, kept, empty_home)
    assert isinstance(waiting, dg.SkipReason)
    assert waiting.skip_message == "load is running"


def test_hour_and_zone_are_configuration(project: dg.Definitions, monkeypatch: pytest.MonkeyPatch) -> None:
    (schedule,) = project.schedules or []
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 5 * * *", "America/New_York")
    monkeypatch.setenv("CER_DAILY_AT", "22:30")
    assert daily_at() == dt.time(22, 30)


def test_one_run_at_a_time_and_a_range_of_days_is_one_run(project: dg.Definitions) -> None:
    configuration = yaml.safe_load(Path(PROJECT, "dagster.yaml").read_text())
    assert configuration["concurrency"]["runs"]["max_concurrent_runs"] == 1
    assert configuration["freshness"]["enabled"]
    graph = project.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        if graph.get(key).partitions_def is not None:
            assert graph.get(key).backfill_policy == dg.BackfillPolicy.single_run(), key
