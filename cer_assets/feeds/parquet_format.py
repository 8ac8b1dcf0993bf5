"""Parquet drops: typed columns, a footer that knows how many rows there are."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cer_assets.feeds.parcel import BROKEN, Opened, Parcel

_DAMAGED = (pa.ArrowException, pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError)


def open_parquet(opened: Opened) -> Parcel:
    """Read a Parquet drop; its footer says how many rows it delivers.

    Read by pyarrow: a damaged file can make polars 2.1 ask for exabytes, which ends the process.

    Raises:
        UnreadableDrop: It is damaged or lacks a required column.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(opened.content))
        table = file.read(use_threads=False)
        table.validate(full=True)
        rows = pl.DataFrame(table)
    except _DAMAGED as error:
        raise opened.refusal("it cannot be read", "a whole Parquet file", "Deliver it again.") from error
    opened.require_columns(rows.columns)
    return opened.parcel(
        delivered=file.metadata.num_rows,
        rows=rows,
        lines=pl.int_range(1, rows.height + 1, dtype=pl.Int64, eager=True),
        broken=BROKEN.to_frame(),
        found=frozenset(rows.columns),
    )
