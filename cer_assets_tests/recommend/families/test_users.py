"""Neighbours of customers: who buys alike recommends the rest of what they buy."""

import datetime as dt

import numpy as np
import polars as pl

from cer_assets.recommend.families.users import UserNeighbours, UserNeighboursSettings
from cer_assets.recommend.interactions import interactions
from cer_assets_tests.recommend.conftest import CUSTOMERS, CUT, START, order_lines

NOTHING = pl.DataFrame()
"""No catalogue."""
ONE = UserNeighboursSettings(neighbours=1, idf_power=1)


def test_it_finds_the_taste_of_a_customer(shop: pl.DataFrame) -> None:
    model = UserNeighbours(UserNeighboursSettings(neighbours=10)).fit(interactions(shop, CUT, 2), NOTHING, CUT)
    lists = model.recommend(pl.Series([f"c{number:02}" for number in range(CUSTOMERS)]), 8)
    odd = pl.col("customer_id").str.slice(1).cast(pl.Int64) % 2 == 1
    assert lists.select(((pl.col("product_id") >= "p15") == odd).all()).item()


def test_a_rare_product_in_common_says_more_than_one_that_all_buy() -> None:
    bought = [(who, "milk", START) for who in ("me", "near", "far1", "far2")]
    bought += [("me", "saffron", START), ("near", "saffron", START), ("near", "rice", START), ("far1", "beer", START)]
    history = interactions(order_lines(bought), CUT, 1)
    model = UserNeighbours(ONE).fit(history, NOTHING, CUT)
    # Bought by everyone: an IDF over products gives milk no weight at all.
    assert model.described_[:, history.column_of(pl.Series(["milk"]))].nnz == 4
    assert not model.described_[:, history.column_of(pl.Series(["milk"]))].data.any()
    nearest = model.neighbours(history.row_of(pl.Series(["me"])))
    assert nearest.indices.tolist() == history.row_of(pl.Series(["near"])).tolist()


def test_who_only_looked_makes_no_product_rarer(shop: pl.DataFrame) -> None:
    looked = {"product_id": "p03", "kind": "view", "occurred_at": dt.datetime(2024, 3, 30, 9)}
    events = pl.DataFrame([{"customer_id": f"v{number}", **looked} for number in range(50)])
    bought, visited = interactions(shop, CUT, 2), interactions(shop, CUT, 2, events=events)
    assert len(visited.customers) == len(bought.customers) + 50
    described = [UserNeighbours(ONE).fit(history, NOTHING, CUT).described_ for history in (bought, visited)]
    np.testing.assert_array_equal(described[0].data, described[1].data)


def test_nobody_is_their_own_neighbour(shop: pl.DataFrame) -> None:
    history = interactions(shop, CUT, 2)
    model = UserNeighbours().fit(history, NOTHING, CUT)
    rows = np.arange(len(history.customers), dtype=np.int32)
    assert not model.neighbours(rows).diagonal().any()


def test_only_those_of_most_purchases_are_in_a_pool_that_is_too_small_for_all() -> None:
    bought = [("seldom", "tea", START), ("often", "tea", START), ("often", "jam", START), ("me", "tea", START)]
    history = interactions(order_lines(bought), CUT, 1)
    model = UserNeighbours(UserNeighboursSettings(pool=1, idf_power=0)).fit(history, NOTHING, CUT)
    assert history.customers.gather(model.pool_).to_list() == ["often"]
    assert model.neighbours(history.row_of(pl.Series(["me", "often"]))).toarray().astype(bool).tolist() == [
        [True],
        [False],
    ]
