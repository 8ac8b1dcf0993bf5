"""Customer lifetime value: what each customer is expected to buy and spend within a horizon.

A model of counts (`pareto_nbd` or `bg_nbd`) says how often, `gamma_gamma` for how much. Amounts are
not discounted. How good the figures are is measured in `evaluate`.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal

import numpy as np
import polars as pl

from cer_assets.value.bg_nbd import BGNBD
from cer_assets.value.gamma_gamma import GammaGamma
from cer_assets.value.histories import DAYS_PER_WEEK, Floats, customer_histories, timing
from cer_assets.value.pareto_nbd import ParetoNBD

log = logging.getLogger(__name__)

CountModel = Literal["pareto_nbd", "bg_nbd"]

COUNT_MODELS: Mapping[CountModel, type[ParetoNBD] | type[BGNBD]] = {
    "pareto_nbd": ParetoNBD,
    "bg_nbd": BGNBD,
}

# Four weeks: below, a customer's rhythm is a guess, and the figure would be everyone's average.
MIN_HISTORY_DAYS = 28

# Four parameters from fewer customers who came back would be noise.
MIN_RETURNED = 30

# More customers no longer move the parameters in a visible digit.
FIT_AT_MOST = 50_000

# Customers predicted at a time, so that memory does not grow with their number.
SLICE = 100_000

# `low` and `high` hold the spend of four customers in five, if the model is right.
INTERVAL = 0.8

# What returns cost cannot turn a mean amount into nothing or less: the model needs a positive one.
SMALLEST_SPEND = 0.01

COLUMNS = {
    "as_of": pl.Date,
    "customer_id": pl.String,
    "horizon_days": pl.Int64,
    "expected_purchases": pl.Float64,
    "expected_spend": pl.Float64,
    "p_active": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "reason": pl.String,
}


@dataclass(frozen=True)
class CLVModel:
    """A fitted model of lifetime value.

    Attributes:
        as_of: the last day of purchases it has seen.
        customers: customers with a purchase by then.
        fitted_on: of these, the customers whose histories set the parameters.
        counts: the model of how often; None where there was too little to fit.
        spend: the model of how much; None like `counts`.
        reason: why there is no model; None where there is one.
    """

    as_of: date
    customers: int
    fitted_on: int
    counts: ParetoNBD | BGNBD | None
    spend: GammaGamma | None
    reason: str | None = None

    @property
    def name(self) -> str:
        """What the model is, as in `pareto_nbd x gamma_gamma`."""
        return f"{_name_of(self.counts)} x gamma_gamma" if self.counts else "none"

    def predict(self, purchases: pl.DataFrame, as_of: date, horizon_days: int) -> pl.DataFrame:
        """Expected purchases and spend of every customer in the days after a day.

        Args:
            purchases: `value.purchases`: customer_id, ordered_on, amount. What comes after `as_of`
                is not looked at.
            as_of: the last day that is known; it may be later than the model's own.
            horizon_days: how many days after it the figures are for.

        Returns:
            `value.clv`, ordered by customer_id: as_of, customer_id, horizon_days,
            expected_purchases (days with a purchase), expected_spend, p_active, low, high (10th and
            90th percentile of the customer's spend itself, not of its mean), reason. Where reason
            is given, the figures are null.

        Raises:
            ValueError: `horizon_days` is not positive.
        """
        if horizon_days <= 0:
            raise ValueError(f"horizon_days must be positive, not {horizon_days}")
        histories = customer_histories(purchases, as_of)
        weeks = horizon_days / DAYS_PER_WEEK
        slices = histories.iter_slices(SLICE) if len(histories) else [histories]
        figures = pl.concat([self._figures(rows, weeks) for rows in slices])
        young = pl.col("T") * DAYS_PER_WEEK < MIN_HISTORY_DAYS - 0.5
        reason = (
            pl.when(pl.lit(self.counts is None))
            .then(pl.lit(self.reason))
            .when(young)
            .then(pl.lit(f"first purchase less than {MIN_HISTORY_DAYS} days ago"))
        )
        known = pl.col("reason").is_null()
        return (
            histories.hstack(figures)
            .with_columns(reason.cast(pl.String).alias("reason"))
            .select(
                pl.lit(as_of).alias("as_of"),
                "customer_id",
                pl.lit(horizon_days, dtype=pl.Int64).alias("horizon_days"),
                *(pl.when(known).then(pl.col(name)).alias(name) for name in figures.columns),
                "reason",
            )
            .select(pl.col(name).cast(dtype) for name, dtype in COLUMNS.items())
        )

    def _figures(self, histories: pl.DataFrame, weeks: float) -> pl.DataFrame:
        """The five figures of each row of `customer_histories`; null without a model."""
        names = ["expected_purchases", "expected_spend", "p_active", "low", "high"]
        if self.counts is None or self.spend is None:
            return pl.DataFrame({name: pl.repeat(None, len(histories), dtype=pl.Float64, eager=True) for name in names})
        when = timing(histories)
        n, mean_spend = _purchase_sizes(histories)
        counts = self.counts.counts(when, weeks)
        tail = (1 - INTERVAL) / 2
        values = [
            counts.mean,
            counts.mean * self.spend.expected_spend(n, mean_spend),
            self.counts.p_active(when),
            self.spend.total_quantile(tail, counts, n, mean_spend),
            self.spend.total_quantile(1 - tail, counts, n, mean_spend),
        ]
        return pl.DataFrame(dict(zip(names, values, strict=True)))

    def card(self) -> dict[str, Any]:
        """What the model is and was fitted on, for a registry: JSON values, no customer's figure."""
        return {
            "model": self.name,
            "as_of": self.as_of.isoformat(),
            "customers": self.customers,
            "fitted_on": self.fitted_on,
            "counts": {} if self.counts is None else asdict(self.counts),
            "spend": {} if self.spend is None else asdict(self.spend),
            "interval": INTERVAL,
            "min_history_days": MIN_HISTORY_DAYS,
            "reason": self.reason,
        }

    def files(self) -> dict[str, bytes]:
        """The model as files; the same model gives the same bytes."""
        content = {
            "as_of": self.as_of.isoformat(),
            "customers": self.customers,
            "fitted_on": self.fitted_on,
            "counts": None
            if self.counts is None
            else {"name": _name_of(self.counts), "parameters": asdict(self.counts)},
            "spend": None if self.spend is None else asdict(self.spend),
            "reason": self.reason,
        }
        return {"clv.json": json.dumps(content, sort_keys=True, indent=1).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "CLVModel":
        """The model that `files` were made from.

        Raises:
            KeyError: `clv.json` is not among them.
            ValueError: `clv.json` names a model of counts that is not known here.
        """
        content = json.loads(files["clv.json"])
        counts, spend = content["counts"], content["spend"]
        if counts is not None and counts["name"] not in COUNT_MODELS:
            raise ValueError(f"clv.json holds counts of {counts['name']!r}; known are {', '.join(COUNT_MODELS)}")
        return cls(
            as_of=date.fromisoformat(content["as_of"]),
            customers=content["customers"],
            fitted_on=content["fitted_on"],
            counts=None if counts is None else COUNT_MODELS[counts["name"]](**counts["parameters"]),
            spend=None if spend is None else GammaGamma(**spend),
            reason=content["reason"],
        )


def fit(purchases: pl.DataFrame, as_of: date | None = None, *, counts: CountModel = "pareto_nbd") -> CLVModel:
    """Fit a model of lifetime value by maximum likelihood.

    The Pareto/NBD is the default: a customer who bought once can have left, which the BG/NBD rules
    out, and its fit is the better one on groceries and on music alike.

    Args:
        purchases: `value.purchases`: customer_id, ordered_on Date, amount (money, net of returns),
            one row per customer and day, in any order.
        as_of: the last day to look at; the last day in `purchases` unless given.
        counts: the model of how often.

    Returns:
        The model; with a `reason` and no figures where too few customers came back to fit one.

    Raises:
        ValueError: `purchases` is empty and no `as_of` is given.
    """
    as_of = as_of or _last_day(purchases)
    histories = customer_histories(purchases, as_of)
    # customer_id is a hash, so every n-th in its order is a random sample, and the same each time.
    sample = histories.gather_every(max(1, -(-len(histories) // FIT_AT_MOST)))
    returned = int((sample["x"] > 0).sum())
    if returned < MIN_RETURNED:
        reason = f"fewer than {MIN_RETURNED} customers came back: no model could be fitted"
        log.warning("no lifetime value model: %d customers came back", returned)
        return CLVModel(as_of, len(histories), len(sample), None, None, reason)
    n, mean_spend = _purchase_sizes(sample)
    model = CLVModel(
        as_of=as_of,
        customers=len(histories),
        fitted_on=len(sample),
        counts=COUNT_MODELS[counts].fit(timing(sample)),
        spend=GammaGamma.fit(n, mean_spend),
    )
    log.info("fitted %s on %d customers", model.name, model.fitted_on)
    return model


def _purchase_sizes(histories: pl.DataFrame) -> tuple[Floats, Floats]:
    """Days with a purchase and their mean amount, the first included, each of shape (customers,).

    The papers leave the first purchase out; with it every customer says something of their own,
    which ranked later spend better on the data tried.
    """
    mean_spend = histories["mean_spend"].to_numpy().astype(np.float64)
    return histories["days"].to_numpy().astype(np.float64), np.maximum(mean_spend, SMALLEST_SPEND)


def _last_day(purchases: pl.DataFrame) -> date:
    last = purchases["ordered_on"].max()
    if not isinstance(last, date):
        raise ValueError("purchases hold no row: give as_of, the day the model is to be as of")
    return last


def _name_of(counts: ParetoNBD | BGNBD) -> CountModel:
    return "pareto_nbd" if isinstance(counts, ParetoNBD) else "bg_nbd"
