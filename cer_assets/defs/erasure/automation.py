"""When an erasure goes on: a job of two assets, a sensor, and the step that `make run` takes as well.

| what is there                             | what is due          | not before                                   |
|-------------------------------------------|----------------------|----------------------------------------------|
| a request, or a row kept out of a load    | `erasure/suppressed` | links stand on the newest drops, or are held |
| receipts under way, nothing of the above  | `erasure/receipts`   | all but loads and past days stands           |
"""

from collections.abc import Mapping, Sequence
from typing import cast

import dagster as dg
from dagster import AssetKey

from cer_assets.defs.again import request, turn_of
from cer_assets.defs.automation import job_assets
from cer_assets.defs.erasure.listed import KEPT, LIST, REQUESTS, kept_out_of, key, receipts, requests
from cer_assets.defs.faults import RETRIES
from cer_assets.defs.plan import Step, next_of_the_others
from cer_assets.defs.processes import UNDER_WAY, end_killed_runs
from cer_assets.defs.provenance import Graph
from cer_assets.defs.resources import LEDGER, Home, sensor_seconds

JOB = "erasure"
SUPPRESSED, RECEIPTS = AssetKey(["erasure", "suppressed"]), AssetKey(["erasure", "receipts"])
LINKS = AssetKey(["identity", "links"])

erasure_job = dg.define_asset_job(
    JOB,
    dg.AssetSelection.groups("erasure"),
    op_retry_policy=RETRIES,
    description="Forgets who asked for it, and once everything stands again, removes what is older and signs the"
    " receipts.",
)


def erasure_step(
    instance: dg.DagsterInstance, graph: Graph, home: Home, jobs: Mapping[str, Sequence[AssetKey]]
) -> Step | None:
    """What of an erasure is due now, if anything.

    Args:
        instance: where materializations and check evaluations are recorded.
        graph: the assets.
        home: the lake.
        jobs: the assets of each job, in the order in which jobs follow each other.
    """
    waiting, kept_out = requests(home).height, kept_out_of(home).height
    if waiting or kept_out:
        following = next_of_the_others(instance, graph, home, jobs) if waiting else ""
        if isinstance(following, Step) and LINKS in following.assets:
            return None
        why = f"{waiting} requests to be forgotten, {kept_out} files with rows that were kept out"
        return Step(JOB, (SUPPRESSED,), why=why, states=_states(home))
    if not receipts(home)["done_at"].null_count():
        return None
    following = next_of_the_others(instance, graph, home, jobs)
    if isinstance(following, Step) or following.startswith("held back"):
        return None
    return Step(JOB, (RECEIPTS,), why="everything stands without who was erased", states=_states(home))


def _states(home: Home) -> str:
    """What a run key is made of: a run that failed is asked for again at once if something moved, or a key is set."""
    versions = {table: home.lake.version(table) for table in (REQUESTS, LEDGER, LIST, KEPT)}
    return f"{versions}, {'with' if key() else 'without'} a key"


@dg.sensor(
    name=JOB,
    jobs=[erasure_job],
    minimum_interval_seconds=sensor_seconds(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Forgets who asked for it, and whoever is delivered again; signs the receipts once everything stands.",
)
def erasure_sensor(context: dg.SensorEvaluationContext, home: Home) -> dg.RunRequest | dg.SkipReason:
    """One run at a time, as everything that replaces tables."""
    if not (requests(home).height or kept_out_of(home).height or receipts(home)["done_at"].null_count()):
        return dg.SkipReason("nobody asked to be forgotten")
    end_killed_runs(context.instance)
    if running := context.instance.get_runs(dg.RunsFilter(statuses=UNDER_WAY), limit=1):
        return dg.SkipReason(f"{running[0].job_name} is running")
    if context.repository_def is None:
        return dg.SkipReason("the definitions are not loaded")
    graph = context.repository_def.asset_graph
    step = erasure_step(context.instance, cast("Graph", graph), home, job_assets(graph))
    if step is None:
        return dg.SkipReason("it waits until what is due stands")
    turn = turn_of(context.instance, step)
    return dg.SkipReason(turn) if isinstance(turn, str) else request(step, turn)


@dg.definitions
def automation() -> dg.Definitions:
    """The job and its sensor."""
    return dg.Definitions(jobs=[erasure_job], sensors=[erasure_sensor])
