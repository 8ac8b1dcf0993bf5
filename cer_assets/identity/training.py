"""Learning who is who from few labels: which pairs to ask about, in what order, and the model that comes of it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import polars as pl

from cer_assets.identity.block import (
    Rule,
    affordable_rules,
    block_keys,
    candidate_rules,
    choose_rules,
    create_keys,
    pairs_around,
    sample_positions,
)
from cer_assets.identity.compare import Compared, compare
from cer_assets.identity.fields import CUSTOMER_FIELDS, MatchField
from cer_assets.identity.labels import RULE, Labeller, labels_frame
from cer_assets.identity.learn import Beliefs, Weights, believed, fit, measure_beliefs
from cer_assets.identity.model import Model
from cer_assets.identity.prepare import Prepared, prepared
from cer_assets.identity.questions import (
    MOST_RECORDS,
    Questions,
    QuestionsFailedError,
    questions,
)

logger = logging.getLogger(__name__)

SHARE_OF_DEDUPE = 0.6
"""The part of the budget that dedupe's questions take; uncertain pairs of the candidate pool take the rest."""

POOL_RECORDS = 4_000
"""The candidate pool holds all blocked pairs around so many records."""

BATCH = 5
"""Questions between two fits."""

TRUST_IN_RULES = 0.2
"""What a label from a rule counts beside a person's."""

CUT = 0.45
"""Joining a group raises the expected F1 while its mean chance is over half the F1 reached (Lipton and others,
"Optimal thresholding of classifiers to maximize F1 measure", 2014), and links are worth having from .9 on."""


def train(
    records: pl.DataFrame,
    fields: Sequence[MatchField] = CUSTOMER_FIELDS,
    labeller: Labeller | None = None,
    budget: int = 100,
    seed: int = 0,
    known_labels: pl.DataFrame | None = None,
    connection: duckdb.DuckDBPyConnection | None = None,
    by: str = "labeller",
) -> Model:
    """Learn a model from the records and at most `budget` answers.

    The same records in any order, answers and seed give the same model. No set of answers makes it fail: what labels
    do not settle stays with what chance agreement in the records suggests.

    Args:
        records: `record_id` and a column per field.
        fields: the columns that tell people apart.
        labeller: answers lists of pairs of record ids with true, false or null; without one nothing is asked.
        budget: most pairs to ask about.
        seed: of every random choice.
        known_labels: record_a, record_b, answer and, if known, by; answers had already. A pair in it is not asked
            again. Pairs of records that are not here are passed over.
        connection: whose memory limit and threads to use.
        by: who answers, for the labels' provenance.

    Returns:
        a model, whose `labels` are the answers asked for.
    """
    share = round(SHARE_OF_DEDUPE * budget) if labeller is not None else 0
    # dedupe takes seconds to import, which the candidate pool takes to be found: it starts first.
    with questions(share > 0) as dedupe, prepared(records, fields, connection) as ready:
        training = _Training.of(ready, np.random.default_rng(seed))
        training.add_known(known_labels)
        if labeller is not None:
            asking = _Asking(training, labeller, budget)
            if dedupe is not None:
                asking.questions_of_dedupe(dedupe, share, seed)
            asking.uncertain_pairs()
        return training.model(by)


@dataclass
class _Training:
    """The state of one training: records, beliefs, candidate pool, labels so far."""

    prepared: Prepared
    rng: np.random.Generator
    beliefs: Beliefs
    rules: tuple[tuple[tuple[str, str], ...], ...]
    pool: Compared
    around: pl.DataFrame
    labels: dict[tuple[int, int], bool | None] = field(default_factory=dict[tuple[int, int], bool | None])
    """Answers by pair of positions, in the order given."""
    trust: dict[tuple[int, int], float] = field(default_factory=dict[tuple[int, int], float])
    asked: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    @classmethod
    def of(cls, ready: Prepared, rng: np.random.Generator) -> "_Training":
        """Measure beliefs, choose blocking rules and collect the candidate pool."""
        beliefs = measure_beliefs(ready, rng)
        keys = block_keys(ready.fields)
        create_keys(ready, keys)
        rules = affordable_rules(ready, candidate_rules(keys), rng)
        around = sample_positions(ready, POOL_RECORDS, rng)
        found = pairs_around(ready, rules, around)
        pool = compare(ready, found.select("first", "second").unique())
        chance = believed(beliefs, len(ready.fields)).chance(pool)
        chosen = choose_rules(found, chance, len(rules), len(around))
        named = [_named(rules[r], keys) for r in chosen]
        kept = found.filter(pl.col("rule").is_in(chosen)).select("first", "second").unique()
        rows = _places(pool, kept.to_numpy())
        logger.info("candidate pool: %d pairs around %d records", len(rows), len(around))
        return cls(ready, rng, beliefs, tuple(named), pool.take(rows), around)

    def add_known(self, known: pl.DataFrame | None) -> None:
        """Take labels had already, the last one of a pair."""
        if known is None:
            return
        ids = pl.DataFrame({"id": self.prepared.record_ids}).with_row_index("position")
        by = pl.col("by") if "by" in known.columns else pl.lit("")
        found = (
            known.with_columns(by=by.fill_null(""))
            .join(ids, left_on="record_a", right_on="id", maintain_order="left")
            .join(ids, left_on="record_b", right_on="id", suffix="_b", maintain_order="left")
            .select("position", "position_b", "answer", "by")
        )
        # A person's answer stands above a rule's.
        for a, b, answer, who in found.sort(~pl.col("by").str.starts_with(RULE), maintain_order=True).iter_rows():
            pair = (min(a, b), max(a, b))
            self.labels[pair] = {"match": True, "distinct": False}.get(answer)
            self.trust[pair] = TRUST_IN_RULES if who.startswith(RULE) else 1.0

    def weights(self) -> Weights:
        """The weights that the labels so far suggest."""
        compared, answers, trust = self._labelled()
        if not len(compared):
            return believed(self.beliefs, len(self.prepared.fields))
        return fit(self.beliefs, compared, answers, trust)

    def _labelled(
        self,
    ) -> tuple[Compared, npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
        """The pairs with an answer, ordered by pair; unsure is none."""
        sure = sorted(pair for pair, answer in self.labels.items() if answer is not None)
        pairs = pl.DataFrame(sure, schema={"first": pl.Int32, "second": pl.Int32}, orient="row")
        return (
            compare(self.prepared, pairs),
            np.array([self.labels[pair] for pair in sure], dtype=bool),
            np.array([self.trust.get(pair, 1.0) for pair in sure], dtype=np.float64),
        )

    def model(self, by: str) -> Model:
        """What was learned."""
        ids = self.prepared.record_ids
        labels = labels_frame(
            [(ids[a], ids[b]) for a, b in self.asked],
            [self.labels[pair] for pair in self.asked],
            by,
            ids.dtype,
        )
        return Model(
            fields=self.prepared.fields,
            rules=self.rules,
            weights=self.weights(),
            uniqueness=tuple(round(u, 6) for u in self.prepared.uniqueness),
            cut=CUT,
            facts=self._facts(),
            labels=labels,
        )

    def _facts(self) -> dict[str, Any]:
        answers = list(self.labels.values())
        return {
            "records": self.prepared.size,
            "pool_pairs": len(self.pool),
            "labels": {
                "match": answers.count(True),
                "distinct": answers.count(False),
                "unsure": answers.count(None),
                "asked": len(self.asked),
            },
            **self._agreement(),
        }

    def _agreement(self, folds: int = 5) -> dict[str, float | None]:
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
            right[held] = (weights.chance(compared.take(held)) >= CUT) == answers[held]
        before = believed(self.beliefs, len(self.prepared.fields)).chance(compared) >= CUT
        return {
            "labels_predicted": round(float(right.mean()), 4),
            "labels_predicted_without_learning": round(float((before == answers).mean()), 4),
        }


class _Asking:
    """Chooses questions, puts them to the labeller and keeps the answers."""

    def __init__(self, training: _Training, labeller: Labeller, budget: int) -> None:
        self.training = training
        self.labeller = labeller
        self.budget = budget

    @property
    def left(self) -> int:
        """Questions not yet asked."""
        return self.budget - len(self.training.asked)

    def ask(self, pairs: Sequence[tuple[int, int]]) -> list[bool | None]:
        """Answers for pairs of positions (first < second), from the labels had or else from the labeller."""
        training = self.training
        new = [pair for pair in pairs if pair not in training.labels][: self.left]
        if new:
            ids = training.prepared.record_ids
            answers = list(self.labeller([(ids[a], ids[b]) for a, b in new]))
            if len(answers) != len(new):
                raise ValueError(f"labeller: gave {len(answers)} answers to {len(new)} pairs; give one per pair")
            training.labels.update((pair, None if a is None else bool(a)) for pair, a in zip(new, answers, strict=True))
            training.asked.extend(new)
        return [training.labels.get(pair) for pair in pairs]

    def questions_of_dedupe(self, dedupe: Questions, share: int, seed: int) -> None:
        """Ask what dedupe proposes on a sample of records; where it can propose nothing, ask nothing."""
        positions = self._records_for_dedupe()
        if len(positions) < 3:
            return
        try:
            dedupe.start(self._values(positions), self.training.prepared.fields, seed)
            while self.left > self.budget - share:
                a, b = sorted(int(positions[place]) for place in dedupe.propose())
                dedupe.answer(self.ask([(a, b)])[0] if a != b else True)
        except QuestionsFailedError as error:
            logger.warning("%s; the other questions come from the candidate pool", error)

    def _records_for_dedupe(self) -> npt.NDArray[np.int64]:
        """Records of the pool and those most like them, so that a small sample holds matches and near misses."""
        training = self.training
        pairs = pl.DataFrame(
            {
                "first": training.pool.pairs[:, 0],
                "second": training.pool.pairs[:, 1],
                "chance": training.weights().chance(training.pool).round(9),
            }
        )
        seeds = training.rng.permutation(training.around["position"].to_numpy())[: MOST_RECORDS // 3]
        nearest = (
            pl.concat(
                [
                    pairs.select(record="first", other="second", chance="chance"),
                    pairs.select(record="second", other="first", chance="chance"),
                ]
            )
            .filter(pl.col("record").is_in(np.sort(seeds)))
            .sort(["record", "chance", "other"], descending=[False, True, False])
            .group_by("record", maintain_order=True)
            .head(2)
        )
        return np.unique(np.concatenate([seeds, nearest["other"].to_numpy()])).astype(np.int64)

    def _values(self, positions: npt.NDArray[np.int64]) -> list[dict[str, str | None]]:
        """The standard values of some records, by column."""
        prepared = self.training.prepared
        columns = ", ".join(f"f{i}" for i in range(len(prepared.fields)))
        chosen = pl.DataFrame({"position": positions.astype(np.int32)})
        prepared.connection.register("chosen_records", chosen)
        frame = prepared.connection.sql(
            f"select {columns} from prepared semi join chosen_records using (position) order by position"
        ).pl()
        prepared.connection.unregister("chosen_records")
        return frame.rename({f"f{i}": field.column for i, field in enumerate(prepared.fields)}).to_dicts()

    def uncertain_pairs(self) -> None:
        """Spend what is left of the budget on the pool, by expected error, with a fit between batches."""
        while self.left > 0:
            batch = self._draw(min(BATCH, self.left))
            if not batch:
                return
            self.ask(batch)

    def _draw(self, size: int) -> list[tuple[int, int]]:
        """New pairs drawn in proportion to the chance of being wrong about them, one of each look."""
        training = self.training
        pool = training.pool
        chance = training.weights().chance(pool)
        doubt = np.round(np.minimum(chance, 1 - chance), 9)
        doubt[_places(pool, np.array(sorted(training.labels)).reshape(-1, 2))] = 0.0
        rows: list[int] = []
        while len(rows) < size and doubt.sum() > 0:
            row = int(training.rng.choice(len(doubt), p=doubt / doubt.sum()))
            rows.append(row)
            doubt[(pool.levels == pool.levels[row]).all(axis=1)] = 0.0
        return [(int(a), int(b)) for a, b in pool.pairs[rows]]


def _named(rule: Rule, keys: Sequence[Any]) -> tuple[tuple[str, str], ...]:
    return tuple((keys[k].column, keys[k].name) for k in rule)


def _places(pool: Compared, pairs: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.intp]:
    """The rows of the pool that hold these pairs, in the pool's order; pairs it does not hold are passed over."""
    # One number per pair; the pool is ordered by pair, so the numbers rise.
    codes = pool.pairs.astype(np.int64) @ np.array([1 << 32, 1])
    wanted = pairs.astype(np.int64) @ np.array([1 << 32, 1])
    return np.flatnonzero(np.isin(codes, wanted))
