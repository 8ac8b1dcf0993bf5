"""Charts and the table of how well recommenders would have done, as altair charts; nothing is drawn to a file here."""

from collections.abc import Mapping, Sequence

import altair as alt
import polars as pl

from cer_assets.recommend.evaluate import PROTOCOLS
from cer_assets.recommend.promotion import BASELINES

ROLES = {"baseline": "#999999", "family": "#4c78a8", "over all families": "#e45756"}
"""What a model is, and its colour."""
OVER_ALL = ("hybrid", "weighed", "shown", "champion")
"""Models that rank over the families."""


def evaluation_table(
    evaluation: pl.DataFrame, metrics: Sequence[str] = ("ndcg@10", "recall@10"), bucket: str = "all"
) -> pl.DataFrame:
    """A row a model, a column a protocol and metric, as `value (low to high)`; the best under protocol A first.

    Args:
        evaluation: rows of `recommend.evaluation`, of one as_of.
        metrics: which, in that order.
        bucket: whose.
    """
    figures = _pooled(evaluation).filter(pl.col("bucket") == bucket, pl.col("metric").is_in(metrics))
    order = figures.filter(pl.col("protocol") == "A", pl.col("metric") == metrics[0])
    models = order.sort("value", "model", descending=[True, False]).select("model")
    value, low, high = (pl.col(name).round(4).cast(pl.String) for name in ("value", "low", "high"))
    said = pl.coalesce(pl.format("{} ({} to {})", value, low, high), value)
    columns = [
        figures.filter(pl.col("protocol") == protocol, pl.col("metric") == metric).select(
            "model", said.alias(f"{protocol} {metric}")
        )
        for protocol in PROTOCOLS
        for metric in metrics
    ]
    for column in columns:
        models = models.join(column, on="model", how="left", maintain_order="left")
    return models


def evaluation_chart(evaluation: pl.DataFrame, metric: str = "ndcg@10") -> alt.HConcatChart:
    """One metric of every model with its interval, all customers, a panel per protocol; baselines are grey.

    Args:
        evaluation: rows of `recommend.evaluation`, of one as_of.
        metric: which metric.
    """
    figures = _pooled(evaluation).filter(pl.col("bucket") == "all", pl.col("metric") == metric)
    order = figures.filter(pl.col("protocol") == "A").sort("value", "model", descending=[True, False])["model"]
    y = alt.Y("model:N", title=None, sort=order.to_list())
    panels: list[alt.LayerChart] = []
    for protocol, meaning in PROTOCOLS.items():
        of = figures.filter(pl.col("protocol") == protocol)
        panels.append(_points(alt.Chart(of, title=alt.Title(f"{protocol}: {meaning}")).encode(y=y), metric, of.height))
    return alt.hconcat(*panels)


def bucket_chart(evaluation: pl.DataFrame, protocol: str = "C", metric: str = "ndcg@10") -> alt.HConcatChart:
    """One metric of every model with its interval, a panel per value bucket: does a bucket's own ALS pay?

    Args:
        evaluation: rows of `recommend.evaluation`, of one as_of.
        protocol: which protocol.
        metric: which metric.
    """
    figures = _pooled(evaluation).filter(pl.col("protocol") == protocol, pl.col("metric") == metric)
    y = alt.Y("model:N", title=None)
    panels: list[alt.LayerChart] = []
    for bucket in figures["bucket"].unique().sort():
        of = figures.filter(pl.col("bucket") == bucket).sort("model")
        panels.append(_points(alt.Chart(of, title=alt.Title(str(bucket))).encode(y=y), metric, of.height))
    return alt.hconcat(*panels, title=f"Protocol {protocol}: {PROTOCOLS[protocol]}")


def coverage_chart(evaluation: pl.DataFrame, protocol: str = "A", metric: str = "ndcg@10") -> alt.LayerChart:
    """How much of the catalogue each model's lists show against how good they are, all customers.

    Args:
        evaluation: rows of `recommend.evaluation`, of one as_of.
        protocol: which protocol.
        metric: which metric.
    """
    figures = _pooled(evaluation).filter(pl.col("bucket") == "all", pl.col("protocol") == protocol)
    covered = figures.filter(pl.col("metric").str.starts_with("coverage@")).select("model", coverage="value")
    points = figures.filter(pl.col("metric") == metric).join(covered, on="model").sort("model")
    base = alt.Chart(points, title=alt.Title(f"{protocol}: {PROTOCOLS[protocol]}")).encode(
        x=alt.X("coverage:Q", title="share of the candidates on a list", axis=alt.Axis(format=".0%")),
        y=alt.Y("value:Q", title=metric, scale=alt.Scale(zero=False)),
    )
    point = base.mark_point(filled=True, size=60).encode(color=_color())
    return alt.LayerChart(layer=[point, base.mark_text(align="left", dx=6).encode(text="model:N")]).properties(
        width=420, height=300
    )


def loss_chart(losses: Mapping[str, Sequence[float]]) -> alt.Chart:
    """The loss of ALS after each pass over customers and items, as a share of that after the first.

    Args:
        losses: loss after each pass, by model.
    """
    rows = [
        {"model": name, "pass": number, "loss": loss / of[0] if of[0] else loss}
        for name, of in sorted(losses.items())
        for number, loss in enumerate(of, 1)
    ]
    figures = pl.DataFrame(rows, schema={"model": pl.String, "pass": pl.Int64, "loss": pl.Float64})
    return (
        alt.Chart(figures)
        .mark_line(point=True)
        .encode(
            x=alt.X("pass:Q", title="pass", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("loss:Q", title="loss, first pass = 1", scale=alt.Scale(zero=False)),
            color=alt.Color("model:N", title=None),
        )
        .properties(width=420, height=240)
    )


def champion_chart(evaluation: pl.DataFrame, champion: str = "champion", metric: str = "ndcg@10") -> alt.LayerChart:
    """One metric of the champion with its interval, and of the baselines, day by day; all customers, protocol A.

    Args:
        evaluation: rows of `recommend.evaluation`, of many as_of.
        champion: the name it was judged under.
        metric: which metric.
    """
    figures = (
        _pooled(evaluation)
        .filter(pl.col("bucket") == "all", pl.col("protocol") == "A", pl.col("metric") == metric)
        .filter(pl.col("model").is_in([champion, *BASELINES]))
        .sort("model", "as_of")
    )
    x, color = alt.X("as_of:T", title=None), alt.Color("model:N", title=None)
    base = alt.Chart(figures).encode(x=x, color=color)
    line = base.mark_line(point=True).encode(y=alt.Y("value:Q", title=metric, scale=alt.Scale(zero=False)))
    interval = alt.Chart(figures.filter(pl.col("model") == champion)).encode(x=x, color=color)
    band = interval.mark_errorbar().encode(y=alt.Y("low:Q", title=metric), y2="high:Q")
    return alt.LayerChart(layer=[band, line]).properties(width=480, height=260)


def _pooled(evaluation: pl.DataFrame) -> pl.DataFrame:
    """Of all origins together, each model with what it is."""
    pooled = evaluation.filter(pl.col("cut").is_null())
    role = (
        pl.when(pl.col("model").is_in(BASELINES))
        .then(pl.lit("baseline"))
        .when(pl.col("model").is_in(OVER_ALL))
        .then(pl.lit("over all families"))
        .otherwise(pl.lit("family"))
    )
    return pooled.with_columns(role=role)


def _color() -> alt.Color:
    return alt.Color("role:N", title=None, scale=alt.Scale(domain=list(ROLES), range=list(ROLES.values())))


def _points(base: alt.Chart, metric: str, models: int) -> alt.LayerChart:
    interval = base.mark_rule().encode(x=alt.X("low:Q", title=metric, scale=alt.Scale(zero=False)), x2="high:Q")
    value = base.mark_point(filled=True, size=60).encode(x="value:Q", color=_color())
    return alt.LayerChart(layer=[interval, value]).properties(width=240, height=max(18 * models, 60))
