"""What runs when, as a table: jobs, the landing sensor, the catch-up sensor, the daily schedule.

| what            | when                                 | runs                                                       |
|-----------------|--------------------------------------|------------------------------------------------------------|
| landing sensor  | every 30 s                           | `load` for each feed with new or replaced files            |
| catch-up sensor | every 30 s, while nothing else runs  | the next job some of whose assets no longer stand          |
| retrain sensor  | every 30 s                           | `training` once enough new answers about pairs came in     |
| daily schedule  | 05:00 on the retailer's clock        | `customers` if it is due; skips when it is not             |

Jobs in their order: `load` (drops into raw), `customers` (people, purchases, value, segments, predictions as of the
newest day), `models` (ALS, one partition an audience; the challenge that settles whose lists are shown), `history` (the
days that a table with a history lacks), `recommendations` (lists, snapshot, warehouse). `training` is the identity
model alone: its challenger goes live only if the guards pass, and what stands on it is due from then on. `restate`
recomputes past days, and is only ever started by hand; so is `rollback`, which brings a former champion back.

A blocking check that failed holds back whatever stands on its asset: Dagster sees to that within a run,
`plan.held_back` across runs, until a later evaluation passes.
"""

import datetime as dt
from collections.abc import Sequence
from functools import partial
from typing import cast

import dagster as dg
from dagster import AssetKey

from cer_assets.defs.again import attempt, attempts, request
from cer_assets.defs.faults import RETRIES
from cer_assets.defs.identity.learning import MODEL, learned_from
from cer_assets.defs.io import code_of
from cer_assets.defs.landing import look
from cer_assets.defs.plan import LOAD, Step, next_step
from cer_assets.defs.processes import UNDER_WAY, end_killed_runs
from cer_assets.defs.provenance import Graph
from cer_assets.defs.resources import Home, sensor_seconds, timezone
from cer_assets.identity.advice import retrain_due

_HISTORY = dg.AssetSelection.assets(["value", "rfm"], ["value", "rfm_history"])
_MODELS = dg.AssetSelection.assets(
    *(["recommend", name] for name in ("als", "model", "evaluation", "leaks", "decisions"))
)
SELECTIONS: dict[str, dg.AssetSelection] = {
    "customers": dg.AssetSelection.groups("identity", "customer", "value", "segment", "predict"),
    "models": _MODELS,
    "history": _HISTORY,
    "recommendations": dg.AssetSelection.groups("recommend", "insight") - _MODELS,
}
"""The assets of each job downstream of the drops, in the order in which the jobs follow each other."""

RETRAIN_AFTER = 20
"""So many pairs answered anew are a fifth of what a first model learns from."""

_job = partial(dg.define_asset_job, op_retry_policy=RETRIES)
load_job = _job(
    LOAD,
    dg.AssetSelection.groups("raw").materializable(),
    description="Read drops of the landing zone into raw tables.",
)
customers_job = _job(
    "customers",
    SELECTIONS["customers"],
    description="People, their purchases, value, segments and predictions as of a day.",
)
models_job = _job(
    "models",
    SELECTIONS["models"],
    description="Train ALS, and let a challenger try itself against the model of the lists.",
)
recommendations_job = _job(
    "recommendations",
    SELECTIONS["recommendations"],
    description="Recommendations, their backtest, and the snapshot that people read.",
)
training_job = _job(
    "training",
    dg.AssetSelection.assets(MODEL),
    description="Train who is who anew; the new model goes live only if every guard passes.",
)
history_job = _job(
    "history",
    SELECTIONS["history"],
    description="Past days of the tables that keep a history; a day that is there stays as it was known then.",
)
restate_job = _job(
    "restate",
    _HISTORY,
    description="Recomputes past days, on purpose, from the purchases and people known now. Never started by itself:"
    " choose the days in the launchpad, and let a single run take the range of them.",
)


def job_assets(graph: object) -> dict[str, Sequence[AssetKey]]:
    """The assets of each job downstream of the drops."""
    return {job: sorted(selection.resolve(graph)) for job, selection in SELECTIONS.items()}  # pyright: ignore[reportArgumentType]  # Dagster's graph type is not public


@dg.sensor(
    name="landing",
    jobs=[load_job],
    minimum_interval_seconds=sensor_seconds(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Loads each file that is new in the landing zone, or that was replaced there.",
)
def landing_sensor(context: dg.SensorEvaluationContext, home: Home) -> dg.SensorResult | dg.SkipReason:
    """What a look at the landing zone asks for; what is odd there goes into the tick's log."""
    end_killed_runs(context.instance)
    found = look(context.instance, home, context.cursor)
    for sentence in found.said:
        context.log.warning(sentence)
    if found.requests:
        return dg.SensorResult(run_requests=found.requests, cursor=found.cursor)
    return dg.SensorResult(
        skip_reason="; ".join(["nothing new in the landing zone", *found.said[:3]]), cursor=found.cursor
    )


def _next(instance: dg.DagsterInstance, repository: dg.RepositoryDefinition | None, home: Home) -> Step | str:
    end_killed_runs(instance)
    under_way = instance.get_runs(dg.RunsFilter(statuses=UNDER_WAY), limit=1)
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
    """One run at a time, so that no table is computed from inputs that are just being replaced.

    The cursor holds the last step: one that is due again on the same inputs and code did not bring what it was due
    for, and is not repeated.
    """
    step = _next(context.instance, context.repository_def, home)
    if isinstance(step, str):
        return dg.SkipReason(step)
    turn: int | str = 0
    if context.cursor == step.fingerprint:
        runs = attempts(context.instance, [step]).get(step.fingerprint, [])
        turn = attempt(context.instance, runs, dt.datetime.now(dt.UTC))
    if isinstance(turn, str):
        return dg.SkipReason(f"{turn}; {step.why} all the same")
    context.update_cursor(step.fingerprint)
    return request(step, turn)


@dg.sensor(
    name="retrain",
    jobs=[training_job],
    minimum_interval_seconds=sensor_seconds(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=f"Trains who is who anew once {RETRAIN_AFTER} pairs were answered that the model has not learned from.",
)
def retrain_sensor(context: dg.SensorEvaluationContext, home: Home) -> dg.RunRequest | dg.SkipReason:
    """Answers that teach nothing, and those the model learned from, do not count."""
    training = dg.RunsFilter(job_name="training", statuses=UNDER_WAY)
    if context.instance.get_runs(training, limit=1):
        return dg.SkipReason("a model is being trained")
    learned = learned_from(context.instance, home, live=False)
    if learned is None:
        return dg.SkipReason("there is no model yet")
    why = retrain_due(home.read("identity.labels"), learned, RETRAIN_AFTER)
    if why is None:
        return dg.SkipReason(f"fewer than {RETRAIN_AFTER} pairs were answered since the model learned")
    context.log.info(why)
    key = f"labels {home.lake.version('identity.labels')}, code {code_of('identity')}"
    return dg.RunRequest(run_key=key, job_name="training")


@dg.schedule(
    name="daily",
    job=customers_job,
    cron_schedule="0 5 * * *",
    execution_timezone=timezone(),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Brings people, value, segments and predictions up to the newest day, whether or not the sensor is on.",
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
        jobs=[load_job, customers_job, training_job, models_job, recommendations_job, history_job, restate_job],
        sensors=[landing_sensor, catch_up_sensor, retrain_sensor],
        schedules=[daily_schedule],
    )
