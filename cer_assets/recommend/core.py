"""Recommending in two lines, from order lines to lists: what benchmarks and notebooks call."""

from datetime import date

import polars as pl

from cer_assets.recommend.backtest import Sources
from cer_assets.recommend.context import ANYTIME, Context
from cer_assets.recommend.families import all_families
from cer_assets.recommend.hybrid import Hybrid, RankerSettings, learn
from cer_assets.recommend.model import Recommender

HYBRID = "hybrid"


def fit(
    sources: Sources,
    as_of: date,
    model: str = HYBRID,
    min_customers: int = 10,
    settings: RankerSettings | None = None,
) -> Recommender:
    """A recommender fitted on what was known before a day.

    Args:
        sources: order lines and what else is known.
        as_of: first day that is not read.
        model: `hybrid`, which learns to rank over all families on the windows before the day, or one of `all_families`.
        min_customers: a product is a candidate once this many customers have bought it.
        settings: how the hybrid learns.

    Raises:
        LookupError: there is no model of this name.
    """
    members = all_families()
    if model != HYBRID and model not in members:
        raise LookupError(f"there is no model {model}: expected {HYBRID} or one of {', '.join(members)}")
    history = sources.before(as_of, min_customers)
    if model != HYBRID:
        return members[model].fit(history, sources.products, as_of)
    known = sources.order_lines
    if sources.withdrawn is not None:
        known = known.filter(~pl.col("customer_id").is_in(sources.withdrawn.implode()))
    ranker = learn(lambda cut: sources.before(cut, min_customers), known, sources.products, as_of, settings)
    return Hybrid(ranker).fit(history, sources.products, as_of)


def recommend(model: Recommender, customers: pl.Series, k: int = 10, context: Context = ANYTIME) -> pl.DataFrame:
    """The model's own lists, before any policy: customer_id, rank (from 1), product_id, score."""
    return model.recommend(customers, k, context)
