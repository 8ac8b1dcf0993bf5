"""When a recommender takes the place of another, and when a new one should be trained; nothing is fitted here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

import numpy as np
import polars as pl

from cer_assets.predict.drift import Population
from cer_assets.recommend.evaluate import NEW, paired
from cer_assets.recommend.interactions import Interactions, days_since_epoch, described
from cer_assets.recommend.topk import one_blas_thread

BASELINES = ("popularity", "personal_frequency", "decayed_frequency")
"""The plain rules that whatever is shown must beat."""
MARGIN, RELATIVE_MARGIN = 0.01, 0.05
"""What a bucket may lose of NDCG@10, for all that its interval says: so much, or that share of what it has if more."""
LEAST_CUSTOMERS = 30
"""Customers who must have been asked before anything is promoted."""
INTERVALS = {
    "against": pl.String,
    "bucket": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "customers": pl.Int64,
}
"""Columns of `Verdict.intervals`: by how much the challenger leads, with its 95 % interval."""
EVERY_DAYS = 28
"""A challenger is trained when the last one is so many days old."""
DRIFT_DAYS = 28
"""Days whose purchases are compared with those of training."""
DRIFTED = 0.25
"""Population stability index from which on a champion is evaluated anew (Siddiqi 2006: .25 is a change to act on)."""
SETTLED_DAYS = 7
"""Days after an evaluation before drift asks for the next."""


@dataclass(frozen=True)
class Verdict:
    """Whether a challenger takes the champion's place."""

    challenger: str
    promoted: bool
    why: str
    """A sentence for people."""
    intervals: pl.DataFrame
    """INTERVALS: against each rival over all customers, and against the champion (without one, the best baseline) in
    every bucket."""


class Kind(StrEnum):
    """What a model in use calls for."""

    NONE = "none"
    TRAIN = "train"
    """A challenger, and a verdict."""
    EVALUATE = "evaluate"
    """A look at how good the champion still is; it promotes nothing."""


@dataclass(frozen=True)
class Retraining:
    """What to do about the champion today."""

    kind: Kind
    why: str


def verdict(
    values: pl.DataFrame,
    challenger: str,
    champion: str | None = None,
    baselines: Sequence[str] = BASELINES,
    resamples: int = 1000,
    seed: int = 0,
) -> Verdict:
    """Promote a challenger that is surely better than its rivals, and in no bucket materially worse.

    It is promoted when the 95 % interval of its lead, customer by customer, lies above zero against the champion and
    against every baseline, and when no bucket is materially worse: the lower end of its lead over the champion there is
    above -MARGIN or -RELATIVE_MARGIN of the champion's value, whichever is less. A bucket of so few customers that its
    interval reaches farther than that to either side could not rule such a loss out even where there is none: there the
    loss must not be certain, that is the interval must not lie below zero as a whole. Without a champion the best
    baseline stands for it. A baseline that challenges a champion need not be better than the other baselines: so what
    is shown falls back on the plain rules where it has become worse than they. The order of the rows changes nothing.

    Args:
        values: customer_id, bucket (null: none), new, and a column per model with its NDCG@10 on what each customer
            bought; null where nothing was asked. Several rows of a customer are drawn together.
        challenger: its column.
        champion: its column; None before the first.
        baselines: columns it must beat; those that are not there, and the challenger itself, are passed over.
        resamples: bootstrap resamples of the customers.
        seed: of those resamples.
    """
    asked = values.sort([name for name in ("customer_id", "cut") if name in values.columns])
    asked = asked.filter(pl.col(challenger).is_not_null())
    plain = [name for name in baselines if name in values.columns and name not in (challenger, champion)]
    rivals = plain if champion is None else [champion] if challenger in baselines else [champion, *plain]
    customers = asked["customer_id"].n_unique()
    if customers < LEAST_CUSTOMERS or not rivals:
        why = f"{customers} customers bought something to judge it by: at least {LEAST_CUSTOMERS} are needed"
        return Verdict(challenger, False, why if rivals else "there is nothing to compare it with", _none())
    measured = champion if champion is not None else _best(asked, plain)
    with one_blas_thread():
        overall = [_lead(asked, challenger, rival, "all", resamples, seed) for rival in rivals]
        groups = [_lead(members, challenger, measured, name, resamples, seed) for name, members in _buckets(asked)]
    intervals = pl.DataFrame([*overall, *groups], schema=INTERVALS)
    beaten_by = [row for row in overall if not row["low"] > 0]
    if beaten_by:
        return Verdict(challenger, False, f"not surely better than {_said(beaten_by[0])}", intervals)
    worse = [row for row in groups if _materially_worse(row, asked, measured)]
    if worse:
        return Verdict(challenger, False, f"bucket {worse[0]['bucket']} may lose: {_said(worse[0])}", intervals)
    return Verdict(challenger, True, f"better than {'; '.join(map(_said, overall))}; no bucket loses", intervals)


def best_of(values: pl.DataFrame, models: Sequence[str]) -> str | None:
    """The model with the highest mean; of equal ones the first by name. None without customers or models.

    Args:
        values: as for `verdict`.
        models: columns; those that are not there are passed over.
    """
    there = sorted(name for name in models if name in values.columns and values[name].count())
    return _best(values.sort("customer_id"), there) if there else None


def retrain_reason(
    card: Mapping[str, Any] | None,
    interactions: Interactions,
    as_of: date,
    every_days: int = EVERY_DAYS,
    products: pl.DataFrame | None = None,
    challenged: date | None = None,
    evaluated: date | None = None,
) -> Retraining:
    """What the champion calls for: a challenger by its age, an evaluation where purchases have drifted, or nothing.

    Drift is the population stability index of the purchases of the last DRIFT_DAYS against those that the champion
    learned to rank from: over products in the order of how much they were bought then, and over categories likewise.

    Args:
        card: of the champion; None where there is none.
        interactions: what was bought before `as_of`.
        as_of: first day not known.
        every_days: the age at which a challenger is trained.
        products: the catalogue: product_id, category; without a category products alone are compared.
        challenged: `as_of` of the last challenge, where it is later than the champion: a champion that held its place
            is not challenged again the next day.
        evaluated: `as_of` of the last evaluation, after which drift is not looked at for SETTLED_DAYS.
    """
    if card is None:
        return Retraining(Kind.TRAIN, "there is no champion yet")
    chosen, learned_from, learned_before = (
        date.fromisoformat(card[name]) for name in ("as_of", "learned_from", "learned_before")
    )
    if as_of < learned_before:
        return Retraining(Kind.TRAIN, "the champion has seen days that are no longer there")
    age = (as_of - max(chosen, challenged or chosen)).days
    if age >= every_days:
        return Retraining(Kind.TRAIN, f"no challenger was trained for {age} days")
    if evaluated is not None and (as_of - evaluated).days < SETTLED_DAYS:
        return Retraining(Kind.NONE, "it was evaluated a few days ago")
    moved = drift(interactions, learned_from, learned_before, as_of, products)
    if moved.height and moved["psi"][0] >= DRIFTED:
        what, psi = moved.row(0)
        return Retraining(Kind.EVALUATE, f"purchases moved over {what}: a stability index of {psi:.2f}")
    return Retraining(Kind.NONE, "it is young, and what is bought has not moved")


def drift(
    interactions: Interactions, learned_from: date, learned_before: date, as_of: date, products: pl.DataFrame | None
) -> pl.DataFrame:
    """How far purchases moved since a model learned: feature (`products`, `categories`) and psi, the most moved first.

    Args:
        interactions: what was bought before `as_of`.
        learned_from: first day the model learned from.
        learned_before: the first it did not.
        as_of: first day not known; compared are the DRIFT_DAYS before it.
        products: the catalogue.
    """
    then = _bought(interactions, learned_from, learned_before)
    now = _bought(interactions, max(as_of - timedelta(days=DRIFT_DAYS), learned_before), as_of)
    names = {"products": interactions.products, "categories": _categories(interactions.products, products)}
    if not (len(then) and len(now)):
        return pl.DataFrame(schema={"feature": pl.String, "psi": pl.Float64})
    before, after = ({name: of.gather(columns) for name, of in names.items()} for columns in (then, now))
    known = [name for name in names if before[name].null_count() < len(then)]
    places = {name: _places(before[name]) for name in known}
    rows = [
        pl.DataFrame(
            {name: of[name].replace_strict(places[name], default=None, return_dtype=pl.Int64) for name in known}
        )
        for of in (before, after)
    ]
    return Population.of(rows[0], known).psi(rows[1])


def _none() -> pl.DataFrame:
    return pl.DataFrame(schema=INTERVALS)


def _best(values: pl.DataFrame, models: Sequence[str]) -> str:
    means = {name: float(np.nanmean(_numbers(values[name]))) for name in models}
    return max(sorted(means), key=lambda name: means[name])


def _buckets(asked: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    named = [(name, asked.filter(pl.col("bucket") == name)) for name in asked["bucket"].drop_nulls().unique().sort()]
    new = asked.filter(pl.col("new")) if "new" in asked.columns else asked.clear()
    return [*named, (NEW, new)] if new.height else named


def _lead(asked: pl.DataFrame, challenger: str, rival: str, bucket: str, resamples: int, seed: int) -> dict[str, Any]:
    ours, theirs = (_numbers(asked[name]) for name in (challenger, rival))
    customers = asked["customer_id"].rank("dense").to_numpy().astype(np.int64) - 1
    interval = dict(zip(("value", "low", "high"), paired(ours, theirs, resamples, seed, customers), strict=True))
    return {"against": rival, "bucket": bucket, **interval, "customers": int(customers.max(initial=-1)) + 1}


def _materially_worse(row: Mapping[str, Any], asked: pl.DataFrame, rival: str) -> bool:
    members = dict(_buckets(asked))[row["bucket"]]
    margin = max(MARGIN, RELATIVE_MARGIN * float(np.nanmean(_numbers(members[rival]))))
    too_few = (row["high"] - row["low"]) / 2 > margin
    return row["high"] < 0 if too_few else row["low"] < -margin


def _numbers(values: pl.Series) -> np.ndarray[Any, np.dtype[np.float64]]:
    return values.cast(pl.Float64).fill_null(np.nan).to_numpy()


def _said(row: Mapping[str, Any]) -> str:
    return f"{row['against']} by {row['value']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})"


def _bought(interactions: Interactions, first: date, end: date) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Columns of the purchases from one day up to another."""
    days = interactions.days
    return interactions.columns[(days >= days_since_epoch(first)) & (days < days_since_epoch(end))]


def _categories(candidates: pl.Series, products: pl.DataFrame | None) -> pl.Series:
    catalogue = pl.DataFrame() if products is None else products
    return described(candidates, catalogue, ["category"])["category"].cast(pl.String)


def _places(bought: pl.Series) -> dict[str, int]:
    """Place of each value by how often it stands there, from 0; equally frequent ones by name."""
    counts = (
        bought.drop_nulls()
        .alias("name")
        .to_frame()
        .group_by("name")
        .len()
        .sort("len", "name", descending=[True, False])
    )
    return {name: place for place, name in enumerate(counts["name"])}
