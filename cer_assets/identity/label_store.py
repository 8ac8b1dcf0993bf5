"""A person's answers as drops of the feed `pair_labels`: append-only events, saved one by one; nothing is shown here.

One labeller's answers of a day are one file, `<day>.<labeller>.ndjson`, written whole each time, so that whoever reads
it, or kills its writer, never meets half an answer. Whatever asks the questions (a terminal, a web page) writes here.
"""

import datetime as dt
import fcntl
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import polars as pl

from cer_assets.feeds.contracts import PAIR_ANSWERS, PAIR_DRAWN, REPEAT, WITHDRAWN
from cer_assets.identity.labels import BINDING, INSTANT, PAIR, RULE, standing
from cer_assets.lake.files import write_atomically

SAYABLE = tuple(answer for answer in PAIR_ANSWERS if answer != WITHDRAWN)
"""What a person may say of a pair; to withdraw is to take that back."""

LABELS = pl.Schema(
    {
        "record_a": pl.String,
        "record_b": pl.String,
        "answer": pl.String,
        "by": pl.String,
        "at": pl.Datetime("us"),
        "drawn": pl.String,
        "weight": pl.Float64,
    }
)

_HANDLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")

Clock = Callable[[], dt.datetime]
"""Tells the time, with its zone."""


def wall_clock() -> dt.datetime:
    """The time by this machine."""
    return dt.datetime.now(dt.UTC)


class CannotLabel(RuntimeError):
    """Answers cannot be given or kept; says why and what to do."""


class LabelStore:
    """The answers of one labeller, beside those of the others; open as a context manager to write.

    Args:
        folder: the feed's folder in the landing zone.
        by: a short handle of who answers; it becomes part of the file's name.
        zone: whose wall clock days and times are told by.
        clock: tells the time.
        known: answers that were loaded from elsewhere, as `LABELS` (further columns are ignored, missing ones null).

    Raises:
        CannotLabel: the handle cannot be part of a file's name, or would be taken for a rule's.
    """

    def __init__(
        self,
        folder: Path,
        by: str,
        zone: dt.tzinfo = dt.UTC,
        clock: Clock = wall_clock,
        known: pl.DataFrame | None = None,
    ) -> None:
        if not _HANDLE.fullmatch(by) or by.startswith(RULE):
            raise CannotLabel(
                f"a labeller's handle is up to 32 letters, digits, - or _, and does not begin with {RULE!r}"
            )
        self.folder = folder
        self.by = by
        self.zone = zone
        self._clock = clock
        self._known = None if known is None else known.select(_as_labels(known))
        self._lock: IO[str] | None = None
        self._written: list[dict[str, Any]] = []
        """This labeller's events on disk, in order."""
        self._others: list[dict[str, Any]] = []

    def __enter__(self) -> "LabelStore":
        """Read what is there and keep others from writing under the same handle.

        Raises:
            CannotLabel: the folder cannot be written, or this labeller is at work elsewhere.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / f".{self.by}.lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            everything = [event for path in sorted(self.folder.glob("*.ndjson")) for event in _events(path)]
        except BlockingIOError:
            self.close()
            raise CannotLabel(f"{self.by} is answering elsewhere already; end that, or take another handle") from None
        except OSError as error:
            self.close()
            raise CannotLabel(
                f"{self.folder} cannot be read and written ({error.strerror}); check its permissions"
            ) from None
        self._written = sorted((e for e in everything if e["by"] == self.by), key=lambda e: e["at"])
        self._others = [event for event in everything if event["by"] != self.by]
        return self

    def __exit__(self, *_: object) -> None:
        """Let others write again."""
        self.close()

    def close(self) -> None:
        """Let go of the lock; what was answered is on disk."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def events(self) -> pl.DataFrame:
        """Every label event of the folder and of what was known, whoever gave it, as `LABELS`, by time."""
        rows = [{**e, "at": self._local(e["at"])} for e in (*self._others, *self._written)]
        frames = [pl.DataFrame(rows, LABELS)] + ([] if self._known is None else [self._known])
        return (
            pl.concat(frames)
            .unique(["record_a", "record_b", "by", "at"], maintain_order=True)
            .sort("at", "record_a", "record_b", "by", nulls_last=False)
        )

    def say(
        self, record_a: str, record_b: str, answer: str, drawn: str | None = None, weight: float | None = None
    ) -> None:
        """Keep an answer; when this returns it is on disk.

        Args:
            record_a: a record of the pair.
            record_b: the other one.
            answer: one of `SAYABLE`.
            drawn: how the pair was chosen.
            weight: how many scored pairs it stands for, where it is audited.

        Raises:
            CannotLabel: it could not be written; it is not kept.
        """
        if answer not in SAYABLE:
            raise ValueError(f"answer: expected one of {', '.join(SAYABLE)}")
        self._append([self._event(record_a, record_b, answer, drawn, weight)])

    def take_back(self, record_a: str, record_b: str) -> None:
        """Withdraw this labeller's newest answer about a pair; the answer before it, if any, stands again.

        Raises:
            CannotLabel: it could not be written; the answer still stands.
        """
        withdrawn = self._event(record_a, record_b, WITHDRAWN, None, None)
        pair = (withdrawn["record_a"], withdrawn["record_b"])
        before = self._before_last(*pair)
        again = [] if before is None else [{**before, "by": self.by, "at": withdrawn["at"] + INSTANT}]
        self._append([withdrawn, *again])

    def _before_last(self, record_a: str, record_b: str) -> dict[str, Any] | None:
        """This labeller's answer that the newest one took the place of."""
        mine = self.events().filter(record_a=record_a, record_b=record_b, by=self.by).to_dicts()
        said: list[dict[str, Any]] = []
        for event, before in zip(mine, [None, *mine], strict=False):
            if event["answer"] != WITHDRAWN:
                # What a withdrawal uncovered is said again and stands on top already.
                uncovered = before and before["answer"] == WITHDRAWN and event["at"] == before["at"] + INSTANT
                said += [] if uncovered and said else [event]
            elif said:
                said.pop()
        return said[-2] if len(said) > 1 else None

    def _event(self, one: str, other: str, answer: str, drawn: str | None, weight: float | None) -> dict[str, Any]:
        # Two events never share their time, and a clock that is put back does not bring back older answers.
        at = self._clock().astimezone(dt.UTC)
        if self._written:
            at = max(at, self._written[-1]["at"] + INSTANT)
        return {
            "record_a": min(one, other),
            "record_b": max(one, other),
            "answer": answer,
            "by": self.by,
            "at": at,
            "drawn": drawn,
            "weight": weight,
        }

    def _append(self, new: list[dict[str, Any]]) -> None:
        if self._lock is None:
            raise CannotLabel("the store is not open; use it in a with block")
        path = self.folder / f"{new[-1]['at'].astimezone(self.zone).date()}.{self.by}.ndjson"
        try:
            before = path.read_bytes() if path.exists() else b""
            if before and not before.endswith(b"\n"):
                before += b"\n"
            lines = [json.dumps({**event, "at": event["at"].isoformat(timespec="microseconds")}) for event in new]
            write_atomically(path, before + "".join(f"{line}\n" for line in lines).encode())
        except OSError as error:
            raise CannotLabel(f"not saved: {path} cannot be written ({error.strerror})") from None
        self._written += new

    def _local(self, at: dt.datetime) -> dt.datetime:
        return at.astimezone(self.zone).replace(tzinfo=None)


def _as_labels(frame: pl.DataFrame) -> list[pl.Expr]:
    return [
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in LABELS.items()
    ]


def _events(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a file; what is no event is left to the feed, which rejects it and says why."""
    for line in path.read_text(errors="replace").splitlines():
        try:
            given = json.loads(line)
            event = {name: given.get(name) for name in LABELS}
            at = dt.datetime.fromisoformat(event["at"])
            event["weight"] = None if event["weight"] is None else float(event["weight"])
        except (ValueError, TypeError, AttributeError):
            continue
        texts = [event[name] for name in ("record_a", "record_b", "answer", "by")]
        if at.tzinfo is None or not all(isinstance(text, str) for text in texts):
            continue
        if event["answer"] in PAIR_ANSWERS and event["drawn"] in (*PAIR_DRAWN, None):
            yield {**event, "at": at.astimezone(dt.UTC)}


def open_questions(questions: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """The questions that nobody answered since the queue was made, in the order to ask them.

    Args:
        questions: record_a, record_b, drawn, information, and if known rank: what `queue.questions` returned.
        events: record_a, record_b, answer, by, at, drawn: every answer so far.

    Returns:
        the questions left; one that repeats an earlier answer is left until it was repeated, or settled for good.
    """
    by = ["rank"] if "rank" in questions.columns else ["information", *PAIR]
    said = standing(events).filter(~pl.col("by").str.starts_with(RULE))
    again = pl.col("drawn") == REPEAT
    ordered = questions.sort(by, descending=[name == "information" for name in by])
    new = ordered.filter(again.not_()).join(said, on=PAIR, how="anti", maintain_order="left")
    settled = said.filter(again | pl.col("answer").is_in(BINDING))
    repeated = ordered.filter(again).join(settled, on=PAIR, how="anti", maintain_order="left")
    return ordered.join(pl.concat([new, repeated]).select(PAIR), on=PAIR, how="semi", maintain_order="left")
