"""The rows of `recommend.recommendations`: who gets a list, of which model or fallback, under which policy, and why."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cer_assets.recommend.context import ANYTIME, Context, ContextLift
from cer_assets.recommend.families.content import Content
from cer_assets.recommend.families.popularity import Trending
from cer_assets.recommend.hybrid.ensemble import Hybrid
from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.model import Indices, Recommender, Scores, Voice, as_frame
from cer_assets.recommend.policy import Allowance, Policy, allowance, in_log_odds
from cer_assets.recommend.reasons import Evidence, Sold, evidence
from cer_assets.recommend.rhythm import Rhythm, learn_rhythm
from cer_assets.recommend.topk import block_size, over_blocks

logger = logging.getLogger(__name__)

UNKNOWN = "unknown"
"""The customer_id under which a visitor nobody knows finds a list; also for who wants none made for them."""
RECOMMENDATIONS = {
    "as_of": pl.Date,
    "customer_id": pl.String,
    "rank": pl.Int64,
    "product_id": pl.String,
    "score": pl.Float64,
    "source": pl.String,
    "reason": pl.String,
}
"""Columns of `recommend.recommendations`."""


def rank(
    model: Recommender,
    customers: pl.Series,
    products: pl.DataFrame,
    as_of: date,
    withdrawn: pl.Series | None = None,
    *,
    policy: Policy | None = None,
    context: Context = ANYTIME,
    lift: ContextLift | None = None,
    rhythm: Rhythm | None = None,
    fallbacks: Sequence[Recommender] | None = None,
    k: int = 10,
    reasons: bool = True,
    strangers: bool = True,
    sold: Sold | None = None,
) -> pl.DataFrame:
    """The list of each customer, and one for `unknown`.

    The model has the word first. Where it has nothing or too little to say, what is like the products a customer looked
    at follows, then what is trending in the moment. All of them go through one policy; a list is shorter than `k` where
    fewer products may be shown (`short_lists`), never filled with what nothing speaks for.

    Args:
        model: fitted on what was bought until `as_of`, without the customers in `withdrawn`.
        customers: customer_ids who shall have a list, with or without purchases.
        products: the catalogue: product_id and, where known, title, type, category, available, merchandise.
        as_of: the last day whose purchases are known, written into the rows; the lists are for the morning after.
        withdrawn: customer_ids who want no personal list: they get none.
        policy: what may be shown.
        context: the moment the lists are shown in; one of which nothing is known changes nothing.
        lift: what that moment does to the model's scores; without it the model reads the moment itself.
        rhythm: how long purchases last, `learn_rhythm` of all purchases until `as_of`. Without it, it is learned from
            the model's candidates alone, and what is bought too rarely to be one holds nothing back.
        fallbacks: fitted models for where `model` falls silent, in their order; without it those of `fallback_models`.
        k: longest list.
        reasons: whether source and reason are found; empty else.
        strangers: whether there is a list for `unknown`.
        sold: how many bought each product, where the model's customers are not all there are.

    Returns:
        as_of, customer_id, rank (from 1), product_id, score (comparable within a customer only), source (name of the
        model or family), reason; by customer_id and rank.

    Raises:
        ValueError: the model, a fallback or the rhythm was fitted with purchases of customers who withdrew.
    """
    history, cut = model.interactions_, as_of + timedelta(days=1)
    unknown = pl.Series([UNKNOWN] if strangers else [], dtype=pl.String)
    wanted = pl.concat([customers.drop_nulls().cast(pl.String), unknown]).unique().sort()
    if withdrawn is not None:
        wanted = wanted.filter(~wanted.is_in(withdrawn.implode()))
        fitted = [history.customers, *(one.interactions_.customers for one in fallbacks or ())]
        _refuse(withdrawn, *fitted, *([rhythm.customers] if rhythm else []))
    if history.products.is_empty() or wanted.is_empty():
        return pl.DataFrame(schema=RECOMMENDATIONS)
    policy, rhythm = policy or Policy(), rhythm or learn_rhythm(history, products, cut)
    models = [model, *(fallback_models(history, products, cut) if fallbacks is None else fallbacks)]
    known = evidence(history, products, cut, context, lift or _lift_of(models), sold)
    ranking = _Ranking(
        models=models,
        allowance=allowance(policy, products, history, rhythm),
        evidence=known,
        purchases=np.bincount(history.rows, minlength=history.shape[0]),
        looked=np.diff(known.looked.indptr) > 0,
        context=context,
        lift=None if lift is None else np.float32(policy.context_weight) * lift.lift(context),
        k=k,
        reasons=reasons,
    )
    clock = rhythm.row_of(wanted)
    rows = history.row_of(wanted)

    def of_block(start: int, block: Indices) -> pl.DataFrame:
        place = slice(start, start + len(block))
        return ranking.of_block(wanted[place], block, clock[place])

    ranked = pl.concat(over_blocks(of_block, rows, block_size(len(history.products))))
    logger.info("%s lists, %s rows", len(wanted), ranked.height)
    return ranked.with_columns(as_of=pl.lit(as_of), score=pl.col("score").round(6)).select(*RECOMMENDATIONS)


def fallback_models(history: Interactions, products: pl.DataFrame, as_of: date) -> list[Recommender]:
    """What is shown to those a model says too little to: likeness to what they looked at, then what is trending."""
    content = [Content()] if len(history.events.rows) else []
    return [model.fit(history, products, as_of) for model in (*content, Trending())]


def short_lists(lists: pl.DataFrame, k: int = 10, customers: pl.Series | None = None) -> pl.DataFrame:
    """Customers whose list ends before `k`, as no more may be shown.

    Args:
        lists: customer_id, a row a product; of one day.
        k: length of a full list.
        customers: customer_ids who should have a list: one without any row has 0 products. Without it, who has no row
            is not counted.

    Returns:
        customer_id, products (how many); by customer_id.
    """
    length = lists.group_by("customer_id").agg(products=pl.len().cast(pl.Int64))
    if customers is not None:
        asked = customers.drop_nulls().cast(pl.String).unique().alias("customer_id").to_frame()
        length = asked.join(length, on="customer_id", how="full", coalesce=True).with_columns(
            pl.col("products").fill_null(0)
        )
    return length.filter(pl.col("products") < k).sort("customer_id")


@dataclass(frozen=True)
class _Ranking:
    """What is the same for every block of customers."""

    models: Sequence[Recommender]
    """The model, and those that follow where it falls silent."""
    allowance: Allowance
    evidence: Evidence
    purchases: NDArray[np.int64]
    """Day-baskets of each row."""
    looked: NDArray[np.bool_]
    """Who looked at a product, in the evidence."""
    context: Context
    lift: NDArray[np.float32] | None
    """What the moment adds to the log-odds of each product; None leaves the moment to the model."""
    k: int
    reasons: bool

    def of_block(self, customers: pl.Series, rows: Indices, clock: Indices) -> pl.DataFrame:
        """The lists of one block with their reasons."""
        columns, best, spoke = self._lists(rows, clock)
        source = np.full(columns.shape, "", dtype=object)
        reason = np.full(columns.shape, "", dtype=object)
        for number, model in enumerate(self.models):
            heard = (spoke == number) & np.isfinite(best)
            if not (self.reasons and heard.any()):
                continue
            # The model is asked of the block it has just scored: one that keeps its last answer need not work again.
            asked = heard.any(axis=1) if number else np.ones(len(rows), bool)
            # What is described alike may well share its title; elsewhere a title explains nothing by itself.
            codes = np.arange(len(self.evidence.codes)) if model.voice is Voice.CONTENT else self.evidence.codes
            explained = model.explain(rows[asked], columns[asked], codes)
            said = self.evidence.sentences(rows[asked], columns[asked], explained).to_numpy()
            source[asked] = np.where(heard[asked], explained.source, source[asked])
            reason[asked] = np.where(heard[asked], said.reshape(explained.source.shape), reason[asked])
        shown = np.isfinite(best)
        return as_frame(customers, columns, best, self.evidence.interactions.products).with_columns(
            source=pl.Series(source[shown].tolist(), dtype=pl.String),
            reason=pl.Series(reason[shown].tolist(), dtype=pl.String),
        )

    def _lists(self, rows: Indices, clock: Indices) -> tuple[Indices, Scores, NDArray[np.int8]]:
        """Columns and scores of each list, and the number of the model each product is from."""
        scores, known = self._scores(0, rows, clock), self.purchases[rows] >= self.allowance.policy.purchases
        scores[~known] = -np.inf
        columns, best = self.allowance.best(scores, self.k, known)
        of_model = np.zeros(scores.shape, np.int8)
        for number in range(1, len(self.models)):
            silent = np.flatnonzero(~np.isfinite(best).all(axis=1))
            if self.models[number].voice is Voice.CONTENT:
                silent = silent[self.looked[rows[silent]]]
            if not len(silent):
                continue
            more, said = self._scores(number, rows[silent], clock[silent]), scores[silent]
            if self.models[number].voice is Voice.CONTENT:
                self.allowance.near(more, self.evidence.looked[rows[silent]])
            of_model[silent] = np.where(np.isfinite(said), of_model[silent], number)
            scores[silent] = _below(said, more)
            columns[silent], best[silent] = self.allowance.best(scores[silent], self.k, known[silent])
        return columns, best, np.take_along_axis(of_model, columns, axis=1)

    def _scores(self, number: int, rows: Indices, clock: Indices) -> Scores:
        """What a model says of each product in log-odds, what may not be shown left out."""
        model = self.models[number]
        lifted = self.lift is not None and number == 0
        scores = model.score(rows, ANYTIME if lifted else self.context)
        if not (isinstance(model, Hybrid) and model.ranker is not None):
            scores = in_log_odds(scores)
        if self.lift is not None and lifted:
            scores += self.lift
        return self.allowance.bar(self.allowance.shifted(scores, rows, clock), clock)


def _lift_of(models: Sequence[Recommender]) -> ContextLift | None:
    return next((model.lift_ for model in models if isinstance(model, Trending)), None)


def _below(scores: Scores, further: Scores) -> Scores:
    """Scores with the gaps of each row filled by further ones, all of which are moved below the least it has."""
    said, more = np.isfinite(scores), np.isfinite(further)
    least = np.where(said, scores, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    greatest = np.where(more, further, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    moved = np.where(np.isfinite(least) & np.isfinite(greatest), least - 1 - greatest, 0)
    return np.where(said, scores, further + moved).astype(np.float32)


def _refuse(withdrawn: pl.Series, *fitted: pl.Series) -> None:
    used = int(pl.concat([customers.cast(pl.String) for customers in fitted]).unique().is_in(withdrawn.implode()).sum())
    if used:
        raise ValueError(
            f"{used} customers who withdrew their consent are among the purchases: leave them out (`interactions`)"
        )
