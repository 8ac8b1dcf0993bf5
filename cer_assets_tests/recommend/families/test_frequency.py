"""What a customer buys most often, and lately."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from cer_assets.recommend.families.frequency import FrequencySettings, PersonalFrequency
from cer_assets.recommend.interactions import Interactions, interactions
from cer_assets_tests.recommend.conftest import CUT, order_lines


@pytest.fixture(scope="module")
def history() -> Interactions:
    """x bought `a` three times long ago and `b` once lately; four others bought `c`, one `d`."""
    lines = [("x", "a", CUT - dt.timedelta(days=days)) for days in (100, 110, 120)]
    lines += [("x", "b", CUT - dt.timedelta(days=2))]
    lines += [(f"y{n}", "c", CUT - dt.timedelta(days=9)) for n in range(4)] + [("y0", "d", CUT - dt.timedelta(days=9))]
    return interactions(order_lines(lines), CUT, min_customers=1)


def ranking(model: PersonalFrequency, history: Interactions, customer: str) -> list[str]:
    """Products, best first."""
    return model.fit(history, pl.DataFrame(), CUT).recommend(pl.Series([customer]), 4)["product_id"].to_list()


def test_what_was_bought_on_more_days_comes_first_then_what_is_popular(history: Interactions) -> None:
    assert ranking(PersonalFrequency(), history, "x") == ["a", "b", "c", "d"]


def test_with_decay_the_recent_purchase_overtakes_the_frequent_one(history: Interactions) -> None:
    assert ranking(PersonalFrequency(FrequencySettings(half_life_days=20)), history, "x") == ["b", "a", "c", "d"]


def test_a_half_life_halves() -> None:
    lines = [("x", "a", CUT - dt.timedelta(days=10)), ("x", "b", CUT - dt.timedelta(days=20))]
    history = interactions(order_lines(lines), CUT, min_customers=1)
    settings = FrequencySettings(half_life_days=10, popularity_weight=0)
    scores = PersonalFrequency(settings).fit(history, pl.DataFrame(), CUT).score(np.array([0], np.int32))
    np.testing.assert_allclose(scores, [[0.5, 0.25]])


def test_a_stranger_gets_the_popular_ones(history: Interactions) -> None:
    assert ranking(PersonalFrequency(), history, "nobody")[0] == "c"
