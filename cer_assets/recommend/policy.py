"""What may be shown, and what is put forward or back: the same rules for every model and fallback; no model here."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from cer_assets.recommend.heard import Heard
from cer_assets.recommend.interactions import Interactions, described
from cer_assets.recommend.model import Indices, Scores, Settings, top_k
from cer_assets.recommend.rhythm import Rhythm

POOL = 8
"""Times the list's length that is looked through for a list with room for every category, before a whole row is."""
COURSE = (0, 0.03, 0.25, 0.5, 1.2, 2, 4)
"""How far a purchase has come where it ceases to be a new one, where it begins to be due, and where it is given up."""
FLOOR = 1e-6
"""Share of a row's best score that stands for nothing, where a score is a count or a weight."""


class Policy(Settings):
    """What the retailer wants of a list, whatever model ranks it."""

    lasting_days: float = Field(default=14.0, ge=0)
    """What is held back for less than this is consumed rather than lasting: it is put back, and may be shown."""
    forward: float = Field(default=0.03, ge=0)
    """Added to the log-odds of what a customer bought before and is about to run out of."""
    back: float = Field(default=0.03, ge=0)
    """Taken from the log-odds of what was only just bought."""
    given_up: float = Field(default=0.1, ge=0)
    """Taken from the log-odds of what a customer used to buy and by now would have bought again several times."""
    category_share: float = Field(default=0.4, gt=0, le=1)
    """Most that one category may have of a list, rounded up; what has no category counts towards none."""
    stranger_share: float = Field(default=0.2, gt=0, le=1)
    """The same for the list of a customer too little known to favour a category."""
    context_weight: float = Field(default=0.25, ge=0)
    """Weight of the moment of the list, in log-odds for each log ratio of its lift."""
    purchases: int = Field(default=1, ge=0)
    """A model has the word from so many purchases on; with fewer, what was looked at and what is trending has it."""

    def most_of_category(self, k: int, known: bool = True) -> int:
        """How many products of one category a list of `k` may hold, for a customer who is known or not."""
        share = self.category_share if known else min(self.category_share, self.stranger_share)
        return int(np.ceil(share * k - 1e-9))


@dataclass(frozen=True)
class Allowance:
    """A policy brought to a day's products and customers: every list, from whatever scores, goes through it."""

    policy: Policy
    barred: NDArray[np.bool_]
    """Products that may be shown to nobody."""
    category: Indices
    """Category of each product, -1 for none."""
    held: sparse.csr_matrix
    """Types that each customer is not shown now (customers + 1 x types), in the rows of the rhythm."""
    of_type: sparse.csr_matrix
    """Which candidates are of which type (types x candidates)."""
    kind: Indices
    """Type of each candidate, -1 for none."""
    shift: sparse.csr_matrix
    """What is added to the log-odds of what a customer bought of each type, same shape as `held`."""
    bought: sparse.csr_matrix
    """What each customer bought (customers + 1 x candidates), in the rows of the model."""

    def bar(self, scores: Scores, clock: Indices) -> Scores:
        """Set to -inf, in place, what may not be shown; returns the scores.

        Args:
            scores: of any model (rows x candidates).
            clock: the row of each customer in the rhythm, -1 for one it does not know.
        """
        scores[:, self.barred] = -np.inf
        scores[(self.held[clock] @ self.of_type).nonzero()] = -np.inf
        return scores

    def shifted(self, scores: Scores, rows: Indices, clock: Indices) -> Scores:
        """Put what is due forward, what was just bought or given up back, in place; scores are log-odds. Returns them.

        Args:
            scores: of any model (rows x candidates).
            rows: the row of each customer in the model.
            clock: the row of each customer in the rhythm.
        """
        own = self.bought[rows]
        place, column = np.repeat(np.arange(len(rows)), np.diff(own.indptr)), own.indices
        if len(column):
            shift = np.asarray(self.shift[clock[place], np.maximum(self.kind[column], 0)]).ravel()
            scores[place, column] += np.where(self.kind[column] >= 0, shift, 0)
        return scores

    def near(self, scores: Scores, looked: sparse.csr_matrix) -> Scores:
        """Leave of each row, in place, only what shares its category with a product looked at; returns the scores.

        A row stays as it is where nothing looked at has a category: words are then all there is to go by.

        Args:
            scores: (rows x candidates).
            looked: what each customer looked at, an entry above 0 each, same shape.
        """
        shelved = np.flatnonzero(self.category >= 0)
        places = (np.ones(len(shelved), np.float32), (shelved, self.category[shelved]))
        shelf = sparse.csr_matrix(places, shape=(len(self.category), int(self.category.max(initial=-1)) + 1))
        seen = ((looked @ shelf) @ shelf.T).toarray() > 0
        scores[~seen & seen.any(axis=1, keepdims=True)] = -np.inf
        return scores

    def best(self, scores: Scores, k: int, known: NDArray[np.bool_] | None = None) -> tuple[Indices, Scores]:
        """The `k` best of each row with at most so many of one category, as in `top_k`; `known`: whose rows they are.

        Taking products best first, and passing over those whose category is full, gives the best of each category up
        to the cap, and of these the k best.
        """
        known, width = np.ones(len(scores), bool) if known is None else known, scores.shape[1]
        most = np.where(known, self.policy.most_of_category(k), self.policy.most_of_category(k, known=False))
        columns, best = top_k(scores, k)
        todo = np.flatnonzero(self._beyond(columns, best, most).any(axis=1))
        pool = k
        while len(todo):
            pool = min(pool * POOL, width)
            ranked, values = top_k(scores[todo], pool)
            ended = ~np.isfinite(values[:, -1]) | (pool == width)
            values[self._beyond(ranked, values, most[todo])] = -np.inf
            kept = np.argsort(~np.isfinite(values), axis=1, kind="stable")[:, : best.shape[1]]
            values = np.take_along_axis(values, kept, axis=1)
            full = np.isfinite(values)
            columns[todo], best[todo] = np.where(full, np.take_along_axis(ranked, kept, axis=1), 0), values
            todo = todo[~(full.all(axis=1) | ended)]
        return columns, best

    def _beyond(self, columns: Indices, scores: Scores, most: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which places of ranked lists hold a product whose category has its row's `most` before it."""
        category = np.where(np.isfinite(scores), self.category[columns], -1)
        order = np.argsort(category, axis=1, kind="stable")
        grouped = np.take_along_axis(category, order, axis=1)
        place = np.broadcast_to(np.arange(grouped.shape[1]), grouped.shape)
        begins = np.ones(grouped.shape, bool)
        begins[:, 1:] = grouped[:, 1:] != grouped[:, :-1]
        first = np.maximum.accumulate(np.where(begins, place, 0), axis=1)
        beyond = np.zeros(grouped.shape, bool)
        np.put_along_axis(beyond, order, (place - first >= most[:, None]) & (grouped >= 0), axis=1)
        return beyond


def allowance(policy: Policy, products: pl.DataFrame, history: Interactions, rhythm: Rhythm) -> Allowance:
    """Bring a policy to the candidates of a model, the catalogue they are in, and what their buyers bought lately."""
    kind = rhythm.types.kind_of(history.products)
    known = np.flatnonzero(kind >= 0)
    members = (np.ones(len(known), np.float32), (kind[known], known))
    return Allowance(
        policy=policy,
        barred=~recommendable(products, history.products),
        category=_categories(products, history.products),
        held=rhythm.held(policy.lasting_days),
        of_type=sparse.csr_matrix(members, shape=(len(rhythm.types.rates), len(kind))),
        kind=kind,
        shift=_shift(rhythm.types.progress, policy),
        bought=history.counts(),
    )


def recommendable(products: pl.DataFrame, candidates: pl.Series) -> NDArray[np.bool_]:
    """Which candidates may be shown: in the catalogue, not unavailable, not anything but goods.

    Where there is no catalogue at all, every candidate may. What the catalogue leaves open counts as yes.
    """
    if products.is_empty():
        return np.ones(len(candidates), bool)
    flags = [pl.col(name).fill_null(True) for name in ("available", "merchandise") if name in products.columns]
    sold = products.filter(*flags) if flags else products
    return candidates.is_in(sold["product_id"].implode()).to_numpy()


def in_log_odds(scores: Scores) -> Scores:
    """Scores of a model that does not speak in log-odds, on a scale to which a policy and a moment can add theirs.

    A row of counts, weights or shares (nothing below 0) becomes its log, so that what is added multiplies; another row
    is standardised. The order of a row stays, and -inf too.
    """
    heard = Heard.of(scores)
    most = heard.most()
    shares = (heard.least() >= 0) & (most > 0)
    if shares[heard.count > 0].all():
        return heard.spread_out(np.log(heard.scores / heard.each(most) + np.float32(FLOOR)), -np.inf)
    of_shares = heard.each(shares)
    part = np.where(of_shares, heard.scores / heard.each(np.where(shares, most, np.float32(1))), np.float32(1))
    mean, spread = heard.moments()
    standard = (heard.scores - heard.each(mean)) / heard.each(np.where(spread > 0, spread, np.float32(1)))
    return heard.spread_out(np.where(of_shares, np.log(part + np.float32(FLOOR)), standard), -np.inf)


def _categories(products: pl.DataFrame, candidates: pl.Series) -> Indices:
    found = described(candidates, products, ["category"])
    return (found["category"].rank("dense") - 1).cast(pl.Int32).fill_null(-1).to_numpy()


def _shift(progress: sparse.csr_matrix, policy: Policy) -> sparse.csr_matrix:
    """Log-odds by how far purchases have come: least at first, most when they are usually repeated, less long after."""
    steps = [-policy.back, -policy.back, 0, policy.forward, policy.forward, 0, -policy.given_up]
    shift = np.interp(progress.data, COURSE, steps).astype(np.float32)
    return sparse.csr_matrix((shift, progress.indices, progress.indptr), shape=progress.shape)
