"""The end of an erasure: what stands is named by a new snapshot, and what held somebody is no longer kept."""

import datetime as dt
from zoneinfo import ZoneInfo

import polars as pl

from cer_assets.defs.erasure.listed import KEPT, PASSING, receipts
from cer_assets.defs.erasure.removal import spill
from cer_assets.defs.resources import Home, timezone
from cer_assets.erasure.receipts import OF_FILES, SNAPSHOTS, TABLE, VERSIONS, done, lines, under_way, with_lines
from cer_assets.erasure.stores import clear, forget_versions, leftovers
from cer_assets.lake import build_warehouse, take_snapshot


def end(home: Home, done_at: dt.datetime) -> pl.DataFrame:
    """Sign the receipts, and before it, where a table or a model held somebody, vacuum; returns them.

    A line is signed last of all: a run that is killed before it does all of it again. Where lines are of landing files
    alone, the rows were never let in: what is older never held them, and stays.
    """
    held = receipts(home)
    open_lines = under_way(held)
    if open_lines.is_empty():
        return held
    if open_lines["kind"].is_in(OF_FILES).all():
        clear(spill(home))
    else:
        held = forget_former(home, held)
    home.lake.publish(KEPT, done(held, done_at))
    build_warehouse(home.lake, take_snapshot(home.lake, home.snapshots), home.warehouse)
    return receipts(home)


def forget_former(home: Home, held: pl.DataFrame) -> pl.DataFrame:
    """Keep nothing that is older than a new snapshot; returns the receipts with what went, still under way.

    It is told before it goes: a run that was killed would find less of it. The hashes of what was looked for go with
    it: they stand in no version that is kept.
    """
    open_lines = under_way(held)
    former = pl.lit(sum(path.stem != "current" for path in home.snapshots.glob("*.json")), pl.Int64)
    touched = open_lines.filter(pl.col("kind") == TABLE).select("request", "name").unique()
    versions = pl.DataFrame(
        [(table, home.lake.version(table)) for table in touched["name"].unique()],
        schema={"name": pl.String, "rows": pl.Int64},
        orient="row",
    ).drop_nulls()
    each = open_lines.select("request").unique()
    last = [
        lines(open_lines, VERSIONS, touched.join(versions, on="name")),
        lines(open_lines, SNAPSHOTS, each.with_columns(name=pl.lit("snapshots"), rows=former)),
    ]
    home.lake.publish(KEPT, with_lines(held, pl.concat(last)).filter(pl.col("kind").is_in(PASSING).not_()))
    taken = take_snapshot(home.lake, home.snapshots)
    build_warehouse(home.lake, taken, home.warehouse)
    forget_snapshots(home, taken.name)
    forget_versions(home.models.root)
    clear(spill(home))
    for path in leftovers(home.models.root, home.reports, home.snapshots):
        path.unlink(missing_ok=True)
    for table in home.lake.tables():
        vacuum(home, table)
    return receipts(home)


def forget_snapshots(home: Home, kept: str) -> None:
    """Remove every snapshot but the newest."""
    for path in home.snapshots.glob("*.json"):
        if path.stem not in (kept, "current"):
            path.unlink(missing_ok=True)


def vacuum(home: Home, table: str) -> None:
    """Keep a table's current version alone, at once: no other run is on, and no reader may go on with what was."""
    home.lake.vacuum(table, (), grace=dt.timedelta(0))


def now() -> dt.datetime:
    """By the retailer's clock."""
    return dt.datetime.now(ZoneInfo(timezone())).replace(tzinfo=None, microsecond=0)
