"""A feed as Dagster sees it: a new source system is a `defs.yaml` of this component's type, not code."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import dagster as dg
import polars as pl
from pydantic import BaseModel

from cer_assets.defs.erasure.listed import suppression
from cer_assets.defs.io import REPLACES, schema_of, table, table_metadata
from cer_assets.defs.partitions import as_days, days
from cer_assets.defs.plan import deliveries_asked_for
from cer_assets.defs.raw.checks import feed_checks
from cer_assets.defs.resources import LEDGER, Home, drop_bytes, timezone
from cer_assets.erasure import kept_out
from cer_assets.feeds import (
    CONTRACTS,
    Delivery,
    Drop,
    Feed,
    Reject,
    column_descriptions,
    list_drops,
    personal_columns,
    read_drops,
)

DELIVERED_ON = "delivered_on"


class FeedComponent(dg.Component):
    """`raw/<feed>` and its rejects, read from the feed's drops in the landing zone, with their checks."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The YAML's `attributes` are a `Feed`."""
        return Feed

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> "FeedComponent":
        """Take the attributes as they were validated."""
        return cls(cast("Feed", attributes))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The feed's tables and their checks."""
        return dg.Definitions(assets=feed_assets(self.feed), asset_checks=feed_checks(self.feed))


def feed_assets(feed: Feed) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The rows that keep the contract, and beside them those that do not.

    The rejects are a table that the load writes and reports on, not an asset of its own grid: a materialization costs
    the instance tens of milliseconds for every partition, and nearly every day's would be empty.
    """
    grid = days if feed.partitions == "daily" else None
    key = dg.AssetKey(["raw", feed.feed])
    personal = personal_columns(CONTRACTS[feed.contract])

    @dg.asset(
        key=key,
        description=f"{feed.description}\n\n{_promise(feed)}",
        group_name="raw",
        owners=list(feed.owners),
        kinds={"polars", "deltalake"},
        tags={"stage": "raw"} | ({"personal_data": "yes"} if personal else {}),
        code_version=feed.version,
        partitions_def=grid,
        backfill_policy=dg.BackfillPolicy.single_run() if grid else None,
        metadata=table_metadata(column_descriptions(CONTRACTS[feed.contract]), DELIVERED_ON)
        | {"personal columns": ", ".join(personal) or "none"},
        io_manager_key="lake_tables",
    )
    def load(context: dg.AssetExecutionContext, home: Home) -> Iterator[dg.Output[pl.DataFrame]]:
        asked = as_days(context.partition_keys) if grid else None
        drops, wanted = _drops(home, feed, asked, context.run.tags)
        context.log.info(f"{feed.feed}: reading {len(drops)} files, {sum(d.bytes for d in drops) / 1e6:,.1f} MB")
        delivery = kept_out(feed, read_drops(feed, drops, timezone(), drop_bytes()), suppression(home))
        delivery = with_files_gone(home, feed, delivery, wanted)
        for fault in delivery.refused:
            context.log.error(f"refused: {fault}")
        _keep_rejects(context, home, feed, delivery, wanted)
        replaced = {} if grid else {REPLACES: " ".join(map(str, wanted))}
        yield dg.Output(delivery.accepted, metadata=_figures(delivery) | replaced)
        # The ledger comes last: a load that was killed before is not in it, so it is due again.
        enter(home, feed, delivery.files, wanted)

    rejects = dg.AssetSpec(
        ["raw", f"{feed.feed}_rejects"],
        deps=[key],
        description=f"Delivered rows of `{feed.feed}` that break its contract, with file, line, column and reason.",
        group_name="raw",
        owners=list(feed.owners),
        kinds={"deltalake"},
        tags={"stage": "raw", "personal_data": "yes"},
        metadata={"personal columns": ", ".join(personal_columns(Reject))},
    )
    return [load, rejects]


def _keep_rejects(
    context: dg.AssetExecutionContext,
    home: Home,
    feed: Feed,
    delivery: Delivery,
    wanted: Sequence[dt.date],
) -> None:
    name = f"raw.{feed.feed}_rejects"
    done = home.lake.publish(name, delivery.rejects, partition_by=DELIVERED_ON, keys=wanted)
    metadata: dict[str, Any] = {
        "rejected in this load": delivery.rejects.height,
        "reasons": _reasons(delivery),
        "table version": done.version,
        "dagster/column_schema": schema_of(delivery.rejects, column_descriptions(Reject)),
    }
    context.log_event(dg.AssetObservation(["raw", f"{feed.feed}_rejects"], metadata=metadata))


def enter(home: Home, feed: Feed, files: pl.DataFrame, wanted: Sequence[dt.date]) -> None:
    """Enter what was read into the ledger of deliveries, in place of what it held for the feed and those days."""
    others = home.ledger(feed.feed).filter(~pl.col(DELIVERED_ON).is_in(list(wanted)))
    files = files.with_columns(layout=pl.lit(feed.version))
    files = pl.concat([others, files], how="diagonal").select(files.columns).sort("feed", DELIVERED_ON, "file")
    home.lake.publish(LEDGER, files, partition_by="feed", keys=[feed.feed])


def _drops(
    home: Home, feed: Feed, wanted: Sequence[dt.date] | None, tags: Mapping[str, str]
) -> tuple[list[Drop], list[dt.date]]:
    """The drops of some days, and those days; without days, those that the run was asked for.

    A file that replaces another of its day and cannot be read takes the other's rows with it: the table holds what the
    files say that lie in the landing zone now, the former version what they said before, and `every_file_read` is red.
    """
    there = list_drops(home.landing, feed.feed)
    if wanted is None:
        wanted = deliveries_asked_for(home, feed, tags, there)
    drops = [d for d in there if d.day in set(wanted)]
    if not drops and set(home.ledger(feed.feed)[DELIVERED_ON]).isdisjoint(wanted):
        span = f" for {wanted[0]} to {wanted[-1]}" if wanted else ""
        folder = home.landing / feed.feed
        raise dg.Failure(
            f"{feed.feed}: no drop{span}. Put <YYYY-MM-DD>.csv, .csv.gz, .parquet or .ndjson into {folder}",
            allow_retries=False,
        )
    return drops, list(wanted)


def with_files_gone(home: Home, feed: Feed, delivery: Delivery, wanted: Sequence[dt.date]) -> Delivery:
    """What days hold of files that lie there no more stays beside what was read; refused ones leave the ledger.

    A file that was archived is not taken back; who means that drops it again under its name, without rows. One that
    lies there in another format, packed since or delivered anew, is the same file.
    """
    ledger = home.ledger(feed.feed).filter(pl.col(DELIVERED_ON).is_in(list(wanted)), pl.col("refused").is_null())
    same = pl.col("file").str.replace(r"\.(csv\.gz|csv|parquet|ndjson)$", "")
    gone = ledger.filter(~same.is_in(delivery.files.select(same).to_series().implode()))
    if gone.is_empty():
        return delivery

    def held(name: str, like: pl.DataFrame) -> pl.DataFrame:
        rows = home.lake.scan(name).filter(pl.col(DELIVERED_ON).is_in(list(wanted)))
        kept = rows.join(gone.lazy().select(DELIVERED_ON, "file"), on=[DELIVERED_ON, "file"], how="semi").collect()
        # A table from before the contract had some column lacks it.
        return pl.concat([like, kept.select(c for c in like.columns if c in kept.columns)], how="diagonal")

    return replace(
        delivery,
        accepted=held(f"raw.{feed.feed}", delivery.accepted),
        rejects=held(f"raw.{feed.feed}_rejects", delivery.rejects),
        files=pl.concat([delivery.files, gone.select(delivery.files.columns)]),
    )


def _promise(feed: Feed) -> str:
    kinds = {"full": "everything each time", "changes": "what is new or changed"}
    grid = "one partition a day" if feed.partitions == "daily" else "every delivery is kept, the newest of a key counts"
    return f"Contract `{feed.contract}`; the source delivers {kinds[feed.delivers]}; {grid}."


def _figures(delivery: Delivery) -> dict[str, Any]:
    """Counts of the load; short, because the metadata is written once for every partition."""
    files = delivery.files
    by_day = files.group_by(DELIVERED_ON).agg(
        pl.len().alias("files"),
        pl.col("delivered", "accepted", "rejected", "suppressed").sum(),
        pl.col("refused").count().alias("files refused"),
    )
    return {
        "files": files.height,
        "delivered": int(files["delivered"].sum()),
        "rejected": int(files["rejected"].sum()),
        "suppressed": int(files["suppressed"].sum()),
        "files refused": len(delivery.refused),
        "newest days": table(by_day.sort(DELIVERED_ON, descending=True), most=7),
    } | ({"columns not in the contract": ", ".join(delivery.ignored)} if delivery.ignored else {})


def _reasons(delivery: Delivery) -> dg.MetadataValue:
    counts = delivery.rejects.group_by("column", "reason").agg(pl.len().alias("rows"))
    return table(counts.sort("rows", "column", "reason", descending=[True, False, False]))
