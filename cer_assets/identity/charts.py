"""Pictures of a model and of what it did; no figure is computed only here, and none shows a record's own values.

Each is at most `WIDTH` pixels of plot wide and says in its title what is seen, with an empty picture where there is
nothing to see.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl

from cer_assets.identity.explain import pair_scores
from cer_assets.identity.model import Model, match_weights

WIDTH = 420
HEIGHT = 200

FOR, AGAINST, QUIET = "#2a9d6f", "#c8553d", "#8d99ae"
"""Speaks for one person, speaks against it, says neither."""

MOST_RULES = 30
"""Blocking rules drawn, the best of them; the title says when there are more."""

EVENTS = ("birth", "merge", "split", "move", "end")
"""What may happen to an id, as in `ids.assign_ids`."""

_LOG = alt.Scale(type="symlog")
_THOUSANDS = "datum.value < 1e3 ? datum.value : datum.value < 1e6 ? datum.value / 1e3 + 'k' : datum.value / 1e6 + 'M'"
_COUNTS = alt.Axis(labelExpr=_THOUSANDS, values=[0, *(10**n for n in range(10))])


def weights_chart(model: Model) -> alt.Chart:
    """What each level of agreement adds to a pair's log-odds; green speaks for one person, red for two."""
    weights = match_weights(model).with_columns(what=pl.format("{}: {}", "comparison", "level")).with_row_index("place")
    return (
        alt.Chart(weights, title="What agreement is worth")
        .mark_bar()
        .encode(
            x=alt.X("weight:Q", title="log-odds that two records are one person"),
            y=alt.Y("what:N", title=None, sort=alt.EncodingSortField("place"), axis=alt.Axis(labelLimit=320)),
            color=alt.condition("datum.weight > 0", alt.value(FOR), alt.value(AGAINST)),
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
            x=alt.X("low:Q", title="score: probability that both are one person", bin=alt.Bin(binned=True)),
            x2="high:Q",
            y=alt.Y("pairs:Q", scale=_LOG, axis=_COUNTS, title="pairs (log scale)"),
        )
    )
    title = f"Scores of the compared pairs; cut at {model.cut:.2f}"
    return alt.LayerChart(layer=[bars, _cut(model.cut)], title=title).properties(width=WIDTH, height=HEIGHT)


def _cut(cut: float) -> alt.Chart:
    rule = alt.Chart(pl.DataFrame({"cut": [cut]})).mark_rule(color=AGAINST, strokeDash=[5, 3], strokeWidth=2)
    return rule.encode(x="cut:Q")


def cluster_sizes(sizes: pl.DataFrame) -> alt.Chart:
    """How many customers are made of how many records.

    Args:
        sizes: customer_id, records.
    """
    counts = sizes.group_by("records").len("customers").sort("records")
    # Sizes stand on a scale of their own once there are too many to write each below its bar.
    each = len(counts) <= 25
    x = alt.X("records:O", axis=alt.Axis(labelAngle=0)) if each else alt.X("records:Q", scale=alt.Scale(domainMin=0))
    return (
        alt.Chart(counts, title="Records of a customer")
        .mark_bar()
        .encode(
            x=x.title("records of a customer"),
            y=alt.Y("customers:Q", scale=_LOG, axis=_COUNTS, title="customers (log scale)"),
        )
        .properties(width=WIDTH, height=HEIGHT)
    )


def quality_intervals(facts: Mapping[str, Any]) -> alt.LayerChart:
    """Precision and recall as the audit labels show them, with their intervals; empty without an audit.

    Args:
        facts: of a model; `precision` and `recall`, each a mapping with value, low and high, where they are known.
    """
    rows = [
        (name, facts[name]["value"], facts[name]["low"], facts[name]["high"])
        for name in ("precision", "recall")
        if isinstance(facts.get(name), Mapping) and facts[name].get("value") is not None
    ]
    schema = {"figure": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    figures = pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        pl.col("low", "high").fill_null(pl.col("value")),
        text=pl.format("{} ({} to {})", *(pl.col(c).round(3) for c in ("value", "low", "high"))),
    )
    title = "Precision and recall of pairs, by the audit" if rows else "Precision and recall: no audit label yet"
    low = float(figures["low"].min() or 0) if rows else 0.0  # type: ignore[arg-type]
    scale = alt.Scale(domain=[max(0.0, low - 0.1), 1.0], nice=False)
    base = alt.Chart(figures).encode(y=alt.Y("figure:N", title=None))
    interval = base.mark_rule(strokeWidth=3, color=QUIET).encode(
        x=alt.X("low:Q", title="share of pairs", axis=alt.Axis(format=".0%", tickCount=6), scale=scale), x2="high:Q"
    )
    value = base.mark_point(filled=True, size=90, opacity=1).encode(x=alt.X("value:Q", scale=scale))
    text = base.mark_text(dy=-14, align="right").encode(x=alt.value(WIDTH - 4), text="text:N")
    return alt.LayerChart(layer=[interval, value, text], title=title).properties(width=WIDTH, height=110)


def blocking_rules(blocking: pl.DataFrame) -> alt.HConcatChart:
    """What each blocking rule costs and finds, the best first.

    Args:
        blocking: rule, pairs, matches, only, as in `Resolution.blocking`.
    """
    ranked = blocking.sort(["matches", "pairs", "rule"], descending=[True, False, False]).with_row_index("place")
    shown = ranked.head(MOST_RULES)
    title = f"Blocking: {len(blocking)} rules, what each costs and finds"
    if len(ranked) > len(shown):
        title += f" (the best {len(shown)})"
    y = alt.Y("rule:N", title=None, sort=alt.EncodingSortField("place"), axis=alt.Axis(labelLimit=260))
    panels: list[alt.LayerChart] = []
    for column, words, colour in (
        ("pairs", "pairs compared", QUIET),
        ("matches", "pairs linked", FOR),
        ("only", "by no other rule", "#2364aa"),
    ):
        bars = alt.Chart(shown).encode(y=y if not panels else y.axis(None))
        x = alt.X(f"{column}:Q", title=words, axis=alt.Axis(labelExpr=_THOUSANDS, tickCount=3))
        panels.append(
            alt.LayerChart(layer=[bars.mark_bar(color=colour).encode(x=x)]).properties(
                width=(WIDTH - 20) // 3, height=alt.Step(14)
            )
        )
    return alt.hconcat(*panels, title=title, spacing=10)


def pair_waterfall(explained: pl.DataFrame) -> alt.LayerChart:
    """How the contributions of one pair add up, from the prior to the score; its values appear masked or not at all.

    Args:
        explained: the rows of one pair from `explain_pairs`; comparisons that add nothing are left out.

    Raises:
        ValueError: the rows speak of more than one pair.
    """
    if len(explained.unique(["record_a", "record_b"])) > 1:
        raise ValueError("explained: holds more than one pair; a waterfall shows one")
    steps = (
        explained.sort("order")
        .with_columns(end=pl.col("contribution").cum_sum())
        .with_columns(start=pl.col("end") - pl.col("contribution"))
        .filter((pl.col("contribution") != 0) | (pl.col("order") == 0))
    )
    scores = pair_scores(explained)
    logit = scores["logit"].sum()
    total = pl.DataFrame({"what": ["together"], "start": [0.0], "end": [logit], "kind": ["sum"]})
    kind = pl.when(pl.col("order") == 0).then(pl.lit("sum")).when(pl.col("contribution") > 0).then(pl.lit("for"))
    rows = pl.concat(
        [
            steps.select(_step_words(explained).alias("what"), "start", "end", kind=kind.otherwise(pl.lit("against"))),
            total.clear() if explained.is_empty() else total,
        ]
    ).with_row_index("place")
    rows = rows.with_columns(step=pl.col("end") - pl.col("start"))
    colour = alt.Color(
        "kind:N", legend=None, scale=alt.Scale(domain=["for", "against", "sum"], range=[FOR, AGAINST, QUIET])
    )
    ends = [0.0, *rows["start"], *rows["end"]]
    scale = alt.Scale(domain=[min(ends), max(ends)])
    base = alt.Chart(rows).encode(
        y=alt.Y("what:N", title=None, sort=alt.EncodingSortField("place"), axis=alt.Axis(labelLimit=320))
    )
    bars = base.mark_bar().encode(
        x=alt.X("start:Q", title="log-odds that both are one person", scale=scale, axis=alt.Axis(tickCount=6)),
        x2="end:Q",
        color=colour,
    )
    text = base.mark_text(align="right").encode(x=alt.value(WIDTH + 30), text=alt.Text("step:Q", format="+.1f"))
    zero = alt.Chart(pl.DataFrame({"zero": [0.0]})).mark_rule(color="#444").encode(x="zero:Q")
    title = f"Why this pair scores {scores['score'].sum():.3f}" if len(scores) else "No pair to explain"
    return alt.LayerChart(layer=[bars, zero, text], title=title).properties(width=WIDTH, height=alt.Step(20))


def _step_words(explained: pl.DataFrame) -> pl.Expr:
    words = pl.format("{}: {}", "comparison", "level")
    if "value_a" not in explained.columns:
        return words
    both = pl.col("value_a").is_not_null() & pl.col("value_b").is_not_null()
    return pl.when(both).then(pl.format("{} ({} / {})", words, "value_a", "value_b")).otherwise(words)


def id_churn(history: pl.DataFrame, by: str = "run", order: Sequence[str] | None = None) -> alt.VConcatChart:
    """What happened to ids: births, merges, splits, moves and ends, for one run or for each of several.

    Args:
        history: event and the column `by`, as in `Resolution.history`; a run in which nothing happened has no row.
        by: what a bar stands for: a run, or a day where the ledger holds one.
        order: the runs from first to last, where their names do not sort so.
    """
    counts = history.group_by(pl.col(by).cast(pl.String).alias("when"), "event").len("customers")
    whens = sorted(counts["when"].unique()) if order is None else list(order)
    if len(whens) <= 1:
        return alt.vconcat(_churn_of_one_run(counts))
    every = pl.DataFrame({"when": whens}).join(pl.DataFrame({"event": EVENTS}), how="cross")
    counts = every.join(counts, on=["when", "event"], how="left").with_columns(pl.col("customers").fill_null(0))
    panels = [_churn_of_event(counts, event, by if event == EVENTS[-1] else None, whens) for event in EVENTS]
    return alt.vconcat(*panels, title=f"What happened to how many customer ids, by {by}", spacing=6)


def _churn_of_one_run(counts: pl.DataFrame) -> alt.LayerChart:
    every = pl.DataFrame({"event": EVENTS}).join(counts, on="event", how="left", maintain_order="left")
    every = every.with_columns(pl.col("customers").fill_null(0))
    base = alt.Chart(every).encode(
        x=alt.X("customers:Q", title="customers (log scale)", scale=_LOG, axis=_COUNTS),
        y=alt.Y("event:N", title=None, sort=list(EVENTS)),
    )
    text = base.mark_text(align="left", dx=4).encode(text=alt.Text("customers:Q", format=","))
    bars = base.mark_bar(color=QUIET)
    return alt.LayerChart(layer=[bars, text], title="What happened to how many customer ids in this run").properties(
        width=WIDTH, height=alt.Step(24)
    )


def _churn_of_event(counts: pl.DataFrame, event: str, by: str | None, whens: Sequence[str]) -> alt.Chart:
    """One row of bars; only the lowest one, which is told what a bar stands for, writes it below."""
    every_nth = -(-len(whens) // 10)
    labels = alt.Axis(labelAngle=-40, labelLimit=80, values=list(whens)[::every_nth])
    counts_axis = alt.Axis(
        tickCount=2, labelExpr=_THOUSANDS, titleAngle=0, titleAlign="right", titleX=-40, titleY=24, minExtent=80
    )
    return (
        alt.Chart(counts.filter(pl.col("event") == event))
        .mark_bar(color=QUIET)
        .encode(
            x=alt.X("when:O", title=by, sort=list(whens), axis=labels if by else None),
            y=alt.Y("customers:Q", title=event, axis=counts_axis),
        )
        .properties(width=WIDTH, height=48)
    )
