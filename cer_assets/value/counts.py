"""What a model of purchase counts says about a horizon; what a purchase is worth is elsewhere."""

from dataclasses import dataclass

import numpy as np

from cer_assets.value.histories import Floats

# The integrands are smooth powers of time: sixteen nodes leave less than one part in a million.
NODES = 16


@dataclass(frozen=True)
class Counts:
    """Number of purchases N in a horizon, per customer, each of shape (customers,).

    Attributes:
        p_none: P(N = 0).
        mean: E[N].
        pairs: E[N (N - 1)], from which the variance follows.
    """

    p_none: Floats
    mean: Floats
    pairs: Floats


def gauss_legendre(end: float, nodes: int = NODES) -> tuple[Floats, Floats]:
    """Nodes and weights of the Gauss-Legendre rule on (0, end), each of shape (nodes,)."""
    at, weights = np.polynomial.legendre.leggauss(nodes)
    return (at + 1) * end / 2, weights * end / 2
