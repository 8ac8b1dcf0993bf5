"""Customer ids that stay: groups of records under their former ids, and a ledger of what changed."""

import hashlib
from collections.abc import Sequence

import duckdb
import polars as pl

HISTORY_SCHEMA = {
    "run": pl.String,
    "customer_id": pl.String,
    "event": pl.String,
    "from": pl.String,
    "to": pl.String,
}

ID_LENGTH = 16
"""Hexadecimal digits of an id: 64 bits, so that ten million customers share one with a chance under one in 300,000."""


def run_of(records: pl.DataFrame, columns: Sequence[str], known: pl.DataFrame | None) -> str:
    """The name of a run: a hash of the previous links and the records it resolves."""
    digest = hashlib.sha256()
    for frame in (
        records.select("record_id", *columns).sort("record_id"),
        known.select("record_id", "customer_id").sort("record_id") if known is not None else None,
    ):
        digest.update(b"\x00")
        for rows in frame.iter_slices() if frame is not None else ():
            digest.update(rows.write_ndjson().encode())
    return digest.hexdigest()[:ID_LENGTH]


def assign_ids(
    groups: pl.DataFrame,
    known: pl.DataFrame | None,
    run: str,
    connection: duckdb.DuckDBPyConnection,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Give every group of records an id, an old one where it has a claim to it.

    A group claims an id by the records they have in common: the largest overlap wins, then the smaller id, then the
    group with the smaller first record; a group gets one id and an id goes to one group. A group without an old id is
    named by the hash of its first record (the smallest record_id); should that name be taken, the run is hashed
    with it.

    Args:
        groups: `record_id`, `group` (any number that the records of a group share).
        known: the previous links, `record_id` and `customer_id`; none at the first load.
        run: the name of this run.
        connection: computes the hashes.

    Returns:
        `record_id`, `customer_id` by record_id; and the history of the run: run, customer_id, event, from, to.
        Events: `birth` (no record was known), `merge` (the id `from` is gone, its records now under `to`), `split` (the
        new id `to` was taken out of `from`), `move` (records went from one id that stays to another that stays), `end`
        (the id `from` is gone with all its records). `customer_id` is the id that the event happened to: the new one of
        a birth or split, the old one otherwise.
    """
    before = (
        pl.DataFrame(schema={"record_id": groups.schema["record_id"], "customer_id": pl.String})
        if known is None
        else known.select("record_id", "customer_id")
    )
    first = groups.group_by("group").agg(first=pl.col("record_id").min())
    overlaps = (groups.join(before, on="record_id").group_by("group", "customer_id").len("records")).join(
        first, on="group"
    )
    kept = _keep(overlaps)
    born = _name_new(first.join(kept, on="group", how="anti"), before, run, connection)
    named = pl.concat([kept, born])
    links = groups.join(named, on="group").select("record_id", "customer_id").sort("record_id")
    return links, _history(overlaps, named, kept, before, run)


def _keep(overlaps: pl.DataFrame) -> pl.DataFrame:
    """One id to one group, the strongest claim first: `group`, `customer_id`.

    All claims that are the best both of their group and of their id are granted in one round, which is what granting
    one claim at a time in their order would give.
    """
    order = ["records", "customer_id", "first"]
    open_claims = overlaps.sort(order, descending=[True, False, False]).with_row_index("rank")
    granted: list[pl.DataFrame] = [open_claims.clear().select("group", "customer_id")]
    while len(open_claims):
        best = open_claims.filter(
            (pl.col("rank") == pl.col("rank").min().over("group"))
            & (pl.col("rank") == pl.col("rank").min().over("customer_id"))
        ).select("group", "customer_id")
        granted.append(best)
        open_claims = open_claims.join(best, on="group", how="anti").join(best, on="customer_id", how="anti")
    return pl.concat(granted)


def _name_new(new: pl.DataFrame, before: pl.DataFrame, run: str, connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Names for groups without an old id: `group`, `customer_id`."""
    view = connection.cursor()
    view.execute("set variable run = $run", {"run": run})
    view.register("new_groups", new.select("group", pl.col("first").cast(pl.String)))
    view.register("taken", before.select("customer_id").unique())
    named = view.sql(
        f"""
        with named as (
            select "group", first, left(sha256(first), {ID_LENGTH}) as name from new_groups
        )
        select
            "group",
            case when taken.customer_id is null then name
            else left(sha256(first || ' ' || getvariable('run')), {ID_LENGTH}) end as customer_id
        from named left join taken on taken.customer_id = named.name
        """
    ).pl()
    view.close()
    return named


def _history(
    overlaps: pl.DataFrame,
    named: pl.DataFrame,
    kept: pl.DataFrame,
    before: pl.DataFrame,
    run: str,
) -> pl.DataFrame:
    old, new = pl.col("from"), pl.col("to")
    stays = kept["customer_id"].sort().implode()
    changed = (
        overlaps.select("group", pl.col("customer_id").alias("from"))
        .join(named.select("group", pl.col("customer_id").alias("to")), on="group")
        .filter(old != new)
        .select(
            "from",
            "to",
            event=pl.when(~old.is_in(stays))
            .then(pl.lit("merge"))
            .when(~new.is_in(stays))
            .then(pl.lit("split"))
            .otherwise(pl.lit("move")),
        )
    )
    nothing = pl.lit(None, dtype=pl.String)
    born = named.join(overlaps, on="group", how="anti").select(
        pl.lit(None, dtype=pl.String).alias("from"),
        pl.col("customer_id").alias("to"),
        event=pl.lit("birth"),
    )
    gone = (
        before.select("customer_id")
        .unique()
        .join(overlaps, on="customer_id", how="anti")
        .select(pl.col("customer_id").alias("from"), nothing.alias("to"), event=pl.lit("end"))
    )
    happened_to = pl.when(pl.col("event").is_in(["birth", "split"])).then(new).otherwise(old)
    return (
        pl.concat([changed, born, gone])
        .with_columns(run=pl.lit(run), customer_id=happened_to)
        .select(*HISTORY_SCHEMA)
        .sort("event", "customer_id", "from", "to")
    )
