"""Rows become Parquet files of a table: one file open at a time, so that memory does not grow with the table.

delta-rs' own writer keeps a file open for each partition until all are written. Here the rows come partition after
partition, and what is handed to delta-rs is the list of files for its log. That list says how many rows a file holds
and nothing of their values, which may be a person's.
"""

import json
import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from cer_assets.lake.staging import ArrowStream
from cer_assets.lake.store import Store

FILE_BYTES = 256_000_000
"""A file that has grown to this many bytes is followed by another."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Written:
    """The columns of a stream of rows, and the files that hold them."""

    schema: Any
    files: Sequence[AddAction]


def write_files(store: Store, table: str, stream: ArrowStream, partition_by: str | None, held: Any = None) -> Written:
    """Write rows that come partition after partition; what was written is taken away again if that fails.

    The files are on disk when they are handed over: no commit that outlasts a power cut names one that did not.

    Args:
        store: the lake's files.
        table: the table's folder in it.
        stream: the rows.
        partition_by: the column that they are laid out by, which then stands in the folders' names alone.
        held: the Arrow schema of a table that goes on: its columns keep their types.

    Raises:
        pyarrow.ArrowInvalid: a value does not fit the type that its column has in the table.
        OSError: the store is full, read-only or gone; it names the table's folder.
    """
    reader = pa.RecordBatchReader.from_stream(stream)
    if held is not None:
        reader = _cast(reader, held)
    parts = _Files(store, table, partition_by, reader.schema)
    try:
        for value, batch in _pieces(reader, partition_by):
            parts.add(value, batch)
        parts.close()
        store.settle(f"{table}/{file.path}" for file in parts.done)
    except OSError as error:
        parts.discard()
        said = f"{table}: could not be written, and stays as it was ({error.strerror or error})"
        raise OSError(error.errno, said, f"{store.root}/{table}") from error
    except BaseException:
        parts.discard()
        raise
    return Written(reader.schema, parts.done)


def _cast(reader: Any, held: Any) -> Any:
    kinds: dict[str, Any] = {field.name: field.type for field in held}
    schema = pa.schema([(field.name, kinds.get(field.name, field.type)) for field in reader.schema])
    return pa.RecordBatchReader.from_batches(schema, (batch.cast(schema) for batch in reader))


def _pieces(reader: Any, partition_by: str | None) -> Iterator[tuple[str | None, Any]]:
    """The batches, cut where the partition changes."""
    for batch in reader:
        if partition_by is None:
            yield None, batch
            continue
        column = batch.column(partition_by)
        rest = batch.drop_columns([partition_by])
        ends: Any = pc.call_function("run_end_encode", [column])
        start = 0
        for end, value in zip(ends.run_ends.to_pylist(), ends.values.to_pylist(), strict=True):
            yield str(value), rest.slice(start, end - start)
            start = end


class _Files:
    """The file that is being written, and those that are done."""

    def __init__(self, store: Store, table: str, partition_by: str | None, schema: Any) -> None:
        self.done: list[AddAction] = []
        self._store, self._table, self._by = store, table, partition_by
        self._schema = schema if partition_by is None else schema.remove(schema.get_field_index(partition_by))
        self._value: str | None = None
        self._path, self._rows = "", 0
        self._file: IO[bytes] | None = None
        self._writer: Any = None

    def add(self, value: str | None, batch: Any) -> None:
        """Some rows of one partition."""
        if not batch.num_rows:
            return
        if self._file is None or value != self._value or self._file.tell() > FILE_BYTES:
            self.close()
            self._open(value)
        self._writer.write_batch(batch)
        self._rows += batch.num_rows

    def close(self) -> None:
        """End the file that is being written."""
        if self._file is None:
            return
        self._writer.close()
        size = self._file.tell()
        self._file.close()
        self._file = None
        values = {} if self._by is None else {self._by: self._value}
        stats = json.dumps({"numRecords": self._rows})
        self.done.append(AddAction(self._path, size, values, int(time.time() * 1000), True, stats))

    def discard(self) -> None:
        """Take away what was written: nothing will name it."""
        paths = [self._path] if self._file is not None else []
        try:
            if self._file is not None:
                self._file.close()
        except OSError as error:
            _log.warning("%s: a file that was being written could not be closed: %s", self._table, error.strerror)
        discard(self._store, self._table, self.done, paths)

    def _open(self, value: str | None) -> None:
        folder = "" if self._by is None else f"{self._by}={quote(str(value), safe='')}/"
        self._value, self._rows = value, 0
        self._path = f"{folder}part-{uuid.uuid4().hex}.zstd.parquet"
        self._file = self._store.write(f"{self._table}/{self._path}")
        self._writer = pq.ParquetWriter(
            self._file,
            self._schema,
            compression="zstd",
            compression_level=1,
            store_schema=False,
            store_decimal_as_integer=True,
        )


def discard(store: Store, table: str, files: Sequence[AddAction], more: Sequence[str] = ()) -> None:
    """Take away files that no version names; where that fails too, the next vacuum finds them."""
    paths = [file.path for file in files] + list(more)
    try:
        store.remove(f"{table}/{path}" for path in paths)
    except OSError as error:
        _log.warning("%s: %d unfinished files could not be taken away: %s", table, len(paths), error.strerror)
