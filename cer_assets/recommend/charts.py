"""Charts of how well recommenders would have done, as altair charts; nothing is drawn to a file here."""

import altair as alt
import polars as pl

from cer_assets.recommend.evaluate import PROTOCOLS


def evaluation_chart(evaluation: pl.DataFrame, metric: str = "ndcg@10") -> alt.HConcatChart:
    """One metric of every model with its interval, all customers, a panel per protocol.

    Args:
        evaluation: rows of `recommend.evaluation`, of one as_of.
        metric: which metric.
    """
    figures = evaluation.filter(pl.col("bucket") == "all", pl.col("metric") == metric)
    order = figures.filter(pl.col("protocol") == "A").sort("value", "model", descending=[True, False])["model"]
    y = alt.Y("model:N", title=None, sort=order.to_list())
    panels: list[alt.LayerChart] = []
    for protocol, meaning in PROTOCOLS.items():
        base = alt.Chart(figures.filter(pl.col("protocol") == protocol), title=alt.Title(f"{protocol}: {meaning}"))
        panels.append(_points(base.encode(y=y), metric))
    return alt.hconcat(*panels)


def bucket_chart(evaluation: pl.DataFrame, protocol: str = "C", metric: str = "ndcg@10") -> alt.HConcatChart:
    """One metric of every model with its interval, a panel per value bucket: does a bucket's own ALS pay?

    Args:
        evaluation: rows of `recommend.evaluation`, of one as_of.
        protocol: which protocol.
        metric: which metric.
    """
    figures = evaluation.filter(pl.col("protocol") == protocol, pl.col("metric") == metric).sort("bucket", "model")
    y = alt.Y("model:N", title=None)
    panels: list[alt.LayerChart] = []
    for bucket in figures["bucket"].unique(maintain_order=True):
        base = alt.Chart(figures.filter(pl.col("bucket") == bucket), title=alt.Title(str(bucket)))
        panels.append(_points(base.encode(y=y), metric))
    return alt.hconcat(*panels, title=f"Protocol {protocol}: {PROTOCOLS[protocol]}")


def _points(base: alt.Chart, metric: str) -> alt.LayerChart:
    interval = base.mark_rule().encode(x=alt.X("low:Q", title=metric), x2="high:Q")
    value = base.mark_point(filled=True, size=60).encode(x="value:Q", color=alt.Color("model:N", legend=None))
    return alt.LayerChart(layer=[interval, value]).properties(width=240, height=140)
