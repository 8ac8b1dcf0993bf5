"""What follows from what, learned from one time to the time after it."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from cer_assets.recommend.families.forward import Forward, ForwardSettings
from cer_assets.recommend.interactions import interactions
from cer_assets.recommend.linear import of_rank
from cer_assets_tests.recommend.conftest import CUSTOMERS, CUT, START, order_lines

NOTHING = pl.DataFrame()
"""No catalogue."""
DAY = dt.timedelta(days=1)


def test_it_finds_the_taste_of_a_customer(shop: pl.DataFrame) -> None:
    model = Forward(ForwardSettings(regularization=0.5)).fit(interactions(shop, CUT, 2), NOTHING, CUT)
    lists = model.recommend(pl.Series([f"c{number:02}" for number in range(CUSTOMERS)]), 8)
    odd = pl.col("customer_id").str.slice(1).cast(pl.Int64) % 2 == 1
    assert lists.select(((pl.col("product_id") >= "p15") == odd).mean()).item() > 0.95


def test_it_learns_what_comes_after_not_what_came_before() -> None:
    late = CUT - 10 * DAY
    taught = [(f"x{n}", product, day) for n in range(20) for product, day in (("nappies", START), ("toys", late))]
    others = [(f"y{n}", product, day) for n in range(20) for product, day in (("tea", START), ("jam", late))]
    asked = [("parent", "nappies", CUT - DAY), ("former", "toys", CUT - DAY)]
    history = interactions(order_lines(taught + others + asked), CUT, 1)
    model = Forward(ForwardSettings(regularization=0.1, intercept=0)).fit(history, NOTHING, CUT)
    scores = model.score(history.row_of(pl.Series(["parent", "former"])))
    nappies, toys = history.column_of(pl.Series(["nappies", "toys"]))
    assert scores[0, toys] > 0.3
    assert np.isneginf(scores[1, nappies])
    parent = history.row_of(pl.Series(["parent"]))
    assert model.behind(parent, np.array([[toys]], np.int32), np.arange(4)).tolist() == [[nappies]]


@pytest.mark.parametrize("intercept", [0, 1])
def test_of_who_bought_nothing_it_has_seen_followed_it_says_nothing(intercept: int) -> None:
    late = CUT - 10 * DAY
    taught = [(f"x{n}", product, day) for n in range(20) for product, day in (("nappies", START), ("toys", late))]
    history = interactions(order_lines([*taught, ("newcomer", "novelty", late)]), CUT, 1)
    model = Forward(ForwardSettings(intercept=intercept)).fit(history, NOTHING, CUT)
    assert np.isneginf(model.score(history.row_of(pl.Series(["newcomer"])))).all()
    toys = history.column_of(pl.Series(["toys"]))
    assert np.isfinite(model.score(history.row_of(pl.Series(["x0"])))[:, toys]).all()


def test_without_a_time_before_the_window_it_says_nothing() -> None:
    history = interactions(order_lines([("a", "p", CUT - DAY), ("b", "q", CUT - DAY)]), CUT, 1)
    model = Forward().fit(history, NOTHING, CUT)
    assert np.isneginf(model.score(np.array([0, 1, -1], np.int32))).all()


def test_the_order_of_lines_changes_nothing(shop: pl.DataFrame) -> None:
    shuffled = shop.sample(fraction=1, shuffle=True, seed=1)
    one, other = (Forward().fit(interactions(lines, CUT, 2), NOTHING, CUT) for lines in (shop, shuffled))
    assert one.coefficients_.tobytes() == other.coefficients_.tobytes()


@pytest.mark.parametrize("rank", [1, 4, 8])
def test_a_lower_rank_leaves_the_fitted_values_nearest_to_all_of_them(rank: int) -> None:
    rng = np.random.default_rng(rank)
    inputs = rng.random((30, 8)).astype(np.float32)
    coefficients = rng.normal(size=(8, 8)).astype(np.float32)
    left, sizes, right = np.linalg.svd(inputs @ coefficients, full_matrices=False)
    nearest = (left[:, :rank] * sizes[:rank]) @ right[:rank]
    lower = of_rank(coefficients, sparse.csr_matrix(inputs), rank)
    np.testing.assert_allclose(inputs @ lower, nearest, atol=1e-3)
