"""Churn is foreseen from earlier time, or it is said why it cannot be."""

import datetime as dt

import polars as pl
import pytest

from cer_assets.predict import CHURN, ChurnModel, ChurnSettings, backtest, fit, hold_out
from cer_assets.predict.charts import backtest_chart, calibration, calibration_chart
from cer_assets_tests.predict.conftest import AS_OF, days_before, purchases


@pytest.fixture(scope="module")
def model(year: pl.DataFrame) -> ChurnModel:
    return fit(year, AS_OF)


def test_who_is_overdue_is_likelier_to_churn(model: ChurnModel) -> None:
    weekly = {
        "regular": days_before(AS_OF, *range(2, 200, 7)),
        "overdue": days_before(AS_OF, *range(44, 200, 7)),
    }
    rows = model.predict(purchases(weekly), AS_OF)
    overdue, regular = rows["probability"]
    assert overdue > 2 * regular


def test_rows_are_those_of_the_table_with_a_figure_or_a_reason(model: ChurnModel, year: pl.DataFrame) -> None:
    rows = model.predict(year, AS_OF)
    assert dict(rows.schema) == CHURN
    assert rows["customer_id"].is_sorted()
    assert rows["customer_id"].n_unique() == rows.height
    assert (rows["probability"].is_null() == rows["reason"].is_not_null()).all()
    assert rows["probability"].drop_nulls().is_between(0, 1).all()
    assert rows["probability"].null_count() < rows.height / 2


def test_too_short_a_history_is_said(model: ChurnModel) -> None:
    rows = model.predict(
        purchases({"gone": days_before(AS_OF, 57, 70, 90), "new": days_before(AS_OF, 3, 5), "late": [AS_OF]}), AS_OF
    )
    assert dict(rows.select("customer_id", "reason").iter_rows()) == {
        "gone": "no purchase in the last 56 days",
        "new": "fewer than 3 days with a purchase",
    }


def test_too_few_examples_give_the_reason_instead_of_a_number() -> None:
    few = purchases({f"c{number}": days_before(AS_OF, *range(1, 300, 6)) for number in range(5)})
    model = fit(few, AS_OF)
    rows = model.predict(few, AS_OF)
    assert rows["probability"].null_count() == 5
    assert rows["reason"].unique().to_list() == ["not enough data: 35 past examples, 200 needed"]
    assert ChurnModel.from_files(model.files()) == model
    assert hold_out(few, AS_OF).is_empty()
    assert backtest(hold_out(few, AS_OF)).is_empty()


def test_one_outcome_alone_teaches_nothing() -> None:
    loyal = purchases({f"c{number}": days_before(AS_OF, *range(1, 300, 6)) for number in range(50)})
    assert fit(loyal, AS_OF).reason == "not enough data: 0 of 350 past examples churned, 20 needed of each"


def test_no_purchases_at_all_give_no_rows() -> None:
    nothing = purchases({})
    assert dict(fit(nothing, AS_OF).predict(nothing, AS_OF).schema) == CHURN


def test_training_reads_nothing_from_as_of_on(year: pl.DataFrame) -> None:
    cut = AS_OF - dt.timedelta(days=60)
    planted = purchases({f"c{number:03}": [cut] for number in range(300)})
    known = year.filter(pl.col("ordered_on") < cut)
    assert fit(pl.concat([known, planted]), cut).files() == fit(known, cut).files()


def test_the_order_of_the_rows_changes_no_byte(model: ChurnModel, year: pl.DataFrame) -> None:
    shuffled = year.sample(fraction=1, shuffle=True, seed=5)
    assert fit(shuffled, AS_OF).files() == model.files()
    assert model.predict(shuffled, AS_OF).equals(model.predict(year, AS_OF))


def test_a_model_comes_back_from_its_files(model: ChurnModel, year: pl.DataFrame) -> None:
    again = ChurnModel.from_files(model.files())
    assert again == model
    assert again.card() == model.card()
    assert again.predict(year, AS_OF).equals(model.predict(year, AS_OF))


def test_a_model_of_other_features_is_refused(model: ChurnModel) -> None:
    files = {"model.json": model.files()["model.json"].replace(b"recency_days", b"former_name")}
    with pytest.raises(ValueError, match="train it again"):
        ChurnModel.from_files(files)


def test_the_model_beats_the_rules_on_later_time(year: pl.DataFrame) -> None:
    figures = backtest(hold_out(year, AS_OF), resamples=50)
    assert figures["model"].unique(maintain_order=True).to_list() == [
        "base_rate",
        "recency",
        "recency_over_gap",
        "churn",
    ]
    value = {(model, metric): value for model, metric, value, _, _ in figures.iter_rows()}
    assert value["base_rate", "auc"] == 0.5
    assert value["churn", "auc"] > max(value["recency", "auc"], value["recency_over_gap", "auc"], 0.6)
    assert value["churn", "brier"] < value["base_rate", "brier"]
    assert figures.select((pl.col("low") <= pl.col("value")) & (pl.col("value") <= pl.col("high"))).to_series().all()


def test_the_held_out_horizon_is_the_latest_that_has_passed(year: pl.DataFrame) -> None:
    held_out = hold_out(year, AS_OF, ChurnSettings(horizon_days=14))
    cut = AS_OF - dt.timedelta(days=14)
    came = year.filter(pl.col("ordered_on").is_between(cut, AS_OF - dt.timedelta(days=1)))["customer_id"]
    assert held_out.select((~pl.col("customer_id").is_in(came.implode())) == pl.col("churned")).to_series().all()


def test_calibration_bins_hold_everyone_and_an_interval(year: pl.DataFrame) -> None:
    held_out = hold_out(year, AS_OF)
    bins = calibration(held_out)
    assert (bins["customers"].sum(), bins.height) == (held_out.height, 10)
    assert bins["predicted"].is_sorted()
    assert bins.select((pl.col("low") <= pl.col("observed")) & (pl.col("observed") <= pl.col("high"))).to_series().all()


def test_the_charts_can_be_drawn_and_hold_no_customer(year: pl.DataFrame) -> None:
    held_out = hold_out(year, AS_OF)
    drawn = [calibration_chart(held_out).to_json(), backtest_chart(backtest(held_out, resamples=5)).to_json()]
    assert not any("c001" in chart or "customer_id" in chart for chart in drawn)
