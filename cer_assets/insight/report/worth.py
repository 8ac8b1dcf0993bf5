"""What customers are worth: value buckets, who moved between them, and how concentrated expected spend is."""

from datetime import date
from typing import Any

import altair as alt
import polars as pl

from cer_assets.insight.report import words
from cer_assets.insight.report.charts import ACCENT, OTHER, PERCENT, QUIET, WIDTH, heat, two_shares
from cer_assets.insight.report.content import Block, Figure, Section, Table
from cer_assets.insight.report.tables import (
    ACTIVE_DAYS,
    AHEAD_DAYS,
    CHURN_DAYS,
    Tables,
    cents,
    is_active,
    mean_probability,
    nearest_horizon,
    newest,
)
from cer_assets.value.buckets import BUCKETS as RISING
from cer_assets.value.buckets import GONE, NEW

BUCKETS = RISING[::-1]
"""The best first."""
COMPARED_DAYS = 28
"""Moves are read over so many days, or over the nearest span that is known."""
BEST_SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)


def value_buckets(tables: Tables) -> Section:
    """How many customers are of high, mid and low value, what they stand for, and who moved."""
    name, title, question = "buckets", "Value buckets", "Who carries the business, and who is moving up or down?"
    sizes = bucket_sizes(tables)
    if sizes.is_empty():
        return Section(name, title, question, empty="No customer has a value yet: value.buckets is empty.")
    rows = sizes.rows(named=True)
    best = rows[0]
    headline = (
        f"The {words.counted(best['customers'], 'customer')} of {best['bucket']} value are"
        f" {words.percent(best['share'])} of all and stand for {words.percent(best['value_share'])} of the value."
    )
    shares = sizes.select(group="bucket", first="share", second="value_share")
    figure = Figure(
        "buckets",
        "Share of customers and of value",
        two_shares(shares, "of customers", "of value"),
        headline,
    )
    table = Table(
        "Value buckets in figures",
        ["bucket", "customers", "mean value", "all value", f"bought in {ACTIVE_DAYS} days", "churn"],
        [
            [
                row["bucket"],
                words.count(row["customers"]),
                words.money(row["value"] / row["customers"]),
                words.money(row["value"]),
                words.percent(row["active"]),
                words.percent(row["churn"]),
            ]
            for row in rows
        ],
    )
    meaning = (
        "Value is the spend expected of a customer, or the spend so far where nothing can be expected yet; the cuts"
        " lie where customers are few. Churn is the probability of buying nothing in the weeks ahead."
    )
    block = Block("Share of customers and of value", [headline, meaning], figure, [table])
    return Section(name, title, question, headline, [block, _moves_block(tables)])


def bucket_sizes(tables: Tables) -> pl.DataFrame:
    """The buckets of the newest day, the best first.

    Returns:
        bucket, customers, share, value (hundredths), value_share, active (share who bought lately) and churn (mean
        probability), the last two null where their tables know nothing.
    """
    found = newest(tables.buckets)
    if found is None:
        return pl.DataFrame(schema={"bucket": pl.String})
    customers = found[0].select("customer_id", "bucket", value=cents("value"))
    facts = customers.join(_active(tables), on="customer_id", how="left").join(
        _churn(tables), on="customer_id", how="left"
    )
    sizes = (
        facts.group_by("bucket")
        .agg(
            customers=pl.len().cast(pl.Int64),
            value=pl.col("value").sum(),
            active=pl.col("active").sum() / pl.when(pl.col("active").count() > 0).then(pl.col("active").count()),
            churn=mean_probability("churn"),
        )
        .collect()
    )
    place = pl.col("bucket").replace_strict(list(BUCKETS), [0, 1, 2], default=3, return_dtype=pl.Int64)
    return sizes.with_columns(
        share=pl.col("customers") / pl.col("customers").sum(), value_share=_share_of_all("value")
    ).sort(place, "bucket")


def _share_of_all(column: str) -> pl.Expr:
    return (pl.when(pl.col(column).sum() > 0).then(pl.col(column) / pl.col(column).sum())).fill_null(0.0)


def _active(tables: Tables) -> pl.LazyFrame:
    found = newest(tables.rfm)
    if found is None:
        return pl.LazyFrame(schema={"customer_id": pl.String, "active": pl.Boolean})
    return found[0].select("customer_id", active=is_active())


def _churn(tables: Tables) -> pl.LazyFrame:
    found = nearest_horizon(tables.churn, CHURN_DAYS)
    if found is None:
        return pl.LazyFrame(schema={"customer_id": pl.String, "churn": pl.Float64})
    return found[0].select("customer_id", churn="probability")


def moves(tables: Tables) -> tuple[pl.DataFrame, date, date] | None:
    """The migration over the span nearest to `COMPARED_DAYS`: from_bucket, to_bucket, customers, value (hundredths).

    Returns:
        The rows, the earlier and the later day; None where no two days are known.
    """
    found = newest(tables.migration)
    if found is None:
        return None
    rows, as_of = found
    known = rows.select(pl.col("from_on").drop_nulls().unique()).collect()["from_on"].to_list()
    if not known:
        return None
    start = min(known, key=lambda day: (abs((as_of - day).days - COMPARED_DAYS), day))
    return _between(rows, start), start, as_of


def _between(of_day: pl.LazyFrame, start: date) -> pl.DataFrame:
    return (
        of_day.filter(pl.col("from_on") == start)
        .group_by("from_bucket", "to_bucket")
        .agg(customers=pl.col("customers").sum().cast(pl.Int64), value=cents("value").sum())
        .sort("from_bucket", "to_bucket")
        .collect()
    )


def bucket_moves(tables: Tables, start: date, as_of: date) -> dict[str, int] | None:
    """How many moved between buckets from one day to another; None where no table tells.

    Returns:
        known (customers of both days), stayed, up, down, into_high, out_of_high, value_left (of the last, hundredths),
        new, gone.
    """
    if tables.migration is None:
        return None
    rows = _between(tables.migration.filter(pl.col("as_of") == as_of), start)
    return None if rows.is_empty() else _counted_moves(rows)


def _counted_moves(moved: pl.DataFrame) -> dict[str, int]:
    rank = {bucket: place for place, bucket in enumerate(BUCKETS)}
    before, after = (
        pl.col(column).replace_strict(rank, default=None, return_dtype=pl.Int64)
        for column in ("from_bucket", "to_bucket")
    )
    people, value = pl.col("customers"), pl.col("value")
    left = (before == 0) & (after > 0)
    row = moved.select(
        known=people.filter(before.is_not_null() & after.is_not_null()).sum(),
        stayed=people.filter(before == after).sum(),
        up=people.filter(after < before).sum(),
        down=people.filter(after > before).sum(),
        into_high=people.filter((after == 0) & (before > 0)).sum(),
        out_of_high=people.filter(left).sum(),
        value_left=value.filter(left).sum(),
        new=people.filter(pl.col("from_bucket") == NEW).sum(),
        gone=people.filter(pl.col("to_bucket") == GONE).sum(),
    ).row(0, named=True)
    return {name: int(figure) for name, figure in row.items()}


def _moves_block(tables: Tables) -> Block:
    title = "Who moved"
    found = moves(tables)
    if found is None or found[0].is_empty():
        return Block(title, ["Moves show once the tables hold buckets of two days; so far they hold those of one."])
    moved, start, as_of = found
    text = _moves_text(moved, start, as_of)
    labels = {**{bucket: f"was {bucket}" for bucket in BUCKETS}, NEW: "was not there"}
    targets = {**{bucket: f"is {bucket}" for bucket in BUCKETS}, GONE: "is gone"}
    every = pl.DataFrame({"from_bucket": list(labels)}).join(pl.DataFrame({"to_bucket": list(targets)}), how="cross")
    cells = (
        every.join(moved, on=["from_bucket", "to_bucket"], how="left")
        .with_columns(pl.col("customers").fill_null(0))
        .filter(~((pl.col("from_bucket") == NEW) & (pl.col("to_bucket") == GONE)))
        .with_columns(all_from=pl.col("customers").sum().over("from_bucket"))
    )
    texts = [words.count(n) for n in cells["customers"]]
    shown = cells.select(
        row=pl.col("from_bucket").replace_strict(labels, return_dtype=pl.String),
        column=pl.col("to_bucket").replace_strict(targets, return_dtype=pl.String),
        text=pl.Series(texts, dtype=pl.String),
        depth=(pl.col("customers") / pl.when(pl.col("all_from") > 0).then(pl.col("all_from"))).fill_null(0.0),
    )
    span = f"Customers by bucket on {words.day(start)} (rows) and {words.day(as_of)} (columns)"
    chart = heat(
        shown, rows=list(labels.values()), columns=list(targets.values()), row_title=None, column_title=span, width=420
    )
    return Block(title, text, Figure("moves", title, chart, " ".join(text)))


def _moves_text(moved: pl.DataFrame, start: date, as_of: date) -> list[str]:
    figures = _counted_moves(moved)
    known = figures["known"]
    stayed = words.percent(figures["stayed"] / known) if known else words.NONE
    first = (
        f"From {words.day(start)} to {words.day(as_of)}, {stayed} stayed in their bucket;"
        f" {words.some(figures['up'])} moved up and {words.some(figures['down'])} moved down."
    )
    worth = f", who are worth {words.money(figures['value_left'])} now" if figures["out_of_high"] else ""
    second = (
        f"{words.sentence(words.counted(figures['into_high'], 'customer'))} came into the high bucket and"
        f" {words.some(figures['out_of_high'])} left it{worth}."
    )
    new, gone = words.sentence(words.counted(figures["new"], "customer")), words.some(figures["gone"])
    return [first, second, f"{new} were not there before, {gone} are gone."]


def concentration(tables: Tables) -> Section:
    """Which share of expected spend the best customers stand for."""
    name, title, question = "concentration", "Concentration of value", "How much rests on how few?"
    found = nearest_horizon(tables.clv, AHEAD_DAYS)
    spend = _expected(found[0]) if found else None
    if found is None or spend is None or spend.is_empty() or not spend.sum():
        return Section(name, title, question, empty="No customer has expected spend yet: value.clv holds no figure.")
    horizon = found[2]
    top = best_customers(spend)
    tenth = top.filter(pl.col("best") == 0.1).row(0, named=True)
    half = top.filter(pl.col("best") == 0.5).row(0, named=True)
    headline = (
        f"The best tenth ({words.counted(tenth['customers'], 'customer')}) stand for {words.percent(tenth['share'])} of"
        f" the spend expected in the next {horizon} days, the lower half for {words.percent(1 - half['share'])}."
    )
    even = (
        f"A customer of the best tenth is expected to spend {words.money(tenth['spend'] / tenth['customers'])} on"
        f" average, {_times(tenth, spend)} the mean of all."
    )
    table = Table(
        f"Spend expected in the next {horizon} days",
        ["best", "customers", "expected spend", "share of all", "each at least"],
        [
            [
                f"{row['best']:.0%}",
                words.count(row["customers"]),
                words.money(row["spend"]),
                words.percent(row["share"]),
                words.money(row["least"]),
            ]
            for row in top.iter_rows(named=True)
        ],
    )
    chart = concentration_chart(lorenz(spend), tenth["share"])
    figure = Figure("concentration", "Share of expected spend", chart, headline)
    return Section(name, title, question, headline, [Block(None, [headline, even], figure, [table])])


def _times(tenth: dict[str, Any], spend: pl.Series) -> str:
    return f"{(tenth['spend'] / tenth['customers']) / (int(spend.sum()) / len(spend)):.1f} times"


def _expected(clv: pl.LazyFrame) -> pl.Series:
    """Expected spend of all who have one, hundredths, the largest first."""
    return clv.select(cents("expected_spend")).drop_nulls().collect()["expected_spend"].sort(descending=True)


def best_customers(spend: pl.Series) -> pl.DataFrame:
    """What the best customers stand for.

    Args:
        spend: hundredths, the largest first, not empty.

    Returns:
        best (share of customers), customers (at least one), spend, share of all spend, least (of them).
    """
    held, total = spend.cum_sum(), int(spend.sum())
    counts = [max(1, round(len(spend) * best)) for best in BEST_SHARES]
    return pl.DataFrame(
        {
            "best": BEST_SHARES,
            "customers": counts,
            "spend": [int(held[n - 1]) for n in counts],
            "share": [int(held[n - 1]) / total for n in counts],
            "least": [int(spend[n - 1]) for n in counts],
        }
    )


def lorenz(spend: pl.Series) -> pl.DataFrame:
    """The curve of Lorenz (1905) from its rich end, in steps of one per cent.

    Args:
        spend: hundredths, the largest first, not empty.

    Returns:
        customers, spend Float64: shares from 0 to 1.
    """
    held, total = [0, *spend.cum_sum().to_list()], int(spend.sum())
    steps = [step / 100 for step in range(101)]
    return pl.DataFrame({"customers": steps, "spend": [held[round(len(spend) * step)] / total for step in steps]})


def concentration_chart(curve: pl.DataFrame, tenth: float) -> alt.LayerChart:
    """Share of expected spend by share of customers, the best tenth marked.

    Args:
        curve: the frame of `lorenz`.
        tenth: share of the best tenth.
    """
    x = alt.X("customers:Q", title="best customers", axis=alt.Axis(format=PERCENT, tickCount=5, grid=False))
    axis = alt.Axis(format=PERCENT, tickCount=5, domain=False, ticks=False)
    y = alt.Y("spend:Q", title="share of expected spend", axis=axis)
    base = alt.Chart(curve).encode(x=x, y=y)
    even = pl.DataFrame({"customers": [0.0, 1.0], "spend": [0.0, 1.0]})
    mark = pl.DataFrame({"customers": [0.1], "spend": [tenth], "text": [f"best 10%: {words.percent(tenth)}"]})
    label = pl.DataFrame({"customers": [0.63], "spend": [0.58], "text": ["if all were worth the same"]})
    layers = [
        alt.Chart(even).mark_line(strokeDash=[4, 4], color=QUIET, strokeWidth=1).encode(x=x, y=y),
        base.mark_area(color=ACCENT, opacity=0.12),
        base.mark_line(color=ACCENT, strokeWidth=2.5),
        alt.Chart(mark).mark_point(filled=True, size=80, color=OTHER, opacity=1).encode(x=x, y=y),
        alt.Chart(mark).mark_text(align="left", dx=10, dy=4, fontWeight="bold").encode(x=x, y=y, text="text:N"),
        alt.Chart(label).mark_text(align="left", color=QUIET).encode(x=x, y=y, text="text:N"),
    ]
    return alt.LayerChart(layer=layers).properties(width=WIDTH - 40, height=300)
