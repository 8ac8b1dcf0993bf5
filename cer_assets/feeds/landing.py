"""The landing zone: which files are drops, of which feed and day, in a folder or on `s3://`.

What a drop holds is read in `read.py`.
"""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from upath import UPath

from cer_assets.lake.files import write_atomically

GRAMMAR = "expected the name <YYYY-MM-DD>[.anything].csv, .csv.gz, .parquet or .ndjson"

_NAME = re.compile(r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})(?:\.[^/]+?)?\.(?P<format>csv\.gz|csv|parquet|ndjson)")
_UNFINISHED = (".tmp", ".part")


@dataclass(frozen=True)
class _Entry:
    """A name in a folder of the landing zone."""

    path: Path | UPath
    is_file: bool
    bytes: int
    mark: str
    modified: float

    @property
    def day(self) -> dt.date | None:
        """The day that a drop's name tells, or None where it is no drop."""
        parts = _NAME.fullmatch(self.path.name)
        if parts is None or not self.is_file:
            return None
        try:
            return dt.date.fromisoformat(parts["day"])
        except ValueError:
            return None


def landing_zone(address: str | Path) -> UPath:
    """A landing zone in a folder, or under an `s3://` address.

    Credentials and endpoint of an object store come from the environment alone (`AWS_ACCESS_KEY_ID`,
    `AWS_ENDPOINT_URL`, ...). Listings are never kept: a process that runs for months sees every new file.
    """
    if "://" in str(address):
        return UPath(str(address), use_listings_cache=False)
    return UPath(address)


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
    mark: str = field(default="", compare=False)
    """Another one whenever the file was written since; told by the listing, without a look at the content."""
    modified: float = field(default=0.0, compare=False)
    """When it was last written, in seconds since 1970."""

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
        Drop(feed, day, entry.path.name, entry.path, entry.bytes, entry.mark, entry.modified)
        for entry in _finished(landing / feed)
        if (day := entry.day) is not None
    ]
    return sorted(drops)


def unreadable_names(landing: Path | UPath, feed: str) -> list[str]:
    """Names in a feed's folder that do not fit the grammar, so that nobody waits for them."""
    return sorted(entry.path.name for entry in _finished(landing / feed) if entry.day is None)


def unknown_names(landing: Path | UPath, feeds: Iterable[str]) -> list[str]:
    """Names in the landing zone itself that are no feed's folder: a misspelt feed, a lost file."""
    known = set(feeds)
    return sorted(entry.path.name for entry in _finished(landing) if entry.path.name not in known or entry.is_file)


def fingerprint(drop: Drop) -> str:
    """SHA-256 of a drop's content, in hexadecimal; empty where it cannot be opened.

    Raises:
        OSError: Where it lies could not be reached, which says nothing of the file.
    """
    digest = hashlib.sha256()
    try:
        with drop.path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        if out_of_reach(drop, error):
            raise
        return ""
    return digest.hexdigest()


def out_of_reach(drop: Drop, error: OSError) -> bool:
    """Whether what failed is the way to a file: a connection, or the store that holds it."""
    if isinstance(drop.path, Path):
        return isinstance(error, ConnectionError | TimeoutError)
    about_the_file = isinstance(error, FileNotFoundError | PermissionError) or error.errno == errno.EINVAL
    return not about_the_file


def write(path: Path | UPath, content: bytes) -> None:
    """Put a file of the landing zone in place whole: nobody ever reads half of it."""
    if isinstance(path, Path):
        write_atomically(path, content)
    else:  # an object appears when all of it was received
        path.fs.pipe_file(path.path, content)


def _finished(folder: Path | UPath) -> Iterator[_Entry]:
    entries = _in_folder(folder) if isinstance(folder, Path) else _in_store(folder)
    for entry in entries:
        if not entry.path.name.startswith(".") and not entry.path.name.endswith(_UNFINISHED):
            yield entry


def _in_folder(folder: Path) -> Iterator[_Entry]:
    try:
        found = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in found:
        try:
            about = entry.stat()
        except FileNotFoundError:  # gone since, or a link to nothing
            continue
        # The time of a change cannot be set: it tells a file that was put back with its former time of writing.
        mark = f"{about.st_mtime_ns}.{about.st_ctime_ns}"
        yield _Entry(folder / entry.name, entry.is_file(), about.st_size, mark, about.st_mtime)


def _in_store(folder: UPath) -> Iterator[_Entry]:
    """One request lists up to a thousand names with sizes and marks; no file is asked for by itself."""
    try:
        found = cast("list[dict[str, Any]]", folder.fs.ls(folder.path, detail=True))
    except FileNotFoundError:
        return
    for entry in found:
        name = str(entry["name"]).rstrip("/").rpartition("/")[2]
        if str(entry["name"]).rstrip("/") == folder.path.rstrip("/"):  # the folder's own marker
            continue
        modified = entry.get("LastModified")
        seconds = modified.timestamp() if isinstance(modified, dt.datetime) else 0.0
        mark = f"{seconds}.{entry.get('ETag', '')}"
        yield _Entry(folder / name, entry["type"] == "file", int(entry["size"] or 0), mark, seconds)
