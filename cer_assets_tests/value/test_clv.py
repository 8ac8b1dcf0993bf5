from datetime import date
from decimal import Decimal

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cer_assets.value import CLVModel, fit
from cer_assets.value.clv import COLUMNS, COUNT_MODELS, MIN_HISTORY_DAYS, CountModel
from cer_assets.value.histories import customer_histories
from cer_assets_tests.value.simulate import day, shop

SHOP = shop()
YEAR = day(364)
MODEL = fit(SHOP, YEAR)


def purchases(*rows: tuple[str, int, str]) -> pl.DataFrame:
    """Customer days of (customer, day, amount)."""
    values = [(customer, day(number), Decimal(amount)) for customer, number, amount in rows]
    schema = {"customer_id": pl.String, "ordered_on": pl.Date, "amount": pl.Decimal(18, 2)}
    return pl.DataFrame(values, schema=schema, orient="row")


def test_a_history_counts_repeat_days_and_weeks_since_the_first() -> None:
    bought = purchases(("ann", 0, "10.00"), ("ann", 7, "20.00"), ("ann", 21, "-6.00"), ("ann", 50, "99.00"))
    row = customer_histories(bought, day(28)).row(0, named=True)
    assert (row["x"], row["t_x"], row["T"]) == (1, 1, 4)
    assert (row["days"], row["spend"], row["mean_spend"]) == (2, 24, 12)


def test_who_has_bought_nothing_by_the_day_has_no_history() -> None:
    bought = purchases(("ann", 5, "10.00"), ("bob", 0, "-3.00"))
    assert customer_histories(bought, day(4)).is_empty()


def test_predictions_have_the_contracted_columns_in_the_order_of_customers() -> None:
    rows = MODEL.predict(SHOP, YEAR, 91)
    assert dict(rows.schema) == COLUMNS
    assert rows["customer_id"].to_list() == sorted(SHOP["customer_id"].unique())
    assert rows["as_of"].unique().to_list() == [YEAR]
    assert rows["horizon_days"].unique().to_list() == [91]


@pytest.mark.parametrize("counts", list(COUNT_MODELS))
def test_a_customer_has_either_figures_in_bounds_or_a_reason(counts: CountModel) -> None:
    rows = fit(SHOP, YEAR, counts=counts).predict(SHOP, YEAR, 91)
    figures = ["expected_purchases", "expected_spend", "p_active", "low", "high"]
    told, known = rows.filter(pl.col("reason").is_not_null()), rows.filter(pl.col("reason").is_null())
    assert told.select(pl.all_horizontal(pl.col(figures).is_null()).all()).item()
    assert known.select(pl.all_horizontal(pl.col(figures).is_finite() & (pl.col(figures) >= 0)).all()).item()
    assert (known["p_active"] <= 1).all()
    assert (known["low"] <= known["high"]).all()


def test_a_history_that_is_too_short_has_a_reason_and_no_figure() -> None:
    young = purchases(("new", 364 - MIN_HISTORY_DAYS + 1, "9.00"), ("old", 364 - MIN_HISTORY_DAYS, "9.00"))
    rows = MODEL.predict(young, YEAR, 91)
    assert rows["reason"].to_list() == ["first purchase less than 28 days ago", None]
    assert rows["expected_spend"].is_null().to_list() == [True, False]


def test_too_few_returning_customers_give_a_model_that_says_so() -> None:
    few = SHOP.filter(pl.col("customer_id") < "c0010")
    model = fit(few, YEAR)
    rows = CLVModel.from_files(model.files()).predict(few, YEAR, 91)
    assert rows["reason"].unique().to_list() == ["fewer than 30 customers came back: no model could be fitted"]
    assert rows["expected_spend"].is_null().all()
    assert model.card()["reason"] is not None


def test_no_purchase_at_all_needs_a_day_and_gives_no_rows() -> None:
    with pytest.raises(ValueError, match="give as_of"):
        fit(purchases())
    assert fit(purchases(), YEAR).predict(purchases(), YEAR, 91).is_empty()
    assert MODEL.predict(purchases(), YEAR, 91).is_empty()


def test_nothing_after_the_day_is_looked_at() -> None:
    cut = day(250)
    past = SHOP.filter(pl.col("ordered_on") <= cut)
    assert fit(SHOP, cut).files() == fit(past, cut).files()
    assert_frame_equal(MODEL.predict(SHOP, cut, 30), MODEL.predict(past, cut, 30))


def test_the_order_of_the_rows_leaves_no_trace() -> None:
    shuffled = SHOP.sample(fraction=1, shuffle=True, seed=1)
    assert fit(shuffled, YEAR).files() == MODEL.files()
    assert_frame_equal(MODEL.predict(shuffled, YEAR, 91), MODEL.predict(SHOP, YEAR, 91))


def test_the_last_day_of_purchases_is_the_day_unless_one_is_given() -> None:
    last = SHOP["ordered_on"].max()
    assert isinstance(last, date)
    assert fit(SHOP).files() == fit(SHOP, last).files()


@pytest.mark.parametrize("counts", list(COUNT_MODELS))
def test_a_model_survives_being_stored_as_files(counts: CountModel) -> None:
    model = fit(SHOP, YEAR, counts=counts)
    restored = CLVModel.from_files(model.files())
    assert restored == model
    assert restored.files() == model.files()
    assert restored.card()["model"] == f"{counts} x gamma_gamma"


def test_files_of_a_model_of_another_kind_are_refused() -> None:
    altered = MODEL.files()["clv.json"].replace(b"pareto_nbd", b"crystal_ball")
    with pytest.raises(ValueError, match="crystal_ball"):
        CLVModel.from_files({"clv.json": altered})


def test_a_horizon_of_no_days_is_refused() -> None:
    with pytest.raises(ValueError, match="horizon_days"):
        MODEL.predict(SHOP, YEAR, 0)


def test_a_longer_horizon_holds_more_purchases_and_spend() -> None:
    short, long = (MODEL.predict(SHOP, YEAR, days).drop_nulls("expected_spend") for days in (28, 91))
    for figure in ("expected_purchases", "expected_spend", "high"):
        assert (long[figure] >= short[figure]).all()
    assert long["p_active"].equals(short["p_active"])


def test_a_customer_who_returned_it_all_is_expected_to_spend_little() -> None:
    bought = purchases(("keeps", 0, "50.00"), ("keeps", 60, "50.00"), ("sends", 0, "50.00"), ("sends", 60, "50.00"))
    returned = pl.concat([bought, purchases(("sends", 70, "-120.00"))])
    keeps, sends = MODEL.predict(returned, day(120), 91)["expected_spend"]
    assert 0 < sends < keeps / 2


def test_the_card_holds_no_customer() -> None:
    assert not any(customer in str(MODEL.card()) for customer in SHOP["customer_id"].unique())
