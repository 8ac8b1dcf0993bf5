"""How far a population has moved since a model learned from it; what is done about that is decided elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

BINS = 10


@dataclass(frozen=True)
class Population:
    """How each feature lay over rows a model learned from: tenths, and the rows where it was not known."""

    edges: dict[str, tuple[float, ...]]
    """Upper ends of a feature's bins, rising; the last bin has none."""
    counts: dict[str, tuple[int, ...]]
    """Rows in each bin, those not known last."""

    @classmethod
    def of(cls, rows: pl.DataFrame, features: Sequence[str]) -> Self:
        """Cut each feature at its tenths."""
        edges = {name: _edges(rows[name]) for name in features}
        return cls(edges, {name: tuple(_counts(rows[name], edge).tolist()) for name, edge in edges.items()})

    def psi(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Population stability index of each feature: sum of (now - then) * ln(now / then) over the bins.

        Half a row is added to every bin, so that an empty one counts for what it can be and no more. By the usual rule
        of thumb .1 is a change to look at and .25 one to act on (Siddiqi 2006, Credit Risk Scorecards).

        Returns:
            feature and psi, the most moved first; no rows without rows to compare.
        """
        moved = [
            (name, _index(np.asarray(self.counts[name], np.float64), _counts(rows[name], edges).astype(np.float64)))
            for name, edges in self.edges.items()
            if rows.height
        ]
        figures = pl.DataFrame(moved, schema={"feature": pl.String, "psi": pl.Float64}, orient="row")
        return figures.sort("psi", "feature", descending=[True, False])

    def as_json(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        return {"edges": self.edges, "counts": self.counts}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The population that `as_json` wrote."""
        edges, counts = ({name: tuple(row) for name, row in data[part].items()} for part in ("edges", "counts"))
        return cls(edges, counts)


def _edges(values: pl.Series) -> tuple[float, ...]:
    known = values.drop_nulls().to_numpy()
    if not len(known):
        return ()
    return tuple(np.unique(np.quantile(known, np.arange(1, BINS) / BINS)).tolist())


def _counts(values: pl.Series, edges: Sequence[float]) -> NDArray[np.int64]:
    known = values.drop_nulls().to_numpy()
    bins = np.bincount(np.searchsorted(np.asarray(edges), known, side="left"), minlength=len(edges) + 1)
    return np.append(bins, values.null_count())


def _index(then: NDArray[np.float64], now: NDArray[np.float64]) -> float:
    before, after = ((counts + 0.5) / (counts + 0.5).sum() for counts in (then, now))
    return float(np.sum((after - before) * np.log(after / before)))
