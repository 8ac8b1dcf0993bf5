"""Clusters of customers by their features, with k chosen by repetition; what they mean is elsewhere.

Features are cut to a few principal axes first, so that a handful of clusters is not spent on noise.
The agglomerative way then is hierarchical clustering on principal components with consolidation:
Ward's tree cut at k, its clusters' means as the start of k-means (Husson, Josse & Pages 2010,
Principal component methods - hierarchical clustering - partitional clustering).
"""

import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score
from threadpoolctl import threadpool_limits

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]
Method = Literal["k-means", "agglomerative"]

log = logging.getLogger(__name__)

KS = range(3, 9)

# A split is believed if customers drawn again are split alike (adjusted Rand index), and no segment
# is too small to be worth an action of its own.
STABLE = 0.85
SMALLEST_SHARE = 0.05

# How much less stable than the bound, and how much lower in silhouette than the best, the number of
# segments of the run before may be and still be kept: figures near a bound would otherwise turn the
# segments over from one day to the next.
STABILITY_SLACK = 0.1
SILHOUETTE_SLACK = 0.05

AXES = 3

# Standard deviations beyond which a customer is as far out as they can be.
CLIP = 3.0

# Fewer customers than this for each segment make no segment.
CUSTOMERS_A_SEGMENT = 10

# Customers the centres are found on, beyond which they no longer move.
FIT_AT_MOST = 50_000

# Ward's tree needs the distances of all pairs: 10,000 customers take 400 MB. Beyond, it is built on
# the centres of this many small k-means clusters.
WARD_AT_MOST = 10_000
SMALL_CLUSTERS = 500

BOOTSTRAPS = 5

# A sample smaller than the customers repeats a split less well than it deserves, so this errs on
# the careful side; a tree costs the square of its size.
BOOTSTRAP_AT_MOST: Mapping[Method, int] = {"k-means": 5_000, "agglomerative": 2_000}
JUDGED_AT_MOST = 5_000
SILHOUETTE_AT_MOST = 2_000


@dataclass(frozen=True)
class Trial:
    """How a number of segments did: what decided, and what did not (silhouette)."""

    k: int
    stability: float
    smallest_share: float
    silhouette: float

    @property
    def sound(self) -> bool:
        """Repeatable, and without a splinter."""
        return self.stability >= STABLE and self.smallest_share >= SMALLEST_SHARE

    def nearly_as_good(self, best: "Trial") -> bool:
        """Worth keeping for the sake of segments that stay."""
        return (
            self.stability >= STABLE - STABILITY_SLACK
            and self.smallest_share >= SMALLEST_SHARE
            and self.silhouette >= best.silhouette - SILHOUETTE_SLACK
        )


@dataclass(frozen=True, eq=False)
class SegmentModel:
    """Fitted segments: a customer belongs to the nearest centre.

    Attributes:
        method: how the centres were found.
        features: the columns it reads, in order.
        mean: of each feature, of shape (features,).
        scale: standard deviation of each feature, 1 where it is constant, of shape (features,).
        axes: what each standardised feature adds to each axis, of shape (features, axes).
        centres: of shape (segments, axes).
        labels: the number of each segment, of shape (segments,).
        trials: the figures of each k tried, from which k was chosen.
        seed: what the draws were seeded with.
    """

    method: Method
    features: tuple[str, ...]
    mean: Floats
    scale: Floats
    axes: Floats
    centres: Floats
    labels: Integers
    trials: tuple[Trial, ...]
    seed: int

    @property
    def k(self) -> int:
        """Number of segments."""
        return len(self.centres)

    def place(self, features: pl.DataFrame) -> Floats:
        """Customers on the model's axes, of shape (customers, axes), in the order of the rows.

        Raises:
            polars.exceptions.ColumnNotFoundError: a feature of the model is missing.
        """
        values = features.select(self.features).to_numpy().astype(np.float64)
        standard = np.clip((values - self.mean) / self.scale, -CLIP, CLIP)
        with threadpool_limits(limits=1):
            return standard @ self.axes

    def assign(self, features: pl.DataFrame) -> pl.DataFrame:
        """The segment of each customer.

        Args:
            features: customer_id and the model's features, without nulls, in any order.

        Returns:
            customer_id, segment Int64, ordered by customer_id.
        """
        ordered = features.sort("customer_id")
        segments = self.labels[_nearest(self.place(ordered), self.centres)]
        return ordered.select("customer_id", pl.Series("segment", segments, dtype=pl.Int64))

    def relabelled(self, labels: Mapping[int, int]) -> "SegmentModel":
        """The same segments under other numbers: `labels` maps every present one to its new one."""
        return replace(self, labels=np.array([labels[int(label)] for label in self.labels]))

    def card(self) -> dict[str, Any]:
        """What the model is and how k was chosen, for a registry: JSON values."""
        return {
            "method": self.method,
            "features": list(self.features),
            "segments": self.k,
            "labels": [int(label) for label in self.labels],
            "seed": self.seed,
            "sound": any(trial.k == self.k and trial.sound for trial in self.trials),
            "trials": [
                {
                    "k": trial.k,
                    "stability": round(trial.stability, 4),
                    "smallest_share": round(trial.smallest_share, 4),
                    "silhouette": round(trial.silhouette, 4),
                }
                for trial in self.trials
            ],
        }

    def files(self) -> dict[str, bytes]:
        """The model as files; the same model gives the same bytes."""
        arrays = io.BytesIO()
        np.savez(
            arrays,
            mean=self.mean,
            scale=self.scale,
            axes=self.axes,
            centres=self.centres,
            labels=self.labels,
        )
        settings = {
            "method": self.method,
            "features": list(self.features),
            "trials": [vars(trial) for trial in self.trials],
            "seed": self.seed,
        }
        text = json.dumps(settings, sort_keys=True, indent=1, ensure_ascii=False)
        return {"segments.json": text.encode(), "segments.npz": arrays.getvalue()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "SegmentModel":
        """The model that `files` were made from.

        Raises:
            KeyError: `segments.json` or `segments.npz` is not among them.
        """
        settings = json.loads(files["segments.json"])
        with np.load(io.BytesIO(files["segments.npz"]), allow_pickle=False) as arrays:
            return cls(
                method=settings["method"],
                features=tuple(settings["features"]),
                mean=arrays["mean"],
                scale=arrays["scale"],
                axes=arrays["axes"],
                centres=arrays["centres"],
                labels=arrays["labels"],
                trials=tuple(Trial(**trial) for trial in settings["trials"]),
                seed=settings["seed"],
            )


def fit(
    features: pl.DataFrame,
    method: Method,
    *,
    standardise: bool = True,
    previous: pl.DataFrame | None = None,
    seed: int = 0,
) -> SegmentModel:
    """Find segments, and how many there are.

    For each k of `KS` the clustering is repeated on bootstrap samples. Of the k that are `sound`
    the one of highest silhouette is taken; if none is, the most stable without a splinter, then the
    most stable. The number of `previous` segments is kept while it is nearly as good. Fewer than
    three times ten customers, or than three different ones, are one segment. Segments are numbered
    from 1, the largest first, or after `previous`.

    Args:
        features: customer_id and Float64 features without nulls, in any order.
        method: `k-means` or `agglomerative`.
        standardise: give each feature the same weight; otherwise its own standard deviation, as
            befits features in the same unit.
        previous: customer_id and segment of the run before: a segment keeps its number.
        seed: of the starts and the bootstrap.

    Returns:
        The model.

    Raises:
        ValueError: a feature holds a null or is not finite.
    """
    features = features.sort("customer_id")
    names = tuple(column for column in features.columns if column != "customer_id")
    values = features.select(names).to_numpy().astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("features must be finite and without nulls")
    with threadpool_limits(limits=1):
        mean, scale, axes = _principal_axes(values, standardise)
        points = np.clip((values - mean) / scale, -CLIP, CLIP) @ axes
        kept = None if previous is None else previous["segment"].n_unique()
        centres, trials = _choose(points, method, seed, kept)
    order = np.argsort(-np.bincount(_nearest(points, centres), minlength=len(centres)), kind="stable")
    numbers = np.arange(1, len(centres) + 1)
    model = SegmentModel(method, names, mean, scale, axes, centres[order], numbers, trials, seed)
    if previous is not None:
        model = model.relabelled(match_labels(previous, model.assign(features)))
    log.info("%s: %d segments of %d customers", method, model.k, len(features))
    return model


def match_labels(previous: pl.DataFrame, new: pl.DataFrame) -> dict[int, int]:
    """Numbers for new segments that keep most customers under the number they had.

    Each new segment takes the number of at most one previous segment, so that the customers who
    stay are as many as can be (the assignment problem); a segment with no counterpart takes the
    next number never used.

    Args:
        previous: customer_id, segment.
        new: customer_id, segment.

    Returns:
        The number to use for each segment of `new`.
    """
    old_numbers = sorted(previous["segment"].unique().to_list())
    new_numbers = sorted(new["segment"].unique().to_list())
    both = previous.select("customer_id", pl.col("segment").alias("old")).join(new, on="customer_id")
    shared = np.zeros((len(new_numbers), len(old_numbers)), dtype=np.int64)
    for old, segment, customers in both.group_by("old", "segment").len().iter_rows():
        shared[new_numbers.index(segment), old_numbers.index(old)] = customers
    rows, columns = linear_sum_assignment(shared, maximize=True)
    matched = {
        new_numbers[row]: old_numbers[column]
        for row, column in zip(rows, columns, strict=True)
        if shared[row, column] > 0
    }
    unused = max([0, *old_numbers]) + 1
    fresh = [number for number in new_numbers if number not in matched]
    return matched | {number: unused + position for position, number in enumerate(fresh)}


def compare(models: Sequence[SegmentModel], features: pl.DataFrame) -> pl.DataFrame:
    """Clusterings of the same customers side by side.

    Args:
        models: fitted on the same features; the first is the one in use.
        features: customer_id and the features.

    Returns:
        One row a model: method, segments Int64, stability, smallest_share, silhouette (of the k it
        chose, null for one segment) and agreement (adjusted Rand index with the first), Float64.
    """
    assigned = [model.assign(features)["segment"].to_numpy() for model in models]
    rows = [
        (model.method, model.k, *_figures_of(model), float(adjusted_rand_score(assigned[0], segments)))
        for model, segments in zip(models, assigned, strict=True)
    ]
    figures = ("stability", "smallest_share", "silhouette", "agreement")
    schema = {"method": pl.String, "segments": pl.Int64} | dict.fromkeys(figures, pl.Float64)
    return pl.DataFrame(rows, schema=schema, orient="row")


def _figures_of(model: SegmentModel) -> tuple[float | None, float | None, float | None]:
    for trial in model.trials:
        if trial.k == model.k:
            return trial.stability, trial.smallest_share, trial.silhouette
    return None, None, None


def _principal_axes(values: Floats, standardise: bool) -> tuple[Floats, Floats, Floats]:
    """Mean and scale of the features, and the first `AXES` principal axes (see `SegmentModel`)."""
    if not len(values):
        width = values.shape[1]
        return np.zeros(width), np.ones(width), np.zeros((width, 1))
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    varies = deviation > 1e-9
    scale = np.where(varies, deviation, 1.0)
    weight = np.where(varies, 1.0 if standardise else deviation, 0.0)
    standard = np.clip((values - mean) / scale, -CLIP, CLIP) * weight
    variances, vectors = np.linalg.eigh(standard.T @ standard / len(values))
    count = int(np.clip(np.sum(variances > 1e-9), 1, AXES))
    axes = vectors[:, ::-1][:, :count]
    # An axis may point either way; its largest part decides.
    largest = axes[np.argmax(np.abs(axes), axis=0), np.arange(count)]
    return mean, scale, weight[:, None] * axes * np.where(largest < 0, -1.0, 1.0)


def _choose(points: Floats, method: Method, seed: int, kept: int | None) -> tuple[Floats, tuple[Trial, ...]]:
    """Centres of the chosen number of segments, and the figures of all that were tried."""
    sample = _thinned(points, FIT_AT_MOST)
    different = len(np.unique(np.round(sample, 9), axis=0))
    ks = [k for k in KS if k <= different and k * CUSTOMERS_A_SEGMENT <= len(points)]
    if not ks:
        return np.zeros((1, points.shape[1])), ()
    centres = _centres(sample, method, ks, seed)
    generator = np.random.default_rng(seed)
    drawn = min(len(sample), BOOTSTRAP_AT_MOST[method])
    again = [_centres(sample[generator.integers(len(sample), size=drawn)], method, ks, seed) for _ in range(BOOTSTRAPS)]
    trials = {k: _trial(points, centres[k], [repeated[k] for repeated in again]) for k in ks}
    best = max(ks, key=lambda k: preference(trials[k]))
    if kept in trials and trials[kept].nearly_as_good(trials[best]):
        best = kept
    return centres[best], tuple(trials.values())


def preference(trial: Trial) -> tuple[bool, bool, float, int]:
    """What is better about a number of segments, the weightiest first; of equals the smaller."""
    whole = trial.smallest_share >= SMALLEST_SHARE
    return trial.sound, whole, trial.silhouette if trial.sound else trial.stability, -trial.k


def _trial(points: Floats, centres: Floats, again: Sequence[Floats]) -> Trial:
    """How well bootstrap centres repeat a split, and the split's own figures."""
    judged = _thinned(points, JUDGED_AT_MOST)
    split = _nearest(judged, centres)
    alike = [adjusted_rand_score(split, _nearest(judged, other)) for other in again]
    shares = np.bincount(_nearest(points, centres), minlength=len(centres)) / len(points)
    few = _thinned(points, SILHOUETTE_AT_MOST)
    return Trial(
        k=len(centres),
        stability=float(np.mean(alike)),
        smallest_share=float(shares.min()),
        silhouette=_silhouette(few, _nearest(few, centres)),
    )


def _silhouette(points: Floats, split: Integers) -> float:
    """Mean silhouette; 0 where it does not exist, for one cluster or only clusters of one."""
    if not 1 < len(np.unique(split)) < len(points):
        return 0.0
    return float(silhouette_score(points, split))


def _centres(points: Floats, method: Method, ks: Sequence[int], seed: int) -> dict[int, Floats]:
    """Centres for each k, of shape (k, axes)."""
    if method == "k-means":
        return {k: _k_means(points, k, "k-means++", seed) for k in ks}
    leaves = _small_clusters(points, seed) if len(points) > WARD_AT_MOST else points
    tree = linkage(leaves, "ward")
    # Where merges tie, a cut can hold fewer clusters than asked for.
    starts = {k: _means_of(leaves, fcluster(tree, k, "maxclust")) for k in ks}
    return {k: _k_means(points, len(start), start, seed) for k, start in starts.items()}


def _k_means(points: Floats, k: int, start: Floats | Literal["k-means++"], seed: int) -> Floats:
    """Centres that k-means settles on: the best of five draws of starts, or from the start given."""
    starts = 5 if isinstance(start, str) else 1
    # scikit-learn has no types, so the type of a default is taken for the parameter's.
    fitted = KMeans(k, init=start, n_init=starts, random_state=seed).fit(points)  # pyright: ignore[reportArgumentType]
    return np.asarray(fitted.cluster_centers_)


def _small_clusters(points: Floats, seed: int) -> Floats:
    """Centres of many small clusters, in memory that grows with the customers, not their pairs."""
    small = MiniBatchKMeans(SMALL_CLUSTERS, batch_size=4096, random_state=seed).fit(points)
    return np.unique(np.asarray(small.cluster_centers_), axis=0)


def _means_of(points: Floats, cut: npt.NDArray[np.int32]) -> Floats:
    """Mean of each cluster, of shape (clusters, axes)."""
    return np.array([points[cut == cluster].mean(axis=0) for cluster in np.unique(cut)])


def _nearest(points: Floats, centres: Floats) -> Integers:
    """The nearest centre of each point, the first of equals, of shape (points,)."""
    distance = np.stack([np.sum((points - centre) ** 2, axis=1) for centre in centres], axis=1)
    return np.argmin(distance, axis=1)


def _thinned(points: Floats, at_most: int) -> Floats:
    """Every n-th point: customers come in the order of an id that is a hash, so that is a draw."""
    return points[:: max(1, -(-len(points) // at_most))]
