"""What resolving identities buys: how wrong value and recommendations are on records, on customers, on the truth."""

import logging
from collections.abc import Callable
from datetime import date

import altair as alt
import polars as pl

from cer_assets.recommend.evaluate import METRICS, lists, mean_interval, measure, targets
from cer_assets.recommend.families.als import Als, AlsSettings
from cer_assets.recommend.families.frequency import FrequencySettings, PersonalFrequency
from cer_assets.recommend.families.popularity import Trending
from cer_assets.recommend.hybrid import Hybrid, HybridSettings
from cer_assets.recommend.interactions import interactions
from cer_assets.recommend.model import Recommender

logger = logging.getLogger(__name__)

VIEWS = ("unresolved", "resolved", "truth")
"""A customer is a record of one source; a customer_id; a person."""
RESOLUTION = {
    "view": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}


WEIGHTS = {"decayed": 1.0, "als": 0.5, "trending": 0.05}


def weighed() -> Recommender:
    """Own favourites, a small ALS of everyone, what is trending: light, and the same for a record as for a person."""
    families: dict[str, Recommender] = {
        "als": Als(AlsSettings(factors=64, iterations=8), "als"),
        "decayed": PersonalFrequency(FrequencySettings(half_life_days=90), "decayed"),
        "trending": Trending(),
    }
    return Hybrid(None, HybridSettings(weights=WEIGHTS), lambda: families, "weighed")


def what_resolution_buys(
    order_lines: pl.DataFrame,
    truth: pl.DataFrame,
    cut: date,
    days: int = 28,
    min_customers: int = 10,
    recommender: Callable[[], Recommender] = weighed,
    resamples: int = 200,
    seed: int = 0,
) -> pl.DataFrame:
    """Compare three views of the same purchases, each asked about the same true persons.

    The value of a person is asked for under each record they bought under before `cut`; the answer is the frequency and
    the monetary value of whoever that record is in the view, and the error is averaged over the person's records. The
    recommendations of a person are asked for once, under the record they first shop under in the window, and judged by
    all the person buys in it; a record without history is answered with what is trending.

    Args:
        order_lines: basket_id, customer_id, source, source_id, product_id, quantity, amount, ordered_at,
            ordered_on, merchandise. Lines without a source_id are left out.
        truth: record_id (`source:source_id`), person_id. Lines of records it does not know are left out.
        cut: first day of the window, and the first that is not history.
        days: length of the window.
        min_customers: a product is a candidate, in every view, once this many persons have bought it.
        recommender: makes the recommender each view is fitted with.
        resamples: bootstrap resamples of the persons behind an interval.
        seed: of those resamples.

    Returns:
        view, metric, value, low, high (95 %), views from unresolved to truth. Metrics: `frequency_error` (baskets) and
        `monetary_error` (money), mean absolute errors per person; `frequency_relative_error`,
        `monetary_relative_error`, the same over the mean true value; `ndcg@10`. No rows of what nobody can be asked.
    """
    lines = _under_three_ids(order_lines, truth)
    logger.info("what resolution buys at %s: %s lines of goods", cut, lines.height)
    errors = value_errors(lines.filter(pl.col("ordered_on") < cut))
    quality = ranking_quality(lines, cut, days, min_customers, recommender)
    order = pl.col("view").cast(pl.Enum(VIEWS))
    return pl.concat([_means(errors, resamples, seed), _means(quality, resamples, seed)]).sort(order, "metric")


def value_errors(lines: pl.DataFrame) -> pl.DataFrame:
    """How far the views are off in frequency (baskets worth more than nothing) and in monetary value, per person.

    Args:
        lines: goods with basket_id, amount and a column per view that says who bought.

    Returns:
        person, view, metric, value.
    """
    baskets = lines.group_by("basket_id", *VIEWS).agg(pl.col("amount").sum())
    asked = baskets.select(VIEWS).unique()
    true = asked.join(_value(baskets, "truth"), on="truth")
    scale = _value(baskets, "truth").select(pl.col("frequency", "monetary").mean()).row(0, named=True)
    figures: list[pl.DataFrame] = []
    for view in VIEWS:
        answer = true.join(_value(baskets, view), on=view, suffix="_answer")
        for metric, mean in scale.items():
            error = (pl.col(f"{metric}_answer") - pl.col(metric)).abs()
            per_person = answer.group_by(person="truth").agg(value=error.sort_by("unresolved").mean())
            absolute = per_person.select("person", view=pl.lit(view), metric=pl.lit(f"{metric}_error"), value="value")
            relative = absolute.with_columns(metric=pl.lit(f"{metric}_relative_error"), value=pl.col("value") / mean)
            figures += [absolute, relative]
    return pl.concat(figures)


def ranking_quality(
    lines: pl.DataFrame, cut: date, days: int, min_customers: int, recommender: Callable[[], Recommender]
) -> pl.DataFrame:
    """NDCG@10 of each person's list in each view, for persons with history who bought a candidate in the window.

    Args:
        lines: as `order_lines` of goods, with a column per view that says who bought.
        cut: first day of the window.
        days: length of the window.
        min_customers: persons who must have bought a product.
        recommender: makes the recommender of each view.

    Returns:
        person, view, metric, value.
    """
    true_lines = lines.with_columns(customer_id="truth")
    people = interactions(true_lines, cut, min_customers)
    wanted = targets(true_lines, people, cut, days)["A"]
    persons = people.customers.gather(wanted.rows)
    first = (
        lines.filter(pl.col("ordered_on") >= cut, pl.col("quantity") > 0, pl.col("amount") > 0)
        .sort("truth", "ordered_at", "basket_id")
        .unique("truth", keep="first", maintain_order=True)
    )
    asked = persons.alias("truth").to_frame().join(first, on="truth", maintain_order="left")
    figures: list[pl.DataFrame] = []
    for view in VIEWS if len(persons) else ():
        history = interactions(lines.with_columns(customer_id=view), cut, products=people.products)
        model = recommender().fit(history, pl.DataFrame(), cut)
        ranked = lists(model, history.row_of(asked[view]))["A"]
        ndcg = measure(ranked, wanted)[:, METRICS.index("ndcg")]
        figures.append(
            pl.DataFrame({"person": persons, "value": ndcg}).select(
                "person", view=pl.lit(view), metric=pl.lit("ndcg@10"), value="value"
            )
        )
    schema = {"person": pl.String, "view": pl.String, "metric": pl.String, "value": pl.Float64}
    return pl.concat([pl.DataFrame(schema=schema), *figures])


def resolution_chart(figures: pl.DataFrame) -> alt.HConcatChart:
    """The three views side by side: relative errors of value, and the quality of recommendations.

    Args:
        figures: rows of `what_resolution_buys`.
    """
    titles = {
        "frequency_relative_error": "error of frequency (less is better)",
        "monetary_relative_error": "error of spend (less is better)",
        "ndcg@10": "NDCG@10 of recommendations",
    }
    x = alt.X("view:N", title=None, sort=list(VIEWS), axis=alt.Axis(labelAngle=0))
    panels: list[alt.LayerChart] = []
    for metric, title in titles.items():
        base = alt.Chart(figures.filter(pl.col("metric") == metric)).encode(x=x)
        axis = alt.Axis(format=".0%") if metric.endswith("_relative_error") else alt.Axis()
        bar = base.mark_bar(width=40).encode(
            y=alt.Y("value:Q", title=title, axis=axis), color=alt.Color("view:N", sort=list(VIEWS), legend=None)
        )
        interval = base.mark_rule().encode(y=alt.Y("low:Q"), y2="high:Q")
        panels.append(alt.LayerChart(layer=[bar, interval]).properties(width=220, height=260))
    return alt.hconcat(*panels, title="What resolution buys")


def _under_three_ids(order_lines: pl.DataFrame, truth: pl.DataFrame) -> pl.DataFrame:
    """Lines of goods with a column per view; a record nobody linked is a customer of its own."""
    record = pl.concat_str("source", pl.lit(":"), "source_id")
    return (
        order_lines.filter(pl.col("merchandise"))
        .with_columns(unresolved=record)
        .join(truth.select(unresolved="record_id", truth="person_id"), on="unresolved")
        .with_columns(resolved=pl.coalesce("customer_id", "unresolved"))
    )


def _value(baskets: pl.DataFrame, view: str) -> pl.DataFrame:
    frequency, monetary = (pl.col("amount") > 0).sum().cast(pl.Float64), pl.col("amount").sum().cast(pl.Float64)
    return baskets.group_by(view).agg(frequency=frequency, monetary=monetary).sort(view)


def _means(per_person: pl.DataFrame, resamples: int, seed: int) -> pl.DataFrame:
    """Mean over persons of each view and metric, with its interval."""
    if per_person.is_empty():
        return pl.DataFrame(schema=RESOLUTION)
    ordered = per_person.sort("view", "metric", "person")
    groups = ordered.select("view", "metric").unique(maintain_order=True)
    value, low, high = mean_interval(ordered["value"].to_numpy().reshape(groups.height, -1).T, resamples, seed)
    return groups.with_columns(value=pl.Series(value), low=pl.Series(low), high=pl.Series(high))
