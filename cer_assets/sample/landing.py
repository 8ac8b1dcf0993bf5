"""Delivered files: each system's layout, and publishing so that no reader meets half a file.

What the files say is made elsewhere.
"""

import gzip
from contextlib import ExitStack
from datetime import date
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import polars as pl

from cer_assets.sample.journey import ZONE

CRM_FEED, WEB_FEED, LOYALTY_FEED = "crm_customers", "web_accounts", "loyalty_members"
ISO = "%Y-%m-%dT%H:%M:%S"


class Landing:
    """The drop files of one run: written beside their place in pieces, moved there together at the end.

    Used as a context manager; leaving it without an exception publishes. A file left over by a run that was
    killed is written anew.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[Path, BinaryIO | gzip.GzipFile] = {}
        self._handles = ExitStack()

    def __enter__(self) -> Self:
        """Start a run."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Publish what was added, unless there was an error."""
        self._handles.close()
        if kind is None:
            for path in self._open:
                _beside(path).replace(path)
        self._open.clear()

    def add(self, feed: str, day: date, ending: str, frame: pl.DataFrame) -> None:
        """Append a piece, already in its delivered layout, to `<feed>/<day>.<ending>`.

        Args:
            feed: folder of the landing zone.
            day: the day of the drop.
            ending: `csv`, `csv.gz` or `ndjson`; the CRM's csv has its own separator and encoding.
            frame: the rows; a csv's columns head its first piece.
        """
        path = self.folder / feed / f"{day}.{ending}"
        opened = path in self._open
        if not opened:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open[path] = self._opened(_beside(path), ending)
        self._open[path].write(_encoded(feed, ending, frame, header=not opened))

    def put(self, feed: str, day: date, frame: pl.DataFrame) -> None:
        """Publish `<feed>/<day>.parquet` at once."""
        publish_parquet(self.folder / feed / f"{day}.parquet", frame)

    def _opened(self, path: Path, ending: str) -> BinaryIO | gzip.GzipFile:
        plain = self._handles.enter_context(path.open("wb"))
        if not ending.endswith(".gz"):
            return plain
        # Without a name or a time, so that the same content is the same file.
        return self._handles.enter_context(gzip.GzipFile("", "wb", fileobj=plain, mtime=0))


def publish_parquet(path: Path, frame: pl.DataFrame) -> None:
    """Write a Parquet file whose bytes depend on the frame alone."""
    content = BytesIO()
    frame.write_parquet(content, compression="zstd", statistics=True)
    publish(path, content.getvalue())


def publish(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _beside(path).write_bytes(content)
    _beside(path).replace(path)


def crm_layout(held: pl.DataFrame) -> pl.DataFrame:
    """Record contents (see `errors.as_held`) as the CRM delivers them."""
    return held.select(
        CUSTNO="source_id",
        LASTNAME="surname",
        FIRSTNAME="given_name",
        DOB="birth_date",
        EMAIL="email",
        PHONE="phone",
        STREET="street",
        CITY="city",
        STATE="region",
        ZIP="postcode",
        CHANGED=pl.col("updated_at").dt.strftime("%d.%m.%Y %H:%M"),
    )


def web_layout(held: pl.DataFrame) -> pl.DataFrame:
    """Record contents as the web shop delivers them."""
    return held.select(
        user_id="source_id",
        name="full_name",
        dob="birth_date",
        mail="email",
        mobile="phone",
        street="street",
        city="city",
        state="region",
        zip="postcode",
        updated_at=as_utc(pl.col("updated_at")).dt.strftime(ISO + "Z"),
    )


def loyalty_layout(held: pl.DataFrame) -> pl.DataFrame:
    """Record contents as the loyalty programme delivers them."""
    return held.select(
        card_number="source_id",
        first="given_name",
        last="surname",
        birthday="birth_date",
        phone="phone",
        email="email",
        addr1="street",
        town="city",
        state="region",
        postal_code="postcode",
        modified_at=pl.col("updated_at").dt.strftime(ISO),
    )


def as_utc(local: pl.Expr) -> pl.Expr:
    """Naive UTC of naive local time; of an hour that comes twice the first, an hour that is left out one later."""
    there = local.dt.replace_time_zone(ZONE, ambiguous="earliest", non_existent="null")
    later = (local + pl.duration(hours=1)).dt.replace_time_zone(ZONE, ambiguous="earliest", non_existent="null")
    return pl.coalesce(there, later).dt.convert_time_zone("UTC").dt.replace_time_zone(None)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def _encoded(feed: str, ending: str, frame: pl.DataFrame, *, header: bool) -> bytes:
    if ending == "ndjson":
        return frame.write_ndjson().encode()
    if feed == CRM_FEED:
        return frame.write_csv(include_header=header, separator=";").encode("cp1252")
    return frame.write_csv(include_header=header).encode()
