"""What agreement is worth: beliefs measured from the records, corrected by labels; no pair is chosen here.

A pair's log-odds are a sum of one weight per comparison, as in Fellegi and Sunter, "A Theory for Record Linkage"
(1969): ln(m/u), where u is how often two records agree so by chance (measured on random pairs) and m how often two
records of one person do (a belief of the kind of field). Comparisons are not independent, so labels then fit a
logistic regression whose prior is centred on a scaled sum of beliefs instead of on zero. With no label at all, or
labels of one answer only, the beliefs stand.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from threadpoolctl import threadpool_limits

from cer_assets.arrays import distinct
from cer_assets.identity.block import sample_positions
from cer_assets.identity.compare import Compared, Comparison, compare, comparisons, exact_level
from cer_assets.identity.pairs import coded, ends
from cer_assets.identity.prepare import Prepared

Floats = npt.NDArray[np.float64]

RANDOM_PAIRS = 100_000
"""Random pairs on which chance agreement is measured."""

RANDOM_RECORDS = 20_000
"""They are drawn from so many random records, which are all that must be ready to be compared."""

BELIEF_SCALE = 0.6
"""How far the sum of beliefs is trusted before any label: fields agree together, so each says less than it seems."""

SPREAD_OF_SCALE, SPREAD_OF_BIAS, SPREAD_OF_LEVEL, SPREAD_OF_RARITY = 0.2, 2.0, 1.0, 0.25
"""Standard deviations of the normal priors round scale, bias, each level's correction and each field's rarity."""

RARITY = 0.4
"""Weight of a field's rarity before any label, in log-odds per natural logarithm."""


@dataclass(frozen=True)
class Weights:
    """Log-odds: `bias`, one array per comparison with a weight per level, and per field the worth of rarity."""

    bias: float
    levels: tuple[Floats, ...]
    rarities: Floats

    def logit(self, compared: Compared) -> Floats:
        """The log-odds of each pair, added up in one order whatever the thread count."""
        total = np.full(len(compared), self.bias)
        for number, weights in enumerate(self.levels):
            total += weights[compared.levels[:, number]]
        for number, weight in enumerate(self.rarities):
            total += weight * compared.rarities[:, number]
        return total

    def chance(self, compared: Compared) -> Floats:
        """The probability that each pair is one person."""
        return logistic(self.logit(compared))


def logistic(logit: Floats) -> Floats:
    """The probability of log-odds, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * logit))


@dataclass(frozen=True)
class Beliefs:
    """What each level is held to be worth before labels, and the log-odds that two random records match."""

    levels: tuple[Floats, ...]
    match: float


def measure_beliefs(prepared: Prepared, rng: np.random.Generator) -> Beliefs:
    """Measure chance agreement on random pairs and weigh it against what is expected of one person's records."""
    random = compare(prepared, random_pairs(prepared, RANDOM_PAIRS, rng))
    levels = tuple(
        _belief(c, random.levels[:, number], prepared.uniqueness)
        for number, c in enumerate(comparisons(prepared.fields))
    )
    # One further record per person is as good a guess as any of how many pairs there are to find.
    return Beliefs(levels, -math.log(max(prepared.size - 1, 1)))


def random_pairs(prepared: Prepared, most: int, rng: np.random.Generator) -> pl.DataFrame:
    """At most so many distinct pairs of positions, drawn evenly: `first` < `second`."""
    if prepared.size < 2:
        return pl.DataFrame(schema={"first": pl.Int32, "second": pl.Int32})
    among = sample_positions(prepared.size, RANDOM_RECORDS, rng)
    one, other = among[rng.integers(0, len(among), size=(2, min(most, prepared.size**2)))]
    first, second = ends(distinct(coded(one, other)[one != other]))
    return pl.DataFrame({"first": first, "second": second})


def _belief(comparison: Comparison, random: npt.NDArray[np.uint8], uniqueness: Sequence[float]) -> Floats:
    if comparison.belief is not None:
        return np.array(comparison.belief)
    filled = random[random > 0]
    counts = np.bincount(filled, minlength=len(comparison.labels))[1:].astype(np.float64)
    by_chance = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    worth = np.log(np.array(comparison.expected) / by_chance)
    assert comparison.position is not None
    exact = exact_level(comparison) - 1
    worth[exact] = math.log(comparison.expected[exact]) + uniqueness[comparison.position]
    # A near miss that no random pair showed is rare, but never worth more than equality.
    return np.concatenate([[0.0], np.minimum(worth, max(worth[exact], 0.0))])


def believed(beliefs: Beliefs, fields: int) -> Weights:
    """The weights before any label."""
    return Weights(
        bias=BELIEF_SCALE * beliefs.match,
        levels=tuple(BELIEF_SCALE * b for b in beliefs.levels),
        rarities=np.full(fields, RARITY),
    )


def fit(beliefs: Beliefs, compared: Compared, answers: npt.NDArray[np.bool_], trust: Floats) -> Weights:
    """The most probable weights given the labels: a logistic regression round the beliefs.

    Args:
        beliefs: the centre of the prior.
        compared: the labelled pairs.
        answers: true for one person.
        trust: how much of a label each answer counts, 1 for a person's answer.
    """
    design = _Design(beliefs, compared)
    with threadpool_limits(limits=1):
        theta = _most_probable(design, answers.astype(np.float64), trust)
    return design.weights(theta)


class _Design:
    """The regression's columns: bias, believed log-odds, one per level, one per field's rarity."""

    def __init__(self, beliefs: Beliefs, compared: Compared) -> None:
        self.beliefs = beliefs
        self.sizes = [len(b) for b in beliefs.levels]
        fields = compared.rarities.shape[1]
        belief = np.full(len(compared), beliefs.match)
        one_hot: list[Floats] = []
        for number, worth in enumerate(beliefs.levels):
            belief += worth[compared.levels[:, number]]
            one_hot.append(np.eye(len(worth))[compared.levels[:, number]])
        self.columns = np.column_stack([np.ones(len(compared)), belief, *one_hot, compared.rarities.astype(np.float64)])
        levels = sum(self.sizes)
        self.centre = np.concatenate([[0.0, BELIEF_SCALE], np.zeros(levels), np.full(fields, RARITY)])
        self.spread = np.concatenate(
            [
                [SPREAD_OF_BIAS, SPREAD_OF_SCALE],
                np.full(levels, SPREAD_OF_LEVEL),
                np.full(fields, SPREAD_OF_RARITY),
            ]
        )

    def weights(self, theta: Floats) -> Weights:
        """Fold the scale of beliefs into the levels, rounded so that the same fit is the same file."""
        bias, scale = theta[0], theta[1]
        ends = np.cumsum([2, *self.sizes])
        levels = tuple(
            np.round(scale * belief + theta[start:end], 6)
            for belief, start, end in zip(self.beliefs.levels, ends[:-1], ends[1:], strict=True)
        )
        return Weights(
            float(np.round(bias + scale * self.beliefs.match, 6)),
            levels,
            np.round(theta[ends[-1] :], 6),
        )


def _most_probable(design: _Design, answers: Floats, trust: Floats) -> Floats:
    """Newton's method on the penalised log-likelihood, which is concave; steps are halved where they overshoot."""
    X, precision = design.columns, design.spread**-2.0

    def loss(theta: Floats) -> float:
        logit = X @ theta
        misfit = np.logaddexp(0.0, logit) - answers * logit
        return float(trust @ misfit + 0.5 * precision @ (theta - design.centre) ** 2)

    theta, current = design.centre.copy(), loss(design.centre)
    for _ in range(100):
        chance = logistic(X @ theta)
        gradient = X.T @ (trust * (chance - answers)) + precision * (theta - design.centre)
        curvature = (X.T * (trust * chance * (1 - chance))) @ X + np.diag(precision)
        step = np.asarray(np.linalg.solve(curvature, gradient), dtype=np.float64)
        size = 1.0
        while (new := loss(theta - size * step)) > current and size > 1e-6:
            size /= 2
        theta, done = theta - size * step, current - new < 1e-10
        current = new
        if done:
            break
    return theta
