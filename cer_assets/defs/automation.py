"""What runs when, as a table: jobs, the landing sensor, the catch-up sensor, the daily schedule.

| what            | when                                 | runs                                                       |
|-----------------|--------------------------------------|------------------------------------------------------------|
| landing sensor  | every 30 s                           | `load` for each feed with new or replaced files            |
| catch-up sensor | every 30 s, while nothing else runs  | the next job some of whose assets no longer stand          |
| daily schedule  | 05:00 on the retailer's clock        | the same; skips when everything stands on the newest day   |

Jobs in their order: `load` (drops into raw), `customers` (people, purchases, value, segments, predictions as of the
newest day), `models` (ALS, one partition a value bucket), `recommendations` (lists, backtest, snapshot, warehouse),
`history` (the days that a table with a history lacks). A blocking check that failed holds back whatever stands on its
asset: Dagster sees to that within a run, `plan.held_back` across runs, until a later evaluation passes.
"""

import json
from collections.abc import Sequence
from typing import cast

import dagster as dg
from dagster import AssetKey

from cer_assets.defs.partitions import buckets, days
from cer_assets.defs.plan import LOAD, Step, load_steps, next_step, not_entered, stray_files
from cer_assets.defs.provenance import Graph
from cer_assets.defs.resources import Home, feeds, sensor_seconds, timezone
from cer_assets.feeds import list_drops

_MODELS = dg.AssetSelection.assets(["recommend", "als"])
SELECTIONS: dict[str, dg.AssetSelection] = {
    "customers": dg.AssetSelection.groups("identity", "customer", "value", "segment", "predict"),
    "models": _MODELS,
    "recommendations": dg.AssetSelection.groups("recommend", "insight") - _MODELS,
}
"""The assets of each job downstream of the drops, in the order in which the jobs follow each other."""

_UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

load_job = dg.define_asset_job(
    LOAD,
    dg.AssetSelection.groups("raw").materializable(),
    description="Read drops of the landing zone into raw tables.",
)
customers_job = dg.define_asset_job(
    "customers",
    SELECTIONS["customers"],
    partitions_def=days,
    description="People, their purchases, value, segments and predictions as of a day.",
)
models_job = dg.define_asset_job(
    "models", SELECTIONS["models"], partitions_def=buckets, description="Train the recommenders, by value bucket."
)
recommendations_job = dg.define_asset_job(
    "recommendations",
    SELECTIONS["recommendations"],
    partitions_def=days,
    description="Recommendations, their backtest, and the snapshot that people read.",
)
history_job = dg.define_asset_job(
    "history",
    dg.AssetSelection.assets(["value", "rfm"]),
    partitions_def=days,
    description="Past days of the tables that keep a history; a day that is there stays as it was known then.",
)


def job_assets(graph: object) -> dict[str, Sequence[AssetKey]]:
    """The assets of each job downstream of the drops."""
    return {job: sorted(selection.resolve(graph)) for job, selection in SELECTIONS.items()}  # pyright: ignore[reportArgumentType]  # Dagster's graph type is not public


def request(step: Step) -> dg.RunRequest:
    """A step as a run request; its key stays the same as long as its inputs do, so a failure is not repeated."""
    return dg.RunRequest(run_key=step.key, job_name=step.job, asset_selection=list(step.assets), tags=step.tags)


@dg.sensor(
    name="landing",
    jobs=[load_job],
    minimum_interval_seconds=sensor_seconds(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Loads each file that is new in the landing zone, or that was replaced there.",
)
def landing_sensor(context: dg.SensorEvaluationContext, home: Home) -> dg.SensorResult | dg.SkipReason:
    """The cursor holds each file's size and time; only files that differ from it are compared with the ledger."""
    seen: dict[str, str] = json.loads(context.cursor or "{}")
    requests: list[dg.RunRequest] = []
    for name, feed in feeds().items():
        drops = list_drops(home.landing, name)
        marks = {f"{name}/{d.name}": f"{d.bytes}:{d.path.stat().st_mtime_ns}" for d in drops}
        fresh = [d for d in drops if seen.get(f"{name}/{d.name}") != marks[f"{name}/{d.name}"]]
        steps = load_steps(feed, not_entered(home, feed, fresh), len(drops))
        requests += [request(step) for step in steps]
        seen |= marks
    for name in stray_files(home):
        context.log.warning(f"landing zone: {name}")
    if not requests:
        return dg.SensorResult(skip_reason="nothing new in the landing zone", cursor=json.dumps(seen))
    return dg.SensorResult(run_requests=requests, cursor=json.dumps(seen))


def _next(instance: dg.DagsterInstance, repository: dg.RepositoryDefinition | None, home: Home) -> Step | str:
    under_way = instance.get_runs(dg.RunsFilter(statuses=_UNDER_WAY), limit=1)
    if under_way:
        return f"{under_way[0].job_name} is running"
    if repository is None:
        return "the definitions are not loaded"
    graph = repository.asset_graph
    return next_step(instance, cast("Graph", graph), home, job_assets(graph))


@dg.sensor(
    name="catch_up",
    jobs=[customers_job, models_job, recommendations_job, history_job],
    minimum_interval_seconds=sensor_seconds(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts the next job some of whose assets no longer stand on what they were computed from.",
)
def catch_up_sensor(context: dg.SensorEvaluationContext, home: Home) -> dg.RunRequest | dg.SkipReason:
    """One run at a time, so that no table is computed from inputs that are just being replaced."""
    step = _next(context.instance, context.repository_def, home)
    return dg.SkipReason(step) if isinstance(step, str) else request(step)


@dg.schedule(
    name="daily",
    job=customers_job,
    cron_schedule="0 5 * * *",
    execution_timezone=timezone(),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Brings everything downstream of the drops up to date, should the catch-up sensor be switched off.",
)
def daily_schedule(context: dg.ScheduleEvaluationContext, home: Home) -> dg.RunRequest | dg.SkipReason:
    """The first job that is due; the catch-up sensor goes on from there."""
    step = _next(context.instance, context.repository_def, home)
    if isinstance(step, str) or step.job != "customers":
        return dg.SkipReason(step if isinstance(step, str) else f"{step.job} is due, people and value are not")
    return request(step)


@dg.definitions
def automation() -> dg.Definitions:
    """Jobs, sensors and the schedule."""
    return dg.Definitions(
        jobs=[load_job, customers_job, models_job, recommendations_job, history_job],
        sensors=[landing_sensor, catch_up_sensor],
        schedules=[daily_schedule],
    )
