"""How strongly clustering holds pairs of records together, on a sample of the records; labels are not looked at here.

Average linkage joins two groups at the mean score of the pairs between them. That mean is no chance: groups err less
than pairs do, and pairs that nobody compared pull it down. The height at which two records come together is therefore
read off a sample, for a curve to say what it is worth.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from cer_assets.identity.block import Rule
from cer_assets.identity.cluster import MILLION, Ints, components, joins, renamed
from cer_assets.identity.compare import Compared, compare
from cer_assets.identity.learn import Floats, Weights
from cer_assets.identity.pairs import Hashes, Positions
from cer_assets.identity.pool import pairs_around
from cer_assets.identity.prepare import Prepared

NEIGHBOUR = 0.03
"""A record that another matches with at least this chance is its neighbour."""

LOWEST = 0.1
"""The lowest height told apart; below it groups are not joined at all."""

CLOSING = (0.3, 0.5, 0.8, 0.95)
"""Components of records that score so high have all their pairs compared; those over the cap are taken apart."""

COMPONENT_CAP = 60
"""Most records of such a component."""


@dataclass(frozen=True)
class Neighbourhood:
    """Some records, their neighbours and all pairs among them that clustering looks at, ordered by pair."""

    compared: Compared
    seen: npt.NDArray[np.bool_]
    """The pairs with an end among the seeds, whose groups are whole."""

    def heights(self, weights: Weights) -> Floats:
        """How strongly each pair is held together.

        Returns:
            per pair the mean score at which average linkage brings both records together; where that is below `LOWEST`,
            the pair's own score, which then is at most half of it.
        """
        chance = weights.chance(self.compared)
        score = np.round(chance * MILLION).astype(np.int64)
        first, second = self.compared.pairs.T.astype(np.int64)
        height = joined_at(first, second, score)
        return np.where(height > 0, height, np.minimum(chance, LOWEST / 2))


def neighbourhood(
    prepared: Prepared,
    keys: Hashes,
    rules: Sequence[Rule],
    weights: Weights,
    pool: Compared,
    seeds: Positions,
    others: Positions,
    groups: Ints | None = None,
) -> Neighbourhood:
    """Look at some records as clustering would.

    Args:
        prepared: the records.
        keys: per key and position the hash of the key's value, 0 where there is none.
        rules: blocking rules, as places among the keys.
        weights: what labels so far suggest.
        pool: compared candidate pairs around the seeds, and more.
        seeds: positions, a random sample.
        others: positions to look at besides.
        groups: a number per record; pairs within a group are no candidates.
    """
    if len(seeds) == prepared.size:
        pairs = pl.DataFrame(pool.pairs, schema=["first", "second"], orient="row")
    else:
        around = _with_neighbours(np.union1d(seeds, others), pool, weights)
        found = pairs_around(keys, rules, around)
        # Who is farther away than a neighbour only matters to groups that are not looked at.
        inside = pl.all_horizontal(pl.col("first", "second").is_in(around.tolist()))
        pairs = across(found.filter(inside).select("first", "second").unique(), groups)
    compared = compare(prepared, pairs)
    unseen = across(_unseen(compared, weights, prepared.size), groups)
    if len(unseen):
        compared = Compared.joined(compared, compare(prepared, unseen))
    return Neighbourhood(compared, _touch(compared.pairs, seeds))


def across(pairs: pl.DataFrame, groups: Ints | None) -> pl.DataFrame:
    """The pairs (`first`, `second`) of different groups; all of them where there are none."""
    if groups is None:
        return pairs
    return pairs.filter(
        pl.Series(groups[pairs["first"].to_numpy()] != groups[pairs["second"].to_numpy()], dtype=pl.Boolean)
    )


def _with_neighbours(positions: Positions, pool: Compared, weights: Weights) -> Positions:
    near = pool.pairs[weights.chance(pool) >= NEIGHBOUR]
    return np.union1d(positions, near[_touch(near, positions)])


def _touch(pairs: npt.NDArray[np.int32], positions: Positions) -> npt.NDArray[np.bool_]:
    """Which pairs have an end among the positions."""
    one, other = (np.isin(pairs[:, end], positions) for end in (0, 1))
    return one | other


def _unseen(compared: Compared, weights: Weights, size: int) -> pl.DataFrame:
    """The pairs inside components that were not compared: they would count as 0."""
    score = np.round(weights.chance(compared) * MILLION).astype(np.int64)
    first, second = compared.pairs.T.astype(np.int64)
    component = components(first, second, score, size, [round(c * MILLION) for c in CLOSING], COMPONENT_CAP)
    members = pl.DataFrame({"position": np.arange(size, dtype=np.int32), "component": component})
    members = members.filter(pl.len().over("component") > 2)
    seen = pl.DataFrame(compared.pairs, schema=["first", "second"], orient="row")
    return (
        members.join(members, on="component", suffix="_other")
        .filter(pl.col("position") < pl.col("position_other"))
        .select(first="position", second="position_other")
        .join(seen, on=["first", "second"], how="anti")
    )


def joined_at(first: Ints, second: Ints, score: Ints) -> Floats:
    """The dendrogram of average linkage as one height per pair: the mean score at which both its records come together.

    Args:
        first: a record of each pair.
        second: the other; each pair once.
        score: in millionths; pairs that are not there count as 0.

    Returns:
        per pair a height from `LOWEST` to 1; 0 where the records do not come together above `LOWEST`.
    """
    positions, places = np.unique(np.stack([first, second]), return_inverse=True)
    first, second = places.reshape(2, -1)
    size = len(positions)
    group, level, height = np.arange(size, dtype=np.int64), np.zeros(size), np.zeros(len(score))
    apart = np.arange(len(score))
    for into, gone, mean in joins(first, second, score, size, round(LOWEST * MILLION), cap=size):
        level[into] = mean / MILLION
        group = renamed(group, into, gone)
        joined = group[first[apart]] == group[second[apart]]
        height[apart[joined]] = level[group[first[apart[joined]]]]
        apart = apart[~joined]
    return height
