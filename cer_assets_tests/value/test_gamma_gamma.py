import numpy as np
import pytest
from scipy.stats import betaprime

from cer_assets.value.counts import Counts
from cer_assets.value.gamma_gamma import GammaGamma, mean_log_likelihood
from cer_assets.value.histories import Floats
from cer_assets_tests.value.simulate import gamma_gamma_means

TRUTH = (6.25, 3.74, 15.4)


def certain(n: float, customers: int = 1) -> Counts:
    """Exactly n purchases."""
    full = np.full(customers, n)
    return Counts(p_none=np.zeros(customers), mean=full, pairs=full * (full - 1))


def several() -> tuple[Floats, Floats]:
    n = np.random.default_rng(3).integers(1, 12, 8_000).astype(float)
    return n, gamma_gamma_means(n, *TRUTH, seed=4)


def test_it_finds_the_parameters_customers_were_drawn_with() -> None:
    n, mean_spend = several()
    model = GammaGamma.fit(n, mean_spend)
    np.testing.assert_allclose([model.p, model.q, model.gamma], TRUTH, rtol=0.15)
    assert model.log_likelihood >= mean_log_likelihood(np.array(TRUTH), n, mean_spend)[0] * len(n)


def test_the_gradient_is_the_slope_of_the_likelihood() -> None:
    n, mean_spend = (values[:50] for values in several())
    at = np.array([1.3, 2.2, 40.0])
    rises = [
        mean_log_likelihood(at + move, n, mean_spend)[0] - mean_log_likelihood(at - move, n, mean_spend)[0]
        for move in np.diag(at * 1e-6)
    ]
    np.testing.assert_allclose(mean_log_likelihood(at, n, mean_spend)[1] * at, np.array(rises) / 2e-6, rtol=1e-5)


def test_expected_spend_lies_between_the_customers_own_mean_and_everyones() -> None:
    model = GammaGamma(*TRUTH, log_likelihood=0)
    everyone = model.p * model.gamma / (model.q - 1)
    n = np.array([0.0, 1.0, 5.0, 500.0])
    expected = model.expected_spend(n, np.full(4, 4 * everyone))
    assert expected[0] == pytest.approx(everyone)
    assert np.all(np.diff(expected) > 0)
    assert expected[-1] == pytest.approx(4 * everyone, rel=0.01)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_the_spend_of_a_certain_number_of_purchases_has_its_exact_distribution(probability: float) -> None:
    model = GammaGamma(*TRUTH, log_likelihood=0)
    n, mean_spend = np.array([3.0]), np.array([50.0])
    exact = betaprime.ppf(probability, model.p * 7, model.p * 3 + model.q, scale=model.gamma + 150)
    assert model.total_quantile(probability, certain(7.0), n, mean_spend)[0] == pytest.approx(exact, rel=1e-6)


def test_the_quantile_of_an_uncertain_number_is_near_that_of_drawn_customers() -> None:
    model = GammaGamma(*TRUTH, log_likelihood=0)
    generator = np.random.default_rng(0)
    drawn = generator.poisson(generator.gamma(4.0, 1.0, 400_000))
    counts = Counts(
        *(np.array([figure]) for figure in (np.mean(drawn == 0), drawn.mean(), np.mean(drawn * (drawn - 1))))
    )
    rate = generator.gamma(model.p * 3 + model.q, 1 / (model.gamma + 150), len(drawn))
    spend = np.where(drawn > 0, generator.gamma(np.maximum(model.p * drawn, 1e-9)) / rate, 0)
    for probability in (0.1, 0.9):
        quantile = model.total_quantile(probability, counts, np.array([3.0]), np.array([50.0]))[0]
        assert np.mean(spend <= quantile) == pytest.approx(probability, abs=0.015)


def test_who_probably_buys_nothing_has_zero_below() -> None:
    model = GammaGamma(*TRUTH, log_likelihood=0)
    rare = Counts(p_none=np.array([0.95]), mean=np.array([0.06]), pairs=np.array([0.02]))
    assert model.total_quantile(0.9, rare, np.array([2.0]), np.array([30.0]))[0] == 0
    assert model.total_quantile(0.99, rare, np.array([2.0]), np.array([30.0]))[0] > 0
