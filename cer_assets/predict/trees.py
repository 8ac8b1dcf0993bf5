"""Gradient boosted trees as plain numbers: grown by scikit-learn, kept without it."""

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from cer_assets.predict.curves import Matrix
from cer_assets.trees import blank_nodes, sum_of_trees

SLICE = 10_000
"""Rows read at a time: what one tree asks for stays in the cache."""


@dataclass(frozen=True)
class Trees:
    """log odds = base + sum over trees of the value of the leaf a row falls into.

    Nodes of all trees lie one after the other. A leaf is its own left and right child.
    """

    roots: tuple[int, ...]
    """Where each tree begins."""
    depths: tuple[int, ...]
    """Steps from its root to its deepest leaf."""
    feature: tuple[int, ...]
    """Column a node asks for."""
    threshold: tuple[float, ...]
    """Up to it a value goes left."""
    unknown_left: tuple[bool, ...]
    """Whether nan goes left."""
    left: tuple[int, ...]
    right: tuple[int, ...]
    value: tuple[float, ...]
    """Log odds of a leaf; of a node above leaves their mean, by the rows they were grown on."""
    base: float
    """Log odds before the first question."""

    @classmethod
    def fit(cls, X: Matrix, y: NDArray[np.bool_], seed: int = 0) -> Self:
        """Grow small trees on the log likelihood (Friedman 2001), each on a third of the features.

        Args:
            X: features (n x f), nan for not known.
            y: outcome (n); both must occur.
            seed: of the draw of features.
        """
        grower = HistGradientBoostingClassifier(
            max_iter=150,
            learning_rate=0.04,
            max_leaf_nodes=10,
            max_depth=4,
            min_samples_leaf=40,
            l2_regularization=10.0,
            max_features=0.35,
            early_stopping=False,  # pyright: ignore[reportArgumentType]  # typed as its default, 'auto'
            random_state=seed,
        )
        with threadpool_limits(1):  # sums over more threads come out differently each time
            # scikit-learn stumbles over a feature that is never known; as a constant it is never asked for.
            grower.fit(np.where(np.isnan(X).all(axis=0), 0.0, X), y)
        return cls._of(grower)

    @classmethod
    def _of(cls, grower: HistGradientBoostingClassifier) -> Self:
        # The only place where scikit-learn keeps its trees.
        grown: Any = [stage[0].nodes for stage in grower._predictors]  # pyright: ignore
        sizes = [len(nodes) for nodes in grown]
        roots = np.cumsum([0, *sizes])[:-1]
        nodes, offset = np.concatenate(grown), np.repeat(roots, sizes)
        leaf, own = nodes["is_leaf"].astype(bool), np.arange(len(nodes))
        left, right = (np.where(leaf, own, nodes[side].astype(np.int64) + offset) for side in ("left", "right"))
        value = _means(nodes["value"], nodes["count"].astype(np.float64), leaf, left, right)
        return cls(
            roots=tuple(roots.tolist()),
            depths=tuple(int(one["depth"].max()) for one in grown),
            feature=tuple(np.where(leaf, 0, nodes["feature_idx"]).astype(int).tolist()),
            threshold=tuple(np.where(leaf, np.inf, nodes["num_threshold"]).tolist()),
            unknown_left=tuple(nodes["missing_go_to_left"].astype(bool).tolist()),
            left=tuple(left.tolist()),
            right=tuple(right.tolist()),
            value=tuple(value.tolist()),
            base=float(np.ravel(grower._baseline_prediction)[0]) + float(value[roots].sum()),  # pyright: ignore
        )

    def contributions(self, X: Matrix) -> Matrix:
        """What each feature adds to the log odds of each row (n x f): the steps a row takes, each laid to its question.

        They add up, with `base`, to the log odds (Saabas 2014, Interpreting random forests).
        """
        nodes = _Nodes(*(np.asarray(getattr(self, name)) for name in _Nodes.__annotations__))
        result = np.zeros(X.shape)
        for start in range(0, len(X), SLICE):
            self._walk(nodes, X[start : start + SLICE], result[start : start + SLICE])
        return result

    def _walk(self, nodes: "_Nodes", X: Matrix, result: Matrix) -> None:
        rows = np.arange(len(X))
        for root, depth in zip(self.roots, self.depths, strict=True):
            at = np.full(len(X), root)
            for _ in range(depth):
                feature = nodes.feature[at]
                x = X[rows, feature]
                goes_left = np.where(np.isnan(x), nodes.unknown_left[at], x <= nodes.threshold[at])
                below = np.where(goes_left, nodes.left[at], nodes.right[at])
                # No row occurs twice, so that nothing is added to the same place at once.
                result[rows, feature] += nodes.value[below] - nodes.value[at]
                at = below

    def log_odds(self, X: Matrix) -> NDArray[np.float64]:
        """`base` and all contributions of each row added up (n), without asking which feature moved what."""
        sizes = np.diff([*self.roots, len(self.value)])
        first = np.repeat(self.roots, sizes)
        nodes = blank_nodes(len(self.value))
        nodes["value"], nodes["feature_idx"], nodes["num_threshold"] = self.value, self.feature, self.threshold
        nodes["missing_go_to_left"] = self.unknown_left
        nodes["left"], nodes["right"] = np.asarray(self.left) - first, np.asarray(self.right) - first
        nodes["is_leaf"] = np.asarray(self.left) == np.arange(len(nodes))
        return self.base - sum(self.value[root] for root in self.roots) + sum_of_trees(nodes, sizes, X)

    def as_json(self) -> dict[str, Any]:
        """Plain lists and numbers; a leaf's threshold, which nothing exceeds, is null."""
        data = {field.name: getattr(self, field.name) for field in fields(self)}
        return data | {"threshold": [None if np.isinf(at) else at for at in self.threshold]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The trees that `as_json` wrote."""
        lists = {name: tuple(values) for name, values in data.items() if name not in ("base", "threshold")}
        return cls(
            **lists, threshold=tuple(np.inf if at is None else at for at in data["threshold"]), base=data["base"]
        )


@dataclass(frozen=True)
class _Nodes:
    """The nodes of all trees as arrays."""

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    unknown_left: NDArray[np.bool_]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    value: NDArray[np.float64]


def _means(
    value: NDArray[np.float64],
    count: NDArray[np.float64],
    leaf: NDArray[np.bool_],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Value of every node as the mean of its leaves; children lie behind their parent."""
    means = np.where(leaf, value, 0.0)
    for node in np.flatnonzero(~leaf)[::-1]:
        sides = [left[node], right[node]]
        means[node] = np.average(means[sides], weights=count[sides])
    return means
