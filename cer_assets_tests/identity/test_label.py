"""A sitting at the terminal, through a pipe and through a pseudo-terminal."""

import datetime as dt
import io
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import polars as pl
import pytest

from cer_assets.identity.label import NEARLY, NOTHING, OTHER, SAME, main, marked, side_by_side
from cer_assets.identity.label_store import LabelStore
from cer_assets.lake import Lake

RECORDS = pl.DataFrame(
    {
        "record_id": [f"crm:{n}" for n in range(1, 6)],
        "source": ["crm"] * 5,
        "source_id": [str(n) for n in range(1, 6)],
        "surname": ["bennett", "bennet", "okafor", "okafor", "weiss"],
        "birth_date": [dt.date(1980, 4, 3), None, dt.date(1980, 4, 3), dt.date(1975, 1, 1), None],
    }
)
QUESTIONS = pl.DataFrame(
    [
        (1, "crm:1", "crm:2", 0.61, "uncertain", "weakest link of a customer", None),
        (2, "crm:3", "crm:4", 0.42, "uncertain", "would join customers", None),
        (3, "crm:1", "crm:5", 0.07, "audit", "drawn at random", 31.5),
        (4, "crm:1", "crm:404", 0.3, "uncertain", "its record is gone", None),
    ],
    schema={
        "rank": pl.Int64,
        "record_a": pl.String,
        "record_b": pl.String,
        "score": pl.Float64,
        "drawn": pl.String,
        "why": pl.String,
        "weight": pl.Float64,
    },
    orient="row",
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    lake = Lake(str(tmp_path / "lake"))
    lake.publish("identity.records", RECORDS)
    lake.publish("identity.questions", QUESTIONS)
    return tmp_path


def sit(home: Path, keys: str, *options: str) -> tuple[int, str, str]:
    """Exit code, what was shown and what was complained of, when these keys arrive a line each."""
    shown, complained = io.StringIO(), io.StringIO()
    lines = io.StringIO("".join(f"{key}\n" for key in keys))
    code = main(["--home", str(home), "--by", "ann", *options], lines, shown, complained)
    return code, shown.getvalue(), complained.getvalue()


def events(home: Path) -> list[tuple[str, str, str]]:
    with LabelStore(home / "landing" / "pair_labels", "reader") as store:
        return store.events().select("record_a", "record_b", "answer").rows()


def test_answers_are_kept_in_the_order_of_the_queue(home: Path) -> None:
    code, shown, _ = sit(home, "mdu")
    assert code == 0
    assert events(home) == [
        ("crm:1", "crm:2", "match"),
        ("crm:3", "crm:4", "distinct"),
        ("crm:1", "crm:5", "unsure"),
    ]
    assert "question 1 of 3" in shown
    assert "answers: 1 distinct, 1 match, 1 unsure; 0 skipped, 0 left." in shown


def test_how_a_pair_was_drawn_goes_with_its_answer(home: Path) -> None:
    sit(home, "ssm")
    with LabelStore(home / "landing" / "pair_labels", "reader") as store:
        assert store.events().select("drawn", "weight").rows() == [("audit", 31.5)]


def test_a_step_back_takes_the_answer_back_and_asks_again(home: Path) -> None:
    sit(home, "mbdsbbm")
    assert events(home) == [
        ("crm:1", "crm:2", answer) for answer in ("match", "withdrawn", "distinct", "withdrawn", "match")
    ]
    assert "nothing to take back" in sit(home, "b")[1]


def test_what_binds_is_asked_twice(home: Path) -> None:
    _, shown, _ = sit(home, "MnDyMy")
    assert events(home) == [("crm:1", "crm:2", "cannot_link"), ("crm:3", "crm:4", "must_link")]
    assert "y to confirm" in shown


def test_the_score_is_shown_when_asked_for_and_never_where_it_is_measured(home: Path) -> None:
    blind, asked = sit(home, "q")[1], sit(home, "iq")[1]
    assert "0.61" not in blind
    assert "weakest" not in blind
    assert "score 0.610; weakest link of a customer" in asked
    measured = sit(home, "ssiq")[1]
    assert "0.07" not in measured
    assert "asked blind" in measured


def test_what_each_answer_would_change_is_told_with_the_score(home: Path) -> None:
    answers = pl.DataFrame({"answer": ["distinct", "match"]})
    impact = QUESTIONS.select("record_a", "record_b").head(1).join(answers, how="cross")
    told = impact.with_columns(sentence=pl.col("answer").str.to_titlecase() + ": this and that.")
    Lake(str(home / "lake")).publish("insight.impact", told)
    assert "this and that" not in sit(home, "q")[1]
    assert "Match: this and that.\nDistinct: this and that." in sit(home, "iq")[1]


def test_repeats_of_what_a_stand_in_answered_are_counted(home: Path) -> None:
    columns = {"answer": "match", "by": "stand-in", "at": dt.datetime(2024, 1, 1), "drawn": "dedupe", "weight": None}
    told = QUESTIONS.head(1).select("record_a", "record_b", **{k: pl.lit(v) for k, v in columns.items()})
    Lake(str(home / "lake")).publish("identity.labels", told.cast({"weight": pl.Float64, "at": pl.Datetime("us")}))
    with LabelStore(home / "landing" / "pair_labels", "bob") as bob:
        bob.say("crm:1", "crm:2", "match", "repeat")
    assert "1 of 1 repeated questions agree" in sit(home, "q")[1]


def test_help_and_unknown_keys_answer_nothing(home: Path) -> None:
    _, shown, _ = sit(home, "?x")
    assert "must-link: one person" in shown
    assert "no such key" in shown
    assert events(home) == []


def test_a_later_sitting_goes_on_where_the_last_one_ended(home: Path) -> None:
    sit(home, "m", "--limit", "1")
    assert "question 1 of 2" in sit(home, "dm")[1]
    code, shown, _ = sit(home, "m")
    assert (code, "questions are answered" in shown) == (0, True)
    assert len(events(home)) == 3


def test_a_home_that_cannot_be_asked_about_is_named_with_what_to_do(tmp_path: Path, home: Path) -> None:
    assert sit(tmp_path / "nowhere", "m")[::2] == (
        2,
        f"{tmp_path / 'nowhere'} is no home: it holds no lake. Give --home, or set CER_HOME.\n",
    )
    (tmp_path / "empty" / "lake").mkdir(parents=True)
    assert "identity.questions has not been built yet" in sit(tmp_path / "empty", "m")[2]
    (home / "landing").write_text("a file")
    assert "cannot be read and written" in sit(home, "m")[2]


def test_lake_and_landing_zone_are_where_they_are_said_to_lie(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setenv("CER_LAKE", str(home / "lake"))
    monkeypatch.setenv("CER_LANDING", str(elsewhere / "landing"))
    code, shown, _ = sit(tmp_path / "nowhere", "m")
    assert code == 0 and str(elsewhere / "landing" / "pair_labels") in shown
    assert events(elsewhere) == [("crm:1", "crm:2", "match")]
    assert not (home / "landing").exists()

    monkeypatch.setenv("CER_LANDING", "s3://bucket/landing")
    code, shown, complained = sit(home, "m")
    assert (code, shown) == (2, "")
    assert "the landing zone is s3://bucket/landing" in complained and "Set CER_LANDING to a folder" in complained
    monkeypatch.setenv("CER_LAKE", str(tmp_path / "no lake"))
    assert "Set CER_LAKE to where it lies" in sit(home, "m")[2]


def test_no_complaint_holds_a_value_of_a_record(home: Path) -> None:
    (home / "landing").write_text("a file")
    assert not any(name in sit(home, "m")[2] for name in RECORDS["surname"])


@pytest.mark.parametrize(
    ("one", "other", "mark"),
    [
        ("weiss", "weiss", SAME),
        ("bennett", "bennet", NEARLY),
        ("weiss", "okafor", OTHER),
        ("weiss", None, NOTHING),
        (None, None, NOTHING),
        (dt.date(1980, 4, 3), dt.date(1980, 3, 4), NEARLY),
    ],
)
def test_agreement_is_marked(one: object, other: object, mark: str) -> None:
    assert marked(one, other) == mark


def test_no_value_is_cut_and_none_commands_the_terminal() -> None:
    long, evil = "a" * 90, "\x1b[2Jx\n"
    shown = side_by_side({"record_id": "1", "street": long}, {"record_id": "2", "street": evil}, 80)
    assert shown.count("a") == 90
    assert "\x1b" not in shown
    assert "·[2Jx·" in shown
    assert max(map(len, shown.splitlines())) <= 80


class Terminal:
    """The labeller at a pseudo-terminal."""

    def __init__(self, home: Path) -> None:
        self.ours, theirs = pty.openpty()
        self.before = termios.tcgetattr(theirs)
        self.theirs = theirs
        arguments = [sys.executable, "-m", "cer_assets.identity.label", "--home", str(home), "--by", "ann"]
        self.process = subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        self.seen = ""

    def wait_for(self, text: str) -> None:
        """Read what is drawn until the text appears."""
        end = time.monotonic() + 30
        while text not in self.seen:
            assert time.monotonic() < end, self.seen
            if select.select([self.ours], [], [], 0.2)[0]:
                self.seen += os.read(self.ours, 65536).decode()

    def press(self, keys: str, then: str) -> None:
        """Press keys once the question stands, and wait for what follows."""
        time.sleep(0.1)
        self.seen = ""
        os.write(self.ours, keys.encode())
        self.wait_for(then)

    @property
    def restored(self) -> bool:
        return termios.tcgetattr(self.theirs) == self.before


def test_at_a_terminal_single_keys_answer_and_it_is_left_as_it_was(home: Path) -> None:
    terminal = Terminal(home)
    terminal.wait_for("q quit")
    assert "\x1b[?1049h" in terminal.seen
    assert not terminal.restored
    terminal.press("m", "match saved")
    # The letter of an arrow key is no answer.
    terminal.press("\x1b[D", "no such key")
    terminal.press("d", "distinct saved")
    terminal.press("b", "taken back")
    terminal.process.send_signal(signal.SIGTERM)
    terminal.wait_for("\x1b[?1049l")
    assert terminal.process.wait(10) == 128 + signal.SIGTERM
    assert terminal.restored
    assert [answer for _, _, answer in events(home)] == ["match", "distinct", "withdrawn"]
