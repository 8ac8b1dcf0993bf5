"""EASE, against its formula."""

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from cer_assets.recommend.families.ease import Ease, EaseSettings
from cer_assets.recommend.interactions import interactions
from cer_assets.recommend.linear import most_bought, ridge
from cer_assets_tests.recommend.conftest import CUSTOMERS, CUT, START, order_lines

NOTHING = pl.DataFrame()
"""No catalogue."""
EVERYONE = pl.Series([f"c{number:02}" for number in range(CUSTOMERS)])


def test_the_coefficients_are_those_of_the_published_formula(shop: pl.DataFrame) -> None:
    history = interactions(shop, CUT, 2)
    model = Ease(EaseSettings(regularization=3, logarithm=False)).fit(history, NOTHING, CUT)
    bought = (history.counts() > 0).toarray().astype(float)
    inverse = np.linalg.inv(bought.T @ bought + 3 * np.eye(bought.shape[1]))
    published = -inverse / np.diag(inverse)
    np.fill_diagonal(published, 0)
    np.testing.assert_allclose(model.coefficients_, published, atol=1e-5)


@pytest.mark.parametrize("examples", [4, 40])
def test_a_ridge_is_the_same_from_either_side(examples: int) -> None:
    rng = np.random.default_rng(examples)
    x, y, penalty = rng.random((examples, 12)), rng.random((examples, 5)), 1 + rng.random(12)
    solved = np.linalg.solve(x.T @ x + np.diag(penalty), x.T @ y)
    ours = ridge(sparse.csr_matrix(x.astype(np.float32)), sparse.csr_matrix(y.astype(np.float32)), penalty)
    np.testing.assert_allclose(ours, solved, atol=1e-4)


def test_it_finds_the_taste_of_a_customer(shop: pl.DataFrame) -> None:
    lists = Ease(EaseSettings(regularization=10)).fit(interactions(shop, CUT, 2), NOTHING, CUT).recommend(EVERYONE, 8)
    odd = pl.col("customer_id").str.slice(1).cast(pl.Int64) % 2 == 1
    assert lists.select(((pl.col("product_id") >= "p15") == odd).all()).item()


def test_of_products_beyond_the_bound_it_says_nothing(shop: pl.DataFrame) -> None:
    history = interactions(shop, CUT, 2)
    model = Ease(EaseSettings(max_products=10)).fit(history, NOTHING, CUT)
    said = np.isfinite(model.score(np.arange(3, dtype=np.int32)))
    assert np.flatnonzero(said.any(axis=0)).tolist() == most_bought(history, 10).tolist()
    assert not said[:, np.setdiff1d(np.arange(30), model.columns_)].any()
    assert np.isneginf(model.score(np.array([-1], np.int32))).all()
    days = np.bincount(history.columns, minlength=30)
    assert days[model.columns_].min() >= np.delete(days, model.columns_).max()


def test_of_what_nothing_bought_speaks_for_or_against_it_says_nothing() -> None:
    bought = [(f"x{n}", product, START) for n in range(5) for product in ("tea", "jam")]
    bought += [(f"y{n}", product, START) for n in range(5) for product in ("nails", "wood")]
    history = interactions(order_lines([*bought, ("alone", "lamp", START)]), CUT, 1)
    model = Ease().fit(history, NOTHING, CUT)
    scores = model.score(history.row_of(pl.Series(["x0", "alone"])))
    assert np.isfinite(scores[0]).tolist() == history.products.is_in(["tea", "jam"]).to_list()
    assert np.isneginf(scores[1]).all()


def test_the_product_behind_has_the_largest_part_in_the_score(shop: pl.DataFrame) -> None:
    history = interactions(shop, CUT, 2)
    model = Ease(EaseSettings(regularization=10, max_products=25)).fit(history, NOTHING, CUT)
    rows = np.array([0, 1, -1], np.int32)
    columns = np.tile(np.arange(30, dtype=np.int32), (3, 1))
    behind = model.behind(rows, columns, np.arange(30))
    own = history.counts().toarray()
    coefficients = np.zeros((30, 30), np.float32)
    coefficients[np.ix_(model.columns_, model.columns_)] = model.coefficients_
    for row, products in zip(rows, behind, strict=True):
        parts = np.log1p(own[row])[:, None] * coefficients
        np.testing.assert_array_equal(products, np.where(parts.max(axis=0) > 0, parts.argmax(axis=0), -1))


def test_nobody_and_nothing_bought_is_no_error() -> None:
    nothing = interactions(order_lines([("a", "p", START)]).clear(), CUT, 1)
    model = Ease().fit(nothing, NOTHING, CUT)
    assert model.score(np.array([-1], np.int32)).shape == (1, 0)
    assert model.behind(np.array([-1], np.int32), np.empty((1, 0), np.int32), np.empty(0, np.int64)).shape == (1, 0)
