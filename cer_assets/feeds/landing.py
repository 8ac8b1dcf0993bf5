"""The landing zone's grammar: which files are drops, of which feed and day.

What a drop holds is read in `read.py`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from upath import UPath

GRAMMAR = "expected the name <YYYY-MM-DD>[.anything].csv, .csv.gz, .parquet or .ndjson"

_NAME = re.compile(r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})(?:\.[^/]+?)?\.(?P<format>csv\.gz|csv|parquet|ndjson)")
_UNFINISHED = (".tmp", ".part")


@dataclass(frozen=True, order=True)
class Drop:
    """A delivered file."""

    feed: str
    day: dt.date
    """The day in its name, which is the partition."""
    name: str
    path: Path | UPath
    bytes: int
    """Size when it was listed."""

    @property
    def format(self) -> str:
        """csv, csv.gz, parquet or ndjson.

        Raises:
            ValueError: The name does not fit the landing zone's grammar.
        """
        if (parts := _NAME.fullmatch(self.name)) is None:
            raise ValueError(f"{self.feed}/{self.name}: {GRAMMAR}")
        return parts["format"]


def list_drops(landing: Path | UPath, feed: str) -> list[Drop]:
    """List a feed's drops, by day, then name.

    Hidden files and names that end in .tmp or .part are still being written and not listed. A
    file dropped again under its name replaces the former one; a second file of a day under
    another name (`2024-01-31.late.csv`) adds to it.

    Args:
        landing: The landing zone, which holds one folder per feed.
        feed: Name of the feed.

    Returns:
        The drops; none when the feed has no folder.
    """
    drops = [
        Drop(feed, day, path.name, path, path.stat().st_size)
        for path in _finished(landing / feed)
        if (day := _day(path)) is not None
    ]
    return sorted(drops)


def unreadable_names(landing: Path | UPath, feed: str) -> list[str]:
    """Names in a feed's folder that do not fit the grammar, so that nobody waits for them."""
    return sorted(path.name for path in _finished(landing / feed) if _day(path) is None)


def unknown_names(landing: Path | UPath, feeds: Iterable[str]) -> list[str]:
    """Names in the landing zone itself that are no feed's folder: a misspelt feed, a lost file."""
    known = set(feeds)
    return sorted(path.name for path in _finished(landing) if path.name not in known or not path.is_dir())


def fingerprint(drop: Drop) -> str:
    """SHA-256 of a drop's content, in hexadecimal."""
    digest = hashlib.sha256()
    with drop.path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _finished(folder: Path | UPath) -> Iterator[Path | UPath]:
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if not path.name.startswith(".") and not path.name.endswith(_UNFINISHED):
            yield path


def _day(path: Path | UPath) -> dt.date | None:
    """The day that a drop's name tells, or None where it is no drop."""
    parts = _NAME.fullmatch(path.name)
    if parts is None or not path.is_file():
        return None
    try:
        return dt.date.fromisoformat(parts["day"])
    except ValueError:
        return None
