"""Which pairs are worth a person's answer, the most informative first; nothing is learned or shown here.

What a question is worth is the value of perfect information (Howard, "Information Value Theory", 1966; for questions
about records: Whang, Lofgren and Garcia-Molina, "Question Selection for Crowd Entity Resolution", 2013): the chance
that what is decided now is wrong, times what the error costs, times the records that would change their customer.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree

from cer_assets.feeds.contracts import AUDIT, DISTINCT, MATCH, REPEAT, UNCERTAIN
from cer_assets.identity.cluster import MILLION, Floats, Ints, connected
from cer_assets.identity.labels import BINDING, RULE, effective, standing

QUESTIONS = pl.Schema(
    {
        "rank": pl.Int64,
        "record_a": pl.String,
        "record_b": pl.String,
        "score": pl.Float64,
        "drawn": pl.String,
        "why": pl.String,
        "information": pl.Float64,
        "weight": pl.Float64,
    }
)
"""The queue; `record_a` and `record_b` have the type of the links' `record_id`."""

SURE = (MATCH, DISTINCT)

QUESTIONS_PER_CUSTOMER = 2
"""A queue that cannot be filled with one question a customer takes a second one, no more."""

LEAST_DRAW = 0.1
"""A pair that the model is sure of is drawn for the audit a fifth as often as one it knows nothing about, not less."""

CANDIDATES = 100
"""So many candidates per question are looked at for a queue without ten questions about one customer."""


class HasCut(Protocol):
    """A model, as far as a question's worth depends on it."""

    @property
    def cut(self) -> float:
        """Groups of records are joined while their mean pair score is at least this."""
        ...


def questions(
    edges: pl.DataFrame,
    links: pl.DataFrame,
    labels: pl.DataFrame,
    model: HasCut,
    size: int = 50,
    seed: int = 0,
    audit: float = 0.2,
    repeats: float = 0.1,
) -> pl.DataFrame:
    """The queue of pairs to ask a person about, in the order to ask them.

    Most are decisions by what an answer is worth: the strongest pair between two customers, which would join them, or
    the weakest link of a customer, which would cut it; at most one or two a customer. A random share (`audit`) is drawn
    from all scored pairs with a known chance, so that shares of all of them can be estimated without bias. A share
    (`repeats`) was answered before and is asked again unannounced. Other than those, no pair is asked that a person
    has answered, be it with unsure; answers of rules do not count. The same rows in any order give the same queue.

    Args:
        edges: record_a, record_b, score: the scored pairs.
        links: record_id, customer_id.
        labels: record_a, record_b, answer, and if known by, at, drawn: the answers so far.
        model: whose cut made the links.
        size: most questions.
        seed: of the random shares.
        audit: share of the questions that is random.
        repeats: share of the questions that is asked again.

    Returns:
        rank (from 1, the order to ask in), record_a < record_b, score (null where a repeated pair is no scored one),
        drawn (uncertain, audit or repeat), why (in words), information (records under a wrong customer that the answer
        is expected to set right, at the average cost of an error), weight (how many scored pairs an audited pair
        stands for; else null).
    """
    board = Board.of(edges, links, labels)
    rng = np.random.default_rng(seed)
    random = _audit(board, model.cut, round(audit * size), rng)
    again = _repeats(board, labels, round(repeats * size), rng)
    worth = (
        decisions(board, model.cut).filter("open", pl.col("information") > 0).join(random, on=["a", "b"], how="anti")
    )
    best = _one_per_customer(worth, size - len(random) - len(again))
    ids = board.members.select("position", "record_id")
    return (
        pl.concat([_spread(best), _spread(random), _spread(again)], how="diagonal")
        .sort("place", "drawn", maintain_order=True)
        .join(ids.rename({"record_id": "record_a"}), left_on="a", right_on="position", maintain_order="left")
        .join(ids.rename({"record_id": "record_b"}), left_on="b", right_on="position", maintain_order="left")
        .with_columns(
            score=pl.col("score") / MILLION,
            rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
            information=pl.col("information").round(6),
            weight=pl.col("weight").round(6),
        )
        .select(QUESTIONS.names())
    )


@dataclass(frozen=True)
class Board:
    """Records by position and scored pairs by the positions of their records, with what people said about them."""

    members: pl.DataFrame
    """position, record_id, customer (a number), size (records of the customer), by position."""
    pairs: pl.DataFrame
    """a < b (positions), u, v (their customers), score and held (what answers make of it) in millionths, open (no
    person has answered), n_u, n_v (records of the customers); by a, b."""
    answers: pl.DataFrame
    """a, b, said (match or distinct; null for unsure): pairs answered by people; by a, b."""

    @classmethod
    def of(cls, edges: pl.DataFrame, links: pl.DataFrame, labels: pl.DataFrame) -> "Board":
        """Put the three together; pairs of records that are linked nowhere are left out."""
        members = (
            links.select("record_id", "customer_id")
            .sort("record_id")
            .select(
                "record_id",
                position=pl.int_range(pl.len(), dtype=pl.Int64),
                customer=pl.col("customer_id").rank("dense").cast(pl.Int64) - 1,
                size=pl.len().over("customer_id").cast(pl.Int64),
            )
        )
        answers = on_positions(said_by_people(labels), members).select("a", "b", "said")
        said = pl.col("said")
        pairs = (
            on_positions(edges.select("record_a", "record_b", "score"), members)
            .with_columns(score=(pl.col("score") * MILLION).round().cast(pl.Int64))
            .join(answers.with_columns(open=pl.lit(value=False)), on=["a", "b"], how="left")
            .with_columns(
                pl.col("open").fill_null(value=True),
                held=pl.when(said == MATCH).then(MILLION).when(said == DISTINCT).then(0).otherwise("score"),
            )
            .drop("said")
            .sort("a", "b")
        )
        return cls(members, pairs, answers.sort("a", "b"))


def on_positions(pairs: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    """Pairs as positions a < b, with their customers u, v and these customers' sizes; unknown ones left out."""
    one = members.rename({"position": "a", "customer": "u", "size": "n_u"})
    other = members.rename({"position": "b", "customer": "v", "size": "n_v"})
    found = pairs.join(one, left_on="record_a", right_on="record_id").join(
        other, left_on="record_b", right_on="record_id"
    )
    # Pairs come in order of their ids, as positions do; this holds whoever wrote them.
    turned = pl.col("a") > pl.col("b")
    swaps = [("a", "b"), ("u", "v"), ("n_u", "n_v")]
    return found.drop("record_a", "record_b").with_columns(
        *(pl.when(turned).then(right).otherwise(left).alias(left) for left, right in swaps),
        *(pl.when(turned).then(left).otherwise(right).alias(right) for left, right in swaps),
    )


def said_by_people(labels: pl.DataFrame) -> pl.DataFrame:
    """What people's labels come to (`labels.effective`); what rules said is left out.

    Returns:
        record_a, record_b, said (match or distinct; null for unsure), drawn, weight; by pair.
    """
    sure = pl.col("answer").is_in(SURE)
    return (
        effective(labels)
        .filter(~pl.col("by").str.starts_with(RULE))
        .select("record_a", "record_b", "drawn", "weight", said=pl.when(sure).then("answer"))
    )


def decisions(board: Board, cut: float) -> pl.DataFrame:
    """What is decided now, and what an answer about it is worth.

    A decision is about two sets of records: two customers that are apart, or the two parts of a customer on either side
    of its weakest link. The chance that they are one person is the mean score between them, which is also what
    clustering goes by; a pair that was not scored counts as 0, and one that a person answered as the answer says.

    Returns:
        a, b (the strongest pair between the two sets, open ones first), u, v (customers), n_u, n_v (records in
        the sets), score, open, linked, wrong (the chance that the decision is) and information, the highest first.
    """
    found = pl.concat([_between_customers(board), _weakest_links(board)], how="diagonal_relaxed")
    chance = (pl.col("held") / (pl.col("n_u") * pl.col("n_v")) / MILLION).clip(0, 1)
    return (
        found.with_columns(wrong=pl.when("linked").then(1 - chance).otherwise(chance))
        .with_columns(information=pl.min_horizontal("n_u", "n_v") * pl.col("wrong") * _cost(pl.col("linked"), cut))
        .with_columns(pl.col("information").round(9))
        .sort(["information", "a", "b"], descending=[True, False, False])
    )


def _cost(linked: pl.Expr, cut: float) -> pl.Expr:
    """What an error of either kind costs, on average 1: the cut is where both decisions cost the same."""
    return pl.when(linked).then(2 * cut).otherwise(2 * (1 - cut))


def _between_customers(board: Board) -> pl.DataFrame:
    """Pairs of customers that are apart, with the sum of scores between them."""
    return (
        board.pairs.filter(pl.col("u") != pl.col("v"))
        .sort(["open", "score", "a", "b"], descending=[True, True, False, False])
        .group_by(u=pl.min_horizontal("u", "v"), v=pl.max_horizontal("u", "v"))
        .agg(
            pl.col("a", "b", "score", "open").first(),
            pl.min_horizontal("n_u", "n_v").first().alias("n_u"),
            pl.max_horizontal("n_u", "n_v").first().alias("n_v"),
            pl.col("held").sum(),
        )
        .with_columns(linked=pl.lit(value=False))
    )


def _weakest_links(board: Board) -> pl.DataFrame:
    """The weakest edge of each customer's maximum spanning tree, and the sum of scores between the parts it joins.

    That edge is the strongest pair between the parts: were it no match, nothing would hold them together.
    """
    records = len(board.members)
    inside = board.pairs.filter(pl.col("u") == pl.col("v")).sort(
        ["held", "a", "b"], descending=[True, False, False], maintain_order=True
    )
    a, b = inside["a"].to_numpy(), inside["b"].to_numpy()
    tree = _strongest_tree(a, b, records)
    of_tree = inside[tree].with_columns(edge=pl.Series(tree))
    weakest = of_tree.unique("u", keep="last", maintain_order=True)
    kept = np.setdiff1d(tree, weakest["edge"].to_numpy())
    part = connected(a[kept], b[kept], records)
    size = np.bincount(part, minlength=1)
    sums = (
        inside.with_columns(one=pl.Series(part[a]), other=pl.Series(part[b]))
        .filter(pl.col("one") != pl.col("other"))
        .group_by(one=pl.min_horizontal("one", "other"), other=pl.max_horizontal("one", "other"))
        .agg(pl.col("held").sum())
    )
    one, other = part[weakest["a"].to_numpy()], part[weakest["b"].to_numpy()]
    return (
        weakest.drop("held", "edge")
        .with_columns(
            n_u=pl.Series(size[one], dtype=pl.Int64),
            n_v=pl.Series(size[other], dtype=pl.Int64),
            one=pl.Series(np.minimum(one, other)),
            other=pl.Series(np.maximum(one, other)),
            linked=pl.lit(value=True),
        )
        .join(sums, on=["one", "other"])
        .drop("one", "other")
    )


def _strongest_tree(a: Ints, b: Ints, records: int) -> Ints:
    """Rows of the edges, given from the strongest on, that make a maximum spanning forest; rising."""
    if not len(a):
        return np.empty(0, dtype=np.int64)
    # No two edges weigh the same, so there is one such forest.
    rank = np.arange(1, len(a) + 1, dtype=np.float64)
    forest = minimum_spanning_tree(csr_array((rank, (a, b)), shape=(records, records)))
    return np.sort(forest.data.astype(np.int64) - 1)


def _one_per_customer(decisions: pl.DataFrame, most: int) -> pl.DataFrame:
    """The most informative decisions that share no customer, then a second one a customer where these are too few."""
    most = max(most, 0)
    left = decisions.head(CANDIDATES * most).with_row_index("order")
    chosen = [left.clear()]
    for _ in range(QUESTIONS_PER_CUSTOMER):
        apart = _sharing_nothing(left).head(most - sum(map(len, chosen)))
        chosen.append(apart)
        left = left.join(apart, on="order", how="anti")
    joins = pl.format("would join customers of {} and {} records", "n_u", "n_v")
    cuts = pl.format("weakest link of a customer, between {} and {} of its records", "n_u", "n_v")
    return (
        pl.concat(chosen)
        .sort("order")
        .select(
            "a",
            "b",
            "score",
            "information",
            drawn=pl.lit(UNCERTAIN),
            why=pl.when("linked").then(cuts).otherwise(joins),
            weight=pl.lit(None, pl.Float64),
        )
    )


def _sharing_nothing(decisions: pl.DataFrame) -> pl.DataFrame:
    """Those that would be taken going down the order, passing over what shares a customer with one taken before."""
    taken = [decisions.clear()]
    while len(decisions):
        first = (
            pl.concat([decisions.select("order", customer="u"), decisions.select("order", customer="v")])
            .group_by("customer")
            .agg(first=pl.col("order").min())
        )
        # What comes first for both its customers is taken whatever becomes of the others.
        ranked = decisions.join(first, left_on="u", right_on="customer").join(
            first, left_on="v", right_on="customer", suffix="_v"
        )
        best = ranked.filter(pl.col("order") == pl.min_horizontal("first", "first_v")).select(decisions.columns)
        best = best.sort("order")
        used = pl.concat([best["u"], best["v"]]).unique().implode()
        taken.append(best)
        decisions = decisions.filter(~pl.col("u").is_in(used) & ~pl.col("v").is_in(used))
    return pl.concat(taken).sort("order")


def _audit(board: Board, cut: float, most: int, rng: np.random.Generator) -> pl.DataFrame:
    """Scored pairs without a person's answer, drawn with chances that are known, in random order.

    The chance is proportional to the standard deviation of the answer, sqrt(p (1 - p)), which makes the estimate's
    variance least (Neyman 1934), and not less than `LEAST_DRAW`. The draw is systematic over pairs in order of score
    (Madow, "On the theory of systematic sampling, II", 1949), so that linked and unlinked pairs, sure and unsure ones
    all have their part. The weight is one over the chance.
    """
    linked = pl.col("u") == pl.col("v")
    pool = (
        board.pairs.filter("open")
        .with_columns(linked=linked)
        .sort("linked", "score", "a", "b")
        .with_columns(chance=pl.col("score") / MILLION)
    )
    chance = pool["chance"].to_numpy()
    inclusion = _inclusion(np.maximum(np.sqrt(chance * (1 - chance)), LEAST_DRAW), most)
    drawn = _systematic(inclusion, rng)
    drawn = drawn[rng.permutation(len(drawn))]
    wrong = pl.when("linked").then(1 - pl.col("chance")).otherwise("chance")
    return (
        pool[drawn]
        .with_columns(weight=pl.Series(1 / inclusion[drawn], dtype=pl.Float64))
        .select(
            "a",
            "b",
            "score",
            (wrong * _cost(pl.col("linked"), cut)).alias("information"),
            drawn=pl.lit(AUDIT),
            why=pl.format("drawn at random, stands for {} scored pairs", pl.col("weight").round().cast(pl.Int64)),
            weight="weight",
        )
    )


def _inclusion(weight: Floats, most: int) -> Floats:
    """Chances of being drawn, proportional to the weights, that add up to `most`; none is over 1."""
    if len(weight) <= most:
        return np.ones(len(weight))
    chance, certain = weight, np.zeros(len(weight), dtype=bool)
    while True:
        rest = max(most - certain.sum(), 0) / weight[~certain].sum()
        chance = np.where(certain, 1.0, weight * rest)
        if not (chance > 1).any():
            return chance
        certain |= chance > 1


def _systematic(inclusion: Floats, rng: np.random.Generator) -> Ints:
    """Rows drawn at equal steps along the summed chances, from a random start."""
    reached = np.cumsum(inclusion)
    if not len(reached) or reached[-1] < 0.5:
        return np.empty(0, dtype=np.int64)
    steps = rng.random() + np.arange(round(float(reached[-1])))
    rows = np.searchsorted(reached, steps, side="right")
    return np.unique(np.minimum(rows, len(reached) - 1)).astype(np.int64)


def _repeats(board: Board, labels: pl.DataFrame, most: int, rng: np.random.Generator) -> pl.DataFrame:
    """Pairs that people answered match or distinct, at random; none with a repeat or a bond that still stands."""
    settled = standing(labels).filter((pl.col("drawn") == REPEAT) | pl.col("answer").is_in(BINDING))
    pool = (
        board.answers.drop_nulls("said")
        .join(on_positions(settled, board.members), on=["a", "b"], how="anti")
        .join(board.pairs.select("a", "b", "score"), on=["a", "b"], how="left")
        .sort("a", "b")
    )
    rows = rng.choice(len(pool), min(most, len(pool)), replace=False)
    return pool[rows].select(
        "a",
        "b",
        "score",
        drawn=pl.lit(REPEAT),
        why=pl.lit("asked before; tells how steady answers are"),
        information=pl.lit(0.0),
        weight=pl.lit(None, pl.Float64),
    )


def _spread(rows: pl.DataFrame) -> pl.DataFrame:
    """Each row's place between 0 and 1, evenly, so that kinds of questions can be shuffled into each other."""
    return rows.with_columns(place=(pl.int_range(pl.len()) + 0.5) / max(len(rows), 1))
