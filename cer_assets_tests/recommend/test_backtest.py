"""Origins roll without a leak, and a challenger takes the champion's place when it is better, and only then."""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from cer_assets.recommend import Als, FrequencySettings, PersonalFrequency, Popularity, Recommender
from cer_assets.recommend.backtest import (
    CHAMPION,
    SECONDS,
    SHOWN,
    Backtest,
    BacktestSettings,
    Sources,
    challenge,
    rolling_backtest,
)
from cer_assets.recommend.champion import Champion, HybridEnsemble
from cer_assets.recommend.evaluate import EVALUATION, Targets
from cer_assets.recommend.hybrid import CandidateSettings, RankerSettings
from cer_assets.recommend.hybrid.boosting import TreeSettings
from cer_assets.recommend.hybrid.ranker import WindowSettings
from cer_assets.recommend.model import Scores, Voice
from cer_assets.recommend.promotion import BASELINES
from cer_assets.recommend.topk import Indices
from cer_assets_tests.recommend.conftest import CUSTOMERS, SMALL, catalogue, order_lines

DAY = dt.timedelta(days=1)
AS_OF = dt.date(2024, 4, 30)
SETTINGS = BacktestSettings(days=14, training_windows=2, min_customers=2, resamples=20, shown=False)


@dataclass(frozen=True)
class Wisdom:
    """How well an ensemble ranks: 1 as well as it can, -1 as badly."""

    skill: float

    def files(self) -> dict[str, bytes]:
        return {"skill.json": json.dumps(self.skill).encode()}

    def card(self) -> dict[str, Any]:
        return {"skill": self.skill}


class Oracle(Recommender):
    """Knows what will be bought, and uses it or shuns it: a better or a worse challenger at will."""

    voice = Voice.REPEAT

    def __init__(self, bought: pl.DataFrame, skill: float, name: str):
        self.name, self.bought, self.skill = name, bought, skill
        self.settings = Popularity().settings

    def fit(self, interactions: Any, products: pl.DataFrame, as_of: dt.date) -> "Oracle":
        self.interactions_ = interactions
        self.base_ = PersonalFrequency().fit(interactions, products, as_of)
        window = self.bought.filter(pl.col("ordered_on").is_between(as_of, as_of + 13 * DAY))
        rows, columns = interactions.row_of(window["customer_id"]), interactions.column_of(window["product_id"])
        known = (rows >= 0) & (columns >= 0)
        self.lift_ = np.zeros(interactions.shape, np.float32)
        self.lift_[rows[known], columns[known]] = 100 * self.skill
        return self

    def score(self, rows: Indices, *_: object) -> Scores:
        return self.base_.score(rows) + self.lift_[rows]


class Ensemble:
    """Learns nothing but how many windows it was shown; as skilled as it is told to be."""

    name, plain = "hybrid", "weighed"

    def __init__(self, lines: pl.DataFrame, skill: float):
        self.lines, self.skill = lines, skill
        self.windows: list[dt.date] = []
        self.learned: list[tuple[dt.date, ...]] = []

    def window(
        self, fitted: Mapping[str, Recommender], products: pl.DataFrame, cut: dt.date, wanted: Mapping[str, Targets]
    ) -> dt.date:
        self.windows.append(cut)
        return cut

    def learn(self, windows: list[dt.date]) -> Wisdom:
        self.learned.append(tuple(windows))
        return Wisdom(self.skill)

    def over(
        self, fitted: Mapping[str, Recommender], products: pl.DataFrame, as_of: dt.date, learned: Wisdom | None
    ) -> Recommender:
        name, skill = (self.plain, 0.0) if learned is None else (self.name, learned.skill)
        history = next(iter(fitted.values())).interactions_
        return Oracle(self.lines, skill, name).fit(history, products, as_of)

    def from_files(self, files: Mapping[str, bytes]) -> Wisdom:
        return Wisdom(json.loads(files["skill.json"]))


def families() -> dict[str, Recommender]:
    decayed = PersonalFrequency(FrequencySettings(half_life_days=90), "decayed_frequency")
    return {model.name: model for model in (Als(SMALL), Popularity(), PersonalFrequency(), decayed)}


@pytest.fixture(scope="module")
def lines(shop: pl.DataFrame) -> pl.DataFrame:
    return shop.with_columns(line=pl.lit(1, pl.Int64))


@pytest.fixture(scope="module")
def sources(lines: pl.DataFrame, buckets: pl.DataFrame) -> Sources:
    return Sources(lines, lambda cut: buckets, catalogue())


@pytest.fixture(scope="module")
def two_origins(sources: Sources, lines: pl.DataFrame) -> tuple[Backtest, Ensemble]:
    ensemble = Ensemble(lines, 0.1)
    settings = SETTINGS.model_copy(update={"origins": 2})
    return rolling_backtest(sources, AS_OF, settings, ensemble=ensemble, families=families), ensemble


def test_every_model_is_judged_at_every_origin_and_over_them(two_origins: tuple[Backtest, Ensemble]) -> None:
    table = two_origins[0].evaluation
    assert dict(table.schema) == EVALUATION
    assert table["as_of"].unique().to_list() == [AS_OF - DAY]
    assert table["cut"].unique().sort().to_list() == [None, AS_OF - 28 * DAY, AS_OF - 14 * DAY]
    for cut in (None, AS_OF - 28 * DAY, AS_OF - 14 * DAY):
        models = table.filter(pl.col("cut").eq_missing(pl.lit(cut, pl.Date)))["model"].unique().to_list()
        assert sorted(models) == sorted([*families(), "hybrid", "weighed"])
    key = ["cut", "model", "bucket", "protocol", "metric"]
    assert not table.select(key).is_duplicated().any()
    assert table.equals(table.sort(key, nulls_last=False))
    ndcg = dict(
        table.filter(pl.col("cut").is_null(), bucket="all", protocol="A", metric="ndcg@10")["model", "value"].rows()
    )
    assert ndcg["hybrid"] > ndcg["personal_frequency"] > ndcg["popularity"]
    assert ndcg["als_global"] > ndcg["popularity"]


def test_the_ensemble_learns_at_each_origin_from_the_windows_before_it_alone(
    two_origins: tuple[Backtest, Ensemble],
) -> None:
    first, second, third, _ = cuts = [AS_OF - days * DAY for days in (56, 42, 28, 14)]
    assert two_origins[1].learned == [(first, second), (second, third)]
    assert two_origins[1].windows == cuts[:3]


def test_how_long_each_model_took_is_told_and_nothing_leaked(two_origins: tuple[Backtest, Ensemble]) -> None:
    seconds = two_origins[0].seconds
    assert dict(seconds.schema) == SECONDS
    assert seconds.null_count().sum_horizontal().item() == 0
    assert sorted(seconds["model"].unique()) == sorted([*families(), "hybrid", "weighed"])
    assert two_origins[0].leaks["rows"].sum() == 0


def test_the_order_of_the_lines_changes_no_figure(
    two_origins: tuple[Backtest, Ensemble], lines: pl.DataFrame, buckets: pl.DataFrame
) -> None:
    shuffled = lines.sample(fraction=1, shuffle=True, seed=1)
    sources = Sources(shuffled, lambda cut: buckets.sample(fraction=1, shuffle=True, seed=2), catalogue())
    settings = SETTINGS.model_copy(update={"origins": 2})
    again = rolling_backtest(sources, AS_OF, settings, ensemble=Ensemble(shuffled, 0.1), families=families)
    assert again.evaluation.equals(two_origins[0].evaluation)


def test_what_was_known_at_a_cut_is_asked_for_as_of_that_cut(lines: pl.DataFrame, buckets: pl.DataFrame) -> None:
    asked: list[dt.date] = []

    def traits(cut: dt.date) -> pl.DataFrame:
        asked.append(cut)
        return buckets

    settings = SETTINGS.model_copy(update={"training_windows": 1})
    rolling_backtest(Sources(lines, traits), AS_OF, settings, ensemble=Ensemble(lines, 0.1), families=families)
    assert asked == [AS_OF - 28 * DAY, AS_OF - 14 * DAY]


def test_no_model_sees_the_window(lines: pl.DataFrame, buckets: pl.DataFrame) -> None:
    # A window in which everyone buys what nobody of their taste ever bought: no model can know.
    cut = AS_OF - 14 * DAY
    planted = order_lines(
        [
            (f"c{number:02}", "p00" if number % 2 else "p29", cut + day * DAY)
            for number in range(CUSTOMERS)
            for day in range(3)
        ]
    ).with_columns(pl.lit(1, pl.Int64).alias("line"), basket_id="planted" + pl.col("basket_id"))
    known = pl.concat([lines.filter(pl.col("ordered_on") < cut), planted])
    found = rolling_backtest(
        Sources(known, lambda cut: buckets), AS_OF, SETTINGS, ensemble=Ensemble(known.clear(), 0), families=families
    )
    recall = found.evaluation.filter(pl.col("cut").is_null(), bucket="all", protocol="A", metric="recall@10")
    hit = dict(recall["model", "value"].rows())
    assert hit["als_global"] < 0.2
    assert hit["personal_frequency"] < 0.2


def test_a_window_without_purchases_gives_no_rows(sources: Sources, lines: pl.DataFrame) -> None:
    found = rolling_backtest(sources, AS_OF + 100 * DAY, SETTINGS, ensemble=Ensemble(lines, 0.1), families=families)
    assert (dict(found.evaluation.schema), found.evaluation.height) == (EVALUATION, 0)
    assert (dict(found.seconds.schema), found.seconds.height) == (SECONDS, 0)


def test_a_better_challenger_is_promoted_with_what_it_was_judged_with(sources: Sources, lines: pl.DataFrame) -> None:
    ensemble = Ensemble(lines, 1.0)
    found = challenge(sources, AS_OF, SETTINGS, ensemble=ensemble, families=families)
    assert found.changed
    assert found.why.startswith("hybrid promoted: better than popularity by +0.")
    assert (found.champion.name, found.champion.learned) == ("hybrid", Wisdom(1.0))
    assert (found.champion.as_of, found.champion.learned_before) == (AS_OF, AS_OF - 14 * DAY)
    assert ensemble.learned == [(AS_OF - 42 * DAY, AS_OF - 28 * DAY)]
    assert CHAMPION not in found.backtest.evaluation["model"].to_list()


def test_a_worse_challenger_is_refused_and_the_champion_stays(sources: Sources, lines: pl.DataFrame) -> None:
    champion = challenge(sources, AS_OF, SETTINGS, ensemble=Ensemble(lines, 1.0), families=families).champion
    found = challenge(sources, AS_OF, SETTINGS, champion, ensemble=Ensemble(lines, -1.0), families=families)
    assert not found.changed
    assert found.champion is champion
    assert found.why.startswith("hybrid refused: not surely better than champion by -")
    assert CHAMPION in found.backtest.evaluation["model"].to_list()


def test_an_equal_challenger_is_refused(sources: Sources, lines: pl.DataFrame) -> None:
    champion = challenge(sources, AS_OF, SETTINGS, ensemble=Ensemble(lines, 1.0), families=families).champion
    found = challenge(sources, AS_OF, SETTINGS, champion, ensemble=Ensemble(lines, 1.0), families=families)
    assert (found.changed, found.champion) == (False, champion)


def test_where_nothing_beats_the_baselines_the_best_of_them_is_shown(sources: Sources, lines: pl.DataFrame) -> None:
    found = challenge(sources, AS_OF, SETTINGS, ensemble=Ensemble(lines, -1.0), families=families)
    assert found.changed
    assert not any(one.promoted for one in found.verdicts)
    assert found.champion.name in ("personal_frequency", "decayed_frequency")
    assert found.champion.settings == families()[found.champion.name].settings.model_dump(mode="json")


def test_a_champion_worse_than_the_plain_rules_gives_way_to_them(sources: Sources, lines: pl.DataFrame) -> None:
    worst = Champion("hybrid", AS_OF, AS_OF - 42 * DAY, AS_OF - 14 * DAY, None, Wisdom(-1.0))
    found = challenge(sources, AS_OF, SETTINGS, worst, ensemble=Ensemble(lines, -1.0), families=families)
    assert found.changed
    assert found.champion.name != "hybrid"


def test_a_champion_that_has_seen_the_window_is_not_judged_there(sources: Sources, lines: pl.DataFrame) -> None:
    knowing = Champion("hybrid", AS_OF, AS_OF - 20 * DAY, AS_OF - 13 * DAY, None, Wisdom(-1.0))
    found = challenge(sources, AS_OF, SETTINGS, knowing, ensemble=Ensemble(lines, 1.0), families=families)
    assert (found.changed, found.champion, found.verdicts) == (False, knowing, ())
    assert "has seen days of the window" in found.why


@pytest.mark.parametrize(("name", "chosen"), [("gone", {}), ("popularity", {"window_weeks": 8})])
def test_a_champion_of_a_family_that_is_gone_or_has_other_settings_is_none(
    sources: Sources, lines: pl.DataFrame, name: str, chosen: dict[str, int]
) -> None:
    gone = Champion(name, AS_OF, AS_OF - 42 * DAY, AS_OF - 14 * DAY, chosen)
    found = challenge(sources, AS_OF, SETTINGS, gone, ensemble=Ensemble(lines, 1.0), families=families)
    assert found.champion.name == "hybrid"


def test_where_something_leaked_nothing_is_promoted(lines: pl.DataFrame, buckets: pl.DataFrame) -> None:
    copied = lines.filter(pl.col("ordered_on") >= AS_OF - 14 * DAY).head(1)
    forged = copied.with_columns(ordered_on=pl.lit(AS_OF - 50 * DAY))
    sources = Sources(pl.concat([lines, forged]), lambda cut: buckets, catalogue())
    found = challenge(sources, AS_OF, SETTINGS, ensemble=Ensemble(lines, 1.0), families=families)
    assert found.champion.name in BASELINES
    assert found.why.startswith("1 rows of the test days were known before")
    assert found.backtest.leaks.filter(pl.col("rows") > 0)["leak"].to_list() == ["copied_lines"]


def test_a_shop_that_nobody_has_bought_in_shows_a_plain_rule(sources: Sources, lines: pl.DataFrame) -> None:
    found = challenge(Sources(lines.clear()), AS_OF, SETTINGS, ensemble=Ensemble(lines, 1.0), families=families)
    assert found.champion.name in BASELINES
    assert "nothing could be judged" in found.why


def test_a_champion_comes_back_from_its_files(sources: Sources, lines: pl.DataFrame) -> None:
    ensemble = Ensemble(lines, 1.0)
    days = {"as_of": AS_OF, "learned_from": AS_OF - 42 * DAY, "learned_before": AS_OF - 14 * DAY}
    for champion in (
        Champion("hybrid", **days, learned=Wisdom(1.0)),
        Champion("weighed", **days),
        Champion("decayed_frequency", **days, settings={"half_life_days": 12.0, "popularity_weight": 0.001}),
    ):
        again = Champion.from_files(champion.files(), ensemble)
        assert again == champion
        assert again.files() == champion.files()
        assert json.loads(json.dumps(again.card()))["name"] == champion.name
        history = sources.before(AS_OF, 2)
        shown = again.fit(history, catalogue(), AS_OF, ensemble, families)
        fitted = {name: model.fit(history, catalogue(), AS_OF) for name, model in families().items()}
        rows = np.arange(5, dtype=np.int32)
        over = again.over(fitted, catalogue(), AS_OF, ensemble)
        np.testing.assert_array_equal(shown.score(rows), over.score(rows))


def test_a_family_is_shown_under_the_settings_it_was_chosen_with(sources: Sources, lines: pl.DataFrame) -> None:
    chosen = {"half_life_days": 3.0, "popularity_weight": 0.001}
    champion = Champion("decayed_frequency", AS_OF, AS_OF, AS_OF, chosen)
    history = sources.before(AS_OF, 2)
    fitted = {name: model.fit(history, catalogue(), AS_OF) for name, model in families().items()}
    shown = champion.over(fitted, catalogue(), AS_OF, Ensemble(lines, 1.0))
    assert shown.settings.model_dump(mode="json") == chosen
    assert fitted["decayed_frequency"].settings.half_life_days == 90
    with pytest.raises(LookupError, match="no family has a member gone"):
        Champion("gone", AS_OF, AS_OF, AS_OF, {}).fit(history, catalogue(), AS_OF, Ensemble(lines, 1.0), families)
    other = Champion("popularity", AS_OF, AS_OF, AS_OF, {"window_weeks": 8})
    with pytest.raises(LookupError, match="popularity has other settings by now"):
        other.fit(history, catalogue(), AS_OF, Ensemble(lines, 1.0), families)
    with pytest.raises(LookupError, match="popularity has other settings by now"):
        other.over(fitted, catalogue(), AS_OF, Ensemble(lines, 1.0))


def test_lists_as_they_are_shown_are_judged_under_the_policy_where_anything_may_be_on_them(
    sources: Sources, lines: pl.DataFrame
) -> None:
    settings = SETTINGS.model_copy(update={"training_windows": 1, "shown": True})
    found = rolling_backtest(sources, AS_OF, settings, ensemble=Ensemble(lines, 1.0), families=families).evaluation
    shown = found.filter(pl.col("cut").is_null(), model=SHOWN, bucket="all")
    assert shown["protocol"].unique().sort().to_list() == ["A", "B"]
    ndcg = dict(
        found.filter(pl.col("cut").is_null(), bucket="all", protocol="A", metric="ndcg@10")["model", "value"].rows()
    )
    assert ndcg["popularity"] < ndcg[SHOWN] <= ndcg["hybrid"]


def test_what_is_to_be_had_today_says_nothing_of_lists_of_the_past(sources: Sources, lines: pl.DataFrame) -> None:
    def shown(products: pl.DataFrame) -> pl.DataFrame:
        found = rolling_backtest(replace(sources, products=products), AS_OF, settings, ensemble=best, families=families)
        return found.evaluation.filter(model=SHOWN)

    settings, best = SETTINGS.model_copy(update={"training_windows": 1, "shown": True}), Ensemble(lines, 1.0)
    delisted = catalogue(p00=False, p01=False, p16=False).filter(~pl.col("product_id").is_in(["p02", "p17", "p18"]))
    assert shown(delisted).equals(shown(catalogue()))


def test_a_family_challenges_a_champion_of_its_name_that_has_other_settings(
    sources: Sources, lines: pl.DataFrame
) -> None:
    def challengers(half_life_days: float) -> set[str]:
        chosen = FrequencySettings(half_life_days=half_life_days).model_dump(mode="json")
        champion = Champion("decayed_frequency", AS_OF, AS_OF - 42 * DAY, AS_OF - 14 * DAY, chosen)
        found = challenge(
            sources, AS_OF, SETTINGS, champion, ensemble=Ensemble(lines, -1.0), families=two, resamples=20
        )
        return {one.challenger for one in found.verdicts}

    def two() -> dict[str, Recommender]:
        return {name: model for name, model in families().items() if name in ("decayed_frequency", "popularity")}

    assert challengers(90) == {"hybrid", "weighed"}
    assert challengers(0.01) == {"hybrid", "weighed", "decayed_frequency"}


def test_the_hybrid_challenges_with_trees_from_the_windows_before(sources: Sources) -> None:
    few = TreeSettings(trees=10, leaves=5, examples_a_leaf=5)
    settings = RankerSettings(
        trees=few, candidates=CandidateSettings(of_each_family=12), windows=WindowSettings(fewest_days=28)
    )
    ensemble = HybridEnsemble(settings)
    found = challenge(sources, AS_OF, SETTINGS, ensemble=ensemble, families=families)
    assert found.verdicts[0].challenger == "hybrid"
    assert {"hybrid", "weighed"} <= set(found.backtest.evaluation["model"])
    assert found.backtest.leaks["rows"].sum() == 0
    champion = Champion.from_files(found.champion.files(), ensemble)
    assert champion.card() == found.champion.card()
