"""Learning who is who from few labels: which pairs to ask about, in what order; `learner` says what comes of it."""

import logging
from collections.abc import Sequence

import duckdb
import numpy as np
import numpy.typing as npt
import polars as pl

from cer_assets.identity.cluster import Ints
from cer_assets.identity.curve import Costs
from cer_assets.identity.dedupe_questions import MOST_RECORDS, Questions, QuestionsFailedError, questions
from cer_assets.identity.fields import CUSTOMER_FIELDS, MatchField
from cer_assets.identity.labels import AUDIT, DEDUPE, REPEAT, UNCERTAIN, Labeller
from cer_assets.identity.learn import Floats
from cer_assets.identity.learner import Label, Learner, Pair, Sample
from cer_assets.identity.model import Model
from cer_assets.identity.pairs import Positions
from cer_assets.identity.prepare import Prepared, fill, prepared

logger = logging.getLogger(__name__)

SHARE_OF_DEDUPE, SHARE_OF_AUDIT, SHARE_OF_REPEATS = 0.55, 0.12, 0.03
"""Parts of the budget. Uncertain pairs of the candidate pool take the rest, half by their scores and half by groups."""

BATCH = 5
"""Questions between two fits."""

STRATA = (0.02, 0.2, 0.5, 0.8, 0.975)
"""Chances between which audited pairs are drawn apart from each other."""

UNTOLD = 0.01
"""The share of pairs that are held to be two people whatever their score, as far as an audit is concerned."""


def train(
    records: pl.DataFrame,
    fields: Sequence[MatchField] = CUSTOMER_FIELDS,
    labeller: Labeller | None = None,
    budget: int = 100,
    seed: int = 0,
    known_labels: pl.DataFrame | None = None,
    connection: duckdb.DuckDBPyConnection | None = None,
    by: str = "labeller",
    costs: Costs = Costs(),  # noqa: B008 - frozen
    between: str | None = None,
) -> Model:
    """Learn a model from the records and at most `budget` answers.

    The same records in any order, answers and seed give the same model. No set of answers makes it fail: what labels
    do not settle stays with what chance agreement in the records suggests.

    Of the answers, dedupe's questions teach what tells records apart, and uncertain pairs correct it and say where to
    cut. A random audit of all candidate pairs, drawn in strata, then says how good the links are, and a few pairs are
    asked again without saying so.

    Args:
        records: `record_id` and a column per field.
        fields: the columns that tell people apart.
        labeller: answers lists of pairs of record ids with true, false or null; without one nothing is asked.
        budget: most pairs to ask about, those asked again among them.
        seed: of every random choice.
        known_labels: answers had already, as `labels.effective` reads them. A pair in it is not asked again. Pairs of
            records that are not here are passed over.
        connection: whose memory limit and threads to use.
        by: who answers, for the labels' provenance.
        costs: what a wrong merge and a missed match cost; the dearer a wrong merge, the higher the cut.
        between: a column; only pairs of records that differ in it are candidates.

    Returns:
        a model, whose `labels` are the answers asked for, each with how its pair was `drawn` and, for an audit, with
        the number of candidate pairs it stands for (`weight`).

    Raises:
        ValueError: a column is missing, or the labeller does not give one answer per pair.
    """
    share = round(SHARE_OF_DEDUPE * budget) if labeller is not None else 0
    # dedupe takes its time to be imported, and then to look at its records: we prepare ours meanwhile.
    with questions(share > 0) as dedupe, prepared(records, fields, connection, complete=False) as ready:
        rng = np.random.default_rng(seed)
        sample = Sample.of(ready, rng, _groups(records, ready, between))
        positions = None if dedupe is None else _handed_over(dedupe, sample, seed)
        learner = Learner.of(sample, costs)
        learner.add_known(known_labels)
        if labeller is not None:
            asking = _Asking(learner, labeller, budget, rng)
            kept_back = asking.audits + asking.repeats
            if dedupe is not None and positions is not None:
                asking.questions_of_dedupe(dedupe, positions, share)
            asking.uncertain_pairs(until=kept_back + (asking.left - kept_back) // 2)
            asking.uncertain_joins(until=kept_back)
            asking.audit()
        return learner.model(by)


def _groups(records: pl.DataFrame, ready: Prepared, between: str | None) -> Ints | None:
    """A number per position for each value of the column; a missing value is one of its own."""
    if between is None:
        return None
    if between not in records.columns:
        raise ValueError(f"between: column {between!r} is missing; have {records.columns}")
    ids = pl.DataFrame({"record_id": ready.record_ids})
    values = ids.join(records.select("record_id", value=between), on="record_id", maintain_order="left")["value"]
    return values.rank("dense").fill_null(0).to_numpy().astype(np.int64)


def _handed_over(dedupe: Questions, sample: Sample, seed: int) -> Positions | None:
    """Hand dedupe some records and those most like them, so that a small sample holds matches and near misses.

    Returns:
        their positions; null where dedupe would not have them.
    """
    positions = sample.with_nearest(MOST_RECORDS // 3, 2)
    if len(positions) < 3:
        return None
    ready, groups = sample.prepared, sample.groups
    fill(ready, positions)
    columns = ", ".join(f"f{i}" for i in range(len(ready.fields)))
    frame = ready.connection.sql(f"select {columns} from prepared order by position").pl()
    values = frame.rename({f"f{i}": field.column for i, field in enumerate(ready.fields)}).to_dicts()
    try:
        dedupe.start(values, ready.fields, seed, None if groups is None else groups[positions].tolist())
    except QuestionsFailedError as error:
        logger.warning("%s; the other questions come from the candidate pool", error)
        return None
    return positions


class _Asking:
    """Chooses questions, puts them to the labeller and keeps the answers."""

    def __init__(self, learner: Learner, labeller: Labeller, budget: int, rng: np.random.Generator) -> None:
        self.learner = learner
        self.labeller = labeller
        self.budget = budget
        self.rng = rng
        self.audits = round(SHARE_OF_AUDIT * budget)
        self.repeats = round(SHARE_OF_REPEATS * budget)

    @property
    def left(self) -> int:
        """Questions not yet asked."""
        return self.budget - len(self.learner.asked)

    def ask(self, pairs: Sequence[Pair], drawn: str, weights: Sequence[float] | None = None) -> None:
        """Put pairs of positions (first < second) that have no label yet to the labeller, as far as the budget goes."""
        weight = dict(zip(pairs, weights or [None] * len(pairs), strict=True))
        new = [pair for pair in pairs if pair not in self.learner.labels][: self.left]
        self._put([(pair, drawn, weight[pair]) for pair in new])

    def _put(self, wanted: Sequence[tuple[Pair, str, float | None]]) -> None:
        if not wanted:
            return
        ids = self.learner.prepared.record_ids
        answers = list(self.labeller([(ids[a], ids[b]) for (a, b), _, _ in wanted]))
        if len(answers) != len(wanted):
            raise ValueError(f"labeller: gave {len(answers)} answers to {len(wanted)} pairs; give one per pair")
        for (pair, drawn, weight), given in zip(wanted, answers, strict=True):
            label = Label(None if given is None else bool(given), drawn, weight)
            self.learner.asked.append((pair, label))
            before = self.learner.labels.get(pair)
            if drawn != REPEAT or before is None:
                self.learner.labels[pair] = label
            elif before.answer != label.answer:
                self.learner.labels[pair] = Label(None, before.drawn, before.weight)

    def questions_of_dedupe(self, dedupe: Questions, positions: Positions, share: int) -> None:
        """Ask what dedupe proposes on records that it was handed; where it can propose nothing, ask nothing."""
        try:
            while self.left > self.budget - share:
                a, b = sorted(int(positions[place]) for place in dedupe.propose())
                self.ask([(a, b)], DEDUPE)
                dedupe.answer(self.learner.labels[a, b].answer)
        except QuestionsFailedError as error:
            logger.warning("%s; the other questions come from the candidate pool", error)

    def uncertain_pairs(self, until: int) -> None:
        """Ask about the pool by expected error, with a fit between batches, until so many questions are left."""
        pool = self.learner.pool
        while self.left > until:
            chance = self.learner.weights().chance(pool)
            doubt = np.asarray(np.round(np.minimum(chance, 1 - chance), 9), dtype=np.float64)
            doubt[pool.places(self._labelled())] = 0.0
            batch = self._draw_by_look(doubt, min(BATCH, self.left - until))
            if not batch:
                return
            self.ask(batch, UNCERTAIN)

    def _draw_by_look(self, doubt: Floats, size: int) -> list[Pair]:
        """Pairs of the pool drawn in proportion to the doubt about them, one of each look."""
        pool = self.learner.pool
        rows: list[int] = []
        while len(rows) < size and doubt.sum() > 0:
            row = int(self.rng.choice(len(doubt), p=doubt / doubt.sum()))
            rows.append(row)
            doubt[(pool.levels == pool.levels[row]).all(axis=1)] = 0.0
        return [(int(a), int(b)) for a, b in pool.pairs[rows]]

    def uncertain_joins(self, until: int) -> None:
        """Ask about pairs that clustering may or may not put together, until so many questions are left.

        Nothing here knows the costs, so that other costs move the cut and not the questions.
        """
        if self.left <= until:
            return
        near = self.learner.near
        heights = near.heights(self.learner.weights())
        while self.left > until:
            chance = self.learner.curve(heights).chance(heights)
            doubt = np.round(np.where(near.seen, np.minimum(chance, 1 - chance), 0.0), 9)
            doubt[near.compared.places(self._labelled())] = 0.0
            size = min(BATCH, self.left - until, int((doubt > 0).sum()))
            if size == 0:
                return
            rows = np.sort(self.rng.choice(len(doubt), size, replace=False, p=doubt / doubt.sum()))
            self.ask([(int(a), int(b)) for a, b in near.compared.pairs[rows]], UNCERTAIN)

    def audit(self) -> None:
        """Ask about random pairs of all that clustering looks at, and about some that were asked before, mixed."""
        asked = sorted({pair for pair, label in self.learner.asked if label.answer is not None})
        again = self.rng.choice(len(asked), min(self.repeats, len(asked), self.left), replace=False)
        wanted = [(asked[row], REPEAT, None) for row in np.sort(again)]
        wanted += self._audited(min(self.audits, self.left - len(wanted)))
        self._put([wanted[place] for place in self.rng.permutation(len(wanted))])

    def _audited(self, size: int) -> list[tuple[Pair, str, float | None]]:
        """Pairs drawn at random within strata of their chance, each with the number of pairs it stands for.

        A stratum gets questions in proportion to the spread of its answers (Neyman, "On the two different aspects of
        the representative method", 1934), and at least one while there are enough.
        """
        if size <= 0:
            return []
        learner = self.learner
        near = learner.near
        free = near.seen.copy()
        free[near.compared.places(self._labelled())] = False
        rows = np.flatnonzero(free)
        if not len(rows):
            return []
        heights = near.heights(learner.weights())
        chance = np.round((1 - UNTOLD) * learner.curve(heights).chance(heights)[rows], 9)
        edges = STRATA if size >= 2 * len(STRATA) else STRATA[2:3]
        stratum = np.unique(np.digitize(chance, edges), return_inverse=True)[1]
        spread: Floats = np.bincount(stratum, np.sqrt(chance * (1 - chance))).astype(np.float64)
        count = _shared_out(size, spread, np.bincount(stratum))
        shuffled = self.rng.permutation(len(rows))
        drawn: list[tuple[Pair, str, float | None]] = []
        for s, wanted in enumerate(count):
            members = rows[shuffled[stratum[shuffled] == s]]
            weight = len(members) / max(wanted, 1) * self._pairs_per_seen()
            for a, b in near.compared.pairs[np.sort(members[:wanted])]:
                drawn.append(((int(a), int(b)), AUDIT, round(weight, 3)))
        return drawn

    def _pairs_per_seen(self) -> float:
        """One over the chance that a pair has an end among the seeds."""
        n, seeds = self.learner.prepared.size, len(self.learner.seeds)
        return 1 / (1 - (n - seeds) * (n - seeds - 1) / (n * (n - 1)))

    def _labelled(self) -> npt.NDArray[np.int64]:
        return np.array(sorted(self.learner.labels), dtype=np.int64).reshape(-1, 2)


def _shared_out(size: int, spread: Floats, most: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
    """Whole shares of `size` in proportion to `spread`, one at least as far as it goes, `most` at most."""
    count = np.zeros(len(spread), dtype=np.int64)
    count[np.argsort(-spread, kind="stable")[:size]] = 1
    while count.sum() < size and (count < most).any():
        # The next question goes where it lowers the estimate's variance most.
        gain = np.round(spread**2 / (np.maximum(count, 1) * (count + 1)), 9)
        count[int(np.argmax(np.where(count < most, gain, -1.0)))] += 1
    return count
