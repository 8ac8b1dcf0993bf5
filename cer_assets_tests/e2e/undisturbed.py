"""What a home holds in the end, to be compared with another's, and homes that were killed on the way there."""

import bisect
import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from cer_assets.defs.resources import LEDGER
from cer_assets.lake import Lake, content_hash, read_snapshot
from cer_assets_tests.conftest import PROJECT, environment
from cer_assets_tests.e2e.killed import Moment, as_environment

BETWEEN = 0.1
"""Seconds between two steps, about."""


def contents(home: Path) -> dict[str, str]:
    """The content of every table; of the ledger of deliveries, to which each feed adds by itself, feed by feed."""
    lake = Lake(str(home / "lake"))
    found = {table: content_hash(lake.scan(table).collect()) for table in lake.tables() if table != LEDGER}
    feeds = lake.scan(LEDGER).collect().partition_by("feed", as_dict=True) if lake.exists(LEDGER) else {}
    return found | {f"{LEDGER} of {feed}": content_hash(files) for (feed,), files in feeds.items()}


def holdings(home: Path) -> dict[str, str]:
    """Everything a home gives to people: tables, what the snapshot and the warehouse show, champions, pages."""
    lake, now = Lake(str(home / "lake")), contents(home)
    shown = {
        f"snapshot of {table}": content_hash(lake.scan(table, version).collect())
        for table, version in read_snapshot(home / "snapshots").versions.items()
    }
    champions = {
        f"champion of {pointer.parent.name}": pointer.read_text()
        for pointer in sorted((home / "models").glob("*/champion"))
    }
    pages = {f"page {page.name}": _hash(page.read_bytes()) for page in sorted((home / "reports").iterdir())}
    return now | shown | champions | pages | _viewed(home)


def _viewed(home: Path) -> dict[str, str]:
    with duckdb.connect(home / "warehouse.duckdb", read_only=True) as con:
        views = con.sql("select schema_name, view_name from duckdb_views() where not internal order by all").fetchall()
        return {
            f"rows of view {schema}.{view}": str(con.table(f'"{schema}"."{view}"').count("*").fetchall()[0][0])
            for schema, view in views
        }


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """The names under which two homes hold different things."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


@dataclass
class Ran:
    """A process that ran over a home: what it said, the steps that ended, and where it died if it did."""

    code: int
    said: str
    steps: list[tuple[str, float]] = field(default_factory=list)
    died: str | None = None


def run_until(home: Path, moment: Moment | None = None, *, seconds: float = 1200) -> Ran:
    """`make run` over a home, killed at the moment if one is given."""
    # Not beside the home, whose disk a test may have filled.
    with tempfile.TemporaryDirectory() as aside:
        record = Path(aside, "record")
        process = subprocess.Popen(
            [sys.executable, "-m", "cer_assets_tests.e2e.killed", "--no-sample"],
            cwd=PROJECT,
            env=environment(home) | as_environment(moment, record),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        notes = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    steps = [(note["step"], note["seconds"]) for note in notes if "step" in note]
    died = next((note["where"] for note in notes if "died" in note), None)
    return Ran(process.returncode, said, steps, died)


def finished(home: Path) -> Ran:
    """`make run` to its end."""
    ran = run_until(home)
    assert ran.code == 0, ran.said
    return ran


def random_moments(chance: random.Random, count: int, steps: Sequence[tuple[str, float]]) -> list[Moment]:
    """Moments spread over a run: by the time that steps take, and a tenth of a second for what lies between two.

    They are in order, each counted from the one before, so that a home that is started again after each goes through
    all of them.
    """
    ends = list(itertools.accumulate(seconds + BETWEEN for _, seconds in steps))
    drawn = sorted(chance.uniform(0, ends[-1]) for _ in range(count))
    moments, before = [], 0
    for moment in drawn:
        here = bisect.bisect_left(ends, moment)
        part = round(1 - (ends[here] - moment) / (steps[here][1] + BETWEEN), 2)
        moments.append(Moment("step", after=here - before, part=part, usual=dict(steps)))
        before = here
    return moments


def killed_at_each(home: Path, moments: Iterable[Moment]) -> list[str]:
    """A home started and killed again and again; where it died. A run that ends before its moment ends the list."""
    places: list[str] = []
    for moment in moments:
        ran = run_until(home, moment)
        if ran.died is None:
            assert ran.code == 0, ran.said
            break
        assert ran.code == -signal.SIGKILL, ran.said
        places.append(ran.died)
    return places


def runs_of(home: Path) -> Counter[tuple[str, str]]:
    """How many of the home's runs ended how, and what was said of those that failed."""
    import dagster as dg

    if not (home / "dagster").exists():
        return Counter()
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        return Counter(_ending(instance, run) for run in instance.get_runs())


def _ending(instance: Any, run: Any) -> tuple[str, str]:
    import dagster as dg

    if run.status != dg.DagsterRunStatus.FAILURE:
        return run.status.value, ""
    found = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE).records
    return run.status.value, (found[-1].event_log_entry.dagster_event.message or "") if found else ""
