"""Whether a step that ran before is asked for again: yes where its run was killed, or ended by a fault that passes.

Where it failed otherwise it is asked for after a long pause. Which faults pass is said in `faults.py`, what is due in
`plan.py`.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile

import dagster as dg
from dagster._core.events import RunFailureReason

from cer_assets.defs.plan import LOAD, Step
from cer_assets.defs.processes import GONE, NEVER_LAUNCHED, NEVER_UP, UNDER_WAY

STEP = "cer/step"
"""Run tag: the fingerprint of the step that the run is for."""
OF = "cer/of"
"""Run tag of a load: the table that it is of."""
MOST_KILLED = 3
"""So often a step is asked for again whose run was killed: one that brings its own process down must not do so for
ever."""
PAUSE = dt.timedelta(minutes=5)
"""The pause before a step is asked for again that ended by a fault that passes; it doubles each time."""
ANYWAY = dt.timedelta(hours=6)
"""The pause after any other failure: what somebody mends outside of a step's inputs and code, be it a disk or a key,
moves neither."""
MOST_FAULTS = 8
"""So often; the last pause is ten hours, by when somebody has read the alert."""
_ENDED_FOR_IT = (
    GONE,
    NEVER_UP,
    NEVER_LAUNCHED,
    "This run has been marked as failed from outside the execution context.",
)
"""What stands in the event of a run whose process could not write it: ours, and what Dagster's code server and queue
write. A run that took too long is told otherwise, and one that failed before its first step wrote that itself."""
_ENDED_BY = (RunFailureReason.START_TIMEOUT, RunFailureReason.UNEXPECTED_TERMINATION)
_TRIED_TO_THE_LAST = "RetryRequestedFromPolicy"
"""The class of the error of a step whose last try, too, ended by a fault that passes: any other is raised as itself."""
_AT_ONCE = 400
"""Fingerprints in one query: SQLite takes no statement of any length."""


def request(step: Step, attempt: int | str = 0) -> dg.RunRequest:
    """A step as a run request; its key stays the same as long as inputs and attempt do: a failure is not repeated."""
    return dg.RunRequest(
        run_key=f"{step.key}-{attempt}" if attempt else step.key,
        job_name=step.job,
        asset_selection=list(step.assets),
        tags=tags_of(step),
    )


def tags_of(step: Step) -> dict[str, str]:
    """The tags of a step's run: its stretch of partitions, and by what it is found again."""
    of = {OF: step.assets[0].to_user_string()} if step.job == LOAD else {}
    return step.tags | {STEP: step.fingerprint} | of


def attempts(instance: dg.DagsterInstance, steps: Iterable[Step]) -> Mapping[str, Sequence[dg.RunRecord]]:
    """The runs of some steps by fingerprint, the newest first."""
    wanted = [step.fingerprint for step in steps]
    found: dict[str, list[dg.RunRecord]] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        for record in instance.get_run_records(dg.RunsFilter(tags={STEP: wanted[start : start + _AT_ONCE]})):
            found.setdefault(record.dagster_run.tags[STEP], []).append(record)
    return found


def turn_of(instance: dg.DagsterInstance, step: Step) -> int | str:
    """Which attempt of a step is due now, from 0, or a sentence why none is."""
    return attempt(instance, attempts(instance, [step]).get(step.fingerprint, []), dt.datetime.now(dt.UTC))


def attempt(instance: dg.DagsterInstance, runs: Sequence[dg.RunRecord], now: dt.datetime) -> int | str:
    """Which attempt of a step is due, from 0, or a sentence why none is.

    Args:
        instance: where runs and their events are recorded.
        runs: those of the step, the newest first.
        now: the moment, with its time zone.
    """
    if not runs:
        return 0
    newest = runs[0].dagster_run
    if newest.status in UNDER_WAY:
        return f"{newest.job_name} is under way"
    if newest.status != dg.DagsterRunStatus.FAILURE:
        verdict = "was cancelled" if newest.status == dg.DagsterRunStatus.CANCELED else "ran"
        return f"{newest.job_name} {verdict} on these very inputs"
    next_one = len(runs)  # never a number that was taken before: Dagster starts no second run under one key
    if kills := _in_a_row(runs, lambda run: was_killed(instance, run.dagster_run.run_id)):
        killed = f"{newest.job_name} was killed on these very inputs, {kills} times in a row"
        return next_one if kills <= MOST_KILLED else killed
    faults = _in_a_row(runs, lambda run: _passes(instance, run.dagster_run.run_id))
    if not faults:
        due = _ended(runs[0]) + ANYWAY
        failed = f"{newest.job_name} failed on these very inputs, again at {due:%H:%M} UTC"
        return next_one if now >= due else failed
    due = _ended(runs[0]) + PAUSE * 2 ** (faults - 1)
    if faults > MOST_FAULTS or now < due:
        return f"{newest.job_name} ended by a fault of disk or network" + (
            f": tried {faults} times" if faults > MOST_FAULTS else f", again at {due:%H:%M} UTC"
        )
    return next_one


def _in_a_row(runs: Sequence[dg.RunRecord], ended_so: Callable[[dg.RunRecord], bool]) -> int:
    """How many of the newest runs ended alike; one that ended otherwise begins the count anew."""
    return sum(1 for _ in takewhile(ended_so, runs))


def was_killed(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether the process of a run that failed was killed, or never came up."""
    event = end_of(instance, run_id)
    if event is None:
        return False
    why = event.job_failure_data.failure_reason if event.event_specific_data else None
    return event.message in _ENDED_FOR_IT or why in _ENDED_BY


def end_of(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterEvent | None:
    """The event by which a run failed."""
    of = dg.DagsterEventType.RUN_FAILURE
    found = instance.get_records_for_run(run_id, of_type=of, limit=1, ascending=False).records
    return found[0].event_log_entry.dagster_event if found else None


def _passes(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether the last try of a step that failed ended by a fault that passes."""
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records
    events = (record.event_log_entry.dagster_event for record in records)
    errors = (event.step_failure_data.error for event in events if event)
    return any(error.cls_name == _TRIED_TO_THE_LAST for error in errors if error)


def _ended(run: dg.RunRecord) -> dt.datetime:
    seconds = run.end_time or run.update_timestamp.replace(tzinfo=dt.UTC).timestamp()
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
