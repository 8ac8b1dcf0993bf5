"""What resolution buys, what an answer would change, the page for people to act on, and the snapshot of the lake."""

import datetime as dt

import dagster as dg
import polars as pl

from cer_assets.defs.identity.learning import LABELS, labels_read
from cer_assets.defs.io import REPORT_FILE, code_of, picture, python_table, read, reads_itself, table
from cer_assets.defs.partitions import days
from cer_assets.defs.provenance import WHOLE_LAKE
from cer_assets.defs.resources import Home, setting
from cer_assets.identity import Model
from cer_assets.insight import resolution_chart, what_answers_change, what_resolution_buys
from cer_assets.insight.report import Tables, customer_report
from cer_assets.lake import (
    Snapshot,
    Vacuumed,
    build_warehouse,
    needed_versions,
    prune_snapshots,
    take_snapshot,
)

WINDOW_DAYS = 28
_LINE = (
    *("basket_id", "customer_id", "source", "source_id", "product_id"),
    *("quantity", "amount", "discount", "ordered_at", "ordered_on", "merchandise"),
)


@python_table(
    "insight/resolution",
    columns={
        "view": "unresolved (each record for itself), resolved (customers as linked) or truth (simulated people).",
        "metric": "What is measured; errors are against the true person.",
        "value": "The figure.",
        "low": "Lower end of its bootstrap interval; null where it has none.",
        "high": "Upper end.",
    },
    origins={
        "value": [
            ("customer/order_lines", n) for n in ("customer_id", "source_id", "amount", "product_id", "ordered_on")
        ]
    },
    ins={"order_lines": reads_itself("customer/order_lines")},
    kinds=("implicit",),
    code=("recommend", "predict"),
)
def resolution(home: Home) -> dg.Output[pl.DataFrame]:
    """What resolution buys: error of RFM and quality of recommendations for records, for customers, and for the truth.

    The targets are always what the true person bought in the last 28 days. Where records are not resolved, a person is
    shown the list of the record they first use in that window. Empty where no truth lies in the home.
    """
    schema = {"view": pl.String, "metric": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    if not home.truth.exists():
        return dg.Output(pl.DataFrame(schema=schema), metadata={"truth": "none in this home"})
    order_lines = home.lake.scan("customer.order_lines").select(_LINE).collect()
    last = order_lines["ordered_on"].max()
    assert isinstance(last, dt.date)
    cut = last - dt.timedelta(days=WINDOW_DAYS - 1)
    frame = what_resolution_buys(order_lines, pl.read_parquet(home.truth), cut, WINDOW_DAYS)
    wide = frame.pivot("view", index="metric", values="value", maintain_order=True)
    return dg.Output(
        frame, metadata={"what resolution buys": table(wide), "plot": picture(resolution_chart(frame)), "cut": str(cut)}
    )


_IMPACT = {
    "record_a": "The smaller record id of the question's pair.",
    "record_b": "The larger one.",
    "answer": "The answer that is supposed: match or distinct.",
    "effect": "merge, split, regroup (neither alone), or none.",
    "customers_before": "The customers concerned, the largest first.",
    "customers_after": "What they would be; `new` for an id that the run will give.",
    "records_before": "Records of each.",
    "records_after": "Records of each, then.",
    "records_moved": "Records whose customer would be another.",
    "spend_before": "What each has paid.",
    "spend_after": "What each would have paid.",
    "buckets_before": "The value bucket of each; - where it has none.",
    "buckets_after": "The value bucket of each, then.",
    "bucket_changes": "Whether any record's customer would be in another bucket.",
    "consents_in_conflict": "Purposes that one record granted and another withdrew, which would come together.",
    "consents_settled": "Purposes that are in such a conflict now and would not be.",
    "households": "same or different, where two customers are concerned.",
    "sentence": "All of it in a sentence.",
}


@python_table(
    "insight/impact",
    columns=_IMPACT,
    origins={
        "record_a": [("identity/questions", "record_a")],
        "record_b": [("identity/questions", "record_b")],
        "customers_before": [("identity/links", "customer_id")],
        "customers_after": [("identity/links", "customer_id"), ("identity/edges", "score")],
        "spend_before": [("customer/orders", "merchandise_amount")],
        "spend_after": [("customer/orders", "merchandise_amount"), ("identity/edges", "score")],
        "buckets_before": [("value/buckets", "bucket")],
        "buckets_after": [("value/buckets", "bucket"), ("identity/edges", "score")],
        "consents_in_conflict": [("raw/consents", "granted")],
        "households": [("identity/households", "household_id")],
    },
    ins={
        "questions": read("identity/questions"),
        "links": read("identity/links"),
        "edges": read("identity/edges"),
        "constraints": read("identity/constraints"),
        "learned": read("identity/model"),
        "orders": reads_itself("customer/orders"),
        "buckets": reads_itself("value/buckets"),
        "consents": read("raw/consents"),
        "households": read("identity/households"),
    },
    code=("identity", "value"),
)
def impact(
    home: Home,
    questions: pl.DataFrame,
    links: pl.DataFrame,
    edges: pl.DataFrame,
    constraints: pl.DataFrame,
    learned: dict[str, bytes],
    consents: pl.DataFrame,
    households: pl.DataFrame,
) -> dg.Output[pl.DataFrame]:
    """What each answer to each open question would change: customers, what they are worth, what they consented to."""
    cut = Model.from_files(learned).cut
    orders = home.lake.scan("customer.orders").select("source", "source_id", "merchandise_amount").collect()
    buckets = home.lake.scan("value.buckets")
    newest = buckets.select(pl.col("as_of").max()).collect().item()
    frame = what_answers_change(
        questions,
        links,
        edges,
        cut,
        orders=orders,
        buckets=buckets.filter(pl.col("as_of") == newest).collect(),
        consents=consents,
        households=households,
        constraints=constraints,
        memory=home.lake.memory,
    )
    counts = frame.group_by("answer", "effect").len("questions").sort("answer", "effect")
    return dg.Output(frame, metadata={"effects": table(counts), "first of the queue": table(_first(frame, questions))})


def _first(frame: pl.DataFrame, questions: pl.DataFrame) -> pl.DataFrame:
    """What is said of the first questions: the answer and the sentence, which names no value."""
    first = questions.sort("rank").head(5).select("rank", "record_a", "record_b")
    return first.join(frame, on=["record_a", "record_b"]).sort("rank", "answer").select("rank", "answer", "sentence")


_REPORTED = {
    "people": "identity/customers",
    "orders": "customer/orders",
    "purchases": "value/purchases",
    "rfm": "value/rfm",
    "clv": "value/clv",
    "buckets": "value/buckets",
    "migration": "value/migration",
    "behaviour": "segment/behaviour",
    "preference": "segment/preference",
    "profiles": "segment/profiles",
    "churn": "predict/churn",
    "calibration": "predict/calibration",
}
"""What the report is made of, by its names in `Tables`."""
PAGE = "customers.html"


@dg.asset(
    key=["insight", "report"],
    deps=[key.split("/") for key in _REPORTED.values()],
    group_name="insight",
    owners=["team:data"],
    kinds={"polars", "html"},
    tags={"stage": "insight"},
    metadata={REPORT_FILE: PAGE},
    code_version=code_of("insight"),
    io_manager_key="report_files",
)
def report(home: Home) -> dg.Output[str]:
    """The page `reports/customers.html`: what changed, what customers are worth, whom to speak to, what to believe.

    As of the newest day, beside the days before it that the tables hold. It needs no network and names nobody.
    """
    held = {name: key.replace("/", ".") for name, key in _REPORTED.items()}
    tables = Tables(**{name: home.lake.scan(table) for name, table in held.items() if home.lake.exists(table)})
    told = customer_report(tables)
    in_short = pl.DataFrame({"": list(told.headlines), "in short": list(told.headlines.values())})
    return dg.Output(
        told.html(),
        metadata={"as of": str(told.as_of), "in short": table(in_short)}
        | {title: picture(chart) for title, chart in told.charts.items()},
    )


@dg.asset(
    key=["insight", "snapshot"],
    deps=[
        ["identity", "customers"],
        ["identity", "evaluation"],
        ["customer", "orders"],
        ["value", "buckets"],
        ["value", "migration"],
        ["value", "rfm_history"],
        ["segment", "profiles"],
        *(["predict", name] for name in ("churn", "drift", "evaluation", "next_categories")),
        *(["recommend", name] for name in ("outcomes", "moments", "bought_together", "rhythms")),
        *(["recommend", name] for name in ("evaluation", "leaks", "decisions")),
        ["insight", "resolution"],
        ["insight", "impact"],
    ],
    group_name="insight",
    owners=["team:data"],
    kinds={"duckdb", "deltalake"},
    tags={"stage": "insight"},
    metadata={WHOLE_LAKE: True},
    partitions_def=days,
    backfill_policy=dg.BackfillPolicy.single_run(),
    code_version=code_of("lake"),
    io_manager_key="snapshot_files",
)
def snapshot(context: dg.AssetExecutionContext, home: Home) -> dg.Output[Snapshot]:
    """One version of every table, written down under a name, and `warehouse.duckdb` with a view for each of them.

    Due whenever a table has another version than the newest snapshot names; the inputs that are named here are those
    whose blocking checks hold it back. Other tables are of jobs before its own, and do not.

    Built beside the old file and put in its place, so that whoever reads goes on reading. Snapshots older than
    `CER_SNAPSHOT_DAYS` go, and with them the versions of tables that no snapshot names any more.
    """
    taken = take_snapshot(home.lake, home.snapshots)
    build_warehouse(home.lake, taken, home.warehouse)
    removed = _vacuum(context.instance, home)
    versions = pl.DataFrame({"table": list(taken.versions), "version": list(taken.versions.values())})
    return dg.Output(
        taken,
        metadata={
            "tables": table(versions, most=100),
            "warehouse": str(home.warehouse),
            "files removed": sum(one.files for one in removed),
            "space freed": dg.MetadataValue.text(f"{sum(one.bytes for one in removed) / 1e6:,.1f} MB"),
        },
    )


def snapshot_days() -> float:
    """`CER_SNAPSHOT_DAYS`: how many days a snapshot is kept, and with it what it names."""
    return setting("CER_SNAPSHOT_DAYS", "14", _span, "a number of days such as 14, or 0")


def _span(text: str) -> float:
    if not 0 <= (number := float(text)) < float("inf"):
        raise ValueError("no span of days")
    return number


def _vacuum(instance: dg.DagsterInstance, home: Home) -> list[Vacuumed]:
    """Remove what neither a kept snapshot nor the teaching of a model needs."""
    needed = needed_versions(prune_snapshots(home.snapshots, snapshot_days()))
    needed.setdefault(LABELS, set()).update(labels_read(instance))
    return [home.lake.vacuum(name, needed.get(name, set())) for name in home.lake.tables()]


@dg.definitions
def insight() -> dg.Definitions:
    """The stage's assets."""
    return dg.Definitions(assets=[resolution, impact, report, snapshot])
