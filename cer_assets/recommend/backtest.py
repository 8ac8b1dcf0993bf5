"""Which models meet in the backtest, and the backtest itself; metrics and models live elsewhere."""

import logging
from datetime import date

import polars as pl

from cer_assets.recommend.als import Als, AlsByBucket, AlsSettings
from cer_assets.recommend.baselines import PersonalFrequency, Popularity
from cer_assets.recommend.blend import Blend, BlendSettings
from cer_assets.recommend.evaluate import EVALUATION, evaluate, targets
from cer_assets.recommend.interactions import Interactions, interactions
from cer_assets.recommend.model import Recommender

logger = logging.getLogger(__name__)


def contenders(
    history: Interactions,
    buckets: pl.DataFrame,
    products: pl.DataFrame,
    as_of: date,
    als: AlsSettings | None = None,
    blend: BlendSettings | None = None,
) -> dict[str, Recommender]:
    """The baselines, ALS over everyone and per bucket, and the blend customers are shown; all fitted, by name."""
    by_bucket = AlsByBucket(buckets, als).fit(history, products, as_of)
    shown = Blend(AlsByBucket(buckets, als, by_bucket.models_), blend)
    others = (Popularity(), PersonalFrequency(), Als(als), shown)
    fitted = [*(model.fit(history, products, as_of) for model in others), by_bucket]
    return {model.name: model for model in sorted(fitted, key=lambda model: model.name)}


def backtest(
    order_lines: pl.DataFrame,
    buckets: pl.DataFrame,
    cut: date,
    days: int = 28,
    min_customers: int = 10,
    products: pl.DataFrame | None = None,
    withdrawn: pl.Series | None = None,
    als: AlsSettings | None = None,
    blend: BlendSettings | None = None,
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
        als: settings of the ALS models.
        blend: settings of the blend.
        k: length of a list.
        resamples: bootstrap resamples of the customers behind an interval.
        seed: of those resamples.

    Returns:
        Rows of `recommend.evaluation`: value with its 95 % interval per model, bucket (and `all`), protocol and metric.
        None where nobody bought a candidate in the window.
    """
    history = interactions(order_lines, cut, min_customers, withdrawn)
    wanted = targets(order_lines, history, cut, days, k)
    if not len(wanted["A"].rows):
        return pl.DataFrame(schema=EVALUATION)
    logger.info("backtest at %s: %s customers, %s products", cut, len(history.customers), len(history.products))
    models = contenders(history, buckets, products if products is not None else pl.DataFrame(), cut, als, blend)
    figures = evaluate(models, wanted, buckets, k, resamples, seed)
    return figures.with_columns(as_of=pl.lit(cut)).select(*EVALUATION).sort("model", "bucket", "protocol", "metric")
