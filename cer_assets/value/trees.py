"""Boosted regression trees kept as plain numbers: learned by scikit-learn, stored and read without it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from cer_assets.value.histories import Floats

DEPTH = 3
INNER, LEAVES = 2**DEPTH - 1, 2**DEPTH
SHARE_OF_ROWS, SHARE_OF_FEATURES = 0.7, 0.15

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Trees:
    """log of the mean = base + the leaf of every tree; all trees are complete, `DEPTH` questions deep.

    Question k of a tree is followed by 2k + 1 where the answer is no and by 2k + 2 where it is yes, so that a tree
    answers all its questions for all rows at once. A branch that ended early is filled up with questions that are
    always answered no.

    Attributes:
        base: log of the mean before any tree.
        feature: column that a question asks about, of shape (trees, INNER).
        threshold: yes above it, likewise.
        unknown: yes where the value is nan, likewise.
        leaf: what a leaf adds, of shape (trees, LEAVES).
        importance: share of the gain in likelihood that each feature brought, of shape (features,).
    """

    base: float
    feature: npt.NDArray[np.int64]
    threshold: Floats
    unknown: Bools
    leaf: Floats
    importance: Floats

    @classmethod
    def fit(
        cls,
        X: Floats,
        y: Floats,
        monotone: list[int] | None = None,
        *,
        trees: int = 100,
        bags: int = 3,
        learning_rate: float = 0.05,
        least: int = 50,
        seed: int = 0,
    ) -> "Trees":
        """Learn a mean above zero by Poisson likelihood, for amounts as for counts.

        Several runs, each on a random 70 % of the rows and with a random choice of features for every question, are
        averaged on the log scale (bagging, Breiman 1996): single trees follow chance, their mean hardly does.

        Args:
            X: features (n x f), nan for not known.
            y: outcomes (n), not negative.
            monotone: per feature whether the mean may only rise (1) or fall (-1) with it; 0 either.
            trees: how many a run.
            bags: runs.
            learning_rate: how much of what a tree found is added.
            least: rows that a leaf must stand on.
            seed: of rows and features.
        """
        generator = np.random.default_rng(seed)
        runs = [
            _grow(X[rows], y[rows], monotone, trees, learning_rate, least, seed + run)
            for run, rows in enumerate(generator.random((bags, len(y))) < SHARE_OF_ROWS)
        ]
        return complete(runs, X.shape[1])

    def predict(self, X: Floats) -> Floats:
        """The mean of each row of features (n x f), best by column in memory."""
        total = np.full(len(X), self.base)
        for feature, threshold, unknown, leaf in zip(
            self.feature, self.threshold, self.unknown, self.leaf, strict=True
        ):
            yes = [_answers(X[:, f], t, u) for f, t, u in zip(feature, threshold, unknown, strict=True)]
            total += leaf[_leaves(yes)]
        return np.exp(total)

    def as_json(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        return {
            "base": self.base,
            "feature": self.feature.tolist(),
            # JSON knows no infinity: a question that is always answered no has no threshold.
            "threshold": [[t if np.isfinite(t) else None for t in row] for row in self.threshold.tolist()],
            "unknown": self.unknown.tolist(),
            "leaf": self.leaf.tolist(),
            "importance": self.importance.tolist(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The trees that `as_json` wrote."""
        threshold = [[np.inf if t is None else t for t in row] for row in data["threshold"]]
        return cls(
            float(data["base"]),
            np.array(data["feature"], dtype=np.int64).reshape(-1, INNER),
            np.array(threshold, dtype=np.float64).reshape(-1, INNER),
            np.array(data["unknown"], dtype=np.bool_).reshape(-1, INNER),
            np.array(data["leaf"], dtype=np.float64).reshape(-1, LEAVES),
            np.array(data["importance"], dtype=np.float64),
        )

    def __eq__(self, other: object) -> bool:
        """Whether both are the same numbers."""
        return isinstance(other, Trees) and self.as_json() == other.as_json()


def complete(runs: Sequence[HistGradientBoostingRegressor], features: int) -> Trees:
    """The mean on the log scale of fitted boosting runs, every tree filled up to `DEPTH`."""
    grown = [cast("npt.NDArray[np.void]", each[0].nodes) for run in runs for each in run._predictors]  # pyright: ignore[reportPrivateUsage]  # scikit-learn shows its trees nowhere else
    feature, threshold, unknown, leaf = (
        np.array(column) for column in zip(*(_complete(nodes) for nodes in grown), strict=True)
    )
    gain = np.zeros(features)
    for nodes in grown:
        inner = nodes[nodes["is_leaf"] == 0]
        np.add.at(gain, inner["feature_idx"], inner["gain"])
    base = np.mean([np.ravel(run._baseline_prediction)[0] for run in runs])  # pyright: ignore[reportPrivateUsage]  # likewise
    importance = gain / gain.sum() if gain.sum() > 0 else gain
    return Trees(float(base), feature, threshold, unknown, leaf / len(runs), importance)


def _grow(
    X: Floats, y: Floats, monotone: list[int] | None, trees: int, learning_rate: float, least: int, seed: int
) -> HistGradientBoostingRegressor:
    """One run of boosting on one thread, which adds up in one order."""
    model = HistGradientBoostingRegressor(
        loss="poisson",
        max_iter=trees,
        learning_rate=learning_rate,
        max_depth=DEPTH,
        max_leaf_nodes=LEAVES,
        min_samples_leaf=least,
        l2_regularization=1.0,
        monotonic_cst=monotone,
        max_features=SHARE_OF_FEATURES,
        early_stopping=False,  # pyright: ignore[reportArgumentType]  # its default alone was looked at
        random_state=seed,
    )
    with threadpool_limits(1, user_api="openmp"):
        # scikit-learn stumbles over a feature that is never known; as a constant it is never asked for.
        return model.fit(np.where(np.isnan(X).all(axis=0), 0.0, X), y)


def _complete(nodes: npt.NDArray[np.void]) -> tuple[list[int], list[float], list[bool], list[float]]:
    """One of scikit-learn's trees with every branch filled up to `DEPTH`."""
    feature, threshold, unknown = [0] * INNER, [np.inf] * INNER, [False] * INNER
    leaf = [0.0] * LEAVES

    def fill(at: int, node: int) -> None:
        if at >= INNER:
            leaf[at - INNER] = float(nodes["value"][node])
        elif nodes["is_leaf"][node]:
            fill(2 * at + 1, node)
            fill(2 * at + 2, node)
        else:
            feature[at], threshold[at] = int(nodes["feature_idx"][node]), float(nodes["num_threshold"][node])
            unknown[at] = not nodes["missing_go_to_left"][node]
            fill(2 * at + 1, int(nodes["left"][node]))
            fill(2 * at + 2, int(nodes["right"][node]))

    fill(0, 0)
    return feature, threshold, unknown, leaf


def _answers(column: Floats, threshold: float, unknown: bool) -> Bools:
    """Whether each value is above the threshold; for nan as said."""
    return ~(column <= threshold) if unknown else column > threshold


def _leaves(yes: list[Bools]) -> npt.NDArray[np.uint8]:
    """The leaf of each row from the answers to all questions of a tree."""
    half = yes[0]
    quarter = np.where(half, yes[2], yes[1])
    eighth = np.where(half, np.where(quarter, yes[6], yes[5]), np.where(quarter, yes[4], yes[3]))
    return half.astype(np.uint8) * np.uint8(4) + quarter * np.uint8(2) + eighth
