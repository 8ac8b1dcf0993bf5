"""Distinct whole numbers are those that numpy finds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cer_assets.arrays import distinct


@given(st.lists(st.integers(-5, 5)))
def test_distinct_numbers_are_those_of_numpy(numbers: list[int]) -> None:
    assert distinct(np.array(numbers, np.int64)).tolist() == np.unique(np.array(numbers, np.int64)).tolist()
    assert distinct(np.array([numbers, numbers], np.int32)).dtype == np.int32
