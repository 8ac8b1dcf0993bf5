"""Charts of how far a probability can be trusted, as altair charts; nothing is drawn to a file here.

Every chart holds sums over customers, never a customer's own row.
"""

import altair as alt
import numpy as np
import polars as pl

PERCENT = ".0%"


def calibration_chart(bins: pl.DataFrame) -> alt.LayerChart:
    """Of rows given a probability, in how many it happened; on the diagonal the two agree.

    Args:
        bins: rows of `predict.calibration` of one model and horizon.
    """
    top = float(np.ceil(max([0.1, *bins["predicted"].to_list(), *bins["high"].to_list()]) * 10) / 10)
    scale = alt.Scale(domain=[0, top])
    share = alt.Axis(format=PERCENT)
    x = alt.X("predicted:Q", title="predicted", scale=scale, axis=share)
    title = f"{_called(bins)}: calibration on held-out time (95 % intervals)"
    base = alt.Chart(bins.select("predicted", "observed", "low", "high"), title=title).encode(x=x)
    diagonal = alt.Chart(pl.DataFrame({"predicted": [0.0, top], "observed": [0.0, top]})).encode(x=x, y="observed:Q")
    layers = [
        diagonal.mark_line(strokeDash=[4, 4], color="gray"),
        base.mark_rule().encode(y=alt.Y("low:Q", title="observed", scale=scale, axis=share), y2="high:Q"),
        base.mark_point(filled=True, size=60).encode(y=alt.Y("observed:Q")),
    ]
    return alt.LayerChart(layer=layers).properties(width=320, height=320)


def evaluation_chart(figures: pl.DataFrame) -> alt.HConcatChart:
    """The model and every baseline over all judged cuts, with intervals; a panel per metric.

    Args:
        figures: rows of `predict.evaluation` of one model and horizon.
    """
    together = figures.filter(pl.col("cut").is_null()).select("metric", "of", "value", "low", "high")
    panels: list[alt.LayerChart] = []
    y = alt.Y("of:N", title=None, sort=together["of"].unique(maintain_order=True).to_list())
    for metric in together["metric"].unique(maintain_order=True):
        title = str(metric).replace("_", " ") + (" (less is better)" if metric == "brier" else "")
        base = alt.Chart(together.filter(pl.col("metric") == metric)).encode(y=y)
        interval = base.mark_rule().encode(x=alt.X("low:Q", title=title, scale=alt.Scale(zero=False)), x2="high:Q")
        value = base.mark_point(filled=True, size=60).encode(x="value:Q")
        panels.append(alt.LayerChart(layer=[interval, value]).properties(width=180, height=120))
    return alt.hconcat(*panels, title=f"{_called(figures)}: held-out time, 95 % intervals")


def drift_chart(drift: pl.DataFrame, most: int = 12) -> alt.LayerChart:
    """The features that moved most since training, with the index from which one should act.

    Args:
        drift: rows of `predict.drift` of one model and horizon.
        most: how many are shown.
    """
    moved = drift.sort("psi", "feature", descending=[True, False]).head(most).select("feature", "psi")
    order = moved["feature"].to_list()
    bars = (
        alt.Chart(moved).mark_bar().encode(x=alt.X("psi:Q", title="PSI"), y=alt.Y("feature:N", sort=order, title=None))
    )
    line = alt.Chart(pl.DataFrame({"psi": [0.25]})).mark_rule(strokeDash=[4, 4], color="firebrick").encode(x="psi:Q")
    return alt.LayerChart(layer=[bars, line], title=f"{_called(drift)}: drift since training").properties(width=320)


def _called(rows: pl.DataFrame) -> str:
    """The model and its horizon, as a title says them."""
    model, days = rows.select("model", "horizon_days").row(0) if rows.height else ("nothing judged", None)
    return str(model) if days is None else f"{model}, {days} days"
