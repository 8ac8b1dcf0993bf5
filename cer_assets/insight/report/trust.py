"""Whether the probabilities can be believed: what was expected beside what happened, in plain words."""

from typing import Any

import altair as alt
import polars as pl

from cer_assets.insight.report import words
from cer_assets.insight.report.charts import ACCENT, PERCENT, QUIET
from cer_assets.insight.report.content import Block, Figure, Section, Table
from cer_assets.insight.report.tables import Tables, columns_of

NAME, TITLE = "trust", "Can the figures be believed?"
QUESTION = "When the models said 30 in 100, how many was it?"
EVENTS = {
    "churn": "staying away for",
    "purchase": "buying within",
    "response": "answering a campaign",
    "next_category": "buying in a category within",
}
"""What a model's probability is of, up to its number of days."""
CLOSE, FAIR = 0.03, 0.07
"""A mean gap between what was expected and what happened, below which figures are called close, or fair."""


def trust(tables: Tables) -> Section:
    """Calibration of every model on weeks it had not seen."""
    bins = calibration(tables)
    if bins.is_empty():
        why = "No probability was held against what came yet: there is no calibration on record."
        return Section(NAME, TITLE, QUESTION, empty=why)
    models = bins.partition_by("event", maintain_order=True)
    verdicts = [verdict(rows) for rows in models]
    example = _example(models[0])
    figure = Figure("calibration", "What was expected, and what happened", calibration_chart(bins), " ".join(verdicts))
    table = Table(
        "Expected and observed, by groups of forecasts",
        ["probability of", "forecasts", "expected", "happened"],
        [
            [
                row["event"],
                words.count(row["forecasts"]),
                words.percent(row["predicted"]),
                words.percent(row["observed"]),
            ]
            for row in bins.iter_rows(named=True)
        ],
        folded=True,
    )
    return Section(NAME, TITLE, QUESTION, example, [Block(None, [example, *verdicts], figure, [table])])


def calibration(tables: Tables) -> pl.DataFrame:
    """The bins of every model and horizon.

    Returns:
        event (what the probability is of, in words), predicted, observed Float64 (means), low, high (95 % interval of
        observed, null where the table has none), forecasts Int64; models in the order of `EVENTS`, then by name and
        horizon, each from the lowest probability on.
    """
    shares = dict.fromkeys(("predicted", "observed", "low", "high"), pl.Float64)
    schema = {"event": pl.String, **shares, "forecasts": pl.Int64}
    table = tables.calibration
    if table is None:
        return pl.DataFrame(schema=schema)
    held = columns_of(table)
    if "as_of" in held:
        newest = pl.col("as_of").max().over("model", "horizon_days")
        table = table.filter(pl.col("as_of") == newest)
    ends = [pl.col(name) if name in held else pl.lit(None, pl.Float64).alias(name) for name in ("low", "high")]
    bins = (
        table.select("model", "horizon_days", "predicted", "observed", *ends, pl.col("customers").cast(pl.Int64))
        .rename({"customers": "forecasts"})
        .drop_nulls(["model", "predicted", "observed", "forecasts"])
        .filter(pl.col("forecasts") > 0)
        .collect()
    )
    named = [_event(model, horizon) for model, horizon in bins.select("model", "horizon_days").iter_rows()]
    known = list(EVENTS)
    order = pl.col("model").replace_strict(known, list(range(len(known))), default=len(known), return_dtype=pl.Int64)
    return (
        bins.with_columns(event=pl.Series(named, dtype=pl.String))
        .sort(order, "model", "horizon_days", "predicted", "observed", "forecasts")
        .select(*schema)
    )


def _event(model: str, horizon: int | None) -> str:
    event = EVENTS.get(model, model.replace("_", " "))
    return event if horizon is None else f"{event} {horizon} days"


def verdict(bins: pl.DataFrame) -> str:
    """How far one model's probabilities can be believed, as a sentence.

    Args:
        bins: rows of `calibration` of one event.
    """
    exact = bins.select(
        pl.col("forecasts"),
        *((pl.col(name) * 1e6).round().cast(pl.Int64) * pl.col("forecasts") for name in ("predicted", "observed")),
    )
    told = int(exact["forecasts"].sum())
    foretold, came = (int(exact[name].sum()) / told / 1e6 for name in ("predicted", "observed"))
    gap = int((exact["predicted"] - exact["observed"]).abs().sum()) / told / 1e6
    how = (
        "close enough to count on"
        if gap < CLOSE
        else "fair: good for plans, not for promises"
        if gap < FAIR
        else "rough: go by who comes before whom, not by the figure"
    )
    event = words.sentence(bins["event"][0])
    return (
        f"{event}: of {words.counted(told, 'forecast')}, {words.percent(foretold)} were expected to come true and"
        f" {words.percent(came)} did. Group by group the two are {gap * 100:.1f} points apart, which is"
        f" {how}{_by_chance(bins)}."
    )


def _by_chance(bins: pl.DataFrame) -> str:
    """In how many groups what was expected lies within the interval of what happened."""
    judged = bins.drop_nulls(["low", "high"])
    within = judged.filter(pl.col("predicted").is_between("low", "high")).height
    return f"; in {within} of {judged.height} groups chance alone would explain it" if judged.height else ""


def _example(bins: pl.DataFrame) -> str:
    """The group nearest to an even chance, told as people."""
    row: dict[str, Any] = bins.sort((pl.col("predicted") - 0.4).abs(), "predicted").row(0, named=True)
    return (
        f"Of {words.counted(row['forecasts'], 'forecast')} that gave {round(row['predicted'] * 100)} chances in 100 of"
        f" {row['event']}, {round(row['observed'] * 100)} in 100 came true."
    )


def calibration_chart(bins: pl.DataFrame) -> alt.ConcatChart:
    """One panel an event: on the dashed line what was expected is what happened; bars are 95 % intervals.

    Args:
        bins: the frame of `calibration`.
    """
    panels: list[alt.LayerChart] = []
    for rows in bins.partition_by("event", maintain_order=True):
        top = min(1.0, max(0.1, *rows["predicted"], *rows["observed"], *rows["high"].drop_nulls()) * 1.04)
        scale, axis = alt.Scale(domain=[0, top], nice=False), alt.Axis(format=PERCENT, tickCount=4)
        x = alt.X("predicted:Q", title="expected", scale=scale, axis=axis)
        y = alt.Y("observed:Q", title="happened", scale=scale, axis=axis)
        even = pl.DataFrame({"predicted": [0.0, top], "observed": [0.0, top]})
        base = alt.Chart(rows.drop("event")).encode(x=x)
        layers = [
            alt.Chart(even).mark_line(strokeDash=[4, 4], color=QUIET, strokeWidth=1).encode(x=x, y=y),
            base.mark_rule(color=ACCENT, strokeWidth=1.5).encode(y=alt.Y("low:Q", title="happened"), y2="high:Q"),
            base.mark_line(color=ACCENT, strokeWidth=1.5, opacity=0.5).encode(y=y),
            base.mark_point(filled=True, color=ACCENT, size=70, opacity=1).encode(y=y),
        ]
        title = words.sentence(str(rows["event"][0]))
        panels.append(alt.LayerChart(layer=layers, title=title).properties(width=180, height=180))
    return alt.concat(*panels, columns=2, spacing=24)
