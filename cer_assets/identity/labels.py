"""Labels as data: answers about pairs of records, what they come to, and who can answer; no learning happens here.

A label is an event that is only ever added: `record_a` < `record_b` (ids, never values), `answer` (match, distinct,
unsure, must_link, cannot_link or withdrawn), `by`, `at`, `drawn` (how the pair was chosen: dedupe, uncertain, audit,
repeat, rule, steward) and `weight` (of an audit label, how many candidate pairs it stands for). The newest event of a
pair and a person is what that person says; `withdrawn` says nothing.

The order of rows means nothing. Events are ordered by `at`, those without it before all others. At one moment a blind
repeat follows what it repeats, of other answers the more cautious follows the bolder (must_link, match, unsure,
distinct, cannot_link), and a withdrawal follows all; what is then still equal goes by `by`, `drawn` and `weight`.
"""

import datetime as dt
import logging
from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
import polars as pl

from cer_assets.feeds.contracts import (
    AUDIT,
    CANNOT_LINK,
    DISTINCT,
    LINEAGE,
    MATCH,
    MUST_LINK,
    PAIR_ANSWERS,
    REPEAT,
    UNSURE,
    WITHDRAWN,
)
from cer_assets.feeds.contracts import DEDUPE as DEDUPE
from cer_assets.feeds.contracts import UNCERTAIN as UNCERTAIN
from cer_assets.identity.cluster import connected
from cer_assets.identity.fields import Kind, MatchField

logger = logging.getLogger(__name__)

Pair = tuple[Any, Any]
Labeller = Callable[[list[Pair]], Sequence[bool | None]]
"""Answers pairs of record ids: true for one person, false for two, null for unsure."""

ANSWER_OF = {True: MATCH, False: DISTINCT, None: UNSURE}
"""What a labeller's answer is called in a label."""

RULE = "rule"
"""How `by` begins where no person gave the answer; such labels count less."""

RULE_PAIRS = 200
"""At most so many pairs come from each rule."""

TEACHES = {MUST_LINK: MATCH, CANNOT_LINK: DISTINCT}
"""What a binding answer teaches; the others teach what they say."""

BINDING = tuple(TEACHES)

INSTANT = dt.timedelta(microseconds=1)
"""So long after a withdrawal the answer before the one withdrawn is said again, where it is to stand again."""

PAIR = ("record_a", "record_b")

_GIVEN = {"by": pl.String, "at": pl.Datetime("us"), "drawn": pl.String, "weight": pl.Float64}
"""The columns that older labels lack."""


def gathered(given: pl.DataFrame, held: pl.DataFrame | None, stand_in: str) -> pl.DataFrame:
    """The labels to keep: what people delivered, and what rules and the stand-in said before.

    People's answers come from their deliveries alone, so that one that was corrected or erased there is so here too.

    Args:
        given: people's labels as delivered; where it has lineage, the newest delivery of an event counts.
        held: the labels kept so far, if there are any; only what rules and the stand-in said is taken from them.
        stand_in: who is named in `by` where something answered in a person's place.

    Returns:
        record_a < record_b, answer, by, at, drawn, weight, each event once; ordered by at and the other columns.
    """
    events = _named(given)
    if set(LINEAGE) <= set(given.columns):
        events = events.sort(*LINEAGE).unique([*PAIR, "by", "at"], keep="last", maintain_order=True)
    parts = [events.drop(LINEAGE, strict=False)]
    if held is not None:
        parts.append(_named(held).filter(_by_rule() | (pl.col("by") == stand_in)).drop(LINEAGE, strict=False))
    return pl.concat(parts).unique().sort("at", *PAIR, "answer", "by", "drawn", "weight", nulls_last=False)


def effective(labels: pl.DataFrame) -> pl.DataFrame:
    """What the labels come to: one row a pair that somebody answered and did not take back.

    Binding answers stand above others, people above rules, newer above older. A blind repeat never replaces what it
    repeats, whoever gave either, unless it binds: where the two differ, the answer is unsure. An audited pair stays
    audited, whoever answers it later.

    Args:
        labels: `record_a`, `record_b`, `answer` and, as far as known, `by`, `at`, `drawn`, `weight`.

    Returns:
        record_a < record_b, answer (match, distinct, unsure), by, drawn, weight; by pair.
    """
    events = standing(labels)
    audits = (
        events.filter(pl.col("drawn") == AUDIT, pl.col("weight").is_not_null())
        .unique(PAIR, keep="last", maintain_order=True)
        .select(*PAIR, audit_weight="weight")
    )
    newest = (
        _said(events)
        .sort(pl.col("answer").is_in(BINDING), ~_by_rule(), maintain_order=True)
        .unique(PAIR, keep="last", maintain_order=True)
    )
    again = events.drop_nulls("repeats").select(*PAIR, again=_taught("answer"), order_again="order")
    doubted = (
        newest.filter(~pl.col("answer").is_in(BINDING))
        .join(again, on=PAIR)
        .filter(pl.col("order_again") > pl.col("order"), pl.col("again") != pl.col("answer"))
        .select(*PAIR, doubted=pl.lit(value=True))
        .unique()
    )
    audited = pl.col("audit_weight").is_not_null()
    return (
        newest.join(audits, on=PAIR, how="left")
        .join(doubted, on=PAIR, how="left")
        .select(
            *PAIR,
            answer=pl.when("doubted").then(pl.lit(UNSURE)).otherwise(_taught("answer")),
            by="by",
            drawn=pl.when(audited).then(pl.lit(AUDIT)).otherwise("drawn"),
            weight=pl.when(audited).then("audit_weight").otherwise("weight"),
        )
        .sort(PAIR)
    )


def constraints(labels: pl.DataFrame) -> pl.DataFrame:
    """What must hold in every resolution: pairs that must be, and pairs that must not be one person.

    Where a pair is held apart that a chain of others holds together, the older of these give way to the newer (at one
    moment: those that hold together to those that hold apart), and their number is logged: one slip of the keyboard
    stops no run.

    Args:
        labels: as for `effective`.

    Returns:
        record_a < record_b, answer (must_link, cannot_link); by pair.
    """
    bound = (
        _said(standing(labels))
        .filter(pl.col("answer").is_in(BINDING))
        .sort(~_by_rule(), maintain_order=True)
        .unique(PAIR, keep="last", maintain_order=True)
        .select(*PAIR, "answer", "order", person=~_by_rule())
        .sort("person", "order", descending=True)
    )
    kept = _without_contradictions(bound)
    if given_way := len(bound) - len(kept):
        logger.warning("%d binding labels contradict newer ones and give way", given_way)
    return kept.select(*PAIR, "answer").sort(PAIR)


def repeats(labels: pl.DataFrame) -> pl.DataFrame:
    """Every blind repeat beside the answer it repeats: the newest before it about the pair, whichever person gave it.

    Answers that were taken back were slips of the hand and are left out.

    Returns:
        record_a < record_b, by (who repeated), answer and repeats (match, distinct or unsure: what was said again, and
        before), oldest first.
    """
    return (
        standing(labels).drop_nulls("repeats").select(*PAIR, "by", answer=_taught("answer"), repeats=_taught("repeats"))
    )


def agreement(labels: pl.DataFrame) -> pl.DataFrame:
    """How often people said what was said before, when a pair was put again without saying so (`repeats`).

    Returns:
        by, repeats (pairs put again of which both answers are sure), agree (of these, the same answer), unsure (those
        left out because an answer is unsure), by person.
    """
    again = pl.col("answer"), pl.col("repeats")
    sure = pl.all_horizontal(answer != UNSURE for answer in again)
    return (
        repeats(labels)
        .group_by("by")
        .agg(
            agree=(sure & (again[0] == again[1])).sum().cast(pl.Int64),
            unsure=(~sure).sum().cast(pl.Int64),
            repeats=sure.sum().cast(pl.Int64),
        )
        .select("by", "repeats", "agree", "unsure")
        .sort("by")
    )


def standing(labels: pl.DataFrame) -> pl.DataFrame:
    """The answers that were not taken back, oldest first.

    A person whose newest event of a pair is a withdrawal says nothing of it; an earlier withdrawal takes the answer
    before it back. What was said again only because a withdrawal uncovered it counts once, at its first time.

    Args:
        labels: as for `effective`.

    Returns:
        record_a < record_b, answer, by (empty where unknown), at, drawn, weight, order (from 0) and repeats: of a
        person's blind repeat, the answer before it about the pair, whichever person gave that; else null. A binding
        repeat is `drawn` as what it repeats.
    """
    person = [*PAIR, "by"]
    before = pl.col("answer").shift().over(person)
    uncovered = (before == WITHDRAWN) & (pl.col("at") == pl.col("at").shift().over(person) + INSTANT)
    as_before = pl.all_horizontal(
        pl.col(name).eq_missing(pl.col(name).shift().over(person)) for name in ("answer", "drawn", "weight")
    )
    people = [*PAIR, "by_rule"]
    again = (pl.col("drawn") == REPEAT) & ~pl.col("by_rule")
    return (
        _events(labels)
        .with_columns(
            uncovered=uncovered.fill_null(value=False),
            taken_back=(pl.col("answer").shift(-1).over(person) == WITHDRAWN).fill_null(value=False),
            silent=pl.col("answer").last().over(person) == WITHDRAWN,
            by_rule=_by_rule(),
        )
        .filter(~pl.col("silent"), ~pl.col("taken_back"), pl.col("answer") != WITHDRAWN)
        .filter(~(pl.col("uncovered") & as_before))
        .with_columns(
            repeats=pl.when(again).then(pl.col("answer").shift().over(people)),
            drawn_before=pl.col("drawn").shift().over(people),
        )
        .with_columns(
            drawn=pl.when(pl.col("repeats").is_not_null(), pl.col("answer").is_in(BINDING))
            .then("drawn_before")
            .otherwise("drawn"),
            order=pl.int_range(pl.len(), dtype=pl.Int64),
        )
        .select(*PAIR, "answer", *_GIVEN, "order", "repeats")
    )


def _events(labels: pl.DataFrame) -> pl.DataFrame:
    """All labels with all columns, records of a pair in order, each event once, in the order the module tells of."""
    unknown = set(labels["answer"].drop_nulls()) - set(PAIR_ANSWERS)
    if unknown or labels["answer"].null_count():
        raise ValueError(f"labels: answer {sorted(unknown) or None} is none of {', '.join(PAIR_ANSWERS)}")
    caution = pl.col("answer").replace_strict(PAIR_ANSWERS, range(len(PAIR_ANSWERS)), return_dtype=pl.Int8)
    return (
        _named(labels)
        .select(*PAIR, "answer", *_GIVEN)
        .with_columns(pl.col("by").fill_null(""))
        .unique()
        .sort(
            "at",
            pl.col("answer") == WITHDRAWN,
            pl.col("drawn").eq_missing(pl.lit(REPEAT)),
            caution,
            "by",
            "drawn",
            "weight",
            *PAIR,
            nulls_last=False,
        )
    )


def _named(labels: pl.DataFrame) -> pl.DataFrame:
    """Labels of two different records with every column, records of a pair in order; then lineage, if there is any."""
    ends = [pl.col(name) for name in PAIR]
    named = [
        (pl.col(name) if name in labels.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in _GIVEN.items()
    ]
    return labels.select(
        pl.min_horizontal(ends).alias("record_a"),
        pl.max_horizontal(ends).alias("record_b"),
        pl.col("answer").cast(pl.String),
        *named,
        *(name for name in LINEAGE if name in labels.columns),
    ).filter(pl.col("record_a") != pl.col("record_b"))


def _said(events: pl.DataFrame) -> pl.DataFrame:
    """What each person, and each rule, says of each pair now, oldest first; a blind repeat only where it binds."""
    own = pl.col("repeats").is_null() | pl.col("answer").is_in(BINDING)
    return events.filter(own).unique([*PAIR, "by"], keep="last", maintain_order=True)


def _taught(answer: str) -> pl.Expr:
    return pl.col(answer).replace(TEACHES)


def _by_rule() -> pl.Expr:
    return pl.col("by").str.starts_with(RULE)


def _without_contradictions(bound: pl.DataFrame) -> pl.DataFrame:
    """The binding labels, strongest first, without those that contradict stronger ones."""
    if bound.is_empty():
        return bound
    ends = bound.select("record_a", "record_b")
    ids = pl.concat([ends["record_a"], ends["record_b"]]).unique().sort()
    first, second = (ids.search_sorted(ends[column]).to_numpy() for column in ends.columns)
    must = (bound["answer"] == MUST_LINK).to_numpy()
    together = connected(first[must], second[must], len(ids))
    broken = np.unique(together[first[~must & (together[first] == together[second])]])
    doubtful = np.isin(together[first], broken) | np.isin(together[second], broken)
    kept = np.ones(len(bound), dtype=bool)
    # What is accepted depends on what was accepted before; only people's own contradictions are walked through.
    accepted = ~doubtful
    for row in np.flatnonzero(doubtful):
        accepted[row] = True
        links = accepted & must
        group = connected(first[links], second[links], len(ids))
        held_apart = accepted & ~must
        kept[row] = not (group[first[held_apart]] == group[second[held_apart]]).any()
        accepted[row] = kept[row]
    return bound.filter(kept)


def labels_frame(
    pairs: Sequence[Pair],
    answers: Sequence[bool | None],
    by: str,
    id_type: pl.DataType,
    drawn: Sequence[str | None],
    weights: Sequence[float | None],
) -> pl.DataFrame:
    """Labels as rows: `record_a` < `record_b`, `answer` (match, distinct or unsure), `by`, `drawn`, `weight`."""
    ordered = [(a, b) if a < b else (b, a) for a, b in pairs]
    return pl.DataFrame(
        {
            "record_a": [a for a, _ in ordered],
            "record_b": [b for _, b in ordered],
            "answer": [ANSWER_OF[a if a is None else bool(a)] for a in answers],
            "by": [by] * len(ordered),
            "drawn": drawn,
            "weight": weights,
        },
        schema={
            "record_a": id_type,
            "record_b": id_type,
            "answer": pl.String,
            "by": pl.String,
            "drawn": pl.String,
            "weight": pl.Float64,
        },
    )


def truth_labeller(truth: pl.DataFrame) -> Labeller:
    """A stand-in for a person that knows who each record is; a pair with an unknown record is unsure.

    Args:
        truth: `record_id`, `person_id`.
    """
    person = dict(truth.select("record_id", "person_id").iter_rows())

    def answer(pairs: list[Pair]) -> list[bool | None]:
        return [person[a] == person[b] if a in person and b in person else None for a, b in pairs]

    return answer


def rule_labels(records: pl.DataFrame, fields: Sequence[MatchField], seed: int = 0) -> pl.DataFrame:
    """Labels for a start without any person: cautious rules, named in `by`.

    Records that share an e-mail address, phone number or code, and every name, are one person (where no such field
    exists, a birth date takes its place). Records that share a phone number or street but whose first names begin
    otherwise and whose birth dates differ are two people of one home, unless they share what belongs to one person (an
    e-mail address, a code) or one's name is another name of the other; random pairs that share nothing are two.

    Returns:
        labels: record_a, record_b, answer, by; ordered by pair.
    """
    kinds = {kind: [f.column for f in fields if f.kind == kind] for kind in get_args(Kind)}
    names, dates = kinds["name"], kinds["date"]
    own = kinds["email"] + kinds["phone"] + kinds["code"]
    columns = ["record_id", *(f.column for f in fields)]
    text = (
        records.select(columns)
        .sort("record_id")
        .with_columns(pl.col(f.column).cast(pl.String).str.to_lowercase() for f in fields)
    )
    rng = np.random.default_rng(seed)
    same = [_neighbours(text, [*names, c]) for c in own or dates] if names else []
    home = [_neighbours(text, [c]) for c in kinds["phone"] + kinds["address"]] if names and dates else []
    return (
        pl.concat(
            [
                _some(same, text, MATCH, "same names and contact", rng),
                _some(
                    [_apart(p, text, names, dates[0], kinds["email"] + kinds["code"]) for p in home],
                    text,
                    DISTINCT,
                    "one home",
                    rng,
                ),
                _some([_strangers(text, names + (own or dates), rng)], text, DISTINCT, "at random", rng),
            ]
        )
        .unique(["record_a", "record_b"], keep="first")
        .sort("record_a", "record_b")
    )


def _neighbours(text: pl.DataFrame, agreed: list[str]) -> pl.DataFrame:
    """Each record with the next of those that agree with it on these columns."""
    return (
        text.drop_nulls(agreed)
        .sort(*agreed, "record_id")
        .select(record_a="record_id", record_b=pl.col("record_id").shift(-1).over(agreed))
        .drop_nulls()
    )


def _apart(
    pairs: pl.DataFrame, text: pl.DataFrame, names: Sequence[str], date: str, own: Sequence[str]
) -> pl.DataFrame:
    """The pairs whose first names begin otherwise, whose dates differ, and that share nothing of their own."""
    known = text.select("record_id", date, *own, *names).with_columns(initial=pl.col(names[0]).str.head(1))
    both = pairs.join(known, left_on="record_a", right_on="record_id").join(
        known, left_on="record_b", right_on="record_id", suffix="_b"
    )
    differ = (pl.col("initial") != pl.col("initial_b")) & (pl.col(date) != pl.col(f"{date}_b"))
    shared = [pl.col(column) == pl.col(f"{column}_b") for column in own]
    shared += [pl.col(one) == pl.col(f"{other}_b") for one in names for other in names if one != other]
    return both.filter(differ, ~pl.any_horizontal(pl.lit(value=False), *shared).fill_null(value=False)).select(
        "record_a", "record_b"
    )


def _strangers(text: pl.DataFrame, telling: list[str], rng: np.random.Generator) -> pl.DataFrame:
    """Random pairs that agree on nothing telling."""
    n = len(text)
    drawn = np.sort(rng.integers(0, max(n, 1), size=(RULE_PAIRS if n > 1 else 0, 2)), axis=1)
    drawn = np.unique(drawn[drawn[:, 0] != drawn[:, 1]], axis=0)
    one, other = text[drawn[:, 0]], text[drawn[:, 1]]
    alike = np.zeros(len(drawn), dtype=bool)
    for column in telling:
        alike |= (one[column] == other[column]).fill_null(value=False).to_numpy()
    pairs = pl.DataFrame({"record_a": one["record_id"], "record_b": other["record_id"]})
    return pairs.filter(~alike)


def _some(
    found: list[pl.DataFrame],
    text: pl.DataFrame,
    answer: str,
    rule: str,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """At most `RULE_PAIRS` of the pairs found, as labels."""
    none = text.clear().select(record_a="record_id", record_b="record_id")
    pairs = pl.concat([none, *found]).unique().sort("record_a", "record_b")
    rows = np.sort(rng.choice(len(pairs), min(len(pairs), RULE_PAIRS), replace=False))
    return pairs[rows].with_columns(answer=pl.lit(answer), by=pl.lit(f"{RULE}: {rule}"))
