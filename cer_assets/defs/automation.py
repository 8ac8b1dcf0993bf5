"""What runs when, as tables: jobs, sensors, the daily schedule, what is learned anew, and by when a table must be new.

| what            | when                                 | runs                                                       |
|-----------------|--------------------------------------|------------------------------------------------------------|
| landing sensor  | every 30 s (`CER_SENSOR_SECONDS`)    | `load` for each feed with new or replaced files            |
| catch-up sensor | as often, while nothing else runs    | the next job some of whose assets no longer stand; `load`  |
|                 |                                      | of a day anew that was loaded, and its checks not answered |
| retrain sensor  | as often                             | `training` once enough new answers about pairs came in     |
| daily schedule  | 05:00 (`CER_DAILY_AT`) by the        | `customers` if it is due, a step that failed before too;   |
|                 | retailer's clock (`CER_TIMEZONE`)    | skips when nothing came, or while anything runs            |
| alerts sensor   | as often (`alerts.py`)               | nothing: tells what became wrong, and what is right again  |
| erasure sensor  | as often (`erasure/automation.py`)   | `erasure` once somebody asked to be forgotten              |

Jobs in their order: `load` (drops into raw), `customers` (people, purchases, value, segments, predictions as of the
newest day; who withdrew a consent leaves the lists that stand), `models` (ALS, one partition an audience; the challenge
that settles whose lists are shown), `history` (the days that a table with a history lacks), `recommendations` (lists;
snapshot and warehouse, which are due whenever any table of the lake has another version than they name). `training` is
the identity model alone: its challenger goes live only if the guards pass, and what stands on it is due from then on.
`restate` recomputes past days, and is only ever started by hand; so is `rollback`, which brings a former champion back.

| what is learned           | anew                                             | goes live                            |
|---------------------------|--------------------------------------------------|--------------------------------------|
| identity/model            | after 20 new answers about pairs (`training`)    | if every guard passes on a trial     |
| value/clv_model           | at 28 days, a quarter more customers, or spend a | if it can be fitted                  |
|                           | quarter off what it expected (`customers`)       |                                      |
| segment/*_model           | at 7 days, from those before (`customers`)       | always: segments keep their names    |
| predict/*_model           | at 7 days, or learned nothing (`customers`)      | always: calibrated on held-out days  |
| recommend/als             | at 28 days, or after a withdrawn consent         | as a candidate: the challenge decides|
| recommend/model           | challenged at 28 days; judged when purchases     | if it beats the champion, with an    |
|                           | have drifted (`models`)                          | interval above zero                  |

| table                     | must be new                                      | else                                 |
|---------------------------|--------------------------------------------------|--------------------------------------|
| a day each, the report,   | four hours after the daily schedule              | overdue in the UI, and an alert      |
| lists of moments, pairs   |                                                  |                                      |
| people, links, households | within eight days                                | the same                             |

| what ended a run          | what follows                                                                            |
|---------------------------|-----------------------------------------------------------------------------------------|
| bad data, a bug, a check  | nothing before something moves or six hours passed, but for the daily schedule          |
| network, lock, busy disk  | three more tries of the step; then the run again after 5, 10, 20 ... minutes            |
| its process was killed    | noticed at the next tick, asked for again, three times at most                          |
| it never began, for its   | back into the queue: after a minute where the daemon was killed that took it from       |
| daemon or code server was | there, after three where the code server does not answer (`dagster.yaml`)               |
| gone                      |                                                                                         |
| somebody cancelled it     | nothing before something moves                                                          |

A blocking check that failed holds back whatever stands on its asset: Dagster sees to that within a run,
`plan.held_back` across runs, until a later evaluation passes. Dagster's own condition for it, `eager() &
all_deps_blocking_checks_passed()`, is not used: of partitions it knows the newest evaluation alone, so a good day that
follows a bad one lets the bad one through, and a bad day holds back a good one (`cer_assets_tests/defs/test_gate.py`
settles it for the version installed). Checks of ours read a table as it stands, not the days of a run: whole, or its
newest day where only that one is ever shown.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from functools import partial
from typing import cast

import dagster as dg
from dagster import AssetKey
from dagster_shared.record import replace

from cer_assets.defs.again import request, turn_of
from cer_assets.defs.faults import RETRIES
from cer_assets.defs.identity.learning import MODEL, learned_from
from cer_assets.defs.io import code_of
from cer_assets.defs.landing import look
from cer_assets.defs.partitions import days
from cer_assets.defs.plan import LOAD, Step, due_steps, of_the_others
from cer_assets.defs.processes import UNDER_WAY, end_killed_runs
from cer_assets.defs.provenance import Graph
from cer_assets.defs.resources import Home, daily_at, sensor_seconds, timezone
from cer_assets.identity.advice import retrain_due

_HISTORY = dg.AssetSelection.assets(["value", "rfm"], ["value", "rfm_history"])
_MODELS = dg.AssetSelection.assets(
    *(["recommend", name] for name in ("als", "model", "evaluation", "leaks", "decisions"))
)
_OFF_THE_LISTS = dg.AssetSelection.assets(["recommend", "withdrawn"])
SELECTIONS: dict[str, dg.AssetSelection] = {
    "customers": dg.AssetSelection.groups("identity", "customer", "value", "segment", "predict") | _OFF_THE_LISTS,
    "models": _MODELS,
    "history": _HISTORY,
    "recommendations": dg.AssetSelection.groups("recommend", "insight") - _MODELS - _OFF_THE_LISTS,
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


def _at(time: dt.time) -> str:
    return f"{time.minute} {time.hour} * * *"


_WEEKLY = {("identity", "links"), ("identity", "customers"), ("identity", "households")}
_MORNING = {("insight", "report"), ("customer", "orders"), ("raw", "transactions"), ("raw", "events")} | {
    ("recommend", name) for name in ("moments", "bought_together", "rhythms")
}
_PEOPLE_READ = {"value", "segment", "predict", "recommend", "insight"}


def freshness_of(spec: dg.AssetSpec) -> dg.FreshnessPolicy | None:
    """By when a table that people look at must be new; None for what only other tables read."""
    if tuple(spec.key.path) in _WEEKLY:
        return dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(days=8))
    by_day = spec.partitions_def == days and spec.key.path[0] in _PEOPLE_READ
    if not by_day and tuple(spec.key.path) not in _MORNING:
        return None
    at = daily_at()
    deadline = _at(at.replace(hour=(at.hour + 4) % 24))
    return dg.FreshnessPolicy.cron(deadline, dt.timedelta(days=1), timezone())


def with_freshness(definitions: dg.Definitions) -> dg.Definitions:
    """The project with `freshness_of` on each of its tables."""

    def told(spec: dg.AssetSpec) -> dg.AssetSpec:
        policy = freshness_of(spec)
        return spec if policy is None else spec.replace_attributes(freshness_policy=policy)

    # One function computes several assets: the list of assets names it once for each.
    known = {id(one): one for one in definitions.assets or [] if isinstance(one, dg.AssetsDefinition)}
    mapped = {at: one.map_asset_specs(told) for at, one in known.items()}
    return replace(definitions, assets=[mapped.get(id(one), one) for one in definitions.assets or []])


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


def _due(instance: dg.DagsterInstance, repository: dg.RepositoryDefinition | None, home: Home) -> Iterator[Step | str]:
    """What may be started now, as `due_steps` says it, and nothing beside another run."""
    end_killed_runs(instance)
    under_way = instance.get_runs(dg.RunsFilter(statuses=UNDER_WAY), limit=1)
    if under_way:
        yield f"{under_way[0].job_name} is running"
    elif repository is None:
        yield "the definitions are not loaded"
    else:
        graph = repository.asset_graph
        yield from due_steps(instance, cast("Graph", graph), home, job_assets(graph))


@dg.sensor(
    name="catch_up",
    jobs=[load_job, customers_job, models_job, recommendations_job, history_job],
    minimum_interval_seconds=sensor_seconds(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts the next job some of whose assets no longer stand on what they were computed from.",
)
def catch_up_sensor(context: dg.SensorEvaluationContext, home: Home) -> dg.RunRequest | dg.SkipReason:
    """One run at a time, so that no table is computed from inputs that are just being replaced.

    The cursor holds the last step: one that is due again on the same inputs and code did not bring what it was due
    for, and is not repeated. Before it stand those that were passed over.
    """
    asked, passed, said = (context.cursor or "").split(), list[str](), list[str]()
    for step in _due(context.instance, context.repository_def, home):
        if isinstance(step, str):
            said.append(step)
            continue
        turn = turn_of(context.instance, step) if step.fingerprint in asked else 0
        if isinstance(turn, int):
            context.update_cursor(" ".join([*passed, step.fingerprint]))
            return request(step, turn)
        said.append(f"{turn}; {step.why} all the same")
        passed.append(step.fingerprint)
    return dg.SkipReason("; ".join(said))


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
    states = f"labels {home.lake.version('identity.labels')}, code {code_of('identity')}"
    step = Step("training", (MODEL,), why=why, states=states)
    turn = turn_of(context.instance, step)
    return dg.SkipReason(turn) if isinstance(turn, str) else request(step, turn)


@dg.schedule(
    name="daily",
    job=customers_job,
    cron_schedule=_at(daily_at()),
    execution_timezone=timezone(),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Brings people, value, segments and predictions up to the newest day, whether or not the sensor is on.",
)
def daily_schedule(context: dg.ScheduleEvaluationContext, home: Home) -> dg.RunRequest | dg.SkipReason:
    """The first job that is due, though it failed on the same inputs before; the catch-up sensor goes on from there."""
    step = next(of_the_others(_due(context.instance, context.repository_def, home)))
    if isinstance(step, str) or step.job != "customers":
        return dg.SkipReason(step if isinstance(step, str) else f"{step.job} is due, people and value are not")
    return request(step, f"{context.scheduled_execution_time:%Y-%m-%d}")


@dg.definitions
def automation() -> dg.Definitions:
    """Jobs, sensors and the schedule."""
    return dg.Definitions(
        jobs=[load_job, customers_job, training_job, models_job, recommendations_job, history_job, restate_job],
        sensors=[landing_sensor, catch_up_sensor, retrain_sensor],
        schedules=[daily_schedule],
    )
