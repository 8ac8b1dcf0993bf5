"""Which files of the landing zone have arrived: told from those still being written, known again without being read.

What of them is due is said in `plan.py`.
"""

import contextlib
import json
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cer_assets.defs.resources import Home, sensor_seconds
from cer_assets.feeds import Drop, Feed, fingerprint
from cer_assets.lake.files import write_atomically

QUIET_SECONDS = min(10, 2 * sensor_seconds())
"""How long a file must have stayed as it is to count as whole: a copy that pauses longer has mostly ended."""
PAUSE_SHARE = 0.1
"""A file that went on growing must have been quiet for this share of that time, so that one that a program appends to
all day is loaded a few times and not at every pause."""
GROWING_SECONDS = 3600
"""A file still growing after an hour is named: what delivers it may never stop."""
MOST_WATCHED = 1000
"""Most files that the sensor's cursor holds. Others are told by their time of change alone."""


@dataclass(frozen=True)
class Watched:
    """A file that moved not long ago, as the sensor's cursor holds it; times are seconds since 1970."""

    mark: str
    begun: float
    """When it was first seen to move."""
    still: float
    """Since when it has not."""

    whole: bool = False
    """Whether it appeared whole, as the objects of a bucket do: it need not be waited for."""

    def settled(self, feed: Feed, now: float) -> bool:
        """Whether it may be loaded."""
        least = feed.quiet_seconds if self.whole else max(feed.quiet_seconds, QUIET_SECONDS)
        return now - self.still >= max(least, PAUSE_SHARE * (self.still - self.begun))

    def growing(self, feed: Feed, now: float) -> bool:
        """Whether it goes on and on."""
        return self.still - self.begun >= GROWING_SECONDS and not self.settled(feed, now)


class Watch:
    """The files that moved within the last hour, from one tick of the landing sensor to the next."""

    def __init__(self, cursor: str | None) -> None:
        held = json.loads(cursor or "{}")
        known = held.get("moving", {}) if isinstance(held, dict) else {}
        self.before = {name: Watched(*about) for name, about in known.items()}
        self.now: dict[str, Watched] = {}

    def unsettled(self, feed: Feed, drops: Iterable[Drop], now: float) -> list[Drop]:
        """Those of a feed's drops that are still being written."""
        moving: list[Drop] = []
        for drop in drops:
            name = f"{feed.feed}/{drop.name}"
            seen = self._seen(name, drop, now)
            if now - seen.still < GROWING_SECONDS:
                self.now[name] = seen
            if not seen.settled(feed, now):
                moving.append(drop)
        return moving

    def _seen(self, name: str, drop: Drop, now: float) -> Watched:
        marked, before = f"{drop.bytes}:{drop.mark}", self.before.get(name)
        if before is not None and before.mark == marked:
            return before
        # A clock that runs ahead of ours would never be quiet: what it says is taken for now. So is no time at all.
        written = min(drop.modified or now, now)
        return Watched(marked, before.begun if before else written, written, not isinstance(drop.path, Path))

    @property
    def cursor(self) -> str:
        """What to remember until the next tick; files that are gone, or long still, are not in it."""
        newest = sorted(self.now.items(), key=lambda item: (-item[1].still, item[0]))[:MOST_WATCHED]
        return json.dumps({"moving": {name: [seen.mark, seen.begun, seen.still, seen.whole] for name, seen in newest}})


def growing(watched: Mapping[str, Watched], feeds: Mapping[str, Feed], now: float) -> dict[str, float]:
    """The files that go on growing, `feed/file`, and since when."""
    return {
        name: seen.begun
        for name, seen in sorted(watched.items())
        if (feed := feeds.get(name.split("/")[0])) and seen.growing(feed, now)
    }


class Fingerprints:
    """What files of a feed hold, by hash, remembered beside their marks: what did not move is not read again.

    The file of them is a cache; without it everything is read once more.
    """

    def __init__(self, home: Home, feed: Feed) -> None:
        self._path = home.caches / "fingerprints" / f"{feed.feed}.json"
        try:
            self._held: dict[str, list[str]] = json.loads(self._path.read_text())
        except (FileNotFoundError, ValueError):
            self._held = {}
        self._moved = False

    def of(self, drop: Drop, until: float | None = None) -> str | None:
        """SHA-256 of the drop's content; None where it would have to be read and cannot be reached, or it is late.

        Args:
            drop: the file.
            until: when it is too late to read it (`time.monotonic`).
        """
        marked = f"{drop.bytes}:{drop.mark}"
        held = self._held.get(drop.name)
        if held is not None and held[0] == marked:
            return held[1]
        if until is not None and time.monotonic() > until:
            return None
        try:
            found = fingerprint(drop)
        except OSError:
            return None
        if found:
            self._held[drop.name] = [marked, found]
            self._moved = True
        return found

    def keep(self, names: Collection[str]) -> None:
        """Remember what was read, of files that still matter."""
        if self._moved:
            held = {name: about for name, about in sorted(self._held.items()) if name in names}
            with contextlib.suppress(OSError):  # a full disk is no reason not to load
                write_atomically(self._path, json.dumps(held).encode())
