"""Sound drops of every feed and format, and what becomes of them on their way: thousands of ways to be broken.

`python -m cer_assets_tests.feeds.mutants --seed 0 --first 0 --count 2000` reads mutants one by one and says, as JSON,
how each kind ended, every law that was broken, and the memory that it took.
"""

import argparse
import contextlib
import datetime as dt
import gzip
import io
import json
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

import cer_assets
from cer_assets.feeds import CONTRACTS, Feed, catalogue, contract_columns, list_drops, read_drops
from cer_assets.feeds.catalogue import Layout
from cer_assets_tests.feeds.memory import MemoryWatch

ZONE = "America/New_York"
DAY = dt.date(2024, 1, 2)
ENDINGS = ("csv", "csv.gz", "ndjson", "parquet")
NAME = "Zaphod"
"""Stands in every text that may hold a person's data, and in no message."""

Row = dict[str, Any]
Table = list[Row]

_CHOICES = {
    "kind": "view",
    "answer": "match",
    "drawn": "audit",
    "purpose": "marketing",
    "source": "crm",
    "record_b": "web:1",
}


@dataclass(frozen=True)
class Mutant:
    """A file that something happened to."""

    feed: Feed
    kind: str
    ending: str
    content: bytes
    rows: int | None
    """How many it delivers, where the mutation leaves no doubt."""

    @property
    def name(self) -> str:
        return f"{DAY}.{self.ending}"


def feeds() -> list[Feed]:
    """The project's feeds."""
    return list(catalogue(Path(cer_assets.__file__).parent / "defs" / "raw").values())


def sound(feed: Feed, layout: Layout, rows: int) -> Table:
    """Rows that keep the feed's contract, under the names its source uses."""
    table: Table = []
    for number in range(rows):
        row: Row = {}
        for column, definition in contract_columns(CONTRACTS[feed.contract]).items():
            if column not in layout.constants:
                row[layout.delivered_name(column)] = _value(column, definition.dtype, number)
        table.append(row)
    return table


def _value(column: str, kind: pl.DataType, number: int) -> Any:
    match kind:
        case pl.Int64():
            return number
        case pl.Decimal():
            return Decimal("1.50") + number
        case pl.Float64():
            return 1.5 + number
        case pl.Boolean():
            return number % 2 == 0
        case pl.Date():
            return DAY - dt.timedelta(days=number % 300)
        case pl.Datetime():
            return dt.datetime.combine(DAY, dt.time(number % 24, number % 60))
        case _:
            return _CHOICES.get(column, f"{NAME} {column} {number}")


def as_text(value: Any, layout: Layout) -> str:
    """A value as the layout writes it."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case Decimal() | float():
            return str(value).replace(".", layout.decimal)
        case dt.datetime():
            return value.strftime(layout.datetime_format) if layout.datetime_format else value.isoformat()
        case dt.date():
            return value.strftime(layout.date_format) if layout.date_format else value.isoformat()
        case _:
            return str(value)


def csv_of(table: Table, layout: Layout, line_end: str = "\n") -> str:
    """A table as a CSV text."""

    def quoted(text: str) -> str:
        special = any(sign in text for sign in (layout.delimiter, '"', "\n", "\r"))
        return '"' + text.replace('"', '""') + '"' if special else text

    lines = [[*table[0]], *([as_text(value, layout) for value in row.values()] for row in table)]
    return "".join(layout.delimiter.join(map(quoted, line)) + line_end for line in lines)


def ndjson_of(table: Table, layout: Layout) -> str:
    """A table as NDJSON, numbers as numbers."""

    def plain(value: Any) -> Any:
        if isinstance(value, Decimal):
            return float(value)
        return as_text(value, layout) if isinstance(value, dt.date) else value

    return "".join(json.dumps({k: plain(v) for k, v in row.items()}, ensure_ascii=False) + "\n" for row in table)


def parquet_of(table: Any, **options: Any) -> bytes:
    """A table as Parquet, typed as its values are, or as text where they differ."""
    if not isinstance(table, pa.Table):
        columns: dict[str, Any] = {}
        for name in table[0]:
            values = [row.get(name) for row in table]
            try:
                columns[name] = pa.array(values)
            except (pa.ArrowException, OverflowError, ValueError, TypeError):
                columns[name] = pa.array([None if v is None else _scrubbed(str(v)) for v in values])
        table = pa.table(columns)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def _scrubbed(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def rendered(table: Table, ending: str, layout: Layout) -> bytes:
    """A table in a format, written as the layout says."""
    match ending:
        case "csv" | "csv.gz":
            content = csv_of(table, layout).encode(layout.encoding, "replace")
            return gzip.compress(content, 1, mtime=0) if ending == "csv.gz" else content
        case "ndjson":
            return ndjson_of(table, layout).encode(layout.encoding, "replace")
        case _:
            return parquet_of(table)


HOSTILE: tuple[Any, ...] = (
    *(
        "1e400",
        "-1e400",
        "1" + "0" * 40,
        "-" + "9" * 25,
        "9" * 5000,
        "NaN",
        "inf",
        "-Infinity",
        "1e-400",
        "-0",
        "+",
        ".",
    ),
    *("0x10", "1_000", "١٢٣", "½", "1,5", "1.5", "1.000,50", "--5", "5-", "1e3"),
    *(
        "=cmd|' /C calc'!A0",
        "@SUM(1+1)*cmd",
        "+1+1",
        "'; drop table raw.transactions; --",
        "' or 1=1 --",
        "\\'",
        "$1",
        "{{7*7}}",
    ),
    *(
        "\0",
        f"{NAME}\0{NAME}",
        "\x1b[31m",
        "\u202e",
        "\ufeff",
        "\ufffd",
        "\u2028",
        "\x85",
        "\u00a0",
        " ",
        "\t",
        "\\N",
        "null",
        "None",
    ),
    *(
        "0000-01-01",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "9999-12-31",
        "10000-01-01",
        "-0001-01-01",
    ),
    *(
        "2262-04-12T00:00:00",
        "1677-09-21T00:12:43",
        "2024-02-30",
        "2024-01-01T24:00:00",
        "2024-01-01T23:59:60",
        "31.12.9999 23:59",
    ),
    *("2024-01-01T00:00:00+99:99", "2024-01-01T00:00:00+00:00:00", "2024-01-01T00:00:00.123456789123", "2024-W01-1"),
    *(
        '"',
        '""',
        f'"{NAME}',
        f'{NAME}"',
        "a\nb",
        "a\r\nb",
        "a\rb",
        ";",
        ",",
        "|",
        "../../etc/passwd",
        "💥" * 10,
        "e\u0301" * 100,
    ),
    *(10**40, -(10**40), 2**63, 2**64, -(2**63) - 1, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf")),
    *(True, False, None, "x" * 1_000_000, f"{NAME} " * 2_000),
    *(Decimal("1e30"), Decimal("1.23456789"), Decimal("-1e-10"), dt.date(1, 1, 1), dt.date(9999, 12, 31)),
    *(
        dt.datetime(1, 1, 1),
        dt.datetime(9999, 12, 31, 23, 59, 59, 999999),
        dt.datetime(2262, 4, 12),
        dt.datetime(1600, 1, 1),
    ),
)
TableChange = Callable[[random.Random, Table], int | None]
BytesChange = Callable[[random.Random, bytes], bytes]


def hostile_values(draw: random.Random, table: Table) -> int:
    """Some values become others that no source should send."""
    for _ in range(draw.randint(1, 6)):
        row = draw.choice(table)
        row[draw.choice(list(row))] = draw.choice(HOSTILE)
    return len(table)


def hostile_column(draw: random.Random, table: Table) -> int:
    """All values of a column become the same other one."""
    column, value = draw.choice(list(table[0])), draw.choice(HOSTILE)
    for row in table:
        row[column] = value
    return len(table)


def columns_swapped(draw: random.Random, table: Table) -> int:
    """Two columns hold each other's values."""
    names = list(table[0])
    one, other = draw.choice(names), draw.choice(names)
    for row in table:
        row[one], row[other] = row[other], row[one]
    return len(table)


def columns_in_another_order(draw: random.Random, table: Table) -> int:
    """The columns come in another order, which changes nothing."""
    names = draw.sample(list(table[0]), len(table[0]))
    table[:] = [{name: row[name] for name in names} for row in table]
    return len(table)


def column_missing(draw: random.Random, table: Table) -> int | None:
    """A column is not there, or called otherwise."""
    column, other = (
        draw.choice(list(table[0])),
        draw.choice(["", f"{NAME}", "x" * 5_000, "content", "file", "place", "a.b"]),
    )
    for row in table:
        value = row.pop(column)
        if draw.random() < 0.5 and other not in row:
            row[other] = value
    names = dict.fromkeys(name for row in table for name in row)
    table[:] = [{name: row.get(name) for name in names} for row in table]
    return None


def keys_repeated(draw: random.Random, table: Table) -> int:
    """Rows come twice, or with the same key and other values."""
    for row in draw.sample(table, 3):
        table.insert(draw.randint(0, len(table)), dict(row))
    return len(table)


def keys_empty(draw: random.Random, table: Table) -> int:
    """Values are missing."""
    for _ in range(draw.randint(1, 20)):
        row = draw.choice(table)
        row[draw.choice(list(row))] = None
    return len(table)


TABLES: tuple[TableChange, ...] = (
    hostile_values,
    hostile_values,
    hostile_values,
    hostile_column,
    hostile_column,
    columns_swapped,
    columns_in_another_order,
    column_missing,
    keys_repeated,
    keys_empty,
)


def truncated(draw: random.Random, content: bytes) -> bytes:
    return content[: draw.randint(0, len(content))]


def head_lost(draw: random.Random, content: bytes) -> bytes:
    return content[draw.randint(0, min(len(content), 200)) :]


def bytes_changed(draw: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.randint(1, 8)):
        if changed:
            changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def bytes_of_the_end_changed(draw: random.Random, content: bytes) -> bytes:
    """Of a Parquet file that is the footer."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        changed[-draw.randint(1, min(len(changed), 900))] = draw.randrange(256)
    return bytes(changed)


def pieces_put_in(draw: random.Random, content: bytes) -> bytes:
    pieces = [
        b"\0",
        b"\0" * 100,
        b'"',
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\xc3",
        b"{",
        b"[",
        b"\\",
    ]
    for _ in range(draw.randint(1, 5)):
        at = draw.randint(0, len(content))
        content = content[:at] + draw.choice(pieces) + content[at:]
    return content


def piece_repeated(draw: random.Random, content: bytes) -> bytes:
    start = draw.randint(0, len(content))
    piece = content[start : start + draw.randint(0, 500)]
    return content[:start] + piece * draw.randint(2, 20) + content[start:]


def recoded(draw: random.Random, content: bytes) -> bytes:
    encoding = draw.choice(["utf-16", "utf-16-be", "utf-32", "cp1252", "cp037", "utf-7", "gb18030"])
    return content.decode("utf-8", "replace").encode(encoding, "replace")


def marked(draw: random.Random, content: bytes) -> bytes:
    return draw.choice([b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf\xef\xbb\xbf"]) + content


def line_ends_mixed(draw: random.Random, content: bytes) -> bytes:
    return b"".join(line + draw.choice([b"\n", b"\r\n", b"\r", b"\n\n"]) for line in content.split(b"\n"))


def quotes_left_open(draw: random.Random, content: bytes) -> bytes:
    lines = content.split(b"\n")
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(lines))
        lines[at] = draw.choice(
            [b'"' + lines[at], lines[at] + b'"', lines[at].replace(b",", b',"', 1), b'"' * 3 + lines[at]]
        )
    return b"\n".join(lines)


def something_else(draw: random.Random, content: bytes) -> bytes:
    return draw.choice(
        [
            b"",
            b"\n",
            b"\0" * 5000,
            b"PK\x03\x04" + content,
            b"<html><body>503</body></html>",
            b"PAR1" + content + b"PAR1",
            *(gzip.compress(content, 1), b"\x1f\x8b" + content, b"[" * 200_000, b'{"a":' * 50_000, b",\n" * 5_000),
            *(content * 20, content[::-1], draw.randbytes(2_000)),
        ]
    )


BYTES: tuple[BytesChange, ...] = (
    truncated,
    truncated,
    head_lost,
    bytes_changed,
    bytes_changed,
    bytes_of_the_end_changed,
    pieces_put_in,
    pieces_put_in,
    piece_repeated,
    recoded,
    marked,
    line_ends_mixed,
    quotes_left_open,
    something_else,
)


def strange_line(draw: random.Random, line: str) -> str:
    """A line of NDJSON that is none, or holds what no table does."""
    key, _, rest = line[1:-1].partition(": ")
    number = draw.choice(
        ["1e400", "-1e999", "1" * 400, "123456789012345678901234567890", "NaN", "Infinity", "01", "1.", "-"]
    )
    nested = "[" * 5_000 + "]" * 5_000
    return draw.choice(
        [
            f"[{line}]",
            f"{line}{line}",
            f"{line},",
            f"{{{line[1:-1]}, {line[1:-1]}}}",
            f'{{{key}: "{NAME}", {line[1:-1]}}}',
            f"{{{key}: {number}, {rest.partition(', ')[2]}}}",
            f"{{{line[1:-1]}, {key}: {number}}}",
            f'{{{key}: {{"{NAME}": 1}}}}',
            f"{{{key}: [{number}]}}",
            f"{{{key}: {nested}}}",
            f'{{"more": {nested}, {line[1:]}',
            f'{{"more": {"{" + chr(34) + "a" + chr(34) + ":"}' * 1 + f"1}}, {line[1:]}",
            *(
                f'{{{key}: "{text}"}}'
                for text in ("\\ud800", "\\udc00\\ud800", "\\u0000", "\\x00", "\\", "\t", "\\u00zz")
            ),
            *(
                "null",
                "1",
                f'"{NAME}"',
                "[]",
                "{}",
                "{",
                "}",
                '{"',
                "// " + NAME,
                "{'a': 1}",
                '{"": 1}',
                '{"a/b~": 1}',
                "true",
            ),
            line.replace('"', "'"),
            line + " " * 1000,
            "\ufeff" + line,
            line[: draw.randint(0, len(line))],
            "{" + ", ".join(f'"{NAME}{n}": {n}' for n in range(2_000)) + "}",
        ]
    )


def strange_json(draw: random.Random, table: Table, layout: Layout) -> tuple[bytes, int | None]:
    """Some lines of NDJSON become strange ones; a line stays a line."""
    lines = ndjson_of(table, layout).splitlines()
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(lines))
        try:
            lines[at] = strange_line(draw, lines[at])
        except (ValueError, IndexError):
            lines[at] = "{"
    rows = sum(bool(line.strip()) for line in lines)
    return "\n".join(lines).encode(layout.encoding, "replace"), rows


def strange_column(draw: random.Random, rows: int) -> Any:
    """A Parquet column of a type that is not expected, or with values that are not."""
    big = draw.choice([2**62, -(2**62), 2**31, 253402300800, -62135596801, 0])
    days = draw.choice([2**31 - 1, -(2**31), 2932897, -719163])

    def of(kind: Any, value: Any) -> Any:
        return pa.array([value] * rows, kind)

    def cast(kind: Any, value: int, width: Any) -> Any:
        return of(width, value).view(kind)

    def written_once(at: int | None, value: Any) -> Any:
        return pa.DictionaryArray.from_arrays(of(pa.int8(), at), pa.array([value]))

    zone = draw.choice([None, "UTC", "Asia/Tokyo", "+05:30", "-14:00", "America/New_York"])
    makers: list[Callable[[], Any]] = [
        *(lambda unit=unit: cast(pa.timestamp(unit, zone), big, pa.int64()) for unit in ("s", "ms", "us", "ns")),
        *(lambda unit=unit: cast(pa.duration(unit), big, pa.int64()) for unit in ("s", "ms", "us", "ns")),
        lambda: cast(pa.timestamp("us", "Mars/Olympus"), 0, pa.int64()),
        lambda: cast(pa.timestamp("us", "+25:00"), 0, pa.int64()),
        lambda: cast(pa.date32(), days, pa.int32()),
        lambda: cast(pa.date64(), 86_400_000 * (big % 10**9), pa.int64()),
        lambda: cast(pa.time64("ns"), big % 86_400_000_000_000, pa.int64()),
        lambda: cast(pa.time32("s"), 86_399, pa.int32()),
        lambda: of(pa.list_(pa.string()), [NAME, None]),
        lambda: of(pa.list_(pa.list_(pa.int64())), [[1], [], None]),
        lambda: of(pa.large_list(pa.struct([("a", pa.binary())])), [{"a": b"\xff"}]),
        lambda: of(pa.list_(pa.float64(), 3), [1.0, 2.0, float("nan")]),
        lambda: of(pa.struct([("a", pa.string()), ("b", pa.date32())]), {"a": NAME, "b": DAY}),
        lambda: of(pa.map_(pa.string(), pa.int64()), [(NAME, 1)]),
        lambda: of(pa.decimal128(38, 20), Decimal("1.23456789")),
        lambda: of(pa.decimal128(38, 0), Decimal(10) ** 37),
        lambda: of(pa.decimal128(38, 38), Decimal("0.1")),
        lambda: of(pa.decimal128(5, -2), Decimal("12300")),
        lambda: of(pa.decimal256(76, 10), Decimal(10) ** 60),
        lambda: of(pa.decimal128(3, 2), Decimal("1.50")),
        lambda: of(pa.uint64(), 2**64 - 1),
        lambda: of(pa.int8(), -128),
        lambda: of(pa.float32(), 3.4e38),
        lambda: of(pa.float16(), np.float16(1.5)),
        lambda: of(pa.float64(), draw.choice([float("nan"), float("inf"), 1e308, -0.0, 2.0**63])),
        lambda: of(pa.binary(), b"\xff\xfe\x00"),
        lambda: of(pa.binary(4), b"\x00\x01\x02\x03"),
        lambda: of(pa.large_string(), f"{NAME}\0"),
        lambda: written_once(0, NAME),
        lambda: written_once(None, 1.5),
        lambda: of(pa.null(), None),
        lambda: of(pa.bool_(), True),
        lambda: of(pa.string(), "x" * 100_000),
    ]
    return draw.choice(makers)()


def strange_parquet(draw: random.Random, table: Table) -> tuple[bytes, int]:
    """Columns of other types, written in other ways."""
    frame = pa.table({name: pa.array([row[name] for row in table]) for name in table[0]})
    for _ in range(draw.randint(1, 3)):
        column = strange_column(draw, len(table))
        if draw.random() < 0.75:
            at = draw.randrange(frame.num_columns)
            frame = frame.set_column(at, frame.column_names[at], column)
        else:
            frame = frame.append_column(draw.choice(["extra", f"{NAME}", "a.b", "", frame.column_names[0]]), column)
    how = draw.choice(
        [
            {},
            {"compression": "zstd", "data_page_version": "2.0"},
            {"compression": "gzip", "row_group_size": 3},
            {"compression": "none", "use_dictionary": False},
            {"compression": "brotli", "write_statistics": False},
            {"use_deprecated_int96_timestamps": True},
            {"version": "1.0"},
            {"data_page_size": 16, "write_batch_size": 1, "compression": "lz4"},
            {"use_dictionary": False, "column_encoding": dict.fromkeys(_texts(frame), "DELTA_BYTE_ARRAY")},
            {"use_dictionary": False, "column_encoding": dict.fromkeys(_texts(frame), "DELTA_LENGTH_BYTE_ARRAY")},
        ]
    )
    try:
        return parquet_of(frame, **how), len(table)
    except (pa.ArrowException, NotImplementedError, OSError, ValueError):
        return parquet_of(frame.select([]).append_column("nothing", pa.nulls(len(table)))), len(table)


def _texts(frame: Any) -> list[str]:
    return [field.name for field in frame.schema if field.type in (pa.string(), pa.large_string())]


def mutant(number: int, seed: int, every: Sequence[Feed]) -> Mutant:
    """The mutant of a number; the same for the same seed."""
    draw = random.Random(seed * 1_000_003 + number)
    feed, ending = every[number % len(every)], ENDINGS[number // len(every) % len(ENDINGS)]
    layout = feed.layout_of(f"{DAY}.{ending}")
    if layout is None:
        return Mutant(feed, "no layout", ending, b"nobody reads this", 0)
    table = sound(feed, layout, draw.randint(5, 12))
    way = draw.random()
    if ending == "ndjson" and way < 0.35:
        content, rows = strange_json(draw, table, layout)
        return Mutant(feed, "strange json", ending, content, rows)
    if ending == "parquet" and way < 0.4:
        content, rows = strange_parquet(draw, table)
        return Mutant(feed, "strange parquet", ending, content, rows)
    kinds: list[str] = []
    rows: int | None = len(table)
    if way < 0.75:
        change = draw.choice(TABLES)
        rows = change(draw, table)
        kinds.append(change.__name__)
    content = rendered(table, ending, layout)
    if way > 0.6:
        spoil = draw.choice(BYTES)
        if ending == "csv.gz" and draw.random() < 0.6:
            content = gzip.compress(spoil(draw, gzip.decompress(content)), 1, mtime=0)
        else:
            content = spoil(draw, content)
        kinds.append(spoil.__name__)
        rows = None
    return Mutant(feed, " and ".join(kinds), ending, content, rows)


def judged(one: Mutant, folder: Path) -> tuple[str, str | None]:
    """How a mutant ended, and which law that breaks, if one."""
    path = folder / one.feed.feed / one.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(one.content)
    try:
        (drop,) = list_drops(folder, one.feed.feed)
        delivery = read_drops(one.feed, [drop], ZONE)
    except BaseException:
        return "exception", traceback.format_exc(limit=-6)
    finally:
        path.unlink()
    file = delivery.files.row(0, named=True)
    told = [*delivery.refused, *delivery.rejects["reason"], *delivery.rejects["column"].drop_nulls()]
    places = pl.concat([frame.select("file", "file_line") for frame in (delivery.accepted, delivery.rejects)])
    laws = {
        "delivered is accepted and rejected": file["delivered"] == file["accepted"] + file["rejected"],
        "counts are those of the tables": (file["accepted"], file["rejected"])
        == (delivery.accepted.height, delivery.rejects.height),
        "every row has a place of its own": bool(places.is_unique().all()) and bool((places["file_line"] >= 1).all()),
        "no message holds content": NAME not in "".join(told),
        "a refusal names its file and delivers nothing": not delivery.refused
        or (delivery.refused[0].startswith(f"{one.feed.feed}/{one.name}: ") and file["delivered"] == 0),
        "as many are delivered as were sent": one.rows is None
        or bool(delivery.refused)
        or file["delivered"] == one.rows,
        "what is accepted can be handed on": not _troubles(delivery.accepted) and not _troubles(delivery.rejects),
    }
    broken = [law for law, kept in laws.items() if not kept]
    how = "refused" if delivery.refused else "rejected in part" if delivery.rejects.height else "accepted"
    return how, "; ".join(broken) + (f" ({_troubles(delivery.accepted)})" if broken else "") if broken else None


def _troubles(frame: pl.DataFrame) -> list[str]:
    """Values that a table could hold and Python, for one, could not read."""
    try:
        frame.rows()
    except (ValueError, OverflowError) as error:
        return [type(error).__name__]
    return []


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=2000)
    chosen = parser.parse_args(arguments)
    every = feeds()
    endings: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    faults: list[str] = []
    slowest = (0.0, "")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        judged(mutant(1, -1, every), Path(folder))
        start = time.perf_counter()
        with MemoryWatch() as memory:
            for number in range(chosen.first, chosen.first + chosen.count):
                one, began = mutant(number, chosen.seed, every), time.perf_counter()
                how, fault = judged(one, Path(folder))
                slowest = max(slowest, (time.perf_counter() - began, f"{number} {one.kind} {one.name}"))
                endings[how] += 1
                kinds[one.kind.partition(" and ")[0]] += 1
                if fault:
                    faults.append(f"{number} {one.feed.feed}/{one.name}, {one.kind}, {how}: {fault}")
        seconds = time.perf_counter() - start
    told = {
        "mutants": chosen.count,
        "ended": dict(endings),
        "kinds": dict(kinds),
        "faults": faults,
        "seconds": round(seconds, 1),
        "slowest": slowest,
        "megabytes": memory.megabytes,
    }
    sys.stdout.write(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
