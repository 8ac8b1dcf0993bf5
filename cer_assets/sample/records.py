"""What three systems hold of the people: which records, since when, and what changed in them when.

A record's content here is still true; `errors` says how it was written down.
"""

from datetime import date

import numpy as np
import polars as pl

from cer_assets.sample.draws import Draws, Ints, shuffled_numbers

SYSTEMS = ("crm", "web", "loyalty")
CRM, WEB, LOYALTY = range(3)
RECORD_SLOTS = 8
"""record = person * RECORD_SLOTS + slot: up to five of the sample's year, then one opened on a later day."""
LATER_SLOT = 5

MONTHLY = (*(date(2017, month, 1) for month in range(1, 13)), date(2017, 12, 31))
QUARTERLY = (*(date(2017, month, 1) for month in (1, 4, 7, 10)), date(2017, 12, 31))
DELIVERIES = (QUARTERLY, MONTHLY, MONTHLY)
"""When each system delivers; a file holds what happened up to the end of its day."""

_ADULT_RECORDS = (30, 33, 22, 10, 5)
_CHILD_RECORDS = (58, 30, 9, 3, 0)
_FIRST_SYSTEM = (13, 17, 70)
_OTHER_SYSTEM = (30, 36, 34)
_SHOP_AT = (0.15, 0.45, 1.0)
_DAY = 86_400
_OLD_ENOUGH = 16 * 366
_YEAR_START = date(2017, 1, 1)


def registrations(people: pl.DataFrame, draws: Draws) -> pl.DataFrame:
    """The records that exist of each person by the end of the year.

    Args:
        people: person, household, slot, birth_date.
        draws: where chance comes from.

    Returns:
        record, person, household, system, source_id, registered_at (local), delivered_on (the file it first comes
        with), open_from (the first day it is used), weight (its part in the household's purchases); sorted by record.
    """
    adult = (people["slot"] < 2).to_numpy()
    count = 1 + np.where(
        adult,
        draws.pick("records of an adult", _ADULT_RECORDS, people["person"]),
        draws.pick("records of a child", _CHILD_RECORDS, people["person"]),
    )
    rows = np.repeat(np.arange(people.height), count)
    nth = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    records = people.select("person", "household", "slot")[rows].with_columns(
        record=pl.Series(people["person"].to_numpy()[rows] * RECORD_SLOTS + nth), nth=pl.Series(nth)
    )
    record = records["record"]
    system = np.where(
        nth == 0,
        draws.pick("first system", _FIRST_SYSTEM, record),
        draws.pick("other system", _OTHER_SYSTEM, record),
    )
    past = (9 * 365 * draws.uniform("registered before", record) ** 1.4).astype(np.int64)
    grown = (people["birth_date"] - _YEAR_START).dt.total_days().to_numpy()[rows] + _OLD_ENOUGH
    early = np.minimum(-1, np.maximum(-1 - past, grown))
    within = 2 + draws.below("registered within", 362, record)
    late = (nth > 0) & draws.happens("registered during the year", 0.2, record)
    return _opened(records.drop("nth"), system, np.where(late, within, early), draws)


def later_accounts(people: pl.DataFrame, day: date, draws: Draws) -> pl.DataFrame:
    """One web account more for each of some people, opened on a day after the year; columns as `registrations`."""
    records = people.select("person", "household", "slot").with_columns(
        record=pl.col("person") * RECORD_SLOTS + LATER_SLOT
    )
    offset = np.full(records.height, (day - _YEAR_START).days, dtype=np.int64)
    opened = _opened(records, np.full(records.height, WEB, dtype=np.int64), offset, draws)
    return opened.with_columns(delivered_on=pl.lit(day), open_from=pl.lit(day))


def source_ids(record: pl.Expr | str, system: pl.Expr | str) -> pl.Expr:
    """The number a system gives a record; neighbouring numbers do not belong together."""
    column = pl.col(record) if isinstance(record, str) else record
    kind = pl.col(system) if isinstance(system, str) else system
    digits = column.cast(pl.String).str.zfill(10)
    return (
        pl.when(kind == CRM).then(pl.lit("C") + digits)
        .when(kind == WEB).then(pl.lit("u") + digits)
        .otherwise(pl.lit("48") + digits)
    )  # fmt: skip


def _opened(records: pl.DataFrame, system: Ints, day: Ints, draws: Draws) -> pl.DataFrame:
    record = records["record"]
    second = 8 * 3600 + draws.below("registered at", 11 * 3600, record)
    taste = np.array(_SHOP_AT)[system] * np.exp(0.7 * draws.normal("taste for a card", record))
    spouse = 0.25 + 0.6 * draws.uniform("spouse shops", records["household"])
    slot = records["slot"].to_numpy()
    part = np.select(
        [slot == 0, slot == 1, slot == 2], [np.ones(len(spouse)), spouse, np.full(len(spouse), 0.15)], 0.12
    )
    opened = records.with_columns(
        system=pl.Series(system),
        number=pl.Series(shuffled_numbers(record, draws.seed)),
        registered_at=_moments(day * _DAY + second),
        taste=pl.Series(taste),
        part=pl.Series(part),
    )
    registered_on = pl.col("registered_at").dt.date()
    return (
        opened.with_columns(
            source_id=source_ids("number", "system"),
            delivered_on=next_delivery(registered_on, pl.col("system")),
            weight=pl.col("part") * pl.col("taste") / pl.col("taste").sum().over("person"),
        )
        .with_columns(
            open_from=pl.when(registered_on < _YEAR_START)
            .then(pl.lit(_YEAR_START))
            .otherwise(pl.col("delivered_on") + pl.duration(days=1))
        )
        .select(
            "record", "person", "household", "system", "source_id",
            "registered_at", "delivered_on", "open_from", "weight",
        )
        .sort("record")
    )  # fmt: skip


def next_delivery(happened_on: pl.Expr, system: pl.Expr) -> pl.Expr:
    """The day of the file of a system that first holds what happened on a day (null after the year's last)."""
    delivery = pl.lit(None, pl.Date)
    for number, days in enumerate(DELIVERIES):
        for day in reversed(days):
            delivery = pl.when((system == number) & (happened_on <= day)).then(pl.lit(day)).otherwise(delivery)
    return delivery


def versions(registered: pl.DataFrame, people: pl.DataFrame, draws: Draws) -> pl.DataFrame:
    """How each record's true content went through time: a move or a new surname that its system was told of.

    Args:
        registered: as of `registrations`.
        people: as of `people.people`.
        draws: where chance comes from.

    Returns:
        registered's columns and the person's, one row a version, with updated_at (local), name_epoch and
        home_epoch (0: before the change, 1: after; a record of before that was never told stays at 0), sorted by
        record, updated_at.
    """
    told = registered.join(people.drop("household"), on="person", how="left", maintain_order="left")
    first = told.select(
        "record",
        updated_at=pl.col("registered_at"),
        name_epoch=_happened_by("renamed_on"),
        home_epoch=_happened_by("moved_on"),
    )
    changes = [
        _told(told, "moved_on", 0.55, draws).with_columns(name_epoch=pl.lit(0), home_epoch=pl.lit(1)),
        _told(told, "renamed_on", 0.6, draws).with_columns(name_epoch=pl.lit(1), home_epoch=pl.lit(0)),
    ]
    through_time = pl.concat([first, *changes], how="vertical_relaxed").sort("record", "updated_at")
    return through_time.with_columns(pl.col("name_epoch", "home_epoch").cum_max().over("record").cast(pl.Int64)).join(
        told, on="record", how="left", maintain_order="left"
    )


def in_force(versions: pl.DataFrame, day: date) -> pl.DataFrame:
    """The newest version of each record at the end of a day."""
    return (
        versions.filter(pl.col("updated_at").dt.date() <= day)
        .unique("record", keep="last", maintain_order=True)
        .sort("source_id")
    )


def changed(versions: pl.DataFrame, after: date, day: date) -> pl.DataFrame:
    """The records in force at the end of `day` whose version is newer than the end of `after`."""
    return in_force(versions, day).filter(pl.col("updated_at").dt.date() > after)


def _happened_by(change: str) -> pl.Expr:
    return (pl.col(change).is_null() | (pl.col(change) <= pl.col("registered_at").dt.date())).cast(pl.Int64)


def _told(told: pl.DataFrame, change: str, probability: float, draws: Draws) -> pl.DataFrame:
    record = told["record"]
    lag = 1 + draws.below(f"{change}: told after", 60, record)
    second = 8 * 3600 + draws.below(f"{change}: told at", 11 * 3600, record)
    heard = pl.Series(draws.happens(f"{change}: told", probability, record))
    later = (pl.col(change) > pl.col("registered_at").dt.date()).fill_null(value=False)
    delay = pl.duration(seconds=pl.lit(pl.Series(lag * _DAY + second)), time_unit="us")
    return (
        told.with_columns(updated_at=pl.col(change).cast(pl.Datetime("us")) + delay)
        .filter(heard & later)
        .select("record", "updated_at")
    )


def _moments(seconds: Ints) -> pl.Series:
    start = pl.lit(_YEAR_START).cast(pl.Datetime("us"))
    return pl.select(start + pl.duration(seconds=pl.lit(pl.Series(seconds)), time_unit="us")).to_series()
