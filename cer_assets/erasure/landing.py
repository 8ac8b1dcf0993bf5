"""A delivered file without the rows of who is on the suppression list; every other byte of it stays as it was.

Which files hold such rows, and when they are replaced, is said elsewhere.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cer_assets.erasure.loading import naming_columns, of_named, required_naming
from cer_assets.erasure.suppression import Suppression
from cer_assets.feeds import CONTRACTS, MOST_BYTES, Drop, Feed, UnreadableDrop, contract_columns, required_columns
from cer_assets.feeds.casts import NotCastable, cast
from cer_assets.feeds.csv_format import open_csv
from cer_assets.feeds.ndjson_format import open_ndjson, take_to_lines
from cer_assets.feeds.parcel import BYTES_A_ROW, Opened, Parcel, as_json
from cer_assets.feeds.parquet_format import open_parquet

_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_LINE_OF_NDJSON = re.compile(rb"[^\n]*\n|[^\n]+")
_TEXT_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_MOST_READINGS = 5


class CannotLookInto(ValueError):
    """A file whose rows nobody can tell apart: whether it names somebody cannot be said. The message names the file."""


@dataclass(frozen=True)
class Cleaned:
    """A file's new content, and how many rows were taken out of it for each request (its hash)."""

    content: bytes
    rows: dict[str, int]
    doubtful: bool = False
    """Whether it may hold others still: lines that nobody can tell by what little they say."""


def without_suppressed(
    feed: Feed, drop: Drop, suppression: Suppression, timezone: str, most_bytes: int = MOST_BYTES
) -> Cleaned | None:
    """A drop without the rows that name somebody on the list; None where it has none.

    A row that keeps its contract, or breaks it in some column, goes by the columns that name a record; a row that
    cannot be split into columns, or that names no record though it should, goes by any word of it. In text files the
    lines of a row that goes are left blank, so that the others keep their line numbers; in Parquet rows close up.

    Raises:
        CannotLookInto: it is damaged, and no text; or it holds, once unpacked, more than `most_bytes`, which is what a
            load may read: looking into it takes as much memory.
    """
    if drop.bytes > most_bytes:
        raise too_large_to_look_into(f"{drop.feed}/{drop.name}", most_bytes)
    content, taken, doubtful = drop.path.read_bytes(), dict[str, int](), False
    for _ in range(_MOST_READINGS):
        try:
            cleaned = _cleaned(feed, drop, content, suppression, timezone, most_bytes)
        except CannotLookInto:
            if not taken:
                raise
            doubtful = True
            break
        if cleaned is None:
            break
        content = cleaned.content
        taken = {request: taken.get(request, 0) + cleaned.rows.get(request, 0) for request in taken | cleaned.rows}
    return Cleaned(content, taken, doubtful) if taken else None


def lines_without_suppressed(
    name: str, content: bytes, suppression: Suppression, most_bytes: int = MOST_BYTES
) -> Cleaned | None:
    """A text that is no drop, or none that can be read, with every line blank that names somebody on the list.

    Raises:
        CannotLookInto: it is no text, or holds more than `most_bytes`; or all that may name somebody is short ids.
    """
    plain = _unpacked(name, content, most_bytes)
    if max(plain.count(b"\n"), plain.count(b"\r")) * BYTES_A_ROW > most_bytes:
        raise too_large_to_look_into(name, most_bytes)
    if b"\0" in plain:
        raise CannotLookInto(f"{name}: it is no text and cannot be read as a drop; look into it, and delete it")
    lines = _LINE.findall(plain)
    texts = pl.Series([line.decode("utf-8", errors="replace") for line in lines], dtype=pl.String)
    found, doubt = suppression.of_lines(texts)
    if not found.is_not_null().any():
        if doubt.any():
            raise CannotLookInto(
                f"{name}: {doubt.sum()} lines hold what may be a short id of somebody on the list, with nothing beside"
                " it that tells; look into it, and delete the lines or the file"
            )
        return None
    kept = [_end_of(line) if gone else line for line, gone in zip(lines, found.is_not_null(), strict=True)]
    return Cleaned(_packed(name, b"".join(kept)), _counts(found), bool(doubt.any()))


def too_large_to_look_into(name: str, most_bytes: int) -> CannotLookInto:
    """The error that leaves a file alone which may not fit the memory there is."""
    return CannotLookInto(
        f"{name}: it holds more than {most_bytes / 1e6:,.0f} MB or {most_bytes // BYTES_A_ROW:,} lines once unpacked;"
        " deliver it in parts, or raise CER_DROP_MB if it is to be so large"
    )


def _cleaned(
    feed: Feed, drop: Drop, content: bytes, suppression: Suppression, timezone: str, most_bytes: int
) -> Cleaned | None:
    opened = _opened(feed, drop, content, most_bytes)
    if opened is None:
        return lines_without_suppressed(f"{drop.feed}/{drop.name}", content, suppression, most_bytes)
    try:
        parcel = _parcel(opened)
    except UnreadableDrop:
        return lines_without_suppressed(f"{drop.feed}/{drop.name}", content, suppression, most_bytes)
    whole, broken = _named(feed, parcel, suppression, timezone), suppression.of_texts(parcel.broken["content"])
    counts = _counts(pl.concat([whole, broken]))
    if not counts:
        return None
    lines = pl.concat(
        [parcel.lines.filter(whole.is_not_null()), parcel.broken["file_line"].filter(broken.is_not_null())]
    )
    if drop.format == "parquet":
        return Cleaned(_without_rows(content, whole.is_not_null()), counts)
    if drop.format == "ndjson":
        return Cleaned(_blank_lines_of_ndjson(content, set(lines)), counts)
    starts = pl.concat([parcel.lines, parcel.broken["file_line"]]).unique().sort()
    plain = _unpacked(drop.name, content, most_bytes)
    return Cleaned(_packed(drop.name, _blank(plain, opened.layout.encoding, starts, lines)), counts)


def _opened(feed: Feed, drop: Drop, content: bytes, most_bytes: int) -> Opened | None:
    layout, contract = feed.layout_of(drop.name), CONTRACTS[feed.contract]
    if layout is None:
        return None
    names = {c: layout.delivered_name(c) for c in contract_columns(contract) if c not in layout.constants}
    return Opened(drop, layout, names, frozenset(required_columns(contract)), content, most_bytes)


def _parcel(opened: Opened) -> Parcel:
    match opened.drop.format:
        case "parquet":
            return open_parquet(opened)
        case "ndjson":
            (parcel,) = open_ndjson([take_to_lines(opened)])
            return parcel
        case _:
            return open_csv(opened)


def _named(feed: Feed, parcel: Parcel, suppression: Suppression, timezone: str) -> pl.Series:
    """The request that each row with columns goes back to."""
    names = naming_columns(feed)
    if not names or parcel.rows.is_empty():
        return pl.repeat(None, parcel.rows.height, dtype=pl.String, eager=True).alias("request")
    rows = parcel.rows.select(**{name: _as_text(parcel, name, timezone) for name in names})
    required = required_naming(feed)
    if not required:
        return suppression.of_rows(rows)
    texts = as_json(parcel.rows) if parcel.originals is None else parcel.originals
    return of_named(rows, required, texts, suppression)


def _as_text(parcel: Parcel, column: str, timezone: str) -> pl.Expr:
    """A contract column as the loader would read it, as text."""
    layout = parcel.layout
    name = layout.delivered_name(column)
    if column in layout.constants:
        return pl.lit(layout.constants[column], pl.String)
    if name not in parcel.rows.columns:
        return pl.lit(None, pl.String)
    try:
        read = cast(pl.col(name), parcel.rows.schema[name], pl.String(), layout, timezone)
    except NotCastable:
        return pl.lit(None, pl.String)
    return read.convert(read.given)


def _counts(found: pl.Series) -> dict[str, int]:
    return dict(found.drop_nulls().value_counts(sort=True).iter_rows())


def _unpacked(name: str, content: bytes, most_bytes: int) -> bytes:
    if not name.endswith(".gz"):
        if len(content) > most_bytes:
            raise too_large_to_look_into(name, most_bytes)
        return content
    try:
        with gzip.open(io.BytesIO(content)) as file:
            plain = file.read(most_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise CannotLookInto(f"{name}: it cannot be decompressed; deliver it again, or delete it") from error
    if len(plain) > most_bytes:
        raise too_large_to_look_into(name, most_bytes)
    return plain


def _packed(name: str, plain: bytes) -> bytes:
    return gzip.compress(plain, mtime=0) if name.endswith(".gz") else plain


def _blank(plain: bytes, encoding: str, starts: pl.Series, gone: pl.Series) -> bytes:
    """The text with every line blank of the records that begin on the lines `gone`; a record ends where one begins."""
    ends = pl.DataFrame({"start": starts}).with_columns(end=pl.col("start").shift(-1))
    removed = {
        line
        for start, end in ends.filter(pl.col("start").is_in(gone.implode())).iter_rows()
        for line in range(start, end or start + 1)
    }
    open_ended = bool(len(gone)) and gone.max() == starts.max()
    last = starts.max() if open_ended else None
    if "\r\n".encode(encoding) == b"\r\n":
        return b"".join(
            _end_of(line) if _is_gone(number, removed, last) else line
            for number, line in enumerate(_LINE.findall(plain), start=1)
        )
    text = plain.decode(encoding, errors="replace")
    lines = enumerate(_TEXT_LINE.findall(text), start=1)
    return "".join(
        line[len(line.rstrip("\r\n")) :] if _is_gone(number, removed, last) else line for number, line in lines
    ).encode(encoding)


def _is_gone(number: int, removed: set[int], last: object) -> bool:
    """Whether a line is one of a record that goes; the last record of a file runs to its end."""
    return number in removed or (isinstance(last, int) and number >= last)


def _blank_lines_of_ndjson(plain: bytes, gone: set[int]) -> bytes:
    lines = enumerate(_LINE_OF_NDJSON.findall(plain), start=1)
    return b"".join((b"\n" if line.endswith(b"\n") else b"") if number in gone else line for number, line in lines)


def _end_of(line: bytes) -> bytes:
    return line[len(line.rstrip(b"\r\n")) :]


def _without_rows(content: bytes, gone: pl.Series) -> bytes:
    file = pq.ParquetFile(pa.BufferReader(content))
    table = file.read(use_threads=False).filter(pa.array((~gone).to_list()))
    groups = file.metadata.num_row_groups
    codec = file.metadata.row_group(0).column(0).compression if groups and file.metadata.num_columns else "snappy"
    sink = io.BytesIO()
    pq.write_table(table, sink, compression=codec.lower() if codec != "UNCOMPRESSED" else "none")
    return sink.getvalue()
