"""Bought together: what meets in one basket more often than by chance."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from cer_assets.recommend.families.together import PAIRS, Together, TogetherSettings, pairs
from cer_assets.recommend.interactions import Interactions, interactions
from cer_assets_tests.recommend.conftest import CUT, START, order_lines

NOTHING = pl.DataFrame()
"""No catalogue."""
DAY = dt.timedelta(days=1)
TOLD = {"pasta": "pesto", "razor": "foam"}


@pytest.fixture(scope="module")
def history() -> Interactions:
    """Ten baskets of each pair, everyone buys milk; gin meets tonic in two baskets, and what is bought on two days
    is not bought together."""
    baskets = [
        (f"c{n}{own}", day, [own, partner, "milk"])
        for n in range(10)
        for day in (START,)
        for own, partner in TOLD.items()
    ]
    baskets += [(f"g{n}", START, ["gin", "tonic", "milk"]) for n in range(2)]
    baskets += [(f"d{n}", START + gap * DAY, [what]) for n in range(10) for gap, what in enumerate(("soap", "rope"))]
    baskets += [("me", CUT - 2 * DAY, ["pasta"]), ("me", CUT - 80 * DAY, ["razor"])]
    return interactions(order_lines((who, product, day) for who, day, what in baskets for product in what), CUT, 1)


def test_pairs_name_what_meets_more_often_than_by_chance(history: Interactions) -> None:
    found = pairs(history, least_baskets=3)
    assert found.schema == PAIRS
    both_ways = set(TOLD.items()) | {(partner, own) for own, partner in TOLD.items()}
    with_milk = {(own, "milk") for pair in TOLD.items() for own in pair}
    assert set(found.select("product_id", "with_product_id").rows()) >= both_ways
    assert set(found.select("product_id", "with_product_id").rows()) <= both_ways | with_milk | {
        (partner, own) for own, partner in with_milk
    }
    pasta = found.filter(pl.col("product_id") == "pasta")
    assert pasta.row(0, named=True) == {
        "product_id": "pasta",
        "with_product_id": "pesto",
        "baskets": 10,
        "lift": pytest.approx(10 * 44 / (11 * 10)),
    }
    assert (found["lift"] > 1).all()


def test_too_few_baskets_are_no_pair(history: Interactions) -> None:
    assert "gin" not in pairs(history, least_baskets=3)["product_id"]
    assert "gin" in pairs(history, least_baskets=2)["product_id"]


def test_two_days_are_not_one_basket(history: Interactions) -> None:
    assert not pairs(history, least_baskets=1)["product_id"].is_in(["soap", "rope"]).any()


def test_the_partner_of_what_was_bought_last_comes_first_and_says_why(history: Interactions) -> None:
    model = Together(TogetherSettings(shrinkage=1)).fit(history, NOTHING, CUT)
    shown = model.recommend(pl.Series(["me"]), 5)["product_id"].to_list()
    assert shown[0] == "pesto"
    assert "foam" in shown
    me, columns = history.row_of(pl.Series(["me"])), history.column_of(pl.Series(["pesto", "foam", "rope"]))[None, :]
    behind = model.behind(me, columns, np.arange(len(history.products)))
    assert behind[0, 2] == -1
    assert history.products.gather(behind[0, :2]).to_list() == ["pasta", "razor"]


def test_a_stranger_is_told_nothing(history: Interactions) -> None:
    assert Together().fit(history, NOTHING, CUT).recommend(pl.Series(["nobody"])).is_empty()


def test_a_pair_seen_in_few_baskets_is_held_back(history: Interactions) -> None:
    gin, tonic, pasta, pesto = history.column_of(pl.Series(["gin", "tonic", "pasta", "pesto"]))
    chances = {}
    for shrinkage in (0.0, 20.0):
        settings = TogetherSettings(least_baskets=1, shrinkage=shrinkage)
        raised = Together(settings).fit(history, NOTHING, CUT).raised_
        chances[shrinkage] = raised[gin, tonic], raised[pasta, pesto]
    assert chances[0.0][0] > chances[0.0][1]
    assert chances[20.0][0] < chances[20.0][1]


def test_no_purchases_are_no_pairs() -> None:
    nothing = interactions(order_lines([("a", "p", START)]).clear(), CUT, 1)
    assert pairs(nothing).schema == PAIRS
    assert Together().fit(nothing, NOTHING, CUT).score(np.array([-1], np.int32)).shape == (1, 0)
