from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.identity.pool import pairs_around

RULES = [(0,), (1,), (0, 1)]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30),
    st.sets(st.integers(0, 29)),
)
def test_pairs_around_some_records_are_those_that_a_rule_finds_and_that_have_one_of_them(
    rows: list[tuple[int, int]], drawn: set[int]
) -> None:
    around = np.array([position for position in sorted(drawn) if position < len(rows)], dtype=np.int32)
    found = pairs_around(np.array(rows, dtype=np.uint64).T, RULES, around)
    # A key of 0 is no value.
    assert found.rows() == [
        (rule, a, b)
        for a, b in combinations(range(len(rows)), 2)
        for rule, keys in enumerate(RULES)
        if {a, b} & set(around.tolist()) and all(rows[a][key] == rows[b][key] != 0 for key in keys)
    ]
