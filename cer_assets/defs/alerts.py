"""Who hears of what is wrong: a sensor compares what is wrong now with what it said last.

| wrong                                     | until                               | found in                          |
|-------------------------------------------|-------------------------------------|-----------------------------------|
| the newest run of a job, or of a feed's   | one of them succeeds                | the runs; a check that failed is  |
| load, failed                              |                                     | told as a check                   |
| a blocking check failed, or a drop is     | its next evaluation passes          | the newest evaluations            |
| abnormal, or ids churn                    |                                     |                                   |
| a table is not new in time                | it is                               | the daemon's freshness states     |
| drops whose load failed                   | they are loaded                     | the landing sensor's cursor       |
| a file goes on growing                    | it does not                         | the landing sensor's cursor       |
| files that no feed reads                  | they are gone                       | the landing zone                  |
| somebody asked to be forgotten and is not | they are, and the receipt is signed | the requests, the receipts and    |
| for days                                  |                                     | when they were materialized       |

Where to is `CER_ALERTS` (see `cer_assets/alerts/targets.py`); links begin with `CER_UI_URL`. A target that cannot be
reached is told at the next tick.
"""

import datetime as dt
import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import cast

import dagster as dg
from dagster import AssetKey
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.scheduler.instigation import SensorInstigatorData
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES as ANSWERED,
)
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord

from cer_assets.alerts import Alert, InvalidTarget, as_text, targets_of, tell, told_from
from cer_assets.defs.again import OF, end_of, was_killed
from cer_assets.defs.arrivals import Watch, growing
from cer_assets.defs.erasure.listed import under_way_since, waiting_since
from cer_assets.defs.landing import not_loaded
from cer_assets.defs.plan import LOAD, PURCHASES, standing_on, strays_told
from cer_assets.defs.provenance import Graph
from cer_assets.defs.resources import Home, feeds, sensor_seconds

CHURN = dg.AssetCheckKey(AssetKey(["identity", "links"]), "id_churn")
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
_CHECK_FAILED = "DagsterAssetCheckFailedError"
_PURCHASES = AssetKey(["raw", PURCHASES])
_SAME_LOOK, _TO_CATCH_UP = dt.timedelta(hours=1), dt.timedelta(hours=4)
"""What became overdue within the hour did so for one cause; what stands on late purchases has as long as every morning
to be computed from them."""
NOT_FORGOTTEN = dt.timedelta(days=3)
"""Somebody asked to be forgotten and is not: a day's drops and what stands on them take a morning."""
_LONGEST = 400
"""Characters of an error's first line: more is a dump."""


@dg.sensor(
    name="alerts",
    minimum_interval_seconds=sensor_seconds(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells the targets of CER_ALERTS what became wrong, once, and once that it is right again.",
)
def alerts_sensor(context: dg.SensorEvaluationContext, home: Home) -> dg.SkipReason:
    """The cursor holds what each target was told."""
    if context.repository_def is None:
        return dg.SkipReason("the definitions are not loaded")
    graph = cast("Graph", context.repository_def.asset_graph)
    jobs = sorted({*context.repository_def.job_names} - {LOAD})
    cursor = _cursor_of(context.instance, "landing")
    wrong = list(wrong_now(context.instance, graph, home, jobs, dt.datetime.now(dt.UTC), cursor))
    seen = f"{len(wrong)} wrong" + (f": {'; '.join(sorted({alert.where for alert in wrong})[:5])}" if wrong else "")
    try:
        targets = targets_of(os.environ.get("CER_ALERTS", ""))
    except InvalidTarget as fault:
        return dg.SkipReason(f"CER_ALERTS: {fault}. {seen}")
    if not targets:
        return dg.SkipReason(f"nobody is told, for CER_ALERTS is not set. {seen}")
    told, failures = tell(targets, wrong, told_from(context.cursor))
    for failure in failures:
        context.log.warning(f"not delivered, tried again at the next tick: {failure}")
    context.update_cursor(as_text(told))
    return dg.SkipReason("; ".join([seen, *(f"not delivered: {failure}" for failure in failures)]))


def wrong_now(
    instance: dg.DagsterInstance,
    graph: Graph,
    home: Home,
    jobs: Sequence[str],
    now: dt.datetime,
    landing: str | None = None,
) -> Iterator[Alert]:
    """All that is wrong at this moment.

    Args:
        instance: where runs, evaluations and freshness states are recorded.
        graph: the assets and their checks.
        home: the landing zone and the ledger.
        jobs: those whose runs count, beside the loads.
        now: the moment, with its time zone.
        landing: the cursor of the landing sensor.
    """
    # Of alerts with one key the later is told, and a run knows why it failed.
    yield from _not_loaded(landing)
    yield from _runs(instance, jobs)
    yield from _checks(instance, graph)
    yield from _overdue(instance, graph, now)
    yield from _growing(landing, now)
    yield from _strays(home, now)
    yield from _not_forgotten(instance, home, now)


def _runs(instance: dg.DagsterInstance, jobs: Sequence[str]) -> Iterator[Alert]:
    for name, record in _newest_runs(instance, jobs):
        run = record.dagster_run
        if run.status == dg.DagsterRunStatus.FAILURE and (what := _why(instance, run.run_id)):
            yield Alert(f"run {name}", what, name, _moment(record.end_time), link=_link(f"runs/{run.run_id}"))


def _newest_runs(instance: dg.DagsterInstance, jobs: Sequence[str]) -> Iterator[tuple[str, dg.RunRecord]]:
    """The newest run that ended, of each job and of each feed's load."""
    for job in jobs:
        if newest := instance.get_run_records(dg.RunsFilter(job_name=job, statuses=_ENDED), limit=1):
            yield job, newest[0]
    for feed in feeds():
        wanted = dg.RunsFilter(job_name=LOAD, statuses=_ENDED, tags={OF: f"raw/{feed}"})
        if newest := instance.get_run_records(wanted, limit=1):
            yield f"{LOAD} of {feed}", newest[0]


def _why(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """Which step failed and how; None where only checks did, which are told as checks."""
    if was_killed(instance, run_id):
        return "its process is gone, or never came up: it was killed, or the machine went down"
    steps: list[str] = []
    failures = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records
    for record in failures:
        event = record.event_log_entry.dagster_event
        error = event.step_failure_data.error if event else None
        while error is not None and error.cause is not None:
            error = error.cause
        if error is not None and error.cls_name == _CHECK_FAILED:
            continue
        said = f": {_said(error.cls_name, error.message)}" if error else ""
        steps.append(f"step {record.event_log_entry.step_key} failed{said}")
    if not steps and not failures:
        return f"it ended outside its steps: {_end_said(instance, run_id)}"
    return "; ".join(steps[:3]) or None


def _end_said(instance: dg.DagsterInstance, run_id: str) -> str:
    event = end_of(instance, run_id)
    error = event.job_failure_data.error if event and event.event_specific_data else None
    while error is not None and error.cause is not None:
        error = error.cause
    if error is not None:
        return _said(error.cls_name, error.message)
    return (event.message if event else None) or "see its events"


def _said(kind: str | None, message: str) -> str:
    """The first line of an error; of one whose words may be those of a library, its class alone."""
    if os.environ.get("CER_ERRORS") == "whole":
        return kind or "an error"
    return next(iter(message.strip().splitlines()), "")[:_LONGEST]


def _checks(instance: dg.DagsterInstance, graph: Graph) -> Iterator[Alert]:
    """Checks that hold something back, and those of raw drops and ids that only warn."""
    keys = [k for k in graph.asset_check_keys if graph.get(k).blocking or k.asset_key.path[0] == "raw" or k == CHURN]
    for key, record in _answered(instance, keys):
        evaluation = record.event.asset_check_evaluation if record.event else None
        if evaluation is None or evaluation.passed:
            continue
        where = f"{key.asset_key.to_user_string()}:{key.name}"
        what = evaluation.description or "see the figures in its metadata"
        blocks = graph.get(key).blocking
        yield Alert(
            f"check {where}",
            f"the check failed, and what stands on the table waits: {what}" if blocks else f"abnormal: {what}",
            where,
            _moment(record.create_timestamp),
            "error" if blocks else "warning",
            _link(f"runs/{record.run_id}"),
        )


def _answered(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey]
) -> Iterator[tuple[dg.AssetCheckKey, AssetCheckExecutionRecord]]:
    """The newest answer of each check; while a run is yet to ask again, or was killed before, the one before stands."""
    storage = instance.event_log_storage
    for key, record in storage.get_latest_asset_check_execution_by_key(keys).items():
        if record.status in ANSWERED:
            yield key, record
        else:
            yield from ((key, before) for before in storage.get_asset_check_execution_history(key, 1, status=ANSWERED))


def _overdue(instance: dg.DagsterInstance, graph: Graph, now: dt.datetime) -> Iterator[Alert]:
    """Tables that are not new in time; where that is since no purchases came, the purchases alone."""
    keys = [key for key in graph.toposorted_asset_keys if graph.get(key).freshness_policy is not None]
    states = instance.get_freshness_state_records(keys)
    late, since = states.get(_PURCHASES), dt.datetime.max.replace(tzinfo=dt.UTC)
    if late is not None and late.freshness_state == FreshnessState.FAIL:
        since = late.updated_at - _SAME_LOOK
    elif late is not None and now - late.updated_at < _TO_CATCH_UP:
        since = dt.datetime.min.replace(tzinfo=dt.UTC)  # they came at last
    above = standing_on(graph, _PURCHASES)
    for key, state in sorted(states.items()):
        if key in above and state.updated_at > since:
            continue
        if state.freshness_state == FreshnessState.FAIL:
            table = key.to_user_string()
            what = "it was not computed by the time it should have been: see whether drops came, and what held it back"
            yield Alert(f"overdue {table}", what, table, state.updated_at, "error", _link(f"assets/{table}"))


def _not_loaded(landing: str | None) -> Iterator[Alert]:
    """Drops whose load failed: that another load of the feed succeeded since mends nothing."""
    for feed, (first, last, since) in not_loaded(landing).items():
        what = f"drops of {first} to {last} are not loaded, for their load failed"
        yield Alert(f"run {LOAD} of {feed}", what, f"{LOAD} of {feed}", _moment(since))


def _growing(landing: str | None, now: dt.datetime) -> Iterator[Alert]:
    for name, since in growing(Watch(landing).before, feeds(), now.timestamp()).items():
        feed, file = name.split("/")
        what = f"a file of {file[:10]} goes on growing and is not loaded: see what delivers it"
        # Keys are sent too: told apart without the name, which may be a person's.
        own = hashlib.sha256(name.encode()).hexdigest()[:12]
        yield Alert(f"growing {feed} {own}", what, f"landing zone: {feed}", _moment(since), "warning")


def _cursor_of(instance: dg.DagsterInstance, sensor: str) -> str | None:
    for state in instance.all_instigator_state():
        if state.instigator_name == sensor and isinstance(state.instigator_data, SensorInstigatorData):
            return state.instigator_data.cursor
    return None


def _strays(home: Home, now: dt.datetime) -> Iterator[Alert]:
    """By their number and place: the name of a file may be that of a person."""
    try:
        strays = strays_told(home)
    except Exception as error:  # whatever it is: it must not silence all other alerts
        yield Alert("landing zone", f"it cannot be looked at: {type(error).__name__}", "landing zone", now)
        return
    for place, what in strays.items():
        where = "landing zone" if place == "." else f"landing zone: {place}"
        yield Alert(f"stray {place}", what, where, now, "warning")


def _not_forgotten(instance: dg.DagsterInstance, home: Home, now: dt.datetime) -> Iterator[Alert]:
    """By number and since when: requests that wait, and receipts under way, for longer than anything needs."""
    try:
        waiting, signing = waiting_since(home), under_way_since(instance, home)
    except Exception as error:  # whatever it is: it must not silence all other alerts
        yield Alert("erasure", f"it cannot be looked at: {type(error).__name__}", "erasure", now)
        return
    for key, what, found in (
        ("erasure waits", "requests to be forgotten wait for links, or for a key: see the checks of both", waiting),
        ("erasure unsigned", "erasures are under way, and not signed while something is due or held back", signing),
    ):
        late = [since for since in found if now - since > NOT_FORGOTTEN]
        if late:
            yield Alert(key, f"{len(late)} {what}", "erasure", min(late))


def _link(path: str) -> str | None:
    address = os.environ.get("CER_UI_URL", "").rstrip("/")
    return f"{address}/{path}" if address else None


def _moment(seconds: float | None) -> dt.datetime:
    return dt.datetime.now(dt.UTC) if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC)


@dg.definitions
def alerts() -> dg.Definitions:
    """The sensor."""
    return dg.Definitions(sensors=[alerts_sensor])
