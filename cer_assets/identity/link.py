"""Two sources, one to one: which record of the one is which record of the other; nothing is learned or clustered here.

Of all ways to pair records off, the one whose log-odds above the cut add up to the most is the most probable one (Jaro,
"Advances in record-linkage methodology", 1989): a record may have to leave its best partner to another that has no
other.
"""

import logging
import math

import duckdb
import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from cer_assets.feeds.contracts import MUST_LINK
from cer_assets.identity.cluster import MILLION, Ints, connected
from cer_assets.identity.compare import levels_sql
from cer_assets.identity.learn import logistic
from cer_assets.identity.model import Model
from cer_assets.identity.pairs import PAIRS_PER_BATCH, Codes, coded, ends, find_blocks, hash_keys
from cer_assets.identity.prepare import Prepared, prepared
from cer_assets.identity.score import Scorer, figures, log_odds_sql

logger = logging.getLogger(__name__)

ASSIGNED_CAP = 2_000
"""Most contested records of a component that are assigned at once; of a larger one the stronger pairs go first."""

ROWS_AT_ONCE = 200
"""About how many records of one side small components are put together to be assigned."""

MOST_ROUNDS = 20
"""Pairs that are settled only after others are, are looked for so many times before the rest is assigned."""

EXACT = 1 << 53
"""Whole numbers up to here are exact in floating point, which the assignment is solved in."""

ENDS = ("one", "other")

Bools = npt.NDArray[np.bool_]


def link(
    records: pl.DataFrame,
    model: Model,
    source: str,
    connection: duckdb.DuckDBPyConnection | None = None,
    constraints: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Link the records of two sources, each record to at most one of the other source.

    The same records in any order, model and constraints give the same rows, whatever the number of threads; records
    that share nothing with others change nothing for these.

    Args:
        records: `record_id`, the model's columns and the column `source`.
        model: what `train` returned; pairs under its cut are not linked.
        source: a column that holds one of two values on every row.
        connection: whose memory limit, spill folder and threads to use.
        constraints: record_a, record_b, answer (must_link or cannot_link, in either order). A must_link is linked
            whatever its score, a cannot_link never. Pairs with a record that is not here are passed over.

    Returns:
        record_a (of the source that sorts first), record_b (of the other), score (the chance that the two are one
        person, rounded to millionths); by record_a.

    Raises:
        ValueError: the column is missing, or does not hold exactly two values; or a must_link joins two records of one
            source, or one record to two others.
    """
    sides = _sides(records, source)
    with prepared(records, model.fields, connection) as ready:
        bound = _bound(ready, sides, constraints)
        side = sides["side"].to_numpy()
        over = np.setdiff1d(_over_the_cut(ready, model, side), _codes(bound))
        found = _with_gains(ready, model, side, over, _codes(bound.filter("must")))
    must = found["must"].to_numpy()
    one, other, gain = (found[column].to_numpy() for column in (*ENDS, "gain"))
    free = ~np.isin(one, one[must]) & ~np.isin(other, other[must])
    chosen = must.copy()
    chosen[free] = pair_off(one[free], other[free], gain[free])
    linked = found.filter(chosen)
    logger.info("%d of %d pairs over the cut are linked", len(linked), len(found))
    ids = ready.record_ids
    return pl.DataFrame(
        {
            "record_a": ids.gather(linked["one"]),
            "record_b": ids.gather(linked["other"]),
            "score": logistic(linked["log_odds"].to_numpy()).round(6),
        }
    ).sort("record_a")


def pair_off(one: Ints, other: Ints, gain: Ints) -> Bools:
    """Choose pairs so that nobody stands in two of them and their gains add up to the most.

    A pair that brings more than the next best of both its ends together is in every best choice. What stays contested
    is assigned exactly, component by component, unless a component has more than `ASSIGNED_CAP` records: there the
    stronger half of its pairs goes first, which may not add up to the most. Of equal totals the one that keeps smaller
    numbers together is chosen.

    Args:
        one: a number of the first side's record of each pair; each pair once.
        other: a number of the second side's record; a side's numbers are its own.
        gain: what the pair brings, a positive whole number.

    Returns:
        per pair whether it is chosen, whatever the order of the pairs.
    """
    pairs = pl.DataFrame({"one": one, "other": other, "gain": gain}).with_row_index("row").sort(*ENDS)
    found = [pairs["row"].clear()]
    put_off = 0
    while len(pairs):
        settled, contested = _settle(pairs)
        assignable = _assignable(contested)
        assigned = _assigned(assignable)
        found += [settled["row"], assigned["row"]]
        put_off += len(contested) - len(assignable)
        pairs = _without_ends_of(contested, assigned)
    if put_off:
        logger.warning("some records are in components too large to assign at once: %d pairs were put off", put_off)
    chosen = np.zeros(len(gain), dtype=bool)
    chosen[pl.concat(found).to_numpy()] = True
    return chosen


def _settle(pairs: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Pairs that are in every best choice, and those that then still have both ends free."""
    rounds = [pairs.clear()]
    for _ in range(MOST_ROUNDS):
        rivals = (_best_rival(end) for end in ("one", "other"))
        found = pairs.filter(pl.col("gain") > pl.sum_horizontal(rivals))
        if found.is_empty():
            break
        rounds.append(found)
        pairs = _without_ends_of(pairs, found)
    return pl.concat(rounds), pairs


def _best_rival(end: str) -> pl.Expr:
    """The most that a pair's end gains from any other pair; at least the pair's own gain where it is not the best."""
    return pl.col("gain").top_k(2).sum().over(end) - pl.col("gain").max().over(end)


def _without_ends_of(pairs: pl.DataFrame, chosen: pl.DataFrame) -> pl.DataFrame:
    return pairs.join(chosen, on="one", how="anti", maintain_order="left").join(
        chosen, on="other", how="anti", maintain_order="left"
    )


def _with_components(pairs: pl.DataFrame) -> pl.DataFrame:
    """Add `component`, its number of `records`, and where each end stands in it by number: `place_one` and so on."""
    _, one = np.unique(pairs["one"].to_numpy(), return_inverse=True)
    ones = one.max(initial=-1) + 1
    _, other = np.unique(pairs["other"].to_numpy(), return_inverse=True)
    size = ones + other.max(initial=-1) + 1
    label = connected(one, ones + other, size)
    component = label[one]
    records = np.bincount(label, minlength=1)[component]
    return pairs.with_columns(component=component, records=records).with_columns(
        pl.col(end).rank("dense").cast(pl.Int64).over("component").alias(f"place_{end}") for end in ENDS
    )


def _assignable(pairs: pl.DataFrame) -> pl.DataFrame:
    """The pairs with their components, of one too large the stronger half until none is."""
    pairs = _with_components(pairs)
    while (large := pairs["records"] > ASSIGNED_CAP).any():
        rank = pl.col("gain").rank("ordinal", descending=True).over("component")
        stronger = pairs.filter(~large | (rank <= pl.len().over("component") // 2))
        pairs = _with_components(stronger)
    return pairs


def _assigned(pairs: pl.DataFrame) -> pl.DataFrame:
    """The pairs of the best assignment of each component."""
    ones, others = (pl.col(f"place_{end}").max().over("component") for end in ENDS)
    # What keeps small numbers together breaks ties: less in all than one unit of gain, as long as that stays exact.
    together = (ones + 1 - pl.col("place_one")) * (others + 1 - pl.col("place_other"))
    room = 1 + ones * others * pl.min_horizontal(ones, others)
    exact = (pl.col("gain").cast(pl.Float64).sum().over("component") * room) < EXACT
    valued = pairs.with_columns(value=pl.when(exact).then(pl.col("gain") * room + together).otherwise("gain"))
    # The solver looks at every column for each row, so that it is given not too many components at once.
    batch = pl.col("one").is_first_distinct().cum_sum() // ROWS_AT_ONCE
    batches = (
        valued.sort("component", *ENDS).with_columns(batch=batch).with_columns(pl.col("batch").min().over("component"))
    )
    return pl.concat([pairs.clear(), *(_solved(batch) for batch in batches.partition_by("batch"))], how="diagonal")


def _solved(pairs: pl.DataFrame) -> pl.DataFrame:
    """The pairs of the assignment with the largest sum of values."""
    names, one = np.unique(pairs["one"].to_numpy(), return_inverse=True)
    _, other = np.unique(pairs["other"].to_numpy(), return_inverse=True)
    # A row may go without: to a column that only it has, worth nothing. Costs must be over 0 to count as there.
    rows, columns = np.arange(len(names)), other.max() + 1
    cost = pairs.select(pl.col("value").max().over("component") + 1 - pl.col("value"))["value"].to_numpy()
    alone = (cost + pairs["value"].to_numpy())[np.unique(one, return_index=True)[1]]
    matrix = csr_array(
        (np.concatenate([cost, alone]).astype(np.float64), (np.r_[one, rows], np.r_[other, columns + rows])),
        shape=(len(rows), columns + len(rows)),
    )
    _, column = min_weight_full_bipartite_matching(matrix)
    return pairs.filter(column[one] == other)


def _sides(records: pl.DataFrame, source: str) -> pl.DataFrame:
    """`position` of each record and `side`: 0 where its source sorts first, else 1."""
    if source not in records.columns:
        raise ValueError(f"records: column {source!r}, which names the source, is missing; have {records.columns}")
    sources = records[source].unique().sort()
    if len(sources) != 2 or sources.null_count():
        raise ValueError(
            f"records: column {source!r} has {len(sources) - bool(sources.null_count())} different values and "
            f"{records[source].null_count()} nulls; to link one to one it must name one of two sources on every row"
        )
    return records.sort("record_id").select(
        pl.int_range(pl.len(), dtype=pl.Int32).alias("position"),
        (pl.col(source) == sources[1]).cast(pl.Int8).alias("side"),
    )


def _bound(ready: Prepared, sides: pl.DataFrame, constraints: pl.DataFrame | None) -> pl.DataFrame:
    """The constraints between the sources: `first` < `second`, and whether they `must` link."""
    schema = {"first": pl.Int32, "second": pl.Int32, "must": pl.Boolean}
    if constraints is None or constraints.is_empty():
        return pl.DataFrame(schema=schema)
    places = sides.with_columns(id=ready.record_ids)
    found = (
        constraints.join(places, left_on="record_a", right_on="id")
        .join(places, left_on="record_b", right_on="id", suffix="_b")
        .with_columns(must=pl.col("answer") == MUST_LINK, same=pl.col("side") == pl.col("side_b"))
        .sort("record_a", "record_b")
    )
    _refuse(found.filter("must", "same"), "are of one source")
    pairs = found.filter(~pl.col("same")).select(
        pl.min_horizontal("position", "position_b").alias("first"),
        pl.max_horizontal("position", "position_b").alias("second"),
        "must",
        *("record_a", "record_b"),
    )
    pairs = pairs.unique(["first", "second", "must"], maintain_order=True)
    ends = pairs.filter("must").unpivot(["first", "second"], index=["record_a", "record_b"], value_name="end")
    _refuse(ends.filter(pl.col("end").is_duplicated()), "share a record with another such pair")
    _refuse(pairs.filter(pl.struct("first", "second").is_duplicated()), "also must not")
    return pairs.select(*schema)


def _refuse(contradictions: pl.DataFrame, why: str) -> None:
    if len(contradictions):
        a, b = contradictions.select("record_a", "record_b").row(0)
        raise ValueError(f"constraints: {a} and {b} must link one to one, but {why}; take one of the answers back")


def _codes(pairs: pl.DataFrame) -> Codes:
    return coded(pairs["first"].to_numpy(), pairs["second"].to_numpy())


def _over_the_cut(ready: Prepared, model: Model, side: npt.NDArray[np.int8]) -> Codes:
    """The pairs of different sources that share a block and score at least the cut."""
    keys, rules = model.block_rules()
    blocking = find_blocks(hash_keys(ready, keys), rules)
    scorer = Scorer(ready, model)
    found = [np.empty(0, dtype=np.uint64)]
    for codes in blocking.blocks.batches(None, PAIRS_PER_BATCH, ready.size):
        first, second = ends(codes)
        found.append(scorer.score(codes[side[first] != side[second]]).above(model.cut).codes)
    return np.concatenate(found)


def _with_gains(ready: Prepared, model: Model, side: npt.NDArray[np.int8], over: Codes, must: Codes) -> pl.DataFrame:
    """Pairs as `one`, `other`, `must`, `log_odds` and `gain` (of log-odds over the cut, in millionths); by their ends.

    Log-odds and not scores: near 1 scores are all the same, where the better of two good partners is to be told.
    """
    first, second = ends(np.concatenate([over, must]))
    turned = side[first] > side[second]
    pairs = pl.DataFrame({"first": first, "second": second, "must": np.arange(len(first)) >= len(over)})
    pairs = pairs.with_columns(one=np.where(turned, second, first), other=np.where(turned, first, second))
    ready.connection.register("chosen_pairs", pairs)
    ready.connection.execute(
        f"""
        create or replace temp table pairs_with_gains as
        with compared as ({levels_sql(model.fields, "chosen_pairs")}),
        summed as (select first, second, {log_odds_sql(model)} as log_odds from compared)
        select
            one::bigint as one, other::bigint as other, must, log_odds,
            greatest(round($million * (log_odds - $floor)), 1)::bigint as gain
        from summed
        join chosen_pairs using (first, second)
        """,
        {
            **figures(model),
            "floor": math.log(model.cut) - math.log1p(-model.cut),
            "million": MILLION,
        },
    )
    ready.connection.unregister("chosen_pairs")
    return ready.connection.sql("select * from pairs_with_gains order by one, other").pl()
