"""Neighbours of products: who buys one buys the other."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from cer_assets.recommend.families.items import ItemNeighbours, ItemNeighboursSettings, members
from cer_assets.recommend.interactions import interactions
from cer_assets.recommend.likeness import strongest
from cer_assets_tests.recommend.conftest import CUSTOMERS, CUT, START, order_lines

NOTHING = pl.DataFrame()
"""No catalogue."""


@pytest.mark.parametrize("model", members(), ids=lambda model: model.name)
def test_every_weighting_finds_the_taste_of_a_customer(model: ItemNeighbours, shop: pl.DataFrame) -> None:
    history = interactions(shop, CUT, 2)
    lists = model.fit(history, NOTHING, CUT).recommend(pl.Series([f"c{number:02}" for number in range(CUSTOMERS)]), 8)
    odd = pl.col("customer_id").str.slice(1).cast(pl.Int64) % 2 == 1
    assert lists.select(((pl.col("product_id") >= "p15") == odd).all()).item()


def test_a_customer_who_buys_everything_tells_little_under_tfidf() -> None:
    everything = [("all", f"p{number}", START) for number in range(8)]
    lines = order_lines([*everything, ("a", "p0", START), ("a", "p1", START), ("b", "p0", START)])
    history = interactions(lines, CUT, 1)
    likeness = {
        weighting: ItemNeighbours(ItemNeighboursSettings(weighting=weighting)).fit(history, NOTHING, CUT).likeness_
        for weighting in ("cosine", "tfidf")
    }
    assert likeness["cosine"][0, 2] > 0.5
    assert likeness["tfidf"][0, 2] == 0
    assert likeness["tfidf"][0, 1] > 0.5


@pytest.mark.parametrize("model", members(), ids=lambda model: model.name)
def test_a_list_ends_where_nothing_is_like_what_was_bought(model: ItemNeighbours) -> None:
    pairs = [(f"x{n}", product, START) for n in range(3) for product in ("ham", "roll")]
    others = [(f"y{n}", product, START) for n in range(3) for product in ("tea", "jam", "mug")]
    history = interactions(order_lines([*pairs, *others]), CUT, 1)
    shown = model.fit(history, NOTHING, CUT).recommend(pl.Series(["x0"]), 5)["product_id"]
    assert set(shown) == {"ham", "roll"}


def test_the_product_behind_is_the_one_most_often_bought_with_it_and_never_a_namesake() -> None:
    pairs = [(f"x{n}", product, START) for n in range(5) for product in ("ham", "roll")]
    tea = [("y", product, START) for product in ("tea", "roll")]
    history = interactions(order_lines([*pairs, *tea, ("me", "ham", START), ("me", "tea", START)]), CUT, 1)
    me, roll = history.row_of(pl.Series(["me", "nobody"])), history.column_of(pl.Series(["roll"]))
    model = ItemNeighbours().fit(history, NOTHING, CUT)
    columns = np.tile(roll, (2, 1))
    own_titles = np.arange(3)
    assert model.behind(me, columns, own_titles).tolist() == [[history.products.to_list().index("ham")], [-1]]
    namesakes = np.array([1, 1, 0])  # ham and roll carry one title
    assert model.behind(me, columns, namesakes).tolist() == [[history.products.to_list().index("tea")], [-1]]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 500))
def test_pruning_keeps_the_strongest_positive_entries(rows: int, k: int, seed: int) -> None:
    dense = np.random.default_rng(seed).normal(size=(rows, 10)).astype(np.float32)
    kept = strongest(lambda some: sparse.csr_matrix(dense[some]), dense.shape, k).toarray()
    threshold = -np.sort(-dense, axis=1)[:, :k][:, -1:]
    np.testing.assert_array_equal(kept, np.where((dense >= threshold) & (dense > 0), dense, 0))
