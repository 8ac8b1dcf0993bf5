"""High, mid and low value: three clusters of customers by what they are worth, and who moved between them."""

from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from cer_assets.value.histories import Floats

Integers = npt.NDArray[np.int64]

BUCKETS = ("low", "mid", "high")

NEW, GONE = "new", "gone"
"""Where customers come from, or go to, who had no bucket on the earlier day or have none on the later one."""

# Cuts stand as long as today's best would leave no more than this share less inertia.
TOLERANCE = 0.01

# A customer leaves a bucket once the value has passed its bound by this share of it.
MARGIN = 0.1

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


def bucket(values: pl.DataFrame, before: pl.DataFrame | None = None) -> pl.DataFrame:
    """Put customers into `high`, `mid` and `low` by k-means (k = 3) on log(1 + value).

    In one dimension the clusters are intervals, so two cuts say it all: the pair of least inertia
    on a grid of quantiles, moved by Lloyd's algorithm to where it settles. Up to 129 different
    values that is the optimum. Customers of equal value share a bucket.
    With two different values there is a `high` and a `low`; with one there is nothing to tell
    apart, and all are `mid`.

    Beside the buckets of a day before, nobody moves who has not changed. Its cuts stand as long as
    new ones would take away no more than 1% of the inertia, and a customer leaves a bucket only
    with a value that lies 10% beyond its bounds (unless means would no longer rise from low to high).

    Args:
        values: as_of (one day), customer_id, value Float64 (not negative, not null), in any order.
        before: `value.buckets` of one earlier day.

    Returns:
        `value.buckets`, ordered by customer_id: as_of, customer_id, bucket, value, and starts_at
        Float64, the value at which the bucket starts.

    Raises:
        ValueError: several days, or a value that is negative or missing.
    """
    _one_day(values)
    if not values["value"].is_finite().fill_null(False).all() or (values["value"] < 0).any():
        raise ValueError("every customer needs a value, finite and not negative")
    values = values.sort("customer_id")
    points, inverse, counts = np.unique(values["value"].to_numpy(), return_inverse=True, return_counts=True)
    starts = _starts(np.log1p(points), counts, None if before is None else _starts_of(before))
    ranks = _ranks(points, starts)[inverse]
    if before is not None:
        ranks = _held(values, ranks, starts, before)
    return values.select(
        "as_of",
        "customer_id",
        pl.Series("bucket", np.array(BUCKETS)[ranks], dtype=pl.String),
        "value",
        pl.Series("starts_at", starts[ranks], dtype=pl.Float64),
    )


NO_MOVES = pl.DataFrame(
    schema={
        "from_on": pl.Date,
        "as_of": pl.Date,
        "from_bucket": pl.String,
        "to_bucket": pl.String,
        "customers": pl.Int64,
        "value": pl.Float64,
    }
)
"""`value.migration` of a day before which there was none."""


def migration(earlier: pl.DataFrame, later: pl.DataFrame) -> pl.DataFrame:
    """How many customers went from which bucket to which, between any two days.

    Args:
        earlier: `value.buckets` of one day.
        later: `value.buckets` of a later day.

    Returns:
        `value.migration`: from_on, as_of Date, from_bucket (`new`: had none), to_bucket (`gone`: has none), customers
        Int64, value Float64 (theirs on the later day; none of those who are gone), from high to low. Moves that nobody
        made have no row. The customers of a to_bucket are all that it holds on the later day, those of a from_bucket
        all that it held on the earlier one.

    Raises:
        ValueError: a frame is not of exactly one day, or the second day is not after the first.
    """
    first, last = _one_day(earlier), _one_day(later)
    if first is None or last is None or first >= last:
        raise ValueError("give the buckets of one day and those of a later day")
    order = pl.Enum(["high", "mid", "low", NEW, GONE])
    # Whole cents, so that the sum does not depend on the order of the rows.
    cents = (pl.col("value").fill_null(0) * 100).round().cast(pl.Int64).sum()
    return (
        earlier.select("customer_id", from_bucket="bucket")
        .join(later.select("customer_id", "value", to_bucket="bucket"), on="customer_id", how="full", coalesce=True)
        .with_columns(
            pl.col("from_bucket").fill_null(NEW).cast(order),
            pl.col("to_bucket").fill_null(GONE).cast(order),
        )
        .group_by("from_bucket", "to_bucket")
        .agg(pl.len().cast(pl.Int64).alias("customers"), (cents / 100).alias("value"))
        .sort("from_bucket", "to_bucket")
        .select(
            pl.lit(first).alias("from_on"),
            pl.lit(last).alias("as_of"),
            pl.col("from_bucket", "to_bucket").cast(pl.String),
            "customers",
            "value",
        )
    )


def _one_day(frame: pl.DataFrame) -> date | None:
    """The day that the rows are of; None where there are no rows."""
    days = frame["as_of"].unique().to_list()
    if len(days) > 1:
        raise ValueError("buckets are of one day: give the rows of one as_of")
    return days[0] if days else None


def _starts_of(buckets: pl.DataFrame) -> Floats | None:
    """The value at which each bucket of a day starts, from low to high; None where there were not three."""
    found = dict(buckets.select("bucket", "starts_at").drop_nulls().unique().iter_rows())
    return np.array([found[name] for name in BUCKETS]) if len(found) == len(BUCKETS) else None


def _ranks(values: Floats, starts: Floats) -> Integers:
    """Bucket (0, 1 or 2, rising) of each value."""
    return np.searchsorted(starts[1:], values, side="right")


def _starts(points: Floats, counts: Integers, standing: Floats | None) -> Floats:
    """The value at which each bucket starts, of shape (3,): where it started before, if that will do.

    Args:
        points: the different values, as log(1 + value), rising.
        counts: how many customers have each.
        standing: where the buckets started before.
    """
    if len(points) < 2:
        return np.array([0.0, 0.0, np.inf])
    size = np.concatenate([[0], np.cumsum(counts)])
    amount = np.concatenate([[0.0], np.cumsum(counts * points)])
    if len(points) == 2:
        middle = float(np.expm1(points.mean()))
        return np.array([0.0, middle, middle])
    cuts = _best_cuts(size, amount)
    for _ in range(MOVES):
        ends = np.array([0, *cuts, len(points)])
        centres = np.diff(amount[ends]) / np.diff(size[ends])
        moved = np.searchsorted(points, (centres[1:] + centres[:-1]) / 2)
        # A cluster may not lose its last point.
        if np.array_equal(moved, cuts) or not 0 < moved[0] < moved[1] < len(points):
            break
        cuts = moved
    if standing is not None:
        kept = np.searchsorted(points, np.log1p(standing[1:]))
        if 0 < kept[0] < kept[1] < len(points) and _will_do(size, amount, points, counts, kept, cuts):
            return standing
    return np.array([0.0, *np.expm1((points[cuts] + points[cuts - 1]) / 2)])


def _will_do(size: Integers, amount: Floats, points: Floats, counts: Integers, kept: Integers, best: Integers) -> bool:
    """Whether cuts leave hardly more inertia than the best."""
    whole = float(np.sum(counts * points**2))
    left = [whole - float(_explained(size, amount, np.array([[0, *cuts, len(points)]]))[0]) for cuts in (kept, best)]
    return left[0] <= (1 + TOLERANCE) * left[1]


def _held(values: pl.DataFrame, ranks: Integers, starts: Floats, before: pl.DataFrame) -> Integers:
    """The ranks, with customers left where they were who are hardly beyond the bounds of their bucket."""
    place = {name: rank for rank, name in enumerate(BUCKETS)}
    was = (
        values.select("customer_id")
        .join(before.select("customer_id", "bucket"), on="customer_id", how="left", maintain_order="left")["bucket"]
        .replace_strict(place, return_dtype=pl.Int64, default=-1)
        .to_numpy()
    )
    value, ends = values["value"].to_numpy(), np.array([*starts[1:], np.inf])
    near = (value >= starts[was] * (1 - MARGIN)) & (value < ends[was] * (1 + MARGIN))
    held = np.where((was >= 0) & near, was, ranks)
    means = [value[held == rank].mean() for rank in np.unique(held)]
    return held if np.array_equal(means, np.unique(means)) else ranks


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
    best = int(np.argmax(_explained(size, amount, ends)))
    return ends[best, 1:3]


def _explained(size: Integers, amount: Floats, ends: Integers) -> Floats:
    """What the means of clusters explain: the sum of squares less the inertia, per row of `ends`."""
    return np.sum(np.diff(amount[ends], axis=1) ** 2 / np.diff(size[ends], axis=1), axis=1)
