import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.sample.draws import Draws, shuffled_numbers

keys = st.lists(st.integers(0, 2**40), min_size=1, max_size=50, unique=True)


@settings(deadline=None, max_examples=50)
@given(keys, st.randoms(use_true_random=False))
def test_a_draw_depends_on_its_key_and_not_on_the_order_of_rows(numbers, shuffler):
    moved = list(numbers)
    shuffler.shuffle(moved)
    here, there = (dict(zip(n, Draws(3).uniform("test", pl.Series(n)), strict=True)) for n in (numbers, moved))
    assert here == there


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=200, unique=True), st.integers(0, 99))
def test_shuffled_numbers_stay_distinct(numbers, seed):
    shuffled = shuffled_numbers(pl.Series(numbers, dtype=pl.Int64), seed)
    assert len(np.unique(shuffled)) == len(numbers)
    assert shuffled.min() >= 0
    assert shuffled.max() < 2**32


def test_draws_for_two_purposes_or_seeds_are_independent():
    number = pl.Series(np.arange(20_000))
    one, other, seeded = (
        Draws(0).uniform("one", number),
        Draws(0).uniform("other", number),
        Draws(1).uniform("one", number),
    )
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.03
    assert abs(np.corrcoef(one, seeded)[0, 1]) < 0.03


def test_picks_follow_their_weights():
    picked = Draws(0).pick("test", (1, 3, 6), pl.Series(np.arange(50_000)))
    assert np.allclose(np.bincount(picked) / 50_000, (0.1, 0.3, 0.6), atol=0.01)
