"""Charts of customer value, each from one table, as altair charts; nothing is drawn to a file here.

Every chart holds sums over customers, never a customer's own row; but `clv_history` shows some under a letter, and
`customer_history` the one it is asked for.
"""

import altair as alt
import numpy as np
import polars as pl

from cer_assets.value.trajectory import examples, over_time

WIDTH = 420
HEIGHT = 300
BUCKET_ORDER = ["high", "mid", "low"]
PERCENT = ".0%"


def rfm_grid(rfm: pl.DataFrame) -> alt.LayerChart:
    """Customers by recency and frequency score, shaded by what they have spent on average.

    Args:
        rfm: `value.rfm` of one day.
    """
    cells = (
        rfm.group_by("r", "f")
        .agg(pl.len().alias("customers"), pl.col("monetary").cast(pl.Float64).mean())
        .with_columns((pl.col("monetary") > pl.col("monetary").max() / 2).alias("dark"))
        .sort("r", "f")
    )
    grid = alt.Chart(cells, title="Recency and frequency scores").encode(
        x=alt.X("r:O", title="recency score (5: bought most recently)", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("f:O", title="frequency score", sort="descending"),
    )
    colour = alt.Color("monetary:Q", title="mean spend so far", scale=alt.Scale(scheme="blues"))
    count = grid.mark_text().encode(
        text=alt.Text("customers:Q", format=","),
        color=alt.condition("datum.dark", alt.value("white"), alt.value("black")),
    )
    return alt.LayerChart(layer=[grid.mark_rect().encode(color=colour), count]).properties(width=WIDTH, height=HEIGHT)


def clv_concentration(clv: pl.DataFrame) -> alt.LayerChart:
    """Share of all expected spend that the best customers stand for, in steps of one per cent.

    Args:
        clv: `value.clv` of one day and horizon; rows without a figure are left out.
    """
    spend = np.sort(clv["expected_spend"].drop_nulls().to_numpy())[::-1]
    held = np.concatenate([[0.0], np.cumsum(spend)])
    best = np.arange(101) / 100
    at = np.interp(best * len(spend), np.arange(len(held)), held)
    share = at / held[-1] if held[-1] > 0 else best
    curve = pl.DataFrame({"customers": best, "spend": share, "equal": best})
    lines = alt.Chart(curve, title="How concentrated expected spend is").encode(
        x=alt.X("customers:Q", title="best customers", axis=alt.Axis(format=PERCENT))
    )
    spend_axis = alt.Y("spend:Q", title="share of expected spend", axis=alt.Axis(format=PERCENT))
    equal = lines.mark_line(strokeDash=[4, 4], color="gray").encode(y=alt.Y("equal:Q"))
    return alt.LayerChart(layer=[equal, lines.mark_line().encode(y=spend_axis)]).properties(width=WIDTH, height=HEIGHT)


def bucket_sizes(buckets: pl.DataFrame) -> alt.HConcatChart:
    """How many customers each bucket holds, their mean value, and the bucket's share of all value.

    Args:
        buckets: `value.buckets` of one day.
    """
    sizes = buckets.group_by("bucket").agg(
        pl.len().alias("customers"), pl.col("value").mean(), pl.col("value").sum().alias("total")
    )
    share = pl.col("total") / pl.col("total").sum()
    sizes = sizes.with_columns(share.alias("share")).sort("bucket")
    bars = alt.Chart(sizes).mark_bar()
    y = alt.Y("bucket:N", title=None, sort=BUCKET_ORDER)
    panels = [
        bars.encode(x=alt.X(f"{column}:Q", title=title, axis=axis), y=y).properties(
            width=WIDTH // 2, height=HEIGHT // 3
        )
        for column, title, axis in (
            ("customers", "customers", alt.Axis(tickCount=4)),
            ("value", "mean value", alt.Axis(tickCount=4)),
            ("share", "share of all value", alt.Axis(format=PERCENT, tickCount=4)),
        )
    ]
    return alt.hconcat(*panels, title="Value buckets")


def migration_grid(moves: pl.DataFrame) -> alt.HConcatChart:
    """Who went from which bucket to which, one panel a day before: customers, shaded by their share of the bucket.

    Args:
        moves: `value.migration` of one day.
    """
    title = "Where customers moved"
    if moves.is_empty():
        return alt.hconcat(alt.Chart(moves).mark_rect(), title=f"{title}: there is no day before yet")
    of_bucket = pl.col("customers") / pl.col("customers").sum().over("from_on", "from_bucket")
    cells = moves.with_columns(share=of_bucket).with_columns(dark=pl.col("share") > 0.5)
    panels: list[alt.LayerChart] = []
    for (since,), part in cells.sort("from_on", descending=True).group_by("from_on", maintain_order=True):
        grid = alt.Chart(part.drop("from_on", "as_of"), title=f"since {since}").encode(
            x=alt.X("to_bucket:N", title="now", sort=[*BUCKET_ORDER, "gone"], axis=alt.Axis(labelAngle=0)),
            y=alt.Y("from_bucket:N", title="then", sort=[*BUCKET_ORDER, "new"]),
        )
        scale = alt.Scale(scheme="blues", domain=[0, 1])
        colour = alt.Color("share:Q", title="share of the row", scale=scale, legend=alt.Legend(format=PERCENT))
        count = grid.mark_text().encode(
            text=alt.Text("customers:Q", format=","),
            color=alt.condition("datum.dark", alt.value("white"), alt.value("black")),
        )
        panels.append(
            alt.LayerChart(layer=[grid.mark_rect().encode(color=colour), count]).properties(
                width=WIDTH // 2, height=HEIGHT // 2
            )
        )
    return alt.hconcat(*panels, title=title)


def backtest_intervals(backtest: pl.DataFrame) -> alt.HConcatChart:
    """Every model and rule with its bootstrap interval, one panel a metric.

    Args:
        backtest: the frame of `evaluate.backtest`.
    """
    title = "Later spend against what was foretold"
    figures = backtest.filter(pl.col("model") != "all").drop_nulls()
    if figures.is_empty():
        return alt.hconcat(alt.Chart(figures).mark_point(), title=f"{title}: nothing to judge yet")
    order = figures["model"].unique(maintain_order=True).to_list()
    y = alt.Y("model:N", title=None, sort=order)
    panels: list[alt.LayerChart] = []
    for metric in figures["metric"].unique(maintain_order=True):
        label, scale = str(metric).replace("_", " "), alt.Scale(zero=False)
        base = alt.Chart(figures.filter(pl.col("metric") == metric)).encode(y=y)
        interval = base.mark_rule().encode(x=alt.X("low:Q", title=label, scale=scale), x2="high:Q")
        value = base.mark_point(filled=True, size=60).encode(x=alt.X("value:Q", scale=scale))
        panels.append(alt.LayerChart(layer=[interval, value]).properties(width=WIDTH // 3, height=HEIGHT // 3))
    return alt.hconcat(*panels, title=title)


def clv_history(clv: pl.DataFrame) -> alt.HConcatChart:
    """Expected spend day by day: its quantiles over customers, and some customers under a letter.

    Args:
        clv: `value.clv` of several days and one horizon; rows without a figure are left out.
    """
    over_customers = (
        alt.Chart(over_time(clv), title="All customers")
        .mark_line(point=True)
        .encode(
            x=alt.X("as_of:T", title=None),
            y=alt.Y("spend:Q", title="expected spend"),
            color=alt.Color("quantile:N", title="customers"),
        )
    )
    some = alt.Chart(examples(clv), title="Customers of each fifth").encode(x=alt.X("as_of:T", title=None))
    interval = some.mark_area(opacity=0.15).encode(y="low:Q", y2="high:Q", color="customer:N")
    line = some.mark_line(point=True).encode(
        y=alt.Y("expected_spend:Q", title="expected spend, 10th to 90th percentile"),
        color=alt.Color("customer:N", title="customer"),
    )
    panels = [over_customers, alt.LayerChart(layer=[interval, line])]
    return (
        alt.hconcat(*(panel.properties(width=WIDTH, height=HEIGHT) for panel in panels))
        .resolve_scale(color="independent")
        .properties(title="How expected spend went")
    )


def customer_history(clv: pl.DataFrame, customer_id: str) -> alt.LayerChart:
    """One customer's expected spend day by day with its interval, for who may see that customer.

    Args:
        clv: `value.clv` of several days and one horizon.
        customer_id: whose.
    """
    own = clv.filter(pl.col("customer_id") == customer_id).drop_nulls("expected_spend").sort("as_of")
    base = alt.Chart(own.select("as_of", "expected_spend", "low", "high"), title="Expected spend").encode(
        x=alt.X("as_of:T", title=None)
    )
    interval = base.mark_area(opacity=0.2).encode(y=alt.Y("low:Q", title="10th to 90th percentile"), y2="high:Q")
    line = base.mark_line(point=True).encode(y="expected_spend:Q")
    return alt.LayerChart(layer=[interval, line]).properties(width=WIDTH, height=HEIGHT)
