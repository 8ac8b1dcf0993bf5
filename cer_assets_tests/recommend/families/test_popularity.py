"""What is popular, what is trending, and what is at this hour."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from cer_assets.recommend.context import ANYTIME, Context
from cer_assets.recommend.families.popularity import Popularity, Trending, TrendingSettings, buyers
from cer_assets.recommend.interactions import Interactions, interactions
from cer_assets_tests.recommend.conftest import CUT, order_lines

STRANGER = np.array([-1], np.int32)


def days_ago(days: int) -> dt.date:
    """A day before the cut."""
    return CUT - dt.timedelta(days=days)


@pytest.fixture(scope="module")
def bought() -> Interactions:
    """`old` was bought by four customers long ago, `new` by two yesterday, `often` on many days by one."""
    lines = order_lines(
        [(f"c{n}", "old", days_ago(80)) for n in range(4)]
        + [(f"c{n}", "new", days_ago(1)) for n in range(2)]
        + [("c0", "often", days_ago(day)) for day in range(40, 50)]
    )
    return interactions(lines, CUT, min_customers=1)


def test_popularity_counts_customers_not_purchases(bought: Interactions) -> None:
    scores = Popularity().fit(bought, pl.DataFrame(), CUT).score(STRANGER)
    assert dict(zip(bought.products, scores[0].tolist(), strict=True)) == {"old": 4, "new": 2, "often": 1}


def test_a_trend_forgets_what_lies_long_ago_and_is_silent_about_it(bought: Interactions) -> None:
    trending = Trending(TrendingSettings(days=56, half_life_days=7)).fit(bought, pl.DataFrame(), CUT)
    score = dict(zip(bought.products, trending.score(STRANGER)[0].tolist(), strict=True))
    assert score["new"] > score["often"] > 0
    assert score["old"] == -np.inf
    np.testing.assert_array_equal(trending.buyers_, buyers(bought, bought.days >= bought.days.max() - 55))


def test_everyone_gets_the_same_trend(bought: Interactions) -> None:
    trending = Trending().fit(bought, pl.DataFrame(), CUT)
    assert len(np.unique(trending.score(np.array([0, 1, -1], np.int32)), axis=0)) == 1


def test_the_hour_changes_the_trend_and_an_unknown_moment_does_not() -> None:
    # Tea in the morning and wine in the evening, by many and as often, beside bread at both hours.
    at = [(f"c{n}", product, days_ago(1 + n % 30), hour) for n in range(60) for product, hour in _HABITS]
    lines = order_lines([row[:3] for row in at]).with_columns(
        ordered_at=pl.Series([dt.datetime.combine(day, dt.time(hour)) for _, _, day, hour in at])
    )
    trending = Trending().fit(interactions(lines, CUT, min_customers=1), pl.DataFrame(), CUT)
    morning, evening = (_scores(trending, Context(hour=hour)) for hour in (8, 19))
    assert morning["tea"] > morning["wine"]
    assert evening["wine"] > evening["tea"]
    assert trending.score(STRANGER, ANYTIME).tobytes() == trending.trend_[None, :].tobytes()
    assert trending.score(STRANGER, Context(rain=5)).tobytes() == trending.trend_[None, :].tobytes()


_HABITS = (("tea", 8), ("wine", 19))


def _scores(trending: Trending, context: Context) -> dict[str, float]:
    return dict(zip(trending.interactions_.products, trending.score(STRANGER, context)[0].tolist(), strict=True))
