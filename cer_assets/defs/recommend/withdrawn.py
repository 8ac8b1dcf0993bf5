"""Who is on no list, and off the lists that are shown now: a withdrawal waits for no check of purchases."""

import datetime as dt
from typing import cast

import dagster as dg
import polars as pl

from cer_assets.defs.io import python_table, reads_itself
from cer_assets.defs.purposes import PERSONALISATION, withdrawals
from cer_assets.defs.resources import Home
from cer_assets.lake import Snapshot, build_warehouse, make_current, read_snapshot

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
    """Remove customers from the lists that people read, and from what came after; returns how many stood there.

    Where newer lists lie in the lake that no snapshot names, for a check of theirs failed, say, those go altogether:
    nobody shall read them, and they are due again for this very withdrawal. What people read is replaced last of all,
    so that a run that was killed does it again.
    """
    if not home.lake.exists(LISTS):
        return 0
    shown = _shown(home)
    newest = _newest_day(home.lake.scan(LISTS, None if shown is None else shown.versions[LISTS]))
    lists = home.lake.scan(LISTS).filter(pl.col("as_of") >= newest).collect()
    of_gone = pl.col("customer_id").is_in(gone.implode())
    reads_them = shown is not None and _stands_on(home.lake.scan(LISTS, shown.versions[LISTS]), newest, of_gone)
    kept = lists.filter(~of_gone, pl.col("as_of") <= newest if reads_them else pl.lit(True))
    if kept.height < lists.height:
        home.lake.publish(LISTS, kept, partition_by="as_of", keys=lists["as_of"].unique().sort().to_list())
    if shown is not None and reads_them:
        anew = Snapshot({**shown.versions, LISTS: home.lake.open(LISTS).version()})
        build_warehouse(home.lake, anew, home.warehouse)
        make_current(anew, home.snapshots)
    return lists.filter(of_gone)["customer_id"].n_unique()


def _newest_day(lists: pl.LazyFrame) -> dt.date | None:
    return cast("dt.date | None", lists.select(pl.col("as_of").max()).collect().item())


def _stands_on(lists: pl.LazyFrame, day: dt.date | None, whom: pl.Expr) -> bool:
    return bool(lists.filter(pl.col("as_of") == day).select(whom.any()).collect().item())


def _shown(home: Home) -> Snapshot | None:
    """What people read, if there are lists in it."""
    try:
        shown = read_snapshot(home.snapshots)
    except FileNotFoundError:
        return None
    return shown if LISTS in shown.versions else None


@dg.definitions
def withdrawn() -> dg.Definitions:
    """The asset."""
    return dg.Definitions(assets=[withdrawn_customers])
