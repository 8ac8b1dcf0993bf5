"""Parquet drops: typed columns, a footer that knows how many rows there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cer_assets.feeds.parcel import BROKEN, Opened, Parcel, UnreadableDrop
from cer_assets.feeds.parquet_pages import Column, columns_of

_DAMAGED = (
    pa.ArrowException,
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    OSError,
    ValueError,
    KeyError,
    MemoryError,
)
_ROWS_AT_ONCE = 65_536


def open_parquet(opened: Opened) -> Parcel:
    """Read a Parquet drop; its footer says how many rows it delivers.

    Read by pyarrow: a damaged file can make polars 2.1 ask for exabytes, which ends the process. Nothing is unpacked
    before the pages said that all of it has room; a nested column, which no contract wants, is left out where it might
    have none.

    Raises:
        UnreadableDrop: It is damaged, unpacks to too much, or lacks a required column.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(opened.content))
        columns = columns_of(opened.content, file.metadata)
    except _DAMAGED as error:
        raise _damaged(opened) from error
    opened.require_room(file.metadata.num_rows)
    if sum(column.at_least for column in columns) > opened.most_bytes:
        raise opened.too_large()
    opened.require_columns(file.schema_arrow.names)
    if strange := next((field for field in file.schema_arrow if _unknown(field.type)), None):
        raise opened.refusal(
            f"{_told(strange.name, opened)} is of type {strange.type}",
            "a type that tables have",
            "Deliver it as text, or in another type, or not at all.",
        )
    try:
        rows = _rows(opened, columns)
    except UnreadableDrop:
        raise
    except _DAMAGED as error:
        raise _damaged(opened) from error
    if rows.height != file.metadata.num_rows:
        raise _damaged(opened)
    return opened.parcel(
        delivered=file.metadata.num_rows,
        rows=rows,
        lines=pl.int_range(1, rows.height + 1, dtype=pl.Int64, eager=True),
        broken=BROKEN.to_frame(),
        found=frozenset(file.schema_arrow.names),
    )


def _unknown(kind: Any) -> bool:
    """Whether polars 2.1 has no such type, and panics at it."""
    if pa.types.is_decimal256(kind) or pa.types.is_interval(kind) or pa.types.is_union(kind):
        return True
    return any(_unknown(kind.field(at).type) for at in range(kind.num_fields))


def _told(name: str, opened: Opened) -> str:
    """A column by its name, where that is one of ours: any other may be a person's."""
    return f"the column {name}" if name in opened.wanted.values() else "a column that is not wanted"


def _damaged(opened: Opened) -> UnreadableDrop:
    return opened.refusal("it cannot be read", "a whole Parquet file", "Deliver it again.")


def _rows(opened: Opened, columns: Sequence[Column]) -> pl.DataFrame:
    texts = [column for column in columns if column.longest and not column.nested]
    # Texts that are written once and meant often are read as such, and written out once their length is known.
    written_once = [column.name for column in texts if not column.prefixed]
    longest = max((column.longest for column in texts if column.prefixed), default=1)
    file = pq.ParquetFile(pa.BufferReader(opened.content), read_dictionary=written_once)
    batches = file.iter_batches(
        batch_size=min(_ROWS_AT_ONCE, max(1, opened.most_bytes // longest)),
        columns=_roomy(file.schema_arrow.names, columns, opened.most_bytes),
        use_threads=False,
    )
    room = opened.most_bytes
    read: list[Any] = []
    for batch in batches:
        batch.validate(full=True)
        room -= sum(map(_bytes_written_out, batch.columns))
        if room < 0:
            raise opened.too_large()
        read.append(_written_out(batch))
    if not read:
        return pl.DataFrame(pq.ParquetFile(pa.BufferReader(opened.content)).schema_arrow.empty_table())
    return pl.DataFrame(pa.Table.from_batches(read))


def _roomy(names: Sequence[str], columns: Iterable[Column], most: int) -> list[str]:
    """The columns to read: without those nested ones that may take more than there is room for."""
    nested = [column for column in columns if column.nested]
    if sum(column.at_most for column in nested) <= most:
        return list(names)
    left_out = [column.name for column in nested]
    return [name for name in names if not any(path.startswith(f"{name}.") for path in left_out)]


def _bytes_written_out(column: Any) -> int:
    if not pa.types.is_dictionary(column.type):
        return column.nbytes
    letters = pc.sum(pc.take(pc.binary_length(column.dictionary), column.indices)).as_py() or 0  # pyright: ignore
    return letters + 8 * len(column)


def _written_out(batch: Any) -> Any:
    columns = [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
