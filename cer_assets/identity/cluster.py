"""Scored pairs into groups of records: components and average linkage, for all groups at once."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.integer[Any]]
"""Whole numbers of any width."""

MILLION = 1_000_000
"""Scores are held as whole millionths, so that adding them up gives one sum in every order."""


def connected(first: Whole, second: Whole, size: int) -> Ints:
    """The smallest position of each position's connected component."""
    graph = coo_array((np.ones(len(first), np.int8), (first, second)), (size, size))
    count, found = connected_components(graph, directed=False)
    smallest = np.full(count, size, dtype=np.int64)
    np.minimum.at(smallest, found, np.arange(size))
    return smallest[found]


def components(
    first: Whole, second: Whole, score: Whole, size: int, cuts: Sequence[int], cap: int, together: Ints | None = None
) -> Ints:
    """The connected component of each record by the pairs that score at least `cuts[0]`; the pairs are as of `joins`.

    A component of more than `cap` records is taken apart again at the next of the rising `cuts` (in millionths), and
    left as single records where it still is too large at the last. At every cut a record is in one component with the
    one whose position `together` gives.

    Returns:
        per record the smallest position in its component.
    """
    label = np.arange(size, dtype=np.int64)
    tied = np.flatnonzero(together != label) if together is not None else label[:0]
    ties = together[tied] if together is not None else label[:0]
    open_records = np.ones(size, dtype=bool)
    for cut in cuts:
        used = (score >= cut) & open_records[first] & open_records[second]
        found = connected(np.concatenate([first[used], tied]), np.concatenate([second[used], ties]), size)
        too_large = np.bincount(found, minlength=size)[found] > cap
        settled = open_records & ~too_large
        label[settled] = found[settled]
        open_records &= too_large
        if not open_records.any():
            break
    return label


def average_linkage(
    first: Whole,
    second: Whole,
    score: Whole,
    size: int,
    cut: int,
    cap: int,
    together: Ints | None = None,
    apart: tuple[Ints, Ints] | None = None,
) -> Ints:
    """Join groups while their mean pair score is at least `cut`, the strongest first; the arguments are as of `joins`.

    Returns:
        per record the smallest position in its group.
    """
    label = np.arange(size, dtype=np.int64) if together is None else together
    for into, gone, _ in joins(first, second, score, size, cut, cap, together, apart):
        label = renamed(label, into, gone)
    return label


def joins(
    first: Whole,
    second: Whole,
    score: Whole,
    size: int,
    cut: int,
    cap: int,
    together: Ints | None = None,
    apart: tuple[Ints, Ints] | None = None,
) -> Iterator[tuple[Ints, Ints, Floats]]:
    """The joins of average linkage, round by round: groups by their mean pair score, the strongest first.

    A pair that was not scored counts as 0. Average linkage is reducible, so all pairs of groups that are each other's
    nearest can be joined in the same round, in every component at once, and the result is that of joining one pair at
    a time (Bruynooghe 1977; Muellner, "Modern hierarchical, agglomerative clustering algorithms", 2011). Equal means
    are told apart by the smaller positions. What must not be joined stays so as groups grow, hence none of this
    changes where some groups are held apart.

    Args:
        first: position of one record of each pair.
        second: position of the other; each pair once.
        score: in millionths.
        size: number of records.
        cut: in millionths; groups whose mean is less are not joined.
        cap: most records that a join may make.
        together: per record the smallest position of those that are one group from the start, whatever their scores
            and number.
        apart: pairs of positions that no group may hold both of.

    Yields:
        per round the groups that grew and those that went into them, each named by its smallest position, and the mean
        scores (in millionths) at which they were joined. No group is in two joins of one round.
    """
    label = np.arange(size, dtype=np.int64) if together is None else together
    records = np.bincount(label, minlength=size)
    links = pl.DataFrame({"u": first, "v": second, "sum": score}, schema_overrides={"sum": pl.Int64})
    links = _between_groups(_relabelled(links, label))
    one, other = apart if apart is not None else (label[:0], label[:0])
    held = _relabelled(pl.DataFrame({"u": one, "v": other}), label)
    every = np.arange(size, dtype=np.int64)
    while len(joined := _nearest_of_each_other(links, records, cut, cap, held)):
        into, gone = (joined[end].to_numpy().astype(np.int64) for end in ("u", "v"))
        yield into, gone, joined["mean"].to_numpy()
        records[into] += records[gone]
        target = renamed(every, into, gone)
        links = _between_groups(_relabelled(links, target))
        held = _relabelled(held, target)


def renamed(label: Ints, into: Ints, gone: Ints) -> Ints:
    """Per record the name of its group once the groups `gone` went `into` others."""
    target = np.arange(len(label), dtype=np.int64)
    target[gone] = into
    return target[label]


def _relabelled(pairs: pl.DataFrame, target: Ints) -> pl.DataFrame:
    """Pairs of different groups under their groups' new names, `u` < `v`."""
    u, v = target[pairs["u"].to_numpy()], target[pairs["v"].to_numpy()]
    different = u != v
    named = pairs.filter(different)
    u, v = u[different], v[different]
    return named.with_columns(u=np.minimum(u, v), v=np.maximum(u, v))


def _between_groups(links: pl.DataFrame) -> pl.DataFrame:
    """Sums of scores between pairs of groups."""
    return links.group_by("u", "v").agg(pl.col("sum").sum())


def _nearest_of_each_other(links: pl.DataFrame, records: Ints, cut: int, cap: int, held: pl.DataFrame) -> pl.DataFrame:
    """Pairs of groups, `u` < `v`, that are to be joined in this round, with their `mean`."""
    u, v = links["u"].to_numpy(), links["v"].to_numpy()
    mean = links["sum"].to_numpy() / (records[u] * records[v])
    near = links.select("u", "v", mean=mean).filter((pl.col("mean") >= cut) & pl.Series(records[u] + records[v] <= cap))
    if len(held):
        near = near.join(held, on=["u", "v"], how="anti")
    # Everyone ranks pairs in this one order, so the first pair of all is always mutual and each round joins some.
    ranked = near.sort(["mean", "u", "v"], descending=[True, False, False]).with_row_index("rank")
    best = (
        pl.concat([ranked.select("rank", group="u"), ranked.select("rank", group="v")])
        .group_by("group")
        .agg(pl.col("rank").min())
    )
    mutual = best.group_by("rank").len().filter(pl.col("len") == 2)
    return ranked.join(mutual, on="rank", how="semi").select("u", "v", "mean")
