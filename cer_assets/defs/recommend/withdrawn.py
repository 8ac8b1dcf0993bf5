"""Who is on no list, and off the lists that are shown now: a withdrawal waits for no check of purchases."""

import dagster as dg
import polars as pl

from cer_assets.defs.io import python_table, reads_itself
from cer_assets.defs.purposes import PERSONALISATION, withdrawals
from cer_assets.defs.resources import Home
from cer_assets.lake import build_warehouse, read_snapshot, take_up

LISTS = "recommend.recommendations"
_SAID = [("customer/consents", name) for name in ("purpose", "granted")]


@python_table(
    "recommend/withdrawn",
    columns={
        "customer_id": "The person, under whichever of their records it was said.",
        "known_on": "Day of the first delivery that held the withdrawal.",
    },
    origins={
        "customer_id": [("customer/consents", "customer_id"), *_SAID],
        "known_on": [("customer/consents", "known_on"), *_SAID],
    },
    ins={"consents": reads_itself("customer/consents")},
)
def withdrawn_customers(context: dg.AssetExecutionContext, home: Home) -> dg.Output[pl.DataFrame]:
    """Who withdrew the consent to personalisation; whoever did is taken off the newest lists.

    New lists are made without them anyway, but they may have to wait: for a check of the day's purchases, say. So the
    rows leave the lists that stand, in the lake, in the current snapshot and in the warehouse.
    """
    gone = withdrawals(home, PERSONALISATION).select("customer_id", "known_on").collect().sort("customer_id")
    taken = _take_off(home, gone["customer_id"])
    context.log.info(f"{gone.height:,} customers have withdrawn; {taken:,} were on the newest lists")
    return dg.Output(gone, metadata={"customers taken off the newest lists": taken})


def _take_off(home: Home, gone: pl.Series) -> int:
    """Remove customers from the newest lists; returns how many stood there. What was done before a kill is not undone.

    The warehouse is built anew only where the snapshot that people read names lists of somebody who is gone.
    """
    if not home.lake.exists(LISTS):
        return 0
    lists = _newest(home, None)
    kept = lists.filter(~pl.col("customer_id").is_in(gone.implode()))
    if kept.height < lists.height:
        home.lake.publish(LISTS, kept, partition_by="as_of", keys=lists["as_of"].unique().to_list())
    shown = _shown(home)
    if shown is not None and _newest(home, shown)["customer_id"].is_in(gone.implode()).any():
        build_warehouse(home.lake, take_up(home.lake, home.snapshots, LISTS), home.warehouse)
    return lists["customer_id"].n_unique() - kept["customer_id"].n_unique()


def _newest(home: Home, version: int | None) -> pl.DataFrame:
    lists = home.lake.scan(LISTS, version)
    return lists.filter(pl.col("as_of") == pl.col("as_of").max()).collect()


def _shown(home: Home) -> int | None:
    """The version of the lists that people read, if any."""
    try:
        return read_snapshot(home.snapshots).versions.get(LISTS)
    except FileNotFoundError:
        return None


@dg.definitions
def withdrawn() -> dg.Definitions:
    """The asset."""
    return dg.Definitions(assets=[withdrawn_customers])
