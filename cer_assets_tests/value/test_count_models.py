from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import betaln, gammaln, hyp2f1
from scipy.stats import beta as beta_distribution
from scipy.stats import gamma as gamma_distribution
from scipy.stats import nbinom

from cer_assets.value import bg_nbd, pareto_nbd
from cer_assets.value.bg_nbd import BGNBD
from cer_assets.value.gamma_gamma import GammaGamma
from cer_assets.value.histories import Floats, Histories
from cer_assets.value.pareto_nbd import ParetoNBD
from cer_assets_tests.value.simulate import bg_nbd_histories, pareto_nbd_histories

Likelihood = Callable[[Floats, Histories], tuple[float, Floats]]

CDNOW = (0.2426, 4.4136, 0.7929, 2.4259)
GROCERY = (1.16, 1.80, 0.025, 14.7)
PARETO_CDNOW = (0.5533, 10.5777, 0.6062, 11.6687)
PARETO_GROCERY = (1.17, 1.82, 100.0, 120_000.0)

SEVERAL = Histories(
    x=np.array([0.0, 0.0, 1.0, 2.0, 30.0, 310.0]),
    t_x=np.array([0.0, 0.0, 3.0, 30.4, 20.0, 51.9]),
    T=np.array([0.0, 38.9, 38.9, 38.9, 52.0, 52.0]),
)

customers = st.tuples(st.integers(0, 350), st.floats(0.1, 60), st.floats(0, 60)).map(
    lambda drawn: Histories(
        x=np.array([float(drawn[0])]),
        t_x=np.array([drawn[1] if drawn[0] else 0.0]),
        T=np.array([(drawn[1] if drawn[0] else 0.0) + drawn[2]]),
    )
)
positive = st.floats(0.02, 50)
NEAR = 2.0010773874385694


def one(x: float, t_x: float, T: float) -> Histories:
    return Histories(np.array([x]), np.array([t_x]), np.array([T]))


@pytest.mark.parametrize(("x", "t_x", "T"), [(0.0, 0.0, 9.0), (1.0, 3.0, 9.0), (4.0, 8.0, 9.0)])
def test_bg_nbd_likelihood_is_that_of_one_customer_averaged_over_rates_and_dropout(
    x: float, t_x: float, T: float
) -> None:
    r, alpha, a, b = 0.8, 4.0, 0.8, 2.5

    node, weight = np.polynomial.legendre.leggauss(400)
    quantile, weight = (node + 1) / 2, weight / 2
    p, rate = np.meshgrid(beta_distribution.ppf(quantile, a, b), gamma_distribution.ppf(quantile, r, scale=1 / alpha))
    active = (1 - p) ** x * rate**x * np.exp(-rate * T)
    left = p * (1 - p) ** (x - 1) * rate**x * np.exp(-rate * t_x) if x else 0.0
    value, _ = bg_nbd.mean_log_likelihood(np.array([r, alpha, a, b]), one(x, t_x, T))
    assert np.exp(value) == pytest.approx(np.sum((active + left) * np.outer(weight, weight)), rel=1e-4)


@pytest.mark.parametrize(
    ("likelihood", "parameters"),
    [
        (bg_nbd.mean_log_likelihood, CDNOW),
        (bg_nbd.mean_log_likelihood, GROCERY),
        (pareto_nbd.mean_log_likelihood, PARETO_CDNOW),
        (pareto_nbd.mean_log_likelihood, PARETO_GROCERY),
    ],
)
def test_the_gradient_is_the_slope_of_the_likelihood(likelihood: Likelihood, parameters: tuple[float, ...]) -> None:
    at = np.array(parameters)
    moves = np.diag(at * 1e-6)
    rises = [likelihood(at + move, SEVERAL)[0] - likelihood(at - move, SEVERAL)[0] for move in moves]
    np.testing.assert_allclose(likelihood(at, SEVERAL)[1] * at, np.array(rises) / 2e-6, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("parameters", [PARETO_CDNOW, (0.9, 3.0, 0.7, 12.0), (0.9, 12.0, 1.0, 3.0)])
@pytest.mark.parametrize(("x", "t_x", "T"), [(0.0, 0.0, 30.0), (1.0, 5.0, 38.9), (7.0, 20.0, 38.9), (12.0, 38.0, 38.9)])
def test_pareto_nbd_likelihood_is_the_published_one(
    parameters: tuple[float, ...], x: float, t_x: float, T: float
) -> None:
    r, alpha, s, beta = parameters
    total, near, far = r + s + x, min(alpha, beta), max(alpha, beta)
    second = s + 1 if alpha >= beta else r + x

    def term(t: float) -> float:
        return float(hyp2f1(total, second, total + 1, (far - near) / (far + t)) / (far + t) ** total)

    # Fader & Hardie (2005), equations 19 to 22.
    a0 = term(t_x) - term(T)
    bracket = 1 / ((alpha + T) ** (r + x) * (beta + T) ** s) + s / total * a0
    published = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + s * np.log(beta) + np.log(bracket)
    value, _ = pareto_nbd.mean_log_likelihood(np.array(parameters), one(x, t_x, T))
    assert value == pytest.approx(float(published), abs=1e-7)


def bg_nbd_at_least(parameters: tuple[float, ...], history: Histories, weeks: float) -> Floats:
    """P(N >= k | active) for k = 1, 2, ...: enough purchases would fall in, and none was the last."""
    r, alpha, a, b = parameters
    x, elapsed = history.x[0], alpha + history.T[0]
    k = np.arange(1, 3000)
    would = nbinom.sf(k - 1, r + x, elapsed / (elapsed + weeks))
    return would * np.exp(betaln(a, b + x + k - 1) - betaln(a, b + x))


@pytest.mark.parametrize("parameters", [CDNOW, GROCERY, (0.5, 5.0, 1.0, 0.3), (0.5, 5.0, 2.5, 0.4)])
@pytest.mark.parametrize("row", range(len(SEVERAL)))
def test_bg_nbd_counts_agree_with_its_distribution(parameters: tuple[float, ...], row: int) -> None:
    history = one(SEVERAL.x[row], SEVERAL.t_x[row], SEVERAL.T[row])
    model = BGNBD(*parameters, log_likelihood=0)
    counts = model.counts(history, 13.0)
    at_least = bg_nbd_at_least(parameters, history, 13.0) * model.p_active(history)[0]
    k = np.arange(1, len(at_least) + 1)
    assert counts.p_none[0] == pytest.approx(1 - at_least[0], rel=1e-8)
    assert counts.mean[0] == pytest.approx(at_least.sum(), rel=1e-5)
    assert counts.pairs[0] == pytest.approx(np.sum(2 * (k - 1) * at_least), rel=1e-4)


@pytest.mark.parametrize("parameters", [PARETO_CDNOW, (1.2, 2.0, 3.0, 90.0)])
@pytest.mark.parametrize("row", [1, 2, 3])
def test_pareto_nbd_counts_agree_with_customers_drawn_from_what_is_known_of_one(
    parameters: tuple[float, ...], row: int
) -> None:
    history = one(SEVERAL.x[row], SEVERAL.t_x[row], SEVERAL.T[row])
    r, alpha, s, beta = parameters
    model = ParetoNBD(*parameters, log_likelihood=0)
    generator = np.random.default_rng(0)
    n = 400_000
    rate = generator.gamma(r + history.x[0], 1 / (alpha + history.T[0]), n)
    life = generator.exponential(1, n) / generator.gamma(s, 1 / (beta + history.T[0]), n)
    drawn = generator.poisson(rate * np.minimum(life, 13.0)) * (generator.random(n) < model.p_active(history)[0])
    counts = model.counts(history, 13.0)
    assert counts.p_none[0] == pytest.approx(np.mean(drawn == 0), abs=0.004)
    assert counts.mean[0] == pytest.approx(drawn.mean(), rel=0.03)
    assert counts.pairs[0] == pytest.approx(np.mean(drawn * (drawn - 1)), rel=0.06)


def test_pareto_nbd_p_active_is_the_share_still_active_among_customers_of_that_history() -> None:
    generator = np.random.default_rng(0)
    n, T = 1_000_000, 20.0
    rate, leaving = generator.gamma(0.6, 1 / 8.0, n), generator.gamma(0.7, 1 / 10.0, n)
    life = generator.exponential(1, n) / leaving
    silent = generator.exponential(1, n) / rate > np.minimum(life, T)
    model = ParetoNBD(0.6, 8.0, 0.7, 10.0, log_likelihood=0)
    assert model.p_active(one(0, 0, T))[0] == pytest.approx(np.mean(life[silent] > T), abs=0.003)


@settings(deadline=None, max_examples=60)
@given(customers, positive, positive, positive, positive, st.floats(0.2, 60))
# SciPy's hypergeometric function is not a number here.
@example(one(169, NEAR, NEAR), 25.044504420180683, NEAR, 25.044504420180683, 25.044504420180683, 50.089)
def test_whatever_the_customer_the_figures_are_finite_and_in_bounds(
    history: Histories, first: float, second: float, third: float, fourth: float, weeks: float
) -> None:
    for model in (BGNBD(first, second, third, fourth, 0), ParetoNBD(first, second, third, fourth, 0)):
        active, counts = model.p_active(history), model.counts(history, weeks)
        assert 0 <= active[0] <= 1 and -1e-9 <= counts.p_none[0] <= 1 + 1e-9
        assert np.isfinite(counts.mean[0]) and counts.mean[0] >= 0
        assert np.isfinite(counts.pairs[0]) and counts.pairs[0] >= 0
        # At least one purchase happens at most as often as purchases are expected.
        assert 1 - counts.p_none[0] <= counts.mean[0] * (1 + 1e-6) + 1e-9
        assert model.counts(history, 2 * weeks).mean[0] >= counts.mean[0] * (1 - 1e-9)


def test_silence_makes_leaving_likelier_and_a_purchase_today_rules_it_out() -> None:
    weeks = np.array([0.0, 2.0, 8.0, 30.0])
    silent = Histories(x=np.full(4, 20.0), t_x=np.full(4, 22.0), T=22.0 + weeks)
    for model in (BGNBD(*GROCERY, 0), ParetoNBD(*PARETO_CDNOW, 0)):
        active = model.p_active(silent)
        assert np.all(np.diff(active) < 0)
    assert ParetoNBD(*PARETO_CDNOW, 0).p_active(silent)[0] == pytest.approx(1)


def test_bg_nbd_finds_the_parameters_customers_were_drawn_with() -> None:
    truth = (0.8, 4.0, 0.8, 2.5)
    model = BGNBD.fit(bg_nbd_histories(20_000, 60.0, *truth, seed=1))
    np.testing.assert_allclose([model.r, model.alpha, model.a, model.b], truth, rtol=0.12)


def test_pareto_nbd_finds_the_parameters_customers_were_drawn_with() -> None:
    truth = (0.8, 4.0, 0.7, 12.0)
    model = ParetoNBD.fit(pareto_nbd_histories(20_000, 60.0, *truth, seed=1))
    np.testing.assert_allclose([model.r, model.alpha], truth[:2], rtol=0.1)
    # How customers differ in leaving is only seen through silence, so it is known less well.
    np.testing.assert_allclose([model.s, model.beta], truth[2:], rtol=0.25)


def test_a_fit_is_no_worse_than_the_truth() -> None:
    truth = (1.2, 2.0, 0.03, 10.0)
    histories = bg_nbd_histories(3_000, 50.0, *truth, seed=2)
    at_truth, _ = bg_nbd.mean_log_likelihood(np.array(truth), histories)
    assert BGNBD.fit(histories).log_likelihood >= at_truth * len(histories)


def test_both_models_fit_customers_who_buy_every_day() -> None:
    daily = Histories(x=np.array([360.0, 362.0, 3.0, 1.0] * 20), t_x=np.full(80, 51.8), T=np.full(80, 52.0))
    for model in (BGNBD.fit(daily), ParetoNBD.fit(daily)):
        assert np.isfinite(model.log_likelihood)
        assert model.counts(daily, 4.0).mean[0] == pytest.approx(28, rel=0.1)


def cdnow_sample() -> tuple[Histories, Floats, Floats]:
    """The CDNOW sample of 2,357 customers, first 39 weeks: histories, and repeat x with mean spend."""
    package = find_spec("lifetimes")
    if package is None or package.origin is None:
        pytest.skip("the lifetimes package, which holds the CDNOW file, is not installed")
    text = (Path(package.origin).parent / "datasets" / "CDNOW_sample.txt").read_text().split("\n")
    fields = [line.split() for line in text if line.strip()]
    days = (
        pl.DataFrame(
            {
                "customer_id": [row[1] for row in fields],
                "ordered_on": [row[2] for row in fields],
                "amount": [float(row[4]) for row in fields],
            }
        )
        .with_columns(pl.col("ordered_on").str.to_date("%Y%m%d"))
        .group_by("customer_id", "ordered_on")
        .agg(pl.col("amount").sum())
        .filter(pl.col("ordered_on") <= pl.date(1997, 9, 30))
        .sort("customer_id", "ordered_on")
    )
    by_customer = days.group_by("customer_id", maintain_order=True).agg(
        (pl.len() - 1).cast(pl.Float64).alias("x"),
        ((pl.col("ordered_on").max() - pl.col("ordered_on").min()).dt.total_days() / 7).alias("t_x"),
        ((pl.date(1997, 9, 30) - pl.col("ordered_on").min()).dt.total_days() / 7).alias("T"),
        pl.col("amount").slice(1).mean(),
    )
    repeat = by_customer.filter((pl.col("x") > 0) & (pl.col("amount") > 0))
    histories = Histories(*(by_customer[column].to_numpy() for column in ("x", "t_x", "T")))
    return histories, repeat["x"].to_numpy(), repeat["amount"].to_numpy()


def test_bg_nbd_has_its_published_parameters_on_cdnow() -> None:
    histories, _, _ = cdnow_sample()
    model = BGNBD.fit(histories)
    np.testing.assert_allclose(
        (model.r, model.alpha, model.a, model.b), (0.2426, 4.4136, 0.7929, 2.4259), rtol=0, atol=5e-4
    )
    assert model.log_likelihood == pytest.approx(-9582.43, abs=5e-3)


def test_pareto_nbd_has_its_published_parameters_on_cdnow() -> None:
    histories, _, _ = cdnow_sample()
    model = ParetoNBD.fit(histories)
    found = (model.r, model.alpha, model.s, model.beta)
    np.testing.assert_allclose(found, (0.5533, 10.5777, 0.6062, 11.6687), rtol=0, atol=5e-4)
    assert model.log_likelihood == pytest.approx(-9594.98, abs=5e-3)


def test_gamma_gamma_has_its_published_parameters_on_cdnow() -> None:
    _, x, mean_spend = cdnow_sample()
    model = GammaGamma.fit(x, mean_spend)
    np.testing.assert_allclose((model.p, model.q, model.gamma), (6.250, 3.744, 15.444), rtol=0, atol=5e-4)


def test_customers_who_leave_alike_have_finite_figures() -> None:
    alike, differing = BGNBD(0.8, 2.8, 5315.5, 138574.3, 0), BGNBD(0.8, 2.8, 199.0, 5188.0, 0)
    for one_by_one, others in zip(
        (alike.counts(SEVERAL, 13.0).mean, alike.counts(SEVERAL, 13.0).pairs),
        (differing.counts(SEVERAL, 13.0).mean, differing.counts(SEVERAL, 13.0).pairs),
        strict=True,
    ):
        np.testing.assert_allclose(one_by_one, others, rtol=0.1)
