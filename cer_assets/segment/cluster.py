"""Clusters of customers by their features, with k chosen by repetition; what they mean is elsewhere.

Features are cut to a few principal axes first, so that a handful of clusters is not spent on noise.
The agglomerative way then is hierarchical clustering on principal components with consolidation:
Ward's tree cut at k, its clusters' means as the start of k-means (Husson, Josse & Pages 2010,
Principal component methods - hierarchical clustering - partitional clustering).

How stable a split is says the bootstrap (Hennig 2007, Cluster-wise assessment of cluster stability): scaling, axes and
centres are found anew on customers drawn with replacement, and both splits of everyone are compared.
"""

import io
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
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

METHODS: tuple[Method, ...] = ("k-means", "agglomerative")

KS = range(3, 9)

# A split is believed if customers drawn again are split alike (adjusted Rand index), and no segment
# is too small to be worth an action of its own.
STABLE = 0.85
SMALLEST_SHARE = 0.05

# Silhouettes this close are the same: of equals the more detailed split tells more.
SILHOUETTE_TIE = 0.03

# How much less stable than the bound, how much lower in silhouette than the best, and how much looser than what a fresh
# start finds the segments of the run before may be and still be kept: figures near a bound would otherwise turn the
# segments over from one day to the next.
STABILITY_SLACK = 0.05
SILHOUETTE_SLACK = 0.05
INERTIA_SLACK = 0.02

AXES = 4

# Standard deviations beyond which a customer is as far out as they can be.
CLIP = 3.0

# Fewer customers than this for each segment make no segment.
CUSTOMERS_A_SEGMENT = 10

# Customers the centres are found on, beyond which they no longer move.
FIT_AT_MOST = 50_000

# Ward's tree needs the distances of all pairs: 5,000 customers take 100 MB. Beyond, it is built on the centres of this
# many small k-means clusters, each as heavy as its customers.
WARD_AT_MOST = 5_000
SMALL_CLUSTERS = 500

BOOTSTRAPS = 20

# A sample smaller than the customers repeats a split less well than it deserves, so this errs on
# the careful side; a tree costs the square of its size.
BOOTSTRAP_AT_MOST: Mapping[Method, int] = {"k-means": 5_000, "agglomerative": 2_000}
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
class Axes:
    """Where customers are placed by their features.

    Attributes:
        mean: of each feature, of shape (features,).
        scale: standard deviation of each feature, 1 where it is constant, of shape (features,).
        loadings: what each standardised feature adds to each axis, of shape (features, axes).
    """

    mean: Floats
    scale: Floats
    loadings: Floats

    def place(self, values: Floats) -> Floats:
        """Features of shape (customers, features) as points of shape (customers, axes)."""
        return np.clip((values - self.mean) / self.scale, -CLIP, CLIP) @ self.loadings


AxesOf = Callable[[Floats], Axes]


@dataclass(frozen=True, eq=False)
class SegmentModel:
    """Fitted segments: a customer belongs to the nearest centre.

    Attributes:
        method: how the centres were found.
        as_of: the last day that the features it was fitted on know of.
        features: the columns it reads, in order.
        axes: where it places customers.
        centres: of shape (segments, axes).
        labels: the number of each segment, of shape (segments,).
        trials: the figures of each k tried, from which k was chosen.
        seed: what the draws were seeded with.
        names: the name of each segment by its number, once it has been named.
    """

    method: Method
    as_of: date
    features: tuple[str, ...]
    axes: Axes
    centres: Floats
    labels: Integers
    trials: tuple[Trial, ...]
    seed: int
    names: Mapping[int, str] = field(default_factory=dict[int, str])

    @property
    def k(self) -> int:
        """Number of segments."""
        return len(self.centres)

    @property
    def trial(self) -> Trial | None:
        """How the chosen number of segments did; None where there was nothing to choose."""
        return next((trial for trial in self.trials if trial.k == self.k), None)

    def place(self, features: pl.DataFrame) -> Floats:
        """Customers on the model's axes, of shape (customers, axes), in the order of the rows.

        Raises:
            polars.exceptions.ColumnNotFoundError: a feature of the model is missing.
        """
        with threadpool_limits(limits=1):
            return self.axes.place(features.select(self.features).to_numpy().astype(np.float64))

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

    def named(self, names: Mapping[int, str]) -> "SegmentModel":
        """The same segments with a name each."""
        return replace(self, names=dict(sorted(names.items())))

    def card(self) -> dict[str, Any]:
        """What the model is and how k was chosen, for a registry: JSON values."""
        chosen = self.trial
        return {
            "method": self.method,
            "as_of": self.as_of.isoformat(),
            "features": list(self.features),
            "segments": self.k,
            "labels": [int(label) for label in self.labels],
            "names": {str(label): name for label, name in self.names.items()},
            "seed": self.seed,
            "sound": chosen is not None and chosen.sound,
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
            mean=self.axes.mean,
            scale=self.axes.scale,
            loadings=self.axes.loadings,
            centres=self.centres,
            labels=self.labels,
        )
        settings = {
            "method": self.method,
            "as_of": self.as_of.isoformat(),
            "features": list(self.features),
            "trials": [vars(trial) for trial in self.trials],
            "seed": self.seed,
            "names": {str(label): name for label, name in self.names.items()},
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
                as_of=date.fromisoformat(settings["as_of"]),
                features=tuple(settings["features"]),
                axes=Axes(arrays["mean"], arrays["scale"], arrays["loadings"]),
                centres=arrays["centres"],
                labels=arrays["labels"],
                trials=tuple(Trial(**trial) for trial in settings["trials"]),
                seed=settings["seed"],
                names={int(label): name for label, name in settings["names"].items()},
            )


def fit(
    features: pl.DataFrame,
    method: Method,
    as_of: date,
    *,
    standardise: bool = True,
    weights: Mapping[str, float] | None = None,
    previous: pl.DataFrame | None = None,
    seed: int = 0,
) -> SegmentModel:
    """Find segments, and how many there are.

    For each k of `KS` the whole fit is repeated on bootstrap samples. Of the k that are `sound` those are looked at
    whose silhouette is as good as the best's, and the largest is taken; if none is sound, the most stable without a
    splinter, then the most stable. The number of `previous` segments is kept while it is nearly as good, and so are
    their centres while a fresh start finds none that are clearly tighter. Fewer than three times ten customers, or
    than three different ones, are one segment. Segments are numbered from 1, the largest first, or after `previous`.

    Args:
        features: customer_id and Float64 features without nulls, in any order.
        method: `k-means` or `agglomerative`.
        as_of: the last day that the features know of.
        standardise: give each feature the same weight; otherwise its own standard deviation, as
            befits features in the same unit.
        weights: how many times that weight a feature counts; once unless given.
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
    before = None if previous is None else _before(previous, features)
    weight = np.array([(weights or {}).get(name, 1.0) for name in names])

    def axes_of(some: Floats) -> Axes:
        return _principal_axes(some, weight, standardise)

    with threadpool_limits(limits=1):
        axes = axes_of(values)
        points = axes.place(values)
        centres, trials = _choose(values, points, method, axes_of, seed, before)
    order = np.argsort(-np.bincount(_nearest(points, centres), minlength=len(centres)), kind="stable")
    numbers = np.arange(1, len(centres) + 1)
    model = SegmentModel(method, as_of, names, axes, centres[order], numbers, trials, seed)
    if previous is not None:
        model = model.relabelled(match_labels(previous, model.assign(features)))
    log.info("%s: %d segments of %d customers", method, model.k, len(features))
    return model


def _before(previous: pl.DataFrame, features: pl.DataFrame) -> Integers:
    """The place of each customer's previous segment among the previous segments; -1 for a new customer."""
    numbers = previous["segment"].unique().sort()
    places = previous.select(
        "customer_id", pl.col("segment").replace_strict(numbers, pl.int_range(len(numbers), eager=True)).alias("place")
    )
    return features.join(places, on="customer_id", how="left", maintain_order="left")["place"].fill_null(-1).to_numpy()


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
    trial = model.trial
    return (None, None, None) if trial is None else (trial.stability, trial.smallest_share, trial.silhouette)


def _principal_axes(values: Floats, weights: Floats, standardise: bool) -> Axes:
    """The first `AXES` principal axes of the features, which count by their weights."""
    if not len(values):
        width = values.shape[1]
        return Axes(np.zeros(width), np.ones(width), np.zeros((width, 1)))
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    varies = deviation > 1e-9
    scale = np.where(varies, deviation, 1.0)
    weight = np.where(varies, weights * (1.0 if standardise else deviation), 0.0)
    standard = np.clip((values - mean) / scale, -CLIP, CLIP) * weight
    variances, vectors = np.linalg.eigh(standard.T @ standard / len(values))
    count = int(np.clip(np.sum(variances > 1e-9), 1, AXES))
    axes = vectors[:, ::-1][:, :count]
    # An axis may point either way; its largest part decides.
    largest = axes[np.argmax(np.abs(axes), axis=0), np.arange(count)]
    return Axes(mean, scale, weight[:, None] * axes * np.where(largest < 0, -1.0, 1.0))


def _choose(
    values: Floats, points: Floats, method: Method, axes_of: AxesOf, seed: int, before: Integers | None
) -> tuple[Floats, tuple[Trial, ...]]:
    """Centres of the chosen number of segments, and the figures of all that were tried."""
    sample = _thinned(points, FIT_AT_MOST)
    different = len(np.unique(np.round(sample, 9), axis=0))
    ks = [k for k in KS if k <= different and k * CUSTOMERS_A_SEGMENT <= len(points)]
    if not ks:
        return np.zeros((1, points.shape[1])), ()
    centres = _centres(sample, method, ks, seed)
    kept = 0 if before is None else int(before.max(initial=-1)) + 1
    if before is not None and kept in centres:
        centres[kept] = _kept_centres(sample, _thinned(before, FIT_AT_MOST), centres[kept], seed)
    alike = _stability(_thinned(values, BOOTSTRAP_AT_MOST[method]), points, centres, method, axes_of, seed)
    trials = {k: _trial(points, centres[k], alike[k]) for k in ks}
    taken = choice(list(trials.values()))
    best = next(k for k in ks if trials[k] is taken)
    if kept in trials and trials[kept].nearly_as_good(trials[best]):
        best = kept
    return centres[best], tuple(trials.values())


def choice(trials: Sequence[Trial]) -> Trial:
    """The number of segments to take, from how each did."""
    if sound := [trial for trial in trials if trial.sound]:
        best = max(trial.silhouette for trial in sound)
        return max((trial for trial in sound if trial.silhouette >= best - SILHOUETTE_TIE), key=lambda trial: trial.k)
    return max(trials, key=lambda trial: (trial.smallest_share >= SMALLEST_SHARE, trial.stability, -trial.k))


def _kept_centres(points: Floats, before: Integers, fresh: Floats, seed: int) -> Floats:
    """Centres that grow out of the segments of the run before, unless fresh ones are clearly tighter."""
    present = before >= 0
    if len(np.unique(before[present])) < len(fresh):
        return fresh
    grown = _k_means(points, len(fresh), _means_of(points[present], before[present]), seed)
    return grown if _inertia(points, grown) <= (1 + INERTIA_SLACK) * _inertia(points, fresh) else fresh


def _stability(
    values: Floats, points: Floats, centres: Mapping[int, Floats], method: Method, axes_of: AxesOf, seed: int
) -> dict[int, Floats]:
    """Adjusted Rand index of each k between the split and its repetitions on customers drawn again."""
    base = _thinned(points, BOOTSTRAP_AT_MOST[method])
    splits = {k: _nearest(base, of_k) for k, of_k in centres.items()}
    alike: dict[int, list[float]] = {k: [] for k in centres}
    generator = np.random.default_rng(seed)
    for _ in range(BOOTSTRAPS):
        drawn = values[generator.integers(len(values), size=len(values))]
        axes = axes_of(drawn)
        everyone, again = axes.place(values), axes.place(drawn)
        different = len(np.unique(np.round(again, 9), axis=0))
        repeated = _repeated(again, everyone, splits, method, [k for k in centres if k <= different], seed)
        for k, split in splits.items():
            of_k = repeated.get(k)
            alike[k].append(0.0 if of_k is None else float(adjusted_rand_score(split, _nearest(everyone, of_k))))
    return {k: np.array(figures) for k, figures in alike.items()}


def _repeated(
    drawn: Floats, everyone: Floats, splits: Mapping[int, Integers], method: Method, ks: Sequence[int], seed: int
) -> dict[int, Floats]:
    """Centres on drawn customers; for k-means the tighter of fresh starts and of the split that is to be repeated."""
    centres = _centres(drawn, method, ks, seed, starts=2)
    if method == "agglomerative":
        return centres
    for k in ks:
        again = _k_means(drawn, len(np.unique(splits[k])), _means_of(everyone, splits[k]), seed)
        if _inertia(drawn, again) < _inertia(drawn, centres[k]):
            centres[k] = again
    return centres


def _trial(points: Floats, centres: Floats, alike: Floats) -> Trial:
    """A split's figures, and how well it was repeated."""
    shares = np.bincount(_nearest(points, centres), minlength=len(centres)) / len(points)
    few = _thinned(points, SILHOUETTE_AT_MOST)
    return Trial(
        k=len(centres),
        stability=float(alike.mean()),
        smallest_share=float(shares.min()),
        silhouette=_silhouette(few, _nearest(few, centres)),
    )


def _silhouette(points: Floats, split: Integers) -> float:
    """Mean silhouette; 0 where it does not exist, for one cluster or only clusters of one."""
    if not 1 < len(np.unique(split)) < len(points):
        return 0.0
    return float(silhouette_score(points, split))


def _centres(points: Floats, method: Method, ks: Sequence[int], seed: int, starts: int = 5) -> dict[int, Floats]:
    """Centres for each k, of shape (k, axes)."""
    if method == "k-means":
        return {k: _k_means(points, k, "k-means++", seed, starts) for k in ks}
    # Where merges tie, a cut can hold fewer clusters than asked for.
    return {k: _k_means(points, len(start), start, seed) for k, start in _cuts_of_tree(points, ks, seed).items()}


def _cuts_of_tree(points: Floats, ks: Sequence[int], seed: int) -> dict[int, Floats]:
    """Means of the clusters of Ward's tree cut at each k."""
    if len(points) > WARD_AT_MOST:
        leaves, weights = _small_clusters(points, seed)
        return ward_cuts(leaves, weights, ks)
    tree = linkage(points, "ward")
    return {k: _means_of(points, fcluster(tree, k, "maxclust")) for k in ks}


def ward_cuts(leaves: Floats, weights: Floats, ks: Sequence[int]) -> dict[int, Floats]:
    """Means of the clusters of Ward's tree over weighted leaves, cut at each k.

    Every merge is the one that adds least inertia, which for two clusters of weights v and w is
    v w / (v + w) times the squared distance of their means (Ward 1963).

    Args:
        leaves: of shape (leaves, axes); memory and, for each merge, time grow with the square of their number.
        weights: customers that each leaf stands for, of shape (leaves,).
        ks: numbers of clusters wanted; those above the number of leaves are left out.

    Returns:
        k -> means of shape (k, axes).
    """
    means, weights = leaves.copy(), weights.astype(np.float64)
    cost = np.array([_merge_cost(means, weights, leaf) for leaf in range(len(means))])
    alive = np.ones(len(means), dtype=bool)
    cuts: dict[int, Floats] = {}
    for clusters in range(len(means), min(ks) - 1, -1):
        if clusters in ks:
            cuts[clusters] = means[alive]
        if clusters == 1:
            break
        into, gone = divmod(int(np.argmin(cost)), len(means))
        share = weights[gone] / (weights[into] + weights[gone])
        means[into] += share * (means[gone] - means[into])
        weights[into] += weights[gone]
        alive[gone] = False
        cost[into] = cost[:, into] = np.where(alive, _merge_cost(means, weights, into), np.inf)
        cost[gone] = cost[:, gone] = np.inf
    return {k: cuts[k] for k in ks if k in cuts}


def _merge_cost(means: Floats, weights: Floats, one: int) -> Floats:
    """Inertia that merging one cluster with each other adds; infinite for itself."""
    cost = weights * weights[one] / (weights + weights[one]) * np.sum((means - means[one]) ** 2, axis=1)
    cost[one] = np.inf
    return cost


def _k_means(points: Floats, k: int, start: Floats | Literal["k-means++"], seed: int, starts: int = 1) -> Floats:
    """Centres that k-means settles on: the best of some draws of starts, or from the start given."""
    # scikit-learn has no types, so the type of a default is taken for the parameter's.
    fitted = KMeans(k, init=start, n_init=starts, random_state=seed).fit(points)  # pyright: ignore[reportArgumentType]
    return np.asarray(fitted.cluster_centers_)


def _small_clusters(points: Floats, seed: int) -> tuple[Floats, Floats]:
    """Means and sizes of many small clusters, in memory that grows with the customers, not their pairs."""
    small = MiniBatchKMeans(SMALL_CLUSTERS, batch_size=4096, random_state=seed).fit(points)
    places = np.asarray(small.predict(points))
    sizes = np.bincount(places)
    present = np.flatnonzero(sizes)
    return _means_of(points, places), sizes[present].astype(np.float64)


def _means_of(points: Floats, cut: npt.NDArray[Any]) -> Floats:
    """Mean of each cluster, of shape (clusters, axes)."""
    return np.array([points[cut == cluster].mean(axis=0) for cluster in np.unique(cut)])


def _inertia(points: Floats, centres: Floats) -> float:
    """Sum of squared distances to the nearest centre."""
    return float(_distances(points, centres).min(axis=1).sum())


def _nearest(points: Floats, centres: Floats) -> Integers:
    """The nearest centre of each point, the first of equals, of shape (points,)."""
    return np.argmin(_distances(points, centres), axis=1)


def _distances(points: Floats, centres: Floats) -> Floats:
    """Squared distances, of shape (points, centres)."""
    return np.stack([np.sum((points - centre) ** 2, axis=1) for centre in centres], axis=1)


def _thinned(points: npt.NDArray[Any], at_most: int) -> npt.NDArray[Any]:
    """Every n-th point: customers come in the order of an id that is a hash, so that is a draw."""
    return points[:: max(1, -(-len(points) // at_most))]
