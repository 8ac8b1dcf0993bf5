"""From customer records to people; the golden record is `sql/identity/customers.sql`."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl
from pydantic import Field

from cer_assets.defs.io import model, picture, python_table, read, sql_assets_of, table, table_spec
from cer_assets.defs.resources import Engine, Home, country, feeds
from cer_assets.feeds import key_columns, newest
from cer_assets.feeds.contracts import CONTRACTS
from cer_assets.identity import (
    CUSTOMER_FIELDS,
    Model,
    evaluate_links,
    resolve_all,
    rule_labels,
    train,
    truth_labeller,
)
from cer_assets.identity.charts import cluster_sizes, score_histogram, weights_chart
from cer_assets.identity.labels import constraints
from cer_assets.identity.standardise import standardise

CONTRACT = "customer_record"
RECORD_FEEDS = [name for name, feed in feeds().items() if feed.contract == CONTRACT]
STAND_IN = "stand-in: sample truth"
"""Who answered, where the sample's truth answered in place of a person."""

_FIELDS = {
    "given_name": "First name: lower case, no accents.",
    "surname": "Family name: lower case, no accents.",
    "birth_date": "Date of birth; implausible defaults are null.",
    "email": "E-mail address in its canonical form; junk is null.",
    "phone": "Telephone number as E.164; junk is null.",
    "street": "Street and number, abbreviations settled.",
    "city": "City, lower case, no accents.",
    "region": "State or region.",
    "postcode": "Postcode.",
    "country": "Country.",
}
_RECORD = {
    "record_id": "`source:source_id`, the record's key.",
    "source": "The system that holds the record.",
    "source_id": "Its key there.",
    "updated_at": "When it was last changed there.",
    "changed_on": "Day of the delivery since which it stands as it does.",
}


def _from_every_feed(column: str) -> list[tuple[str, str]]:
    return [(f"raw/{name}", column) for name in RECORD_FEEDS]


@python_table(
    "identity/records",
    columns=_RECORD | _FIELDS,
    origins={
        "record_id": [*_from_every_feed("source"), *_from_every_feed("source_id")],
        "changed_on": _from_every_feed("delivered_on"),
        **{column: _from_every_feed(column) for column in ("source", "source_id", "updated_at", *_FIELDS)},
        "given_name": [*_from_every_feed("given_name"), *_from_every_feed("full_name")],
        "surname": [*_from_every_feed("surname"), *_from_every_feed("full_name")],
    },
    ins={name: read(f"raw/{name}") for name in RECORD_FEEDS},
    laid_out_by="changed_on",
    personal=True,
    code=("feeds",),
)
def records(**delivered: pl.DataFrame) -> dg.Output[pl.DataFrame]:
    """Every customer record as its system holds it now, standardised so that records can be compared."""
    keys = key_columns(CONTRACTS[CONTRACT])
    current = pl.concat([newest(frame, keys, feeds()[name].delivers) for name, frame in sorted(delivered.items())])
    since = current.select("changed_on", record_id=pl.concat_str("source", "source_id", separator=":"))
    frame = standardise(current, country()).join(since, on="record_id", maintain_order="left")
    filled = frame.select(pl.col(list(_FIELDS)).is_not_null().mean().round(3)).transpose(
        include_header=True, header_name="field", column_names=["share filled"]
    )
    by_source = frame.group_by("source").len("records").sort("source")
    return dg.Output(frame, metadata={"by source": table(by_source), "filled": table(filled)})


class Training(dg.Config):
    """What training leaves to choose."""

    seed: int = Field(default=0, description="Of every random choice.")


class Asking(Training):
    """How many questions may be asked."""

    budget: int = Field(default=100, ge=0, description="Most answers about pairs that training may use.")


_LABELS = {
    "record_a": "The smaller record id of the pair.",
    "record_b": "The larger one.",
    "answer": "match, distinct, unsure, must_link, cannot_link, or withdrawn.",
    "by": "Who answered, or which rule.",
    "at": "When, or for a stand-in the newest change among the records.",
    "drawn": "How the pair was chosen: dedupe, uncertain, audit, repeat, rule or steward; null where nobody said.",
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

    Every answer is an event that stays; what they come to is read from them anew each time. Those of people come in as
    `raw/pair_labels`. Where the sample's truth lies in the home, it answers questions as a stand-in, and `by` says so.
    Where nobody ever answered, cautious rules do.
    """
    held = [home.read("identity.labels")] if home.lake.exists("identity.labels") else []
    given = pair_labels.with_columns(
        record_a=pl.min_horizontal("record_a", "record_b"), record_b=pl.max_horizontal("record_a", "record_b")
    )
    known = pl.concat([given.select(*_LABELS), *held], how="diagonal").unique()
    at = pl.lit(records["updated_at"].max(), pl.Datetime("us"))
    if home.truth.exists():
        labeller = truth_labeller(pl.read_parquet(home.truth))
        open_questions = max(0, config.budget - known.height)
        with engine.over() as con:
            learned = train(
                records, CUSTOMER_FIELDS, labeller, open_questions, config.seed, known, connection=con, by=STAND_IN
            )
        known = pl.concat([known, learned.labels.with_columns(at=at)], how="diagonal")
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
    ins={"records": read("identity/records"), "labels": read("identity/labels")},
    kinds=["dedupe", "duckdb", "scikitlearn"],
    stands_on=["identity/labels"],
)
def identity_model(config: Training, engine: Engine, records: pl.DataFrame, labels: pl.DataFrame) -> dg.Output[Model]:
    """Blocking rules, weights of agreement and the cut, learned from the labels; trained anew when labels come in."""
    with engine.over() as con:
        learned = train(records, CUSTOMER_FIELDS, None, 0, config.seed, labels, connection=con)
    return dg.Output(learned, metadata={"match weights": picture(weights_chart(learned)), "labels": labels.height})


_LINKS = {
    "record_id": "The record.",
    "customer_id": "The person: a hash of the group's first record at birth; it stays as the group changes.",
    "confidence": "Mean score with the rest of the group; for a record alone 1 less its strongest score.",
}
_EDGES = {
    "record_a": "The smaller record id of a scored pair.",
    "record_b": "The larger one.",
    "score": "Probability that both are one person.",
}
_HISTORY = {
    "run": "A hash of the previous links and the records.",
    "customer_id": "The id that it happened to.",
    "event": "birth, merge, split, move or end.",
    "from": "The id before.",
    "to": "The id after.",
}
_ID = [("identity/records", "record_id")]
_COMPARED = [("identity/records", field.column) for field in CUSTOMER_FIELDS]


@dg.multi_asset(
    name="resolve",
    specs=[
        table_spec(
            "identity/history",
            columns=_HISTORY,
            origins={"customer_id": _ID},
            kinds=("duckdb",),
            deps=["identity/records", "identity/model"],
            description="The ledger of ids: births, merges, splits and moves, run by run.",
        ),
        table_spec(
            "identity/edges",
            columns=_EDGES,
            origins={"record_a": _ID, "record_b": _ID, "score": _COMPARED},
            kinds=("duckdb",),
            deps=["identity/records", "identity/model"],
            description="Pairs of records that were compared, with their score.",
        ),
        table_spec(
            "identity/links",
            columns=_LINKS,
            origins={"record_id": _ID, "customer_id": _ID, "confidence": _COMPARED},
            kinds=("duckdb",),
            deps=["identity/records", "identity/model"],
            description="Each record and the person it belongs to.",
        ),
    ],
)
def resolution(home: Home, engine: Engine) -> Iterator[dg.Output[pl.DataFrame]]:
    """Block, compare, score and cluster the records; ids of the links before stay where their records stay together."""
    known = home.read("identity.links") if home.lake.exists("identity.links") else None
    learned = Model.from_files(home.models.load("identity_model"))
    with engine.over() as con:
        found = resolve_all(home.read("identity.records"), learned, known, con)
    before = [home.read("identity.history")] if home.lake.exists("identity.history") else []
    history = pl.concat([*before, found.history]).unique().sort(found.history.columns)
    # Links come last: a run that is killed before them starts again from the links it started from.
    yield dg.Output(history, "identity__history", metadata={"events": table(_events(found.history))})
    yield dg.Output(
        found.edges, "identity__edges", metadata={"scores": picture(score_histogram(found.scores, learned))}
    )
    yield dg.Output(found.links, "identity__links", metadata=_link_figures(found.links, found.blocking))


def _events(history: pl.DataFrame) -> pl.DataFrame:
    return history.group_by("event").len("customers").sort("event")


def _link_figures(links: pl.DataFrame, blocking: pl.DataFrame) -> dict[str, Any]:
    sizes = links.group_by("customer_id").len("records")
    return {
        "customers": sizes.height,
        "records a customer": round(links.height / max(sizes.height, 1), 3),
        "cluster sizes": picture(cluster_sizes(sizes)),
        "blocking rules": table(blocking),
    }


@python_table(
    "identity/evaluation",
    columns={"metric": "What is measured.", "value": "The figure; counts are numbers, the rest are shares."},
    origins={"value": [("identity/links", "record_id"), ("identity/links", "customer_id")]},
    ins={"links": read("identity/links"), "labels": read("identity/labels")},
)
def identity_evaluation(home: Home, links: pl.DataFrame, labels: pl.DataFrame) -> dg.Output[pl.DataFrame]:
    """Precision, recall and F1 of the links against the sample's truth, pairwise and B-cubed; empty without a truth."""
    schema = {"metric": pl.String, "value": pl.Float64}
    if not home.truth.exists():
        return dg.Output(pl.DataFrame(schema=schema), metadata={"truth": "none in this home"})
    figures = evaluate_links(links, pl.read_parquet(home.truth)) | {"labels used": labels.height}
    rows = [(name, float(value)) for name, value in figures.items()]
    frame = pl.DataFrame(rows, schema, orient="row")
    return dg.Output(frame, metadata={"against the truth": table(frame)})


@dg.definitions
def identity() -> dg.Definitions:
    """The stage's assets."""
    python = [records, labels, identity_constraints, identity_model, resolution, identity_evaluation]
    return dg.Definitions(assets=[*python, *sql_assets_of("identity")])
