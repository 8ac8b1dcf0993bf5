"""Whether a customer buys within some days, asked both ways: who will stay away (churn), who will come (purchase)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np
import polars as pl

from cer_assets.predict.predictor import Predictor, Question, learn_and_judge
from cer_assets.predict.purchases import FEATURES, MEMORY_DAYS, bought_within, features
from cer_assets.value.bg_nbd import BGNBD
from cer_assets.value.histories import Histories

ACTIVE_DAYS = 56
"""Only customers with a purchase in so many days before a cut are judged: the others are gone already."""
KNOWN_DAYS = 7
"""Customers whose first purchase is younger are not judged: nothing but chance is known of them."""
MOST_EXAMPLES = 60_000
"""More examples no longer move the figures; what training costs follows this, not the number of customers."""
FEWEST_RETURNED = 30
"""Customers who came back that four parameters of BG/NBD need."""

Outcome = Literal["churn", "purchase"]


@dataclass(frozen=True)
class Buying:
    """One of the two outcomes within a horizon, and the past cuts it is learned at."""

    outcome: Outcome
    horizon_days: int
    every_days: int
    """From one cut to the next."""

    @property
    def question(self) -> Question:
        """The same as a `Question`; `bg_nbd` is the outcome's probability by that model alone."""
        return Question(
            model=self.outcome,
            horizon_days=self.horizon_days,
            features=(*FEATURES, "bg_nbd"),
            rules=("recency_days", "recency_over_gap"),
            rivals=("bg_nbd",),
        )

    def cuts(self, days: pl.DataFrame, as_of: date) -> list[date]:
        """Past cuts whose horizon has passed, latest first, as far back as a window of activity lies before them."""
        first = days["ordered_on"].min()
        if not isinstance(first, date):
            return []
        latest = as_of - timedelta(days=self.horizon_days)
        span = min((latest - first).days - ACTIVE_DAYS, MEMORY_DAYS)
        return [latest - timedelta(days=back) for back in range(0, span + 1, self.every_days)]


CHURN = (Buying("churn", 28, 28), Buying("churn", 56, 28))
PURCHASE = (Buying("purchase", 7, 14),)


def fit(days: pl.DataFrame, as_of: date, asked: Sequence[Buying]) -> list[tuple[Predictor, pl.DataFrame]]:
    """Learn each of some outcomes from the cuts whose horizon had passed by a day, and judge it on the latest of them.

    Args:
        days: rows of `predict.purchase_days`, in any order.
        as_of: nothing from this day on is read.
        asked: what is to be foreseen.

    Returns:
        Of each the predictor, and what it and the baselines would have said, as `predictor.judge` returns it.
    """
    return [learn_and_judge(one.question, *examples(days, one, as_of)) for one in asked]


def rows(days: pl.DataFrame, cut: date, asked: Buying, bg_nbd: Mapping[str, float]) -> pl.DataFrame:
    """What is known of each customer before a cut, and the reason where it is too little to judge by.

    Args:
        days: rows of `predict.purchase_days`; nothing from the cut on is read.
        cut: first day of the horizon.
        asked: what is to be foreseen.
        bg_nbd: parameters of that model, as `Predictor.facts` holds them; none, and it says nothing.

    Returns:
        customer_id, the features, reason; by customer_id.
    """
    return rows_of(features(days, cut), asked, bg_nbd)


def rows_of(known: pl.DataFrame, asked: Buying, bg_nbd: Mapping[str, float]) -> pl.DataFrame:
    """As `rows`, from what `purchases.features` says of the customers before the cut: several questions share it."""
    return _with_rival(known, asked, bg_nbd).with_columns(reason=_why_not())


def examples(days: pl.DataFrame, asked: Buying, as_of: date) -> tuple[pl.DataFrame, date, dict[str, float]]:
    """What `predictor.learn` asks for: examples of one outcome, the day, and BG/NBD's parameters as of that day.

    Args:
        days: rows of `predict.purchase_days`, in any order.
        asked: what is to be foreseen.
        as_of: nothing from this day on is read.
    """
    known = days.filter(pl.col("ordered_on") < as_of)
    cuts = asked.cuts(known, as_of)
    few = _sample(known, len(cuts))
    past = [_examples_at(few, asked, cut) for cut in cuts]
    none = _examples_at(few.clear(), asked, as_of)
    return pl.concat([none, *past]), as_of, bg_nbd(features(few, as_of))


def _examples_at(days: pl.DataFrame, asked: Buying, cut: date) -> pl.DataFrame:
    """Customers to be judged at a cut, with what came."""
    known = features(days, cut)
    came = bought_within(days, cut, asked.horizon_days)
    bought = pl.col("customer_id").is_in(came.implode())
    return (
        _with_rival(known, asked, bg_nbd(known))
        .filter(_why_not().is_null())
        .with_columns(
            cut=pl.lit(cut),
            known_on=pl.lit(cut + timedelta(days=asked.horizon_days)),
            happened=bought if asked.outcome == "purchase" else ~bought,
        )
    )


def _sample(days: pl.DataFrame, cuts: int) -> pl.DataFrame:
    """Every n-th customer: a customer_id is a hash, so that this is a random sample, and the same each time."""
    customers = days["customer_id"].unique().sort()
    kept = customers.gather_every(max(1, -(-len(customers) * cuts // MOST_EXAMPLES)))
    return days.join(kept.to_frame(), on="customer_id", how="semi")


def bg_nbd(known: pl.DataFrame) -> dict[str, float]:
    """BG/NBD's parameters by maximum likelihood from rows of `features`; none where too few customers came back."""
    if int((known["purchase_days"] > 1).sum()) < FEWEST_RETURNED:
        return {}
    return asdict(BGNBD.fit(_histories(known)))


def _with_rival(known: pl.DataFrame, asked: Buying, parameters: Mapping[str, float]) -> pl.DataFrame:
    if not parameters or known.is_empty():
        return known.with_columns(bg_nbd=pl.lit(None, pl.Float64))
    silent = BGNBD(**parameters).counts(_histories(known), asked.horizon_days / 7).p_none
    return known.with_columns(bg_nbd=pl.Series(np.clip(silent if asked.outcome == "churn" else 1 - silent, 0, 1)))


def _histories(known: pl.DataFrame) -> Histories:
    """Purchases as that model reads them, in weeks, of the memory alone."""
    tenure, recency = (known[name].to_numpy() / 7 for name in ("tenure_days", "recency_days"))
    return Histories(x=known["purchase_days"].to_numpy() - 1, t_x=tenure - recency, T=tenure)


def _why_not() -> pl.Expr:
    return (
        pl.when(pl.col("recency_days") > ACTIVE_DAYS)
        .then(pl.lit(f"no purchase in the last {ACTIVE_DAYS} days"))
        .when(pl.col("tenure_days") < KNOWN_DAYS)
        .then(pl.lit(f"first purchase less than {KNOWN_DAYS} days ago"))
    )
