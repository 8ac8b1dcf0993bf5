"""A delivered file without the rows of who is on the suppression list; every other byte of it stays as it was.

Which files hold such rows, and when they are replaced, is said elsewhere.
"""

from __future__ import annotations

import gzip
import io
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
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

Places = npt.NDArray[np.int64]
Lines = npt.NDArray[np.bool_]

_LINE = r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+"
_LINE_FEED, _RETURN = ord("\n"), ord("\r")
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
    texts = _texts_of(plain)
    found, doubt = suppression.of_lines(texts)
    if not found.is_not_null().any():
        if doubt.any():
            raise CannotLookInto(
                f"{name}: {doubt.sum()} lines hold what may be a short id of somebody on the list, with nothing beside"
                " it that tells; look into it, and delete the lines or the file"
            )
        return None
    kept = _emptied(plain, found.is_not_null().to_numpy())
    return Cleaned(_packed(name, kept), _counts(found), bool(doubt.any()))


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
        return Cleaned(_blank_lines_of_ndjson(content, lines), counts)
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


def _texts_of(plain: bytes) -> pl.Series:
    """The lines of a text with their ends; no character runs over the end of one, so it is decoded whole."""
    text = pl.Series([plain.decode("utf-8", errors="replace")], dtype=pl.String)
    return text.str.extract_all(_LINE).explode().drop_nulls()


def _blank(plain: bytes, encoding: str, starts: pl.Series, gone: pl.Series) -> bytes:
    """The text with every line blank of the records that begin on the lines `gone`; a record ends where one begins."""
    if "\r\n".encode(encoding) != b"\r\n":  # one byte ends a line in UTF-8
        text = plain.decode(encoding, errors="replace").encode()
        return _blank(text, "utf-8", starts, gone).decode().encode(encoding)
    ends = pl.DataFrame({"start": starts}).with_columns(end=pl.col("start").shift(-1))
    removed = np.zeros(_ends_of(plain)[0].size, dtype=np.bool_)
    for start, end in ends.filter(pl.col("start").is_in(gone.implode())).iter_rows():
        removed[start - 1 : None if end is None else end - 1] = True  # the last record of a file runs to its end
    return _emptied(plain, removed)


def _blank_lines_of_ndjson(plain: bytes, gone: pl.Series) -> bytes:
    """The text with the lines `gone` blank; a line feed alone ends one, so what stands before it goes."""
    removed = np.zeros(_ends_of_ndjson(plain)[0].size, dtype=np.bool_)
    removed[gone.to_numpy() - 1] = True
    return _cut(plain, *_ends_of_ndjson(plain), removed)


def _emptied(plain: bytes, gone: Lines) -> bytes:
    """The text with some lines blank: of each its end alone is left."""
    return _cut(plain, *_ends_of(plain), gone)


def _cut(plain: bytes, contents: Places, ends: Places, gone: Lines) -> bytes:
    """The bytes without the content of some lines; every other byte stays.

    Only lines that go are gone through one by one: they are a person's, and the file may be everybody's.

    Args:
        plain: the bytes.
        contents: where the content of each line ends and what ends the line begins.
        ends: where each line ends.
        gone: whether a line goes.
    """
    starts = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1]])
    kept, at = list[bytes](), 0
    for start, content in zip(starts[gone].tolist(), contents[gone].tolist(), strict=True):
        kept.append(plain[at:start])
        at = content
    return b"".join([*kept, plain[at:]])


def _ends_of(plain: bytes) -> tuple[Places, Places]:
    """Where the content of each line ends, and where the line does: at a line feed, a carriage return, or both."""
    held = np.frombuffer(plain, dtype=np.uint8)
    feeds = np.flatnonzero(held == _LINE_FEED)
    returns = np.flatnonzero(held == _RETURN)
    after = np.append(held, np.uint8(0))[returns + 1]
    before = np.append(held, np.uint8(0))[feeds - 1]  # before the first byte stands none, which is the last of these
    alone = returns[after != _LINE_FEED]
    contents = np.concatenate([feeds - (before == _RETURN), alone])
    ends = np.concatenate([feeds, alone]) + 1
    order = np.argsort(ends)
    return _with_the_last(plain, contents[order], ends[order])


def _ends_of_ndjson(plain: bytes) -> tuple[Places, Places]:
    """As `_ends_of`, where a line feed alone ends a line."""
    feeds = np.flatnonzero(np.frombuffer(plain, dtype=np.uint8) == _LINE_FEED)
    return _with_the_last(plain, feeds, feeds + 1)


def _with_the_last(plain: bytes, contents: Places, ends: Places) -> tuple[Places, Places]:
    """Lines, and behind them what no line end follows."""
    if len(plain) == (ends[-1] if ends.size else 0):
        return contents, ends
    return np.append(contents, len(plain)), np.append(ends, len(plain))


def _without_rows(content: bytes, gone: pl.Series) -> bytes:
    file = pq.ParquetFile(pa.BufferReader(content))
    table = file.read(use_threads=False).filter(pa.array((~gone).to_list()))
    groups = file.metadata.num_row_groups
    codec = file.metadata.row_group(0).column(0).compression if groups and file.metadata.num_columns else "snappy"
    sink = io.BytesIO()
    pq.write_table(table, sink, compression=codec.lower() if codec != "UNCOMPRESSED" else "none")
    return sink.getvalue()
