"""Boosted trees that scikit-learn grew, read by its own compiled loop; how they are grown and kept is the stages'.

The loop and the layout of its nodes are private to scikit-learn, whose minor version is pinned for that; what is kept
of the trees does not depend on either.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

Nodes = NDArray[np.void]
"""Nodes of all trees, one tree after the other; children are counted from their tree's first node."""

SLICE = 4_000
"""Rows read at a time, which stay in the processor's cache while tree after tree reads them, in double precision."""
_NO_CATEGORIES = np.zeros((0, 8), np.uint32)
FIELDS = tuple(PREDICTOR_RECORD_DTYPE.names)
"""What scikit-learn keeps of a node."""


def blank_nodes(number: int) -> NDArray[Any]:
    """Room for so many nodes."""
    return np.zeros(number, PREDICTOR_RECORD_DTYPE)


def sum_of_trees(nodes: Nodes, sizes: NDArray[np.int64], X: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Sum over trees of the value of the leaf that each row falls into (n).

    Args:
        nodes: of all trees.
        sizes: nodes of each tree.
        X: features as the trees were grown on, nan for not known (n x f).
    """
    result = np.zeros(len(X))
    ends = np.cumsum(sizes)
    trees = [
        TreePredictor(np.ascontiguousarray(nodes[end - size : end]), _NO_CATEGORIES, _NO_CATEGORIES)
        for end, size in zip(ends, sizes, strict=True)
    ]
    places = np.zeros(X.shape[1], np.uint32)
    for start in range(0, len(X), SLICE):
        rows = np.ascontiguousarray(X[start : start + SLICE], np.float64)
        for tree in trees:
            result[start : start + SLICE] += tree.predict(rows, _NO_CATEGORIES, places, 1)
    return result
