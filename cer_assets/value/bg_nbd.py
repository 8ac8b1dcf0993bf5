"""BG/NBD: how often a customer will buy, where any purchase may be the last; nothing about money.

While active a customer buys at random at a rate of their own; after any purchase they may drop out,
with a probability of their own. Rates are gamma over customers (shape r, rate alpha), probabilities
beta (a, b). Time is in weeks.

Fader, Hardie & Lee (2005), "Counting your customers" the easy way: an alternative to the Pareto/NBD
model, Marketing Science 24(2), 275-284. Its formulas are written here through Euler's and Pfaff's
transformations of 2F1 (DLMF 15.8.1), which keep them finite where a customer bought hundreds of
times.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaln, digamma, gammaln, hyp2f1

from cer_assets.value.counts import Counts, gauss_legendre
from cer_assets.value.histories import Floats, Histories
from cer_assets.value.optimum import maximum_likelihood

# From here on customers hardly differ in their probability to leave, and a 2F1 of it overflows.
ALIKE = 200.0

STARTS = ((1.0, 1.0, 1.0, 1.0), (0.4, 3.0, 1.0, 3.0), (1.0, 1.0, 0.1, 5.0))


@dataclass(frozen=True)
class BGNBD:
    """A fitted BG/NBD; `log_likelihood` is the sum over the customers it was fitted on."""

    r: float
    alpha: float
    a: float
    b: float
    log_likelihood: float

    @classmethod
    def fit(cls, histories: Histories) -> "BGNBD":
        """Maximum likelihood over the customers of `histories` (at least one)."""
        (r, alpha, a, b), mean = maximum_likelihood(lambda at: mean_log_likelihood(at, histories), STARTS)
        return cls(float(r), float(alpha), float(a), float(b), mean * len(histories))

    def p_active(self, histories: Histories) -> Floats:
        """Probability of being active at T; 1 for who never came back, by the model's assumption.

        A customer can drop out only after a purchase that follows the first (Fader, Hardie & Lee
        2008, Computing P(alive) using the BG/NBD model).
        """
        x, t_x, T = histories.x, histories.t_x, histories.T
        log_odds_left = (
            np.log(self.a)
            - np.log(self.b + np.maximum(x, 1) - 1)
            + (self.r + x) * (np.log(self.alpha + T) - np.log(self.alpha + t_x))
        )
        return np.where(x > 0, np.exp(-np.logaddexp(0, log_odds_left)), 1.0)

    def counts(self, histories: Histories, weeks: float, active: Floats | None = None) -> Counts:
        """What is known of the number of purchases in the `weeks` after T; `p_active`, if known, is not found again."""
        active = self.p_active(histories) if active is None else active
        silent = self._p_silent_if_active(histories, weeks)
        return Counts(
            p_none=1 - active * (1 - silent),
            mean=active * self._mean_if_active(histories, weeks),
            pairs=active * self._pairs_if_active(histories, weeks),
        )

    def _p_silent_if_active(self, histories: Histories, weeks: float) -> Floats:
        """P(no purchase in the horizon | active at T): the purchase rate is gamma there too."""
        elapsed = self.alpha + histories.T
        return np.exp(-(self.r + histories.x) * np.log1p(weeks / elapsed))

    def _mean_if_active(self, histories: Histories, weeks: float) -> Floats:
        """Equation 10 of the paper without its denominator, which is 1 / P(active)."""
        r, b, x = self.r, self.b, histories.x
        if self.a > ALIKE:
            leaves = self.a / (self.a + b + x)
            return -np.expm1(-(r + x) * np.log1p(leaves * weeks / (self.alpha + histories.T))) / leaves
        # The equation is 0/0 at a = 1 and at a + b + x = 1; a step aside costs nothing visible.
        a = self.a + 1e-6 if abs(self.a - 1) < 1e-6 else self.a
        c = a + b + x - 1
        c = np.where(np.abs(c) < 1e-6, 1e-6, c)
        r = _aside(r, a)
        z = weeks / (self.alpha + histories.T + weeks)
        euler = np.exp((a - 1) * np.log1p(-z)) * hyp2f1(a - 1, a + b - 1 - r, c, z)
        return c / (a - 1) * (1 - euler)

    def _pairs_if_active(self, histories: Histories, weeks: float) -> Floats:
        """E[N(N - 1) | active at T]: its rate at time u is 2 u E[rate^2 (1 - p) exp(-p rate u)].

        The mean over the rate is a power of 1 + p u / (alpha + T), the mean of that over the
        dropout probability p a 2F1 (DLMF 15.6.1); u is integrated by Gauss-Legendre.
        """
        r, a, b, x = _aside(self.r, self.a), self.a, self.b, histories.x[:, None]
        elapsed = self.alpha + histories.T[:, None]
        u, weight = gauss_legendre(weeks)
        c = a + b + x + 1
        z = u / elapsed
        stays = (b + x) / (a + b + x)
        if a > ALIKE:
            pfaff = np.exp(-(r + x + 2) * np.log1p(a / (a + b + x) * z))
        else:
            pfaff = np.exp(-a * np.log1p(z)) * hyp2f1(a, a + b - r - 1, c, z / (1 + z))
        rate_squared = (r + x) * (r + x + 1) / elapsed**2
        return np.sum(2 * u * rate_squared * stays * pfaff * weight, axis=1)


def _aside(r: float, a: float) -> float:
    """r, a step aside where r - a is a whole number: SciPy's 2F1 is not a number there for some z."""
    return r * (1 + 1e-9) if abs(r - a - round(r - a)) < 1e-9 else r


def mean_log_likelihood(parameters: Floats, histories: Histories) -> tuple[float, Floats]:
    """Equation 6 of the paper averaged over customers, and its gradient in r, alpha, a, b."""
    r, alpha, a, b = parameters
    x, t_x, T = histories.x, histories.t_x, histories.T
    returned = x > 0
    active = -(r + x) * np.log(alpha + T)
    with np.errstate(divide="ignore"):
        left = np.where(
            returned,
            np.log(a) - np.log(b + np.maximum(x, 1) - 1) - (r + x) * np.log(alpha + t_x),
            -np.inf,
        )
    either = np.logaddexp(active, left)
    value = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + betaln(a, b + x) - betaln(a, b) + either

    p_left = np.exp(left - either)
    gone = np.where(returned, p_left / (b + np.maximum(x, 1) - 1), 0.0)
    both = digamma(a + b) - digamma(a + b + x)
    gradient = np.array(
        [
            np.mean(
                digamma(r + x)
                - digamma(r)
                + np.log(alpha)
                - (1 - p_left) * np.log(alpha + T)
                - p_left * np.log(alpha + t_x)
            ),
            np.mean(r / alpha - (r + x) * ((1 - p_left) / (alpha + T) + p_left / (alpha + t_x))),
            np.mean(both + p_left / a),
            np.mean(both + digamma(b + x) - digamma(b) - gone),
        ]
    )
    return float(value.mean()), gradient
