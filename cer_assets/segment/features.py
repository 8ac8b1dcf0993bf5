"""What a customer's segment is decided on: features of behaviour and of preference, from counts and sums as of a day.

The counts are taken in `sql/segment/`; here they become numbers that can be compared. A retailer's own words
(categories, brands, classes of income) are found in the data; none is named here. What would come of a descriptive
column that a retailer lacks is the same for everyone, or is not there.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

PARTS = ("morning", "midday", "evening", "weekend")

# A few days more or less are the rhythm of the week; without it customers would change segments with the weekday.
WEEK = 7

# A share of baskets starts from everyone's, weighed as this many baskets: two visits on a Saturday
# do not make a weekend shopper.
PRIOR_BASKETS = 10

# A customer's rhythm starts from everyone's, weighed as this many days with a visit.
PRIOR_DAYS = 5

# A taste starts from everyone's, weighed as the spend of this many customers of mean spend; a fact about a household
# as if so many households like everyone's had answered too.
PRIOR = 1.5

OTHER, UNKNOWN = "other", "unknown"
BETWEEN = ": "
"""Between facet and class in the name of a feature of preference, as in `brand: Acme`."""
_EXACT = pl.Decimal(18, 2)
"""Sums of it do not depend on the order of their terms."""

# How much a feature counts. How often and how much a customer buys is known better than the circumstances; categories
# tell more than how a customer chooses within them, or than what a household once said of itself.
CIRCUMSTANCES = ("discount", "steadiness", *PARTS, "one_place")
WEIGHT_OF_CIRCUMSTANCE = 0.5
WEIGHTS: Mapping[str, float] = {"category": 1.0, "brand": 0.5, "price": 0.5}
WEIGHT_OF_FACT = 0.1


def behaviour_features(habits: pl.DataFrame) -> pl.DataFrame:
    """How a customer shops.

    Args:
        habits: `segment.habits` of one day.

    Returns:
        A row per customer, ordered by customer_id, without nulls: customer_id and, as Float64, logarithms of recency
        (a week added), frequency, monetary, gap (mean days from one day with a visit to the next; the tenure where
        there was one), basket_lines, basket_amount (means) and breadth (number of categories); steadiness (how much
        less than everyone's the gaps vary); and as shares discount (of the price before it), morning, midday, evening,
        weekend (of visits) and one_place (of visits, those to the shop or channel visited most).
    """
    visits = pl.col("visits")
    variation = pl.col("gap_variation").fill_null(pl.col("gap_variation").mean()).fill_null(0.0)
    known = pl.all().exclude("customer_id").cast(pl.Float64)
    features = (
        habits.sort("customer_id")
        .with_columns(pl.col("amount", "saved", "monetary").cast(pl.Float64))
        .select(
            "customer_id",
            (pl.col("recency_days") + WEEK).log().alias("recency"),
            pl.col("frequency").log1p(),
            pl.col("monetary").clip(lower_bound=0).log1p(),
            pl.coalesce("gap_days", pl.col("tenure_days").cast(pl.Float64)).log1p().alias("gap"),
            (pl.col("lines") / visits).log().alias("basket_lines"),
            (pl.col("amount") / visits).log().alias("basket_amount"),
            pl.col("categories").log1p().alias("breadth"),
            (pl.col("saved") / (pl.col("saved") + pl.col("amount"))).alias("discount"),
            ((variation.mean() - variation) * pl.col("days") / (pl.col("days") + PRIOR_DAYS)).alias("steadiness"),
            *(_share(pl.col(part), visits).alias(part) for part in PARTS),
            _share(pl.col("main_place"), pl.col("placed")).alias("one_place"),
        )
        .with_columns(pl.when(known.is_finite()).then(known).name.keep())
    )
    # A customer of whom something cannot be said is like everyone in it.
    return features.with_columns(known.fill_null(known.mean()).fill_null(0.0))


def _share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """A part of a whole number of visits, drawn towards everyone's where there are few."""
    return (part + PRIOR_BASKETS * part.sum() / whole.sum()) / (whole + PRIOR_BASKETS)


def preference_features(
    tastes: pl.DataFrame, habits: pl.DataFrame, facts: pl.DataFrame, names: Sequence[str] | None = None
) -> pl.DataFrame:
    """What a customer's money goes on, and who they are where that is known.

    Shares are drawn towards everyone's where little is known, and given as square roots, on which distance is
    Hellinger's: a share going from 1 to 4 per cent counts as one from 25 to 36.

    Args:
        tastes: `segment.tastes` of one day.
        habits: `segment.habits` of that day, of which customer_id is read.
        facts: `customer.demographics`: customer_id and a column of classes for each fact; may be empty.
        names: the features wanted, as an earlier model had them; all there are unless given. A class that is not
            among them counts under `other` of its facet, where that is.

    Returns:
        A row per customer of `habits`, ordered by customer_id, without nulls: customer_id and a Float64 column for each
        class, named `facet: class`, ordered by name: the square root of the class's share of its facet.
    """
    customers = habits.select("customer_id").sort("customer_id")
    spent, answers = _spend(tastes, customers), _answers(facts, customers)
    long = pl.concat([spent, answers])
    feature = pl.concat_str("facet", "class", separator=BETWEEN)
    if names is None:
        names = long.select(feature.unique().sort()).to_series().to_list()
    other = pl.concat_str("facet", pl.lit(OTHER), separator=BETWEEN)
    wide = (
        long.with_columns(pl.when(feature.is_in(list(names))).then(feature).otherwise(other).alias("feature"))
        .pivot(on="feature", on_columns=list(names), index="customer_id", values="amount", aggregate_function="sum")
        .join(customers, on="customer_id", how="right")
        .sort("customer_id")
        .with_columns(pl.col(names).cast(pl.Float64).fill_null(0.0))
    )
    facets: dict[str, list[str]] = {}
    for name in names:
        facets.setdefault(name.split(BETWEEN)[0], []).append(name)
    unit = {facet: total / customers.height for facet, total in _totals(spent)}
    shares = [_roots(wide.select(columns), unit.get(facet, 1.0)) for facet, columns in facets.items()]
    return pl.concat([wide.select("customer_id"), *shares], how="horizontal")


def _spend(tastes: pl.DataFrame, customers: pl.DataFrame) -> pl.DataFrame:
    """Spend of some customers: customer_id, facet, class, amount."""
    return tastes.join(customers, on="customer_id", how="semi").select(
        "customer_id", "facet", "class", pl.col("amount").cast(_EXACT)
    )


def _totals(spent: pl.DataFrame) -> list[tuple[str, float]]:
    """What all spent, by facet."""
    return spent.group_by("facet").agg(pl.col("amount").sum().cast(pl.Float64)).rows()


def _answers(facts: pl.DataFrame, customers: pl.DataFrame) -> pl.DataFrame:
    """What is known of a customer's household, in the same shape: each fact counts one."""
    return (
        facts.join(customers, on="customer_id", how="semi")
        .unpivot(index="customer_id", variable_name="facet", value_name="class")
        .with_columns(pl.col("class").cast(pl.String))
        .drop_nulls("class")
        .select("customer_id", "facet", "class", pl.lit(1).cast(_EXACT).alias("amount"))
    )


def _roots(amounts: pl.DataFrame, unit: float) -> pl.DataFrame:
    """Square roots of the shares of one facet's classes; `unit` is what weighs as one.

    Added up by numpy: polars adds columns up in whatever order its threads come to them, so that the last digit varies.
    """
    own = amounts.to_numpy() / (unit or 1.0)
    of_all, of_one = own.sum(axis=0), own.sum(axis=1, keepdims=True)
    usual = np.divide(of_all, of_all.sum(), out=np.zeros_like(of_all), where=of_all.sum() != 0)
    return pl.DataFrame(np.sqrt((own + PRIOR * usual) / (of_one + PRIOR)), schema=amounts.columns)


def weights(features: pl.DataFrame) -> dict[str, float]:
    """How much each feature of either kind counts."""
    return {name: _weight(name) for name in features.columns if name != "customer_id"}


def _weight(feature: str) -> float:
    facet, is_taste, _ = feature.partition(BETWEEN)
    if is_taste:
        return WEIGHTS.get(facet, WEIGHT_OF_FACT)
    return WEIGHT_OF_CIRCUMSTANCE if feature in CIRCUMSTANCES else 1.0
