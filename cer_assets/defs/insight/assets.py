"""What resolution buys, and the snapshot of the lake with its warehouse file."""

import datetime as dt

import dagster as dg
import polars as pl

from cer_assets.defs.io import code_of, picture, python_table, read, table
from cer_assets.defs.partitions import days
from cer_assets.defs.resources import Home
from cer_assets.insight import resolution_chart, what_resolution_buys
from cer_assets.lake import Snapshot, build_warehouse, take_snapshot

WINDOW_DAYS = 28


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
    ins={"order_lines": read("customer/order_lines")},
    kinds=("implicit",),
    code=("recommend",),
)
def resolution(home: Home, order_lines: pl.DataFrame) -> dg.Output[pl.DataFrame]:
    """What resolution buys: error of RFM and quality of recommendations for records, for customers, and for the truth.

    The targets are always what the true person bought in the last 28 days. Where records are not resolved, a person is
    shown the list of the record they first use in that window. Empty where no truth lies in the home.
    """
    schema = {"view": pl.String, "metric": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    if not home.truth.exists():
        return dg.Output(pl.DataFrame(schema=schema), metadata={"truth": "none in this home"})
    last = order_lines["ordered_on"].max()
    assert isinstance(last, dt.date)
    cut = last - dt.timedelta(days=WINDOW_DAYS - 1)
    frame = what_resolution_buys(order_lines, pl.read_parquet(home.truth), cut, WINDOW_DAYS)
    wide = frame.pivot("view", index="metric", values="value", maintain_order=True)
    return dg.Output(
        frame, metadata={"what resolution buys": table(wide), "plot": picture(resolution_chart(frame)), "cut": str(cut)}
    )


@dg.asset(
    key=["insight", "snapshot"],
    deps=[
        ["identity", "customers"],
        ["identity", "evaluation"],
        ["customer", "orders"],
        ["value", "buckets"],
        ["segment", "profiles"],
        ["predict", "churn"],
        ["recommend", "recommendations"],
        ["recommend", "evaluation"],
        ["insight", "resolution"],
    ],
    group_name="insight",
    owners=["team:data"],
    kinds={"duckdb", "deltalake"},
    tags={"stage": "insight"},
    partitions_def=days,
    backfill_policy=dg.BackfillPolicy.single_run(),
    code_version=code_of("lake"),
    io_manager_key="snapshot_files",
)
def snapshot(home: Home) -> dg.Output[Snapshot]:
    """One version of every table, written down under a name, and `warehouse.duckdb` with a view for each of them.

    Built beside the old file and put in its place, so that whoever reads goes on reading.
    """
    taken = take_snapshot(home.lake, home.snapshots)
    build_warehouse(home.lake, taken, home.warehouse)
    versions = pl.DataFrame({"table": list(taken.versions), "version": list(taken.versions.values())})
    return dg.Output(taken, metadata={"tables": table(versions, most=100), "warehouse": str(home.warehouse)})


@dg.definitions
def insight() -> dg.Definitions:
    """The stage's assets."""
    return dg.Definitions(assets=[resolution, snapshot])
