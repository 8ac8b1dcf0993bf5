"""Pareto/NBD: how often a customer will buy, where they may leave at any time; nothing about money.

While active a customer buys at random at a rate of their own (gamma over customers: shape r, rate
alpha); the time they stay active is exponential at a rate of their own (gamma: shape s, rate beta).
Time is in weeks.

Schmittlein, Morrison & Colombo (1987), Counting your customers: who are they and what will they do
next?, Management Science 33(1), 1-24; notation of Fader & Hardie (2005), A note on deriving the
Pareto/NBD model and related expressions. Their likelihood is a difference of two 2F1 that overflow
for customers with hundreds of purchases. It is computed here as the integral they come from, over
the moment a customer may have left: a sum of positive terms, taken in logarithms.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy.special import digamma, exprel, gammaln, logsumexp

from cer_assets.value.counts import Counts, gauss_legendre
from cer_assets.value.histories import Floats, Histories
from cer_assets.value.optimum import maximum_likelihood

# Mean rates rather than alpha and beta are searched: where customers hardly differ in a rate, its
# shape runs away along a line on which the mean rate stays.
# Columns: r, mean purchase rate, s, mean leaving rate; rates a week.
STARTS = ((1.0, 0.1, 1.0, 0.05),)

Moments: TypeAlias = tuple[Floats, Floats]

# Moments at which a customer may have left; see _moments.
MOMENTS = 32


@dataclass(frozen=True)
class ParetoNBD:
    """A fitted Pareto/NBD; `log_likelihood` is the sum over the customers it was fitted on."""

    r: float
    alpha: float
    s: float
    beta: float
    log_likelihood: float

    @classmethod
    def fit(cls, histories: Histories) -> "ParetoNBD":
        """Maximum likelihood over the customers of `histories` (at least one)."""
        moments = _moments(histories.t_x, histories.T)

        def objective(searched: Floats) -> tuple[float, Floats]:
            r, buying, s, leaving = searched
            parameters = np.array([r, r / buying, s, s / leaving])
            value, by = mean_log_likelihood(parameters, histories, moments)
            gradient = [
                by[0] + by[1] / buying,
                -by[1] * r / buying**2,
                by[2] + by[3] / leaving,
                -by[3] * s / leaving**2,
            ]
            return value, np.array(gradient)

        (r, buying, s, leaving), mean = maximum_likelihood(objective, STARTS)
        return cls(float(r), float(r / buying), float(s), float(s / leaving), mean * len(histories))

    def p_active(self, histories: Histories) -> Floats:
        """Probability of being active at T."""
        moments = _moments(histories.t_x, histories.T)
        ways = _log_ways(self._parameters, histories.x, moments, histories.T)
        return np.exp(ways[:, -1] - logsumexp(ways, axis=1))

    def counts(self, histories: Histories, weeks: float, active: Floats | None = None) -> Counts:
        """What is known of the number of purchases in the `weeks` after T; `p_active`, if known, is not found again."""
        active = self.p_active(histories) if active is None else active
        silent = self._p_silent_if_active(histories, weeks)
        return Counts(
            p_none=1 - active * (1 - silent),
            mean=active * self._mean_if_active(histories, weeks),
            pairs=active * self._pairs_if_active(histories, weeks),
        )

    @property
    def _parameters(self) -> Floats:
        return np.array([self.r, self.alpha, self.s, self.beta])

    def _p_silent_if_active(self, histories: Histories, weeks: float) -> Floats:
        """P(no purchase in the horizon | active at T): left within it, or stayed in silence."""
        T = histories.T
        ways = _log_ways(self._parameters, histories.x, _moments(T, T + weeks), T + weeks)
        now = _log_silent(self._parameters, histories.x, T)
        return np.minimum(np.exp(logsumexp(ways, axis=1) - now), 1.0)

    def _mean_if_active(self, histories: Histories, weeks: float) -> Floats:
        """E[N | active at T], the published expression made finite at s = 1."""
        rate = (self.r + histories.x) / (self.alpha + histories.T)
        elapsed = self.beta + histories.T
        stretch = np.log1p(weeks / elapsed)
        return rate * elapsed * stretch * exprel(-(self.s - 1) * stretch)

    def _pairs_if_active(self, histories: Histories, weeks: float) -> Floats:
        """E[N(N - 1) | active at T] = E[rate^2] E[w^2], w the time active within the horizon."""
        shape, elapsed = self.r + histories.x, self.alpha + histories.T
        u, weight = gauss_legendre(weeks)
        still_active = np.exp(-self.s * np.log1p(u / (self.beta + histories.T)[:, None]))
        return shape * (shape + 1) / elapsed**2 * np.sum(2 * u * still_active * weight, axis=1)


def _log_silent(parameters: Floats, x: Floats, t: Floats) -> Floats:
    """Log, up to a constant, of the density of x purchases, then active and silent up to t."""
    r, alpha, s, beta = parameters
    return -(r + x) * np.log(alpha + t) - s * np.log(beta + t)


def _moments(start: Floats, end: Floats) -> Moments:
    """Moments between start and end, and their weights, each of shape (customers, MOMENTS).

    A frequent customer who fell silent left soon after the last purchase, if at all: the moments
    crowd there, as fourth powers of Gauss-Legendre nodes.
    """
    v, weight = gauss_legendre(1.0, MOMENTS)
    length = (end - start)[:, None]
    return start[:, None] + length * v**4, length * 4 * v**3 * weight


def _log_ways(parameters: Floats, x: Floats, moments: Moments, end: Floats) -> Floats:
    """Logs of the ways to be silent up to `end`: left at one of the moments, or active still.

    Shape (customers, MOMENTS + 1), active last. Their sum is the likelihood up to a constant.
    """
    _, _, s, beta = parameters
    u, weight = moments
    with np.errstate(divide="ignore"):
        left = np.log(weight * s / (beta + u)) + _log_silent(parameters, x[:, None], u)
    active = _log_silent(parameters, x, end)
    return np.concatenate([left, active[:, None]], axis=1)


def mean_log_likelihood(
    parameters: Floats, histories: Histories, moments: Moments | None = None
) -> tuple[float, Floats]:
    """The likelihood of the papers averaged over customers, and its gradient in r, alpha, s, beta.

    The gradient of the logarithm of a sum is the mean of the terms' own, each as likely as it is.
    The moments from t_x to T, if given, need not be found again.
    """
    r, alpha, s, beta = parameters
    x, T = histories.x, histories.T
    moments = moments or _moments(histories.t_x, T)
    ways = _log_ways(parameters, x, moments, T)
    either = logsumexp(ways, axis=1)
    value = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + s * np.log(beta) + either

    likely = np.exp(ways - either[:, None])
    u = np.concatenate([moments[0], T[:, None]], axis=1)
    left = 1 - likely[:, -1]
    by_time = np.sum(likely / (beta + u), axis=1)
    gradient = [
        digamma(r + x) - digamma(r) + np.log(alpha) - np.sum(likely * np.log(alpha + u), axis=1),
        r / alpha - (r + x) * np.sum(likely / (alpha + u), axis=1),
        np.log(beta) - np.sum(likely * np.log(beta + u), axis=1) + left / s,
        s / beta - (s + 1) * by_time + likely[:, -1] / (beta + T),
    ]
    return float(value.mean()), np.array([np.mean(each) for each in gradient])
