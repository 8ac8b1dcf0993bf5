"""The state of one training: records, candidate pool, labels so far, and the model they make; nobody is asked here."""

import logging
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cer_assets.feeds.contracts import DISTINCT, MATCH
from cer_assets.identity.block import (
    BlockKey,
    Rule,
    affordable_rules,
    block_keys,
    candidate_rules,
    choose_rules,
    sample_positions,
)
from cer_assets.identity.cluster import Ints
from cer_assets.identity.compare import Compared, compare
from cer_assets.identity.curve import Costs, Curve, share
from cer_assets.identity.heights import LOWEST, Neighbourhood, across, neighbourhood
from cer_assets.identity.labels import AUDIT, DEDUPE, RULE, agreement, effective, labels_frame
from cer_assets.identity.learn import Beliefs, Floats, Weights, believed, fit, measure_beliefs
from cer_assets.identity.model import Model
from cer_assets.identity.pairs import Hashes, Positions, hash_keys
from cer_assets.identity.pool import pairs_around
from cer_assets.identity.prepare import Prepared

logger = logging.getLogger(__name__)

POOL_RECORDS = 4_000
"""The candidate pool holds all blocked pairs around so many records."""

RULE_RECORDS = 1_500
"""Rules are chosen by all pairs that any rule finds around so many of them."""

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
    """True for one person, false for two, null for unsure."""
    drawn: str | None = None
    """How the pair was chosen."""
    weight: float | None = None
    """Of an audit, the number of pairs it stands for."""
    trust: float = 1.0
    """What the answer counts beside a person's."""


@dataclass(frozen=True)
class Sample:
    """What is known of the records before rules are chosen and anybody is asked."""

    prepared: Prepared
    groups: Ints | None
    beliefs: Beliefs
    keys: tuple[BlockKey, ...]
    hashes: Hashes
    """Per key and position the hash of the key's value."""
    rules: tuple[Rule, ...]
    """All blocking rules that can be afforded, as places among the keys."""
    around: Positions
    """A random sample of the records, in random order."""
    found: pl.DataFrame
    """`rule`, `first`, `second`: the blocked pairs around the first `RULE_RECORDS`; ordered by pair, then rule."""
    compared: Compared
    """These pairs, each once."""

    @classmethod
    def of(cls, ready: Prepared, rng: np.random.Generator, groups: Ints | None) -> "Sample":
        """Measure beliefs and rules, and find the pairs around some records.

        Args:
            ready: the records.
            rng: where chance comes from.
            groups: a number per record; pairs within a group are no candidates.
        """
        beliefs = measure_beliefs(ready, rng)
        keys = block_keys(ready.fields)
        hashes = hash_keys(ready, keys)
        rules = affordable_rules(hashes, candidate_rules(keys), rng)
        around = rng.permutation(sample_positions(ready.size, POOL_RECORDS, rng))
        found = across(pairs_around(hashes, rules, around[:RULE_RECORDS]), groups)
        compared = compare(ready, found.select("first", "second").unique())
        return cls(ready, groups, beliefs, keys, hashes, tuple(rules), around, found, compared)

    @property
    def believed(self) -> Weights:
        """The weights without any label."""
        return believed(self.beliefs, len(self.prepared.fields))

    @property
    def chance(self) -> Floats:
        """What the compared pairs are believed to be."""
        return self.believed.chance(self.compared).round(9)

    def with_nearest(self, records: int, most: int) -> Positions:
        """The first records of the sample and those most like each, at most so many, by what is believed; in order."""
        positions, chance = self.around[:records], self.chance
        first, second = self.compared.pairs.T
        nearest = (
            pl.DataFrame(
                {
                    "record": np.concatenate([first, second]),
                    "other": np.concatenate([second, first]),
                    "chance": np.concatenate([chance, chance]),
                }
            )
            .filter(pl.col("record").is_in(positions.tolist()))
            .sort(["record", "chance", "other"], descending=[False, True, False])
            .group_by("record", maintain_order=True)
            .head(most)
        )
        return np.unique(np.concatenate([positions, nearest["other"].to_numpy()])).astype(np.int32)


@dataclass
class Learner:
    """What one training knows, and what follows from it."""

    sample: Sample
    costs: Costs
    rules: tuple[Rule, ...]
    """The chosen blocking rules, as places among the sample's keys."""
    pool: Compared
    """Candidate pairs around a sample of the records, ordered by pair."""
    seeds: Positions
    """The records around which clustering is looked at."""
    labels: dict[Pair, Label] = field(default_factory=dict[Pair, Label])
    asked: list[tuple[Pair, Label]] = field(default_factory=list[tuple[Pair, Label]])
    """Every question, also one that was asked before, in the order they were put."""
    known: pl.DataFrame | None = None
    told: Compared = field(init=False)
    """The pairs that had an answer so far."""

    def __post_init__(self) -> None:
        """Begin without answers."""
        self.told = self.pool.take(np.empty(0, dtype=np.intp))

    @classmethod
    def of(cls, sample: Sample, costs: Costs) -> "Learner":
        """Choose blocking rules and collect the candidate pool.

        Args:
            sample: what is known of the records.
            costs: of being wrong.
        """
        ready, around = sample.prepared, sample.around
        seeds = np.sort(around[:SEEDS] if ready.size > POOL_RECORDS else around)
        chosen = choose_rules(sample.found, sample.chance, len(sample.rules), len(around[:RULE_RECORDS]))
        rules = tuple(sample.rules[r] for r in chosen)
        found = across(pairs_around(sample.hashes, rules, around), sample.groups)
        pool = compare(ready, found.select("first", "second").unique())
        logger.info("candidate pool: %d pairs around %d records", len(pool), len(around))
        return cls(sample, costs, rules, pool, seeds)

    @property
    def prepared(self) -> Prepared:
        """The records."""
        return self.sample.prepared

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
            said = {MATCH: True, DISTINCT: False}.get(answer)
            trust = TRUST_IN_RULES if by.startswith(RULE) else 1.0
            self.labels[min(a, b), max(a, b)] = Label(said, drawn, weight, trust)
        ends = pl.col("record_a"), pl.col("record_b")
        ordered = known.with_columns(record_a=pl.min_horizontal(*ends), record_b=pl.max_horizontal(*ends))
        self.known = ordered.join(here.select("record_a", "record_b"), on=["record_a", "record_b"], how="semi")

    def weights(self) -> Weights:
        """The weights that the labels so far suggest."""
        compared, answers, trust = self._labelled()
        if not len(compared):
            return self.sample.believed
        return fit(self.sample.beliefs, compared, answers, trust)

    def _labelled(self) -> tuple[Compared, npt.NDArray[np.bool_], Floats]:
        """The pairs with an answer, ordered by pair; unsure is none."""
        sure = sorted(pair for pair, label in self.labels.items() if label.answer is not None)
        return (
            self._compared(np.array(sure, dtype=np.int64).reshape(-1, 2)),
            np.array([self.labels[pair].answer for pair in sure], dtype=bool),
            np.array([self.labels[pair].trust for pair in sure], dtype=np.float64),
        )

    def _compared(self, pairs: npt.NDArray[np.int64]) -> Compared:
        """Pairs, each compared once in a training; what there is a query for takes as long for one as for thousands."""
        for known in (self.pool, self.near.compared) if "near" in vars(self) else (self.pool,):
            self.told = Compared.joined(self.told, known.take(known.places(self.told.without(pairs))))
        if len(new := self.told.without(pairs)):
            frame = pl.DataFrame(new, schema=["first", "second"], orient="row")
            self.told = Compared.joined(self.told, compare(self.prepared, frame))
        return self.told.take(self.told.places(pairs))

    @cached_property
    def near(self) -> Neighbourhood:
        """What clustering sees around the seeds, as it is first asked for, and around pairs labelled by then."""
        others = np.unique(np.array(self._for_the_curve(), dtype=np.int32))
        hashes, groups = self.sample.hashes, self.sample.groups
        return neighbourhood(self.prepared, hashes, self.rules, self.weights(), self.pool, self.seeds, others, groups)

    def curve(self, heights: Floats) -> Curve:
        """What the heights of the pairs in `near` are worth, by the labels that were drawn for their score.

        dedupe chooses pairs for what tells them apart, so its answers would make the curve look better than it is.
        """
        labelled = self._for_the_curve()
        rows = self.near.compared.places(np.array(labelled, dtype=np.int64).reshape(-1, 2))
        answers = [self.labels[int(a), int(b)].answer for a, b in self.near.compared.pairs[rows]]
        return Curve.fitted(heights[rows], np.array(answers, dtype=bool))

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
        ids, keys = self.prepared.record_ids, self.sample.keys
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
            rules=tuple(tuple((keys[k].column, keys[k].name) for k in rule) for rule in self.rules),
            weights=weights,
            uniqueness=tuple(round(u, 6) for u in self.prepared.uniqueness),
            cut=cut,
            facts={
                **self._facts(),
                **quality,
                **self._labels_predicted(cut),
                "label_agreement": self._label_agreement(labels),
            },
            labels=labels,
        )

    def _cut(self, weights: Weights) -> tuple[float, dict[str, Any]]:
        """Where joining begins to pay, and how good the links then are among the pairs that are compared."""
        audits = sum(label.drawn == AUDIT and label.answer is not None for label in self.labels.values())
        unknown = {"precision": None, "recall": None, "audit_labels": audits}
        if not self._for_the_curve():
            none = np.zeros(0)
            return _usable(Curve.fitted(none, none.astype(bool)).cut(self.costs)), unknown
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
            "costs": asdict(self.costs),
            "labels": {
                "match": answers.count(True),
                "distinct": answers.count(False),
                "unsure": answers.count(None),
                "asked": len(self.asked),
            },
        }

    def _label_agreement(self, asked: pl.DataFrame) -> dict[str, Any]:
        """How often the same was said again, by all who were asked twice."""
        shared = ["record_a", "record_b", "answer", "by", "at", "drawn"]
        frames = [asked] if self.known is None else [self.known, asked]
        told = [frame.select(c for c in shared if c in frame.columns) for frame in frames]
        counted = agreement(pl.concat(told, how="diagonal_relaxed")).select("repeats", "agree").sum()
        repeats, agree = (int(n) for n in counted.row(0))
        interval = share(agree, repeats)
        return {"repeats": repeats, "agree": agree, "low": interval["low"], "high": interval["high"]}

    def _labels_predicted(self, cut: float, folds: int = 5) -> dict[str, float | None]:
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
            weights = fit(self.sample.beliefs, compared.take(seen), answers[seen], trust[seen])
            right[held] = (weights.chance(compared.take(held)) >= cut) == answers[held]
        before = self.sample.believed.chance(compared) >= cut
        return {
            "labels_predicted": round(float(right.mean()), 4),
            "labels_predicted_without_learning": round(float((before == answers).mean()), 4),
        }


def _usable(cut: float) -> float:
    """A cut that clustering can work with; hundredths, so that a label more or less seldom moves it."""
    return round(min(max(cut, LOWEST), 0.99), 2)
