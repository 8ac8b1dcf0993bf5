"""From answers about pairs to the model that links records, and back to the questions worth asking next."""

import dagster as dg
import polars as pl
from pydantic import Field

from cer_assets.defs.io import Challenger, model, picture, python_table, read, table
from cer_assets.defs.resources import Engine, Home
from cer_assets.feeds.contracts import PAIR_ANSWERS, PAIR_DRAWN
from cer_assets.identity import CUSTOMER_FIELDS, Model, resolve_all, rule_labels, train, truth_labeller
from cer_assets.identity.advice import label_quality, stop_advice
from cer_assets.identity.charts import quality_intervals, weights_chart
from cer_assets.identity.guards import guard
from cer_assets.identity.labels import constraints, gathered
from cer_assets.identity.queue import questions

MODEL = dg.AssetKey(["identity", "model"])
LABELS = "identity.labels"
"""The table of answers about pairs."""
LABELS_READ = "cer/labels_read"
"""Materialization metadata of the model: the version of identity.labels that it learned from."""
WENT_LIVE = "went live"
"""Materialization metadata of the model: whether it became the champion."""

STAND_IN = "stand-in: sample truth"
"""Who answered, where the sample's truth answered in place of a person."""


class Training(dg.Config):
    """What training leaves to choose."""

    seed: int = Field(default=0, description="Of every random choice.")


class Asking(Training):
    """How many questions may be asked."""

    budget: int = Field(default=100, ge=0, description="Most answers about pairs that training may use.")


class Queue(dg.Config):
    """How many questions are held ready."""

    seed: int = Field(default=0, description="Of the audit and of the blind repeats.")
    size: int = Field(default=50, ge=0, description="Most questions in the queue.")


_LABELS = {
    "record_a": "The smaller record id of the pair.",
    "record_b": "The larger one.",
    "answer": f"One of {', '.join(PAIR_ANSWERS)}.",
    "by": "Who answered, or which rule.",
    "at": "When, or for a stand-in the newest change among the records.",
    "drawn": f"How the pair was chosen: {', '.join(PAIR_DRAWN)}; null where nobody said.",
    "weight": "Of an audit answer, how many pairs of the pool it stands for.",
}


@python_table(
    "identity/labels",
    columns=_LABELS,
    origins={column: [("raw/pair_labels", column)] for column in _LABELS},
    ins={"records": read("identity/records"), "pair_labels": read("raw/pair_labels")},
    kinds=("dedupe",),
    personal=True,
    stands_on=["raw/pair_labels"],
)
def labels(
    config: Asking, home: Home, engine: Engine, records: pl.DataFrame, pair_labels: pl.DataFrame
) -> dg.Output[pl.DataFrame]:
    """Answers about pairs of records, by record ids, never by values.

    Every answer is an event; what they come to is read from them anew each time. Those of people are what
    `raw/pair_labels` holds. Where the sample's truth lies in the home, it answers questions as a stand-in, and `by`
    says so. Where nobody ever answered, cautious rules do.
    """
    held = home.read("identity.labels") if home.lake.exists("identity.labels") else None
    known = gathered(pair_labels, held, STAND_IN)
    at = pl.lit(records["updated_at"].max(), pl.Datetime("us"))
    if home.truth.exists():
        labeller, questions_left = truth_labeller(pl.read_parquet(home.truth)), config.budget - known.height
        if questions_left > 0:
            with engine.over() as con:
                learned = train(
                    records, CUSTOMER_FIELDS, labeller, questions_left, config.seed, known, connection=con, by=STAND_IN
                )
            known = pl.concat([known, learned.labels.with_columns(at=at).select(known.columns)])
    elif known.is_empty():
        rules = rule_labels(records, CUSTOMER_FIELDS, config.seed)
        known = pl.concat([known, rules.with_columns(at=at)], how="diagonal")
    # Who a person is that answered is personal; whether it was a person is not.
    kind = pl.when(pl.col("by").str.starts_with("rule")).then(pl.lit("rule")).when(pl.col("by") == STAND_IN)
    who = kind.then(pl.lit(STAND_IN)).otherwise(pl.lit("people")).alias("answered by")
    counts = known.group_by(who, "answer").len("answers").sort("answered by", "answer")
    return dg.Output(known.sort("at", *_LABELS), metadata={"answers": table(counts)})


@python_table(
    "identity/constraints",
    columns={
        "record_a": "The smaller record id of the pair.",
        "record_b": "The larger one.",
        "answer": "must_link: always one person; cannot_link: never.",
    },
    origins={column: [("identity/labels", column)] for column in ("record_a", "record_b", "answer")},
    ins={"labels": read("identity/labels")},
)
def identity_constraints(labels: pl.DataFrame) -> dg.Output[pl.DataFrame]:
    """What people said must hold whatever a model thinks: it binds the very next resolution, and every later one."""
    bound = constraints(labels)
    return dg.Output(bound, metadata={"bound pairs": table(bound.group_by("answer").len("pairs").sort("answer"))})


@model(
    "identity/model",
    ins={
        "records": read("identity/records"),
        "labels": read("identity/labels"),
        "constraints": read("identity/constraints"),
    },
    kinds=["dedupe", "duckdb", "scikitlearn"],
    stands_on=[],
)
def identity_model(
    config: Training,
    home: Home,
    engine: Engine,
    records: pl.DataFrame,
    labels: pl.DataFrame,
    constraints: pl.DataFrame,
) -> dg.Output[Challenger]:
    """Blocking rules, weights of agreement and the cut, learned from the labels.

    Trained anew when enough answers came in (see the `retrain` sensor), not with every one. While a model is live, a
    new one is a challenger: all records are resolved with it on trial, and it goes live only if every guard passes.
    """
    live = _live_model(home)
    with engine.over() as con:
        learned = train(records, CUSTOMER_FIELDS, None, 0, config.seed, labels, connection=con)
        metadata = {
            "match weights": picture(weights_chart(learned)),
            "precision and recall": picture(quality_intervals(learned.facts)),
            "labels": labels.height,
            LABELS_READ: home.lake.version(LABELS),
        }
        if live is None or not home.lake.exists("identity.links"):
            why = "it is the first, or the one before can no longer be read"
            return dg.Output(Challenger(learned, passed=True), metadata=metadata | {WENT_LIVE: True, "why": why})
        known = home.read("identity.links")
        trial = resolve_all(records, learned, known, con, constraints)
        served = home.served("identity.links")
        figures = guard(records, trial.links, trial.edges, learned, known if served is None else served, connection=con)
    passed = bool(figures.figures["passed"].all())
    why = "every guard passes" if passed else "a guard fails: the model before stays live"
    metadata |= {"guards": table(figures.figures), WENT_LIVE: passed, "why": why}
    return dg.Output(Challenger(learned, passed), metadata=metadata)


def _live_model(home: Home) -> Model | None:
    """The champion; None where there is none that this version can read."""
    if home.models.champion("identity_model") is None:
        return None
    try:
        return Model.from_files(home.models.load("identity_model"))
    except ValueError:
        return None


def learned_from(instance: dg.DagsterInstance, home: Home, *, live: bool) -> pl.DataFrame | None:
    """The labels that a model learned from: the one that went live last, or the last one trained; None without any.

    Where that version of them was vacuumed since, as an erasure does, the oldest that is still held.
    """
    version = _labels_version(instance, live=live)
    return None if version is None else home.lake.scan(LABELS, home.lake.nearest(LABELS, version)).collect()


def labels_read(instance: dg.DagsterInstance) -> set[int]:
    """The versions of `identity.labels` that are still asked for: those that the models in question learned from."""
    versions = (_labels_version(instance, live=live) for live in (True, False))
    return {version for version in versions if version is not None}


def _labels_version(instance: dg.DagsterInstance, *, live: bool) -> int | None:
    trained = instance.fetch_materializations(dg.AssetRecordsFilter(asset_key=MODEL), limit=50).records
    for record in trained:
        facts = record.asset_materialization.metadata if record.asset_materialization else {}
        version = facts.get(LABELS_READ)
        if isinstance(version, dg.IntMetadataValue) and (not live or facts[WENT_LIVE].value):
            return version.value
    return None


_QUESTIONS = {
    "rank": "The order to ask in, from 1.",
    "record_a": "The smaller record id of the pair.",
    "record_b": "The larger one.",
    "score": "Probability that both are one person; null where a repeated pair is no scored one.",
    "drawn": "How the pair was chosen: uncertain, audit (at random, with a known chance) or repeat (answered before).",
    "why": "What hangs on the answer, in words.",
    "information": "Records under a wrong customer that the answer is expected to set right.",
    "weight": "Of an audited pair, how many scored pairs it stands for.",
}


@python_table(
    "identity/questions",
    columns=_QUESTIONS,
    origins={
        "record_a": [("identity/edges", "record_a")],
        "record_b": [("identity/edges", "record_b")],
        "score": [("identity/edges", "score")],
        "information": [("identity/edges", "score"), ("identity/links", "customer_id")],
    },
    ins={
        "edges": read("identity/edges"),
        "links": read("identity/links"),
        "labels": read("identity/labels"),
        "learned": read("identity/model"),
    },
)
def identity_questions(
    context: dg.AssetExecutionContext,
    config: Queue,
    home: Home,
    edges: pl.DataFrame,
    links: pl.DataFrame,
    labels: pl.DataFrame,
    learned: dict[str, bytes],
) -> dg.Output[pl.DataFrame]:
    """The pairs worth a person's answer, the most informative first; answer them with `cer_assets.identity.label`."""
    asked = Model.from_files(learned)
    queue = questions(edges, links, labels, asked, config.size, config.seed)
    advice = stop_advice(edges, links, labels, asked, learned_from(context.instance, home, live=True))
    return dg.Output(
        queue,
        metadata={
            "advice": advice.sentence,
            "stop": advice.stop,
            "label quality": table(label_quality(labels)),
            "by kind": table(queue.group_by("drawn").len("questions").sort("drawn")),
        },
    )
