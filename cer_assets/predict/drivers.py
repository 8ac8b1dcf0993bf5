"""What moved each figure: parts of its log odds by theme, the largest first, with words that can stand alone."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from cer_assets.predict.predictor import Predictor, matrix

SHOWN = 3
"""Themes named for each row; what the rest adds is one row more."""
AVERAGE, OTHERS = "average", "others"
SLICE = 100_000
"""Rows explained at a time, so that memory does not grow with their number."""


@dataclass(frozen=True)
class Theme:
    """Features that say the same thing, and the words for it."""

    prefixes: tuple[str, ...]
    """A feature belongs to the first theme that has a beginning of its name."""
    words: str
    """A place `{}` for the value of `says`."""
    says: str
    digits: int = 0
    share: bool = False
    """Whether the value is shown as a percentage."""


THEMES: Mapping[str, Theme] = {
    "recency": Theme(("recency_days", "days_since_big"), "last bought {} days ago", "recency_days"),
    "rhythm": Theme(
        ("gap_", "recency_over", "overdue", "silent_", "outlasts_", "bg_nbd"),
        "{} days from one purchase to the next on average",
        "gap_mean",
        1,
    ),
    "past campaigns": Theme(
        ("sends", "response", "coupons", "days_since_response"), "answered {} campaigns so far", "responses"
    ),
    "kind of campaign": Theme(
        ("kind_", "campaign_"), "{} of those who got such campaigns answered", "kind_rate", share=True
    ),
    "promoted products": Theme(
        ("affinity_",), "bought what is promoted on {} days of the half year before", "affinity_days"
    ),
    "trend": Theme(("trend", "spend_trend"), "buys {} times as often in the last 4 weeks as before", "trend", 1),
    "frequency": Theme(
        ("purchase_days", "days_", "decayed_", "blocks_"), "{} days with a purchase in the last 8 weeks", "days_8w"
    ),
    "spend": Theme(("spend_",), "spends {} a visit", "spend_mean", 2),
    "basket": Theme(("baskets_", "products_", "categories_"), "{} different products a visit", "products_mean", 1),
    "discount": Theme(("discount_",), "{} of the value taken off", "discount_share", share=True),
    "weekday": Theme(("weekend_",), "{} of the visits on a weekend", "weekend_share", share=True),
    "tenure": Theme(("tenure_",), "bought first {} days ago, as far as a year is looked back", "tenure_days"),
}


def drivers(model: Predictor, rows: pl.DataFrame) -> pl.DataFrame:
    """What moved the figure of each row that has one, away from the average row that was learned from.

    Args:
        model: what was learned; no rows without a blend.
        rows: as `Predictor.predict` takes them.

    Returns:
        keys, rank, feature, effect, text. Rank 0 is the average, 1 to 3 the themes with the largest effects, 4 all
        other themes together; a row's effects, in log odds, add up to those of its probability.
    """
    keys = list(model.question.keys)
    judged = rows.filter(pl.col("reason").is_null()).sort(keys)
    if model.blend is None:
        judged = judged.clear()
    parts = [_slice(model, judged.slice(start, SLICE)) for start in range(0, max(judged.height, 1), SLICE)]
    return pl.concat(parts)


def theme_of(feature: str) -> str:
    """The theme a feature belongs to.

    Raises:
        LookupError: none was given to it.
    """
    for name, theme in THEMES.items():
        if feature.startswith(theme.prefixes):
            return name
    raise LookupError(f"no theme has the feature {feature}: add it to THEMES")


def _slice(model: Predictor, rows: pl.DataFrame) -> pl.DataFrame:
    keys, names = list(model.question.keys), model.question.features
    schema = {**dict.fromkeys(keys, pl.String), "rank": pl.Int64, "feature": pl.String}
    schema |= {"effect": pl.Float64, "text": pl.String}
    if rows.is_empty() or model.blend is None:
        return pl.DataFrame(schema=schema)
    of = [theme_of(name) for name in names]
    themes = sorted(set(of))
    belongs = np.array([[theme == mine for theme in themes] for mine in of], dtype=np.float64)
    with threadpool_limits(1, user_api="blas"):  # sums over more threads come out differently each time
        effects = model.blend.contributions(matrix(rows, names)) @ belongs
    each = [
        rows.select(*keys, feature=pl.lit(theme), effect=pl.Series(effects[:, at]), text=_words(theme))
        for at, theme in enumerate(themes)
    ]
    ranked = (
        pl.concat(each)
        .sort(*keys, pl.col("effect").abs(), "feature", descending=[False] * len(keys) + [True, False])
        .with_columns(rank=pl.int_range(1, pl.len() + 1).over(keys))
    )
    rest = (
        ranked.filter(pl.col("rank") > SHOWN)
        .group_by(keys, maintain_order=True)
        .agg(pl.col("effect").sum())
        .with_columns(rank=pl.lit(SHOWN + 1), feature=pl.lit(OTHERS), text=pl.lit("everything else"))
    )
    average = rows.select(
        *keys,
        rank=pl.lit(0),
        feature=pl.lit(AVERAGE),
        effect=pl.lit(model.blend.base),
        text=pl.lit("as of the average customer"),
    )
    shown = ranked.filter(pl.col("rank") <= SHOWN)
    columns = [pl.col(name).cast(kind) for name, kind in schema.items()]
    return pl.concat([part.select(columns) for part in (average, shown, rest)]).sort(*keys, "rank")


def _words(theme: str) -> pl.Expr:
    said = THEMES[theme]
    value = pl.col(said.says) * 100 if said.share else pl.col(said.says)
    number = value.round(said.digits).cast(pl.Int64 if said.digits == 0 else pl.Float64).cast(pl.String)
    figure = pl.format("{} %", number) if said.share else number
    return pl.coalesce(pl.format(said.words, figure), pl.lit("not known"))
