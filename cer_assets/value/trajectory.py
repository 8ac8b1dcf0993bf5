"""How figures of lifetime value went from day to day, each by a model that knew no more than the day did."""

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from cer_assets.value.calendar import EPOCH
from cer_assets.value.clv import CLVModel
from cer_assets.value.rolling import Period

QUANTILES = {"one in ten below": 0.1, "half below": 0.5, "one in ten above": 0.9}


def models_of(periods: Sequence[Period], model: CLVModel) -> list[CLVModel]:
    """The models that earlier periods were judged with, as if in use then, and the one in use; oldest first.

    Which candidate they are, and the levels of their intervals, is as the model in use has it.
    """
    candidate = model.model
    return [
        *(
            CLVModel(EPOCH + timedelta(days=period.cut), model.since, 0, 0, candidate, period.parts, model.levels)
            for period in reversed(periods)
            if candidate in period.parts.candidates
        ),
        model,
    ]


def trajectory(
    purchases: pl.DataFrame,
    models: Sequence[CLVModel],
    days: Sequence[date],
    horizon_days: int = 91,
    at_most: int | None = None,
) -> pl.DataFrame:
    """What each customer was worth on each of some days, as it would have been said then.

    Args:
        purchases: `value.purchases`.
        models: in any order; a day is answered by the newest that had seen nothing after it, and left out without one.
        days: the days.
        horizon_days: how far ahead.
        at_most: customers; of more every n-th is taken, which is a random sample, for customer_id is a hash.

    Returns:
        `value.clv` of all those days, in their order.
    """
    if at_most is not None:
        customers = purchases["customer_id"].unique().sort()
        few = customers.gather_every(max(1, -(-len(customers) // at_most))).to_frame()
        purchases = purchases.join(few, on="customer_id", how="semi")
    frames: list[pl.DataFrame] = []
    for day in sorted(days):
        known = [model for model in models if model.as_of <= day]
        if known:
            newest = max(known, key=lambda model: model.as_of)
            frames.append(newest.predict(purchases, day, horizon_days))
    return pl.concat(frames) if frames else models[0].predict(purchases.clear(), EPOCH, horizon_days)


def over_time(clv: pl.DataFrame) -> pl.DataFrame:
    """Quantiles of expected spend over customers, day by day.

    Args:
        clv: `value.clv` of several days and one horizon.

    Returns:
        as_of, quantile (a name), spend; by day.
    """
    return (
        clv.drop_nulls("expected_spend")
        .group_by("as_of")
        .agg(pl.col("expected_spend").quantile(share, "linear").alias(name) for name, share in QUANTILES.items())
        .unpivot(index="as_of", variable_name="quantile", value_name="spend")
        .sort("as_of", "quantile")
    )


def examples(clv: pl.DataFrame, of: int = 5) -> pl.DataFrame:
    """Some customers' figures day by day, under a letter in place of who they are.

    They stand at equal steps from the least to the greatest figure of the newest day, so that all kinds are seen.

    Args:
        clv: `value.clv` of several days and one horizon.
        of: how many customers.

    Returns:
        as_of, customer (a letter), expected_spend, low, high; by customer and day.
    """
    newest = clv.filter(pl.col("as_of") == pl.col("as_of").max()).drop_nulls("expected_spend")
    ranked = newest.sort("expected_spend", "customer_id")
    places = (
        sorted({round((2 * step + 1) / (2 * of) * (ranked.height - 1)) for step in range(of)}) if len(ranked) else []
    )
    letters = pl.Series("customer", [chr(ord("A") + place) for place in range(len(places))], dtype=pl.String)
    chosen = ranked[places].select("customer_id").with_columns(letters)
    return (
        clv.join(chosen, on="customer_id")
        .drop_nulls("expected_spend")
        .select("as_of", "customer", "expected_spend", "low", "high")
        .sort("customer", "as_of")
    )
