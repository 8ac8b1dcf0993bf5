"""The state of one training: records, candidate pool, labels so far, and the model they make; nobody is asked here."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cer_assets.identity.block import (
    BlockKey,
    Rule,
    affordable_rules,
    block_keys,
    candidate_rules,
    choose_rules,
    create_keys,
    pairs_around,
    sample_positions,
)
from cer_assets.identity.cluster import Ints
from cer_assets.identity.compare import Compared, compare
from cer_assets.identity.curve import OF_HEIGHTS, Costs, Curve, share
from cer_assets.identity.heights import LOWEST, Neighbourhood, across, neighbourhood
from cer_assets.identity.labels import AUDIT, DEDUPE, RULE, agreement, effective, labels_frame
from cer_assets.identity.learn import Beliefs, Floats, Weights, believed, fit, measure_beliefs
from cer_assets.identity.model import Model
from cer_assets.identity.prepare import Prepared

logger = logging.getLogger(__name__)

POOL_RECORDS = 4_000
"""The candidate pool holds all blocked pairs around so many records."""

SEEDS = 600
"""Of a larger pool, clustering is looked at around so many records."""

TRUST_IN_RULES = 0.2
"""What a label from a rule counts beside a person's."""

Pair = tuple[int, int]
"""Positions of two records, the smaller first."""


@dataclass(frozen=True)
class Label:
    """What is known of one pair."""

    answer: bool | None
    drawn: str | None = None
    weight: float | None = None
    trust: float = 1.0


@dataclass
class Learner:
    """What one training knows, and what follows from it."""

    prepared: Prepared
    costs: Costs
    beliefs: Beliefs
    keys: tuple[BlockKey, ...]
    rules: tuple[Rule, ...]
    """The chosen blocking rules, as places among the keys."""
    pool: Compared
    """Candidate pairs around `around`, ordered by pair."""
    around: pl.Series
    seeds: pl.Series
    groups: Ints | None
    labels: dict[Pair, Label] = field(default_factory=dict[Pair, Label])
    asked: list[tuple[Pair, Label]] = field(default_factory=list[tuple[Pair, Label]])
    """Every question, also one that was asked before, in the order they were put."""
    known: pl.DataFrame | None = None

    @classmethod
    def of(cls, ready: Prepared, rng: np.random.Generator, costs: Costs, groups: Ints | None) -> "Learner":
        """Measure beliefs, choose blocking rules and collect the candidate pool.

        Args:
            ready: the records.
            rng: where chance comes from.
            costs: of being wrong.
            groups: a number per record; pairs within a group are no candidates.
        """
        beliefs = measure_beliefs(ready, rng)
        keys = block_keys(ready.fields)
        create_keys(ready, keys)
        rules = affordable_rules(ready, candidate_rules(keys), rng)
        around = sample_positions(ready, POOL_RECORDS, rng)
        seeds = around["position"]
        if ready.size > POOL_RECORDS:
            seeds = seeds.gather(np.sort(rng.permutation(len(seeds))[:SEEDS]))
        found = across(pairs_around(ready, rules, around), groups)
        pool = compare(ready, found.select("first", "second").unique())
        chance = believed(beliefs, len(ready.fields)).chance(pool)
        chosen = choose_rules(found, chance, len(rules), len(around))
        kept = found.filter(pl.col("rule").is_in(chosen)).select("first", "second").unique()
        pool = pool.take(places(pool, kept.to_numpy()))
        logger.info("candidate pool: %d pairs around %d records", len(pool), len(around))
        named = tuple(rules[r] for r in chosen)
        return cls(ready, costs, beliefs, keys, named, pool, around["position"], seeds, groups)

    def add_known(self, known: pl.DataFrame | None) -> None:
        """Take labels had already; pairs of records that are not here are passed over."""
        if known is None:
            return
        ids = pl.DataFrame({"id": self.prepared.record_ids}).with_row_index("position")
        here = (
            effective(known)
            .join(ids, left_on="record_a", right_on="id", maintain_order="left")
            .join(ids, left_on="record_b", right_on="id", suffix="_b", maintain_order="left")
        )
        for a, b, answer, by, drawn, weight in here.select(
            "position", "position_b", "answer", "by", "drawn", "weight"
        ).iter_rows():
            said = {"match": True, "distinct": False}.get(answer)
            trust = TRUST_IN_RULES if by.startswith(RULE) else 1.0
            self.labels[min(a, b), max(a, b)] = Label(said, drawn, weight, trust)
        ends = pl.col("record_a"), pl.col("record_b")
        ordered = known.with_columns(record_a=pl.min_horizontal(*ends), record_b=pl.max_horizontal(*ends))
        self.known = ordered.join(here.select("record_a", "record_b"), on=["record_a", "record_b"], how="semi")

    def weights(self) -> Weights:
        """The weights that the labels so far suggest."""
        compared, answers, trust = self._labelled()
        if not len(compared):
            return believed(self.beliefs, len(self.prepared.fields))
        return fit(self.beliefs, compared, answers, trust)

    def _labelled(self) -> tuple[Compared, npt.NDArray[np.bool_], Floats]:
        """The pairs with an answer, ordered by pair; unsure is none."""
        sure = sorted(pair for pair, label in self.labels.items() if label.answer is not None)
        return (
            compare(self.prepared, _frame(sure)),
            np.array([self.labels[pair].answer for pair in sure], dtype=bool),
            np.array([self.labels[pair].trust for pair in sure], dtype=np.float64),
        )

    @cached_property
    def near(self) -> Neighbourhood:
        """What clustering sees around the seeds, as it is first asked for, and around pairs labelled by then."""
        others = np.unique(np.array(self._for_the_curve(), dtype=np.int32))
        return neighbourhood(
            self.prepared, self.rules, self.weights(), self.pool, self.seeds, pl.Series(others), self.groups
        )

    def curve(self, heights: Floats) -> Curve:
        """What the heights of the pairs in `near` are worth, by the labels that were drawn for their score.

        dedupe chooses pairs for what tells them apart, so its answers would make the curve look better than it is.
        """
        labelled = self._for_the_curve()
        rows = places(self.near.compared, np.array(labelled, dtype=np.int64).reshape(-1, 2))
        answers = [self.labels[int(a), int(b)].answer for a, b in self.near.compared.pairs[rows]]
        return Curve.fitted(heights[rows], np.array(answers, dtype=bool), OF_HEIGHTS)

    def _for_the_curve(self) -> list[Pair]:
        return sorted(
            pair
            for pair, label in self.labels.items()
            if label.answer is not None and label.trust == 1.0 and label.drawn != DEDUPE
        )

    def model(self, by: str) -> Model:
        """What was learned."""
        weights = self.weights()
        cut, quality = self._cut(weights)
        ids = self.prepared.record_ids
        labels = labels_frame(
            [(ids[a], ids[b]) for (a, b), _ in self.asked],
            [label.answer for _, label in self.asked],
            by,
            ids.dtype,
            [label.drawn for _, label in self.asked],
            [label.weight for _, label in self.asked],
        )
        return Model(
            fields=self.prepared.fields,
            rules=tuple(tuple((self.keys[k].column, self.keys[k].name) for k in rule) for rule in self.rules),
            weights=weights,
            uniqueness=tuple(round(u, 6) for u in self.prepared.uniqueness),
            cut=cut,
            facts={**self._facts(), **quality, **self._agreement(cut), "label_agreement": self._repeats(labels)},
            labels=labels,
        )

    def _cut(self, weights: Weights) -> tuple[float, dict[str, Any]]:
        """Where joining begins to pay, and how good the links then are among the pairs that are compared."""
        audits = sum(label.drawn == AUDIT and label.answer is not None for label in self.labels.values())
        unknown = {"precision": None, "recall": None, "audit_labels": audits}
        if not self._for_the_curve():
            none = np.zeros(0)
            return _usable(Curve.fitted(none, none.astype(bool), OF_HEIGHTS).cut(self.costs)), unknown
        heights = self.near.heights(weights)
        curve = self.curve(heights)
        cut = _usable(curve.cut(self.costs))
        if not audits:
            return cut, unknown
        seen = heights[self.near.seen]
        return cut, {**unknown, **curve.figures(seen, seen >= cut)}

    def _facts(self) -> dict[str, Any]:
        answers = [label.answer for label in self.labels.values()]
        return {
            "records": self.prepared.size,
            "pool_pairs": len(self.pool),
            "costs": {"wrong_merge": self.costs.wrong_merge, "missed_match": self.costs.missed_match},
            "labels": {
                "match": answers.count(True),
                "distinct": answers.count(False),
                "unsure": answers.count(None),
                "asked": len(self.asked),
            },
        }

    def _repeats(self, asked: pl.DataFrame) -> dict[str, Any]:
        """How often the same was said again, by all who were asked twice."""
        shared = ["record_a", "record_b", "answer", "by", "drawn"]
        frames = [asked] if self.known is None else [self.known, asked]
        told = [frame.select(c for c in shared if c in frame.columns) for frame in frames]
        counted = agreement(pl.concat(told, how="diagonal_relaxed")).select("repeats", "agree").sum()
        repeats, agree = (int(n) for n in counted.row(0))
        interval = share(agree, repeats)
        return {"repeats": repeats, "agree": agree, "low": interval["low"], "high": interval["high"]}

    def _agreement(self, cut: float, folds: int = 5) -> dict[str, float | None]:
        """Share of labels that a model without them gets right, beside the share that beliefs alone get right.

        The pairs asked about are the hard ones, so neither says how good the links are.
        """
        compared, answers, trust = self._labelled()
        if len(compared) < folds:
            return {"labels_predicted": None, "labels_predicted_without_learning": None}
        fold = np.arange(len(compared)) % folds
        right = np.zeros(len(compared), dtype=bool)
        for f in range(folds):
            seen, held = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
            weights = fit(self.beliefs, compared.take(seen), answers[seen], trust[seen])
            right[held] = (weights.chance(compared.take(held)) >= cut) == answers[held]
        before = believed(self.beliefs, len(self.prepared.fields)).chance(compared) >= cut
        return {
            "labels_predicted": round(float(right.mean()), 4),
            "labels_predicted_without_learning": round(float((before == answers).mean()), 4),
        }


def places(pool: Compared, pairs: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.intp]:
    """The rows of the pool that hold these pairs, in the pool's order; pairs it does not hold are passed over."""
    # One number per pair; the pool is ordered by pair, so the numbers rise.
    codes = pool.pairs.astype(np.int64) @ np.array([1 << 32, 1])
    wanted = pairs.astype(np.int64) @ np.array([1 << 32, 1])
    return np.flatnonzero(np.isin(codes, wanted))


def _frame(pairs: Sequence[Pair]) -> pl.DataFrame:
    return pl.DataFrame(pairs, schema={"first": pl.Int32, "second": pl.Int32}, orient="row")


def _usable(cut: float) -> float:
    """A cut that clustering can work with; hundredths, so that a label more or less seldom moves it."""
    return round(min(max(cut, LOWEST), 0.99), 2)
