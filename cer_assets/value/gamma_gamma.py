"""Gamma-Gamma: what a customer spends when they buy; nothing about when.

A customer's purchases are gamma (shape p) round a mean of their own; the rate is gamma over
customers (shape q, rate gamma). Spend is taken as independent of how often a customer buys.

Fader & Hardie (2013), The Gamma-Gamma model of monetary value, brucehardie.com/notes/025; Fader,
Hardie & Lee (2005), RFM and CLV: using iso-value curves for customer base analysis, Journal of
Marketing Research 42(4), 415-430.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, digamma, gammaln

from cer_assets.value.counts import Counts
from cer_assets.value.histories import Floats
from cer_assets.value.optimum import maximum_likelihood

# q > 1, so that the mean over customers exists: q - 1 is what is searched.
STARTS = ((1.0, 2.0, 10.0), (6.0, 3.0, 15.0))


@dataclass(frozen=True)
class GammaGamma:
    """A fitted Gamma-Gamma; `log_likelihood` is the sum over the customers it was fitted on."""

    p: float
    q: float
    gamma: float
    log_likelihood: float

    @classmethod
    def fit(cls, n: Floats, mean_spend: Floats) -> "GammaGamma":
        """Maximum likelihood over customers with purchases.

        Args:
            n: purchases seen, at least 1 each, of shape (customers,).
            mean_spend: their mean amount, above zero, of shape (customers,).
        """

        def objective(searched: Floats) -> tuple[float, Floats]:
            p, above_one, gamma = searched
            return mean_log_likelihood(np.array([p, 1 + above_one, gamma]), n, mean_spend)

        (p, above_one, gamma), mean = maximum_likelihood(objective, STARTS)
        return cls(float(p), float(1 + above_one), float(gamma), mean * len(n))

    def expected_spend(self, n: Floats, mean_spend: Floats) -> Floats:
        """Expected amount of a purchase, of shape (customers,); where n = 0 that of everyone."""
        return self.p * (self.gamma + mean_spend * n) / (self.p * n + self.q - 1)

    def total_quantile(self, probability: float, counts: Counts, n: Floats, mean_spend: Floats) -> Floats:
        """A quantile of the spend of a horizon, of shape (customers,).

        Given the customer's rate, N purchases sum to a gamma of shape p N. N is spread itself, so
        the sum is matched by its first two moments, given that there is a purchase, to one gamma;
        over the customer's rate that is a beta prime, exact where N is certain. Below P(N = 0) the
        quantile is zero. There is no simulation.
        """
        buys = np.maximum(1 - counts.p_none, 1e-12)
        purchases = np.maximum(counts.mean / buys, 1.0)
        spread = np.maximum((counts.pairs + counts.mean) / buys - purchases**2, 0.0)
        shape = purchases**2 / (purchases / self.p + spread)
        scale = self.p * purchases / shape
        within = np.clip((probability - counts.p_none) / buys, 0, 1)
        share = np.zeros_like(within)
        # The dearest step by far, and zero stays zero.
        buying = within > 0
        share[buying] = betaincinv(shape[buying], (self.p * n + self.q)[buying], within[buying])
        return scale * (self.gamma + mean_spend * n) * share / (1 - share)


def mean_log_likelihood(parameters: Floats, n: Floats, mean_spend: Floats) -> tuple[float, Floats]:
    """Equation 1a of the note averaged over customers, and its gradient in p, q, gamma."""
    p, q, gamma = parameters
    total = np.log(gamma + n * mean_spend)
    value = (
        gammaln(p * n + q)
        - gammaln(p * n)
        - gammaln(q)
        + q * np.log(gamma)
        + (p * n - 1) * np.log(mean_spend)
        + p * n * np.log(n)
        - (p * n + q) * total
    )
    digamma_total = digamma(p * n + q)
    gradient = np.array(
        [
            np.mean(n * (digamma_total - digamma(p * n) + np.log(n * mean_spend) - total)),
            np.mean(digamma_total - digamma(q) + np.log(gamma) - total),
            np.mean(q / gamma - (p * n + q) / (gamma + n * mean_spend)),
        ]
    )
    return float(value.mean()), gradient
