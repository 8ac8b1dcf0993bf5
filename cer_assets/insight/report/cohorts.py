"""Cohorts: of those who first bought in a month, how many bought in the months after it."""

from datetime import date, timedelta

import polars as pl

from cer_assets.insight.report import words
from cer_assets.insight.report.charts import heat
from cer_assets.insight.report.content import Block, Figure, Section
from cer_assets.insight.report.tables import Tables

MOST = 12
"""The newest cohorts shown, and the most months after the first."""
READ_AT = (1, 3, 6)
NAME, TITLE = "cohorts", "Cohort retention"
QUESTION = "Do new customers come back, and are newer ones better or worse at it?"


def cohorts(tables: Tables, as_of: date) -> Section:
    """Retention by month of the first purchase."""
    retained, begins = retention(tables, as_of)
    if retained.is_empty() or begins is None:
        return Section(
            NAME,
            TITLE,
            QUESTION,
            empty="No month after a first purchase is over yet, so nobody can have come back in one.",
        )
    text = _reading(retained, begins)
    newest = sorted(set(retained["cohort"]))[-MOST:]
    shown = retained.filter(pl.col("cohort").is_in(newest))
    labels = {
        cohort: f"{words.month(cohort)}{'*' if cohort == begins else ''} ({words.count(size)})"
        for cohort, size in shown.select("cohort", "size").unique().sort("cohort").iter_rows()
    }
    cells = shown.select(
        row=pl.col("cohort").replace_strict(labels, return_dtype=pl.String),
        column=pl.col("after").cast(pl.String),
        text=(pl.col("share") * 100).round(0).cast(pl.Int64).cast(pl.String) + "%",
        depth=pl.col("share"),
    )
    columns = [str(after) for after in sorted(set(shown["after"]))]
    chart = heat(
        cells,
        rows=list(labels.values()),
        columns=columns,
        row_title=None,
        column_title="months after the month of the first purchase",
        width=44 * len(columns),
        row_height=26,
    )
    title = "Share of a month's first buyers who bought in later months"
    figure = Figure("cohorts", title, chart, " ".join(text))
    return Section(NAME, TITLE, QUESTION, text[0], [Block(None, text, figure)])


def retention(tables: Tables, as_of: date) -> tuple[pl.DataFrame, date | None]:
    """Who of each month's first buyers bought in each month after it that is over.

    Returns:
        cohort (first day of the month), size, after (months, from 1), customers, share of size, ordered; and the month
        in which the records begin, whose buyers may have bought before.
    """
    schema = {"cohort": pl.Date, "size": pl.Int64, "after": pl.Int64, "customers": pl.Int64, "share": pl.Float64}
    empty = pl.DataFrame(schema=schema)
    if tables.purchases is None:
        return empty, None
    ordered = pl.col("ordered_on")
    months = (
        tables.purchases.filter((pl.col("baskets") > 0) & (ordered <= as_of))
        .select("customer_id", month=ordered.dt.truncate("1mo"))
        .unique()
        .with_columns(cohort=pl.col("month").min().over("customer_id"))
        .with_columns(after=_month(pl.col("month")) - _month(pl.col("cohort")))
        .group_by("cohort", "after")
        .agg(customers=pl.len().cast(pl.Int64))
        .collect()
    )
    if months.is_empty():
        return empty, None
    begins = months["cohort"].min()
    assert isinstance(begins, date)
    # The month of as_of is over only where the next morning begins another.
    ends = _first_of_month(as_of + timedelta(days=1))
    sizes = months.filter(pl.col("after") == 0).select("cohort", size="customers")
    over = (_month(pl.lit(ends)) - 1 - _month(pl.col("cohort"))).cast(pl.Int64)
    every = sizes.with_columns(after=pl.int_ranges(1, over.clip(0, MOST) + 1)).explode("after", empty_as_null=False)
    return (
        every.join(months.with_columns(pl.col("after").cast(pl.Int64)), on=["cohort", "after"], how="left")
        .with_columns(pl.col("customers").fill_null(0))
        .with_columns(share=pl.col("customers") / pl.col("size"))
        .select(*schema)
        .sort("cohort", "after"),
        begins,
    )


def _month(day: pl.Expr) -> pl.Expr:
    return day.dt.year().cast(pl.Int64) * 12 + day.dt.month().cast(pl.Int64)


def _first_of_month(day: date) -> date:
    return day.replace(day=1)


def _reading(retained: pl.DataFrame, begins: date) -> list[str]:
    newcomers = retained.filter(pl.col("cohort") > begins)
    judged = newcomers if newcomers.height else retained
    at = judged.filter(pl.col("after").is_in(READ_AT)).group_by("after").agg(pl.col("customers", "size").sum())
    parts = [
        f"{words.percent(customers / size)} in the {'month after' if after == 1 else f'{words.ordinal(after)} month'}"
        for after, customers, size in at.sort("after").iter_rows()
    ]
    who = (
        f"who first bought after {words.month(begins)}"
        if newcomers.height
        else f"on record since {words.month(begins)}"
    )
    text = [f"Of the customers {who}, these shares bought again: {words.listed(parts)}."]
    next_month = newcomers.filter(pl.col("after") == 1).sort("cohort")
    if next_month.height >= 4:
        late, early = next_month.tail(3), next_month.head(-3)
        now, before = (int(rows["customers"].sum()) / int(rows["size"].sum()) for rows in (late, early))
        verdict = (
            "come back more often than"
            if now > before
            else "come back less often than"
            if now < before
            else "come back as often as"
        )
        text.append(
            f"The newest three months' first buyers {verdict} those before them: {words.percent(now)} against"
            f" {words.percent(before)} in the next month."
        )
    text.append(f"* The records begin in {words.month(begins)}: its buyers may have been customers long before.")
    return text
