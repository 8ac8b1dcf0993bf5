"""High, mid and low value: three clusters of customers by what they are worth."""

import numpy as np
import numpy.typing as npt
import polars as pl

from cer_assets.value.histories import Floats

Integers = npt.NDArray[np.int64]

BUCKETS = ("low", "mid", "high")

# Places tried for the two cuts between buckets: every pair of them, so some eight thousand.
CANDIDATE_CUTS = 128

# From the grid a few moves settle; the bound only keeps rounding from moving a cut to and fro.
MOVES = 100


def customer_value(rfm: pl.DataFrame, clv: pl.DataFrame) -> pl.DataFrame:
    """What each customer is worth: expected spend, or without such a figure what they have spent.

    Both are money. A customer too new for a figure has had little time to spend, so the stand-in
    errs towards a low value. Net returns make a customer worth nothing, not less.

    Args:
        rfm: `value.rfm` of one day: as_of, customer_id, monetary.
        clv: `value.clv` of one horizon and of that day or before: customer_id, expected_spend.

    Returns:
        as_of, customer_id, value Float64, ordered by customer_id.
    """
    value = pl.coalesce("expected_spend", pl.col("monetary").cast(pl.Float64)).clip(lower_bound=0)
    return (
        rfm.select("as_of", "customer_id", "monetary")
        .join(clv.select("customer_id", "expected_spend"), on="customer_id", how="left")
        .select("as_of", "customer_id", value.alias("value"))
        .sort("customer_id")
    )


def bucket(values: pl.DataFrame) -> pl.DataFrame:
    """Put customers into `high`, `mid` and `low` by k-means (k = 3) on log(1 + value).

    In one dimension the clusters are intervals, so two cuts say it all: the pair of least inertia
    on a grid of quantiles, moved by Lloyd's algorithm to where it settles. Up to 129 different
    values that is the optimum. Customers of equal value share a bucket.
    With two different values there is a `high` and a `low`; with one there is nothing to tell
    apart, and all are `mid`.

    Args:
        values: as_of (one day), customer_id, value Float64 (not negative, not null), in any order.

    Returns:
        `value.buckets`, ordered by customer_id: as_of, customer_id, bucket, value.

    Raises:
        ValueError: several days, or a value that is negative or missing.
    """
    if values["as_of"].n_unique() > 1:
        raise ValueError("buckets are of one day: give the values of one as_of")
    if not values["value"].is_finite().fill_null(False).all() or (values["value"] < 0).any():
        raise ValueError("every customer needs a value, finite and not negative")
    values = values.sort("customer_id")
    distinct, inverse, counts = np.unique(np.log1p(values["value"].to_numpy()), return_inverse=True, return_counts=True)
    names = np.array(BUCKETS)[_cluster(distinct, counts)[inverse]]
    return values.select("as_of", "customer_id", pl.Series("bucket", names, dtype=pl.String), "value")


def _cluster(points: Floats, counts: Integers) -> Integers:
    """Cluster (0, 1 or 2, rising) of each of distinct sorted points that stand for `counts` each."""
    if len(points) < 2:
        return np.ones(len(points), dtype=np.int64)
    if len(points) == 2:
        return np.array([0, 2])
    size = np.concatenate([[0], np.cumsum(counts)])
    amount = np.concatenate([[0.0], np.cumsum(counts * points)])
    cuts = _best_cuts(size, amount)
    for _ in range(MOVES):
        ends = np.array([0, *cuts, len(points)])
        centres = np.diff(amount[ends]) / np.diff(size[ends])
        moved = np.searchsorted(points, (centres[1:] + centres[:-1]) / 2)
        # A cluster may not lose its last point.
        if np.array_equal(moved, cuts) or not 0 < moved[0] < moved[1] < len(points):
            break
        cuts = moved
    return np.searchsorted(cuts, np.arange(len(points)), side="right")


def _best_cuts(size: Integers, amount: Floats) -> Integers:
    """The pair of candidate cuts that leaves least inertia: the first points of mid and high.

    Args:
        size: customers below each point, and in all, of shape (points + 1,).
        amount: the sum of their values, likewise.
    """
    last = len(size) - 2
    places = np.arange(1, last + 1)
    if len(places) > CANDIDATE_CUTS:
        steps = np.arange(1, CANDIDATE_CUTS + 1) / (CANDIDATE_CUTS + 1)
        places = np.unique(np.clip(np.searchsorted(size, steps * size[-1]), 1, last))
    if len(places) < 2:
        places = np.array([1, last])
    first, second = np.triu_indices(len(places), k=1)
    zero, end = np.zeros(len(first), np.int64), np.full(len(first), last + 1)
    ends = np.column_stack([zero, places[first], places[second], end])
    # What the means explain is the variance less the inertia.
    explained = np.sum(np.diff(amount[ends], axis=1) ** 2 / np.diff(size[ends], axis=1), axis=1)
    best = int(np.argmax(explained))
    return ends[best, 1:3]
