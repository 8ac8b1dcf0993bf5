"""What a customer's segment is decided on: features of behaviour and of preference as of a day.

A retailer's own words (departments, categories) are found in the data; none is named here. A row
that comes after the day is never looked at. Sums are taken on decimals and whole numbers, so the
order of the rows leaves no trace.
"""

from collections.abc import Sequence
from datetime import date

import polars as pl

MONEY = pl.Decimal(18, 2)

BEHAVIOUR_OF_LINES = (
    "basket_lines",
    "basket_amount",
    "breadth",
    "discount",
    "morning",
    "midday",
    "evening",
    "weekend",
)

# Hours a basket starts in, from and before; the afternoon is what they leave.
# Hours run from 5 to 29, so that what is bought after midnight belongs to the evening.
DAYPARTS = {"morning": (5, 11), "midday": (11, 15), "evening": (19, 29)}
FIRST_HOUR = 5
SATURDAY = 6

# A share of baskets starts from everyone's, weighed as this many baskets: two visits on a Saturday
# do not make a weekend shopper.
PRIOR_BASKETS = 10

UNKNOWN = "unknown"
OTHER = "other"

# More categories than these are too thin to tell customers apart by.
TOP_CATEGORIES = 20

# A taste starts from everyone's, weighed as the spend of this many baskets of mean size.
PRIOR_TASTE = 20


def behaviour_features(
    order_lines: pl.DataFrame, products: pl.DataFrame, rfm: pl.DataFrame, as_of: date
) -> pl.DataFrame:
    """How a customer shops.

    Args:
        order_lines: `customer.order_lines`: customer_id, basket_id, product_id, amount, discount,
            ordered_at, ordered_on, merchandise.
        products: `customer.products`: product_id, department, category.
        rfm: `value.rfm` of `as_of`.
        as_of: the last day that counts.

    Returns:
        A row per customer of `rfm`, ordered by customer_id, without nulls: customer_id and, as
        Float64, logarithms of recency, frequency, monetary, gap (mean days from one day of
        purchases to the next; the tenure where there was one), basket_lines, basket_amount (means)
        and breadth (number of categories), and as shares discount (of the price before it),
        morning, midday, evening and weekend (of baskets).
    """
    lines = _goods_until(order_lines, as_of)
    between = pl.col("tenure_days") - pl.col("recency_days")
    gap = pl.when(pl.col("days") > 1).then(between / (pl.col("days") - 1)).otherwise(pl.col("tenure_days"))
    # A customer of `rfm` whose lines are not at hand looks like everyone.
    everyone = pl.exclude("customer_id").cast(pl.Float64)
    return (
        rfm.join(_by_visits(lines), on="customer_id", how="left")
        .join(_by_goods(lines, products), on="customer_id", how="left")
        .sort("customer_id")
        .select(
            "customer_id",
            pl.col("recency_days").log1p().alias("recency"),
            pl.col("frequency").log1p(),
            pl.col("monetary").cast(pl.Float64).clip(lower_bound=0).log1p(),
            gap.log1p().alias("gap"),
            *BEHAVIOUR_OF_LINES,
        )
        .with_columns(everyone.fill_null(everyone.mean()).fill_null(0.0))
    )


def preference_features(
    order_lines: pl.DataFrame,
    products: pl.DataFrame,
    rfm: pl.DataFrame,
    as_of: date,
    categories: Sequence[str] | None = None,
) -> pl.DataFrame:
    """What a customer's money goes on.

    Shares are drawn towards everyone's where there is little spend, and given as square roots, on
    which distance is Hellinger's: a share going from 1 to 4 per cent counts as one from 25 to 36.

    Args:
        order_lines: as for `behaviour_features`.
        products: `customer.products`: product_id, department, category. A product without a
            category counts under its department, without either as `unknown`.
        rfm: `value.rfm` of `as_of`.
        as_of: the last day that counts.
        categories: the columns wanted, as an earlier model had them; the `TOP_CATEGORIES` with the
            highest spend and `other` for the rest unless given.

    Returns:
        A row per customer of `rfm`, ordered by customer_id, without nulls: customer_id and a
        Float64 column a category, square roots of shares of spend.
    """
    spend = _spend_by_category(_goods_until(order_lines, as_of), products)
    if categories is None:
        categories = _top_categories(spend)
    named = pl.col("category").is_in([category for category in categories if category != OTHER])
    wide = (
        spend.with_columns(pl.when(named).then("category").otherwise(pl.lit(OTHER)).alias("category"))
        .pivot(on="category", on_columns=categories, index="customer_id", values="amount", aggregate_function="sum")
        .join(rfm.select("customer_id", "frequency"), on="customer_id", how="right")
        .sort("customer_id")
        .with_columns(pl.col(categories).cast(MONEY).fill_null(0))
    )
    everyone = {category: float(wide[category].sum()) for category in categories}
    total = sum(everyone.values())
    if total <= 0:
        return wide.select("customer_id", pl.col(categories).cast(pl.Float64))
    prior = PRIOR_TASTE * total / float(wide["frequency"].sum())
    own = pl.sum_horizontal(categories).cast(pl.Float64)
    return wide.select(
        "customer_id",
        *(
            ((pl.col(category).cast(pl.Float64) + prior * spent / total) / (own + prior)).sqrt()
            for category, spent in everyone.items()
        ),
    )


def _goods_until(order_lines: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Merchandise of known customers up to a day, returns included."""
    known = pl.col("customer_id").is_not_null() & pl.col("merchandise")
    return order_lines.filter(known & (pl.col("ordered_on") <= as_of)).select(
        "customer_id",
        "basket_id",
        "product_id",
        "ordered_at",
        "ordered_on",
        pl.col("amount", "discount").cast(MONEY),
    )


def _by_visits(lines: pl.DataFrame) -> pl.DataFrame:
    """What a customer's baskets say: customer_id, days (of purchases), and features."""
    baskets = (
        lines.group_by("customer_id", "basket_id")
        .agg(
            (pl.col("amount") > 0).sum().alias("lines"),
            pl.col("amount").sum(),
            pl.col("ordered_at").min(),
            pl.col("ordered_on").min(),
        )
        .filter(pl.col("amount") > 0)
    )
    hour = (pl.col("ordered_at").dt.hour() - FIRST_HOUR) % 24 + FIRST_HOUR
    marks = {name: hour.is_between(start, end, closed="left") for name, (start, end) in DAYPARTS.items()}
    marks["weekend"] = pl.col("ordered_on").dt.weekday() >= SATURDAY
    marked = baskets.with_columns(mark.alias(name) for name, mark in marks.items())
    usual = marked.select(pl.col(name).sum() / pl.len() for name in marks)
    return marked.group_by("customer_id").agg(
        pl.col("ordered_on").n_unique().alias("days"),
        (pl.col("lines").sum() / pl.len()).log().alias("basket_lines"),
        (pl.col("amount").sum().cast(pl.Float64) / pl.len()).log().alias("basket_amount"),
        *(
            ((pl.col(name).sum() + PRIOR_BASKETS * pl.lit(usual[name].item())) / (pl.len() + PRIOR_BASKETS)).alias(name)
            for name in marks
        ),
    )


def _by_goods(lines: pl.DataFrame, products: pl.DataFrame) -> pl.DataFrame:
    """What a customer's goods say: customer_id and features."""
    paid = pl.col("amount").sum().cast(pl.Float64)
    saved = pl.col("discount").fill_null(0).abs().sum().cast(pl.Float64)
    return (
        _with_category(lines, products)
        .filter(pl.col("amount") > 0)
        .group_by("customer_id")
        .agg(
            pl.col("category").n_unique().log1p().alias("breadth"),
            (saved / (saved + paid)).alias("discount"),
        )
    )


def _with_category(lines: pl.DataFrame, products: pl.DataFrame) -> pl.DataFrame:
    """Lines with their product's category, or its department, or `unknown`."""
    category = pl.coalesce("category", "department", pl.lit(UNKNOWN))
    return lines.join(
        products.select("product_id", "category", "department"), on="product_id", how="left"
    ).with_columns(category.alias("category"))


def _spend_by_category(lines: pl.DataFrame, products: pl.DataFrame) -> pl.DataFrame:
    """Net spend above zero: customer_id, category, amount."""
    return (
        _with_category(lines, products)
        .group_by("customer_id", "category")
        .agg(pl.col("amount").sum())
        .filter(pl.col("amount") > 0)
    )


def _top_categories(spend: pl.DataFrame) -> list[str]:
    """The categories most is spent on, most first, and `other`."""
    ranked = spend.group_by("category").agg(pl.col("amount").sum()).sort("amount", "category", descending=[True, False])
    top = ranked.filter(pl.col("category") != OTHER)["category"].head(TOP_CATEGORIES).to_list()
    return [*top, OTHER]
