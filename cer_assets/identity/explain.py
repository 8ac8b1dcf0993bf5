"""Why two records score as they do, and where a customer would come apart; nothing is scored or linked here."""

from collections.abc import Sequence

import duckdb
import numpy as np
import polars as pl

from cer_assets.feeds.contracts import MUST_LINK
from cer_assets.identity.cluster import MILLION, Ints, connected, joins, renamed
from cer_assets.identity.compare import Comparison, levels_sql
from cer_assets.identity.learn import logistic
from cer_assets.identity.model import Model
from cer_assets.identity.prepare import Prepared, fill, prepared
from cer_assets.identity.resolve import EDGE_FLOOR

PRIOR = ("prior", "any two records that share a block key")
"""What the model's bias is called where each comparison has a name and a level."""

LONGEST_MASK = 24
"""Characters of a masked value; a longer one would tell by its length."""

LONGEST_SHORT_WORD = 3
"""Letters of a word of which nothing is shown."""

_HIDDEN = "\u2022"


def explain_pairs(
    records: pl.DataFrame,
    model: Model,
    pairs: pl.DataFrame,
    connection: duckdb.DuckDBPyConnection | None = None,
    mask: bool = False,
) -> pl.DataFrame:
    """What each comparison adds to the log-odds that two records are one person.

    The contributions of a pair add up to the log-odds that `resolve` finds when it scores the pair among these records;
    its scores are rounded to millionths, those of `pair_scores` are not.

    Args:
        records: all records that were resolved together, for a value's rarity is counted among them.
        model: whose comparisons and weights speak.
        pairs: `record_a`, `record_b`, in either order; a pair that stands twice is explained once.
        connection: whose memory limit, spill folder and threads to use.
        mask: also show both values, masked, for the eye of a steward.

    Returns:
        record_a < record_b, order (the prior is 0, then the comparisons as the model holds them), comparison, level
        (its label), weight (of the level), rarity (what it adds that the shared value is rarer than usual) and
        contribution (their sum); in natural log-odds, by pair and order. No personal value, unless masked: then
        value_a and value_b, null where the comparison speaks of several fields.

    Raises:
        ValueError: a pair names a record that is not among the records, or the same record twice.
    """
    with prepared(records, model.fields, connection, complete=False) as ready:
        wanted = _positions(ready, pairs)
        compared = _levels(ready, wanted)
    explained = pl.concat([_prior(compared, model), *_of_comparisons(compared, model)]).sort("first", "second", "order")
    ids = ready.record_ids
    named = explained.select(
        ids.gather(explained["first"]).alias("record_a"),
        ids.gather(explained["second"]).alias("record_b"),
        *("order", "comparison", "level", "weight", "rarity"),
        (pl.col("weight") + pl.col("rarity")).alias("contribution"),
    )
    return _with_masked_values(named, records, model) if mask else named


def pair_scores(explained: pl.DataFrame) -> pl.DataFrame:
    """The exact score of each explained pair.

    Args:
        explained: what `explain_pairs` returned.

    Returns:
        record_a, record_b, logit (the sum of the contributions), score (the probability it stands for), by pair.
    """
    logits = (
        explained.sort("record_a", "record_b", "order")
        .group_by("record_a", "record_b", maintain_order=True)
        .agg(logit=pl.col("contribution").sum())
    )
    return logits.with_columns(score=pl.Series(logistic(logits["logit"].to_numpy()), dtype=pl.Float64))


def _positions(ready: Prepared, pairs: pl.DataFrame) -> pl.DataFrame:
    """The pairs as positions, `first` < `second`, each once."""
    places = pl.DataFrame({"id": ready.record_ids}).with_row_index("place")
    found = pairs.join(places, left_on="record_a", right_on="id", how="left").join(
        places, left_on="record_b", right_on="id", how="left", suffix="_b"
    )
    unknown = found.filter(pl.col("place").is_null() | pl.col("place_b").is_null())
    if len(unknown):
        a, b = unknown.select("record_a", "record_b").row(0)
        raise ValueError(
            f"pairs: {len(unknown)} name records that are not among the {ready.size} records, the first is {a} and {b}"
        )
    if len(same := found.filter(pl.col("place") == pl.col("place_b"))):
        raise ValueError(f"pairs: {len(same)} compare a record with itself, the first is {same['record_a'][0]}")
    first, second = pl.min_horizontal("place", "place_b"), pl.max_horizontal("place", "place_b")
    return found.select(first=first.cast(pl.Int32), second=second.cast(pl.Int32)).unique().sort("first", "second")


def _levels(ready: Prepared, pairs: pl.DataFrame) -> pl.DataFrame:
    """`first`, `second`, a level per comparison and a rarity per field, as the scoring query reads them."""
    fill(ready, np.union1d(pairs["first"].to_numpy(), pairs["second"].to_numpy()))
    ready.connection.register("explained_pairs", pairs)
    frame = ready.connection.sql(levels_sql(ready.fields, "explained_pairs")).pl()
    ready.connection.unregister("explained_pairs")
    return frame


def _prior(compared: pl.DataFrame, model: Model) -> pl.DataFrame:
    level, weight = (pl.repeat(value, len(compared), eager=True) for value in (PRIOR[1], float(model.weights.bias)))
    return _part(compared, 0, PRIOR[0], level, weight)


def _of_comparisons(compared: pl.DataFrame, model: Model) -> list[pl.DataFrame]:
    parts: list[pl.DataFrame] = []
    rarity_told: set[int] = set()
    for number, (comparison, weights) in enumerate(zip(model.comparisons, model.weights.levels, strict=True)):
        level = compared[f"level{number}"]
        rarity = None
        if comparison.position is not None and comparison.position not in rarity_told:
            rarity_told.add(comparison.position)
            rarity = _rarity(compared, model, comparison.position)
        parts.append(
            _part(
                compared,
                number + 1,
                comparison.name,
                pl.Series(comparison.labels, dtype=pl.String).gather(level),
                pl.Series(np.asarray(weights)[level.to_numpy()], dtype=pl.Float64),
                rarity,
            )
        )
    return parts


def _rarity(compared: pl.DataFrame, model: Model, position: int) -> pl.Series:
    beyond_usual = compared[f"rarity{position}"].cast(pl.Float64) - model.uniqueness[position]
    return beyond_usual.fill_null(0.0) * float(model.weights.rarities[position])


def _part(
    compared: pl.DataFrame,
    order: int,
    comparison: str,
    level: pl.Series,
    weight: pl.Series,
    rarity: pl.Series | None = None,
) -> pl.DataFrame:
    return compared.select(
        "first",
        "second",
        order=pl.lit(order, pl.Int64),
        comparison=pl.lit(comparison),
        level=level,
        weight=weight,
        rarity=pl.lit(0.0) if rarity is None else rarity,
    )


def masked(value: pl.Expr) -> pl.Expr:
    """The shape of a text: first and last letter of each longer word, and none of its digits.

    `anna-maria, 12 Oak st` reads `a••a-m•••a, ## ••• ••`.
    """
    shape = value.str.replace_all(r"\d", "#")
    for letters in range(1, LONGEST_SHORT_WORD + 1):
        shape = shape.str.replace_all(rf"\b\p{{L}}{{{letters}}}\b", _HIDDEN * letters)
    shape = shape.str.replace_all(r"\B\p{L}\B", _HIDDEN)
    long = shape.str.len_chars() > LONGEST_MASK
    return pl.when(long).then(shape.str.head(LONGEST_MASK - 1) + "\u2026").otherwise(shape)


def _with_masked_values(explained: pl.DataFrame, records: pl.DataFrame, model: Model) -> pl.DataFrame:
    columns = [_column(comparison, model) for comparison in model.comparisons]
    of_field = {c.name: column for c, column in zip(model.comparisons, columns, strict=True) if column is not None}
    shown = pl.concat([explained["record_a"], explained["record_b"]]).unique().implode()
    used = sorted(set(of_field.values()))
    values = (
        records.filter(pl.col("record_id").is_in(shown))
        .select("record_id", *(masked(pl.col(c).cast(pl.String)).alias(c) for c in used))
        .unpivot(used, index="record_id", variable_name="column", value_name="value")
    )
    keyed = explained.with_columns(
        column=pl.col("comparison").replace_strict(of_field, default=None, return_dtype=pl.String)
    )
    for side in ("a", "b"):
        keyed = keyed.join(
            values.rename({"record_id": f"record_{side}", "value": f"value_{side}"}),
            on=[f"record_{side}", "column"],
            how="left",
            maintain_order="left",
        )
    return keyed.drop("column")


def _column(comparison: Comparison, model: Model) -> str | None:
    """The column that a comparison speaks of, null for one that speaks of several."""
    return None if comparison.position is None else model.fields[comparison.position].column


def explain_clusters(
    edges: pl.DataFrame,
    links: pl.DataFrame,
    model: Model,
    customer_ids: Sequence[str] | None = None,
    constraints: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Where each customer of several records hangs together least, and what cutting it there would do.

    The weakest link is the last join of average linkage within the customer: the two sides whose mean score, over all
    pairs across, is the least that holds the customer together. A pair that is not among the edges counts as 0, so that
    a mean may be short of the true one by up to `EDGE_FLOOR` times the share of such pairs.

    Args:
        edges: record_a, record_b, score, as in `Resolution.edges`.
        links: record_id, customer_id.
        model: whose cut decides whether the sides would join again.
        customer_ids: explain only these; all of several records if left out.
        constraints: record_a, record_b, answer, as `resolve` was given them. What a `must_link` puts together is never
            cut; a customer that is nothing else has no row.

    Returns:
        customer_id, records; smaller and larger (lists of the record ids of each side; of equal sizes the one with the
        smaller first id is `larger`); mean (score across, 0 to 1); rejoins (the true mean may reach the cut: without a
        `cannot_link` the next run puts the sides together again; false where another model joined them); record_a,
        record_b, strongest (the pair across that scores best: whose answer decides; null where no pair across is among
        the edges); ordered by mean, then customer_id: the most doubtful customer first.
    """
    members = _members(links, customer_ids)
    inside = _inside(edges, members)
    whole, side = _sides(members, inside, _bound(members, constraints))
    members = members.with_columns(side=side).filter(~whole)
    total = pl.col("smaller").list.len().cast(pl.Int64) * pl.col("larger").list.len().cast(pl.Int64)
    unscored = total - pl.col("scored")
    return (
        _split(members)
        .join(_across(inside, side), on="customer_id", how="left")
        .with_columns(pl.col("sum", "scored").fill_null(0))
        .with_columns(
            mean=pl.col("sum") / total / MILLION,
            rejoins=(pl.col("sum") / MILLION + unscored * EDGE_FLOOR) / total >= model.cut,
        )
        .select(
            *("customer_id", "records", "smaller", "larger", "mean", "rejoins", "record_a", "record_b", "strongest")
        )
        .sort("mean", "customer_id")
    )


def _split(members: pl.DataFrame) -> pl.DataFrame:
    """The two sides of each customer as lists: customer_id, records, smaller, larger."""
    return (
        members.group_by("customer_id", "side")
        .agg(pl.col("record_id").sort(), pl.len())
        .with_columns(first=pl.col("record_id").list.first())
        .sort("len", "first", descending=[False, True])
        .group_by("customer_id", maintain_order=True)
        .agg(
            smaller=pl.col("record_id").first(),
            larger=pl.col("record_id").last(),
            records=pl.col("len").sum().cast(pl.Int64),
        )
    )


def _members(links: pl.DataFrame, customer_ids: Sequence[str] | None) -> pl.DataFrame:
    """The records of customers of several records, by record_id: place, record_id, customer_id, size."""
    chosen = links.select("record_id", "customer_id")
    if customer_ids is not None:
        chosen = chosen.filter(pl.col("customer_id").is_in(list(customer_ids)))
    return (
        chosen.with_columns(size=pl.len().over("customer_id").cast(pl.Int64))
        .filter(pl.col("size") > 1)
        .sort("record_id")
        .with_row_index("place")
        .with_columns(pl.col("place").cast(pl.Int64))
    )


def _inside(edges: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    """The edges inside customers: customer_id, record_a, record_b, u, v (their places), score, sum (in millionths)."""
    place = members.select("place", "record_id", "customer_id")
    return (
        edges.select("record_a", "record_b", "score")
        .join(place.rename({"place": "u"}), left_on="record_a", right_on="record_id")
        .join(place.rename({"place": "v"}), left_on=["record_b", "customer_id"], right_on=["record_id", "customer_id"])
        # Whole numbers, so that their sums are the same in every order.
        .with_columns(sum=(pl.col("score") * MILLION).round().cast(pl.Int64))
    )


def _across(inside: pl.DataFrame, side: pl.Series) -> pl.DataFrame:
    """What ties the sides of each customer: scored (edges across), sum (millionths), and the best edge across."""
    return (
        inside.filter(side.gather(inside["u"]) != side.gather(inside["v"]))
        .sort(["score", "record_a", "record_b"], descending=[True, False, False])
        .group_by("customer_id", maintain_order=True)
        .agg(
            pl.col("record_a", "record_b").first(),
            strongest=pl.col("score").first(),
            scored=pl.len().cast(pl.Int64),
            sum=pl.col("sum").sum(),
        )
    )


def _bound(members: pl.DataFrame, constraints: pl.DataFrame | None) -> Ints:
    """Per member the smallest place among those that must_links put together with it."""
    if constraints is None or members.is_empty():
        return np.arange(len(members), dtype=np.int64)
    must = constraints.filter(pl.col("answer") == MUST_LINK).select("record_a", "record_b", score=pl.lit(1.0))
    ties = _inside(must, members)
    return connected(ties["u"].to_numpy(), ties["v"].to_numpy(), len(members))


def _sides(members: pl.DataFrame, inside: pl.DataFrame, bound: Ints) -> tuple[pl.Series, pl.Series]:
    """Where the last join of average linkage within each customer was.

    Returns:
        per member whether its customer was one group from the start, and whether it is on the first side of the join.
    """
    size = members["size"].to_numpy()
    label, records = bound, np.bincount(bound, minlength=len(members))
    whole = records[label] == size
    side = np.zeros(len(members), dtype=bool)
    u, v, score = (inside[c].to_numpy() for c in ("u", "v", "sum"))
    for into, gone, _ in joins(u, v, score, len(members), cut=0, cap=len(members), together=bound):
        records[into] += records[gone]
        side |= np.isin(label, into[records[into] == size[into]])
        label = renamed(label, into, gone)
    # What was put together without any score parts at no cost: its first group from the others.
    first = pl.DataFrame({"customer": members["customer_id"], "label": label}).select(
        first=pl.col("label").min().over("customer")
    )["first"]
    side |= (records[label] != size) & (label == first.to_numpy())
    return pl.Series(whole, dtype=pl.Boolean), pl.Series(side, dtype=pl.Boolean)
