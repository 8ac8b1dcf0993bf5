"""Who will stop buying: the probability of no purchase within a horizon, trained on earlier time, judged on later."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from cer_assets.predict.curves import LogisticCurves
from cer_assets.predict.evaluate import METRICS, measure_with_intervals
from cer_assets.predict.purchases import FEATURES, bought_within, features

logger = logging.getLogger(__name__)

CHURN = {
    "as_of": pl.Date,
    "customer_id": pl.String,
    "horizon_days": pl.Int64,
    "probability": pl.Float64,
    "reason": pl.String,
}
"""Columns of `predict.churn`."""
BASELINES = {"recency": ("recency_days",), "recency_over_gap": ("recency_over_gap",)}
"""Simple rules beside the model: the same kind of curve over one feature."""


class ChurnSettings(BaseModel):
    """What churn means here, and how it is learned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizon_days: int = Field(default=28, ge=1)
    """A customer has churned who buys nothing for this many days from the cut on."""
    active_days: int = Field(default=56, ge=1)
    """Only customers with a purchase in this many days before the cut can churn: the others are gone already."""
    min_purchase_days: int = Field(default=3, ge=1)
    """Fewer days with a purchase are no rhythm to judge by."""
    cuts: int = Field(default=7, ge=1)
    """Past cuts to learn from, one horizon apart, as far as history reaches."""
    min_customers: int = Field(default=200, ge=2)
    """Examples needed to learn at all."""
    min_outcomes: int = Field(default=20, ge=1)
    """Examples needed of those who churned, and of those who did not."""


@dataclass(frozen=True)
class ChurnModel:
    """Curves over the features of the past, or the reason why there are none."""

    settings: ChurnSettings
    as_of: date
    """Nothing from this day on was read."""
    curves: LogisticCurves | None
    reason: str | None
    """Why there is no figure for anyone."""
    examples: int
    """Customers at past cuts the model learned from."""
    base_rate: float | None
    """Share of them who churned."""

    def predict(self, purchases: pl.DataFrame, as_of: date) -> pl.DataFrame:
        """Rows of `predict.churn` for everyone who bought before `as_of`, by customer_id.

        Args:
            purchases: customer_id, ordered_on, baskets, amount, as in `value.purchases`.
            as_of: first day of the horizon; nothing from it on is read.

        Returns:
            as_of, customer_id, horizon_days, probability (null without enough history), reason (null with a figure).
        """
        known = features(purchases, as_of).with_columns(reason=_why_not(self.settings))
        judged = known.filter(pl.col("reason").is_null()).select("customer_id", *FEATURES)
        probability = pl.Series("probability", self.probability(judged), dtype=pl.Float64).fill_nan(None)
        return (
            known.join(judged.select("customer_id", probability), on="customer_id", how="left", maintain_order="left")
            .with_columns(
                as_of=pl.lit(as_of),
                horizon_days=pl.lit(self.settings.horizon_days, pl.Int64),
                reason=pl.coalesce("reason", pl.lit(self.reason, pl.String)),
            )
            .select(*CHURN)
        )

    def files(self) -> dict[str, bytes]:
        """The model as JSON; the same model gives the same bytes."""
        data = {
            "settings": self.settings.model_dump(),
            "as_of": self.as_of.isoformat(),
            "features": FEATURES,
            "curves": self.curves.as_json() if self.curves else None,
            "reason": self.reason,
            "examples": self.examples,
            "base_rate": self.base_rate,
        }
        return {"model.json": json.dumps(data, indent=1, sort_keys=True).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """The model that `files` wrote.

        Raises:
            ValueError: the model was made for other features than this code computes.
        """
        data = json.loads(files["model.json"])
        if tuple(data["features"]) != FEATURES:
            raise ValueError("the churn model was trained on other features than these: train it again")
        return cls(
            ChurnSettings(**data["settings"]),
            date.fromisoformat(data["as_of"]),
            LogisticCurves.from_json(data["curves"]) if data["curves"] else None,
            data["reason"],
            data["examples"],
            data["base_rate"],
        )

    def card(self) -> dict[str, Any]:
        """What the model is, without its numbers."""
        return {
            "family": "logistic curves",
            "settings": self.settings.model_dump(),
            "as_of": self.as_of.isoformat(),
            "features": list(FEATURES),
            "examples": self.examples,
            "base_rate": self.base_rate,
            "reason": self.reason,
        }

    def probability(self, judged: pl.DataFrame) -> NDArray[np.float64]:
        """Probability of each row of `purchases.features`, nan where the model has learned nothing."""
        if self.curves is None:
            return np.full(judged.height, np.nan)
        return self.curves.probability(_matrix(judged, FEATURES))


def fit(purchases: pl.DataFrame, as_of: date, settings: ChurnSettings | None = None) -> ChurnModel:
    """Learn from cuts whose horizon had passed by `as_of`.

    Args:
        purchases: customer_id, ordered_on, baskets, amount, as in `value.purchases`.
        as_of: nothing from this day on is read.
        settings: what churn means.

    Returns:
        A model; one without curves, and with the reason, where there are too few examples.
    """
    settings = settings or ChurnSettings()
    rows = _examples(purchases, as_of, settings)
    churned = int(rows["churned"].sum())
    reason = _too_thin(rows.height, churned, settings)
    curves = None if reason else _learn(rows, FEATURES)
    logger.info("churn at %s: %s examples, %s churned", as_of, rows.height, churned)
    return ChurnModel(settings, as_of, curves, reason, rows.height, churned / rows.height if rows.height else None)


def hold_out(purchases: pl.DataFrame, as_of: date, settings: ChurnSettings | None = None) -> pl.DataFrame:
    """What the model and simple rules would have said at the latest cut whose horizon has passed, and what came.

    Everything is learned as of that cut, so that no example reaches into the judged horizon.

    Returns:
        customer_id, churned Boolean, then one probability per model: base_rate, recency, recency_over_gap, churn.
        No rows where there was not enough to learn from, or nobody to judge.
    """
    settings = settings or ChurnSettings()
    cut = as_of - timedelta(days=settings.horizon_days)
    model = fit(purchases, cut, settings)
    judged = _outcomes(purchases, cut, settings)
    if model.curves is None:
        judged = judged.clear()
    past = _examples(purchases, cut, settings)
    rules = {
        name: _learn(past, columns).probability(_matrix(judged, columns)) if judged.height else np.empty(0)
        for name, columns in BASELINES.items()
    }
    return judged.select(
        "customer_id",
        "churned",
        base_rate=pl.lit(model.base_rate, pl.Float64),
        **{name: pl.Series(probability, dtype=pl.Float64) for name, probability in rules.items()},
        churn=pl.Series(model.probability(judged), dtype=pl.Float64),
    )


def backtest(held_out: pl.DataFrame, resamples: int = 200, seed: int = 0) -> pl.DataFrame:
    """How well each model of `hold_out` foresaw what came.

    Args:
        held_out: rows of `hold_out`.
        resamples: bootstrap resamples of the customers behind an interval.
        seed: of those resamples; models share them.

    Returns:
        model, metric (auc, average_precision, brier), value, low, high (95 %); no rows where only one outcome came.
    """
    schema = {"model": pl.String, "metric": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    churned = held_out["churned"].to_numpy()
    if not churned.any() or churned.all():
        return pl.DataFrame(schema=schema)
    models = held_out.columns[2:]
    figures = [
        (model, metric, *interval)
        for model in models
        for metric, interval in zip(
            METRICS, measure_with_intervals(churned, held_out[model].to_numpy(), resamples, seed).tolist(), strict=True
        )
    ]
    return pl.DataFrame(figures, schema=schema, orient="row")


def _examples(purchases: pl.DataFrame, as_of: date, settings: ChurnSettings) -> pl.DataFrame:
    """Eligible customers at each past cut, with features and outcome."""
    first = purchases["ordered_on"].min()
    cuts = [as_of - timedelta(days=settings.horizon_days * back) for back in range(1, settings.cuts + 1)]
    # Before a whole window of activity has been recorded, everyone looks like a newcomer.
    usable = [cut for cut in cuts if isinstance(first, date) and cut >= first + timedelta(days=settings.active_days)]
    empty = _outcomes(purchases.clear(), as_of, settings)
    return pl.concat([empty, *(_outcomes(purchases, cut, settings) for cut in usable)])


def _outcomes(purchases: pl.DataFrame, cut: date, settings: ChurnSettings) -> pl.DataFrame:
    known = features(purchases, cut).filter(_why_not(settings).is_null())
    came_back = bought_within(purchases, cut, settings.horizon_days)
    return known.with_columns(churned=~pl.col("customer_id").is_in(came_back.implode()))


def _why_not(settings: ChurnSettings) -> pl.Expr:
    return (
        pl.when(pl.col("recency_days") > settings.active_days)
        .then(pl.lit(f"no purchase in the last {settings.active_days} days"))
        .when(pl.col("purchase_days") < settings.min_purchase_days)
        .then(pl.lit(f"fewer than {settings.min_purchase_days} days with a purchase"))
    )


def _too_thin(examples: int, churned: int, settings: ChurnSettings) -> str | None:
    if examples < settings.min_customers:
        return f"not enough data: {examples} past examples, {settings.min_customers} needed"
    if min(churned, examples - churned) < settings.min_outcomes:
        return f"not enough data: {churned} of {examples} past examples churned, {settings.min_outcomes} needed of each"
    return None


def _learn(rows: pl.DataFrame, columns: Sequence[str]) -> LogisticCurves:
    ordered = rows.sort("customer_id", "tenure_days")
    return LogisticCurves.fit(_matrix(ordered, columns), ordered["churned"].to_numpy())


def _matrix(rows: pl.DataFrame, columns: Sequence[str]) -> NDArray[np.float64]:
    return rows.select(pl.col(columns).fill_null(np.nan)).to_numpy()
