"""Random draws that depend on what they are for, not on their order; what is drawn lives elsewhere.

A draw is a hash of the seed, a purpose in words and the keys of the row it is for. A household's people are
therefore the same in whatever chunk, size or day they are made, and any of them can be made again alone.
"""

import hashlib
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtri

Key: TypeAlias = pl.Series | NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]
Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

_GOLDEN = np.array([0x9E3779B97F4A7C15], dtype=np.uint64)
_FIRST = np.array([0xBF58476D1CE4E5B9], dtype=np.uint64)
_SECOND = np.array([0x94D049BB133111EB], dtype=np.uint64)


class Draws:
    """Draws of one seed.

    Every method takes a `purpose` (two purposes are independent) and one or more integer key columns of
    equal length, and answers with one value a row.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def bits(self, purpose: str, *keys: Key) -> NDArray[np.uint64]:
        """64 random bits a row: SplitMix64 (Steele, Lea and Flood 2014) over the keys."""
        salt = hashlib.blake2b(f"{self.seed}:{purpose}".encode(), digest_size=8).digest()
        state = np.full(len(keys[0]), int.from_bytes(salt, "little"), dtype=np.uint64)
        for key in keys:
            state = _mixed(state + _as_bits(key) * _GOLDEN)
        return state

    def uniform(self, purpose: str, *keys: Key) -> Floats:
        """Uniform in [0, 1)."""
        return (self.bits(purpose, *keys) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def happens(self, purpose: str, probability: float | Floats, *keys: Key) -> Flags:
        """True with the given probability, one for all rows or one a row."""
        return self.uniform(purpose, *keys) < probability

    def pick(self, purpose: str, weights: Sequence[float] | Floats, *keys: Key) -> Ints:
        """Positions in `weights`, each as likely as its share of their sum."""
        edges = np.cumsum(np.asarray(weights, dtype=np.float64))
        found = np.searchsorted(edges / edges[-1], self.uniform(purpose, *keys), side="right")
        return np.minimum(found, len(edges) - 1).astype(np.int64)

    def below(self, purpose: str, limit: int | Ints, *keys: Key) -> Ints:
        """Whole numbers from 0 up to, not including, `limit`."""
        return np.floor(self.uniform(purpose, *keys) * limit).astype(np.int64)

    def normal(self, purpose: str, *keys: Key) -> Floats:
        """Standard normal."""
        return ndtri(np.maximum(self.uniform(purpose, *keys), 2.0**-53))


def shuffled_numbers(numbers: Key, seed: int) -> Ints:
    """Distinct numbers below 2**32 in place of distinct numbers below 2**32, in no visible order.

    MurmurHash3's final mix is a bijection on 32 bits, so numbers that differ stay different.
    """
    mask = np.uint64(0xFFFFFFFF)
    state = (_as_bits(numbers) ^ np.uint64(seed & 0xFFFFFFFF)) & mask
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        state = ((state ^ (state >> np.uint64(shift))) * np.uint64(factor)) & mask
    return (state ^ (state >> np.uint64(16))).astype(np.int64)


def _as_bits(key: Key) -> NDArray[np.uint64]:
    values = key.cast(pl.Int64).to_numpy() if isinstance(key, pl.Series) else key
    return values.astype(np.uint64)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))
