"""Pairs of records that stand in one block, in batches of bounded size; what a pair is worth is not asked here."""

import itertools
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial, reduce

import numpy as np
import numpy.typing as npt

from cer_assets.identity.block import BLOCK_CAP, BlockKey, Rule, hashed
from cer_assets.identity.prepare import THREADS, Prepared

Ints = npt.NDArray[np.int64]
Positions = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]
Codes = npt.NDArray[np.uint64]
"""A pair as one number: the smaller position in the upper 32 bits, the larger one in the lower."""

PAIRS_PER_BATCH = 5_000_000
"""Pairs compared at a time, counted once per rule that finds them: what memory is bounded by."""


def coded(first: npt.NDArray[np.integer], second: npt.NDArray[np.integer]) -> Codes:
    """Pairs, each as one number."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    return (low.astype(np.uint64) << np.uint64(32)) | high.astype(np.uint64)


def ends(codes: Codes) -> tuple[Positions, Positions]:
    """The smaller and the larger position of each pair."""
    return (codes >> np.uint64(32)).astype(np.int32), (codes & np.uint64(0xFFFFFFFF)).astype(np.int32)


def among(codes: Codes, known: Codes) -> Bools:
    """Which of the codes are in `known`, which rises."""
    if not len(known):
        return np.zeros(len(codes), dtype=bool)
    places = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return known[places] == codes


@dataclass(frozen=True)
class Blocks:
    """Groups of records, one after another, positions rising inside each."""

    members: Positions
    later: npt.NDArray[np.int32]
    """Per member, how many members of its block come after it."""
    earlier: npt.NDArray[np.int32]
    """Per member, how many come before it."""

    @classmethod
    def of(cls, members: Positions, starts: Ints) -> "Blocks":
        """From members in order and the places where blocks start."""
        sizes = np.diff(starts, append=len(members))
        earlier = np.arange(len(members)) - np.repeat(starts, sizes)
        later = np.repeat(sizes, sizes) - earlier - 1
        return cls(members, later.astype(np.int32), earlier.astype(np.int32))

    @classmethod
    def joined(cls, parts: "Sequence[Blocks]") -> "Blocks":
        """The blocks of all parts."""
        none = np.empty(0, dtype=np.int32)
        return cls(
            np.concatenate([none, *(p.members for p in parts)]),
            np.concatenate([none, *(p.later for p in parts)]),
            np.concatenate([none, *(p.earlier for p in parts)]),
        )

    def batches(self, fresh: Bools | None, most: int, size: int) -> Iterator[Codes]:
        """Every pair of a block that has a `fresh` record, once, in batches of about `most` pairs.

        A pair is handed out with the smaller of its fresh records, so that batches hold pairs of different records and
        none comes twice. One record's pairs are never parted.

        Args:
            fresh: which positions; all where null.
            most: pairs of a batch, counted once per block that they share.
            size: number of positions.
        """
        owned = self.later if fresh is None else np.where(fresh[self.members], self.later + self.earlier, 0)
        if owned.sum(dtype=np.int64) <= most:
            yield from _each_once(self._pairs_of(np.flatnonzero(owned), fresh))
            return
        load = np.cumsum(np.bincount(self.members, weights=owned, minlength=size)) if len(owned) else np.zeros(size)
        whole = load[-1] if size else 0
        limits = np.searchsorted(load, np.arange(0, whole, most), side="right")
        for low, high in itertools.pairwise([*limits, size]):
            inside = (self.members >= low) & (self.members < high) & (owned > 0)
            yield from _each_once(self._pairs_of(np.flatnonzero(inside), fresh))

    def _pairs_of(self, places: Ints, fresh: Bools | None) -> Codes:
        """The pairs of the members at these places with others of their blocks."""
        later = coded(*self._with_others(places, self.later[places], 1))
        if fresh is None:
            return later
        own, other = self._with_others(places, self.earlier[places], -1)
        # A fresh record before this one hands out the pair itself.
        mine = ~fresh[other]
        return np.concatenate([later, coded(own[mine], other[mine])])

    def _with_others(self, places: Ints, others: npt.NDArray[np.int32], step: int) -> tuple[Positions, Positions]:
        own = np.repeat(places, others)
        nth = np.arange(len(own)) - np.repeat(np.cumsum(others) - others, others) + 1
        return self.members[own], self.members[own + step * nth]


def _each_once(codes: Codes) -> Iterator[Codes]:
    """The pairs in order, if there are any."""
    if len(codes):
        # numpy's own `unique` hashes, which takes thirty times as long.
        codes.sort()
        yield codes[np.concatenate([[True], codes[1:] != codes[:-1]])]


def groups_of(label: npt.NDArray[np.integer], positions: npt.NDArray[np.integer]) -> Blocks:
    """Positions that share a label as blocks."""
    order = np.argsort(label, kind="stable")
    starts = np.flatnonzero(np.diff(label[order], prepend=-1))
    return Blocks.of(positions[order].astype(np.int32), starts)


@dataclass(frozen=True)
class Blocking:
    """The blocks of each rule that hold from two to `BLOCK_CAP` records."""

    keys: Hashes
    """Per key and position the hash of the key's value, 0 where there is none."""
    rules: tuple[Rule, ...]
    blocks: Blocks
    pairs: tuple[int, ...]
    """Per rule, how many pairs its blocks bring."""
    blocked: npt.NDArray[np.uint64]
    """Per position a bit for each rule that has it in a block."""

    @property
    def size(self) -> int:
        """Number of positions."""
        return self.keys.shape[1]

    def found_by(self, codes: Codes) -> tuple[Ints, Ints]:
        """How many of the pairs each rule finds, and how many of these no other rule finds."""
        found = [self._finds(rule, codes) for rule in range(len(self.rules))]
        times = np.sum(found, axis=0, dtype=np.int64) if found else np.zeros(len(codes), np.int64)
        counts = np.array([f.sum() for f in found], dtype=np.int64)
        return counts, np.array([(f & (times == 1)).sum() for f in found], dtype=np.int64)

    def any_finds(self, codes: Codes) -> Bools:
        """Which of the pairs any rule finds."""
        found = np.zeros(len(codes), dtype=bool)
        for rule in range(len(self.rules)):
            found |= self._finds(rule, codes)
        return found

    def _finds(self, rule: int, codes: Codes) -> Bools:
        first, second = ends(codes)
        found = (self.blocked[first] >> np.uint64(rule)) & np.uint64(1) == 1
        for key in self.rules[rule]:
            values = self.keys[key]
            found &= values[first] == values[second]
        return found


def hash_keys(prepared: Prepared, keys: Sequence[BlockKey]) -> Hashes:
    """Per key and position the hash of the key's value, 0 where there is none.

    A key of one field is computed once per different value of the field.
    """
    hashes = np.zeros((len(keys), prepared.size), dtype=np.uint64)

    def of_fields(fields: tuple[int, ...]) -> None:
        numbers = [n for n, key in enumerate(keys) if key.positions == fields]
        columns = [f"coalesce({hashed(keys[n])}, 0) as k{n}" for n in numbers]
        table, place = (f"facets{fields[0]}", "v") if len(fields) == 1 else ("record_facets", "position")
        cursor = prepared.cursor()
        found = cursor.sql(f"select {', '.join(columns)} from {table} as l order by l.{place}").pl()
        cursor.close()
        for n in numbers:
            column = found[f"k{n}"].to_numpy()
            if len(fields) == 1:
                column = np.concatenate([np.zeros(1, dtype=np.uint64), column])[prepared.values[fields[0]]]
            hashes[n] = column

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(of_fields, dict.fromkeys(key.positions for key in keys)))
    return hashes


class Near:
    """Finds which of many hashes are among a few, most of the others without a search."""

    def __init__(self, few: Hashes) -> None:
        self._few = np.sort(few)
        bits = min(max(4, 6 + math.ceil(math.log2(max(len(few), 1)))), 24)
        self._shift = np.uint64(64 - bits)
        self._taken = np.zeros(1 << bits, dtype=bool)
        self._taken[self._slot(few)] = True

    def _slot(self, hashes: Hashes) -> Ints:
        return (hashes >> self._shift).astype(np.int64)

    def maybe(self, hashes: Hashes) -> Bools:
        """Which of the hashes may be among the few: all that are, and about one in sixty-four of the others."""
        return self._taken[self._slot(hashes)]

    def places(self, hashes: Hashes) -> tuple[Ints, Ints]:
        """The places of the hashes that are among the few, and the places of these among the few in rising order."""
        there = np.flatnonzero(self.maybe(hashes))
        number = np.minimum(np.searchsorted(self._few, hashes[there]), max(len(self._few) - 1, 0))
        same = self._few[number] == hashes[there]
        return there[same], number[same]


def find_blocks(
    keys: Hashes, rules: Sequence[Rule], fresh: Bools | None = None, near: Sequence[Bools] | None = None
) -> Blocking:
    """The blocks of every rule; with `fresh`, only those that have a fresh record.

    Args:
        keys: per key and position the hash of the key's value, 0 where there is none.
        rules: as places among the keys.
        fresh: which positions; all where null.
        near: what `near_to` found for the fresh ones, where that is known already.
    """
    if fresh is not None and near is None:
        near = near_to(fresh, keys)
    with ThreadPoolExecutor(THREADS) as pool:
        blocks = list(pool.map(partial(_blocks_of, keys, near, fresh), rules))
    blocked = np.zeros(keys.shape[1], dtype=np.uint64)
    for number, found in enumerate(blocks):
        blocked[found.members] |= np.uint64(1 << number)
    pairs = tuple(_pairs_in(found, fresh) for found in blocks)
    return Blocking(keys, tuple(rules), Blocks.joined(blocks), pairs, blocked)


def near_to(fresh: Bools, keys: Hashes) -> Sequence[Bools]:
    """Per key which positions hold a value of it that a fresh one holds, or perhaps does."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(partial(_near, fresh), keys))


def _near(fresh: Bools, key: Hashes) -> Bools:
    of_fresh = key[fresh]
    return Near(of_fresh[of_fresh != 0]).maybe(key) & (key != 0)


def _pairs_in(blocks: Blocks, fresh: Bools | None) -> int:
    if fresh is None:
        return int(blocks.later.sum(dtype=np.int64))
    # Pairs of a block of n with k fresh records: all but those among the n - k others.
    stale = ~fresh[blocks.members]
    before = np.cumsum(stale) - stale
    stale_earlier = before - before[np.arange(len(stale)) - blocks.earlier]
    return int(blocks.later.sum(dtype=np.int64) - stale_earlier[stale].sum())


_MIX = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: multiplying by it spreads a number over all bits (Knuth, TAOCP 3, 6.4)."""


def _blocks_of(keys: Hashes, near: Sequence[Bools] | None, fresh: Bools | None, rule: Rule) -> Blocks:
    size = keys.shape[1]
    there = reduce(np.logical_and, (keys[key] != 0 if near is None else near[key] for key in rule))
    positions = np.flatnonzero(there)
    # Where most are there, mixing all is faster than picking them first, key by key.
    mixed_at = slice(None) if near is None else positions
    shared = np.zeros(size if near is None else len(positions), dtype=np.uint64)
    for key in rule:
        shared = (shared ^ keys[key][mixed_at]) * _MIX
    shared = shared[positions] if near is None else shared
    positions, shared = _not_alone(positions, shared, fresh)
    # Position and hash in one number: sorting these is many times faster than sorting by hash.
    bits = np.uint64(max(size - 1, 1).bit_length())
    rest = (np.uint64(1) << bits) - np.uint64(1)
    ordered = np.sort((shared & ~rest) | positions.astype(np.uint64))
    members, block = (ordered & rest).astype(np.int32), ordered >> bits
    starts = np.flatnonzero(np.concatenate([np.ones(min(len(block), 1), dtype=bool), block[1:] != block[:-1]]))
    sizes = np.diff(starts, append=len(members))
    kept = (sizes > 1) & (sizes <= BLOCK_CAP)
    if fresh is not None and len(starts):
        kept &= np.logical_or.reduceat(fresh[members], starts)
    members = members[np.repeat(kept, sizes)]
    sizes = sizes[kept]
    return Blocks.of(members, np.cumsum(sizes) - sizes)


def _not_alone(positions: Ints, shared: Hashes, fresh: Bools | None) -> tuple[Ints, Hashes]:
    """Leave out most records whose hash no other (no fresh) record has, without sorting."""
    if fresh is not None:
        kept = Near(shared[fresh[positions]]).maybe(shared)
    else:
        bits = min(max(4, 3 + math.ceil(math.log2(max(len(positions), 1)))), 24)
        slot = (shared >> np.uint64(64 - bits)).astype(np.int64)
        kept = np.bincount(slot, minlength=1 << bits)[slot] > 1
    return positions[kept], shared[kept]
