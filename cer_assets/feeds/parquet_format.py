"""Parquet drops: typed columns, a footer that knows how many rows there are."""

from __future__ import annotations

import io

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cer_assets.feeds.parcel import BROKEN, Opened, Parcel


def open_parquet(opened: Opened) -> Parcel:
    """Read a Parquet drop; its footer says how many rows it delivers.

    Raises:
        UnreadableDrop: It is damaged or lacks a required column.
    """
    try:
        delivered = pq.read_metadata(io.BytesIO(opened.content)).num_rows
        rows = pl.read_parquet(io.BytesIO(opened.content))
    except (pa.ArrowException, pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise opened.refusal("it cannot be read", "a whole Parquet file", "Deliver it again.") from error
    opened.require_columns(rows.columns)
    return opened.parcel(
        delivered=delivered,
        rows=rows,
        lines=pl.int_range(1, rows.height + 1, dtype=pl.Int64, eager=True),
        broken=BROKEN.to_frame(),
        found=frozenset(rows.columns),
    )
