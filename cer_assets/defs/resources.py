"""Settings from the environment, and what is made of them: the home folder and the engine over its lake."""

import datetime as dt
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Self, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import dagster as dg
import duckdb
import polars as pl
from dagster_duckdb import DuckDBResource
from upath import UPath

from cer_assets.defs.processes import say_who_executes
from cer_assets.feeds import CONTRACTS, MOST_BYTES, Feed, catalogue, landing_zone, polars_schema
from cer_assets.lake import Lake, Memory, ModelStore, attach, clean_connection, read_snapshot

LEDGER = "raw.deliveries"
"""The table of files that were loaded."""
_LEDGER: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "feed": pl.String,
    "delivered_on": pl.Date,
    "file": pl.String,
    "fingerprint": pl.String,
    "layout": pl.String,
    "delivered": pl.Int64,
    "accepted": pl.Int64,
    "rejected": pl.Int64,
    "suppressed": pl.Int64,
    "refused": pl.String,
}
"""The columns of the ledger that are asked for."""
RAW_FOLDER = Path(__file__).parent / "raw"
SQL_FOLDER = Path(__file__).parents[2] / "sql"


T = TypeVar("T")


class InvalidSetting(Exception):
    """An environment variable holds what it cannot; its value is left out, for it may have been meant for another."""


def setting(name: str, default: str, read: Callable[[str], T], expected: str) -> T:
    """What an environment variable says; `default` where it is unset or empty.

    Args:
        name: the variable.
        default: what is read in its place.
        read: makes the value of the text, or raises ValueError.
        expected: what the variable must be, with an example.

    Raises:
        InvalidSetting: the text cannot be read.
    """
    try:
        return read(os.environ.get(name) or default)
    except ValueError:
        raise InvalidSetting(f"{name} must be {expected}: mend it where it is set, or leave it out") from None


def positive(text: str) -> int:
    """A whole number above zero.

    Raises:
        ValueError: it is none.
    """
    if (number := int(text)) < 1:
        raise ValueError("not above zero")
    return number


def _zone(name: str) -> str:
    """The name of a time zone.

    Raises:
        ValueError: there is none of this name.
    """
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, OSError) as error:
        raise ValueError("no time zone") from error


_DAY = "a day such as 2017-01-01"


def home_from_environment() -> str:
    """`CER_HOME`, or `./data`: the one folder that holds landing zone, lake, models, reports and the instance."""
    return setting("CER_HOME", "data", lambda folder: str(Path(folder).absolute()), "a folder such as /srv/shop")


def first_day() -> dt.date:
    """`CER_FIRST_DAY`: where the daily grid begins."""
    return setting("CER_FIRST_DAY", "2017-01-01", dt.date.fromisoformat, _DAY)


def last_day() -> dt.date | None:
    """`CER_LAST_DAY`: where the daily grid ends; unset, it ends today."""
    return setting("CER_LAST_DAY", "", lambda day: dt.date.fromisoformat(day) if day else None, _DAY)


def timezone() -> str:
    """`CER_TIMEZONE`: the retailer's clock, on which a day begins and a schedule ticks."""
    return setting("CER_TIMEZONE", "America/New_York", _zone, "a time zone such as Europe/Berlin")


def daily_at() -> dt.time:
    """`CER_DAILY_AT`: when the daily schedule ticks, as `HH:MM` on the retailer's clock."""
    return setting("CER_DAILY_AT", "05:00", dt.time.fromisoformat, "a time such as 05:00")


def country() -> str:
    """`CER_COUNTRY`: whose way of writing telephone numbers is meant where a number does not say."""
    return setting("CER_COUNTRY", "US", str, "a country such as DE")


def drop_bytes() -> int:
    """`CER_DROP_MB`: what a file of the landing zone may hold once unpacked; reading takes eighteen times as much."""
    whole = "a whole number of megabytes above 0"
    return setting("CER_DROP_MB", str(MOST_BYTES // 1_000_000), positive, whole) * 1_000_000


def sensor_seconds() -> int:
    """`CER_SENSOR_SECONDS`: the pause between two ticks of a sensor."""
    return setting("CER_SENSOR_SECONDS", "30", positive, "a whole number of seconds above 0")


@cache
def feeds() -> Mapping[str, Feed]:
    """The feeds that `defs/raw/<feed>/defs.yaml` describes, by name; read once a process, as the definitions are."""
    return catalogue(RAW_FOLDER)


def raw_schema(feed: Feed) -> dict[str, pl.DataType]:
    """The columns of `raw.<feed>`, whether or not anything was ever delivered."""
    return dict(polars_schema(CONTRACTS[feed.contract]))


@cache
def raw_schemas() -> Mapping[str, Mapping[str, pl.DataType]]:
    """The columns of every raw table by address."""
    return {f"raw.{name}": raw_schema(feed) for name, feed in feeds().items()}


def memory_limit() -> str:
    """`CER_MEMORY`: what DuckDB may hold before it spills to disk; a run's frames come on top of it."""
    return setting("CER_MEMORY", "6GB", str, "a size such as 6GB")


class Home(dg.ConfigurableResource["Home"]):
    """The folder everything lives under (`CER_HOME`); landing zone and lake may lie on `s3://` instead."""

    root: str
    landing_at: str = ""
    """Where the landing zone lies, where that is not in the folder."""
    lake_at: str = ""
    """Where the lake lies, where that is not in the folder."""

    @classmethod
    def of_environment(cls) -> Self:
        """`CER_HOME`, and `CER_LANDING` and `CER_LAKE` where these lie elsewhere."""
        return cls(
            root=home_from_environment(),
            landing_at=os.environ.get("CER_LANDING", ""),
            lake_at=os.environ.get("CER_LAKE", ""),
        )

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """In the process of a run, before its first step: say which process that is."""
        if context.run is not None and context.instance is not None:
            say_who_executes(context.instance, context.run)

    @property
    def landing(self) -> UPath:
        """Where source systems drop files: `<feed>/<day>[.anything].<format>`."""
        return landing_zone(self.landing_at or Path(self.root, "landing"))

    @property
    def lake(self) -> Lake:
        """The Delta tables."""
        return Lake(self.lake_at or str(Path(self.root, "lake")), Memory(memory_limit(), f"{self.root}/spill"))

    @property
    def models(self) -> ModelStore:
        """The model files."""
        return ModelStore(Path(self.root, "models"))

    @property
    def caches(self) -> Path:
        """What spares a run some work and may be deleted at any time."""
        return Path(self.root, "caches")

    @property
    def snapshots(self) -> Path:
        """Where snapshots of the lake are named."""
        return Path(self.root, "snapshots")

    @property
    def warehouse(self) -> Path:
        """A DuckDB file with a view per table, for people and BI tools."""
        return Path(self.root, "warehouse.duckdb")

    @property
    def reports(self) -> Path:
        """Where pages for people are written."""
        return Path(self.root, "reports")

    @property
    def truth(self) -> Path:
        """Who the sample's simulated records really are; absent from every home but the sample's."""
        return Path(self.root, "sample_truth", "people.parquet")

    def ledger(self, feed: str) -> pl.DataFrame:
        """The files of one feed that were loaded; none before the first load of any."""
        if not self.lake.exists(LEDGER):
            return pl.DataFrame(schema=_LEDGER)
        files = self.lake.scan(LEDGER).filter(pl.col("feed") == feed).collect()
        # A ledger from before files were refused and rows suppressed has no columns for them.
        unknown = [pl.lit(None, kind).alias(name) for name, kind in _LEDGER.items() if name not in files.columns]
        return files.with_columns(unknown).with_columns(pl.col("suppressed").fill_null(0))

    def served(self, table: str) -> pl.DataFrame | None:
        """The table as people read it now: in the version that the current snapshot names."""
        try:
            version = read_snapshot(self.snapshots).versions.get(table)
        except FileNotFoundError:
            return None
        return None if version is None else self.lake.scan(table, version).collect()

    def read(self, table: str) -> pl.DataFrame:
        """A table whole; a feed that never delivered reads as empty.

        Raises:
            MissingTable: the table is no feed's, and nothing has built it.
        """
        schemas = raw_schemas()
        if table in schemas and not self.lake.exists(table):
            return pl.DataFrame(schema=schemas[table])
        return self.lake.scan(table).collect()


class Engine(dg.ConfigurableResource["Engine"]):
    """DuckDB in memory over the lake's tables, with a memory limit and a folder to spill into."""

    home: dg.ResourceDependency[Home]
    database: dg.ResourceDependency[DuckDBResource]

    @contextmanager
    def over(self, tables: Sequence[str] = (), *, days: Sequence[dt.date] = ()) -> Generator[duckdb.DuckDBPyConnection]:
        """A connection that sees `tables` by their addresses and the run's days as `run.days`."""
        with self.database.get_connection() as con:
            clean_connection(con)
            attach(con, self.home.lake, tables, absent=raw_schemas())
            con.execute("create schema run")
            con.execute("create table run.days as select unnest(?::date[]) as day", [list(days)])
            yield con


def columns_of(con: duckdb.DuckDBPyConnection, tables: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
    """The columns and DuckDB types of attached tables."""
    rows = con.execute(
        "select concat(table_schema, '.', table_name), column_name, data_type from information_schema.columns"
        " order by all"
    ).fetchall()
    return {t: {c: kind for table, c, kind in rows if table == t} for t in tables}
