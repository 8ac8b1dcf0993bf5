"""Charts of how far a probability can be trusted, as altair charts; nothing is drawn to a file here.

Every chart holds sums over customers, never a customer's own row.
"""

import altair as alt
import numpy as np
import polars as pl

PERCENT = ".0%"


def calibration(held_out: pl.DataFrame, model: str = "churn", bins: int = 10) -> pl.DataFrame:
    """Predicted against observed churn, in bins of equally many customers.

    Args:
        held_out: rows of `churn.hold_out`.
        model: the column of probabilities.
        bins: how many.

    Returns:
        bin, customers, predicted (mean probability), observed (share who churned), low, high: 95 % interval of a share
        (Wilson 1927).
    """
    ranked = held_out.sort(model, "customer_id").with_row_index("place")
    bin_ = (pl.col("place") * bins // max(held_out.height, 1)).cast(pl.Int64)
    n, p, z = pl.col("customers"), pl.col("observed"), 1.96
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    spread = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)).sqrt()
    return (
        ranked.group_by(bin_.alias("bin"))
        .agg(customers=pl.len(), predicted=pl.col(model).mean(), observed=pl.col("churned").mean())
        .with_columns(low=(centre - spread).clip(0, 1), high=(centre + spread).clip(0, 1))
        .sort("bin")
    )


def calibration_chart(held_out: pl.DataFrame, model: str = "churn") -> alt.LayerChart:
    """Of customers given a probability, how many churned; on the diagonal the two agree.

    Args:
        held_out: rows of `churn.hold_out`.
        model: the column of probabilities.
    """
    bins = calibration(held_out, model)
    top = float(np.ceil(max([0.1, *bins["predicted"].to_list(), *bins["high"].to_list()]) * 10) / 10)
    scale = alt.Scale(domain=[0, top])
    share = alt.Axis(format=PERCENT)
    x = alt.X("predicted:Q", title="predicted", scale=scale, axis=share)
    base = alt.Chart(bins, title="Calibration on held-out weeks (95 % intervals)").encode(x=x)
    diagonal = alt.Chart(pl.DataFrame({"predicted": [0.0, top], "observed": [0.0, top]})).encode(x=x, y="observed:Q")
    layers = [
        diagonal.mark_line(strokeDash=[4, 4], color="gray"),
        base.mark_rule().encode(y=alt.Y("low:Q", title="observed", scale=scale, axis=share), y2="high:Q"),
        base.mark_point(filled=True, size=60).encode(y=alt.Y("observed:Q")),
    ]
    return alt.LayerChart(layer=layers).properties(width=320, height=320)


def backtest_chart(backtest: pl.DataFrame) -> alt.HConcatChart:
    """Every model and rule with its interval, a panel per metric.

    Args:
        backtest: rows of `churn.backtest`.
    """
    panels: list[alt.LayerChart] = []
    y = alt.Y("model:N", title=None, sort=backtest["model"].unique(maintain_order=True).to_list())
    for metric in backtest["metric"].unique(maintain_order=True):
        title = str(metric).replace("_", " ") + (" (less is better)" if metric == "brier" else "")
        base = alt.Chart(backtest.filter(pl.col("metric") == metric)).encode(y=y)
        interval = base.mark_rule().encode(x=alt.X("low:Q", title=title, scale=alt.Scale(zero=False)), x2="high:Q")
        value = base.mark_point(filled=True, size=60).encode(x="value:Q")
        panels.append(alt.LayerChart(layer=[interval, value]).properties(width=220, height=120))
    return alt.hconcat(*panels, title="Held-out weeks, 95 % intervals")
