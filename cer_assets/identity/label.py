"""A terminal to answer the questions of `identity.questions` at: `python -m cer_assets.identity.label --by <handle>`.

Answers are kept by `label_store.py`; here are only the screen, the keys and the way through the queue. Records are
shown on the terminal and nowhere else: nothing of them is logged or left in the terminal's scrollback.
"""

import argparse
import os
import select
import shutil
import signal
import sys
import termios
import textwrap
import tty
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, TextIO
from zoneinfo import ZoneInfo

import polars as pl

from cer_assets.feeds import landing_zone
from cer_assets.feeds.contracts import AUDIT, CANNOT_LINK, DISTINCT, MATCH, MUST_LINK, REPEAT, UNSURE
from cer_assets.identity.advice import label_quality
from cer_assets.identity.label_store import LABELS, CannotLabel, Clock, LabelStore, open_questions, wall_clock
from cer_assets.lake import Lake

ZONE = "America/New_York"
"""The retailer's clock where `CER_TIMEZONE` does not say."""
ANSWERS = "pair_labels"
"""The feed of answers."""

KEYS = {
    "m": "match: one person",
    "d": "distinct: two persons",
    "u": "unsure",
    "M": "must-link: one person, whatever any score says",
    "D": "cannot-link: two persons, whatever any score says",
    "b": "back: take the last answer back",
    "s": "skip, for now",
    "i": "show score, reason, and what each answer would change",
    "?": "this help",
    "q": "quit",
}
SAYS = {"m": MATCH, "d": DISTINCT, "u": UNSURE, "M": MUST_LINK, "D": CANNOT_LINK}
BINDING = "MD"
BLIND = (AUDIT, REPEAT)
"""Questions whose score is never shown: their answers measure the scores, and the answers themselves."""

NOT_SHOWN = ("record_id", "source", "source_id", "changed_on")
NEAR = 0.8
"""Two values with at least this share of characters in common, in order, are marked as near."""

SAME, NEARLY, OTHER, NOTHING = "=", "~", "x", " "
COLOURS = {SAME: "\x1b[32m", NEARLY: "\x1b[33m", OTHER: "\x1b[31m"}
PLAIN, BOLD, CLEAR = "\x1b[0m", "\x1b[1m", "\x1b[2J\x1b[H"
OTHER_SCREEN, FIRST_SCREEN = "\x1b[?1049h", "\x1b[?1049l"
LEAST_WIDTH = 60
END_OF_INPUT = "\x04"

Row = Mapping[str, Any]


@dataclass
class Sitting:
    """One labeller's way through the queue: where they are, what they did, what can be taken back."""

    questions: Sequence[Row]
    store: LabelStore
    at: int = 0
    done: list[str | None] = field(default_factory=list[str | None])
    """What was said to each question so far; None for a skipped one."""

    @property
    def question(self) -> Row | None:
        """The question to be answered; None at the end."""
        return self.questions[self.at] if self.at < len(self.questions) else None

    @property
    def answered(self) -> int:
        """Questions answered in this sitting."""
        return sum(answer is not None for answer in self.done)

    def say(self, answer: str) -> None:
        """Answer the question and go on.

        Raises:
            CannotLabel: the answer could not be saved; the question stays.
        """
        asked = self.questions[self.at]
        self.store.say(asked["record_a"], asked["record_b"], answer, asked["drawn"], asked.get("weight"))
        self._went_on(answer)

    def skip(self) -> None:
        """Go on without an answer."""
        self._went_on(None)

    def _went_on(self, answer: str | None) -> None:
        self.done.append(answer)
        self.at += 1

    def back(self) -> bool:
        """Go back to the question before and take its answer back; whether there was one.

        Raises:
            CannotLabel: that could not be saved; the answer still stands.
        """
        if not self.done:
            return False
        before = self.questions[self.at - 1]
        if self.done[-1] is not None:
            self.store.take_back(before["record_a"], before["record_b"])
        self.done.pop()
        self.at -= 1
        return True


def marked(one: object, other: object) -> str:
    """How two values of a field compare: `SAME`, `NEARLY`, `OTHER`, or `NOTHING` where one is missing."""
    if one is None or other is None:
        return NOTHING
    if one == other:
        return SAME
    return NEARLY if SequenceMatcher(None, str(one), str(other), autojunk=False).ratio() >= NEAR else OTHER


def side_by_side(one: Row, other: Row, width: int, colour: bool = False) -> str:
    """Two records, field by field, the mark of agreement between them; values are wrapped, never cut."""
    names = [name for name in one if name not in NOT_SHOWN]
    label = max((len(name) for name in names), default=0) + 2
    half = max((width - label - 3) // 2, 10)
    lines = [_line("", _wrapped(one["record_id"], half), NOTHING, _wrapped(other["record_id"], half), label, half)]
    for name in names:
        mark = marked(one[name], other[name])
        line = _line(name, _wrapped(one[name], half), mark, _wrapped(other[name], half), label, half)
        lines.append(f"{COLOURS[mark]}{line}{PLAIN}" if colour and mark in COLOURS else line)
    return "\n".join(lines)


def _line(name: str, left: list[str], mark: str, right: list[str], label: int, half: int) -> str:
    first = f"{name:<{label}}{_nth(left, 0):<{half}} {mark} {_nth(right, 0)}"
    more = (f"{'':<{label}}{_nth(left, n):<{half}}   {_nth(right, n)}" for n in range(1, max(len(left), len(right))))
    return "\n".join(line.rstrip() for line in (first, *more))


def _nth(lines: list[str], row: int) -> str:
    return lines[row] if row < len(lines) else ""


def _wrapped(value: object, width: int) -> list[str]:
    """A value as lines; characters that a terminal would obey are shown as dots."""
    if value is None:
        return ["-"]
    text = "".join(c if c.isprintable() else "·" for c in str(value))
    return textwrap.wrap(text, width, drop_whitespace=False) or [""]


def help_text() -> str:
    """Every key and what it does."""
    marks = f"{SAME} same, {NEARLY} near, {OTHER} different, blank: one side has nothing"
    return "\n".join([*(f"  {key}  {what}" for key, what in KEYS.items()), f"  between the records: {marks}"])


@dataclass
class Screen:
    """Where questions are drawn and keys are read."""

    stdin: TextIO
    stdout: TextIO

    @property
    def live(self) -> bool:
        """Whether a person sits there; else lines are read and nothing is redrawn."""
        return self.stdin.isatty() and self.stdout.isatty()

    @property
    def width(self) -> int:
        """Characters in a line."""
        return max(shutil.get_terminal_size((100, 40)).columns, LEAST_WIDTH) if self.live else 100

    @property
    def colour(self) -> bool:
        """Whether marks may be coloured."""
        return self.live and not os.environ.get("NO_COLOR")

    def write(self, text: str) -> None:
        """Put text where it is seen."""
        self.stdout.write(text)
        self.stdout.flush()

    def draw(self, text: str) -> None:
        """Show this and nothing else."""
        self.write((CLEAR if self.live else "") + text + "\n")

    @contextmanager
    def taken(self) -> Generator[None]:
        """Take single keys on a screen of its own, and give the terminal back as it was, however this ends."""
        if not self.live:
            yield
            return
        terminal = self.stdin.fileno()
        before = termios.tcgetattr(terminal)
        former = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
        try:
            _single_keys(terminal)
            self.write(OTHER_SCREEN)
            yield
        finally:
            self.write(FIRST_SCREEN)
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
            for number, handler in former.items():
                signal.signal(number, handler)

    def key(self) -> str:
        """The next key; an empty text at the end of the input.

        At a terminal, keys that were pressed before the question was on the screen are forgotten: a key that bounces
        answers nothing unseen. From a file or pipe a line is a key, and blank lines are passed over.
        """
        if not self.live:
            return next((line.strip() for line in iter(self.stdin.readline, "") if line.strip()), "")
        terminal = self.stdin.fileno()
        termios.tcflush(terminal, termios.TCIFLUSH)
        select.select([terminal], [], [])
        pressed = os.read(terminal, 64).decode(errors="replace")
        # An arrow key arrives as several characters; its letter is no answer.
        return "escape" if pressed.startswith("\x1b") else pressed[:1]


def _single_keys(terminal: int) -> None:
    tty.setcbreak(terminal, termios.TCSADRAIN)
    attributes = termios.tcgetattr(terminal)
    # Whoever stops the process would leave two persons on the screen and the terminal without echo.
    attributes[6][termios.VSUSP] = b"\x00"
    termios.tcsetattr(terminal, termios.TCSADRAIN, attributes)


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


class Desk:
    """Puts questions on a screen and does what the keys say."""

    def __init__(
        self,
        sitting: Sitting,
        records: Mapping[str, Row],
        screen: Screen,
        quality: str,
        consequences: Mapping[tuple[str, str], Sequence[str]],
    ) -> None:
        self.sitting = sitting
        self.records = records
        self.screen = screen
        self.quality = quality
        self.consequences = consequences
        self.note = ""
        self.unblinded = False

    def run(self) -> None:
        """Ask until the queue, the input or the labeller's patience ends."""
        while (question := self.sitting.question) is not None:
            self.screen.draw(self._page(question))
            self.note = ""
            key = self.screen.key()
            if key in ("", "q", END_OF_INPUT):
                return
            try:
                self._press(key)
            except CannotLabel as error:
                self.note = str(error)

    def _press(self, key: str) -> None:
        if key in SAYS:
            if key in BINDING and not self._confirmed(key):
                self.note = "not said"
                return
            self.sitting.say(SAYS[key])
            self._turned(f"{SAYS[key]} saved; b takes it back")
        elif key == "s":
            self.sitting.skip()
            self._turned("skipped; b goes back")
        elif key == "b":
            self._turned("taken back" if self.sitting.back() else "nothing to take back in this sitting")
        elif key == "i":
            self.unblinded = True
        elif key == "?":
            self.note = help_text()
        else:
            self.note = "no such key; ? lists them"

    def _turned(self, note: str) -> None:
        self.note, self.unblinded = note, False

    def _confirmed(self, key: str) -> bool:
        self.screen.write(f"\n{KEYS[key]}; it binds until it is taken back. y to confirm: ")
        return self.screen.key() == "y"

    def _page(self, question: Row) -> str:
        sitting = self.sitting
        head = f"question {sitting.at + 1} of {len(sitting.questions)}, {sitting.answered} answered"
        one, other = self.records[question["record_a"]], self.records[question["record_b"]]
        keys = "m match  d distinct  u unsure  s skip  b back  ? help  q quit"
        parts = [
            f"{BOLD}{head}{PLAIN}" if self.screen.colour else head,
            self.quality,
            "",
            side_by_side(one, other, self.screen.width, self.screen.colour),
            "",
            *([*self._told(question), ""] if self.unblinded else []),
            keys,
            *([self.note] if self.note else []),
        ]
        return "\n".join(parts)

    def _told(self, question: Row) -> list[str]:
        """What is only told when asked for."""
        if question["drawn"] in BLIND:
            return ["this question is asked blind: its answer is a measure"]
        score = "not scored" if question["score"] is None else f"score {question['score']:.3f}"
        pair = (question["record_a"], question["record_b"])
        told = [f"{score}; {question['why']}", *self.consequences.get(pair, ())]
        return [line for sentence in told for line in textwrap.wrap(sentence, self.screen.width)]


def quality_line(events: pl.DataFrame) -> str:
    """How well answers agree so far, in one line."""
    spoken: list[str] = []
    for row in label_quality(events).iter_rows(named=True):
        what = "repeated questions" if row["compared"] == "repeats" else "questions two people answered"
        if row["pairs"]:
            low, high = round(100 * row["low"]), round(100 * row["high"])
            spoken.append(f"{row['agreed']} of {row['pairs']} {what} agree ({low} to {high} %)")
    return "; ".join(spoken) or "no question was answered twice yet"


def _home_tables(home: Path) -> tuple[Lake, pl.DataFrame]:
    """The lake of a home, wherever that lies (`CER_LAKE`), and its queue."""
    address = os.environ.get("CER_LAKE")
    lake = Lake(address or str(home / "lake"))
    if not lake.store.remote and not Path(lake.root).is_dir():
        if address:
            raise CannotLabel(
                f"{address} holds no lake. Set CER_LAKE to where it lies, or unset it if that is the home"
            )
        raise CannotLabel(f"{home} is no home: it holds no lake. Give --home, or set CER_HOME")
    for table in ("identity.questions", "identity.records"):
        if not lake.exists(table):
            raise CannotLabel(f"{home}: {table} has not been built yet; materialize it, then come back")
    return lake, lake.scan("identity.questions").collect()


def _answers(home: Path) -> Path:
    """The folder of the landing zone, wherever that lies (`CER_LANDING`), that answers are dropped into."""
    zone = landing_zone(os.environ.get("CER_LANDING") or home / "landing")
    if not isinstance(zone, Path):
        raise CannotLabel(
            f"the landing zone is {zone}, and answers are kept in a folder. Set CER_LANDING to a folder for the"
            f" sitting, with the files of {zone / ANSWERS} copied there before, and copy its {ANSWERS} back afterwards"
        )
    return zone / ANSWERS


def _records(lake: Lake, questions: pl.DataFrame) -> dict[str, Row]:
    """The records that the questions are about, by id."""
    wanted = pl.concat([questions["record_a"], questions["record_b"]]).unique().implode()
    found = lake.scan("identity.records").filter(pl.col("record_id").is_in(wanted)).collect()
    return {row["record_id"]: row for row in found.iter_rows(named=True)}


def _with_others(lake: Lake, events: pl.DataFrame) -> pl.DataFrame:
    """The events of drops, and those of `identity.labels` by whoever makes no drops, such as a stand-in."""
    if not lake.exists("identity.labels"):
        return events
    held = lake.scan("identity.labels").select(LABELS.names()).collect()
    return pl.concat([events, held.join(events, on="by", how="anti", nulls_equal=True)])


def _consequences(lake: Lake) -> dict[tuple[str, str], list[str]]:
    """What each answer would change, in words, by pair; as far as `insight.impact` has been built."""
    if not lake.exists("insight.impact"):
        return {}
    told = lake.scan("insight.impact").sort("answer", descending=True)
    by_pair = told.group_by("record_a", "record_b", maintain_order=True).agg("sentence").collect()
    return {(a, b): sentences for a, b, sentences in by_pair.iter_rows()}


def _arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cer_assets.identity.label", description="Answer the questions of identity.questions."
    )
    parser.add_argument("--home", default=os.environ.get("CER_HOME") or "data", help="default: CER_HOME, or ./data")
    parser.add_argument(
        "--by", default="steward", help="a short handle of who answers, rather than a name: files are called by it"
    )
    parser.add_argument("--limit", type=int, help="most questions in this sitting")
    return parser.parse_args(given)


def main(given: Sequence[str], stdin: TextIO, stdout: TextIO, stderr: TextIO, clock: Clock = wall_clock) -> int:
    """Run a sitting; the process's exit code."""
    chosen = _arguments(given)
    try:
        return _sit(chosen, Screen(stdin, stdout), clock)
    except CannotLabel as error:
        stderr.write(f"{error}.\n")
        return 2


def _sit(chosen: argparse.Namespace, screen: Screen, clock: Clock) -> int:
    home = Path(chosen.home)
    lake, queue = _home_tables(home)
    zone = ZoneInfo(os.environ.get("CER_TIMEZONE") or ZONE)
    loaded = lake.scan("raw.pair_labels").collect() if lake.exists("raw.pair_labels") else None
    with LabelStore(_answers(home), chosen.by, zone, clock, loaded) as store:
        events = store.events()
        records = _records(lake, queue)
        known = pl.Series(list(records), dtype=pl.String).implode()
        left = open_questions(queue, events).filter(pl.col("record_a").is_in(known) & pl.col("record_b").is_in(known))
        if left.is_empty():
            screen.write(f"{home}: all {len(queue)} questions are answered; materialize identity/questions for more.\n")
            return 0
        sitting = Sitting(left.head(chosen.limit if chosen.limit is not None else len(left)).to_dicts(), store)
        # What this sitting's repeats say stays out until the end: it would tell which questions repeat.
        desk = Desk(sitting, records, screen, quality_line(_with_others(lake, events)), _consequences(lake))
        try:
            with screen.taken():
                desk.run()
        except KeyboardInterrupt:
            pass
        screen.write(_farewell(sitting, len(left), quality_line(_with_others(lake, store.events()))))
        return 0


def _farewell(sitting: Sitting, open_before: int, quality: str) -> str:
    counts = {answer: sitting.done.count(answer) for answer in sorted({a for a in sitting.done if a is not None})}
    spoken = ", ".join(f"{count} {answer}" for answer, count in counts.items()) or "none"
    skipped = sitting.done.count(None)
    return (
        f"answers: {spoken}; {skipped} skipped, {open_before - sitting.answered} left. "
        f"{quality}.\nsaved under {sitting.store.folder}\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin, sys.stdout, sys.stderr))
