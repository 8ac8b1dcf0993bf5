"""Scored pairs into groups of records: components and average linkage, for all groups at once."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Ints = npt.NDArray[np.int64]

MILLION = 1_000_000
"""Scores are held as whole millionths, so that adding them up gives one sum in every order."""


def components(first: Ints, second: Ints, score: Ints, size: int, cuts: Sequence[int], cap: int) -> Ints:
    """The connected component of each record by the pairs that score at least `cuts[0]`.

    A component of more than `cap` records is taken apart again at the next of the rising `cuts`, and left as single
    records where it still is too large at the last.

    Returns:
        per record a number that its component's records share.
    """
    label = np.arange(size, dtype=np.int64)
    open_records = np.ones(size, dtype=bool)
    for cut in cuts:
        used = (score >= cut) & open_records[first] & open_records[second]
        graph = coo_array((np.ones(used.sum(), np.int8), (first[used], second[used])), (size, size))
        _, found = connected_components(graph, directed=False)
        too_large = np.bincount(found)[found] > cap
        settled = open_records & ~too_large
        # The smallest position names a component, whatever cut it was found at.
        smallest = np.full(found.max() + 1 if size else 0, size, dtype=np.int64)
        np.minimum.at(smallest, found, np.arange(size))
        label[settled] = smallest[found[settled]]
        open_records &= too_large
        if not open_records.any():
            break
    return label


def average_linkage(first: Ints, second: Ints, score: Ints, size: int, cut: int, cap: int) -> Ints:
    """Join groups while their mean pair score is at least `cut`, the strongest first.

    A pair that was not scored counts as 0. Average linkage is reducible, so all pairs of groups that are each other's
    nearest can be joined in the same round, in every component at once, and the result is that of joining one pair at
    a time (Bruynooghe 1977; Muellner, "Modern hierarchical, agglomerative clustering algorithms", 2011). Equal means
    are told apart by the smaller positions.

    Args:
        first: position of one record of each pair.
        second: position of the other; each pair once.
        score: in millionths.
        size: number of records.
        cut: in millionths.
        cap: most records a group may have.

    Returns:
        per record the smallest position in its group.
    """
    label = np.arange(size, dtype=np.int64)
    records = np.ones(size, dtype=np.int64)
    links = pl.DataFrame({"u": first, "v": second, "sum": score}, schema_overrides={"sum": pl.Int64})
    links = _between_groups(links)
    while len(joined := _nearest_of_each_other(links, records, cut, cap)):
        into, gone = joined[:, 0], joined[:, 1]
        target = np.arange(size, dtype=np.int64)
        target[gone] = into
        label = target[label]
        records[into] += records[gone]
        links = links.with_columns(u=target[links["u"].to_numpy()], v=target[links["v"].to_numpy()])
        links = _between_groups(links)
    return label


def _between_groups(links: pl.DataFrame) -> pl.DataFrame:
    """Sums of scores between pairs of different groups, `u` < `v`."""
    return (
        links.filter(pl.col("u") != pl.col("v"))
        .select(
            u=pl.min_horizontal("u", "v"),
            v=pl.max_horizontal("u", "v"),
            sum="sum",
        )
        .group_by("u", "v")
        .agg(pl.col("sum").sum())
    )


def _nearest_of_each_other(links: pl.DataFrame, records: Ints, cut: int, cap: int) -> Ints:
    """Pairs of groups (smaller position first) that are to be joined in this round."""
    u, v = links["u"].to_numpy(), links["v"].to_numpy()
    mean = links["sum"].to_numpy() / (records[u] * records[v])
    near = links.select("u", "v", mean=mean).filter((pl.col("mean") >= cut) & pl.Series(records[u] + records[v] <= cap))
    # Everyone ranks pairs in this one order, so the first pair of all is always mutual and each round joins some.
    ranked = near.sort(["mean", "u", "v"], descending=[True, False, False]).with_row_index("rank")
    best = (
        pl.concat([ranked.select("rank", group="u"), ranked.select("rank", group="v")])
        .group_by("group")
        .agg(pl.col("rank").min())
    )
    mutual = best.group_by("rank").len().filter(pl.col("len") == 2)
    return ranked.join(mutual, on="rank", how="semi").select("u", "v").to_numpy().astype(np.int64)
