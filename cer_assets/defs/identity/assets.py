"""From customer records to people, their golden records and their households; the model is trained in `learning.py`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import dagster as dg
import duckdb
import polars as pl

from cer_assets.defs.erasure.listed import suppression
from cer_assets.defs.identity.index_file import former_index, keep_index
from cer_assets.defs.identity.learning import identity_constraints, identity_model, identity_questions, labels
from cer_assets.defs.io import TABLE_VERSION, picture, python_table, read, sql_asset, sql_assets_of, table, table_spec
from cer_assets.defs.provenance import latest
from cer_assets.defs.resources import Engine, Home, country, feeds
from cer_assets.feeds import key_columns, newest
from cer_assets.feeds.contracts import CONTRACTS
from cer_assets.identity import CUSTOMER_FIELDS, Model, Resolution, evaluate_links, resolve_all
from cer_assets.identity.charts import blocking_rules, cluster_sizes, id_churn, pair_waterfall, score_histogram
from cer_assets.identity.explain import explain_clusters, explain_pairs
from cer_assets.identity.households import households
from cer_assets.identity.ids import survivors, with_age, with_run
from cer_assets.identity.standardise import standardise
from cer_assets.identity.survivorship import golden_table

CONTRACT = "customer_record"
RECORD_FEEDS = [name for name, feed in feeds().items() if feed.contract == CONTRACT]

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


_LINKS = {
    "record_id": "The record.",
    "customer_id": "The person: a hash of the group's first record at birth; it stays as the group changes.",
    "confidence": "Mean score with the rest of the group; for a record alone 1 less its strongest score.",
    "fingerprint": "A hash of the record's compared values and the model: what the link was decided from.",
}
_EDGES = {
    "record_a": "The smaller record id of a scored pair.",
    "record_b": "The larger one.",
    "score": "Probability that both are one person.",
    "changed_on": "Day since which both records stand as they do.",
}
_HISTORY = {
    "run": "A hash of the previous links and the records.",
    "customer_id": "The id that it happened to.",
    "event": "birth, merge, split, move or end.",
    "from": "The id before.",
    "to": "The id after.",
    "links_version": "Version of identity.links that the run started from; -1 where there was none.",
}
_ID = [("identity/records", "record_id")]
_COMPARED = [("identity/records", field.column) for field in CUSTOMER_FIELDS]
_READS = ["identity/records", "identity/model", "identity/constraints"]


@dg.multi_asset(
    name="resolve",
    specs=[
        table_spec(
            "identity/history",
            columns=_HISTORY,
            origins={"customer_id": _ID},
            kinds=("duckdb",),
            deps=_READS,
            description="The ledger of ids: births, merges, splits and moves, run by run.",
        ),
        table_spec(
            "identity/edges",
            columns=_EDGES,
            origins={
                "record_a": _ID,
                "record_b": _ID,
                "score": _COMPARED,
                "changed_on": [("identity/records", "changed_on")],
            },
            laid_out_by="changed_on",
            kinds=("duckdb",),
            deps=_READS,
            description="Pairs of records that were compared, with their score.",
        ),
        table_spec(
            "identity/links",
            columns=_LINKS,
            origins={"record_id": _ID, "customer_id": _ID, "confidence": _COMPARED, "fingerprint": _COMPARED},
            kinds=("duckdb",),
            deps=_READS,
            description="Each record and the person it belongs to.",
        ),
    ],
)
def resolution(context: dg.AssetExecutionContext, home: Home, engine: Engine) -> Iterator[dg.Output[pl.DataFrame]]:
    """Block, compare, score and cluster what is new or changed, and all of it where the model is another.

    Ids of the links before stay where their records stay together.
    """
    everyone = home.read("identity.records")
    former = _former(context, home)
    known, edges, version = former.links, former.edges, former.version
    history = _before(home, "history")
    learned = Model.from_files(home.models.load("identity_model"))
    with engine.over() as con:
        bound = home.read("identity.constraints")
        aged = None if known is None else with_age(known, history, version)
        found = resolve_all(everyone, learned, aged, con, bound, edges, index=former_index(home.caches))
        keep_index(home.caches, found.index)
        waterfall = _closest_call(everyone, found, known, bound, learned, con)
    # Links come last: a run that is killed before they are recorded is started again from what it started from.
    yield dg.Output(
        with_run(history, found.history, version),
        "identity__history",
        metadata={"events": table(_events(found.history)), "ids": picture(id_churn(found.history))},
    )
    yield dg.Output(
        _on_days(found.edges, everyone),
        "identity__edges",
        metadata={"scores of this run's pairs": picture(score_histogram(found.scores, learned))} | waterfall,
    )
    yield dg.Output(found.links, "identity__links", metadata=_link_figures(found))


def _before(home: Home, name: str) -> pl.DataFrame | None:
    table_name = f"identity.{name}"
    return home.read(table_name) if home.lake.exists(table_name) else None


@dataclass(frozen=True)
class _Former:
    """What a run starts from: links, the edges they came from, and the version of the links, -1 where there are none.

    Without edges, links stand without fingerprints too: everything is resolved again, and the ids stay.
    """

    links: pl.DataFrame | None
    edges: pl.DataFrame | None
    version: int


def _former(context: dg.AssetExecutionContext, home: Home) -> _Former:
    """The links and edges of the last run that got to its end: what a run left that was killed between them is not."""
    now = home.lake.version("identity.links")
    if now is None:
        return _Former(None, None, -1)
    told = _versions_of_last_run(context.instance)
    if told.keys() >= {"links", "edges"} and all(home.lake.holds(f"identity.{name}", told[name]) for name in told):
        of = suppression(home)
        former = (home.lake.scan(f"identity.{name}", told[name]).collect() for name in ("links", "edges"))
        # An erasure since took somebody out of the tables, but not out of these versions of them.
        links, edges = (frame.filter(of.of_rows(frame).is_null()) for frame in former)
        return _Former(links, edges, told["links"])
    context.log.warning("it is not known which edges the links came from: everything is resolved again")
    return _Former(home.read("identity.links").with_columns(fingerprint=pl.lit("")), None, now)


def _versions_of_last_run(instance: dg.DagsterInstance) -> dict[str, int]:
    """The versions of links and edges that the run wrote, or found to be so already, which recorded its links last."""
    links, edges = (dg.AssetKey(["identity", name]) for name in ("links", "edges"))
    if (last := latest(instance, links, None)) is None:
        return {}
    found = instance.get_records_for_run(last.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
    told = [one for record in found if (one := record.event_log_entry.asset_materialization)]
    return {
        one.asset_key.path[-1]: cast("int", one.metadata[TABLE_VERSION].value)
        for one in told
        # One that somebody entered by hand in the UI has no version.
        if one.asset_key in (links, edges) and TABLE_VERSION in one.metadata
    }


def _on_days(edges: pl.DataFrame, everyone: pl.DataFrame) -> pl.DataFrame:
    """Edges with the day since which both their records stand as they do."""
    since = everyone.select("record_id", "changed_on")
    both = edges.join(since, left_on="record_a", right_on="record_id", maintain_order="left").join(
        since, left_on="record_b", right_on="record_id", suffix="_b", maintain_order="left"
    )
    return both.with_columns(changed_on=pl.max_horizontal("changed_on", "changed_on_b")).drop("changed_on_b")


def _closest_call(
    everyone: pl.DataFrame,
    found: Resolution,
    known: pl.DataFrame | None,
    bound: pl.DataFrame,
    learned: Model,
    con: duckdb.DuckDBPyConnection,
) -> dict[str, Any]:
    """Why the pair that holds the most doubtful customer of this run together scores as it does, values masked."""
    moved = found.links if known is None else found.links.join(known, on=found.links.columns, how="anti")
    customers = moved["customer_id"].unique().to_list()
    doubtful = explain_clusters(found.edges, found.links, learned, customers, bound).drop_nulls("record_a").head(1)
    if doubtful.is_empty():
        return {}
    explained = explain_pairs(everyone, learned, doubtful.select("record_a", "record_b"), con, mask=True)
    return {"weakest link of the most doubtful customer": picture(pair_waterfall(explained))}


def _events(history: pl.DataFrame) -> pl.DataFrame:
    return history.group_by("event").len("customers").sort("event")


def _link_figures(found: Resolution) -> dict[str, Any]:
    sizes = found.links.group_by("customer_id").len("records")
    return {
        "customers": sizes.height,
        "records a customer": round(found.links.height / max(sizes.height, 1), 3),
        "cluster sizes": picture(cluster_sizes(sizes)),
        "blocking rules in this run": picture(blocking_rules(found.blocking)),
        "blocking rules, in figures": table(found.blocking),
        **found.touched,
    }


@python_table(
    "identity/survivors",
    columns={"old_id": "A customer id that once was.", "customer_id": "A customer who holds records of it now."},
    origins={"old_id": [("identity/history", "from")], "customer_id": [("identity/history", "to")]},
    ins={"history": read("identity/history")},
)
def identity_survivors(history: pl.DataFrame) -> dg.Output[pl.DataFrame]:
    """Where every former customer id leads to now, however many merges, splits and moves lie between."""
    found = survivors(history)
    return dg.Output(found, metadata={"former ids": found["old_id"].n_unique()})


_HOUSEHOLDS = {
    "household_id": "People who live together; a hash of the first customer at birth, and it stays.",
    "customer_id": "One of them.",
    "customers": "How many live there, as far as is known.",
    "why": "The strongest that the customer has in common with another of the household, or alone.",
}


@python_table(
    "identity/households",
    columns=_HOUSEHOLDS,
    origins={
        "household_id": [("identity/customers", "customer_id")],
        "customer_id": [("identity/customers", "customer_id")],
        "why": [("identity/customers", c) for c in ("surname", "street", "city", "postcode")]
        + [("identity/records", c) for c in ("phone", "email", "street", "city", "postcode")],
    },
    ins={
        "customers": read("identity/customers"),
        "everyone": read("identity/records"),
        "links": read("identity/links"),
    },
    kinds=("duckdb",),
)
def identity_households(
    home: Home, engine: Engine, customers: pl.DataFrame, everyone: pl.DataFrame, links: pl.DataFrame
) -> dg.Output[pl.DataFrame]:
    """Who lives together: a level of its own, which never makes two people one."""
    with engine.over() as con:
        found = households(customers, everyone, links, _before(home, "households"), con)
    sizes = found.unique("household_id").group_by("customers").len("households").sort("customers")
    reasons = found.group_by("why").len("customers").sort("customers", descending=True)
    return dg.Output(found, metadata={"customers of a household": table(sizes), "why": table(reasons)})


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
    learning = [labels, identity_constraints, identity_model, identity_questions]
    people = [records, resolution, identity_survivors, sql_asset(golden_table()), identity_households]
    return dg.Definitions(assets=[*learning, *people, identity_evaluation, *sql_assets_of("identity")])
