"""The ranking over all families: what it learns, what it keeps, and how it explains itself."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from cer_assets.recommend.families.als import Als
from cer_assets.recommend.families.frequency import PersonalFrequency
from cer_assets.recommend.families.popularity import Popularity, Trending
from cer_assets.recommend.hybrid import CandidateSettings, Hybrid, Ranker, RankerSettings, learn
from cer_assets.recommend.hybrid.boosting import TreeSettings
from cer_assets.recommend.hybrid.ranker import WindowSettings
from cer_assets.recommend.interactions import Interactions, interactions
from cer_assets.recommend.model import Recommender, Voice
from cer_assets_tests.recommend.conftest import CUT, SMALL, catalogue

FEW = TreeSettings(trees=10, leaves=5, examples_a_leaf=5)
SETTINGS = RankerSettings(
    trees=FEW,
    candidates=CandidateSettings(of_each_family=12),
    windows=WindowSettings(days=14, windows=3, fewest_days=28),
)


def families() -> dict[str, Recommender]:
    found = [Als(SMALL), PersonalFrequency(), Popularity(), Trending()]
    return {model.name: model for model in found}


@pytest.fixture(scope="module")
def ranker(shop: pl.DataFrame) -> Ranker:
    found = learn(lambda cut: interactions(shop, cut, 2), shop, catalogue(), CUT, SETTINGS, families)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def history(shop: pl.DataFrame) -> Interactions:
    return interactions(shop, CUT, 2)


@pytest.fixture(scope="module")
def hybrid(ranker: Ranker, history: Interactions) -> Hybrid:
    return Hybrid(ranker, families=families).fit(history, catalogue(), CUT)


def test_it_ranks_with_log_odds_and_says_nothing_beyond_the_candidates(hybrid: Hybrid, history: Interactions) -> None:
    scores = hybrid.score(np.arange(5, dtype=np.int32))
    known = np.isfinite(scores)
    assert scores.shape == (5, len(history.products))
    assert known.any(axis=1).all()
    assert not known.all()


def test_a_ranker_read_from_its_files_scores_alike_and_writes_the_same_bytes(
    ranker: Ranker, hybrid: Hybrid, history: Interactions
) -> None:
    again = Ranker.from_files(ranker.files())
    assert again.files() == ranker.files()
    other = Hybrid(again, families=families).over(hybrid.fitted_, history, catalogue(), CUT)
    rows = np.arange(40, dtype=np.int32)
    assert np.array_equal(other.score(rows), hybrid.score(rows))


def test_the_order_of_the_lines_changes_nothing(shop: pl.DataFrame, ranker: Ranker) -> None:
    shuffled = shop.sample(fraction=1.0, shuffle=True, seed=3)
    again = learn(lambda cut: interactions(shuffled, cut, 2), shuffled, catalogue(), CUT, SETTINGS, families)
    assert again is not None
    assert again.files() == ranker.files()


def test_nothing_after_the_cut_is_learned_from(shop: pl.DataFrame, ranker: Ranker) -> None:
    past = shop.filter(pl.col("ordered_on") < CUT)
    again = learn(lambda cut: interactions(past, cut, 2), past, catalogue(), CUT, SETTINGS, families)
    assert again is not None
    assert again.files() == ranker.files()


def test_too_little_history_teaches_no_ranker_and_still_gives_lists(shop: pl.DataFrame, history: Interactions) -> None:
    young = shop.filter(pl.col("ordered_on") >= CUT - dt.timedelta(days=20))
    assert learn(lambda cut: interactions(young, cut, 2), young, catalogue(), CUT, SETTINGS, families) is None
    lists = Hybrid(None, families=families).fit(history, catalogue(), CUT).recommend(history.customers, 10)
    assert lists.group_by("customer_id").len()["len"].to_list() == [10] * len(history.customers)


def test_a_stranger_is_shown_what_sells(hybrid: Hybrid) -> None:
    scores = hybrid.score(np.array([-1], np.int32))
    trend = Trending().fit(hybrid.interactions_, catalogue(), CUT).score(np.array([-1], np.int32))
    assert scores[0, trend[0].argmax()] >= np.median(scores[0][np.isfinite(scores[0])])


def test_what_was_bought_is_explained_by_repetition_and_the_rest_is_not(hybrid: Hybrid, history: Interactions) -> None:
    rows = np.arange(20, dtype=np.int32)
    scores = hybrid.score(rows)
    columns = np.argsort(-scores, axis=1)[:, :8].astype(np.int32)
    said = hybrid.explain(rows, columns, np.arange(len(history.products)))
    own = np.take_along_axis(history.counts()[rows].toarray(), columns, axis=1) > 0
    assert (said.voice[own] == Voice.REPEAT).all()
    assert (said.voice[~own] != Voice.REPEAT).all()
    assert set(said.source.ravel()) <= {*families(), "hybrid"}


def test_a_family_that_is_gone_leaves_the_ranker_usable(ranker: Ranker, history: Interactions) -> None:
    fewer = {name: model for name, model in families().items() if name != "als_global"}
    hybrid = Hybrid(ranker, families=lambda: fewer).fit(history, catalogue(), CUT)
    assert np.isfinite(hybrid.score(np.arange(3, dtype=np.int32))).any(axis=1).all()


def test_the_card_names_settings_families_and_what_was_learned_on(hybrid: Hybrid) -> None:
    card = hybrid.card()
    assert card["model"] == "hybrid"
    assert card["families"] == sorted(families())
    assert card["ranker"]["learned_on"]["windows"] == 3
