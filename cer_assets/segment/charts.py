"""Charts of segments, as altair charts; nothing is drawn to a file here."""

import altair as alt
import polars as pl

from cer_assets.segment.cluster import SMALLEST_SHARE, STABLE, SegmentModel
from cer_assets.segment.features import BETWEEN

WIDTH = 420
ROW = 34
LIMIT = 2.0
SHOWN = 12


def profile_heatmap(differences: pl.DataFrame, profiles: pl.DataFrame) -> alt.LayerChart:
    """What sets each segment apart: red above everyone's mean, blue below.

    Args:
        differences: segment, feature, difference, as `profiles.differences` gives them.
        profiles: segment, name, share, as `profiles.profile` gives them.
    """
    telling = (
        differences.group_by("feature")
        .agg(pl.col("difference").abs().max())
        .sort("difference", "feature", descending=[True, False])
        .head(SHOWN)
    )
    label = pl.format("{} ({}%)", "name", (pl.col("share") * 100).round(0).cast(pl.Int64))
    cells = (
        differences.join(telling.select("feature"), on="feature")
        .join(profiles.select("segment", label.alias("label")), on="segment")
        .sort("segment", "feature")
        .with_columns((pl.col("difference").abs() > LIMIT / 2).alias("dark"))
    )
    labels = cells["label"].unique(maintain_order=True).to_list()
    cells = cells.with_columns(_worded(pl.col("feature")))
    features = telling.select(_worded(pl.col("feature"))).to_series().to_list()
    grid = alt.Chart(cells, title="What sets each segment apart (standard deviations)").encode(
        x=alt.X("feature:N", title=None, sort=features, axis=alt.Axis(labelAngle=-40, labelLimit=200)),
        y=alt.Y("label:N", title=None, sort=labels, axis=alt.Axis(labelLimit=300)),
    )
    scale = alt.Scale(scheme="redblue", domain=[-LIMIT, LIMIT], reverse=True, clamp=True)
    colour = grid.mark_rect().encode(color=alt.Color("difference:Q", title=None, scale=scale))
    value = grid.mark_text(fontSize=10).encode(
        text=alt.Text("difference:Q", format="+.1f"),
        color=alt.condition("datum.dark", alt.value("white"), alt.value("black")),
    )
    return alt.LayerChart(layer=[colour, value]).properties(width=WIDTH, height=ROW * len(labels))


def _worded(feature: pl.Expr) -> pl.Expr:
    """A feature as people read it: a category needs no facet, nor a word an underscore."""
    return feature.str.strip_prefix(f"category{BETWEEN}").str.replace_all("_", " ", literal=True)


def choice_of_k(*models: SegmentModel) -> alt.HConcatChart:
    """How each number of segments did, by method, with the bounds that decided.

    Args:
        models: fitted on the same features.
    """
    trials = pl.DataFrame(
        [
            (model.method, trial.k, trial.stability, trial.smallest_share, trial.silhouette)
            for model in models
            for trial in model.trials
        ],
        schema=["method", "k", "stability", "smallest share", "silhouette"],
        orient="row",
    )
    bounds = {"stability": STABLE, "smallest share": SMALLEST_SHARE, "silhouette": None}
    panels = [_panel(trials, figure, bound) for figure, bound in bounds.items()]
    return alt.hconcat(*panels, title="How many segments")


def segment_sizes(profiles: pl.DataFrame) -> alt.HConcatChart:
    """How many customers each segment has, what they have spent on average, and how many have lapsed.

    Args:
        profiles: `segment.profiles` of one kind and day.
    """
    shown = profiles.sort("segment").select(
        "name", "customers", pl.col("mean_monetary").cast(pl.Float64), "lapsed_share"
    )
    y = alt.Y("name:N", title=None, sort=shown["name"].to_list(), axis=alt.Axis(labelLimit=300))
    panels = [
        alt.Chart(shown)
        .mark_bar()
        .encode(x=alt.X(f"{column}:Q", title=title, axis=alt.Axis(format=how, tickCount=4)), y=y)
        .properties(width=WIDTH // 2, height=ROW * max(len(shown), 1))
        for column, title, how in (
            ("customers", "customers", ",.0f"),
            ("mean_monetary", "mean spend", ",.0f"),
            ("lapsed_share", "not here for 28 days", ".0%"),
        )
    ]
    return alt.hconcat(*panels, title="The segments")


def _panel(trials: pl.DataFrame, figure: str, bound: float | None) -> alt.LayerChart:
    """One figure by number of segments."""
    base = alt.Chart(trials).encode(
        x=alt.X("k:O", title="segments", axis=alt.Axis(labelAngle=0)),
        y=alt.Y(f"{figure}:Q", title=figure),
        color=alt.Color("method:N", title=None),
    )
    layers = [base.mark_line(), base.mark_point(filled=True)]
    if bound is not None:
        limit = alt.Chart(pl.DataFrame({"bound": [bound]})).mark_rule(strokeDash=[4, 4])
        layers.append(limit.encode(y=alt.Y("bound:Q")))
    return alt.LayerChart(layer=layers).properties(width=WIDTH // 2, height=WIDTH // 2)
