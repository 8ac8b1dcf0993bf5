"""Labels as data: answers about pairs of records, and those who can answer; no learning happens here."""

from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
import polars as pl

from cer_assets.identity.fields import Kind, MatchField

Pair = tuple[Any, Any]
Labeller = Callable[[list[Pair]], Sequence[bool | None]]
"""Answers pairs of record ids: true for one person, false for two, null for unsure."""

ANSWERS = {True: "match", False: "distinct", None: "unsure"}

RULE = "rule"
"""How `by` begins where no person gave the answer; such labels count less."""

RULE_PAIRS = 200
"""At most so many pairs come from each rule."""


def labels_frame(pairs: Sequence[Pair], answers: Sequence[bool | None], by: str, id_type: pl.DataType) -> pl.DataFrame:
    """Labels as rows: `record_a` < `record_b`, `answer` (match, distinct or unsure), `by`."""
    ordered = [(a, b) if a < b else (b, a) for a, b in pairs]
    return pl.DataFrame(
        {
            "record_a": [a for a, _ in ordered],
            "record_b": [b for _, b in ordered],
            "answer": [ANSWERS[a if a is None else bool(a)] for a in answers],
            "by": [by] * len(ordered),
        },
        schema={"record_a": id_type, "record_b": id_type, "answer": pl.String, "by": pl.String},
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
    otherwise and whose birth dates differ are two people of one home; random pairs that share nothing are two.

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
                _some([_apart(p, text, names[0], dates[0]) for p in home], text, "distinct", "one home", rng),
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


def _apart(pairs: pl.DataFrame, text: pl.DataFrame, name: str, date: str) -> pl.DataFrame:
    """The pairs whose names begin with different letters and whose dates differ."""
    known = text.select(id="record_id", initial=pl.col(name).str.head(1), date=date)
    both = pairs.join(known, left_on="record_a", right_on="id").join(
        known, left_on="record_b", right_on="id", suffix="_b"
    )
    differ = (pl.col("initial") != pl.col("initial_b")) & (pl.col("date") != pl.col("date_b"))
    return both.filter(differ).select("record_a", "record_b")


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
