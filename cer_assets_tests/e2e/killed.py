"""`make run` with its own end arranged: told a moment, the process kills itself there as `kill -9` would.

From outside a moment can only be hit by chance; from inside every one can be, the one between two writes too. Nothing
is cleaned up, no handler runs, and what the process started dies with it.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MOMENT, RECORD = "CER_TEST_MOMENT", "CER_TEST_RECORD"
"""Environment: the moment as JSON, and the file that what was seen is written to."""


@dataclass(frozen=True)
class Moment:
    """When to die.

    `at` is one of

    - `step`: in the step that starts once `after` others have ended, `part` of its usual time later;
    - `event`: after the instance stored an event of this type;
    - `unstarted`: a run is entered, and has not begun;
    - `unstored`: before the materialization of a table is recorded;
    - `publish`, `uncommitted`, `published`: before a table is published, between its files and their commit, after it;
    - `saved`, `promoted`: after that is done with a model;
    - `unplaced`, `placed`: before and after a file takes its place;
    - `unsaid`, `said`: before and after a feed's files are entered into the ledger.

    `name` is the table, the model, the file, the feed, or the type of event.
    """

    at: str
    name: str = ""
    after: int = 0
    part: float = 0.0
    usual: dict[str, float] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"{self.at} {self.name}" if self.name else f"{self.at} {self.after} at {self.part:.0%}"


def main() -> int:
    """Run, and die on the way if a moment was given."""
    from cer_assets.defs import run

    record = Path(os.environ[RECORD])
    moment = Moment(**json.loads(os.environ.get(MOMENT, '{"at": "never"}')))
    _watch(moment, record)
    return run.main()


def die(record: Path, moment: Moment, where: str) -> None:
    """Write down where, and be gone with everything this process started."""
    _note(record, {"died": str(moment), "where": where})
    os.killpg(0, signal.SIGKILL)


def _note(record: Path, what: dict[str, Any]) -> None:
    with record.open("a") as file:
        file.write(json.dumps(what) + "\n")


def _watch(moment: Moment, record: Path) -> None:
    _watch_steps(moment, record)
    _watch_lake(moment, record)
    _watch_files(moment, record)


def _around(owner: Any, name: str, before: Callable[..., None] | None, after: Callable[..., None] | None) -> None:
    """Call something before or after a method, with the method's arguments."""
    usual = getattr(owner, name)

    def watched(*args: Any, **kwargs: Any) -> Any:
        if before is not None:
            before(*args, **kwargs)
        found = usual(*args, **kwargs)
        if after is not None:
            after(*args, **kwargs)
        return found

    setattr(owner, name, watched)


def _watch_steps(moment: Moment, record: Path) -> None:
    import dagster as dg

    began: dict[str, float] = {}
    ended = 0

    def before(_: object, entry: Any, *_more: object, **_named: object) -> None:
        event = entry.dagster_event
        if moment.at == "unstarted" and event is not None and event.event_type_value == "PIPELINE_START":
            die(record, moment, f"before a run of {entry.job_name} began")
        if moment.at != "unstored" or event is None or event.event_type_value != "ASSET_MATERIALIZATION":
            return
        if "/".join(event.asset_key.path) == moment.name:
            die(record, moment, f"before the materialization of {moment.name} was recorded")

    def after(_: object, entry: Any, *_more: object, **_named: object) -> None:
        nonlocal ended
        event = entry.dagster_event
        if event is None:
            return
        if moment.at == "event" and event.event_type_value == moment.name:
            die(record, moment, f"{event.event_type_value} of {entry.job_name}")
        if event.is_step_start:
            began[event.step_key] = time.monotonic()
            if moment.at == "step" and ended >= moment.after:
                seconds = moment.part * moment.usual.get(event.step_key, 0.2)
                where = f"{event.step_key} after {seconds:.2f} s"
                threading.Timer(seconds, die, (record, moment, where)).start()
        if event.is_step_success:
            ended += 1
            _note(record, {"step": event.step_key, "seconds": time.monotonic() - began[event.step_key]})

    _around(dg.DagsterInstance, "handle_new_event", before, after)


def _watch_lake(moment: Moment, record: Path) -> None:
    from cer_assets.defs.raw import component
    from cer_assets.lake import Lake, ModelStore

    def reached(at: str) -> Callable[..., None]:
        def check(_: object, name: str, *_more: object, **_named: object) -> None:
            if moment.at == at and name == moment.name:
                die(record, moment, f"{at} {name}")

        return check

    commits: dict[str, set[Path]] = {}

    def committed(lake: Any, table: str) -> set[Path]:
        return set(Path(lake.uri(table), "_delta_log").glob("*.json"))

    def remember(lake: Any, table: str, *_more: object, **_named: object) -> None:
        commits[table] = committed(lake, table)

    def uncommit(lake: Any, table: str, *_more: object, **_named: object) -> None:
        # What was published and held already has left no commit.
        if moment.at == "uncommitted" and table == moment.name and (new := committed(lake, table) - commits[table]):
            for commit in new:
                commit.unlink()
            die(record, moment, f"files of {table} written, their commit not")

    # What frames and queries have in common.
    _around(Lake, "_publish", reached("publish"), reached("published"))
    _around(Lake, "_publish", remember, uncommit)
    _around(ModelStore, "save", None, reached("saved"))
    _around(ModelStore, "promote", None, reached("promoted"))

    def entry(at: str) -> Callable[..., None]:
        def check(_: object, feed: Any, *_more: object, **_named: object) -> None:
            if moment.at == at and feed.feed == moment.name:
                die(record, moment, f"{at}: {feed.feed} in the ledger")

        return check

    _around(component, "enter", entry("unsaid"), entry("said"))


def _watch_files(moment: Moment, record: Path) -> None:
    def placing(at: str) -> Callable[..., None]:
        def check(_: Path, target: Path, *_more: object) -> None:
            if moment.at == at and Path(target).name == moment.name:
                die(record, moment, f"{at}: {moment.name}")

        return check

    _around(Path, "replace", placing("unplaced"), placing("placed"))


def as_environment(moment: Moment | None, record: Path) -> dict[str, str]:
    """What the process is told through its environment."""
    told = {} if moment is None else {MOMENT: json.dumps(asdict(moment))}
    return told | {RECORD: str(record)}


if __name__ == "__main__":
    sys.exit(main())
