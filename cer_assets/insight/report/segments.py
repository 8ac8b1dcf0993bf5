"""Segments: what they are called, how large and valuable they are, and what to do about each."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from cer_assets.insight.report import words
from cer_assets.insight.report.charts import two_shares
from cer_assets.insight.report.content import Block, Card, Figure, Section
from cer_assets.insight.report.tables import (
    ACTIVE_DAYS,
    CHURN_DAYS,
    Tables,
    cents,
    columns_of,
    mean_probability,
    nearest_horizon,
    newest,
)

KINDS = {"behaviour": "How they shop", "preference": "What they buy"}
NAME, TITLE = "segments", "Segments"
QUESTION = "Whom to speak to, about what, and who does it?"
_TEXTS = ("summary", "action", "owner", "top_categories")
_FIGURES = ("mean_recency_days", "mean_frequency", "lapsed_share")


def segments(tables: Tables) -> Section:
    """Every segment as a card, and its share of customers beside its share of value."""
    known = {kind: rows for kind in KINDS if not (rows := segment_rows(tables, kind)).is_empty()}
    if not known:
        return Section(NAME, TITLE, QUESTION, empty="There are no segments yet: segment.profiles is empty.")
    blocks = [_block(kind, rows) for kind, rows in known.items()]
    return Section(NAME, TITLE, QUESTION, blocks[0].reading[0], blocks)


def segment_rows(tables: Tables, kind: str) -> pl.DataFrame:
    """The segments of one kind, the most valuable first.

    Returns:
        The columns of `segment.profiles` (null where the table has them not), customers' value (hundredths) and
        value_share, and churn (mean probability), both null where no table tells.
    """
    found = newest(tables.profiles)
    if found is None:
        return pl.DataFrame(schema={"segment": pl.Int64})
    held = columns_of(found[0])
    texts = [pl.col(c).cast(pl.String) if c in held else pl.lit(None, pl.String).alias(c) for c in _TEXTS]
    figures = [pl.col(c).cast(pl.Float64) if c in held else pl.lit(None, pl.Float64).alias(c) for c in _FIGURES]
    profiles = found[0].filter(pl.col("kind") == kind)
    rows = profiles.select(
        "segment", "name", "customers", "share", *texts, *figures, mean_spend=cents("mean_monetary")
    ).join(_facts(tables, kind), on="segment", how="left")
    of_all = pl.col("value") / pl.when(pl.col("value").sum() > 0).then(pl.col("value").sum())
    shown = rows.collect().with_columns(value_share=of_all)
    return shown.sort("value", "customers", "segment", descending=[True, True, False], nulls_last=True)


def _facts(tables: Tables, kind: str) -> pl.LazyFrame:
    """Value and churn of the customers of each segment."""
    members = newest(tables.behaviour if kind == "behaviour" else tables.preference)
    schema = {"segment": pl.Int64, "value": pl.Int64, "churn": pl.Float64}
    if members is None:
        return pl.LazyFrame(schema=schema)
    worth, churn = newest(tables.buckets), nearest_horizon(tables.churn, CHURN_DAYS)
    customer = {"customer_id": pl.String}
    values = worth[0].select("customer_id", "value") if worth else pl.LazyFrame(schema=customer | {"value": pl.Float64})
    leaving = (
        churn[0].select("customer_id", "probability")
        if churn
        else pl.LazyFrame(schema=customer | {"probability": pl.Float64})
    )
    return (
        members[0]
        .select("customer_id", "segment")
        .join(values, on="customer_id", how="left")
        .join(leaving, on="customer_id", how="left")
        .group_by("segment")
        .agg(
            value=pl.when(pl.col("value").count() > 0).then(cents("value").sum()),
            churn=mean_probability("probability"),
        )
        .select(*schema)
    )


def _block(kind: str, rows: pl.DataFrame) -> Block:
    text = _reading(rows)
    figure = None
    if rows["value_share"].null_count() == 0:
        shares = rows.select(group="name", first="share", second="value_share")
        chart = two_shares(shares, "of customers", "of value")
        figure = Figure(f"segments-{kind}", f"{KINDS[kind]}: share of customers and of value", chart, " ".join(text))
    return Block(KINDS[kind], text, figure, cards=[_card(row) for row in rows.iter_rows(named=True)])


def _reading(rows: pl.DataFrame) -> list[str]:
    """The largest segment, the one that carries most, and the one most likely to leave."""
    largest = rows.sort("customers", "segment", descending=[True, False]).row(0, named=True)
    text = [f"The largest segment is “{largest['name']}” with {words.percent(largest['share'])} of all customers"]
    best = rows.row(0, named=True)
    if best["value_share"] is not None:
        carried = f"{words.percent(best['value_share'])} of the value"
        text[0] += (
            f" and {carried}, more than any other."
            if best["segment"] == largest["segment"]
            else f"; “{best['name']}” carries most, {carried} with {words.percent(best['share'])} of the customers."
        )
    else:
        text[0] += "."
    if rows["churn"].count():
        leaving = rows.sort("churn", "segment", descending=[True, False], nulls_last=True).row(0, named=True)
        text.append(
            f"Most likely to stay away: “{leaving['name']}”, with {words.percent(leaving['churn'])} of those who have a"
            " figure expected to buy nothing in the weeks ahead."
        )
    return text


def _card(row: Mapping[str, Any]) -> Card:
    # A summary speaks of these itself.
    untold = (
        {} if row["summary"] else {"mean purchases so far": "mean_frequency", "days since last": "mean_recency_days"}
    )
    facts = {
        "customers": f"{words.count(row['customers'])} ({words.percent(row['share'])})",
        "of the value": words.percent(row["value_share"]),
        "mean spend so far": words.money(row["mean_spend"]),
        **{name: _number(row[column]) for name, column in untold.items()},
        f"quiet for {ACTIVE_DAYS} days": words.percent(row["lapsed_share"]),
        "mean churn": words.percent(row["churn"]),
        "spends more on": row["top_categories"] or words.NONE,
    }
    facts = {name: text for name, text in facts.items() if text != words.NONE}
    return Card(row["name"] or words.NONE, row["summary"] or "", facts, row["action"], row["owner"])


def _number(figure: float | None) -> str:
    return words.NONE if figure is None else f"{figure:,.1f}" if figure < 10 else f"{figure:,.0f}"
