"""One look at the landing zone: which loads to ask for now, and what is odd about what lies there."""

import datetime as dt
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from cer_assets.defs.again import OF, attempt, attempts, request
from cer_assets.defs.arrivals import Watch, growing
from cer_assets.defs.plan import LOAD, Step, landed, load_steps, not_entered, strays_told
from cer_assets.defs.processes import UNDER_WAY
from cer_assets.defs.resources import Home, feeds

NotLoaded = dict[str, tuple[str, str, float | None]]
"""Feed -> first and last day of drops whose load failed, and when it did."""
NOT_LOADED = "not loaded"
"""Where the cursor holds them, until they are loaded."""
MOST_REQUESTS = 20
"""Most runs that one look asks for; a run waits its turn anyhow."""
READING_SECONDS = 20
"""How long one look reads files that may have been replaced; the daemon gives a tick a minute."""


@dataclass(frozen=True)
class Look:
    """What one look came to."""

    requests: list[dg.RunRequest]
    said: list[str]
    """What somebody should know: loads that are not asked for again, files that grow or that no feed reads."""
    cursor: str
    """Files that moved within the last hour, and drops whose load failed. What was loaded is known by the ledger."""


def not_loaded(cursor: str | None) -> NotLoaded:
    """What the landing sensor's cursor holds of it."""
    held = json.loads(cursor or "{}")
    return held.get(NOT_LOADED, {}) if isinstance(held, dict) else {}


def look(instance: dg.DagsterInstance, home: Home, cursor: str | None) -> Look:
    """Ask for a bounded number of loads, read for a bounded time; what is left is asked for the next time."""
    now, until = dt.datetime.now(dt.UTC), time.monotonic() + READING_SECONDS
    watch, there, known, steps = Watch(cursor), landed(home), feeds(), list[Step]()
    unseen = known.keys() - there.keys()
    for name, drops in there.items():
        moving = {drop.day for drop in watch.unsettled(known[name], drops, now.timestamp())}
        unseen |= {name} if moving else set()
        settled = [drop for drop in drops if drop.day not in moving]
        steps += load_steps(home, known[name], not_entered(home, known[name], settled, until), drops, moving)
    runs = attempts(instance, steps)
    waiting = instance.get_runs(dg.RunsFilter(job_name=LOAD, statuses=UNDER_WAY))
    # What came since is asked for once these have ended, and not anew with every file that comes meanwhile.
    busy = {run.tags.get(OF) for run in waiting}
    turns: list[tuple[Step, int | str]] = [
        (step, "load is under way")
        if step.assets[0].to_user_string() in busy
        else (step, attempt(instance, runs.get(step.fingerprint, []), now))
        for step in steps
    ]
    asked = [request(step, turn) for step, turn in turns if isinstance(turn, int)][:MOST_REQUESTS]
    said = [f"{step.why}; {turn}" for step, turn in turns if isinstance(turn, str)]
    said += [f"{name} goes on growing" for name in growing(watch.now, known, now.timestamp())]
    said += [f"landing zone: {what}" for what in strays_told(home, there).values()]
    before = not_loaded(cursor)
    # Of what is being written, or may not be listed, nobody knows better.
    failed = {name: before[name] for name in unseen & before.keys()} | _failed(steps, runs, before)
    return Look(asked, said, json.dumps(json.loads(watch.cursor) | {NOT_LOADED: failed}))


def _failed(steps: Sequence[Step], runs: Mapping[str, Sequence[dg.RunRecord]], before: NotLoaded) -> NotLoaded:
    """While it is tried again, alone or within a longer stretch, it is not loaded still."""
    failed: NotLoaded = {}
    for step in steps:
        feed, first, last = step.assets[0].path[1], str(step.first), str(step.last)
        if feed in before and first <= before[feed][1] and before[feed][0] <= last:
            failed.setdefault(feed, before[feed])
        ended = [run for run in runs.get(step.fingerprint, []) if run.dagster_run.status not in UNDER_WAY]
        if ended and ended[0].dagster_run.status == dg.DagsterRunStatus.FAILURE:
            failed[feed] = (first, last, ended[0].end_time)
    return failed
