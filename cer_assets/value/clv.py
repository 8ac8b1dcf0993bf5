"""Customer lifetime value: what each customer is expected to buy and spend within some horizons.

The ways to foretell spend are in `candidates`; which of them is used is settled in `rolling`, on earlier periods of the
same purchases. Amounts are not discounted.
"""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import polars as pl

from cer_assets.value.calendar import EPOCH, Calendar, day_number
from cer_assets.value.candidates import (
    CANDIDATES,
    COUNT_MODELS,
    MIN_RETURNED,
    Candidate,
    Outlook,
    Parts,
    fit_parts,
)
from cer_assets.value.gamma_gamma import GammaGamma
from cer_assets.value.histories import FEATURES, Past
from cer_assets.value.learned import Learned
from cer_assets.value.rolling import MIN_HISTORY_DAYS, OUTSIDE, Period, choose, levels, roll, standings

log = logging.getLogger(__name__)

HORIZONS = (28, 91, 365)
"""Days ahead, unless others are asked for: a month, a quarter, a year."""

# Parameters from so many customers are known to a few per cent, and choosing takes seconds.
FIT_AT_MOST = 25_000

# A horizon so many times as long as all that was ever seen is a guess.
MOST_AHEAD = 4

# Customers predicted at a time, so that memory does not grow with their number.
SLICE = 50_000

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
    "model": pl.String,
}
FIGURES = ("expected_purchases", "expected_spend", "p_active", "low", "high")


@dataclass(frozen=True)
class CLVModel:
    """A fitted model of lifetime value.

    Attributes:
        as_of: the last day of purchases it has seen.
        since: the first one.
        customers: customers with a purchase by then.
        fitted_on: of these, the customers whose histories set the parameters.
        model: which candidate makes the figures; None where there was too little to fit.
        parts: what was fitted; None like `model`.
        levels: levels of the candidate's own spread that hold the 10th and the 90th percentile of spend.
        why: why this candidate and no other, in a sentence.
        standings: what the choice stands on, a row a candidate and earlier period.
        reason: why there is no model; None where there is one.
    """

    as_of: date
    since: date | None
    customers: int
    fitted_on: int
    model: Candidate | None
    parts: Parts | None
    levels: tuple[float, float] = (OUTSIDE, 1 - OUTSIDE)
    why: str = ""
    standings: tuple[dict[str, Any], ...] = ()
    reason: str | None = None

    @property
    def name(self) -> str:
        """What makes the figures, as in `pareto_nbd x gamma_gamma`."""
        return self.model or "none"

    def predict(
        self, purchases: pl.DataFrame, as_of: date, horizon_days: int | Sequence[int] = HORIZONS
    ) -> pl.DataFrame:
        """Expected purchases and spend of every customer in the days after a day.

        Args:
            purchases: `value.purchases`: customer_id, ordered_on, amount. What comes after `as_of`
                is not looked at.
            as_of: the last day that is known; it may be later than the model's own.
            horizon_days: how many days after it the figures are for; one number or several.

        Returns:
            `value.clv`, by horizon in the order given, then customer_id: as_of, customer_id, horizon_days,
            expected_purchases (days with a purchase, by the count model), expected_spend, p_active, low, high (10th and
            90th percentile of the customer's spend itself, not of its mean), reason, model (the candidate that made
            expected_spend). Where reason is given, the figures and model are null.

        Raises:
            ValueError: a horizon is not positive, or there is none.
        """
        horizons = [horizon_days] if isinstance(horizon_days, int) else list(horizon_days)
        if not horizons or min(horizons) <= 0:
            raise ValueError(f"horizon_days must be positive, not {horizon_days}")
        calendar, day = Calendar.of(purchases, as_of), day_number(as_of)
        ends = [*range(0, len(calendar), SLICE), len(calendar)]
        # Slices do not see each other, so that two threads give what one would.
        with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
            figures = list(pool.map(partial(self._figures, calendar, day, horizons), pairwise(ends)))
        observed = day - day_number(self.since) + 1 if self.since else 0
        return pl.concat(
            self._rows(calendar.ids, as_of, days, observed, [by_horizon[place] for by_horizon in figures])
            for place, days in enumerate(horizons)
        )

    def _figures(
        self, calendar: Calendar, day: int, horizons: Sequence[int], part: tuple[int, int]
    ) -> list[pl.DataFrame]:
        """A frame a horizon: place among all customers, tenure_days, and the five figures, null without a model."""
        past = Past(calendar.part(*part), day)
        known = {"place": past.place + part[0], "tenure_days": past.tenure_days}
        if self.parts is None or self.model is None:
            nothing = pl.DataFrame(known).with_columns(pl.lit(None, pl.Float64).alias(name) for name in FIGURES)
            return [nothing for _ in horizons]
        outlook = Outlook(self.parts, past)
        return [
            pl.DataFrame(
                {
                    **known,
                    "expected_purchases": outlook.counts(self.model, days).mean,
                    "expected_spend": outlook.expected_spend(self.model, days),
                    "p_active": outlook.p_active(self.model),
                    "low": outlook.quantile(self.model, days, self.levels[0]),
                    "high": outlook.quantile(self.model, days, self.levels[1]),
                }
            )
            for days in horizons
        ]

    def _rows(
        self, ids: pl.Series, as_of: date, days: int, observed: int, figures: Sequence[pl.DataFrame]
    ) -> pl.DataFrame:
        """`value.clv` of one horizon."""
        if not figures:
            return pl.DataFrame(schema=COLUMNS)
        frame = pl.concat(figures)
        reason = (
            pl.when(pl.lit(self.parts is None))
            .then(pl.lit(self.reason, pl.String))
            .when(pl.lit(days > MOST_AHEAD * observed))
            .then(pl.lit(f"purchases of {observed} days are too few to look {days} days ahead"))
            .when(pl.col("tenure_days") < MIN_HISTORY_DAYS)
            .then(pl.lit(f"first purchase less than {MIN_HISTORY_DAYS} days ago"))
        )
        known = pl.col("reason").is_null()
        values = {
            "as_of": pl.lit(as_of),
            "customer_id": ids.gather(frame["place"]),
            "horizon_days": pl.lit(days),
            "reason": pl.col("reason"),
            "model": pl.when(known).then(pl.lit(self.model, pl.String)),
        } | {name: pl.when(known).then(pl.col(name)) for name in FIGURES}
        return frame.with_columns(reason.alias("reason")).select(
            pl.lit(values[name]).cast(dtype).alias(name)
            if isinstance(values[name], pl.Series)
            else values[name].cast(dtype).alias(name)
            for name, dtype in COLUMNS.items()
        )

    def card(self) -> dict[str, Any]:
        """What the model is, what it was fitted on and why it was chosen: JSON values, no customer's figure."""
        learned = self.parts.learned if self.parts else None
        return {
            "model": self.name,
            "why": self.why,
            "standings": list(self.standings),
            "as_of": self.as_of.isoformat(),
            "customers": self.customers,
            "fitted_on": self.fitted_on,
            "counts": {name: asdict(model) for name, model in self.parts.counts.items()} if self.parts else {},
            "spend": asdict(self.parts.gamma_gamma) if self.parts else {},
            "learned": {}
            if learned is None
            else {
                "days": learned.days,
                "factors": list(learned.factors),
                "examples": learned.examples,
                "earlier_days": len(learned.cuts),
                "trees": len(learned.trees.leaf),
                "importance": {
                    name: round(float(share), 4)
                    for name, share in sorted(
                        zip(FEATURES, learned.trees.importance, strict=True), key=lambda each: -each[1]
                    )
                },
            },
            "interval": 1 - 2 * OUTSIDE,
            "levels": list(self.levels),
            "min_history_days": MIN_HISTORY_DAYS,
            "reason": self.reason,
        }

    def files(self) -> dict[str, bytes]:
        """The model as JSON; the same model gives the same bytes."""
        parts = self.parts
        content = {
            "as_of": self.as_of.isoformat(),
            "since": self.since and self.since.isoformat(),
            "customers": self.customers,
            "fitted_on": self.fitted_on,
            "model": self.model,
            "counts": None if parts is None else {name: asdict(model) for name, model in parts.counts.items()},
            "spend": None if parts is None else asdict(parts.gamma_gamma),
            "learned": parts.learned.as_json() if parts and parts.learned else None,
            "levels": list(self.levels),
            "why": self.why,
            "standings": list(self.standings),
            "reason": self.reason,
        }
        return {"clv.json": json.dumps(content, sort_keys=True, indent=1).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "CLVModel":
        """The model that `files` were made from.

        Raises:
            KeyError: `clv.json` is not among them, or was written by another version.
            ValueError: `clv.json` names a model that is not known here.
        """
        content = json.loads(files["clv.json"])
        named = {content["model"], *(f"{name} x gamma_gamma" for name in content["counts"] or {})} - {None}
        if unknown := named - set(CANDIDATES):
            raise ValueError(f"clv.json holds {', '.join(sorted(unknown))}; known are {', '.join(CANDIDATES)}")
        parts = content["counts"] and Parts(
            {name: COUNT_MODELS[name](**content["counts"][name]) for name in COUNT_MODELS if name in content["counts"]},
            GammaGamma(**content["spend"]),
            Learned.from_json(content["learned"]) if content["learned"] else None,
        )
        return cls(
            as_of=date.fromisoformat(content["as_of"]),
            since=content["since"] and date.fromisoformat(content["since"]),
            customers=content["customers"],
            fitted_on=content["fitted_on"],
            model=content["model"],
            parts=parts,
            levels=(content["levels"][0], content["levels"][1]),
            why=content["why"],
            standings=tuple(content["standings"]),
            reason=content["reason"],
        )


def fit(
    purchases: pl.DataFrame,
    as_of: date | None = None,
    *,
    model: Candidate | None = None,
    horizon_days: int = 91,
    periods: Sequence[Period] | None = None,
) -> CLVModel:
    """Fit what can foretell spend, and choose by earlier periods what does.

    Args:
        purchases: `value.purchases`: customer_id, ordered_on Date, amount (money, net of returns),
            one row per customer and day, in any order.
        as_of: the last day to look at; the last day in `purchases` unless given.
        model: the candidate to use; the best of earlier periods unless given.
        horizon_days: the horizon to choose for, and at most the one that is learned.
        periods: `earlier_periods` of the same purchases, if they are there already.

    Returns:
        The model; with a `reason` and no figures where too few customers came back to fit one.

    Raises:
        ValueError: `purchases` is empty and no `as_of` is given; or there is too little history for `model`.
    """
    as_of = as_of or _last_day(purchases)
    calendar = Calendar.of(purchases, as_of, FIT_AT_MOST)
    day, first = day_number(as_of), calendar.first_day
    since = None if first is None else EPOCH + timedelta(days=first)
    customers = purchases.filter(pl.col("ordered_on") <= as_of, pl.col("amount") > 0)["customer_id"].n_unique()
    parts = fit_parts(calendar, day, horizon_days, CANDIDATES if model is None else (model,))
    if parts is None:
        reason = f"fewer than {MIN_RETURNED} customers came back: no model could be fitted"
        log.warning("no lifetime value model: %s", reason)
        return CLVModel(as_of, since, customers, len(calendar), None, None, reason=reason)
    if model is not None:
        if model not in parts.candidates:
            raise ValueError(f"purchases until {as_of} are too few to fit {model}: leave the choice to the data")
        return CLVModel(as_of, since, customers, len(calendar), model, parts, why=f"{model}: it was asked for")
    periods = roll(calendar, day, horizon_days) if periods is None else periods
    chosen, why = choose([period for period in periods if set(period.parts.candidates) <= set(parts.candidates)])
    return CLVModel(
        as_of=as_of,
        since=since,
        customers=customers,
        fitted_on=len(calendar),
        model=chosen,
        parts=parts,
        levels=levels(periods[0], chosen) if periods else (OUTSIDE, 1 - OUTSIDE),
        why=why,
        standings=tuple(standings(periods)),
    )


def earlier_periods(purchases: pl.DataFrame, as_of: date | None = None, horizon_days: int = 91) -> list[Period]:
    """The periods before a day that `fit` chooses by, newest first: for who wants to see them too."""
    as_of = as_of or _last_day(purchases)
    return roll(Calendar.of(purchases, as_of, FIT_AT_MOST), day_number(as_of), horizon_days)


def _last_day(purchases: pl.DataFrame) -> date:
    last = purchases["ordered_on"].max()
    if not isinstance(last, date):
        raise ValueError("purchases hold no row: give as_of, the day the model is to be as of")
    return last
