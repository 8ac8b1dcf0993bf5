"""Ratios of products that borrow from their kind: type, category, department; what is counted lives with who asks."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cer_assets.recommend.interactions import described

KIN = ("department", "category", "type")
"""Catalogue columns, coarse to fine: products of one group lend each other what is known of them, where they exist."""


def kin_of(index: pl.Series, products: pl.DataFrame) -> list[NDArray[np.int64]]:
    """Groups of products, coarse to fine and products themselves last: a code per product, -1 for one in no group.

    Args:
        index: product_id of each column.
        products: product_id and whichever columns of KIN there are.
    """
    groups: list[NDArray[np.int64]] = []
    columns = [column for column in KIN if {"product_id", column} <= set(products.columns)]
    known_of = described(index, products, columns)
    for depth, column in enumerate(columns, start=1):
        code = pl.struct(columns[:depth]).rank("dense").cast(pl.Int64) - 1
        known = pl.when(pl.col(column).is_not_null()).then(code).otherwise(-1)
        groups.append(known_of.select(known).to_series().to_numpy())
    return [*groups, np.arange(len(index))]


def ratios(
    seen: NDArray[np.float64], expected: NDArray[np.float64], kin: Sequence[NDArray[np.int64]]
) -> NDArray[np.float64]:
    """Seen over expected counts of each product, each group's drawn towards that of the group above.

    Counts are taken as Poisson with mean expected x ratio, and the ratios of a group as Gamma around the ratio of the
    group above: all products (1), department, category, type, product. The spread of each Gamma is estimated from the
    counts themselves (empirical Bayes; DuMouchel 1999, "Bayesian data mining in large frequency tables"): few counts
    move little, and none nothing.

    Args:
        seen: counts (products x classes).
        expected: of each, were all products alike (products x classes).
        kin: see `kin_of`.

    Returns:
        (products x classes), above zero.
    """
    classes = seen.shape[1]
    ratio = np.ones_like(seen)
    for code in kin:
        member = np.flatnonzero(code >= 0)
        groups = int(code.max(initial=-1)) + 1
        total, usual, above = np.zeros((groups, classes)), np.zeros((groups, classes)), np.ones((groups, classes))
        np.add.at(total, code[member], seen[member])
        np.add.at(usual, code[member], expected[member])
        above[code[member]] = ratio[member]  # the members of a group share all groups above it
        ratio[member] = _drawn(total, usual, above)[code[member]]
    return ratio


def _drawn(seen: NDArray[np.float64], expected: NDArray[np.float64], above: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ratio of seen to expected, drawn towards the ratio above, the less the more was expected.

    The spread of true ratios round the one above is what the counts vary more than Poisson counts would (Pearson's
    statistic over its expectation), of cells where at least one is expected. It is never quite nothing, so that a ratio
    moves towards what was seen, however little.
    """
    mean = expected * above
    counted = mean >= 1
    beyond = float((np.square(seen - mean)[counted] / mean[counted] - 1).sum())
    spread = max(beyond, 1.0) / max(float(expected[counted].sum()), float(expected.sum()) or 1.0)
    return (above + seen * spread) / (1 + expected * spread)
