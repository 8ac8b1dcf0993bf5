"""Which models meet in the backtest, and the backtest itself; metrics and models live elsewhere."""

import logging
from copy import copy
from datetime import date

import polars as pl

from cer_assets.recommend.evaluate import EVALUATION, evaluate, targets
from cer_assets.recommend.families import all_families
from cer_assets.recommend.hybrid.blend import Blend
from cer_assets.recommend.interactions import Interactions, interactions
from cer_assets.recommend.model import Recommender

logger = logging.getLogger(__name__)


def contenders(history: Interactions, products: pl.DataFrame, as_of: date) -> dict[str, Recommender]:
    """Every member of every family, and the blend of the buckets' ALS with own favourites; all fitted, by name."""
    fitted = {name: model.fit(history, products, as_of) for name, model in all_families().items()}
    blend = Blend(copy(fitted["als_bucket"])).fit(history, products, as_of)
    return dict(sorted({**fitted, blend.name: blend}.items()))


def backtest(
    order_lines: pl.DataFrame,
    buckets: pl.DataFrame,
    cut: date,
    days: int = 28,
    min_customers: int = 10,
    products: pl.DataFrame | None = None,
    withdrawn: pl.Series | None = None,
    k: int = 10,
    resamples: int = 200,
    seed: int = 0,
) -> pl.DataFrame:
    """Fit every contender on what was bought before `cut` and judge it on the `days` that follow.

    Args:
        order_lines: customer_id, product_id, quantity, amount, ordered_on, merchandise; before and after `cut`.
        buckets: customer_id, bucket, as known at `cut`; later ones would leak.
        cut: first day no model sees.
        days: length of the window.
        min_customers: a product is a candidate once this many customers have bought it.
        products: the catalogue, for models that read it.
        withdrawn: customer_ids that must not be used.
        k: length of a list.
        resamples: bootstrap resamples of the customers behind an interval.
        seed: of those resamples.

    Returns:
        Rows of `recommend.evaluation`: value with its 95 % interval per model, bucket (and `all`), protocol and metric.
        None where nobody bought a candidate in the window.
    """
    history = interactions(order_lines, cut, min_customers, withdrawn, traits=buckets)
    wanted = targets(order_lines, history, cut, days, k)
    if not len(wanted["A"].rows):
        return pl.DataFrame(schema=EVALUATION).drop("cut")
    logger.info("backtest at %s: %s customers, %s products", cut, len(history.customers), len(history.products))
    models = contenders(history, products if products is not None else pl.DataFrame(), cut)
    figures = evaluate(models, wanted, k, resamples, seed)
    figures = figures.with_columns(as_of=pl.lit(cut)).select("as_of", *(c for c in figures.columns))
    return figures.sort("model", "bucket", "protocol", "metric")
