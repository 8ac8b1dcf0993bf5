"""Records to persons with a trained model: block, compare, score, close, cluster, name; nothing is learned here."""

import logging
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import polars as pl

from cer_assets.identity.block import PAIRS_PER_RECORD
from cer_assets.identity.cluster import MILLION, Ints, average_linkage, components, connected
from cer_assets.identity.ids import assign_ids, run_of
from cer_assets.identity.increment import (
    Bound,
    Known,
    bound,
    compare_with_known,
    nothing_known,
    scored_before,
    with_constraints,
)
from cer_assets.identity.index import MANY_FRESH, Index, read_records
from cer_assets.identity.model import Model
from cer_assets.identity.pairs import (
    PAIRS_PER_BATCH,
    Blocking,
    Blocks,
    Bools,
    Codes,
    among,
    ends,
    find_blocks,
    groups_of,
)
from cer_assets.identity.prepare import Workspace, fill
from cer_assets.identity.score import Scored, Scorer

logger = logging.getLogger(__name__)

GROUP_CAP = 300
"""Most records of one person, and most records of a component whose unseen pairs are all scored."""

EDGE_FLOOR = 0.05
"""Pairs that score less are counted in the histogram but not kept as edges."""

RISING_CUTS = (0.8, 0.95, 0.99, 0.999)
"""Where a component is over the cap, it is taken apart at these scores before its unseen pairs are scored."""

NEGLIGIBLE = 0.001
"""A pair that scores less counts as 0 in every mean."""

LEAST_CLOSING_PAIRS = 5_000_000
"""Closing may always score so many pairs, and `PAIRS_PER_RECORD` for each touched record where that is more."""

CLOSED_RECORDS = (GROUP_CAP, 100, 30, 10, 3)
"""Where closing would score too many pairs, components are taken apart at the next of these sizes."""

BINS = 50
"""Bins of the score histogram."""


@dataclass(frozen=True)
class Resolution:
    """What one run of `resolve` found."""

    links: pl.DataFrame
    """record_id, customer_id, confidence, fingerprint; one row per record, by record_id.

    The confidence of a record among others is its mean pair score with the rest of its group; that of a record alone is
    1 minus its strongest score with any other record: how sure it is that nobody else is this person. The fingerprint
    tells what the link was decided from: the model, the record's compared values, the constraints on it.
    """
    edges: pl.DataFrame
    """record_a < record_b, score: every scored pair from `EDGE_FLOOR` on, ordered; of a run on top of known links the
    edges handed in that still hold, and those it found."""
    history: pl.DataFrame
    """run, customer_id, event, from, to; see `ids.assign_ids`."""
    blocking: pl.DataFrame
    """rule, pairs (that it found), matches (of these at least the cut), only (matches that no other rule found)."""
    scores: pl.DataFrame
    """low, high, pairs: histogram of all pairs scored in this run."""
    index: Index
    """What was read of the records, for the next run."""
    touched: Mapping[str, int]
    """Counts: records, fresh (new or changed), removed, touched (clustered in this run), pairs (scored in it)."""


def resolve(
    records: pl.DataFrame,
    model: Model,
    known: pl.DataFrame | None = None,
    connection: duckdb.DuckDBPyConnection | None = None,
    constraints: pl.DataFrame | None = None,
    edges: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Link records to persons; `resolve_all` says how and returns more.

    Returns:
        links: record_id, customer_id, confidence, fingerprint.
    """
    return resolve_all(records, model, known, connection, constraints, edges).links


def resolve_all(
    records: pl.DataFrame,
    model: Model,
    known: pl.DataFrame | None = None,
    connection: duckdb.DuckDBPyConnection | None = None,
    constraints: pl.DataFrame | None = None,
    edges: pl.DataFrame | None = None,
    batch: int = PAIRS_PER_BATCH,
    index: Index | None = None,
) -> Resolution:
    """Link records to persons.

    The same records in any order, model, known links, constraints and edges give the same rows, whatever the number of
    threads and the size of batches.

    With `known` links only what changed is resolved: records that are new, whose fingerprint is another or that are
    gone from `records`, and the components of pairs over the cut that these touch. Every other customer keeps its id
    and its rows as they are. A component is what was clustered together, so its groups are those of a full run, but for
    what a value's rarity, counted among all records, moved since in pairs that nothing touched, and for blocks that
    grew over their cap. Another model changes every fingerprint, hence resolves everything, under the ids known.

    Args:
        records: `record_id` and the model's columns.
        model: what `train` returned.
        known: previous links (record_id, customer_id, confidence, fingerprint), whose ids are kept where their records
            stay together. Without fingerprints all records in it are taken for unchanged. A column `born`, if there is
            one, says how old an id is; see `assign_ids`.
        connection: whose memory limit, spill folder and threads to use.
        constraints: record_a, record_b, answer (must_link or cannot_link): what holds whatever the scores. must_link
            joins through others; no group holds both ends of a cannot_link.
        edges: record_a, record_b, score: the edges of the run that made `known`. They tell what a component was;
            without them that is found by blocking the records of touched customers too, and `Resolution.edges` has only
            the edges of what was touched.
        batch: pairs compared at a time, counted once per rule that finds them; memory is bounded by it.
        index: of a former run; with it only what is new or changed is read. It changes nothing in what is returned.

    Raises:
        ValueError: records cannot be prepared, or constraints contradict each other.
    """
    with read_records(records, model, connection, index, complete=known is None) as (ready, read):
        with _phase("%d records: what changed", ready.size):
            bonds = bound(ready.record_ids, constraints)
            fingerprint = with_constraints(ready, read.fingerprints, bonds)
            past = (
                nothing_known(ready.size)
                if known is None
                else compare_with_known(ready.record_ids, known, fingerprint, bonds)
            )
            prior = (
                Scored.none() if edges is None or known is None else scored_before(ready.record_ids, edges, past.fresh)
            )
            if not ready.complete and past.fresh.sum() > MANY_FRESH * ready.size:
                fill(ready)
                ready = replace(ready, complete=True)
        run = _Run(ready, read, model, bonds, past, prior, batch)
        run.block(edges is not None)
        run.close()
        run.cluster()
        with _phase("naming %d records", int(run.touched.sum())):
            decided = pl.DataFrame({"record_id": ready.record_ids, "fingerprint": fingerprint})
            name = run_of(decided, ["fingerprint"], known)
            ids, history = _named(run, known, name)
            links = _links(run, ids, known, fingerprint)
        logger.info("%d records are %d persons", len(links), links["customer_id"].n_unique())
        return Resolution(links, run.edges(), history, run.yields(), run.histogram(), read, run.counts())


class _Run:
    """The pairs of one run, from blocking to groups; arrays of records are by position."""

    def __init__(
        self, ready: Workspace, index: Index, model: Model, bonds: Bound, past: Known, prior: Scored, batch: int
    ) -> None:
        self.ready, self.index, self.model = ready, index, model
        self.bonds, self.past, self.batch = bonds, past, batch
        self.scorer = Scorer(ready, model)
        self.cut = round(model.cut * MILLION)
        self.prior = prior
        """Edges of the run before that nothing touched."""
        self.found = Scored.none()
        """Pairs that blocking found, from `EDGE_FLOOR` on."""
        self.inner = Scored.none()
        """Pairs that closing added, from `NEGLIGIBLE` on."""
        self.touched = np.ones(ready.size, dtype=bool)
        """What is clustered in this run."""
        self.group: Ints = np.arange(ready.size, dtype=np.int64)
        """The smallest position in the record's group."""
        self.strongest = np.zeros(ready.size, dtype=np.int32)
        """The highest score of any pair of the record."""
        self.bins = np.zeros(BINS, dtype=np.int64)
        self.rules = np.zeros((3, len(model.rules)), dtype=np.int64)
        """Per rule: pairs, matches, matches of no other rule."""
        self._seen: list[tuple[Blocking, Bools]] = []
        self._clustered = Scored.none()

    def block(self, components_known: bool) -> None:
        """Score the pairs of fresh records, and of what they touch where that is not known from edges.

        Args:
            components_known: whether the edges tell what a fresh record touches.
        """
        _, rules = self.model.block_rules()
        done = np.zeros(self.ready.size, dtype=bool)
        todo = self.past.fresh
        while True:
            if todo.any():
                with _phase("%d records into blocks", int(todo.sum())):
                    blocking = find_blocks(self.index.keys, rules, None if todo.all() else todo)
                self._score_blocks(blocking, todo, done)
                self._seen.append((blocking, todo))
                done = done | todo
            self.touched = self._reached()
            todo = self.touched & ~done
            if components_known or not todo.any():
                break

    def _score_blocks(self, blocking: Blocking, todo: Bools, done: Bools) -> None:
        parts = [self.found]
        self.rules[0] += np.array(blocking.pairs, dtype=np.int64)
        batches = blocking.blocks.batches(None if todo.all() else todo, self.batch, self.ready.size)
        with _phase("scoring the pairs of %d blocking rules", len(blocking.rules)):
            for codes in batches:
                first, second = ends(codes)
                wanted = ~(done[first] | done[second])
                scored = self._score(codes[wanted])
                self._count(scored)
                matches = scored.codes[scored.score >= self.cut]
                self.rules[1:] += blocking.found_by(matches)
                parts.append(scored.above(EDGE_FLOOR))
        self.found = Scored.joined(*parts)

    def _score(self, codes: Codes) -> Scored:
        scored = self.scorer.score(codes)
        np.maximum.at(self.strongest, scored.first, scored.score)
        np.maximum.at(self.strongest, scored.second, scored.score)
        return scored

    def _count(self, scored: Scored) -> None:
        places = np.minimum(scored.score.astype(np.int64) * BINS // MILLION, BINS - 1)
        self.bins += np.bincount(places, minlength=BINS)

    def _reached(self) -> Bools:
        """The records of all components that have an uneasy record; known customers stay in one component."""
        past = self.past
        if past.fresh.all():
            return past.fresh
        new, old = (pairs.where(pairs.score >= self.cut) for pairs in (self.found, self.prior))
        every = np.arange(self.ready.size)
        component = connected(
            np.concatenate([new.first, old.first, every, every]),
            np.concatenate([new.second, old.second, past.customer, self.bonds.together]),
            self.ready.size,
        )
        hit = np.zeros(self.ready.size, dtype=bool)
        hit[component[past.uneasy]] = True
        return hit[component]

    def close(self) -> None:
        """Score the pairs inside each touched component that blocking did not: two linked by a third are compared."""
        component, blocks = self._components_to_close()
        with _phase("closing components of %d records", len(blocks.members)):
            parts = [self.inner]
            for codes in blocks.batches(None, self.batch, self.ready.size):
                scored = self._score(codes[~among(codes, self.found.codes)])
                self._count(scored.where(~self._blocked(scored.codes)))
                parts.append(scored.above(NEGLIGIBLE))
            self.inner = Scored.joined(*parts)
        one, other = self.prior.first, self.prior.second
        again = self.touched[one] & (component[one] == component[other])
        self.prior = self.prior.where(~again)

    def _components_to_close(self) -> tuple[Ints, Blocks]:
        """The component of each record, and as blocks those of touched records that are small enough to be closed."""
        known = self._between_touched(Scored.joined(self.found, self.prior))
        cuts = [self.cut, *(round(c * MILLION) for c in RISING_CUTS if c > self.model.cut)]
        most = max(PAIRS_PER_RECORD * int(self.touched.sum()), LEAST_CLOSING_PAIRS)
        size, pairs = self.ready.size, 0
        component, blocks = self.group, groups_of(self.group[:0], self.group[:0])
        for cap in CLOSED_RECORDS:
            if pairs > most:
                logger.warning("closing would score %d pairs: components stop at %d records", pairs, cap)
            component = components(known.first, known.second, known.score, size, cuts, cap, self.bonds.together)
            shared = np.flatnonzero(self.touched & (np.bincount(component, minlength=size)[component] > 1))
            blocks = groups_of(component[shared], shared)
            pairs = int(blocks.later.sum(dtype=np.int64))
            if pairs <= most:
                break
        return component, blocks

    def _blocked(self, codes: Codes) -> Bools:
        """Which pairs were scored after blocking, though perhaps not kept."""
        first, second = ends(codes)
        found = np.zeros(len(codes), dtype=bool)
        for blocking, todo in self._seen:
            found |= (todo[first] | todo[second]) & blocking.any_finds(codes)
        return found

    def _between_touched(self, scored: Scored) -> Scored:
        return scored if self.touched.all() else scored.where(self.touched[scored.first] & self.touched[scored.second])

    def cluster(self) -> None:
        """Group the touched records."""
        scored = self._between_touched(Scored.joined(self.found, self.inner, self.prior))
        with _phase("clustering by %d pairs", len(scored)):
            size, together = self.ready.size, self.bonds.together
            reached = components(scored.first, scored.second, scored.score, size, [self.cut], size, together)
            inside = scored.where(reached[scored.first] == reached[scored.second])
            self.group = average_linkage(
                inside.first, inside.second, inside.score, size, self.cut, GROUP_CAP, together, self.bonds.apart
            )
        self._clustered = scored

    def confidence(self) -> pl.Series:
        """Per touched record, see `Resolution.links`."""
        size, group, scored = self.ready.size, self.group, self._clustered
        first, second = scored.first, scored.second
        within = group[first] == group[second]
        total = np.bincount(first[within], weights=scored.score[within], minlength=size)
        total += np.bincount(second[within], weights=scored.score[within], minlength=size)
        strongest = self.strongest.copy()
        for positions in (self.prior.first, self.prior.second):
            np.maximum.at(strongest, positions, self.prior.score)
        others = np.bincount(group, minlength=size)[group] - 1
        floor = round(NEGLIGIBLE * MILLION)
        alone = 1 - np.where(strongest < floor, 0, strongest) / MILLION
        among_others = total / np.maximum(others, 1) / MILLION
        return pl.Series(np.where(others > 0, among_others, alone)[self.touched]).round(6)

    def edges(self) -> pl.DataFrame:
        """record_a, record_b, score: what is known from `EDGE_FLOOR` on."""
        kept = Scored.joined(self.found, self.inner.above(EDGE_FLOOR), self.prior)
        ids = self.ready.record_ids
        return pl.DataFrame(
            {"record_a": ids.gather(kept.first), "record_b": ids.gather(kept.second), "score": kept.score / MILLION}
        )

    def yields(self) -> pl.DataFrame:
        """See `Resolution.blocking`."""
        pairs, matches, only = self.rules
        spoken = [" & ".join(f"{column} {key}" for column, key in rule) for rule in self.model.rules]
        return pl.DataFrame(
            {"rule": pl.Series(spoken, dtype=pl.String), "pairs": pairs, "matches": matches, "only": only}
        )

    def histogram(self) -> pl.DataFrame:
        """See `Resolution.scores`."""
        low = np.arange(BINS) / BINS
        return pl.DataFrame({"low": low.round(4), "high": (low + 1 / BINS).round(4), "pairs": self.bins})

    def counts(self) -> Mapping[str, int]:
        """See `Resolution.touched`."""
        return {
            "records": self.ready.size,
            "fresh": int(self.past.fresh.sum()),
            "removed": self.past.removed,
            "touched": int(self.touched.sum()),
            "pairs": int(self.bins.sum()),
        }


def _named(run: _Run, known: pl.DataFrame | None, name: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Ids of the touched records, and what happened to ids."""
    ids, touched = run.ready.record_ids, run.touched
    groups = pl.DataFrame({"record_id": ids, "group": run.group}).filter(pl.Series(touched))
    if known is None:
        return assign_ids(groups, None, name, run.ready.connection)
    # What was known of touched customers, and of those that lost all their records.
    standing = run.past.row[~touched & (run.past.row >= 0)]
    taken = known["customer_id"].gather(standing)
    concerned = known.filter(~pl.col("customer_id").is_in(taken.unique().implode()))
    return assign_ids(groups, concerned, name, run.ready.connection, taken)


def _links(run: _Run, ids: pl.DataFrame, known: pl.DataFrame | None, fingerprint: pl.Series) -> pl.DataFrame:
    """The rows of touched records made anew, all others as they are known."""
    new = ids.with_columns(confidence=run.confidence(), fingerprint=fingerprint.filter(pl.Series(run.touched)))
    if known is None or run.touched.all():
        return new
    kept = np.flatnonzero(~run.touched)
    rows = known[run.past.row[kept]]
    old = rows.select(
        "record_id",
        "customer_id",
        pl.col("confidence") if "confidence" in known.columns else pl.lit(None, pl.Float64).alias("confidence"),
        pl.col("fingerprint") if "fingerprint" in known.columns else fingerprint.gather(kept).alias("fingerprint"),
    )
    return pl.concat([old, new]).sort("record_id")


@contextmanager
def _phase(what: str, count: int) -> Generator[None]:
    """Log what was done and how long it took."""
    start = time.perf_counter()
    yield
    logger.info(what + " took %.1f s", count, time.perf_counter() - start)
