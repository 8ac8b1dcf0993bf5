"""`make run`: sample drops where the landing zone is empty, then every run that is due, then what was built.

It does by hand what the sensors do, on the same plan; run it again and only what moved is computed.
"""

import argparse
import os
import sqlite3
import sys
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import cast

import dagster as dg
from sqlalchemy import Engine, event

from cer_assets.defs.again import tags_of
from cer_assets.defs.automation import job_assets
from cer_assets.defs.discretion import discreet, hint
from cer_assets.defs.erasure.automation import JOB as ERASURE
from cer_assets.defs.erasure.automation import erasure_step
from cer_assets.defs.plan import PASSED_OVER, Step, due_loads, due_steps, next_step, strays_told
from cer_assets.defs.processes import UNDER_WAY, Process, end_killed_runs
from cer_assets.defs.provenance import Graph, latest
from cer_assets.defs.resources import Home
from cer_assets.sample import write_sample

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def main() -> int:
    """Parse the arguments and run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--customers", type=int, help="households in the sample (default: all real ones)")
    parser.add_argument("--days", type=int, help="days of purchases in the sample (default: the whole year)")
    parser.add_argument("--no-sample", action="store_true", help="use only the drops that are there")
    arguments = parser.parse_args()
    with discreet():
        try:
            return _prepare_and_run(arguments)
        except Exception as error:
            # Where the instance itself cannot be written no event says why.
            if not (advice := hint(error)):
                raise
            _say(f"the run cannot go on. {advice}")
            return 1


def _prepare_and_run(arguments: argparse.Namespace) -> int:
    home = Home.of_environment()
    began = time.monotonic()
    prepare(home)
    event.listen(Engine, "connect", _commit_without_waiting)
    if not arguments.no_sample and not _has_drops(home):
        _say("writing the sample's drops")
        write_sample(Path(home.root), customers=arguments.customers, days=arguments.days)
    with dg.DagsterInstance.get() as instance:
        return _run(home, instance, began)


def prepare(home: Home) -> None:
    """Make the home folder and Dagster's instance inside it, and point this process at it.

    The instance is the project's `dagster.yaml`; sections of the file that `CER_INSTANCE_FILE` names take the place of
    those in it, such as where the instance is kept.
    """
    instance = Path(home.root, "dagster")
    instance.mkdir(parents=True, exist_ok=True)
    files = [
        Path(__file__).parents[2] / "dagster.yaml",
        *map(Path, filter(None, [os.environ.get("CER_INSTANCE_FILE")])),
    ]
    # Replaced in one step, since a server may be reading it.
    beside = instance / f"dagster.yaml.{os.getpid()}"
    beside.write_text("\n".join(file.read_text() for file in files))
    beside.replace(instance / "dagster.yaml")
    os.environ |= {"CER_HOME": home.root, "DAGSTER_HOME": str(instance)}


_held_open: dict[str, sqlite3.Connection] = {}


def _commit_without_waiting(connection: object, _: object) -> None:
    """A year of days is thousands of commits to the instance's SQLite; do not wait for the disk at each of them.

    With a write-ahead log a killed process still loses nothing; a power cut may lose the newest events, and then what
    they spoke of is due again. A second connection is held open, for the last one to close folds the log back in.
    """
    if not isinstance(connection, sqlite3.Connection):
        return
    connection.execute("pragma synchronous = normal")
    ((_, _, file),) = connection.execute("pragma database_list").fetchall()
    if file and file not in _held_open:
        _held_open[file] = sqlite3.connect(file, check_same_thread=False)
        _held_open[file].execute("select count(*) from sqlite_master").fetchall()


def _run(home: Home, instance: dg.DagsterInstance, began: float) -> int:
    from cer_assets.definitions import defs

    running_since = time.monotonic()
    definitions = defs()
    graph = cast("Graph", definitions.resolve_asset_graph())
    end_killed_runs(instance, daemon=False)
    if not _alone(instance):
        return 1
    for what in strays_told(home).values():
        _say(f"landing zone: {what}")
    seconds: Counter[str] = Counter()
    failed, computing = False, 0.0
    for step in _due(home, instance, graph):
        if not _alone(instance):
            return 1
        started = time.monotonic()
        result = _execute(definitions, instance, step)
        failed |= not result.success
        seconds += _seconds_by_stage(result)
        computing += _seconds_of_steps(result)
        verdict = "done" if result.success else "FAILED"
        _say(f"{step.job}: {step.why} ... {verdict} in {time.monotonic() - started:.1f} s")
        _say_failures(result)
        if not result.success and step.job not in (*PASSED_OVER, ERASURE):
            break
    if not seconds:
        _say("nothing to do")
    _summary(instance, graph, seconds, time.monotonic() - began)
    if computing:
        running = time.monotonic() - running_since
        _say(f"runs {running:.1f} s, {running / computing:.2f} times the {computing:.1f} s that their steps computed")
    held = next_step(instance, graph, home, job_assets(graph))
    if isinstance(held, str):
        _say(f"\n{held}")
    _say(_NEXT.format(home=home.root))
    return 1 if failed else 0


def _alone(instance: dg.DagsterInstance) -> bool:
    """Whether no other run is under way: a daemon may have started one since, and two must not replace one table."""
    others = instance.get_runs(dg.RunsFilter(statuses=UNDER_WAY), limit=1)
    for run in others:
        _say(f"the run {run.run_id[:8]} of {run.job_name} is under way: wait for it, or end it in the UI")
    return not others


_NEXT = """
Next:
  make ui                      the lineage, every table's metadata and checks, on localhost port 3000
  duckdb {home}/warehouse.duckdb "from recommend.recommendations limit 10"
  put a file into {home}/landing/<feed>/<day>.csv while the UI runs, and watch"""


def _due(home: Home, instance: dg.DagsterInstance, graph: Graph) -> Iterator[Step]:
    """Loads first, then what is downstream of them; no step twice, should one not have brought what it was due for.

    Who asked to be forgotten is once links stand; what stood on their rows is computed a second time.
    """
    yield from due_loads(home)
    jobs, done, forgetting = job_assets(graph), set[Step](), set[Step]()

    def untried() -> Step | str:
        return next(
            step
            for step in due_steps(instance, graph, home, jobs)
            if isinstance(step, str) or step.job not in PASSED_OVER or _bare(step) not in done
        )

    while isinstance(step := _forgets(home, instance, graph, forgetting) or untried(), Step):
        if _bare(step) in done:
            return
        if step.job == ERASURE:
            done.clear()
            forgetting.add(_bare(step))
        else:
            done.add(_bare(step))
        yield step


def _bare(step: Step) -> Step:
    """The step whatever its inputs."""
    return replace(step, states="", runs="")


def _forgets(home: Home, instance: dg.DagsterInstance, graph: Graph, done: AbstractSet[Step]) -> Step | None:
    """What is due of an erasure; one that failed stands in nobody's way."""
    step = erasure_step(instance, graph, home, job_assets(graph))
    return step if step is not None and _bare(step) not in done else None


def _execute(definitions: dg.Definitions, instance: dg.DagsterInstance, step: Step) -> dg.ExecuteInProcessResult:
    # A load of a feed without a day has no partition, whatever the job's other assets have.
    run_id = str(uuid.uuid4())
    return definitions.resolve_job_def(step.job).execute_in_process(
        run_id=run_id,
        instance=instance,
        asset_selection=list(step.assets),
        tags=tags_of(step) | Process.this(run_id).tag,
        run_config=_QUIET,
        raise_on_error=False,
    )


def _seconds_by_stage(result: dg.ExecuteInProcessResult) -> Counter[str]:
    """Computing time by stage, from the events of the steps that ended."""
    stages = {e.step_key: e.asset_key.path[0] for e in result.get_asset_materialization_events() if e.asset_key}
    seconds: Counter[str] = Counter()
    for entry in result.all_events:
        if entry.is_step_success and entry.step_key in stages:
            seconds[stages[entry.step_key]] += entry.step_success_data.duration_ms / 1000  # pyright: ignore[reportArgumentType]  # a Counter adds floats too
    return seconds


def _seconds_of_steps(result: dg.ExecuteInProcessResult) -> float:
    """What assets and checks took, without what is between them."""
    return sum(e.step_success_data.duration_ms for e in result.all_events if e.is_step_success) / 1000


def _say_failures(result: dg.ExecuteInProcessResult) -> None:
    for entry in result.all_events:
        if entry.is_step_failure and entry.step_failure_data.error:
            error = entry.step_failure_data.error
            _say(f"  {entry.step_key}: {(error.cause or error).message.strip()}")
    for check in result.get_asset_check_evaluations():
        if not check.passed:
            _say(f"  check {check.asset_key.to_user_string()}:{check.check_name} failed. {check.description or ''}")


def _summary(instance: dg.DagsterInstance, graph: Graph, seconds: Mapping[str, float], wall: float) -> None:
    assets: dict[str, int] = defaultdict(int)
    rows: dict[str, int] = defaultdict(int)
    for key in graph.toposorted_asset_keys:
        entry = latest(instance, key, None)
        if entry is None or entry.asset_materialization is None:
            continue
        assets[key.path[0]] += 1
        rows[key.path[0]] += _rows(entry)
    passed, all_checks = _checks(instance, graph)
    _say(f"\n{'stage':<12}{'assets':>8}{'rows':>14}{'checks passed':>16}{'seconds':>10}")
    for stage in assets:
        checks = f"{passed[stage]} of {all_checks[stage]}"
        _say(f"{stage:<12}{assets[stage]:>8}{rows[stage]:>14,}{checks:>16}{seconds.get(stage, 0):>10.1f}")
    checks = f"{passed.total()} of {all_checks.total()}"
    _say(f"{'total':<12}{sum(assets.values()):>8}{sum(rows.values()):>14,}{checks:>16}{sum(seconds.values()):>10.1f}")
    _say(f"whole time {wall:.1f} s")


def _rows(entry: dg.EventLogEntry) -> int:
    materialization = entry.asset_materialization
    value = materialization.metadata.get("dagster/row_count") if materialization else None
    return value.value if isinstance(value, dg.IntMetadataValue) and value.value else 0


def _checks(instance: dg.DagsterInstance, graph: Graph) -> tuple[Counter[str], Counter[str]]:
    newest = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(graph.asset_check_keys))
    passed: Counter[str] = Counter()
    evaluated: Counter[str] = Counter()
    for key, record in newest.items():
        evaluation = record.event.asset_check_evaluation if record.event else None
        if evaluation is not None:
            evaluated[key.asset_key.path[0]] += 1
            passed[key.asset_key.path[0]] += evaluation.passed
    return passed, evaluated


def _has_drops(home: Home) -> bool:
    return any(home.landing.glob("*/[0-9]*"))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
