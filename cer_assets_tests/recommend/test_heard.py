"""Figures of what a block of scores says are those of its finite entries, row by row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.recommend.heard import Heard

SCORES = st.lists(
    st.lists(st.one_of(st.just(-np.inf), st.floats(-100, 100, width=32)), min_size=5, max_size=5),
    min_size=1,
    max_size=6,
)


@settings(deadline=None, max_examples=60)
@given(SCORES)
def test_a_silent_place_counts_for_nothing(rows: list[list[float]]) -> None:
    scores = np.array(rows, np.float32)
    heard = Heard.of(scores)
    mean, spread = heard.moments()
    for number, row in enumerate(scores):
        said = row[np.isfinite(row)]
        assert heard.count[number] == len(said)
        assert heard.least()[number] == said.min(initial=np.inf)
        assert heard.most()[number] == said.max(initial=-np.inf)
        assert mean[number] == pytest.approx(said.mean() if len(said) else 0, abs=1e-4)
        assert spread[number] == pytest.approx(said.std() if len(said) else 0, abs=1e-4)
    assert np.array_equal(heard.spread_out(heard.scores, -np.inf), scores)
    assert heard.each(np.arange(len(scores))).tolist() == np.nonzero(np.isfinite(scores))[0].tolist()
