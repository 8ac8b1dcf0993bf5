"""Pictures of a model and of what it did: weights, scores, cluster sizes; no figure is computed only here."""

import altair as alt
import polars as pl

from cer_assets.identity.model import Model, match_weights

WIDTH = 420


def weights_chart(model: Model) -> alt.Chart:
    """What each level of agreement adds to a pair's log-odds; green speaks for one person, red for two."""
    weights = match_weights(model).with_columns(what=pl.format("{}: {}", "comparison", "level")).with_row_index("place")
    return (
        alt.Chart(weights)
        .mark_bar()
        .encode(
            x=alt.X("weight:Q", title="log-odds that two records are one person"),
            y=alt.Y("what:N", title=None, sort=alt.EncodingSortField("place"), axis=alt.Axis(labelLimit=320)),
            color=alt.condition("datum.weight > 0", alt.value("#2a9d6f"), alt.value("#c8553d")),
        )
        .properties(width=WIDTH, height=alt.Step(13))
    )


def score_histogram(scores: pl.DataFrame, model: Model) -> alt.LayerChart:
    """How many pairs got which score, and the cut.

    Args:
        scores: low, high, pairs, as in `Resolution.scores`.
        model: whose cut is drawn.
    """
    bars = (
        alt.Chart(scores)
        .mark_bar()
        .encode(
            x=alt.X("low:Q", title="score", bin=alt.Bin(binned=True)),
            x2="high:Q",
            y=alt.Y("pairs:Q", scale=alt.Scale(type="symlog"), title="pairs (log scale)"),
        )
    )
    cut = alt.Chart(pl.DataFrame({"cut": [model.cut]})).mark_rule(color="#c8553d", strokeDash=[5, 3]).encode(x="cut:Q")
    return alt.LayerChart(layer=[bars, cut]).properties(width=WIDTH, height=200)


def cluster_sizes(sizes: pl.DataFrame) -> alt.Chart:
    """How many customers are made of how many records.

    Args:
        sizes: customer_id, records.
    """
    counts = sizes.group_by("records").len("customers").sort("records")
    return (
        alt.Chart(counts)
        .mark_bar()
        .encode(
            x=alt.X("records:O", title="records of a customer"),
            y=alt.Y("customers:Q", scale=alt.Scale(type="symlog"), title="customers (log scale)"),
        )
        .properties(width=WIDTH, height=200)
    )
