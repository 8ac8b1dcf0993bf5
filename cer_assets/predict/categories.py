"""Which categories a customer buys next, of those bought before."""

from datetime import date, timedelta

import polars as pl

from cer_assets.predict.predictor import Predictor, Question, learn_and_judge
from cer_assets.predict.purchases import HALF_LIVES

MEMORY_DAYS = 182
"""Days before a cut that are read: what was not bought in half a year is not thought of."""
ACTIVE_DAYS = 56
CANDIDATES = 20
"""Categories of a customer that are judged: those bought most, the latest counting most."""
SHOWN = 5
HORIZON_DAYS = 7
CUTS = 8
EVERY_DAYS = 14
MOST_EXAMPLES = 60_000
SLICE = 100_000
"""Customers looked at at a time, so that memory does not grow with their number."""
FEATURES = (
    "category_days",
    "category_recency",
    "category_gap",
    "category_recency_over_gap",
    "category_days_4w",
    *(f"category_decayed_{days}d" for days in HALF_LIVES),
    "category_share",
    "popularity",
    "own_days",
    "own_recency",
    "own_days_4w",
)
"""What is known of a customer and a category before a cut."""
QUESTION = Question(
    model="next_category",
    horizon_days=HORIZON_DAYS,
    keys=("customer_id", "category"),
    features=FEATURES,
    rules=("category_recency", "category_decayed_60d"),
)
COLUMNS = {
    "as_of": pl.Date,
    "customer_id": pl.String,
    "rank": pl.Int64,
    "category": pl.String,
    "probability": pl.Float64,
}
"""Columns of `predict.next_categories`."""


def fit(category_days: pl.DataFrame, as_of: date) -> tuple[Predictor, pl.DataFrame]:
    """Learn from past cuts whose horizon had passed by a day, and judge on the latest of them.

    Args:
        category_days: rows of `predict.category_days`, in any order.
        as_of: nothing from this day on is read.

    Returns:
        The predictor, and what it and the baselines would have said, as `predictor.judge` returns it.
    """
    return learn_and_judge(QUESTION, examples(category_days, as_of), as_of)


def examples(category_days: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Customers and categories at past cuts, and whether they were bought; as of `fit`."""
    known = category_days.filter(pl.col("ordered_on") < as_of)
    first = known["ordered_on"].min()
    latest = as_of - timedelta(days=HORIZON_DAYS)
    cuts = [latest - timedelta(days=EVERY_DAYS * back) for back in range(CUTS)]
    usable = [cut for cut in cuts if isinstance(first, date) and cut >= first + timedelta(days=ACTIVE_DAYS)]
    customers = known["customer_id"].unique().sort()
    each = max(1, -(-len(customers) * CANDIDATES * len(usable) // MOST_EXAMPLES))
    few = known.join(customers.gather_every(each).to_frame(), on="customer_id", how="semi")
    none = _examples_at(few.clear(), as_of)
    return pl.concat([none, *(_examples_at(few, cut) for cut in usable)])


def rows(category_days: pl.DataFrame, cut: date) -> pl.DataFrame:
    """What is known of each customer's candidates before a cut.

    Args:
        category_days: rows of `predict.category_days`; nothing from the cut on is read.
        cut: first day of the horizon.

    Returns:
        customer_id, category, the features, reason (always null: of who has not bought lately nothing is said).
    """
    known = _known(category_days, cut)
    return _rows(known, _popularity(known))


def _known(category_days: pl.DataFrame, cut: date) -> pl.DataFrame:
    """The days that count before a cut, with their age."""
    window = pl.col("ordered_on").is_between(cut - timedelta(days=MEMORY_DAYS), cut - timedelta(days=1))
    return category_days.filter(window).with_columns(age=(pl.lit(cut) - pl.col("ordered_on")).dt.total_days())


def _popularity(known: pl.DataFrame) -> pl.DataFrame:
    """Per category the share of all customers who bought from it."""
    everyone = max(known["customer_id"].n_unique(), 1)
    return known.group_by("category").agg(popularity=pl.col("customer_id").n_unique() / everyone)


def _rows(known: pl.DataFrame, popularity: pl.DataFrame) -> pl.DataFrame:
    """As `rows`, of the customers in `known`."""
    own = (
        known.unique(["customer_id", "ordered_on"])
        .group_by("customer_id")
        .agg(own_days=pl.len(), own_recency=pl.col("age").min(), own_days_4w=(pl.col("age") <= 28).sum())
        .filter(pl.col("own_recency") <= ACTIVE_DAYS)
    )
    return (
        known.sort("customer_id", "category", "ordered_on")
        .group_by("customer_id", "category", maintain_order=True)
        .agg(
            category_days=pl.len(),
            category_recency=pl.col("age").min(),
            first=pl.col("age").max(),
            category_days_4w=(pl.col("age") <= 28).sum(),
            **{f"category_decayed_{half}d": (0.5 ** (pl.col("age") / half)).sum() for half in HALF_LIVES},
        )
        .join(own, on="customer_id", how="inner")
        .pipe(_ranked, "category_decayed_60d", CANDIDATES)
        .join(popularity, on="category", how="left")
        .with_columns(
            category_gap=(pl.col("first") - pl.col("category_recency")) / (pl.col("category_days") - 1),
            category_share=pl.col("category_days") / pl.col("own_days"),
        )
        .with_columns(category_recency_over_gap=pl.col("category_recency") / pl.col("category_gap"))
        .select(
            "customer_id",
            "category",
            pl.col(FEATURES).cast(pl.Float64).fill_nan(None),
            reason=pl.lit(None, pl.String),
        )
        .sort("customer_id", "category")
    )


def next_categories(model: Predictor, category_days: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """The likeliest categories of each active customer.

    Args:
        model: as `fit` returns it; no rows where it has learned nothing.
        category_days: rows of `predict.category_days`.
        as_of: the last day that is read.

    Returns:
        Rows of COLUMNS, by customer_id and rank; probability is that of buying from the category within a week.
    """
    # As places among their kind, names are sorted and put together in half the time.
    known = _known(category_days, as_of + timedelta(days=1))
    names = {name: pl.Enum(known[name].unique().sort()) for name in ("customer_id", "category")}
    known = known.with_columns(pl.col(name).cast(kind) for name, kind in names.items())
    popularity = _popularity(known)
    customers = known["customer_id"].unique().sort()
    likeliest = [_likeliest(model, _rows(known.clear(), popularity), as_of)]
    for start in range(0, len(customers), SLICE):
        few = customers.slice(start, SLICE)
        part = known.filter(pl.col("customer_id").is_between(pl.lit(few[0]), pl.lit(few[-1])))
        likeliest.append(_likeliest(model, _rows(part, popularity), as_of))
    return pl.concat(likeliest)


def _likeliest(model: Predictor, rows: pl.DataFrame, as_of: date) -> pl.DataFrame:
    likely = model.predict(rows).drop_nulls("probability")
    return (
        _ranked(likely, "probability", SHOWN)
        .with_columns(as_of=pl.lit(as_of))
        .select(pl.col(name).cast(kind) for name, kind in COLUMNS.items())
    )


def _ranked(frame: pl.DataFrame, column: str, most: int) -> pl.DataFrame:
    """The first of each customer's categories, the highest first; the name decides between equals."""
    return (
        frame.sort("customer_id", column, "category", descending=[False, True, False])
        .with_columns(rank=pl.int_range(1, pl.len() + 1).over("customer_id"))
        .filter(pl.col("rank") <= most)
    )


def _examples_at(category_days: pl.DataFrame, cut: date) -> pl.DataFrame:
    window = pl.col("ordered_on").is_between(cut, cut + timedelta(days=HORIZON_DAYS - 1))
    bought = category_days.filter(window).select("customer_id", "category").unique()
    return (
        rows(category_days, cut)
        .join(bought.with_columns(happened=pl.lit(value=True)), on=["customer_id", "category"], how="left")
        .with_columns(
            pl.col("happened").fill_null(value=False),
            cut=pl.lit(cut),
            known_on=pl.lit(cut + timedelta(days=HORIZON_DAYS)),
        )
    )
