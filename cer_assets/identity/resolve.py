"""Records to persons with a trained model: block, compare, score, close, cluster, name; nothing is learned here."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import polars as pl

from cer_assets.identity.block import create_keys, create_pairs
from cer_assets.identity.cluster import MILLION, Ints, average_linkage, components
from cer_assets.identity.compare import levels_sql
from cer_assets.identity.ids import assign_ids, run_of
from cer_assets.identity.model import Model
from cer_assets.identity.prepare import Prepared, prepared

logger = logging.getLogger(__name__)

GROUP_CAP = 300
"""Most records of one person, and most records of a component whose unseen pairs are all scored."""

EDGE_FLOOR = 0.05
"""Pairs that score less are counted in the histogram but not kept as edges."""

RISING_CUTS = (0.8, 0.95, 0.99, 0.999)
"""Where a component is over the cap, it is taken apart at these scores before its unseen pairs are scored."""

NEGLIGIBLE = 1_000
"""Millionths; a pair that scores less counts as 0 in every mean."""

BINS = 50
"""Bins of the score histogram."""


@dataclass(frozen=True)
class Scored:
    """Pairs of positions and their scores in millionths, ordered by pair."""

    first: Ints
    second: Ints
    score: Ints


@dataclass(frozen=True)
class Resolution:
    """What one run of `resolve` found."""

    links: pl.DataFrame
    """record_id, customer_id, confidence; one row per record, by record_id.

    The confidence of a record among others is its mean pair score with the rest of its group; that of a record alone is
    1 minus its strongest score with any other record: how sure it is that nobody else is this person.
    """
    edges: pl.DataFrame
    """record_a < record_b, score: every scored pair from `EDGE_FLOOR` on, ordered."""
    history: pl.DataFrame
    """run, customer_id, event, from, to; see `ids.assign_ids`."""
    blocking: pl.DataFrame
    """rule, pairs (that it found), matches (of these at least the cut), only (matches that no other rule found)."""
    scores: pl.DataFrame
    """low, high, pairs: histogram of all scored pairs."""


def resolve(
    records: pl.DataFrame,
    model: Model,
    known: pl.DataFrame | None = None,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> pl.DataFrame:
    """Link records to persons; `resolve_all` says how and returns more.

    Returns:
        links: record_id, customer_id, confidence.
    """
    return resolve_all(records, model, known, connection).links


def resolve_all(
    records: pl.DataFrame,
    model: Model,
    known: pl.DataFrame | None = None,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> Resolution:
    """Link records to persons.

    The same records in any order, model and known links give the same rows, whatever the number of threads.

    Args:
        records: `record_id` and the model's columns.
        model: what `train` returned.
        known: previous links (record_id, customer_id), whose ids are kept where their records stay together.
        connection: whose memory limit, spill folder and threads to use.
    """
    with prepared(records, model.fields, connection) as ready:
        keys, rules = model.block_rules()
        create_keys(ready, keys)
        create_pairs(ready, rules)
        _create_scored(ready, model)
        _score(ready, model, "candidate_pairs")
        _close(ready, model)
        scored = _scored_from(ready, NEGLIGIBLE)
        group = _groups(ready, model, scored)
        groups = pl.DataFrame({"record_id": ready.record_ids, "group": group})
        run = run_of(records, [f.column for f in model.fields], known)
        ids, history = assign_ids(groups, known, run, ready.connection)
        links = ids.with_columns(confidence=_confidence(group, scored))
        logger.info("%d records are %d persons", len(links), links["customer_id"].n_unique())
        return Resolution(links, _edges(ready, scored), history, _yield_of_rules(ready, model), _bins(ready))


def _create_scored(ready: Prepared, model: Model) -> None:
    cursor = ready.connection
    cursor.execute("create or replace temp table scored(first integer, second integer, score integer)")
    # One list of weights per comparison; they reach the query as data, not as text.
    weights = pl.DataFrame({f"w{c}": [w.tolist()] for c, w in enumerate(model.weights.levels)})
    cursor.register("weights_frame", weights)
    cursor.execute("create or replace temp table weights as from weights_frame")
    cursor.unregister("weights_frame")


def _score(ready: Prepared, model: Model, pairs: str) -> None:
    """Add every pair of a table to `scored`, its score in whole millionths.

    The query streams over the pairs, so that memory is bounded by the records and DuckDB's spill settings.
    """
    terms = ["$bias"]
    terms += [f"list_extract(w{c}, level{c} + 1)" for c in range(len(model.comparisons))]
    terms += [
        f"list_extract($rarities, {i + 1}) * coalesce(rarity{i} - list_extract($uniqueness, {i + 1}), 0)"
        for i in range(len(model.fields))
    ]
    query = f"""
        with compared as ({levels_sql(model.fields, pairs)})
        select first, second, round($million / (1 + exp(-({" + ".join(terms)}))))::integer
        from compared, weights
    """
    ready.connection.execute(
        f"insert into scored {query}",
        {
            "million": MILLION,
            "bias": model.weights.bias,
            "rarities": model.weights.rarities.tolist(),
            "uniqueness": list(model.uniqueness),
        },
    )


def _close(ready: Prepared, model: Model) -> None:
    """Score the pairs inside each component that blocking did not find: two records linked by a third are compared."""
    cut = round(model.cut * MILLION)
    found = _scored_from(ready, cut)
    cuts = [cut, *(round(c * MILLION) for c in RISING_CUTS if c > model.cut)]
    component = components(found.first, found.second, found.score, ready.size, cuts, GROUP_CAP)
    members = pl.DataFrame({"position": np.arange(ready.size, dtype=np.int32), "component": component}).filter(
        pl.len().over("component") > 2
    )
    cursor = ready.connection
    cursor.register("members", members)
    cursor.execute(
        """
        create or replace temp table unseen_pairs as
        select a.position as first, b.position as second
        from members as a
        join members as b on a.component = b.component and a.position < b.position
        anti join scored on scored.first = a.position and scored.second = b.position
        """
    )
    cursor.unregister("members")
    _score(ready, model, "unseen_pairs")
    cursor.execute("drop table unseen_pairs")


def _scored_from(ready: Prepared, floor: int) -> Scored:
    """The pairs from a score on."""
    ready.connection.execute("set variable floor = $floor", {"floor": floor})
    frame = ready.connection.sql(
        """
        select first::bigint, second::bigint, score::bigint from scored
        where score >= getvariable('floor') order by all
        """
    ).pl()
    return Scored(*(column.to_numpy() for column in frame))


def _groups(ready: Prepared, model: Model, scored: Scored) -> Ints:
    """Per record the smallest position in its group."""
    cut = round(model.cut * MILLION)
    reached = components(scored.first, scored.second, scored.score, ready.size, [cut], ready.size)
    inside = reached[scored.first] == reached[scored.second]
    return average_linkage(
        scored.first[inside], scored.second[inside], scored.score[inside], ready.size, cut, GROUP_CAP
    )


def _confidence(group: Ints, scored: Scored) -> pl.Series:
    """Per record, by position; see `Resolution.links`."""
    size = len(group)
    one = np.concatenate([scored.first, scored.second])
    other = np.concatenate([scored.second, scored.first])
    score = np.concatenate([scored.score, scored.score])
    within = group[one] == group[other]
    total = np.zeros(size, dtype=np.int64)
    np.add.at(total, one[within], score[within])
    strongest = np.zeros(size, dtype=np.int64)
    np.maximum.at(strongest, one[~within], score[~within])
    others = np.bincount(group, minlength=size)[group] - 1
    among = total / np.maximum(others, 1) / MILLION
    alone = 1 - strongest / MILLION
    return pl.Series(np.where(others > 0, among, alone)).round(6)


def _edges(ready: Prepared, scored: Scored) -> pl.DataFrame:
    kept = scored.score >= round(EDGE_FLOOR * MILLION)
    ids = ready.record_ids
    return pl.DataFrame(
        {
            "record_a": ids.gather(scored.first[kept]),
            "record_b": ids.gather(scored.second[kept]),
            "score": scored.score[kept] / MILLION,
        }
    )


def _yield_of_rules(ready: Prepared, model: Model) -> pl.DataFrame:
    cut = round(model.cut * MILLION)
    counted = ready.connection.execute(
        """
        with found as (
            select rule, rules, score from candidate_pairs
            join scored using (first, second), range($rules) as numbers(rule)
            where rules & (1::ubigint << rule) != 0
        )
        select
            rule, count(*), count(*) filter (where score >= $cut),
            count(*) filter (where score >= $cut and bit_count(rules) = 1)
        from found group by rule
        """,
        {"rules": len(model.rules), "cut": cut},
    ).fetchall()
    by_rule = {rule: counts for rule, *counts in counted}
    rows = [(_spoken(rule), *by_rule.get(number, (0, 0, 0))) for number, rule in enumerate(model.rules)]
    schema = {"rule": pl.String, "pairs": pl.Int64, "matches": pl.Int64, "only": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _spoken(rule: Sequence[tuple[str, str]]) -> str:
    return " & ".join(f"{column} {key}" for column, key in rule)


def _bins(ready: Prepared) -> pl.DataFrame:
    counted = ready.connection.execute(
        "select least(score * $bins // $million, $bins - 1)::integer as bin, count(*) from scored group by all",
        {"bins": BINS, "million": MILLION},
    ).fetchall()
    counts = dict(counted)
    low = np.arange(BINS) / BINS
    return pl.DataFrame(
        {
            "low": low.round(4),
            "high": (low + 1 / BINS).round(4),
            "pairs": [counts.get(number, 0) for number in range(BINS)],
        },
        schema={"low": pl.Float64, "high": pl.Float64, "pairs": pl.Int64},
    )
