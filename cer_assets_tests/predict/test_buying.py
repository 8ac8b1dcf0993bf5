"""Whether customers come is foreseen from earlier time, or it is said why it cannot be."""

import datetime as dt
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.predict import CHURN, PURCHASE, Buying, Predictor, Predictors, buying, drivers, learn, learn_and_judge
from cer_assets.predict.charts import calibration_chart, drift_chart, evaluation_chart
from cer_assets.predict.evaluate import CALIBRATION, EVALUATION
from cer_assets_tests.predict.conftest import AS_OF, days_before, purchases

STAYS_AWAY = CHURN[0]
SELDOM = Buying("churn", 28, 56)
"""The same at half as many cuts."""
EARLIER = AS_OF - dt.timedelta(days=120)
Fitted = tuple[Predictor, pl.DataFrame]
Examples = tuple[pl.DataFrame, dt.date, dict[str, float]]


def fitted(days: pl.DataFrame, as_of: dt.date = AS_OF, asked: Buying = STAYS_AWAY) -> Fitted:
    (one,) = buying.fit(days, as_of, [asked])
    return one


@pytest.fixture(scope="module")
def examples(year: pl.DataFrame) -> Examples:
    return buying.examples(year, SELDOM, AS_OF)


@pytest.fixture(scope="module")
def earlier(year: pl.DataFrame) -> Examples:
    return buying.examples(year.filter(pl.col("ordered_on") < EARLIER), SELDOM, EARLIER)


@pytest.fixture(scope="module")
def learned(examples: Examples) -> Fitted:
    return learn_and_judge(STAYS_AWAY.question.model_copy(update={"judged_cuts": 1}), *examples)


@pytest.fixture(scope="module")
def model(learned: Fitted) -> Predictor:
    return learned[0]


@pytest.fixture(scope="module")
def held_out(learned: Fitted) -> pl.DataFrame:
    return learned[1]


def rows(days: pl.DataFrame, model: Predictor, asked: Buying = STAYS_AWAY) -> pl.DataFrame:
    return buying.rows(days, AS_OF, asked, model.facts)


def test_who_is_overdue_is_likelier_to_churn(model: Predictor) -> None:
    weekly = {"regular": days_before(AS_OF, *range(2, 200, 7)), "overdue": days_before(AS_OF, *range(44, 200, 7))}
    overdue, regular = model.predict(rows(purchases(weekly), model))["probability"]
    assert overdue > 2 * regular


def test_each_customer_has_a_probability_or_a_reason(model: Predictor, year: pl.DataFrame) -> None:
    said = model.predict(rows(year, model))
    assert said.columns == ["customer_id", "horizon_days", "probability", "reason"]
    assert said["customer_id"].is_sorted()
    assert said["customer_id"].n_unique() == said.height
    assert (said["probability"].is_null() == said["reason"].is_not_null()).all()
    assert said["probability"].drop_nulls().is_between(0, 1).all()
    assert said["probability"].null_count() < said.height / 2


def test_coming_and_staying_away_are_two_sides_of_one_horizon(year: pl.DataFrame, model: Predictor) -> None:
    come = Buying("purchase", 28, 28)
    both = rows(year, model).join(rows(year, model, come), on="customer_id")
    assert both.select((pl.col("bg_nbd") + pl.col("bg_nbd_right") - 1).abs().max()).item() < 1e-12


def test_too_short_a_history_is_said(model: Predictor) -> None:
    known = {"gone": days_before(AS_OF, 57, 70, 90), "new": days_before(AS_OF, 3, 5), "late": [AS_OF]}
    said = model.predict(rows(purchases(known), model))
    assert dict(said.select("customer_id", "reason").iter_rows()) == {
        "gone": "no purchase in the last 56 days",
        "new": "first purchase less than 7 days ago",
    }


def test_too_few_examples_give_the_reason_instead_of_a_number() -> None:
    few = purchases({f"c{number}": days_before(AS_OF, *range(1, 300, 6)) for number in range(5)})
    model, held_out = fitted(few)
    said = model.predict(rows(few, model))
    assert said["probability"].null_count() == 5
    assert said["reason"].unique().to_list() == ["not enough data: 40 past examples, 200 needed"]
    assert Predictor.from_files(model.files(), STAYS_AWAY.question).files() == model.files()
    assert held_out.is_empty()
    assert (dict(model.evaluation.schema), model.evaluation.height) == (EVALUATION, 0)
    assert (dict(model.calibration.schema), model.calibration.height) == (CALIBRATION, 0)
    assert drivers(model, rows(few, model)).is_empty()
    assert model.drift(rows(few, model)).is_empty()


def test_one_outcome_alone_teaches_nothing() -> None:
    loyal = purchases({f"c{number}": days_before(AS_OF, *range(1, 300, 6)) for number in range(50)})
    reason = fitted(loyal)[0].reason
    assert reason == "not enough data: it happened in 0 of 400 past examples, 20 needed of each"


def test_a_history_of_two_months_has_nothing_later_to_calibrate_on(year: pl.DataFrame) -> None:
    model, _ = fitted(year.filter(pl.col("ordered_on") >= AS_OF - dt.timedelta(days=88)))
    assert model.reason is not None
    assert model.reason.startswith("not enough data")


def test_no_purchases_at_all_give_no_rows() -> None:
    model, _ = fitted(purchases({}))
    assert model.predict(rows(purchases({}), model)).is_empty()


@settings(deadline=None, max_examples=2)
@given(late=st.lists(st.integers(0, 80), min_size=1, max_size=3), seed=st.integers(0, 100))
def test_training_reads_nothing_that_came_later_and_minds_no_order(
    year: pl.DataFrame, earlier: Examples, late: list[int], seed: int
) -> None:
    known = year.filter(pl.col("ordered_on") < EARLIER)
    planted = purchases({f"c{number:03}": days_before(EARLIER, *(-day for day in late)) for number in range(300)})
    shuffled = pl.concat([known, planted.unique()]).sample(fraction=1, shuffle=True, seed=seed)
    (before, *facts), (after, *others) = earlier, buying.examples(shuffled, SELDOM, EARLIER)
    assert after.equals(before)
    assert others == facts
    assert (before["known_on"] <= EARLIER).all()


def test_the_order_of_the_examples_changes_no_byte(model: Predictor, examples: Examples) -> None:
    rows, as_of, facts = examples
    again = learn(model.question, rows.sample(fraction=1, shuffle=True, seed=3), as_of, facts)
    assert replace(again, evaluation=model.evaluation, calibration=model.calibration).files() == model.files()


def test_a_row_planted_in_the_horizon_changes_the_outcome_and_no_feature(
    year: pl.DataFrame, examples: Examples
) -> None:
    before, cut = examples[0], AS_OF - dt.timedelta(days=28)
    gone = before.filter(pl.col("happened"), pl.col("cut") == cut)["customer_id"]
    planted = buying.examples(pl.concat([year, purchases({gone[0]: [cut]})]), SELDOM, AS_OF)[0]
    assert planted.drop("happened").equals(before.drop("happened"))
    changed = planted.filter(planted["happened"] != before["happened"])
    assert changed.select("customer_id", "cut", "happened").rows() == [(gone[0], cut, False)]


def test_the_order_of_the_rows_changes_no_figure(model: Predictor, year: pl.DataFrame) -> None:
    shuffled = year.sample(fraction=1, shuffle=True, seed=5)
    assert model.predict(rows(shuffled, model)).equals(model.predict(rows(year, model)))
    assert drivers(model, rows(shuffled, model)).equals(drivers(model, rows(year, model)))


def test_a_model_comes_back_from_its_files(model: Predictor, year: pl.DataFrame) -> None:
    again = Predictor.from_files(model.files(), STAYS_AWAY.question)
    assert again.files() == model.files()
    assert again.card() == model.card()
    assert again.predict(rows(year, again)).equals(model.predict(rows(year, model)))
    assert again.evaluation.equals(model.evaluation)


def test_models_stand_for_some_days_unless_one_learned_nothing(model: Predictor) -> None:
    both, next_day = Predictors((model, model)), model.as_of + dt.timedelta(days=1)
    assert both.stand(next_day, 7)
    assert not both.stand(next_day, 1)
    assert not both.stand(model.as_of, 7)
    assert not Predictors((model, replace(model, reason="not enough data"))).stand(next_day, 7)


def test_a_model_of_other_features_is_refused(model: Predictor) -> None:
    files = {name: data.replace(b"recency_days", b"former_name") for name, data in model.files().items()}
    with pytest.raises(ValueError, match="train it again"):
        Predictor.from_files(files, STAYS_AWAY.question)


def test_the_model_beats_the_rules_on_later_time(model: Predictor) -> None:
    figures = model.evaluation.filter(pl.col("cut").is_null())
    assert figures["of"].unique(maintain_order=True).to_list() == [
        "base_rate",
        "recency_days",
        "recency_over_gap",
        "bg_nbd",
        "churn",
    ]
    value = {(of, metric): value for metric, of, value in figures.select("metric", "of", "value").iter_rows()}
    assert value["churn", "auc"] > max(value["recency_days", "auc"], value["recency_over_gap", "auc"], 0.6)
    assert value["churn", "brier"] < value["base_rate", "brier"]
    assert figures.select((pl.col("low") <= pl.col("value")) & (pl.col("value") <= pl.col("high"))).to_series().all()


def test_the_held_out_horizon_is_the_latest_that_has_passed(held_out: pl.DataFrame, year: pl.DataFrame) -> None:
    cut = AS_OF - dt.timedelta(days=28)
    judged = held_out.filter(pl.col("cut") == cut)
    assert judged.height == held_out.filter(pl.col("cut") == pl.col("cut").max()).height > 100
    came = year.filter(pl.col("ordered_on").is_between(cut, AS_OF - dt.timedelta(days=1)))["customer_id"]
    assert judged.select((~pl.col("customer_id").is_in(came.implode())) == pl.col("happened")).to_series().all()


def test_calibration_bins_hold_everyone_and_an_interval(model: Predictor, held_out: pl.DataFrame) -> None:
    bins = model.calibration
    assert (bins["customers"].sum(), bins.height) == (held_out.height, 10)
    assert bins["predicted"].is_sorted()
    assert bins.select((pl.col("low") <= pl.col("observed")) & (pl.col("observed") <= pl.col("high"))).to_series().all()


def test_effects_add_up_to_the_log_odds_of_each_figure(model: Predictor, year: pl.DataFrame) -> None:
    told = drivers(model, rows(year, model))
    said = model.predict(rows(year, model)).drop_nulls("probability")
    odds = told.group_by("customer_id").agg(pl.col("effect").sum(), pl.len()).join(said, on="customer_id")
    assert odds.height == said.height
    assert set(odds["len"]) == {5}
    difference = pl.col("effect") - (pl.col("probability") / (1 - pl.col("probability"))).log()
    assert odds.select(difference.abs().max()).item() < 1e-9
    assert told.filter(pl.col("rank").is_between(1, 3))["text"].str.contains(r"\d").all()


def test_drift_is_small_where_nothing_moved_and_large_where_everyone_did(model: Predictor, year: pl.DataFrame) -> None:
    now = rows(year, model)
    moved = now.with_columns(recency_days=pl.col("recency_days") + 60)
    psi = {name: dict(model.drift(frame).iter_rows()) for name, frame in (("now", now), ("moved", moved))}
    assert psi["now"]["recency_days"] < 0.25 < psi["moved"]["recency_days"]
    assert psi["moved"]["gap_mean"] == psi["now"]["gap_mean"] >= 0


def test_a_week_is_learned_at_more_cuts_than_a_month(year: pl.DataFrame) -> None:
    (week,) = PURCHASE
    assert len(week.cuts(year, AS_OF)) > len(STAYS_AWAY.cuts(year, AS_OF))
    assert max(week.cuts(year, AS_OF)) == AS_OF - dt.timedelta(days=7)


def test_the_charts_can_be_drawn_and_hold_no_customer(model: Predictor, year: pl.DataFrame) -> None:
    moved = model.drift(rows(year, model)).with_columns(model=pl.lit("churn"), horizon_days=28)
    drawn = [calibration_chart(model.calibration), evaluation_chart(model.evaluation), drift_chart(moved)]
    assert not any(word in chart.to_json() for chart in drawn for word in ("c001", "customer_id"))
