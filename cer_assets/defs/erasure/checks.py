"""Whether who asked to be forgotten is, everywhere, and whether the receipts say so."""

import dagster as dg
import polars as pl

from cer_assets.defs.erasure.listed import LIST, kept_out_of, key, receipts, requests, suppression
from cer_assets.defs.erasure.removal import left_unfinished, spill
from cer_assets.defs.io import table
from cer_assets.defs.resources import Home, feeds, memory_limit
from cer_assets.erasure import KEY_VARIABLE, Keyed, NoKey
from cer_assets.erasure.receipts import FILE, NOT_READ, TABLE, under_way
from cer_assets.erasure.suppression import KEY
from cer_assets.erasure.traces import engine, naming, tables_of_people


@dg.asset_check(
    asset=dg.AssetKey(["raw", "erasure_requests"]),
    name="can_be_carried_out",
    description=f"Where somebody asked to be forgotten, {KEY_VARIABLE} is set: without it nothing is erased.",
)
def can_be_carried_out(home: Home) -> dg.AssetCheckResult:
    """Red from the load of the request on, so that nobody waits for what cannot come."""
    waiting, why = requests(home).height, None
    if waiting:
        try:
            Keyed.with_key(key())
        except NoKey as refusal:
            why = str(refusal)
    return dg.AssetCheckResult(passed=why is None, description=why, metadata={"requests that wait": waiting})


@dg.asset_check(
    asset=dg.AssetKey(["erasure", "suppressed"]),
    name="no_request_waits",
    blocking=True,
    description="No request stands in raw.erasure_requests any more; no landing file holds a row that was kept out.",
)
def no_request_waits(home: Home) -> dg.AssetCheckResult:
    """What is left of either is due again."""
    waiting, files = requests(home).height, kept_out_of(home).height
    return dg.AssetCheckResult(
        passed=not waiting and not files,
        metadata={"requests that wait": waiting, "files with rows kept out": files, "bound": 0},
    )


@dg.asset_check(
    asset=dg.AssetKey(["erasure", "receipts"]),
    name="nobody_erased_is_left",
    blocking=True,
    description="In no column of any table stands an id, or a delivered row, of anybody on the suppression list.",
)
def nobody_erased_is_left(home: Home) -> dg.AssetCheckResult:
    """Every text of every table is hashed and compared."""
    of = suppression(home)
    left: list[str] = []
    if len(of):
        with engine(home.lake, str(spill(home)), memory_limit()) as con:
            left = [name for name in tables_of_people(home.lake) if naming(con, name, of, feeds())]
    return dg.AssetCheckResult(
        passed=not left,
        description=f"still there in {', '.join(left)}: materialize erasure/suppressed" if left else None,
        metadata={"hashes on the list": len(of), "tables that hold somebody": ", ".join(left) or "none"},
    )


@dg.asset_check(
    asset=dg.AssetKey(["erasure", "receipts"]),
    name="receipts_add_up",
    blocking=True,
    description="Every request on the list has a signed receipt, and of no feed were more rows taken out of landing"
    " files than stood in its tables, or fewer than lay there.",
)
def receipts_add_up(home: Home) -> dg.AssetCheckResult:
    """Law of the rows: only an erasure takes any away, and its receipt counts them."""
    held = receipts(home)
    listed = home.lake.scan(LIST).filter(pl.col("kind") != KEY).collect() if home.lake.exists(LIST) else held.head(0)
    unsigned = listed.select("request").unique().join(held, on="request", how="anti").height
    raw = pl.col("name").str.strip_prefix("raw.").str.strip_suffix("_rejects")
    tables = (
        held.filter(pl.col("kind") == TABLE, pl.col("name").str.starts_with("raw."))
        .group_by("request", feed=raw)
        .agg(of_tables=pl.col("rows").sum())
    )
    files = (
        held.filter(pl.col("kind") == FILE)
        .group_by("request", feed=pl.col("name").str.extract(r"^([^/]*)/"))
        .agg(of_files=pl.col("rows").sum())
    )
    fewer = tables.filter(pl.col("feed") != "pair_labels").join(files, on=["request", "feed"], how="left")
    fewer = fewer.filter(pl.col("of_files").fill_null(0) < pl.col("of_tables"))
    return dg.AssetCheckResult(
        passed=not unsigned and fewer.is_empty(),
        metadata={
            "requests without a receipt": unsigned,
            "under way": under_way(held)["request"].n_unique(),
            "feeds with fewer rows out of files than out of tables": table(fewer) if fewer.height else "none",
        },
    )


@dg.asset_check(
    asset=dg.AssetKey(["erasure", "receipts"]),
    name="every_file_was_looked_into",
    description="No file of the landing zone was neither text nor readable, or left unfinished, when somebody was"
    " erased.",
)
def every_file_was_looked_into(home: Home) -> dg.AssetCheckResult:
    """A file that nobody can look into may name the person: somebody must delete it, or have it delivered again."""
    named = receipts(home).filter(pl.col("kind") == NOT_READ)["name"].unique().sort()
    unfinished = left_unfinished(home)
    there = [name for name in named if name in unfinished or home.landing.joinpath(name).exists()]
    return dg.AssetCheckResult(
        passed=not there,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "files": ", ".join(there) or "none",
            "left unfinished": sum(unfinished[name] for name in there if name in unfinished),
        },
    )


@dg.definitions
def checks() -> dg.Definitions:
    """The stage's checks, and one of the feed that requests come by."""
    return dg.Definitions(
        asset_checks=[
            can_be_carried_out,
            no_request_waits,
            nobody_erased_is_left,
            receipts_add_up,
            every_file_was_looked_into,
        ]
    )
