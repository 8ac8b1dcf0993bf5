"""Small files that unpack to a great deal, and the memory that reading one takes.

`python -m cer_assets_tests.feeds.bombs NAME --megabytes 64` reads one of them, in a process that does nothing else, and
says as JSON how it ended and how much memory that took over what the process held before.
"""

import argparse
import gzip
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cer_assets.feeds import list_drops, read_drops
from cer_assets_tests.feeds.conftest import declare
from cer_assets_tests.feeds.memory import MemoryWatch
from cer_assets_tests.feeds.mutants import DAY, ZONE

FEED = declare("demographics")
HEADER = b"source,source_id,age\n"


def _members(times: int, block: bytes) -> bytes:
    """A gzip file of many members, which unpack one after the other."""
    return gzip.compress(HEADER, 9, mtime=0) + gzip.compress(block, 9, mtime=0) * times


def _parquet(columns: dict[str, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, **options)
    return buffer.getvalue()


def _written_once(text: str, rows: int) -> Any:
    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int8()), rows), pa.array([text]))


def _ids(rows: int) -> dict[str, Any]:
    return {"source": _written_once("crm", rows), "source_id": pa.array(map(str, range(rows)))}


def _text(megabytes: int, line: Callable[[int], str]) -> bytes:
    lines: list[str] = []
    size = 0
    while size < megabytes * 990_000:
        lines.append(line(len(lines)))
        size += len(lines[-1].encode())
    return "".join(lines).encode()


def _json(number: int, more: str = "") -> str:
    return json.dumps({"source": "crm", "source_id": number, "age": "x" * 50 + more}, ensure_ascii=False) + "\n"


BOMBS: dict[str, tuple[str, Callable[[int], bytes]]] = {
    # Each is a file ending, and the file for so many megabytes.
    "gzip of zeros": ("csv.gz", lambda mb: _members(mb * 5, b"\0" * 1_000_000)),
    "gzip of rows": ("csv.gz", lambda mb: _members(mb * 5, b"crm,1,2\n" * 125_000)),
    "gzip of one quote": ("csv.gz", lambda mb: gzip.compress(HEADER + b'"' + b"a" * mb * 900_000, 9, mtime=0)),
    "gzip of line ends": ("csv.gz", lambda mb: gzip.compress(HEADER + b"\n" * mb * 900_000, 9, mtime=0)),
    "a long text meant often": (
        "parquet",
        lambda mb: _parquet(_ids(100_000) | {"age": _written_once("x" * mb * 2_000, 100_000)}),
    ),
    "a long text meant often, inside lists": (
        "parquet",
        lambda mb: _parquet(
            _ids(100_000)
            | {
                "extra": pa.ListArray.from_arrays(
                    pa.array(range(100_001), pa.int32()), _written_once("x" * mb * 2_000, 100_000)
                )
            }
        ),
    ),
    "texts built upon each other": (
        "parquet",
        lambda mb: _parquet(
            _ids(2_000 * 8) | {"age": pa.array("x" * (n * mb) for n in range(2_000) for _ in range(8))},
            use_dictionary=["source"],
            column_encoding={"age": "DELTA_BYTE_ARRAY", "source_id": "PLAIN"},
        ),
    ),
    "one page": (
        "parquet",
        lambda mb: _parquet(_ids(1) | {"age": pa.array(["x" * mb * 1_200_000])}, compression="zstd"),
    ),
    "rows upon rows": (
        "parquet",
        lambda mb: _parquet(
            {"source": _written_once("crm", mb * 100_000), "source_id": _written_once("1", mb * 100_000)}
        ),
    ),
    # Files as large as they may be, in the ways that take the most memory.
    "many short rows": ("csv", lambda mb: HEADER + b"".join(b"crm,%d,\n" % n for n in range(mb * 10_000 - 2))),
    "many short rows, all rejected": ("csv", lambda mb: HEADER + b",,\n" * (mb * 10_000 - 2)),
    "many broken rows": ("csv", lambda mb: HEADER + b'"a"b,,\n' * (mb * 10_000 - 2)),
    "long rows": ("csv", lambda mb: HEADER + _text(mb, lambda n: f"crm,{n},{'x' * 5_000}\n")),
    "wide letters": ("csv", lambda mb: HEADER + _text(mb, lambda n: f"crm,{n},\N{PILE OF POO}{'x' * 90}\n")),
    "objects": ("ndjson", lambda mb: _text(mb, _json)),
    "objects with wide letters": ("ndjson", lambda mb: _text(mb, lambda n: _json(n, "\N{PILE OF POO}"))),
    "objects of strange names": (
        "ndjson",
        lambda mb: _text(mb, lambda n: f'{{"a{n}":{n},"b{n}":1,"c{n}":1,"d{n}":"{"x" * 60}"}}\n'),
    ),
    "one line": ("ndjson", lambda mb: b'{"source":"crm","source_id":"1","age":"' + b"x" * (mb * 999_000) + b'"}'),
    "brackets": ("ndjson", lambda mb: b"[" * (mb * 999_000)),
    "nothing but rejects": (
        "ndjson",
        lambda mb: _text(mb, lambda n: f'{{"source":"crm","age":"{"x" * 90}","n":{n}}}\n'),
    ),
    "short texts": (
        "parquet",
        lambda mb: _parquet(_ids(mb * 9_999) | {"age": pa.array(f"{n:020}" for n in range(mb * 9_999))}),
    ),
}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(BOMBS))
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--make", action="store_true", help="write the file to the standard output, and read nothing")
    chosen = parser.parse_args(arguments)
    ending, make = BOMBS[chosen.name]
    if chosen.make:
        sys.stdout.buffer.write(make(chosen.megabytes))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, FEED.feed, f"{DAY}.{ending}")
        path.parent.mkdir()
        with path.open("wb") as file:
            while block := sys.stdin.buffer.read(1 << 20):
                file.write(block)
        (drop,) = list_drops(Path(folder), FEED.feed)
        read_drops(FEED, [], ZONE)  # what is imported and compiled at first is not the file's
        start = time.perf_counter()
        with MemoryWatch() as memory:
            delivery = read_drops(FEED, [drop], ZONE, chosen.megabytes * 1_000_000)
    told = {
        "bytes": drop.bytes,
        "refused": delivery.refused,
        **delivery.files.select("delivered", "accepted", "rejected").row(0, named=True),
        "megabytes": memory.megabytes,
        "seconds": round(time.perf_counter() - start, 2),
    }
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
