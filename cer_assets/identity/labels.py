"""Labels as data: answers about pairs of records, what they come to, and who can answer; no learning happens here.

A label is an event that is only ever added: `record_a` < `record_b` (ids, never values), `answer` (match, distinct,
unsure, must_link, cannot_link or withdrawn), `by`, `at`, `drawn` (how the pair was chosen: dedupe, uncertain, audit,
repeat, rule, steward) and `weight` (of an audit label, how many candidate pairs it stands for). The newest event of a
pair and a person is what that person says; `withdrawn` says nothing. Where `at` is missing, rows stand in the order in
which they were given.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cer_assets.identity.fields import Kind, MatchField

logger = logging.getLogger(__name__)

Pair = tuple[Any, Any]
Labeller = Callable[[list[Pair]], Sequence[bool | None]]
"""Answers pairs of record ids: true for one person, false for two, null for unsure."""

ANSWERS = {True: "match", False: "distinct", None: "unsure"}

RULE = "rule"
"""How `by` begins where no person gave the answer; such labels count less."""

RULE_PAIRS = 200
"""At most so many pairs come from each rule."""

TEACHES = {"must_link": "match", "cannot_link": "distinct"}
"""What a binding answer teaches; the others teach what they say."""

BINDING = tuple(TEACHES)

DEDUPE, UNCERTAIN, AUDIT, REPEAT = "dedupe", "uncertain", "audit", "repeat"
"""How a pair was drawn: by dedupe; as an uncertain one of the candidates; at random, to say how good the links are; and
once again, to say how good the answers are."""

_CAUTION = ("must_link", "match", "unsure", "distinct", "cannot_link", "withdrawn")
"""Of answers at one time the later of these wins."""


def effective(labels: pl.DataFrame) -> pl.DataFrame:
    """What the labels come to: one row a pair that somebody answered and did not take back.

    Binding answers stand above others, people above rules, newer above older. A blind repeat never replaces what it
    repeats: where the two differ, the answer is unsure. An audited pair stays audited, whoever answers it later.

    Args:
        labels: `record_a`, `record_b`, `answer` and, as far as known, `by`, `at`, `drawn`, `weight`.

    Returns:
        record_a < record_b, answer (match, distinct, unsure), by, drawn, weight; by pair.
    """
    said = _said(labels)
    pair = ["record_a", "record_b"]
    audits = said.filter(drawn=AUDIT).group_by(pair, maintain_order=True).last().select(*pair, audit_weight="weight")
    audited = pl.col("audit_weight").is_not_null()
    return (
        said.sort(pl.col("answer").is_in(BINDING), ~_by_rule(), maintain_order=True)
        .group_by(pair, maintain_order=True)
        .last()
        .join(audits, on=pair, how="left", maintain_order="left")
        .select(
            *pair,
            answer=pl.when("repeats_otherwise").then(pl.lit("unsure")).otherwise(pl.col("answer").replace(TEACHES)),
            by="by",
            drawn=pl.when(audited).then(pl.lit(AUDIT)).otherwise("drawn"),
            weight=pl.when(audited).then("audit_weight").otherwise("weight"),
        )
        .sort(pair)
    )


def constraints(labels: pl.DataFrame) -> pl.DataFrame:
    """What must hold in every resolution: pairs that must be, and pairs that must not be one person.

    Where a pair is held apart that a chain of others holds together, the older of these give way to the newer, and
    their number is logged: one slip of the keyboard stops no run.

    Args:
        labels: as for `effective`.

    Returns:
        record_a < record_b, answer (must_link, cannot_link); by pair.
    """
    pair = ["record_a", "record_b"]
    bound = (
        _said(labels)
        .filter(pl.col("answer").is_in(BINDING))
        .sort(~_by_rule(), maintain_order=True)
        .group_by(pair, maintain_order=True)
        .last()
        .select(*pair, "answer", "order", person=~_by_rule())
        .sort("person", "order", *pair, descending=[True, True, False, False])
    )
    kept = _without_contradictions(bound)
    if given_way := len(bound) - len(kept):
        logger.warning("%d binding labels contradict newer ones and give way", given_way)
    return kept.select(*pair, "answer").sort(pair)


def agreement(labels: pl.DataFrame) -> pl.DataFrame:
    """How often people said the same when a pair was put to them again without saying so.

    Returns:
        by, repeats (answered twice), agree (the same answer, unsure among them), by person.
    """
    events = _events(labels)
    pair = ["record_a", "record_b", "by"]
    first = events.filter(pl.col("drawn").ne_missing(REPEAT)).group_by(pair, maintain_order=True).last()
    again = events.filter(drawn=REPEAT).group_by(pair, maintain_order=True).last()
    both = again.join(first, on=pair, suffix="_first")
    same = pl.col("answer").replace(TEACHES) == pl.col("answer_first").replace(TEACHES)
    return both.group_by("by").agg(repeats=pl.len(), agree=same.sum()).sort("by")


def _events(labels: pl.DataFrame) -> pl.DataFrame:
    """All labels with all columns, pairs in order, oldest first; `order` numbers them."""
    optional = {"by": pl.String, "at": pl.Datetime("us"), "drawn": pl.String, "weight": pl.Float64}
    absent = [pl.lit(None, dtype).alias(name) for name, dtype in optional.items() if name not in labels.columns]
    unknown = set(labels["answer"].drop_nulls()) - set(_CAUTION)
    if unknown or labels["answer"].null_count():
        raise ValueError(f"labels: answer {sorted(unknown) or None} is none of {', '.join(_CAUTION)}")
    place = pl.when(pl.col("at").is_null()).then("row")
    return (
        labels.with_columns(absent)
        .with_columns(pl.col("answer", "by", "drawn").cast(pl.String), pl.col("weight").cast(pl.Float64))
        .with_row_index("row")
        .select(
            record_a=pl.min_horizontal("record_a", "record_b"),
            record_b=pl.max_horizontal("record_a", "record_b"),
            answer="answer",
            by=pl.col("by").fill_null(""),
            at="at",
            drawn="drawn",
            weight="weight",
            place=place,
            caution=pl.col("answer").replace_strict(_CAUTION, range(len(_CAUTION)), return_dtype=pl.Int8),
        )
        .filter(pl.col("record_a") != pl.col("record_b"))
        .sort("at", "place", "caution", "by", "record_a", "record_b", nulls_last=False)
        .drop("place", "caution")
        .with_row_index("order")
    )


def _said(labels: pl.DataFrame) -> pl.DataFrame:
    """What each person says of each pair now, oldest first, and whether a later blind repeat `repeats_otherwise`."""
    events = _events(labels)
    key = ["record_a", "record_b", "by"]
    repeats = events.filter(drawn=REPEAT).group_by(key, maintain_order=True).last()
    later = pl.col("order") < pl.col("order_again")
    otherwise = later & (pl.col("answer_again").replace(TEACHES) != pl.col("answer").replace(TEACHES))
    return (
        events.filter(pl.col("drawn").ne_missing(REPEAT))
        .group_by(key, maintain_order=True)
        .last()
        .join(repeats.select(*key, "order", "answer"), on=key, how="left", suffix="_again")
        .with_columns(repeats_otherwise=(otherwise & ~pl.col("answer").is_in(BINDING)).fill_null(value=False))
        .filter(pl.col("answer") != "withdrawn")
        .sort("order")
    )


def _by_rule() -> pl.Expr:
    return pl.col("by").str.starts_with(RULE)


def _without_contradictions(bound: pl.DataFrame) -> pl.DataFrame:
    """The binding labels, strongest first, without those that contradict stronger ones."""
    if bound.is_empty():
        return bound
    ends = bound.select("record_a", "record_b")
    ids = pl.concat([ends["record_a"], ends["record_b"]]).unique().sort()
    first, second = (ids.search_sorted(ends[column]).to_numpy() for column in ends.columns)
    must = (bound["answer"] == "must_link").to_numpy()
    together = _components(first[must], second[must], len(ids))
    broken = np.unique(together[first[~must & (together[first] == together[second])]])
    doubtful = np.isin(together[first], broken) | np.isin(together[second], broken)
    kept = np.ones(len(bound), dtype=bool)
    # What is accepted depends on what was accepted before; only people's own contradictions are walked through.
    accepted = ~doubtful
    for row in np.flatnonzero(doubtful):
        accepted[row] = True
        links = accepted & must
        group = _components(first[links], second[links], len(ids))
        held_apart = accepted & ~must
        kept[row] = not (group[first[held_apart]] == group[second[held_apart]]).any()
        accepted[row] = kept[row]
    return bound.filter(kept)


def _components(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int32]:
    graph = coo_array((np.ones(len(first), np.int8), (first, second)), (size, size))
    return connected_components(graph, directed=False)[1]


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
            "answer": [ANSWERS[a if a is None else bool(a)] for a in answers],
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
                _some(same, text, "match", "same names and contact", rng),
                _some(
                    [_apart(p, text, names, dates[0], kinds["email"] + kinds["code"]) for p in home],
                    text,
                    "distinct",
                    "one home",
                    rng,
                ),
                _some([_strangers(text, names + (own or dates), rng)], text, "distinct", "at random", rng),
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
