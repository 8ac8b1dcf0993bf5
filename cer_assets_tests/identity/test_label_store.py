"""Answers as drops: nothing is lost, nothing is overwritten, and the feed takes every line."""

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from cer_assets.feeds import Feed, list_drops, read_drops
from cer_assets.identity.label_store import LABELS, CannotLabel, LabelStore, open_questions
from cer_assets.identity.labels import effective

ZONE = ZoneInfo("America/New_York")
NOON = dt.datetime(2024, 3, 1, 17, tzinfo=dt.UTC)


def ticking(start: dt.datetime = NOON, step: float = 1) -> Callable[[], dt.datetime]:
    """A clock that goes on by so many seconds whenever it is read."""
    moments = (start + dt.timedelta(seconds=step * n) for n in range(10_000))
    return lambda: next(moments)


def store(folder: Path, by: str = "ann", clock: Callable[[], dt.datetime] | None = None) -> LabelStore:
    return LabelStore(folder, by, ZONE, clock or ticking())


def answers(frame: pl.DataFrame) -> list[str]:
    return frame["answer"].to_list()


def test_an_answer_is_on_disk_when_it_is_said(tmp_path: Path) -> None:
    with store(tmp_path / "pair_labels") as ann:
        ann.say("web:2", "crm:1", "match", "audit", 12.5)
        (line,) = (tmp_path / "pair_labels" / "2024-03-01.ann.ndjson").read_text().splitlines()
        assert json.loads(line) == {
            "record_a": "crm:1",
            "record_b": "web:2",
            "answer": "match",
            "by": "ann",
            "at": "2024-03-01T17:00:00.000000+00:00",
            "drawn": "audit",
            "weight": 12.5,
        }
        assert ann.events().schema == LABELS
        assert ann.events()["at"].to_list() == [dt.datetime(2024, 3, 1, 12)]


def test_the_feed_accepts_what_is_written(tmp_path: Path) -> None:
    with store(tmp_path / "pair_labels", clock=ticking(step=0)) as ann:
        for answer in ("match", "distinct", "unsure"):
            ann.say("crm:1", "web:2", answer)
    feed = Feed.model_validate(
        {
            "feed": "pair_labels",
            "contract": "pair_labels",
            "description": "Answers.",
            "delivers": "changes",
            "owners": ["team:data"],
            "layouts": [{}],
        }
    )
    delivery = read_drops(feed, list_drops(tmp_path, "pair_labels"), ZONE.key)
    assert delivery.rejects.is_empty()
    assert answers(delivery.accepted.sort("at")) == ["match", "distinct", "unsure"]
    assert delivery.accepted["at"].is_unique().all()


def test_what_was_answered_earlier_that_day_stays_whatever_it_is(tmp_path: Path) -> None:
    file = tmp_path / "2024-03-01.ann.ndjson"
    file.write_text("no event")
    for n in range(2):
        with store(tmp_path, clock=ticking(NOON + dt.timedelta(hours=n))) as ann:
            ann.say("crm:1", f"web:{n}", "match")
    assert file.read_text().splitlines()[0] == "no event"
    with store(tmp_path, "bob") as bob:
        assert bob.events().select("record_b", "by").rows() == [("web:0", "ann"), ("web:1", "ann")]
    assert [path.name for path in tmp_path.glob("[!.]*")] == [file.name]


def test_a_day_ends_at_midnight_by_the_retailers_clock(tmp_path: Path) -> None:
    with store(tmp_path, clock=ticking(dt.datetime(2024, 3, 2, 4, 59, 59, tzinfo=dt.UTC))) as ann:
        ann.say("crm:1", "web:1", "match")
        ann.say("crm:1", "web:2", "match")
        ann.take_back("crm:1", "web:1")
    first, second = sorted(tmp_path.glob("*.ndjson"))
    assert (first.name, second.name) == ("2024-03-01.ann.ndjson", "2024-03-02.ann.ndjson")
    assert [json.loads(line)["answer"] for line in second.read_text().splitlines()] == ["match", "withdrawn"]


def test_an_answer_taken_back_counts_no_more(tmp_path: Path) -> None:
    with store(tmp_path) as ann:
        ann.say("a", "b", "match")
        ann.take_back("b", "a")
        assert effective(ann.events()).is_empty()
        ann.say("a", "b", "distinct")
        assert answers(effective(ann.events())) == ["distinct"]


def test_taking_a_repeated_answer_back_leaves_the_first_one_standing(tmp_path: Path) -> None:
    with store(tmp_path) as ann:
        ann.say("a", "b", "match", "audit", 3.0)
        ann.say("a", "b", "distinct", "repeat")
        assert answers(effective(ann.events())) == ["unsure"]
        ann.take_back("a", "b")
        assert effective(ann.events()).select("answer", "drawn", "weight").row(0) == ("match", "audit", 3.0)


def test_taking_back_twice_leaves_nothing_standing(tmp_path: Path) -> None:
    with store(tmp_path) as ann:
        ann.say("a", "b", "match")
        ann.say("a", "b", "distinct")
        ann.take_back("a", "b")
        assert answers(effective(ann.events())) == ["match"]
        ann.take_back("a", "b")
        assert effective(ann.events()).is_empty()


def test_what_the_feed_would_reject_is_passed_over(tmp_path: Path) -> None:
    event = {"record_a": "a", "record_b": "b", "by": "bob", "at": "2024-02-29T12:00:00+00:00"}
    wrong = [{**event, "answer": "perhaps"}, {**event, "answer": "match", "drawn": "by lot"}]
    (tmp_path / "2024-02-29.bob.ndjson").write_text("".join(f"{json.dumps(line)}\n" for line in wrong))
    with store(tmp_path) as ann:
        assert ann.events().is_empty()


def test_what_was_loaded_before_may_stand_again_too(tmp_path: Path) -> None:
    loaded = pl.DataFrame({"record_a": ["a"], "record_b": ["b"], "answer": ["distinct"], "by": ["ann"]})
    loaded = loaded.with_columns(at=dt.datetime(2024, 1, 1), file=pl.lit("2024-01-01.csv"))
    with LabelStore(tmp_path, "ann", ZONE, ticking(), loaded) as ann:
        ann.say("a", "b", "match", "repeat")
        ann.take_back("a", "b")
        assert answers(effective(ann.events())) == ["distinct"]


def test_a_clock_put_back_brings_no_older_answer_back(tmp_path: Path) -> None:
    with store(tmp_path) as ann:
        ann.say("a", "b", "match")
    with store(tmp_path, clock=ticking(NOON - dt.timedelta(hours=1))) as ann:
        ann.say("a", "b", "distinct")
        assert answers(ann.events()) == ["match", "distinct"]


def test_two_cannot_write_under_one_handle_at_once(tmp_path: Path) -> None:
    refused = pytest.raises(CannotLabel, match="ann is answering elsewhere")
    with store(tmp_path), store(tmp_path, "bob"), refused, store(tmp_path):
        pass
    with store(tmp_path) as ann:
        ann.say("a", "b", "match")


def test_a_folder_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "landing").write_text("a file")
    with pytest.raises(CannotLabel, match="cannot be read and written"), store(tmp_path / "landing" / "pair_labels"):
        pass


def test_an_answer_that_could_not_be_saved_was_not_said(tmp_path: Path) -> None:
    with store(tmp_path) as ann:
        (tmp_path / "2024-03-01.ann.ndjson").mkdir()
        with pytest.raises(CannotLabel, match="not saved"):
            ann.say("a", "b", "match")
        assert ann.events().is_empty()


@pytest.mark.parametrize("by", ["", "Ann B.", "../ann", "a.b", "rule", "rule-1", "x" * 33])
def test_a_handle_must_fit_a_files_name_and_be_a_persons(tmp_path: Path, by: str) -> None:
    with pytest.raises(CannotLabel, match="handle"):
        store(tmp_path, by)


def test_what_is_no_answer_is_refused(tmp_path: Path) -> None:
    with store(tmp_path) as ann, pytest.raises(ValueError, match="expected one of"):
        ann.say("a", "b", "perhaps")


def test_open_questions_are_those_that_nobody_answered_since(tmp_path: Path) -> None:
    queue = pl.DataFrame(
        [(2, "a", "b", "uncertain"), (1, "a", "c", "audit"), (3, "a", "d", "repeat"), (4, "a", "e", "repeat")],
        schema=["rank", "record_a", "record_b", "drawn"],
        orient="row",
    )

    def left() -> list[str]:
        return open_questions(queue, ann.events())["record_b"].to_list()

    with store(tmp_path, "bob") as bob:
        bob.say("a", "d", "match")
        bob.say("a", "b", "unsure")
    with store(tmp_path) as ann:
        assert left() == ["c", "d", "e"]
        ann.say("a", "d", "match", "repeat")
        assert left() == ["c", "e"]
        ann.take_back("a", "d")
        assert left() == ["c", "d", "e"]
        ann.say("a", "d", "match", "repeat")
        ann.say("a", "e", "cannot_link")
        assert left() == ["c"]


def test_a_question_is_answered_whoever_answered_it() -> None:
    queue = pl.DataFrame({"rank": [1, 2], "record_a": ["a", "a"], "record_b": ["b", "c"], "drawn": ["uncertain"] * 2})
    nobody = {"record_a": "a", "record_b": "b", "answer": "match", "by": None, "at": None, "drawn": None}
    events = pl.DataFrame([nobody, {**nobody, "record_b": "c", "by": "rule: x"}], LABELS)
    assert open_questions(queue, events)["record_b"].to_list() == ["c"]


def test_two_who_answer_at_the_same_second_are_both_heard(tmp_path: Path) -> None:
    for by, answer in (("ann", "match"), ("bob", "distinct")):
        with store(tmp_path, by) as labeller:
            labeller.say("a", "b", answer)
    with store(tmp_path) as ann:
        assert ann.events().select("answer", "by").rows() == [("match", "ann"), ("distinct", "bob")]
        assert ann.events()["at"].n_unique() == 1
