"""Boosted trees on many rows: grown by scikit-learn, kept as arrays."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from cer_assets.recommend.model import Scores, Settings
from cer_assets.trees import FIELDS, Nodes, blank_nodes, sum_of_trees


class TreeSettings(Settings):
    """How trees are grown (Friedman 2001, Greedy function approximation)."""

    trees: int = Field(default=100, ge=1)
    """Trees, one after the other."""
    learning_rate: float = Field(default=0.08, gt=0)
    """Share of a tree's leaves that is added."""
    leaves: int = Field(default=31, ge=2)
    """Leaves of a tree, at most."""
    examples_a_leaf: int = Field(default=100, ge=1)
    """Fewest examples of a leaf; of few examples not more than a hundredth."""
    l2: float = Field(default=10.0, ge=0)
    """Pull of a leaf towards nothing."""
    features: float = Field(default=0.3, gt=0, le=1)
    """Share of the features a question is chosen from."""
    seed: int = 0
    """Of that draw."""


@dataclass(frozen=True)
class Boosting:
    """log odds = base + sum over trees of the value of the leaf a row falls into."""

    nodes: Nodes
    sizes: NDArray[np.int64]
    """Nodes of each tree."""
    base: float
    """Log odds before the first question."""
    features: int
    """Number of features it reads."""

    @classmethod
    def grow(cls, X: Scores, y: NDArray[np.bool_], settings: TreeSettings) -> Self:
        """Grow trees on the log likelihood.

        Every row counts alike: weights make scikit-learn take six times as long, to find weighted quantiles.

        Args:
            X: features (n x f), nan for not known.
            y: outcome (n); both must occur.
            settings: how.
        """
        grower = HistGradientBoostingClassifier(
            max_iter=settings.trees,
            learning_rate=settings.learning_rate,
            max_leaf_nodes=settings.leaves,
            min_samples_leaf=min(settings.examples_a_leaf, max(len(X) // 100, 5)),
            l2_regularization=settings.l2,
            max_features=settings.features,
            early_stopping=False,  # pyright: ignore[reportArgumentType]  # typed as its default, 'auto'
            random_state=settings.seed,
        )
        # scikit-learn stumbles over a feature that is never known; as a constant it is never asked for.
        silent = np.isnan(X).all(axis=0)
        with threadpool_limits(1):  # sums over more threads come out differently each time
            grower.fit(np.where(silent, np.float32(0), X) if silent.any() else X, y)
        # The only place where scikit-learn keeps its trees.
        grown: Any = [stage[0].nodes for stage in grower._predictors]  # pyright: ignore
        base = float(np.ravel(grower._baseline_prediction)[0])  # pyright: ignore
        return cls(np.concatenate(grown), np.array([len(tree) for tree in grown]), base, X.shape[1])

    def log_odds(self, X: Scores) -> NDArray[np.float64]:
        """Log odds of each row (n), X as it was grown on (n x f)."""
        return self.base + sum_of_trees(self.nodes, self.sizes, X)

    def less(self, log_odds: float) -> Self:
        """The same trees with log odds that are all lower by so much."""
        return replace(self, base=self.base - log_odds)

    @classmethod
    def mean(cls, parts: Sequence[Self], weights: NDArray[np.float64]) -> Self:
        """All trees of several, whose log odds are the weighted mean of theirs."""
        share = weights / weights.sum()
        nodes = np.concatenate([part.nodes for part in parts])
        nodes["value"] *= np.repeat(share, [len(part.nodes) for part in parts])
        sizes = np.concatenate([part.sizes for part in parts])
        base = sum(float(own) * part.base for own, part in zip(share, parts, strict=True))
        return cls(nodes, sizes, base, parts[0].features)

    def weight_of_features(self) -> NDArray[np.float64]:
        """Share of the gain of all questions that each feature brought (f)."""
        asked = self.nodes["is_leaf"] == 0
        gain = np.bincount(self.nodes["feature_idx"][asked], self.nodes["gain"][asked], minlength=self.features)
        return gain / max(gain.sum(), 1e-12)

    def as_bytes(self) -> bytes:
        """Arrays as `npz` without pickle; the same trees give the same bytes."""
        kept: dict[str, Any] = {name: self.nodes[name] for name in FIELDS}
        file = io.BytesIO()
        np.savez(file, sizes=self.sizes, base=np.array(self.base), features=np.array(self.features), **kept)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The trees that `as_bytes` wrote."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            kept: Mapping[str, NDArray[Any]] = arrays
            nodes: NDArray[Any] = blank_nodes(len(kept["value"]))
            for name in FIELDS:
                nodes[name] = kept[name]
            return cls(nodes, kept["sizes"], float(kept["base"]), int(kept["features"]))
