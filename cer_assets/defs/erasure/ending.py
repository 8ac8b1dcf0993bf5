"""The end of an erasure: what stands is named by a new snapshot, and what held somebody is no longer kept."""

import datetime as dt
from zoneinfo import ZoneInfo

import polars as pl

from cer_assets.defs.erasure.listed import KEPT, LIST, PASSING, receipts
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

    The hashes of what was looked for go with it: they stand in no version that is kept.
    """
    open_lines = under_way(held)
    taken = take_snapshot(home.lake, home.snapshots)
    build_warehouse(home.lake, taken, home.warehouse)
    each = open_lines.select("request").unique()
    touched = open_lines.filter(pl.col("kind") == TABLE).select("request", "name").unique()
    versions = pl.DataFrame(
        [(table, version) for table, version in taken.versions.items()],
        schema={"name": pl.String, "rows": pl.Int64},
        orient="row",
    )
    former = forget_snapshots(home, taken.name)
    last = [
        lines(open_lines, VERSIONS, touched.join(versions, on="name")),
        lines(open_lines, SNAPSHOTS, each.with_columns(name=pl.lit("snapshots"), rows=pl.lit(former, pl.Int64))),
    ]
    forget_versions(home.models.root)
    clear(spill(home))
    for path in leftovers(home.models.root, home.reports, home.snapshots):
        path.unlink(missing_ok=True)
    for table in home.lake.tables():
        if table not in (KEPT, LIST):
            vacuum(home, table)
    home.lake.publish(KEPT, with_lines(held, pl.concat(last)).filter(pl.col("kind").is_in(PASSING).not_()))
    # The snapshot names receipts with the hashes: only a newer one lets that version go.
    without = take_snapshot(home.lake, home.snapshots)
    build_warehouse(home.lake, without, home.warehouse)
    forget_snapshots(home, without.name)
    for table in (KEPT, LIST):
        vacuum(home, table)
    return receipts(home)


def forget_snapshots(home: Home, kept: str) -> int:
    """Remove every snapshot but the newest; returns how many."""
    former = [path for path in sorted(home.snapshots.glob("*.json")) if path.stem not in (kept, "current")]
    for path in former:
        path.unlink(missing_ok=True)
    return len(former)


def vacuum(home: Home, table: str) -> None:
    """Keep a table's current version alone, at once: no other run is on, and no reader may go on with what was."""
    home.lake.vacuum(table, (), grace=dt.timedelta(0))


def now() -> dt.datetime:
    """By the retailer's clock."""
    return dt.datetime.now(ZoneInfo(timezone())).replace(tzinfo=None, microsecond=0)
