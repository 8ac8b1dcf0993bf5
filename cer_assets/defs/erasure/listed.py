"""The suppression list and the receipts as the lake holds them, and the key out of the environment."""

import datetime as dt
import os

import dagster as dg
import polars as pl

from cer_assets.defs.processes import UNDER_WAY
from cer_assets.defs.resources import LEDGER, Home, timezone
from cer_assets.erasure import KEY_VARIABLE, SUPPRESSED, Keyed, NoKey, Suppression
from cer_assets.erasure.receipts import RECEIPTS, under_way
from cer_assets.erasure.suppression import EMAIL, NAME, PHONE
from cer_assets.feeds import list_drops

LIST, KEPT, REQUESTS = "erasure.suppressed", "erasure.receipts", "raw.erasure_requests"
PASSING = [EMAIL, PHONE, NAME]
"""Kinds of hashes that stand among the receipts while an erasure is under way, and go with its end."""


def key() -> str | None:
    """`CER_SUPPRESSION_KEY`: what the hashes of the list are made with."""
    return os.environ.get(KEY_VARIABLE)


def keyed() -> Keyed:
    """The key, ready to hash with.

    Raises:
        Failure: it is missing or too short; nothing is tried again, for that mends nothing.
    """
    try:
        return Keyed.with_key(key())
    except NoKey as refusal:
        raise dg.Failure(str(refusal), allow_retries=False) from None


def suppression(home: Home) -> Suppression:
    """Who is on the list; while an erasure is under way, what their records held as well, by its hash.

    Raises:
        Failure: somebody is on the list, and the key is missing or another one.
    """
    listed = home.lake.scan(LIST).collect() if home.lake.exists(LIST) else SUPPRESSED.to_frame()
    try:
        held = Suppression.of(listed.select(SUPPRESSED.names()), key())
    except NoKey as refusal:
        raise dg.Failure(str(refusal), allow_retries=False) from None
    passing = under_way(receipts(home)).filter(pl.col("kind").is_in(PASSING))
    values = passing.select("request", "kind", source=pl.lit(None, pl.String), hash="name")
    return held.with_more(values) if len(held) else held


def receipts(home: Home) -> pl.DataFrame:
    """Every line of every receipt; none before the first request."""
    return home.lake.scan(KEPT).collect() if home.lake.exists(KEPT) else RECEIPTS.to_frame()


def requests(home: Home) -> pl.DataFrame:
    """The requests that wait: what was carried out stands here no more."""
    return home.read(REQUESTS).select("source", "source_id", "at")


def waiting_since(home: Home) -> list[dt.datetime]:
    """Since when each request waits: since the day of its file, for one asked long before may have come today."""
    return _moments(home.read(REQUESTS)["delivered_on"].cast(pl.Datetime("us")))


def under_way_since(instance: dg.DagsterInstance, home: Home) -> list[dt.datetime]:
    """Since when each receipt is under way.

    That is since rows were first removed after receipts were signed last. Of a removal that never came to its end
    nothing tells when it began: then since it was asked, unless it is going on right now.
    """
    each = under_way(receipts(home)).group_by("request").agg(pl.col("asked_at").min())
    if each.is_empty():
        return []
    signed = instance.get_latest_materialization_event(dg.AssetKey(["erasure", "receipts"]))
    after = dg.AssetRecordsFilter(
        asset_key=dg.AssetKey(["erasure", "suppressed"]), after_timestamp=signed.timestamp if signed else None
    )
    if removed := instance.fetch_materializations(after, limit=1, ascending=True).records:
        return [dt.datetime.fromtimestamp(removed[0].timestamp, dt.UTC)] * each.height
    going_on = instance.get_runs(dg.RunsFilter(job_name="erasure", statuses=UNDER_WAY), limit=1)
    return [] if going_on else _moments(each["asked_at"])


def _moments(by_the_clock: pl.Series) -> list[dt.datetime]:
    """Moments of the retailer's clock, with their time zone."""
    known = by_the_clock.drop_nulls().dt.replace_time_zone(timezone(), ambiguous="earliest", non_existent="null")
    return known.drop_nulls().to_list()


def kept_out_of(home: Home) -> pl.DataFrame:
    """Files of the landing zone that hold rows which were not let in: `feed`, `delivered_on`, `file`, `suppressed`."""
    if not home.lake.exists(LEDGER):
        return pl.DataFrame(schema={"feed": pl.String, "delivered_on": pl.Date, "file": pl.String})
    files = home.lake.scan(LEDGER)
    if "suppressed" not in files.collect_schema():
        return pl.DataFrame(schema={"feed": pl.String, "delivered_on": pl.Date, "file": pl.String})
    held = files.filter(pl.col("suppressed") > 0).select("feed", "delivered_on", "file").sort("feed", "file").collect()
    # One that was archived since cannot be rewritten: it would be due for ever.
    return pl.concat([held.clear(), *(_lying_there(home, files) for files in held.partition_by("feed"))])


def _lying_there(home: Home, files: pl.DataFrame) -> pl.DataFrame:
    """Those of some files of one feed that lie in the landing zone; all of them where its folder may not be listed."""
    try:
        there = [drop.name for drop in list_drops(home.landing, files["feed"][0])]
    except PermissionError:  # nothing is signed before somebody can tell
        return files
    return files.filter(pl.col("file").is_in(there))
