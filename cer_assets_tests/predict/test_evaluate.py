"""Metrics agree with scikit-learn's, weights mean repetition, curves are calibrated."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from cer_assets.predict.curves import LogisticCurves
from cer_assets.predict.evaluate import evaluation, measure, measure_with_intervals


@settings(deadline=None, max_examples=25)
@given(n=st.integers(4, 60), levels=st.integers(2, 10), seed=st.integers(0, 10_000))
def test_metrics_are_those_of_scikit_learn_also_with_ties_and_weights(n: int, levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    happened = np.append([True, False], rng.random(n) < 0.4)
    probability = rng.integers(0, levels, n + 2) / levels
    weights = np.append([1, 1], rng.integers(0, 4, n)).astype(float)
    expected = [
        score(happened, probability, sample_weight=weights)
        for score in (roc_auc_score, average_precision_score, brier_score_loss)
    ]
    assert measure(happened, probability, weights)[:3] == pytest.approx(expected)


def test_lift_is_the_rate_of_the_likeliest_tenth_over_that_of_all() -> None:
    probability = np.linspace(1, 0, 100)
    happened = np.arange(100) < 20
    happened[:2] = False
    assert measure(happened, probability, np.ones(100))[3] == pytest.approx(0.8 / 0.18)
    assert measure(happened, np.full(100, 0.3), np.ones(100))[3] == pytest.approx(1)


def test_rows_of_one_customer_are_drawn_together() -> None:
    rng = np.random.default_rng(5)
    probability = rng.random(40)
    happened = rng.random(40) < probability
    once = measure_with_intervals(happened, probability, seed=3)
    pairs = np.repeat(np.arange(40), 2)
    np.testing.assert_allclose(
        measure_with_intervals(happened[pairs], probability[pairs], seed=3, customers=pairs), once
    )


def test_intervals_hold_the_value_and_depend_on_the_seed_alone() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(500)
    happened = rng.random(500) < probability
    figures = measure_with_intervals(happened, probability, seed=1)
    assert ((figures[:, 1] < figures[:, 0]) & (figures[:, 0] < figures[:, 2])).all()
    np.testing.assert_array_equal(figures, measure_with_intervals(happened, probability, seed=1))


def test_a_baseline_without_a_figure_for_somebody_is_not_judged() -> None:
    said = pl.DataFrame({"customer_id": list("abcd"), "cut": [dt.date(2024, 1, 1)] * 4, "happened": [True, False] * 2})
    said = said.with_columns(rule=pl.lit(0.5), rival=pl.Series([0.1, np.nan, 0.3, 0.4]), churn=pl.lit(0.5))
    figures = evaluation(said, "churn", 28, dt.date(2024, 3, 1), resamples=20)
    assert set(figures["of"]) == {"rule", "churn"}
    assert figures["value"].is_finite().all()


def test_curves_bend_where_the_odds_do_and_come_back_from_json() -> None:
    rng = np.random.default_rng(2)
    x = rng.uniform(-3, 3, 20_000)
    happened = rng.random(20_000) < 1 / (1 + np.exp(2 - np.abs(x)))
    X = np.column_stack([x, np.full(20_000, 7.0)])
    curves = LogisticCurves.fit(X, happened)
    at = np.array([[-2.5, 7.0], [0.0, 7.0], [2.5, 7.0]])
    assert curves.probability(at) == pytest.approx(1 / (1 + np.exp(2 - np.abs(at[:, 0]))), abs=0.05)
    assert curves.probability(X).mean() == pytest.approx(happened.mean(), abs=1e-3)
    assert LogisticCurves.from_json(curves.as_json()) == curves


def test_contributions_and_the_intercept_make_up_the_odds() -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(300, 3))
    X[rng.random((300, 3)) < 0.2] = np.nan
    curves = LogisticCurves.fit(X, rng.random(300) < 0.5)
    odds = curves.intercept + curves.contributions(X).sum(axis=1)
    assert curves.probability(X) == pytest.approx(1 / (1 + np.exp(-odds)))


def test_a_feature_that_is_never_known_says_nothing() -> None:
    rng = np.random.default_rng(4)
    X = np.column_stack([rng.normal(size=200), np.full(200, np.nan)])
    curves = LogisticCurves.fit(X, X[:, 0] + rng.normal(size=200) > 0)
    assert np.isfinite(curves.probability(X)).all()
    assert np.ptp(curves.contributions(X)[:, 1]) == 0
