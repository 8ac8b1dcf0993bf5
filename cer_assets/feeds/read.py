"""Drops become rows that keep their contract and rejects that say why they do not.

Which files there are is found in `landing.py`; how they are written is told by `catalogue.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo

import dataframely as dy
import polars as pl

from cer_assets.feeds.casts import Cast, NotCastable, cast
from cer_assets.feeds.catalogue import Feed, Layout
from cer_assets.feeds.contracts import (
    CONTRACTS,
    LINEAGE,
    Reject,
    contract_columns,
    key_columns,
    polars_schema,
    required_columns,
    rule_reason,
)
from cer_assets.feeds.csv_format import open_csv
from cer_assets.feeds.landing import Drop, fingerprint, out_of_reach
from cer_assets.feeds.ndjson_format import Lines, open_ndjson, take_to_lines
from cer_assets.feeds.parcel import Opened, Parcel, Refused, UnreadableDrop, as_json, refusal, too_large
from cer_assets.feeds.parquet_format import open_parquet

FILES = pl.Schema(
    {
        "feed": pl.String,
        "delivered_on": pl.Date,
        "file": pl.String,
        "bytes": pl.Int64,
        "fingerprint": pl.String,
        "delivered": pl.Int64,
        "accepted": pl.Int64,
        "rejected": pl.Int64,
        "suppressed": pl.Int64,
        "refused": pl.String,
    }
)

_FAULTS = pl.Schema(
    {
        "delivered_on": pl.Date,
        "file": pl.String,
        "file_line": pl.Int64,
        "place": pl.Float64,
        "column": pl.String,
        "reason": pl.String,
    }
)
_log = logging.getLogger(__name__)
_ROW = ["delivered_on", "file", "file_line"]
_BYTES_AT_ONCE = 64_000_000
MOST_BYTES = 400_000_000
"""What one file may hold, once unpacked, unless it is told otherwise: two million customers as text. Reading takes up
to eighteen times as much memory, so that one file never takes more than seven gigabytes and a quarter."""


@dataclass(frozen=True)
class Delivery:
    """What a feed's drops hold."""

    accepted: pl.DataFrame
    """Rows that keep the contract, with lineage, as `polars_schema` of the contract says; ordered
    by delivery day, file and line."""
    rejects: pl.DataFrame
    """Rows that do not, as `polars_schema(Reject)` says, in the same order."""
    files: pl.DataFrame
    """One row per file: feed, delivered_on, file, bytes, fingerprint (SHA-256); the rows delivered
    (counted on the file itself), accepted, rejected, and suppressed (left out for who asked to be
    forgotten: none until somebody does so); and where the file cannot be read at all, why it was
    refused. A refused file delivers nothing."""
    ignored: tuple[str, ...]
    """Delivered columns that no contract column comes from."""
    absent: tuple[str, ...]
    """Contract columns that at least one file has no column for."""

    @property
    def refused(self) -> tuple[str, ...]:
        """Of each file that cannot be read: its name, what is wrong, what was expected, what to do."""
        return tuple(self.files["refused"].drop_nulls())


@dataclass(frozen=True)
class _Batch:
    """Files that look alike: their delivered rows, and where each row came from."""

    parcels: tuple[Parcel, ...]
    rows: pl.DataFrame
    origin: pl.DataFrame
    """delivered_on, file, file_line."""
    originals: pl.Series | None

    def content(self, at: pl.Series) -> pl.Series:
        """The rows at these places as they were delivered, as JSON."""
        return as_json(self.rows[at]) if self.originals is None else self.originals[at]


def read_drops(feed: Feed, drops: Sequence[Drop], timezone: str, most_bytes: int = MOST_BYTES) -> Delivery:
    """Read drops of a feed, be it one day's or a year's.

    Timestamps become naive wall-clock times of the retailer. A key is unique within a delivery
    day: of a daily feed's repeated keys the first row is kept, of another feed's the last.

    Args:
        feed: The feed, with its contract and layouts.
        drops: Its files.
        timezone: The retailer's zone, such as America/New_York.
        most_bytes: What a file may hold once unpacked; a larger one is refused before it is.

    Returns:
        Every delivered row, accepted or rejected, of the files that can be read; and every file that cannot.
    """
    contract = CONTRACTS[feed.contract]
    zone = ZoneInfo(timezone).key
    _log.info("reading %d files of %s", len(drops), feed.feed)
    parcels, refused = _open_all(feed, sorted(drops), most_bytes)
    parcels, unfit = _castable(parcels, contract, zone)
    batches = _batches(parcels)
    rows, unread = _read_values(batches, contract, zone)
    kept, faults = _judge(rows, unread, contract, "first" if feed.partitions else "last")
    rejects = _rejects(feed.feed, parcels, batches, faults)
    delivery = Delivery(
        accepted=kept.select(polars_schema(contract).names()).sort(_ROW),
        rejects=rejects,
        files=_files(feed.feed, parcels, [*refused, *unfit], kept, rejects),
        ignored=tuple(sorted(frozenset().union(*(parcel.ignored for parcel in parcels)))),
        absent=tuple(sorted(frozenset().union(*(parcel.absent for parcel in parcels)))),
    )
    _log.info("%s: %d rows accepted, %d rejected", feed.feed, kept.height, rejects.height)
    for fault in delivery.refused:
        _log.warning("refused %s", fault)
    return delivery


def newest(frame: pl.DataFrame, keys: Sequence[str], delivers: Literal["full", "changes"]) -> pl.DataFrame:
    """The current state of a table that holds all deliveries of a feed.

    Args:
        frame: The table, with lineage.
        keys: Columns that tell two rows of a delivery day apart.
        delivers: `full`: only the newest delivery day counts, what it leaves out is gone.
            `changes`: each key's newest delivery counts.

    Returns:
        One row per key, ordered by key: the last by delivered_on, file and file_line; and `changed_on`, the day from
        which on every delivery of the key held what the last one holds.
    """
    told = [name for name in frame.columns if name not in LINEAGE]
    moved = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift()) for name in told)
    last_day = frame["delivered_on"].max()
    return (
        frame.sort(*keys, *_ROW)
        .with_columns(changed_on=pl.when(moved | (pl.int_range(pl.len()) == 0)).then("delivered_on"))
        .with_columns(pl.col("changed_on").forward_fill())
        .unique(keys, keep="last", maintain_order=True)
        .filter((pl.col("delivered_on") == last_day) | (delivers != "full"))
    )


def _open_all(feed: Feed, drops: Iterable[Drop], most_bytes: int) -> tuple[list[Parcel], list[Refused]]:
    parcels: list[Parcel] = []
    refused: list[Refused] = []
    for armful in _armfuls(drops):
        for result in _open(feed, armful, most_bytes):
            if isinstance(result, Parcel):
                parcels.append(result)
            else:
                refused.append(result)
    return sorted(parcels, key=lambda parcel: parcel.drop), refused


def _armfuls(drops: Iterable[Drop]) -> Iterator[list[Drop]]:
    """Take drops a few at a time, so that not the bytes of all of them are held at once."""
    armful: list[Drop] = []
    weight = 0
    for drop in drops:
        if armful and weight + drop.bytes > _BYTES_AT_ONCE:
            yield armful
            armful, weight = [], 0
        armful.append(drop)
        weight += drop.bytes
    if armful:
        yield armful


def _open(feed: Feed, drops: Iterable[Drop], most_bytes: int) -> Iterator[Parcel | Refused]:
    lines: dict[int, list[Lines]] = {}
    for drop in drops:
        content = None
        if drop.bytes > most_bytes:
            yield Refused(drop, drop.bytes, fingerprint(drop), str(too_large(drop, most_bytes)))
            continue
        try:
            content = _bytes_of(drop)
            layout = _layout_of(drop, feed)
            opened = _opened(drop, feed, layout, content, most_bytes)
            if drop.format == "ndjson":
                taken = take_to_lines(opened)
                lines.setdefault(id(layout), []).append(taken)
            else:
                yield open_parquet(opened) if drop.format == "parquet" else open_csv(opened)
        except UnreadableDrop as fault:
            yield Refused.of(drop, content, fault)
    for together in lines.values():
        yield from open_ndjson(together)


def _layout_of(drop: Drop, feed: Feed) -> Layout:
    layout = feed.layout_of(drop.name)
    if layout is None:
        raise refusal(
            drop,
            "no layout reads a file of this name",
            f"one of the patterns {', '.join(layout.files for layout in feed.layouts)}",
            "Rename it, or add a layout to the feed's defs.yaml.",
        )
    return layout


def _bytes_of(drop: Drop) -> bytes:
    try:
        return drop.path.read_bytes()
    except OSError as error:
        if out_of_reach(drop, error):
            raise
        raise refusal(
            drop,
            f"it cannot be opened ({type(error).__name__})",
            "a file that is there and that this process may read",
            "Look after its permissions, or deliver it again.",
        ) from error


def _opened(drop: Drop, feed: Feed, layout: Layout, content: bytes, most_bytes: int) -> Opened:
    contract = CONTRACTS[feed.contract]
    wanted = {
        column: layout.delivered_name(column) for column in contract_columns(contract) if column not in layout.constants
    }
    return Opened(drop, layout, wanted, frozenset(required_columns(contract)), content, most_bytes)


def _castable(
    parcels: Iterable[Parcel], contract: type[dy.Schema], timezone: str
) -> tuple[list[Parcel], list[Refused]]:
    """The parcels whose columns have types that can become the contract's, and the others as refused."""
    fit: list[Parcel] = []
    unfit: list[Refused] = []
    for parcel in parcels:
        try:
            _casts(parcel, contract, timezone)
        except UnreadableDrop as fault:
            unfit.append(Refused(parcel.drop, parcel.bytes, parcel.fingerprint, str(fault)))
        else:
            fit.append(parcel)
    return fit, unfit


def _batches(parcels: Iterable[Parcel]) -> list[_Batch]:
    """Put files that look alike together, so that each of them is read and judged as one."""
    alike: dict[object, list[Parcel]] = {}
    for parcel in parcels:
        columns = tuple(parcel.rows.schema.items())
        key = (id(parcel.layout), parcel.originals is None, columns)
        alike.setdefault(key, []).append(parcel)
    return [_batch(group) for group in alike.values()]


def _batch(parcels: Sequence[Parcel]) -> _Batch:
    originals = [parcel.originals for parcel in parcels if parcel.originals is not None]
    return _Batch(
        parcels=tuple(parcels),
        rows=pl.concat([parcel.rows for parcel in parcels]),
        origin=pl.concat([_origin(parcel.drop, parcel.lines) for parcel in parcels]),
        originals=pl.concat(originals) if originals else None,
    )


def _origin(drop: Drop, lines: pl.Series) -> pl.DataFrame:
    return pl.select(delivered_on=pl.lit(drop.day), file=pl.lit(drop.name), file_line=lines.cast(pl.Int64))


def _read_values(
    batches: Iterable[_Batch], contract: type[dy.Schema], timezone: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All rows in the contract's types, and a fault for each value that could not be read."""
    rows = [polars_schema(contract).to_frame()]
    faults = [_FAULTS.to_frame()]
    for batch in batches:
        casts = _casts(batch.parcels[0], contract, timezone)
        given = batch.rows.select(made.given.alias(column) for column, made in casts.items())
        values = given.select(made.convert(pl.col(column)).alias(column) for column, made in casts.items())
        rows.append(values.hstack(batch.origin))
        faults += [
            _faults(
                batch.origin.filter(given[column].is_not_null() & values[column].is_null()), at, column, made.reason
            )
            for at, (column, made) in enumerate(casts.items())
        ]
    return pl.concat(rows), pl.concat(faults)


def _casts(parcel: Parcel, contract: type[dy.Schema], timezone: str) -> dict[str, Cast]:
    """How each column of the contract is made; the same for every parcel of a layout with the same columns.

    Raises:
        UnreadableDrop: A column's type can never be read as the contract's.
    """
    layout = parcel.layout
    casts: dict[str, Cast] = {}
    for column, definition in contract_columns(contract).items():
        name = layout.delivered_name(column)
        if column in layout.constants:
            delivered, found = pl.lit(layout.constants[column]), pl.String()
        elif name in parcel.rows.columns:
            delivered, found = pl.col(name), parcel.rows.schema[name]
        else:
            delivered, found = pl.lit(None, pl.String), pl.String()
        try:
            casts[column] = cast(delivered, found, definition.dtype, layout, timezone)
        except NotCastable as error:
            raise refusal(
                parcel.drop,
                f"the column {name} is of type {type(found).__name__}",
                f"a type that can be read as {type(definition.dtype).__name__}",
                "Deliver it as text, or in that type.",
            ) from error
    return casts


def _faults(rows: pl.DataFrame, place: float, column: str, reason: str) -> pl.DataFrame:
    """The same fault for each of these rows; `place` orders the faults of a row."""
    return rows.select(*_ROW, place=pl.lit(place, pl.Float64), column=pl.lit(column), reason=pl.lit(reason))


def _judge(
    rows: pl.DataFrame,
    unread: pl.DataFrame,
    contract: type[dy.Schema],
    keep: Literal["first", "last"],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that keep the contract, and every fault of the others."""
    sound, failure = contract.filter(rows)
    details = failure.details()
    faults = pl.concat([unread, *_broken_rules(details, contract)])
    row = ["file", "file_line"]
    repeated = details.filter(pl.col("primary_key") == "invalid").join(faults, on=row, how="anti").sort(_ROW)
    keys = key_columns(contract)
    once = repeated.unique(["delivered_on", *keys], keep=keep, maintain_order=True)
    reason = f"duplicate key: expected {', '.join(keys)} once a delivery day; the {keep} is kept"
    surplus = _faults(repeated.join(once, on=row, how="anti"), 0, keys[0], reason)
    if not unread.is_empty():
        sound = sound.join(unread, on=row, how="anti")
    return pl.concat([sound, once.select(sound.columns)]), pl.concat([faults, surplus])


def _broken_rules(details: pl.DataFrame, contract: type[dy.Schema]) -> list[pl.DataFrame]:
    order = polars_schema(contract).names()
    broken: list[pl.DataFrame] = []
    for rule in details.columns:
        if rule in contract.column_names() or rule == "primary_key":
            continue
        column, reason = rule_reason(contract, rule)
        # A value that cannot be read is named before what its absence breaks.
        place = order.index(column) + 0.5
        broken.append(_faults(details.filter(pl.col(rule) == "invalid"), place, column, reason))
    return broken


def _rejects(feed: str, parcels: Iterable[Parcel], batches: Iterable[_Batch], faults: pl.DataFrame) -> pl.DataFrame:
    """One row per rejected row, with its first fault and what was delivered."""
    first = faults.sort(*_ROW, "place").unique(_ROW, keep="first", maintain_order=True)
    order = polars_schema(Reject).names()
    rejects = [polars_schema(Reject).to_frame()]
    for batch in batches:
        hits = batch.origin.with_row_index("at").join(first, on=_ROW)
        content = batch.content(hits["at"])
        rejects.append(hits.with_columns(content.alias("content"), feed=pl.lit(feed)).select(order))
    for parcel in parcels:
        drop = parcel.drop
        rejects.append(
            parcel.broken.select(
                *parcel.broken.columns, feed=pl.lit(feed), delivered_on=pl.lit(drop.day), file=pl.lit(drop.name)
            ).select(order)
        )
    return pl.concat(rejects).sort(_ROW)


def _files(
    feed: str, parcels: Iterable[Parcel], refused: Iterable[Refused], kept: pl.DataFrame, rejects: pl.DataFrame
) -> pl.DataFrame:
    there = [
        *((p.drop.day, p.drop.name, p.bytes, p.fingerprint, p.delivered, None) for p in parcels),
        *((r.drop.day, r.drop.name, r.bytes, r.fingerprint, 0, r.fault) for r in refused),
    ]
    columns = ("delivered_on", "file", "bytes", "fingerprint", "delivered", "refused")
    return (
        pl.DataFrame(there, schema={name: FILES[name] for name in columns}, orient="row")
        .join(kept.group_by("file").len("accepted"), on="file", how="left")
        .join(rejects.group_by("file").len("rejected"), on="file", how="left")
        .with_columns(pl.col("accepted", "rejected").fill_null(0), feed=pl.lit(feed), suppressed=pl.lit(0, pl.Int64))
        .select(FILES.names())
        .cast(FILES)
        .sort("delivered_on", "file")
    )
