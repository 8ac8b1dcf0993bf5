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

LINKS_VERSION = "links_version"
"""Of a ledger of many runs: which links a run started from, a number that rises from run to run; -1 before any."""

ID_LENGTH = 16
"""Hexadecimal digits of an id: 64 bits, so that ten million customers share one with a chance under one in 300,000."""


def run_of(records: pl.DataFrame, columns: Sequence[str], known: pl.DataFrame | None) -> str:
    """The name of a run: a hash of the previous links and the records it resolves.

    It tells what a run did, not when: where records and links come to be as they were before, so does the name.
    """
    digest = hashlib.sha256()
    links = None if known is None else known.select("record_id", "customer_id")
    for frame in (records.select("record_id", *columns), links):
        if frame is None:
            continue
        ordered = frame if frame["record_id"].is_sorted() else frame.sort("record_id")
        for column in ordered.iter_columns():
            # A text cannot hold the bytes that stand for no text and for the end of one.
            texts = column.cast(pl.String).fill_null("\x01")
            digest.update(texts.str.join("\x00").item().encode() + b"\x02")
    return digest.hexdigest()[:ID_LENGTH]


def assign_ids(
    groups: pl.DataFrame,
    known: pl.DataFrame | None,
    run: str,
    connection: duckdb.DuckDBPyConnection,
    taken: pl.Series | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Give every group of records an id, an old one where it has a claim to it.

    A group claims an id by the records they have in common: the largest overlap wins, then the older id (where `known`
    says when ids were born), then the smaller id, then the group with the smaller first record; a group gets one id and
    an id goes to one group. A group without an old id is named by the hash of its first record (the smallest
    record_id); should that name be taken, the run is hashed with it.

    Args:
        groups: `record_id`, `group` (any number that the records of a group share).
        known: the previous links, `record_id` and `customer_id`; none at the first load. `born`, where there is such a
            column, holds anything that rises with the time at which the row's customer_id came to be.
        run: the name of this run.
        connection: computes the hashes.
        taken: ids in use beside those of `known`.

    Returns:
        `record_id`, `customer_id` by record_id; and the history of the run: run, customer_id, event, from, to.
        Events: `birth` (no record was known), `merge` (the id `from` is gone, its records now under `to`), `split` (the
        new id `to` was taken out of `from`), `move` (records went from one id that stays to another that stays), `end`
        (the id `from` is gone with all its records). `customer_id` is the id that the event happened to: the new one of
        a birth or split, the old one otherwise.
    """
    before = _before(groups, known)
    first = groups.group_by("group").agg(first=pl.col("record_id").min())
    overlaps = (
        groups.join(before, on="record_id")
        .group_by("group", "customer_id")
        .agg(records=pl.len(), born=pl.col("born").min())
        .join(first, on="group")
    )
    kept = _keep(overlaps)
    in_use = pl.concat([before["customer_id"], taken]) if taken is not None else before["customer_id"]
    born = _name_new(first.join(kept, on="group", how="anti"), in_use.unique(), run, connection)
    named = pl.concat([kept, born])
    links = groups.join(named, on="group", maintain_order="left").select("record_id", "customer_id")
    links = links if links["record_id"].is_sorted() else links.sort("record_id")
    return links, _history(overlaps, named, kept, before, run)


def survivors(history: pl.DataFrame) -> pl.DataFrame:
    """Where every id of the ledger leads today: the ids under which records of its customer may now be found.

    An id that stands leads to itself, and to what was taken out of it. One that is gone leads to what it was merged
    into, on and on through all later runs.

    Args:
        history: run, event, from, to, as `assign_ids` returns them, with `links_version` as `with_run` adds it, in any
            order. Without that column the runs are taken in the order of their rows, and no name may come twice.

    Returns:
        old_id, customer_id (null: the records are gone), ordered.
    """
    leads = pl.DataFrame(schema={"old_id": pl.String, "customer_id": pl.String})
    ever = [leads]
    # Backwards: what an id led to before a run is what its heirs of that run led to after it.
    for step in reversed(_steps(history)):
        through = step.join(leads, left_on="heir", right_on="old_id", how="left")
        gone_on = pl.col("heir").is_in(leads["old_id"].implode())
        through = through.select(
            "old_id", "changed", customer_id=pl.when(gone_on).then("customer_id").otherwise("heir")
        ).unique()
        ever.append(through.select("old_id", "customer_id"))
        through = through.filter("changed").select("old_id", "customer_id")
        leads = pl.concat([leads.join(through, on="old_id", how="anti"), through])
    return pl.concat(ever).unique().sort("old_id", "customer_id")


def with_run(history: pl.DataFrame | None, happened: pl.DataFrame, links_version: int) -> pl.DataFrame:
    """The ledger after a run.

    Rows that another run wrote from these very links give way: it was killed before it could replace them, or its links
    were taken back.

    Args:
        history: the ledger before, as returned by this function; none before the first run.
        happened: the history of the run, as `assign_ids` returns it.
        links_version: the version of the links that the run started from, which rises from run to run; -1 for none.

    Returns:
        run, customer_id, event, from, to, links_version; ordered by links_version, then by the others.
    """
    columns = [*HISTORY_SCHEMA, LINKS_VERSION]
    rows = happened.with_columns(pl.lit(links_version, pl.Int64).alias(LINKS_VERSION)).select(columns)
    if history is not None:
        rows = pl.concat([history.select(columns).filter(pl.col(LINKS_VERSION) != links_version), rows])
    return rows.sort(LINKS_VERSION, *HISTORY_SCHEMA)


def with_age(known: pl.DataFrame, history: pl.DataFrame | None, links_version: int) -> pl.DataFrame:
    """Links with `born`: the links version before the run that first gave out the customer's id; null where unknown.

    What the ledger says of runs from these links or later ones counts for nothing: they were killed.
    """
    if history is None:
        return known.with_columns(born=pl.lit(None, pl.Int64))
    given_out = history.filter(pl.col("event").is_in(["birth", "split"]), pl.col(LINKS_VERSION) < links_version)
    ages = given_out.group_by("customer_id").agg(born=pl.col(LINKS_VERSION).min())
    return known.join(ages, on="customer_id", how="left", maintain_order="left")


def _steps(history: pl.DataFrame) -> list[pl.DataFrame]:
    """Per run, in order: `old_id`, the `heir` that has its records after the run, whether the id `changed` in the run.

    An id that stays or is born is an heir of its own.
    """
    old, heir = pl.col("from").alias("old_id"), pl.col("to").alias("heir")
    stays = pl.col("event").is_in(["split", "move"])
    steps: list[pl.DataFrame] = []
    for run in _runs(history):
        changed = run.filter(pl.col("from").is_not_null())
        new = run.filter(pl.col("to").is_not_null()).select(pl.col("to").alias("old_id"), heir)
        moved = pl.concat([changed.select(old, heir), changed.filter(stays).select(old, pl.col("from").alias("heir"))])
        new = new.join(moved, on="old_id", how="anti")
        parts = [moved.with_columns(changed=pl.lit(value=True)), new.with_columns(changed=pl.lit(value=False))]
        steps.append(pl.concat(parts).unique())
    return steps


def _runs(history: pl.DataFrame) -> list[pl.DataFrame]:
    """The rows of each run, the runs in their order."""
    if LINKS_VERSION in history.columns:
        return history.sort(LINKS_VERSION, "run").partition_by(LINKS_VERSION, "run", maintain_order=True)
    return history.partition_by("run", maintain_order=True)


def _before(groups: pl.DataFrame, known: pl.DataFrame | None) -> pl.DataFrame:
    """The previous links: `record_id`, `customer_id`, `born` (null where that is not known)."""
    if known is None:
        return pl.DataFrame(
            schema={"record_id": groups.schema["record_id"], "customer_id": pl.String, "born": pl.Int64}
        )
    born = pl.col("born") if "born" in known.columns else pl.lit(None, pl.Int64).alias("born")
    return known.select("record_id", "customer_id", born)


def _keep(overlaps: pl.DataFrame) -> pl.DataFrame:
    """One id to one group, the strongest claim first: `group`, `customer_id`.

    All claims that are the best both of their group and of their id are granted in one round, which is what granting
    one claim at a time in their order would give.
    """
    order = ["records", "born", "customer_id", "first"]
    descending = [True, False, False, False]
    open_claims = overlaps.sort(order, descending=descending, nulls_last=True).with_row_index("rank")
    granted: list[pl.DataFrame] = [open_claims.clear().select("group", "customer_id")]
    while len(open_claims):
        best = open_claims.filter(
            (pl.col("rank") == pl.col("rank").min().over("group"))
            & (pl.col("rank") == pl.col("rank").min().over("customer_id"))
        ).select("group", "customer_id")
        granted.append(best)
        open_claims = open_claims.join(best, on="group", how="anti").join(best, on="customer_id", how="anti")
    return pl.concat(granted)


def _name_new(new: pl.DataFrame, in_use: pl.Series, run: str, connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Names for groups without an old id, none of those in use: `group`, `customer_id`."""
    view = connection.cursor()
    view.register("new_groups", new.select("group", pl.col("first").cast(pl.String)))
    view.register("taken", in_use.rename("customer_id").to_frame())
    named = view.sql(
        """
        with named as (
            select "group", first, left(sha256(first), $length) as name from new_groups
        )
        select
            "group",
            case when taken.customer_id is null then name
            else left(sha256(first || ' ' || $run), $length) end as customer_id
        from named left join taken on taken.customer_id = named.name
        """,
        params={"length": ID_LENGTH, "run": run},
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
