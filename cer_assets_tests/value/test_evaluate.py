import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.stats import spearmanr

from cer_assets.value import backtest, fit
from cer_assets.value.candidates import CANDIDATES
from cer_assets.value.evaluate import SPEND_SO_FAR
from cer_assets.value.metrics import METRICS
from cer_assets_tests.value.simulate import day, shop

PARETO = "pareto_nbd x gamma_gamma"
SHOP = shop(n=1_500, seed=5)
CUT, END = day(272), day(364)
JUDGED = backtest(SHOP, CUT, END, resamples=40)


def figure(metric: str, model: str) -> float:
    return JUDGED.filter((pl.col("model") == model) & (pl.col("metric") == metric))["value"].item()


def test_every_model_and_rule_is_judged_by_every_metric_with_an_interval_round_it() -> None:
    judged = JUDGED.filter(pl.col("metric").is_in(list(METRICS)))
    assert judged["model"].unique(maintain_order=True).to_list() == [*CANDIDATES, SPEND_SO_FAR]
    assert len(judged) == 7 * len(METRICS)
    assert judged.select((pl.col("low") <= pl.col("value")) & (pl.col("value") <= pl.col("high"))).to_series().all()


def test_the_model_customers_follow_beats_the_rules_without_a_model() -> None:
    for rule in ("own_rate", SPEND_SO_FAR):
        assert figure("mae", PARETO) < figure("mae", rule)
        assert figure("spearman", PARETO) > figure("spearman", rule)


def test_the_model_customers_follow_is_unbiased_and_its_intervals_hold_what_they_promise() -> None:
    assert abs(figure("bias", PARETO)) < 0.12
    # Where buying nothing is likelier than a tenth, low is zero and the interval holds more.
    assert 0.78 < figure("coverage", PARETO) < 0.93


def test_one_customer_in_ten_spends_more_than_high() -> None:
    spent = (
        SHOP.filter(pl.col("ordered_on").is_between(CUT, END, closed="right"))
        .group_by("customer_id")
        .agg(pl.col("amount").sum().cast(pl.Float64))
    )
    foretold = (
        fit(SHOP, CUT, model=PARETO).predict(SHOP, CUT, (END - CUT).days).join(spent, on="customer_id", how="left")
    )
    # Where high is zero, buying at all is rarer than one in ten.
    above = foretold.filter(pl.col("high") > 0).select((pl.col("amount").fill_null(0) > pl.col("high")).mean()).item()
    assert above == pytest.approx(0.1, abs=0.025)


def test_the_order_of_the_rows_leaves_no_trace() -> None:
    few = SHOP.filter(pl.col("customer_id") < "c0300")
    shuffled = few.sample(fraction=1, shuffle=True, seed=1)
    assert_frame_equal(backtest(shuffled, CUT, END, resamples=5), backtest(few, CUT, END, resamples=5))


def test_purchases_after_the_end_are_not_looked_at() -> None:
    few = SHOP.filter(pl.col("customer_id") < "c0300")
    past = few.filter(pl.col("ordered_on") <= day(300))
    assert_frame_equal(backtest(few, CUT, day(300), resamples=5), backtest(past, CUT, day(300), resamples=5))


def test_too_little_before_the_cut_leaves_only_the_population() -> None:
    judged = backtest(SHOP.filter(pl.col("customer_id") < "c0005"), CUT, END)
    assert judged.select("model", "metric").rows() == [("all", "customers"), ("all", "with_figure")]
    assert judged["value"].to_list() == [0, 0]


def test_customers_who_bought_nothing_later_leave_no_lift_and_no_bias() -> None:
    few = SHOP.filter((pl.col("ordered_on") <= CUT) & (pl.col("customer_id") < "c0300"))
    quiet = backtest(few, CUT, END, resamples=5)
    lifts = quiet.filter(pl.col("metric").is_in(["top_decile_lift", "bias", "spearman"]))
    assert len(lifts) and lifts["value"].is_null().all()


def test_an_end_before_the_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="must come after"):
        backtest(SHOP, END, CUT)


def test_metrics_are_what_they_are_called() -> None:
    generator = np.random.default_rng(0)
    guess, actual = generator.integers(0, 9, 200).astype(float), generator.integers(0, 9, 200).astype(float)
    assert METRICS["spearman"](guess, actual) == pytest.approx(spearmanr(guess, actual).statistic)
    assert METRICS["mae"](guess, actual) == pytest.approx(np.mean(np.abs(guess - actual)))
    assert METRICS["bias"](actual * 1.5, actual) == pytest.approx(0.5)
    ranked = np.arange(200.0)
    assert METRICS["top_decile_lift"](ranked, (ranked >= 180).astype(float)) == pytest.approx(10)
