"""What a block of scores says: its finite entries, and figures of each row's. What scores mean is the models'."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cer_assets.recommend.topk import Scores


@dataclass(frozen=True)
class Heard:
    """The finite scores of a block, row after row: work on them grows with what is said, not with what could be."""

    known: NDArray[np.bool_]
    """Where they are (rows x columns)."""
    scores: Scores
    """What they are (n)."""
    count: NDArray[np.int64]
    """How many of each row."""

    @classmethod
    def of(cls, scores: Scores) -> Self:
        """Those of a block (rows x columns)."""
        known = np.isfinite(scores)
        count = np.count_nonzero(known, axis=1)
        # A copy of everything in the same order is not needed where nothing is left out.
        return cls(known, scores.reshape(-1) if count.sum() == scores.size else scores[known], count)

    def least(self) -> Scores:
        """The smallest of each row, inf for a silent one (rows)."""
        return self._by_row(np.minimum, np.full(len(self.count), np.inf, np.float32), self.scores)

    def most(self) -> Scores:
        """The largest of each row, -inf for a silent one (rows)."""
        return self._by_row(np.maximum, np.full(len(self.count), -np.inf, np.float32), self.scores)

    def moments(self) -> tuple[Scores, Scores]:
        """Mean and standard deviation of each row, 0 for a silent one (rows, rows); added up in double precision."""
        number = np.maximum(self.count, 1)
        mean = (self._sums(self.scores) / number).astype(np.float32)
        squares = self._sums(np.square(self.scores - self.each(mean)))
        return mean, np.sqrt(squares / number).astype(np.float32)

    def each(self, of_rows: NDArray[Any]) -> NDArray[Any]:
        """A value of each row, once for each of its scores (n)."""
        return np.repeat(of_rows, self.count)

    def spread_out(self, values: NDArray[np.floating[Any]], otherwise: float) -> Scores:
        """A value of each score where it stands in the block, and something else where a row is silent."""
        block = np.full(self.known.shape, otherwise, np.float32)
        block[self.known] = values
        return block

    def _sums(self, values: Scores) -> NDArray[np.float64]:
        return self._by_row(np.add, np.zeros(len(self.count)), values)

    def _by_row(self, reduce: np.ufunc, found: NDArray[Any], values: Scores) -> NDArray[Any]:
        some = np.flatnonzero(self.count)
        if len(some):
            first = (np.cumsum(self.count) - self.count)[some]
            found[some] = reduce.reduceat(values, first, dtype=found.dtype)
        return found
