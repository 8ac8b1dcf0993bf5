"""Churn beside value: who is likely to stay away, and what they are worth."""

from typing import Any

import polars as pl

from cer_assets.insight.report import words
from cer_assets.insight.report.charts import heat
from cer_assets.insight.report.content import Block, Figure, Section, Table
from cer_assets.insight.report.tables import CHURN_DAYS, Tables, cents, nearest_horizon, newest
from cer_assets.insight.report.worth import BUCKETS

BANDS = ("under 25%", "25 to 50%", "50 to 75%", "75% and more")
UNKNOWN = "no figure"
LIKELY = BANDS[2:]
NAME, TITLE = "risk", "Churn and value"
QUESTION = "Whom do we stand to lose, and what are they worth?"
_NONE_TOLD = "There is not enough data to tell how likely anyone is to stay away; the table says why."


def risk(tables: Tables) -> Section:
    """Customers by value bucket and by how likely they are to stay away."""
    cells = risk_cells(tables)
    found = nearest_horizon(tables.churn, CHURN_DAYS)
    if found is None or cells.is_empty():
        missing = "predict.churn" if found is None else "value.buckets"
        return Section(NAME, TITLE, QUESTION, empty=f"Nobody can be placed yet: {missing} is empty.")
    if not cells.filter(pl.col("band") != UNKNOWN)["customers"].sum():
        return Section(NAME, TITLE, QUESTION, _NONE_TOLD, blocks=[Block(None, [_NONE_TOLD], tables=_reasons(tables))])
    horizon = found[2]
    text = _reading(cells, horizon)
    best = cells.filter(pl.col("value") == pl.col("value").max())["value"].item(0)
    shown = cells.select(
        row=pl.col("bucket"),
        column=pl.col("band"),
        text=pl.Series([_cell(*row) for row in cells.select("customers", "value").iter_rows()], dtype=pl.String),
        depth=(pl.col("value") / max(best, 1)).clip(0, 1),
    )
    title = f"Probability of no purchase in the next {horizon} days"
    rows = [bucket for bucket in BUCKETS if bucket in set(cells["bucket"])]
    chart = heat(shown, rows=rows, columns=[*BANDS, UNKNOWN], row_title=None, column_title=title, row_height=58)
    figure = Figure(
        "risk", "Customers by value and churn; the stronger the colour, the more value", chart, " ".join(text)
    )
    return Section(NAME, TITLE, QUESTION, text[0], [Block(None, text, figure, _reasons(tables))])


def _cell(customers: int, value: int) -> str:
    return f"{words.count(customers)}\nvalue {words.money(value)}" if customers else words.NONE


def risk_cells(tables: Tables) -> pl.DataFrame:
    """Customers and their value by bucket and band of churn probability.

    Returns:
        bucket, band (of `BANDS`, or `UNKNOWN` without a probability), customers, value (hundredths), every pair of them
        that a bucket can have, best bucket and lowest band first; no rows where either table is empty.
    """
    worth, churn = newest(tables.buckets), nearest_horizon(tables.churn, CHURN_DAYS)
    schema = {"bucket": pl.String, "band": pl.String, "customers": pl.Int64, "value": pl.Int64}
    if worth is None or churn is None:
        return pl.DataFrame(schema=schema)
    p = pl.col("probability").fill_nan(None)
    band = pl.when(p.is_null()).then(pl.lit(UNKNOWN))
    for bound, name in zip((0.25, 0.5, 0.75), BANDS[:3], strict=True):
        band = band.when(p < bound).then(pl.lit(name))
    counted = (
        worth[0]
        .join(churn[0].select("customer_id", "probability"), on="customer_id", how="left")
        .group_by("bucket", band=band.otherwise(pl.lit(BANDS[3])))
        .agg(customers=pl.len().cast(pl.Int64), value=cents("value").sum())
        .collect()
    )
    buckets = pl.DataFrame({"bucket": BUCKETS, "place": range(len(BUCKETS))})
    bands = pl.DataFrame({"band": [*BANDS, UNKNOWN], "rank": range(len(BANDS) + 1)})
    every = buckets.join(counted.select("bucket").unique(), on="bucket", how="semi").join(bands, how="cross")
    return (
        every.join(counted, on=["bucket", "band"], how="left")
        .with_columns(pl.col("customers", "value").fill_null(0))
        .sort("place", "rank")
        .select(*schema)
    )


def _reading(cells: pl.DataFrame, horizon: int) -> list[str]:
    likely, told = pl.col("band").is_in(LIKELY), pl.col("band") != UNKNOWN
    figures: dict[str, Any] = cells.select(
        likely=pl.col("customers").filter(likely).sum(),
        told=pl.col("customers").filter(told).sum(),
        value=pl.col("value").filter(likely).sum(),
        all_value=pl.col("value").sum(),
        unknown=pl.col("customers").filter(~told).sum(),
    ).row(0, named=True)
    known = words.counted(figures["told"], "customer")
    if figures["likely"]:
        share = words.percent(figures["value"] / figures["all_value"]) if figures["all_value"] else words.NONE
        worth = f"; they stand for {share} of all value"
    else:
        worth = ""
    first = (
        f"{words.sentence(words.some(figures['likely']))} of the {known} with a figure are more likely than not to buy"
        f" nothing in the next {horizon} days{worth}."
    )
    top = cells["bucket"][0]
    wavering = cells.filter((pl.col("bucket") == top) & pl.col("band").is_in(BANDS[1:]))
    people, value = int(wavering["customers"].sum()), int(wavering["value"].sum())
    second = (
        f"Worth a call first: the {words.counted(people, 'customer')} of {top} value whose probability is 25% or more."
        f" They are worth {words.money(value)}."
        if people
        else f"No customer of {top} value has a probability of 25% or more."
    )
    third = f"{words.counted(figures['unknown'], 'customer')} have no figure; the table says why."
    return [first, second, *([third] if figures["unknown"] else [])]


def _reasons(tables: Tables) -> list[Table]:
    """Why customers have no probability, by how many."""
    found = nearest_horizon(tables.churn, CHURN_DAYS)
    if found is None:
        return []
    reasons = (
        found[0]
        .filter(pl.col("probability").is_null())
        .group_by(pl.col("reason").fill_null("not said"))
        .agg(customers=pl.len().cast(pl.Int64))
        .sort(["customers", "reason"], descending=[True, False])
        .collect()
    )
    if reasons.is_empty():
        return []
    rows = [[reason, words.count(customers)] for reason, customers in reasons.iter_rows()]
    return [Table("Customers without a figure, and why", ["why", "customers"], rows)]
