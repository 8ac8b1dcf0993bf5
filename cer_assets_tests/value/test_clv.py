from dataclasses import replace
from datetime import date
from decimal import Decimal

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cer_assets.value import CLVModel, clv, fit
from cer_assets.value.calendar import Calendar, day_number
from cer_assets.value.candidates import CANDIDATES, Candidate
from cer_assets.value.clv import COLUMNS, HORIZONS
from cer_assets.value.histories import Past
from cer_assets.value.rolling import MIN_HISTORY_DAYS
from cer_assets_tests.value.simulate import day, shop

PARETO: Candidate = "pareto_nbd x gamma_gamma"
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
    past = Past(Calendar.of(bought, day(60)), day_number(day(28)))
    assert (past.histories.x[0], past.histories.t_x[0], past.histories.T[0]) == (1, 1, 4)
    assert (past.days[0], past.spend[0], past.mean_spend[0]) == (2, 24, 12)


def test_a_day_long_ago_or_far_ahead_stays_with_its_customer() -> None:
    days = [date(1, 1, 1), date(1900, 1, 1), date(1969, 12, 31), date(1970, 1, 1), date(9999, 12, 31)]
    bought = pl.concat(
        [purchases((who, 0, "1.00")).with_columns(ordered_on=pl.lit(on)) for who in ("bob", "ann") for on in days[::-1]]
    )
    calendar = Calendar.of(bought, days[-1])
    assert calendar.starts.tolist() == [0, 5, 10]
    assert calendar.day.tolist() == [day_number(on) for on in days] * 2


def test_who_has_bought_nothing_by_the_day_has_no_history() -> None:
    bought = purchases(("ann", 5, "10.00"), ("bob", 0, "-3.00"))
    assert not len(Past(Calendar.of(bought, day(9)), day_number(day(4))))


def test_predictions_have_the_contracted_columns_in_the_order_of_customers() -> None:
    rows = MODEL.predict(SHOP, YEAR, 91)
    assert dict(rows.schema) == COLUMNS
    assert rows["customer_id"].to_list() == sorted(SHOP["customer_id"].unique())
    assert rows["as_of"].unique().to_list() == [YEAR]
    assert rows["horizon_days"].unique().to_list() == [91]


@pytest.mark.parametrize("model", CANDIDATES)
def test_a_customer_has_either_figures_in_bounds_or_a_reason(model: Candidate) -> None:
    rows = replace(MODEL, model=model).predict(SHOP, YEAR, 91)
    figures = ["expected_purchases", "expected_spend", "p_active", "low", "high", "model"]
    told, known = rows.filter(pl.col("reason").is_not_null()), rows.filter(pl.col("reason").is_null())
    assert told.select(pl.all_horizontal(pl.col(figures).is_null()).all()).item()
    assert known.select(pl.all_horizontal(pl.col(figures[:-1]).is_finite() & (pl.col(figures[:-1]) >= 0)).all()).item()
    assert known["model"].unique().to_list() == [model]
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
    assert fit(SHOP, cut, model="blend").files() == fit(past, cut, model="blend").files()
    assert_frame_equal(MODEL.predict(SHOP, cut, 30), MODEL.predict(past, cut, 30))


def test_the_order_of_the_rows_leaves_no_trace() -> None:
    shuffled = SHOP.sample(fraction=1, shuffle=True, seed=1)
    assert fit(shuffled, YEAR).files() == MODEL.files()
    assert_frame_equal(MODEL.predict(shuffled, YEAR, 91), MODEL.predict(SHOP, YEAR, 91))


def test_the_last_day_of_purchases_is_the_day_unless_one_is_given() -> None:
    last = SHOP["ordered_on"].max()
    assert isinstance(last, date)
    assert fit(SHOP, model=PARETO).files() == fit(SHOP, last, model=PARETO).files()


@pytest.mark.parametrize("name", ["pareto_nbd x gamma_gamma", "bg_nbd x gamma_gamma", None])
def test_a_model_survives_being_stored_as_files(name: Candidate | None) -> None:
    model = MODEL if name is None else fit(SHOP, YEAR, model=name)
    restored = CLVModel.from_files(model.files())
    assert restored == model
    assert restored.files() == model.files()
    assert restored.card()["model"] == name or name is None
    assert_frame_equal(restored.predict(SHOP, YEAR), model.predict(SHOP, YEAR))


def test_files_of_a_model_of_another_kind_are_refused() -> None:
    altered = MODEL.files()["clv.json"].replace(b"pareto_nbd", b"crystal_ball")
    with pytest.raises(ValueError, match="crystal_ball"):
        CLVModel.from_files({"clv.json": altered})


def test_a_horizon_of_no_days_is_refused() -> None:
    with pytest.raises(ValueError, match="horizon_days"):
        MODEL.predict(SHOP, YEAR, 0)


@pytest.mark.parametrize("model", CANDIDATES)
def test_a_longer_horizon_holds_more_purchases_and_spend(model: Candidate) -> None:
    chosen = replace(MODEL, model=model)
    short, long = (chosen.predict(SHOP, YEAR, days).drop_nulls("expected_spend") for days in (28, 91))
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


def test_several_horizons_are_what_each_is_alone() -> None:
    together = MODEL.predict(SHOP, YEAR)
    assert_frame_equal(together, pl.concat(MODEL.predict(SHOP, YEAR, days) for days in HORIZONS))


def test_a_horizon_far_beyond_what_was_ever_seen_has_a_reason_and_no_figure() -> None:
    early = fit(SHOP, day(80), model=PARETO)
    rows = early.predict(SHOP, day(80), (91, 365))
    told = rows.filter(pl.col("horizon_days") == 365)
    assert told["reason"].unique().to_list() == ["purchases of 81 days are too few to look 365 days ahead"]
    assert told["expected_spend"].is_null().all()
    assert rows.filter(pl.col("horizon_days") == 91)["expected_spend"].is_not_null().any()


def test_the_model_is_chosen_by_earlier_periods_and_says_why() -> None:
    assert MODEL.model in CANDIDATES
    assert MODEL.why.startswith(f"{MODEL.model}: rank correlation with later spend")
    card = MODEL.card()
    assert {row["model"] for row in card["standings"]} == set(CANDIDATES)
    assert {row["days"] for row in card["standings"]} == {91}


def test_a_history_too_short_for_earlier_periods_is_left_to_the_count_model() -> None:
    young = fit(SHOP, day(41))
    assert (young.model, young.standings) == ("pareto_nbd x gamma_gamma", ())
    assert "no earlier period" in young.why
    with pytest.raises(ValueError, match="too few to fit boosting"):
        fit(SHOP, day(41), model="boosting")


def test_a_period_in_which_more_was_returned_than_bought_judges_nobody() -> None:
    sold = SHOP.filter(pl.col("ordered_on") <= day(250))
    returned = sold.group_by("customer_id").agg(ordered_on=pl.lit(day(300)), amount=pl.lit(Decimal("-1.00")))
    model = fit(pl.concat([sold, returned], how="vertical_relaxed"), day(340), horizon_days=80)
    assert model.model in CANDIDATES
    assert [row["model"] for row in model.standings] == list(CANDIDATES)


def test_slices_of_customers_do_not_see_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = MODEL.predict(SHOP, YEAR)
    monkeypatch.setattr(clv, "SLICE", 37)
    assert_frame_equal(MODEL.predict(SHOP, YEAR), whole)
