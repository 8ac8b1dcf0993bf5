"""What no kept version of a table needs is removed: its files, and the part of its log that says who was in them.

Removing makes no version: what is computed from a table is not stale because a former version of it is gone. Whatever
is younger than a grace may belong to a writer that has not committed yet, or to a reader that has just opened the
table, and stays until the next time.
"""

import datetime as dt
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from cer_assets.lake.store import Found, Store

GRACE = dt.timedelta(days=1)
"""How long what seems to be needed by nobody is left alone: longer than any run or query."""
CHECKPOINT_EVERY = 10
"""How many commits a reader may have to read one by one."""

_LOG = "_delta_log/"
_COMMIT = re.compile(r"^(\d{20})\.json$")
_CHECKPOINT = re.compile(r"^(\d{20})\.checkpoint")


@dataclass(frozen=True)
class Vacuumed:
    """What was removed of one table: data files with their bytes, and files of its log."""

    files: int
    bytes: int
    logs: int


def vacuum(store: Store, folder: str, keep_versions: Collection[int], grace: dt.timedelta) -> Vacuumed:
    """As `Lake.vacuum` says, of the table in a folder of the lake."""
    current = _open(store, folder).version()
    kept = sorted({v for v in keep_versions if v < current and _opens(store, folder, v)} | {current})
    before = dt.datetime.now(dt.UTC) - grace if grace else dt.datetime.max.replace(tzinfo=dt.UTC)
    there = store.files(folder)
    _checkpoint(store, folder, there, kept[0], current, at_once=not grace)
    named = _named(store, folder, kept)
    surplus = {
        path: file
        for path, file in there.items()
        if not path.startswith(_LOG) and path not in named and file.written <= before
    }
    store.remove(f"{folder}/{path}" for path in surplus)
    logs = _old_log(store, folder, kept[0], before)
    store.remove(f"{folder}/{path}" for path in logs)
    return Vacuumed(len(surplus), sum(file.bytes for file in surplus.values()), len(logs))


def holds(store: Store, folder: str, version: int) -> bool:
    """Whether a version of the table in a folder can still be read: its log is there, and every file it names."""
    return _opens(store, folder, version) and store.files(folder).keys() >= set(files_of(_open(store, folder, version)))


def _opens(store: Store, folder: str, version: int) -> bool:
    try:
        _open(store, folder, version)
    except (TableNotFoundError, DeltaError):
        return False
    return True


def _checkpoint(
    store: Store, folder: str, there: Mapping[str, Found], oldest: int, current: int, *, at_once: bool
) -> None:
    """Write down the whole state where the log before is to go, and where a reader would have to read much of it."""
    points = [v for v in (_version(_CHECKPOINT, path) for path in there) if v is not None]
    below = max((v for v in points if v <= oldest), default=-1)
    newest = max(points, default=-1)
    if below != oldest and (at_once or oldest - below >= CHECKPOINT_EVERY):
        _written_down(store, folder, oldest)
        newest = oldest
    if newest < current and (newest < max(points, default=-1) or current - newest >= CHECKPOINT_EVERY):
        _written_down(store, folder, current)


def _written_down(store: Store, folder: str, version: int) -> None:
    """A checkpoint that would outlast a power cut: the log before it may go."""
    _open(store, folder, version).create_checkpoint()
    store.settle(f"{folder}/{_LOG}{name}" for name in (f"{version:020}.checkpoint.parquet", "_last_checkpoint"))


def _named(store: Store, folder: str, kept: list[int]) -> set[str]:
    """The files of all kept versions: those of the oldest, and what each commit since added or removed."""
    live = set(files_of(_open(store, folder, kept[0])))
    named, wanted = set(live), set(kept)
    for version in range(kept[0] + 1, kept[-1] + 1):
        for line in store.read(f"{folder}/{_LOG}{version:020}.json").splitlines():
            action = cast("dict[str, Any]", json.loads(line))
            if "remove" in action:
                live.discard(unquote(action["remove"]["path"]))
            elif "add" in action:
                live.add(unquote(action["add"]["path"]))
        if version in wanted:
            named |= live
    return named


def _old_log(store: Store, folder: str, oldest: int, before: dt.datetime) -> list[str]:
    """The log before the newest checkpoint from which every kept version follows, and what a killed writer left."""
    there = {path: file for path, file in store.files(folder).items() if path.startswith(_LOG)}
    points = [
        version
        for path, file in there.items()
        if (version := _version(_CHECKPOINT, path)) is not None and version <= oldest and file.written <= before
    ]
    base = max(points, default=-1)
    return [
        path
        for path, file in there.items()
        if (path.endswith(".tmp") and file.written <= before)
        or any((v := _version(kind, path)) is not None and v < base for kind in (_COMMIT, _CHECKPOINT))
    ]


def files_of(opened: DeltaTable) -> list[str]:
    """The files of a table as opened, in order, relative to its folder."""
    return sorted(unquote(path) for path in pl.DataFrame(opened.get_add_actions(flatten=True))["path"])


def _open(store: Store, folder: str, version: int | None = None) -> DeltaTable:
    return DeltaTable(f"{store.root.rstrip('/')}/{folder}", version=version)


def _version(kind: re.Pattern[str], path: str) -> int | None:
    found = kind.match(path.removeprefix(_LOG))
    return int(found.group(1)) if found else None
