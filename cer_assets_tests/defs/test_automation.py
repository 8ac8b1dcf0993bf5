"""What is due, what is held back, and what the sensor asks for."""

import datetime as dt
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import dagster as dg
import polars as pl
import psutil
import pytest
import yaml
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import CanCancelExecutionResult
from dagster._serdes import serialize_value

from cer_assets.defs import again, automation, plan, processes, run
from cer_assets.defs.automation import job_assets, landing_sensor, retrain_sensor
from cer_assets.defs.partitions import refuse_hindsight
from cer_assets.defs.plan import (
    Step,
    due_loads,
    held_back,
    newest_day,
    next_step,
    standing_on,
    stray_files,
    strays_told,
)
from cer_assets.defs.processes import Process, end_killed_runs, say_who_executes
from cer_assets.defs.provenance import Graph
from cer_assets.defs.raw import checks
from cer_assets.defs.resources import Home, feeds
from cer_assets.defs.wiring import resources
from cer_assets_tests.conftest import PROJECT
from cer_assets_tests.defs.test_landing import fails, killed, wrong
from cer_assets_tests.e2e.live import free_port

HEADER = "basket_id,line,source,source_id,product_id,quantity,amount,discount,store_id,ordered_at"
DAYS = [dt.date(2017, 1, day) for day in (1, 2, 4)]


def drop(home: Home, day: dt.date, amount: str = "2.50") -> Path:
    """A day's purchases: one line."""
    path = home.landing / "transactions" / f"{day}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEADER}\nb{day},1,crm,1,p1,1,{amount},0,s1,{day}T15:00:00\n")
    long_ago = time.time() - 7200  # whole, by its time of writing
    os.utime(path, (long_ago, long_ago))
    return path


@pytest.fixture
def shop(empty_home: Home) -> Home:
    """A home with purchases of three days, the third day after a gap."""
    for day in DAYS:
        drop(empty_home, day)
    return empty_home


def load(
    project: dg.Definitions,
    instance: dg.DagsterInstance,
    home: Home,
    step: Step,
    tags: Mapping[str, str] | None = None,
) -> dg.ExecuteInProcessResult:
    """Run a step over the home."""
    definitions = dg.Definitions.merge(
        dg.Definitions(assets=project.assets, asset_checks=project.asset_checks, jobs=project.jobs),
        dg.Definitions(resources=resources(home)),
    )
    return definitions.resolve_job_def(step.job).execute_in_process(
        instance=instance, asset_selection=list(step.assets), tags=tags or step.tags, raise_on_error=False
    )


def tick(home: Home, instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult:
    """One tick of the landing sensor."""
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources={"home": home}) as context:
        return cast("dg.SensorResult", landing_sensor(context))


def caught_up(
    project: dg.Definitions, instance: dg.DagsterInstance, home: Home, cursor: str | None = None
) -> SensorExecutionData:
    """One tick of the catch-up sensor."""
    repository = project.get_repository_def()
    with dg.build_sensor_context(
        instance, cursor=cursor, resources={"home": home}, repository_def=repository
    ) as context:
        return repository.get_sensor_def("catch_up").evaluate_tick(context)


def planned(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> None:
    """Record what a run leaves behind that is killed before a check: the check planned, and never evaluated."""

    @dg.asset_check(asset=key.asset_key, name=key.name, blocking=True)
    def never() -> dg.AssetCheckResult:
        raise dg.Failure("killed")

    job = dg.define_asset_job("killed", dg.AssetSelection.checks(never))
    dg.Definitions(asset_checks=[never], jobs=[job]).resolve_job_def("killed").execute_in_process(
        instance=instance, raise_on_error=False
    )


def test_a_stretch_of_new_days_is_one_load(shop: Home) -> None:
    assert [(s.first, s.last) for s in due_loads(shop)] == [("2017-01-01", "2017-01-02"), ("2017-01-04", "2017-01-04")]


def test_what_was_loaded_is_due_no_more_until_its_content_changes(
    project: dg.Definitions, instance: dg.DagsterInstance, shop: Home
) -> None:
    for step in due_loads(shop):
        assert load(project, instance, shop, step).success
    assert due_loads(shop) == []
    path = drop(shop, DAYS[1])
    os.utime(path, (1, 1))
    assert due_loads(shop) == []
    drop(shop, DAYS[1], "9.99")
    assert [(s.first, s.last) for s in due_loads(shop)] == [("2017-01-02", "2017-01-02")]


def test_a_day_dropped_again_replaces_it_and_leaves_the_others(
    project: dg.Definitions, instance: dg.DagsterInstance, shop: Home
) -> None:
    for step in due_loads(shop):
        load(project, instance, shop, step)
    drop(shop, DAYS[1], "9.99")
    for step in due_loads(shop):
        load(project, instance, shop, step)
    amounts = shop.read("raw.transactions").sort("delivered_on")["amount"]
    assert [str(amount) for amount in amounts] == ["2.50", "9.99", "2.50"]
    assert newest_day(shop) == DAYS[2]


def test_the_sensor_asks_for_each_stretch_under_one_key_until_it_is_loaded_and_again_for_a_replaced_file(
    project: dg.Definitions, instance: dg.DagsterInstance, shop: Home
) -> None:
    first = tick(shop, instance, None)
    assert len(first.run_requests or []) == 2
    waiting = tick(shop, instance, first.cursor)
    assert [r.run_key for r in waiting.run_requests or []] == [r.run_key for r in first.run_requests or []]
    before, other = due_loads(shop)
    load(project, instance, shop, before)
    half = tick(shop, instance, waiting.cursor)
    assert [r.run_key for r in half.run_requests or []] == [r.run_key for r in (first.run_requests or [])[1:]]
    load(project, instance, shop, other)
    loaded = tick(shop, instance, half.cursor)
    assert not loaded.run_requests
    drop(shop, DAYS[0], "7.00")
    again = tick(shop, instance, loaded.cursor)
    (request,) = again.run_requests or []
    assert request.run_key not in {r.run_key for r in first.run_requests or []}
    assert request.tags["dagster/asset_partition_range_start"] == "2017-01-01"


def test_a_file_that_goes_back_to_what_it_was_is_asked_for_a_third_time(
    project: dg.Definitions, instance: dg.DagsterInstance, shop: Home
) -> None:
    keys: list[str | None] = []
    cursor: str | None = None
    for moment, amount in ((1, "1.00"), (2, "2.00"), (1, "1.00")):
        os.utime(drop(shop, DAYS[2], amount), (moment, moment))
        result = tick(shop, instance, cursor)
        cursor = result.cursor
        keys += [r.run_key for r in result.run_requests or []]
        for step in due_loads(shop):
            load(project, instance, shop, step)
    assert len(set(keys)) == len(keys) == 4  # at first also for the two days before


def test_files_still_being_written_are_left_alone_and_stray_ones_are_named(shop: Home) -> None:
    (shop.landing / "transactions" / ".2017-01-05.csv.tmp").write_text("half")
    (shop.landing / "transactions" / "yesterday.csv").write_text("x")
    (shop.landing / "transaktions").mkdir()
    assert len(due_loads(shop)) == 2
    assert [name.split(":")[0] for name in stray_files(shop)] == ["transaktions", "transactions/yesterday.csv"]
    told = strays_told(shop)
    assert told["transactions"].startswith(
        f"1 names that no feed reads; look into {shop.landing}/transactions: expected"
    )
    assert not any("yesterday" in what or "transaktions" in what for what in told.values())


def test_a_blocking_check_that_failed_holds_back_all_that_stands_on_it(
    project: dg.Definitions, instance: dg.DagsterInstance, shop: Home
) -> None:
    for step in due_loads(shop):
        load(project, instance, shop, step)
    graph = project.resolve_asset_graph()
    assert held_back(instance, cast("Graph", graph), shop) == {}
    path = shop.landing / "transactions" / "2017-01-05.csv"
    path.write_text(f"{HEADER}\nb5,1,crm,1,p1,1,2.50,0,s1,2017-01-05T15:00:00\nb5,2,crm,1,p1,one,2.50,0,s1,never\n")
    (step,) = due_loads(shop)
    assert not load(project, instance, shop, step).success
    held = held_back(instance, cast("Graph", graph), shop)
    assert held[dg.AssetKey(["recommend", "recommendations"])] == ["raw/transactions:little_rejected"]
    assert dg.AssetKey(["identity", "links"]) not in held
    due = next_step(instance, cast("Graph", graph), shop, job_assets(graph))
    assert isinstance(due, Step)
    assert not any(key in held for key in due.assets)

    path.write_text(f"{HEADER}\nb5,1,crm,1,p1,1,2.50,0,s1,2017-01-05T15:00:00\n")
    (step,) = due_loads(shop)
    assert load(project, instance, shop, step).success
    assert held_back(instance, cast("Graph", graph), shop) == {}


def test_an_unreadable_file_fails_with_its_name_and_without_its_content(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home
) -> None:
    path = empty_home.landing / "transactions" / "2017-01-01.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"Wilhelmina Featherstonehaugh")
    (step,) = due_loads(empty_home)
    result = load(project, instance, empty_home, step)
    assert not result.success
    (refused,) = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert "2017-01-01.parquet" in (refused.description or "")
    assert "Featherstonehaugh" not in "".join(str(event) for event in result.all_events)
    assert due_loads(empty_home) == []
    path.unlink()  # withdrawn, it is due again: the day then stands without it
    (step,) = due_loads(empty_home)
    assert load(project, instance, empty_home, step).success
    assert due_loads(empty_home) == []


def test_tables_that_one_function_computes_are_held_back_together(
    project: dg.Definitions, instance: dg.DagsterInstance, shop: Home
) -> None:
    graph = project.resolve_asset_graph()
    instance.report_runless_asset_event(dg.AssetMaterialization(["raw", "campaign_responses"]))
    planned(instance, dg.AssetCheckKey(dg.AssetKey(["raw", "campaign_responses"]), "nothing_lost"))
    held = set(held_back(instance, cast("Graph", graph), shop))
    assert {dg.AssetKey(["predict", name]) for name in ("response", "churn")} <= held
    assert all(graph.get(key).execution_set_asset_keys <= held for key in held)


def test_a_check_that_was_planned_and_never_answered_holds_back_and_makes_its_asset_due(
    project: dg.Definitions, instance: dg.DagsterInstance, shop: Home
) -> None:
    for step in due_loads(shop):
        load(project, instance, shop, step)
    graph = project.resolve_asset_graph()
    key = dg.AssetCheckKey(dg.AssetKey(["raw", "transactions"]), "nothing_lost")
    planned(instance, key)
    assert dg.AssetKey(["recommend", "recommendations"]) in held_back(instance, cast("Graph", graph), shop)
    again = next_step(instance, cast("Graph", graph), shop, job_assets(graph))
    assert isinstance(again, Step)
    assert (again.job, again.first) == ("load", "2017-01-04")
    assert load(project, instance, shop, again).success
    assert held_back(instance, cast("Graph", graph), shop) == {}


def test_the_daemon_asks_for_a_load_whose_checks_never_answered(
    project: dg.Definitions, instance: dg.DagsterInstance, shop: Home
) -> None:
    loaded(shop, DAYS)
    instance.report_runless_asset_event(dg.AssetMaterialization(["raw", "transactions"], partition=str(DAYS[-1])))
    planned(instance, dg.AssetCheckKey(dg.AssetKey(["raw", "transactions"]), "nothing_lost"))
    (request,) = caught_up(project, instance, shop).run_requests or []
    assert request.job_name == "load"


def test_a_load_whose_check_falls_over_every_time_is_asked_for_once_and_then_after_hours(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def falls_over(*_: object) -> str:
        raise MemoryError

    monkeypatch.setattr(checks, "_repeated", falls_over)
    drop(empty_home, DAYS[0])
    (step,) = due_loads(empty_home)
    assert not load(project, instance, empty_home, step).success
    first = caught_up(project, instance, empty_home)
    (asked,) = first.run_requests or []
    assert asked.job_name == "load"
    assert not load(project, instance, empty_home, step, asked.tags).success
    second = caught_up(project, instance, empty_home, first.cursor)
    # What does not stand on it goes on meanwhile.
    (other,) = second.run_requests or []
    assert other.job_name == "customers"
    assert not set(other.asset_selection or ()) & standing_on(project.resolve_asset_graph(), step.assets[0])
    monkeypatch.setattr(again, "ANYWAY", dt.timedelta(0))
    (anew,) = caught_up(project, instance, empty_home, second.cursor).run_requests or []
    assert anew.job_name == "load"
    assert anew.run_key != asked.run_key


def test_a_step_that_may_not_be_taken_holds_back_what_reads_its_assets_and_nothing_else(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(empty_home, DAYS)
    due = {
        dg.AssetKey(name.split("/"))
        for name in ("predict/response_model", "predict/response", "recommend/recommendations", "insight/snapshot")
    }
    monkeypatch.setattr(plan, "_due", lambda *given: [key for key in given[3] if key in due])
    first = caught_up(project, instance, empty_home)
    (failing,) = first.run_requests or []
    assert {key.path[0] for key in failing.asset_selection or ()} == {"predict"}
    run = instance.create_run_for_job(dg.job(name="customers")(lambda: None), tags=failing.tags)
    instance.report_run_failed(run, "a bug")

    second = caught_up(project, instance, empty_home, first.cursor)
    (lists,) = second.run_requests or []
    # The snapshot is one of all tables: it waits for those of predictions.
    assert lists.asset_selection == [dg.AssetKey(["recommend", "recommendations"])]
    due.remove(dg.AssetKey(["recommend", "recommendations"]))
    said = str(caught_up(project, instance, empty_home, second.cursor).skip_message)
    assert "failed on these very inputs" in said
    assert "everything else stands on" in said


@pytest.mark.parametrize(("due", "asked"), [("identity/links", []), ("predict/drift", ["history"])])
def test_past_days_wait_for_a_step_whose_tables_they_read(
    project: dg.Definitions,
    instance: dg.DagsterInstance,
    empty_home: Home,
    monkeypatch: pytest.MonkeyPatch,
    due: str,
    asked: list[str],
) -> None:
    loaded(empty_home, DAYS)
    for key in HISTORY:
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=str(DAYS[0])))
    monkeypatch.setattr(plan, "_due", lambda *given: [key for key in given[3] if key.to_user_string() == due])
    graph = cast("Graph", project.resolve_asset_graph())
    steps = plan.due_steps(instance, graph, empty_home, job_assets(graph))
    assert [step.job for step in steps if isinstance(step, Step)] == ["customers", *asked]


def test_a_check_that_was_planned_for_a_feed_that_never_came_holds_nothing_back(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home
) -> None:
    loaded(empty_home, DAYS)
    planned(instance, dg.AssetCheckKey(dg.AssetKey(["raw", "consents"]), "nothing_lost"))
    graph = project.resolve_asset_graph()
    jobs = job_assets(graph)
    due = next_step(instance, cast("Graph", graph), empty_home, jobs)
    assert isinstance(due, Step)
    assert set(due.assets) == set(jobs["customers"])


def test_assets_that_one_function_computes_are_due_together(
    project: dg.Definitions, instance: dg.DagsterInstance, shop: Home
) -> None:
    for step in due_loads(shop):
        load(project, instance, shop, step)
    graph = project.resolve_asset_graph()
    due = next_step(instance, cast("Graph", graph), shop, job_assets(graph))
    assert isinstance(due, Step)
    named = {key.to_user_string() for key in due.assets}
    assert {"identity/history", "identity/edges", "identity/links"} <= named
    instance.report_runless_asset_event(dg.AssetMaterialization(["identity", "history"]))
    again = next_step(instance, cast("Graph", graph), shop, job_assets(graph))
    assert isinstance(again, Step)
    assert {key.to_user_string() for key in again.assets} == named


def test_a_delivery_of_changes_adds_to_the_table_though_older_files_are_gone(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home
) -> None:
    folder = empty_home.landing / "consents"
    folder.mkdir(parents=True)
    for name in ("2017-01-01", "2017-02-01", "2017-02-01.late"):
        path = folder / f"{name}.csv"
        path.write_text(f"source,source_id,purpose,granted,at\ncrm,{len(name)},email,true,{name[:10]}T10:00:00\n")
        (step,) = due_loads(empty_home)
        assert load(project, instance, empty_home, step).success
        path.unlink()
    assert empty_home.read("raw.consents").height == 3


def test_a_file_outside_the_grid_is_named_and_not_asked_for(shop: Home) -> None:
    drop(shop, dt.date(2016, 12, 31))
    assert len(due_loads(shop)) == 2
    assert any("2016-12-31.csv: the daily grid runs from" in name for name in stray_files(shop))


def test_a_past_day_is_not_scored_by_a_model_that_saw_what_came_after() -> None:
    refuse_hindsight(dt.date(2017, 12, 31), dt.date(2018, 1, 1))
    with pytest.raises(dg.Failure, match="2017-06-01 cannot be scored"):
        refuse_hindsight(dt.date(2017, 6, 1), dt.date(2017, 12, 31))


def test_the_catalogue_is_of_the_newest_delivery_because_its_feed_delivers_everything() -> None:
    assert feeds()["products"].delivers == "full"


def test_a_run_whose_process_is_gone_is_marked_as_failed(instance: dg.DagsterInstance) -> None:
    run_id = str(uuid.uuid4())
    tags = replace(Process.this(run_id), pid=999999).tag
    run = instance.create_run_for_job(
        dg.job(name="j")(lambda: None), run_id=run_id, status=dg.DagsterRunStatus.STARTED, tags=tags
    )
    assert end_killed_runs(instance) == 1
    assert status(instance, run.run_id) == dg.DagsterRunStatus.FAILURE


@pytest.fixture
def queueing() -> Iterator[dg.DagsterInstance]:
    """An instance set up as the project's: runs wait in a queue until a daemon has the code server start them."""
    configuration = yaml.safe_load(Path(PROJECT, "dagster.yaml").read_text())
    with dg.instance_for_test(overrides={"run_coordinator": configuration["run_coordinator"]}) as instance:
        yield instance


def taken_from_the_queue(instance: dg.DagsterInstance, tags: Mapping[str, str] | None = None) -> str:
    """A run that a daemon is about to have started."""
    where = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("cer_assets"), "__repository__")
    run = instance.create_run_for_job(
        dg.job(name="j")(lambda: None),
        tags=tags,
        remote_job_origin=RemoteJobOrigin(where, "j"),
    )
    instance.report_dagster_event(dg.DagsterEvent.job_enqueue(run), run.run_id)
    take_from_the_queue(instance, run.run_id)
    return run.run_id


def take_from_the_queue(instance: dg.DagsterInstance, run_id: str) -> None:
    starting = dg.DagsterEvent(event_type_value=dg.DagsterEventType.RUN_STARTING.value, job_name="j")
    instance.report_dagster_event(starting, run_id)


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_run_whose_daemon_was_killed_before_it_was_launched_goes_back_into_the_queue(
    queueing: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = taken_from_the_queue(queueing)
    assert end_killed_runs(queueing) == 0
    assert status(queueing, run_id) == dg.DagsterRunStatus.STARTING, "a daemon may be launching it"
    monkeypatch.setattr(processes, "LAUNCH_SECONDS", -1)
    assert end_killed_runs(queueing) == 0
    assert status(queueing, run_id) == dg.DagsterRunStatus.QUEUED


def test_without_a_daemon_a_run_that_was_never_launched_ends_and_is_due_again(
    queueing: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = taken_from_the_queue(queueing)
    monkeypatch.setattr(processes, "LAUNCH_SECONDS", -1)
    assert end_killed_runs(queueing, daemon=False) == 1
    assert status(queueing, run_id) == dg.DagsterRunStatus.FAILURE
    assert again.was_killed(queueing, run_id)


@pytest.mark.parametrize(
    ("executes", "younger", "then"),
    [
        pytest.param(True, False, "STARTING", id="executes it"),
        pytest.param(False, False, "QUEUED", id="does not"),
        pytest.param(False, True, "STARTING", id="cannot say, having been started since"),
    ],
)
def test_a_run_that_its_code_server_does_not_execute_goes_back_into_the_queue(
    queueing: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, executes: bool, younger: bool, then: str
) -> None:
    run_id = taken_from_the_queue(queueing, {GRPC_INFO_TAG: json.dumps({"host": "127.0.0.1", "port": 4000})})
    answer = serialize_value(CanCancelExecutionResult(can_cancel=executes))
    monkeypatch.setattr(DagsterGrpcClient, "can_cancel_execution", lambda *_, **__: answer)
    if younger:
        monkeypatch.setattr(psutil.Process, "create_time", lambda _: time.time() + 60)
    monkeypatch.setattr(processes, "LAUNCH_SECONDS", -1)
    assert end_killed_runs(queueing) == 0
    assert status(queueing, run_id) == dg.DagsterRunStatus[then]


def test_a_run_whose_launch_is_cut_off_again_and_again_ends(
    queueing: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = taken_from_the_queue(queueing)
    monkeypatch.setattr(processes, "LAUNCH_SECONDS", -1)
    ended = 0
    for _ in range(processes.MOST_LAUNCHES):
        ended = end_killed_runs(queueing)
        if not ended:
            take_from_the_queue(queueing, run_id)
    assert ended == 1
    assert status(queueing, run_id) == dg.DagsterRunStatus.FAILURE


def test_a_run_whose_code_server_does_not_answer_is_given_the_time_to_come_up(
    queueing: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = {"host": "127.0.0.1", "port": free_port()}
    run_id = taken_from_the_queue(queueing, {GRPC_INFO_TAG: json.dumps(nobody)})
    monkeypatch.setattr(processes, "LAUNCH_SECONDS", -1)
    assert end_killed_runs(queueing, daemon=False) == 0
    monkeypatch.setattr(processes, "START_SECONDS", -1)
    assert end_killed_runs(queueing) == 1
    assert status(queueing, run_id) == dg.DagsterRunStatus.FAILURE


def test_a_process_that_comes_up_after_its_run_was_ended_does_nothing(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(dg.job(name="j")(lambda: None), status=dg.DagsterRunStatus.FAILURE)
    with pytest.raises(dg.Failure, match="ended before its process came up"):
        say_who_executes(instance, run)


HISTORY = [dg.AssetKey(["value", "rfm"]), dg.AssetKey(["value", "rfm_history"])]


def loaded(home: Home, days: list[dt.date]) -> None:
    """Enter days of purchases into the ledger."""
    files = {"feed": "transactions", "delivered_on": days, "file": "f", "accepted": 1}
    home.lake.publish("raw.deliveries", pl.DataFrame(files), partition_by="delivered_on")


def known(instance: dg.DagsterInstance, keys: list[dg.AssetKey], days: list[dt.date]) -> None:
    """Record that days of some tables were computed."""
    for key in keys:
        for day in days:
            instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=str(day)))


def test_history_is_asked_for_where_days_are_missing_for_all_tables_that_lack_them(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home
) -> None:
    graph = cast("Graph", project.resolve_asset_graph())
    week = [dt.date(2017, 1, 2) + dt.timedelta(days=n) for n in range(6)]
    loaded(empty_home, week)
    assert isinstance(next_step(instance, graph, empty_home, {"history": HISTORY}), str)  # there is no newest day yet
    known(instance, HISTORY, week[-1:])
    known(instance, HISTORY[:1], week[3:4])
    steps: list[tuple[int, str | None, str | None]] = []
    while isinstance(step := next_step(instance, graph, empty_home, {"history": HISTORY}), Step):
        steps.append((len(step.assets), step.first, step.last))
        done = [day for day in week if str(step.first) <= str(day) <= str(step.last)]
        known(instance, list(step.assets), done)
    assert steps == [(2, "2017-01-06", "2017-01-06"), (2, "2017-01-02", "2017-01-04"), (1, "2017-01-05", "2017-01-05")]


def test_a_week_ends_on_a_sunday_without_a_drop_once_a_week_has_passed(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home
) -> None:
    graph = cast("Graph", project.resolve_asset_graph())
    open_days = [dt.date(2017, 1, 2) + dt.timedelta(days=n) for n in range(13) if n != 6]
    for newest, expected in ((open_days[-2], None), (open_days[-1] + dt.timedelta(days=1), "2017-01-08")):
        loaded(empty_home, [day for day in open_days if day < newest] + [newest])
        known(instance, HISTORY, [day for day in open_days if day < newest] + [newest])
        step = next_step(instance, graph, empty_home, {"history": HISTORY})
        assert (step.first if isinstance(step, Step) else None) == expected


@pytest.fixture
def without_a_past(empty_home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home whose history lacks a day, and whose lists are due."""
    loaded(empty_home, DAYS)
    known(instance, HISTORY, DAYS[1:])
    jobs = {"history": HISTORY, "recommendations": [dg.AssetKey(["recommend", "recommendations"])]}
    for module in (automation, run):
        monkeypatch.setattr(module, "job_assets", lambda _: jobs)
    return empty_home


def test_past_days_that_cannot_be_computed_do_not_hold_up_the_lists_that_the_daemon_asks_for(
    project: dg.Definitions, instance: dg.DagsterInstance, without_a_past: Home
) -> None:
    asked: list[str | None] = []
    cursor: str | None = None
    for _ in range(2):
        result = caught_up(project, instance, without_a_past, cursor)
        (request,) = result.run_requests or []
        fails(wrong)(instance, request.tags)
        asked, cursor = [*asked, request.job_name], result.cursor
    assert asked == ["history", "recommendations"]
    last = caught_up(project, instance, without_a_past, cursor)
    assert not last.run_requests
    assert str(last.skip_message).count("failed on these very inputs") == 2


def test_past_days_that_cannot_be_computed_do_not_hold_up_the_lists_that_make_run_computes(
    project: dg.Definitions, instance: dg.DagsterInstance, without_a_past: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def execute(_: dg.Definitions, instance: dg.DagsterInstance, step: Step) -> object:
        ran.append(step.job)
        return fails(wrong)(instance, {})

    monkeypatch.setattr("cer_assets.definitions.defs", lambda: project)
    monkeypatch.setattr(run, "_execute", execute)
    assert run._run(without_a_past, instance, time.monotonic()) == 1
    assert ran == ["history", "recommendations"]


def test_a_training_that_was_killed_is_asked_for_again_and_one_that_succeeded_is_not(
    empty_home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(automation, "learned_from", lambda *_, **__: pl.DataFrame())
    monkeypatch.setattr(automation, "retrain_due", lambda *_: "20 pairs were answered")
    empty_home.lake.publish("identity.labels", pl.DataFrame({"record_a": ["crm:1"]}))
    keys: list[str | None] = []
    for ends in (killed, dg.job(name="training")(lambda: None).execute_in_process):
        with dg.build_sensor_context(instance, resources={"home": empty_home}) as context:
            asked = cast("dg.RunRequest", retrain_sensor(context))
        keys.append(asked.run_key)
        ends(instance=instance, tags=asked.tags)
    assert len(set(keys)) == 2
    with dg.build_sensor_context(instance, resources={"home": empty_home}) as context:
        ran = retrain_sensor(context)
    assert isinstance(ran, dg.SkipReason)
    assert ran.skip_message == "training ran on these very inputs"


def test_restate_computes_past_days_anew_and_no_others(
    project: dg.Definitions, instance: dg.DagsterInstance, broken_home: Home
) -> None:
    rfm = broken_home.lake.scan("value.rfm").collect().sort("as_of", "customer_id")
    history = broken_home.lake.scan("value.rfm_history").collect()
    past = pl.col("as_of") < pl.col("as_of").max()
    wrong = rfm.with_columns(frequency=pl.col("frequency") + past.cast(pl.Int64))
    broken_home.lake.publish("value.rfm", wrong, partition_by="as_of")
    broken_home.lake.publish("value.rfm_history", history.clear(), partition_by="as_of")
    first, last = dt.date(2017, 12, 2), dt.date(2017, 12, 3)
    assert load(project, instance, broken_home, Step("restate", tuple(HISTORY), str(first), str(last))).success
    restated = pl.col("as_of").is_between(first, last)
    now = broken_home.lake.scan("value.rfm").collect().sort("as_of", "customer_id")
    assert now.filter(restated).equals(rfm.filter(restated))
    assert now.filter(~restated).equals(wrong.filter(~restated))
    assert broken_home.lake.scan("value.rfm_history").collect().height == history.filter(restated).height > 0


def test_a_past_day_that_was_computed_again_is_read_by_people_with_the_next_snapshot_and_that_is_taken_once(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home
) -> None:
    graph = cast("Graph", project.resolve_asset_graph())
    snapshot = {"recommendations": [dg.AssetKey(["insight", "snapshot"])]}
    loaded(empty_home, DAYS)
    days = pl.DataFrame({"as_of": DAYS, "frequency": [1, 2, 3]})
    seen: list[str] = []
    # A day of an input, none of a table that is no input, and a day of that.
    for table, frequency in (("value.rfm", 7), ("value.rfm", 7), ("predict.response", 7), ("predict.response", 8)):
        restated = days.with_columns(frequency=pl.when(pl.int_range(3) == 0).then(frequency).otherwise("frequency"))
        empty_home.lake.publish(table, restated, partition_by="as_of")
        step = next_step(instance, graph, empty_home, snapshot)
        if isinstance(step, Step):
            seen.append(f"{table} {frequency} {step.fingerprint}")
            assert load(project, instance, empty_home, step).success
            assert isinstance(next_step(instance, graph, empty_home, snapshot), str)
        assert cast("pl.DataFrame", empty_home.served(table))["frequency"].max() == frequency
    assert [one.rpartition(" ")[0] for one in seen] == ["value.rfm 7", "predict.response 7", "predict.response 8"]
    assert len({one.rpartition(" ")[2] for one in seen}) == 3, "a step on the same inputs would not be asked for again"


def test_a_table_written_while_a_snapshot_is_taken_makes_it_due_again(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = cast("Graph", project.resolve_asset_graph())
    snapshot = {"recommendations": [dg.AssetKey(["insight", "snapshot"])]}
    loaded(empty_home, DAYS)
    days = pl.DataFrame({"as_of": DAYS, "frequency": [1, 2, 3]})
    empty_home.lake.publish("value.rfm", days.tail(2), partition_by="as_of")
    step = next_step(instance, graph, empty_home, snapshot)
    assert isinstance(step, Step)

    def late(*_: object) -> list[object]:
        empty_home.lake.publish("value.rfm", days, partition_by="as_of")
        return []

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("cer_assets.defs.insight.assets._vacuum", late)
        assert load(project, instance, empty_home, step).success
    again = next_step(instance, graph, empty_home, snapshot)
    assert isinstance(again, Step)
    assert load(project, instance, empty_home, again).success
    assert isinstance(next_step(instance, graph, empty_home, snapshot), str)


def test_every_asset_says_who_owns_it_what_it_is_and_of_what_kind(project: dg.Definitions) -> None:
    for spec in project.resolve_all_asset_specs():
        assert spec.owners, spec.key
        assert spec.description, spec.key
        assert spec.kinds, spec.key
        assert spec.group_name == spec.key.path[0]


def test_a_planted_person_is_found_in_no_metadata_log_or_event(
    project: dg.Definitions, broken_home: Home, tmp_path: Path
) -> None:
    planted = {"FIRSTNAME": "Wilhelmina", "LASTNAME": "Featherstonehaugh", "EMAIL": "mina.f@plantedmail.example"}
    header = "CUSTNO;LASTNAME;FIRSTNAME;DOB;EMAIL;PHONE;STREET;CITY;STATE;ZIP;CHANGED"
    row: dict[str, Any] = {"CUSTNO": "P1", "CHANGED": "01.01.2018 10:00"} | planted
    lines = [";".join(row.get(column, "") for column in header.split(";"))] * 2 + ["P2;Featherstonehaugh;Wilhelmina"]
    path = broken_home.landing / "crm_customers" / "2018-01-01.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="cp1252")
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        (step,) = [s for s in due_loads(broken_home) if "crm_customers" in s.why]
        load(project, instance, broken_home, step)
        records = Step("customers", (dg.AssetKey(["identity", "records"]),), "2017-12-31", "2017-12-31")
        assert load(project, instance, broken_home, records).success
    rejects = broken_home.lake.scan("raw.crm_customers_rejects").filter(pl.col("delivered_on") == dt.date(2018, 1, 1))
    assert "Featherstonehaugh" in str(rejects.collect()["content"].to_list())
    written = b"".join(file.read_bytes() for file in (tmp_path / "dagster").rglob("*") if file.is_file())
    for value in planted.values():
        assert value.lower().encode() not in written.lower()
    assert json.dumps(planted)
