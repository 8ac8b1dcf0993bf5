import datetime as dt
from types import SimpleNamespace

import polars as pl
import pytest

from cer_assets.identity.advice import QUALITY, label_quality, retrain_due, stop_advice
from cer_assets.identity.labels import agreement

MODEL = SimpleNamespace(cut=0.5)
SCHEMA = {
    "record_a": pl.String,
    "record_b": pl.String,
    "answer": pl.String,
    "by": pl.String,
    "drawn": pl.String,
    "weight": pl.Float64,
    "at": pl.Datetime("us"),
}


def events(*rows: tuple[str, str, str, str] | tuple[str, str, str, str, float]) -> pl.DataFrame:
    """Labels in order of time, from a pair of letters, answer, by, drawn and perhaps weight."""
    start = dt.datetime(2024, 1, 1)
    return pl.DataFrame(
        [
            (row[0][0], row[0][1], *row[1:4], row[4] if len(row) > 4 else None, start + dt.timedelta(minutes=n))
            for n, row in enumerate(rows)
        ],
        schema=SCHEMA,
        orient="row",
    )


def singles(*scores: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Pairs that share no record, linked from the cut on: edges and links. Pair n is of records (n, x) and (n, y)."""
    n = range(len(scores))
    edges = pl.DataFrame({"record_a": [f"{i:03d}x" for i in n], "record_b": [f"{i:03d}y" for i in n], "score": scores})
    links = pl.concat(
        [
            edges.select(record_id="record_a", customer_id="record_a"),
            edges.select(
                record_id="record_b", customer_id=pl.when(pl.col("score") >= 0.5).then("record_a").otherwise("record_b")
            ),
        ]
    )
    return edges, links


def answered(edges: pl.DataFrame, answer: str, drawn: str, weight: float | None = None) -> pl.DataFrame:
    return edges.select(
        "record_a",
        "record_b",
        answer=pl.lit(answer),
        by=pl.lit("ann"),
        drawn=pl.lit(drawn),
        weight=pl.lit(weight, pl.Float64),
        at=pl.lit(dt.datetime(2024, 1, 1)),
    )


def test_quality_counts_repeats_and_two_peoples_answers_apart() -> None:
    labels = events(
        ("ab", "match", "ann", "uncertain"),
        ("cd", "distinct", "ann", "uncertain"),
        ("ab", "must_link", "ann", "repeat"),
        ("cd", "match", "ann", "repeat"),
        ("ab", "distinct", "bob", "steward"),
        ("ef", "match", "rule: one home", "rule"),
        ("ef", "distinct", "bob", "repeat"),
    )
    quality = label_quality(labels)
    assert quality.schema == QUALITY
    assert quality.select("compared", "pairs", "agreed").rows() == [("repeats", 2, 1), ("labellers", 1, 0)]


def test_a_slip_that_was_taken_back_is_no_disagreement() -> None:
    labels = events(
        ("ab", "match", "ann", "uncertain"),
        ("ab", "distinct", "ann", "repeat"),
        ("ab", "withdrawn", "ann", "steward"),
        ("ab", "match", "ann", "uncertain"),
        ("ab", "match", "ann", "repeat"),
    )
    assert label_quality(labels).row(0, named=True)["agreement"] == 1


def test_repeats_are_counted_as_training_counts_them_whoever_answered_first() -> None:
    labels = events(
        ("ab", "match", "stand-in", "dedupe"),
        ("cd", "match", "stand-in", "uncertain"),
        ("ef", "match", "stand-in", "audit"),
        ("ab", "distinct", "bob", "repeat"),
        ("cd", "match", "bob", "repeat"),
        ("ef", "unsure", "ann", "repeat"),
    )
    quality = label_quality(labels).row(0, named=True)
    assert (quality["pairs"], quality["agreed"], quality["unsure"]) == (2, 1, 1)
    assert agreement(labels).select("repeats", "agree", "unsure").sum().row(0) == (2, 1, 1)


def test_unsure_is_neither_agreement_nor_disagreement() -> None:
    labels = events(("ab", "match", "ann", "uncertain"), ("ab", "unsure", "ann", "repeat"))
    assert label_quality(labels).row(0) == ("repeats", 0, 0, 1, None, None, None, None)


def test_the_share_of_wrong_answers_is_what_explains_the_disagreement() -> None:
    pairs = [chr(200 + n) + "a" for n in range(100)]
    first = [(pair, "match", "ann", "uncertain") for pair in pairs]
    again = [(pair, "match" if n < 82 else "distinct", "ann", "repeat") for n, pair in enumerate(pairs)]
    repeats = label_quality(events(*first, *again))
    row = repeats.row(0, named=True)
    assert row["agreement"] == pytest.approx(0.82)
    assert row["wrong"] == pytest.approx(0.1)
    assert row["low"] < 0.82 < row["high"]


def test_asking_goes_on_while_decisions_are_open() -> None:
    edges, links = singles(*[0.45] * 40)
    advice = stop_advice(edges, links, events(), MODEL)
    assert not advice.stop
    assert advice.sentence.startswith("Ask on: ")
    assert advice.figures["open_decisions"] == 40
    assert advice.figures["expected_wrong"] == pytest.approx(18)
    assert advice.figures["gain"] == pytest.approx(0.45)


def test_asking_stops_when_all_is_clear_and_the_audit_says_so() -> None:
    edges, links = singles(*[0.99] * 300)
    unaudited = stop_advice(edges, links, events(), MODEL)
    assert not unaudited.stop
    assert unaudited.sentence.startswith("Ask on, for the audit's sake: ")
    audited = stop_advice(edges, links, answered(edges.head(100), "match", "audit", 3.0), MODEL)
    assert audited.stop
    assert audited.figures["audit_right"] == 1
    assert audited.sentence.startswith("Stop: ")


def test_a_surprised_model_is_trusted_less() -> None:
    edges, links = singles(*[0.97] * 200)
    audit = answered(edges.head(80), "match", "audit", 2.0)
    wrong = answered(edges[80:90], "distinct", "uncertain")
    labels = pl.concat([audit, wrong])
    calm, surprised = stop_advice(edges, links, audit, MODEL), stop_advice(edges, links, labels, MODEL)
    assert surprised.figures["surprises"] == 10
    assert calm.figures["gain"] < 0.05 < surprised.figures["gain"]
    assert (calm.stop, surprised.stop) == (True, False)
    assert stop_advice(edges, links, labels, MODEL, learned_from=labels).figures["answers"] == 0


def test_training_is_due_after_enough_new_answers_that_teach() -> None:
    learned_from = events(("ab", "match", "ann", "uncertain"), ("cd", "distinct", "rule: one home", "rule"))
    new = pl.concat(
        [
            learned_from,
            events(
                ("ab", "match", "ann", "uncertain"),
                ("cd", "distinct", "ann", "uncertain"),
                ("ef", "match", "ann", "uncertain"),
                ("gh", "unsure", "ann", "uncertain"),
                ("ij", "match", "ann", "uncertain"),
                ("ij", "withdrawn", "ann", "uncertain"),
                ("kl", "match", "rule: same names and contact", "rule"),
                ("mn", "cannot_link", "bob", "steward"),
            ).with_columns(pl.col("at") + pl.duration(days=1)),
        ]
    )
    assert retrain_due(new, learned_from, at_least=3) == (
        "3 pairs were answered since the model learned (1 match, 2 distinct); 3 make training due"
    )
    assert retrain_due(new, learned_from, at_least=4) is None
    assert retrain_due(new, new, at_least=1) is None
