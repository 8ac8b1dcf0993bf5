from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.identity.block import BLOCK_CAP
from cer_assets.identity.pairs import Blocks, among, coded, ends, find_blocks, groups_of

keyed = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)
RULES = [(0,), (1,), (0, 1)]


def shared(rows: list[tuple[int, int]], rule: tuple[int, ...]) -> set[tuple[int, int]]:
    """0 is no value."""
    return {
        (a, b) for a, b in combinations(range(len(rows)), 2) if all(rows[a][key] == rows[b][key] != 0 for key in rule)
    }


@settings(deadline=None, max_examples=60)
@given(keyed, st.sets(st.integers(0, 29)), st.integers(1, 40))
def test_every_pair_with_a_fresh_record_comes_once_whatever_the_batch(
    rows: list[tuple[int, int]], drawn: set[int], most: int
) -> None:
    keys = np.array(rows, dtype=np.uint64).T
    for fresh in (None, np.isin(np.arange(len(rows)), sorted(drawn))):
        found = find_blocks(keys, RULES, fresh)
        handed = [pair for codes in found.blocks.batches(fresh, most, len(rows)) for pair in codes.tolist()]
        concerned = [{(a, b) for a, b in shared(rows, rule) if fresh is None or fresh[a] or fresh[b]} for rule in RULES]
        every = sorted(set().union(*concerned))
        codes = coded(*(np.array(every, dtype=np.int32).reshape(-1, 2).T))
        assert sorted(handed) == codes.tolist()
        assert list(found.pairs) == [len(c) for c in concerned]
        counts, only = found.found_by(codes)
        assert counts.tolist() == [len(c) for c in concerned]
        assert only.tolist() == [sum(1 for p in c if sum(p in o for o in concerned) == 1) for c in concerned]


def test_no_batch_is_much_larger_than_asked() -> None:
    keys = np.repeat(np.arange(1, 101, dtype=np.uint64), 10)[None, :]
    sizes = [len(codes) for codes in find_blocks(keys, [(0,)]).blocks.batches(None, 100, keys.shape[1])]
    assert sum(sizes) == 100 * 45
    assert max(sizes) < 120


def test_a_block_over_the_cap_brings_no_pair() -> None:
    for size, pairs in ((BLOCK_CAP, BLOCK_CAP * (BLOCK_CAP - 1) // 2), (BLOCK_CAP + 1, 0)):
        assert find_blocks(np.ones((1, size), dtype=np.uint64), [(0,)]).pairs == (pairs,)


def test_records_that_share_a_label_are_a_block() -> None:
    blocks: Blocks = groups_of(np.array([7, 3, 7, 3, 5]), np.array([0, 1, 2, 3, 4]))
    first, second = ends(np.concatenate(list(blocks.batches(None, 10, 5))))
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 2), (1, 3)]


def test_pairs_are_looked_up_among_others() -> None:
    known = np.array([2, 5, 9], dtype=np.uint64)
    assert among(np.array([1, 2, 9, 10], dtype=np.uint64), known).tolist() == [False, True, True, False]
    assert among(known, known[:0]).tolist() == [False] * 3
