"""CSV drops: every field stays text, every record knows its physical line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, compress, islice

import numpy as np
import numpy.typing as npt
import polars as pl

from cer_assets.feeds.parcel import BROKEN, UNDECODED, Opened, Parcel, as_json

_RECORDS_AT_ONCE = 50_000
_LINE_END = re.compile(r"\r\n|\r|\n")
_OTHER_LINE_END = re.compile("[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_BROKEN_REASON = (
    "expected each quote closed at its field's end and doubled inside it, "
    f"and no field of more than {csv.field_size_limit()} characters"
)

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Records:
    """Records in the order of the file, and the lines between them at which reading broke off."""

    fields: list[list[str]]
    first_lines: Numbers
    spans: Numbers
    """How many physical lines each record runs over."""
    broken_lines: list[int]

    @property
    def lengths(self) -> Numbers:
        """How many fields each record has; a blank line has none."""
        return np.fromiter(map(len, self.fields), np.int64, len(self.fields))

    @property
    def lines_that_begin_none(self) -> int:
        """Physical lines that are blank or continue a record."""
        return int(self.spans.sum()) - sum(map(bool, self.fields))


def open_csv(opened: Opened) -> Parcel:
    """Read a CSV drop with a header line.

    Quotes follow RFC 4180; a quote inside an unquoted field is an ordinary character. Where a
    quote is left open, or closed in the middle of a field, that one line is broken and reading
    resumes at the next. A record with more or fewer fields than the header is broken too.

    Raises:
        UnreadableDrop: It is empty, damaged, or its header lacks or repeats a wanted column.
    """
    text, damaged = opened.decoded()
    all_lines = _physical_lines(text)
    opened.require_room(all_lines)
    # `splitlines` knows more line ends than a CSV file has; a StringIO, which does not, takes four bytes a letter.
    lines = list(io.StringIO(text, newline="")) if _OTHER_LINE_END.search(text) else text.splitlines(keepends=True)
    del text
    header, start = _header(opened, lines)
    names = _unique(header)
    delivered = all_lines - start
    rows = [pl.DataFrame(schema=dict.fromkeys(names, pl.String))]
    first_lines = [np.empty(0, np.int64)]
    broken = [BROKEN.to_frame()]
    for records in _records(lines, start, opened.layout.delimiter):
        whole = records.lengths == len(names)
        rows.append(_table(records, whole, names))
        first_lines.append(records.first_lines[whole])
        broken.append(_ragged(records, ~whole & (records.lengths > 0), len(names)))
        broken.append(_broken_lines(lines, records.broken_lines))
        delivered -= records.lines_that_begin_none
    parcel = opened.parcel(
        delivered=delivered,
        rows=pl.concat(rows),
        lines=pl.Series(np.concatenate(first_lines)),
        broken=pl.concat(broken),
        found=frozenset(header) - {""},
    )
    return _without_undecoded(opened, parcel) if damaged else parcel


def _header(opened: Opened, lines: list[str]) -> tuple[list[str], int]:
    """The first record that is not blank, and how many lines it and the blanks before it take."""
    reader = csv.reader(lines, delimiter=opened.layout.delimiter, strict=True)
    try:
        header = next(([name.strip() for name in fields] for fields in reader if fields), None)
    except csv.Error as error:
        raise opened.refusal(
            "its header breaks its quotes", "a line of column names", "Mend the first line."
        ) from error
    if header is None:
        raise opened.refusal("it is empty", "a line of column names", "Deliver it again, without rows if need be.")
    opened.require_columns(header)
    if repeated := [name for name in opened.wanted.values() if header.count(name) > 1]:
        raise opened.refusal(f"its header repeats {', '.join(repeated)}", "each column once", "Rename the others.")
    return header, reader.line_num


def _unique(header: list[str]) -> list[str]:
    """The header's names, told apart by their place where one is empty or repeated."""
    names: list[str] = []
    for place, name in enumerate(header, start=1):
        while not name or name in names:
            name = f"{name} (column {place})".strip()
        names.append(name)
    return names


def _physical_lines(text: str) -> int:
    ends = text.count("\n") + text.count("\r") - text.count("\r\n")
    return ends + (text[-1:] not in ("", "\n", "\r"))


def _records(lines: list[str], start: int, delimiter: str) -> Iterator[_Records]:
    """Take the lines after `start` to records, a batch at a time."""
    at = start
    while at < len(lines):
        fields: list[list[str]] = []
        ends = [np.empty(0, np.int64)]
        spans = [np.empty(0, np.int64)]
        broken: list[int] = []
        while at < len(lines) and len(fields) + len(broken) < _RECORDS_AT_ONCE:
            rest = map(lines.__getitem__, range(at, len(lines)))
            reader = csv.reader(rest, delimiter=delimiter, strict=True)
            before, broke = len(fields), False
            try:
                fields.extend(islice(reader, _RECORDS_AT_ONCE - before))
            except csv.Error:  # what was read before it is in the list
                broke = True
            read = len(fields) - before
            one_line_each = not broke and reader.line_num == read
            spans.append(np.ones(read, np.int64) if one_line_each else _spans(fields[before:]))
            ends.append(at + spans[-1].cumsum())
            at += int(spans[-1].sum())
            if broke:
                at += 1
                broken.append(at)
        run_over = np.concatenate(spans)
        yield _Records(fields, np.concatenate(ends) - run_over + 1, run_over, broken)


def _spans(fields: list[list[str]]) -> Numbers:
    """How many physical lines each record runs over: one, and one for each line end inside."""
    return np.fromiter((1 + sum(len(_LINE_END.findall(x)) for x in record) for record in fields), np.int64, len(fields))


def _table(records: _Records, whole: npt.NDArray[np.bool_], names: list[str]) -> pl.DataFrame:
    """The records that have a field for each name."""
    chosen = records.fields if whole.all() else compress(records.fields, whole)
    fields = pl.Series(list(chain.from_iterable(chosen)), dtype=pl.String)
    return pl.DataFrame([fields.gather_every(len(names), place).alias(name) for place, name in enumerate(names)])


def _ragged(records: _Records, ragged: npt.NDArray[np.bool_], width: int) -> pl.DataFrame:
    fields = list(compress(records.fields, ragged))
    frame = pl.DataFrame(
        {
            "file_line": records.first_lines[ragged],
            "span": records.spans[ragged],
            "fields": pl.Series(fields, dtype=pl.List(pl.String)),
        }
    )
    reason = pl.format("expected {} fields, found {}", pl.lit(width), pl.col("fields").list.len())
    over = pl.format("{} on {} lines: a quote may be left open", reason, pl.col("span"))
    return frame.with_columns(
        column=pl.lit(None, pl.String),
        reason=pl.when(pl.col("span") > 1).then(over).otherwise(reason),
        content=as_json(frame.select("fields")),
    ).select(BROKEN.names())


def _broken_lines(lines: list[str], numbers: list[int]) -> pl.DataFrame:
    text = pl.DataFrame({"line": [lines[number - 1].rstrip("\r\n") for number in numbers]}, schema={"line": pl.String})
    return pl.DataFrame(
        {"file_line": numbers, "column": None, "reason": _BROKEN_REASON, "content": as_json(text)}, schema=BROKEN
    )


def _without_undecoded(opened: Opened, parcel: Parcel) -> Parcel:
    """Move the rows that hold bytes of another encoding to the broken ones."""
    places = {name: column for column, name in opened.wanted.items()}
    marked = {name: pl.col(name).str.contains(UNDECODED, literal=True) for name in parcel.rows.columns}
    column = parcel.rows.select(
        pl.coalesce(pl.when(mark).then(pl.lit(places.get(name, name))) for name, mark in marked.items()).alias("column")
    )["column"]
    bad = column.is_not_null()
    undecoded = pl.DataFrame(
        {
            "file_line": parcel.lines.filter(bad),
            "column": column.filter(bad),
            "reason": pl.repeat(opened.encoding_reason, int(bad.sum()), eager=True),
            "content": as_json(parcel.rows.filter(bad)),
        },
        schema=BROKEN,
    )
    return replace(
        parcel,
        rows=parcel.rows.filter(~bad),
        lines=parcel.lines.filter(~bad),
        broken=pl.concat([parcel.broken, undecoded]),
    )
