"""Trees and curves are plain numbers whose parts add up, and a higher score never means a lower probability."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from cer_assets.predict.blend import Blend
from cer_assets.predict.trees import Trees


def drawn(n: int, seed: int, sign: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    X[rng.random(X.shape) < 0.1] = np.nan
    score = sign * 2 * np.nan_to_num(X[:, 0]) * (np.nan_to_num(X[:, 1]) > 0)
    return X, rng.random(n) < 1 / (1 + np.exp(-score))


def test_trees_say_what_scikit_learn_says() -> None:
    X, y = drawn(1500, 1)
    with threadpool_limits(1, user_api="openmp"):
        grower = HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(X, y)
        expected = grower.decision_function(X)
    trees = Trees._of(grower)  # pyright: ignore[reportPrivateUsage]  # the seam to scikit-learn is what is tested
    odds = trees.base + trees.contributions(X).sum(axis=1)
    assert odds == pytest.approx(expected)
    assert trees.log_odds(X) == pytest.approx(expected)


def test_trees_come_back_from_json_and_do_not_depend_on_threads() -> None:
    X, y = drawn(1500, 2)
    trees = Trees.fit(X, y)
    assert Trees.from_json(trees.as_json()) == trees == Trees.fit(X, y)


@settings(deadline=None, max_examples=2)
@given(seed=st.integers(0, 1000), sign=st.sampled_from([1.0, -1.0]))
def test_calibration_is_monotone_even_where_later_rows_say_the_opposite(seed: int, sign: float) -> None:
    (X, y), (later, outcome) = drawn(300, seed), drawn(300, seed + 1, sign)
    everything, happened = np.vstack([X, later]), np.append(y, outcome)
    first = np.arange(600) < 300
    blend = Blend.fit(everything, happened, first, ~first)
    probability = blend.probability(everything)
    assert blend.slope > 0
    assert ((probability >= 0) & (probability <= 1)).all()
    odds = blend.base + blend.contributions(everything).sum(axis=1)
    assert probability == pytest.approx(1 / (1 + np.exp(-odds)))
    assert blend.contributions(everything).mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-9)
    assert Blend.from_json(blend.as_json()) == blend
