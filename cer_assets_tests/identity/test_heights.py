import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.identity.cluster import average_linkage
from cer_assets.identity.heights import LOWEST, across, joined_at

pairs = st.dictionaries(
    st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda pair: pair[0] < pair[1]),
    st.integers(0, 1_000_000),
    max_size=20,
)


@settings(deadline=None, max_examples=60)
@given(pairs, st.integers(round(LOWEST * 1e6), 1_000_000))
def test_a_pair_is_joined_at_a_height_that_is_at_least_the_cut_if_and_only_if_clustering_joins_it(
    scored: dict[tuple[int, int], int], cut: int
) -> None:
    first, second = np.array(sorted(scored), dtype=np.int64).reshape(-1, 2).T
    score = np.array([scored[pair] for pair in sorted(scored)], dtype=np.int64)
    height = joined_at(first, second, score)
    group = average_linkage(first, second, score, 8, cut, 300)
    together = group[first] == group[second]
    assert ((height >= cut / 1e6) == together).all()


def test_pairs_within_a_group_are_no_candidates() -> None:
    candidates = pl.DataFrame({"first": [0, 0, 1], "second": [1, 2, 2]})
    assert across(candidates, np.array([1, 1, 2])).rows() == [(0, 2), (1, 2)]
    assert across(candidates, None).equals(candidates)
