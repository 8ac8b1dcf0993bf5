"""What every record's values and blocking keys are, kept from run to run, so that a run reads only what is new.

An index holds hashes and counts, no value. It follows from the records and the model alone: whatever is no longer true
of it is found out and read again, so that it may be lost, or be of any former run.
"""

import hashlib
import logging
import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import polars as pl

from cer_assets.identity.block import BlockKey, hashed
from cer_assets.identity.fields import MatchField
from cer_assets.identity.model import Model
from cer_assets.identity.pairs import Hashes, Ints, Near, hash_keys
from cer_assets.identity.prepare import Codes, Prepared, Texts, Workspace, mixed, prepared_texts, sparse, standards

logger = logging.getLogger(__name__)

DIGITS = 8
"""Hexadecimal digits of the model, and of the constraints, in a fingerprint; the values take sixteen."""

MANY_FRESH = 0.1
"""Where a larger share of the records is fresh, all are read."""

GROWTH = 1.25
"""Where the records have become so many times as many, all links are decided anew: what was rare may not be now."""


@dataclass(frozen=True, eq=False)
class Index:
    """Records by `record_id`, and what was read of each."""

    basis: str
    """What the rest depends on beside the records: the model, how keys are written, the libraries that hash."""
    record_ids: pl.Series
    seen: Hashes
    """A hash of the record's texts."""
    fingerprints: pl.Series
    """What the record's link is decided from, constraints apart."""
    keys: Hashes
    """Per blocking key and record the hash of the key's value, 0 where there is none."""
    values: Hashes
    """Per field and record a hash of the value in standard form, 0 where there is none."""
    holders: Codes
    """Per field and record, how many records hold the value."""

    def __len__(self) -> int:
        """Number of records."""
        return len(self.record_ids)

    def __eq__(self, other: object) -> bool:
        """Whether the same was read of the same records."""
        return isinstance(other, Index) and self.basis == other.basis and self.frame().equals(other.frame())

    def frame(self) -> pl.DataFrame:
        """The index as a table, for keeping."""
        columns: dict[str, Any] = {
            "record_id": self.record_ids,
            "seen": self.seen,
            "fingerprint": self.fingerprints,
            **{f"key{n}": key for n, key in enumerate(self.keys)},
            **{f"value{n}": value for n, value in enumerate(self.values)},
            **{f"holders{n}": count for n, count in enumerate(self.holders)},
        }
        return pl.DataFrame(columns)

    @classmethod
    def from_frame(cls, basis: str, frame: pl.DataFrame) -> "Index":
        """The index that `frame` was made from."""

        def rows(name: str, dtype: type[np.unsignedinteger[Any] | np.signedinteger[Any]]) -> npt.NDArray[Any]:
            names = [column for column in frame.columns if column.startswith(name)]
            stacked = np.empty((len(names), len(frame)), dtype=dtype)
            for row, column in zip(stacked, names, strict=True):
                row[:] = frame[column].to_numpy()
            return stacked

        return cls(
            basis=basis,
            record_ids=frame["record_id"],
            seen=frame["seen"].to_numpy(),
            fingerprints=frame["fingerprint"],
            keys=rows("key", np.uint64),
            values=rows("value", np.uint64),
            holders=rows("holders", np.int32),
        )


def decided_by(model: Model, records: int) -> str:
    """What all links of a run are decided from, in short: the model, and how many records there are, by the order.

    A value's rarity is counted among all records. The pairs that nothing touches keep the score of the day they were
    compared, until the records have become `GROWTH` times as many.
    """
    order = int(math.log(max(records, 1)) / math.log(GROWTH))
    return hashlib.sha256(f"{model.digest} {order}".encode()).hexdigest()[:DIGITS]


@contextmanager
def read_records(
    records: pl.DataFrame,
    model: Model,
    connection: duckdb.DuckDBPyConnection | None,
    former: Index | None,
    complete: bool,
) -> Generator[tuple[Workspace, Index]]:
    """Open a workspace over the records, and find their index.

    Args:
        records: `record_id` and the model's columns.
        model: says which keys there are.
        connection: whose memory limit, spill folder and threads to use.
        former: an index of former records; only what it does not hold is read.
        complete: whether every record is made ready to be compared, where there is no former index.

    Raises:
        ValueError: records cannot be prepared.
    """
    texts = Texts.of(records, model.fields)
    keys, _ = model.block_rules()
    prefix = decided_by(model, len(texts))
    basis = _basis(prefix, texts.fields, keys)
    seen = _seen(texts)
    if former is not None and former.basis == basis and len(former):
        row = rows_of(texts.record_ids, former.record_ids)
        row[former.seen[row] != seen] = -1
        fresh = row < 0
        if fresh.sum() <= MANY_FRESH * len(texts):
            logger.info("%d of %d records are read, the others as they are in the index", fresh.sum(), len(texts))
            with prepared_texts(texts.at(np.flatnonzero(fresh)), connection, complete=False) as ready:
                new = _index_of(ready, basis, prefix, keys, seen[fresh])
            index = _carried_on(former, row, new, texts)
            filled = [int(np.count_nonzero(values)) for values in index.values]
            with sparse(texts, index.holders, filled, connection) as workspace:
                yield workspace, index
            return
    with prepared_texts(texts, connection, complete) as ready:
        yield ready, _index_of(ready, basis, prefix, keys, seen)


def rows_of(ids: pl.Series, among: pl.Series) -> Ints:
    """The row of each id among others, -1 where it is not there."""
    if len(ids) == len(among) and (ids == among).all():
        return np.arange(len(ids), dtype=np.int64)
    places = pl.DataFrame({"id": among}).with_columns(row=pl.int_range(pl.len(), dtype=pl.Int64))
    found = pl.DataFrame({"id": ids}).join(places, on="id", how="left", maintain_order="left")
    return found["row"].fill_null(-1).to_numpy(writable=True)


def _basis(prefix: str, fields: Sequence[MatchField], keys: Sequence[BlockKey]) -> str:
    """Hashes of other libraries, or of values and keys that were written otherwise, are not those of now."""
    written = [prefix, pl.__version__, duckdb.__version__, standards(fields), *(hashed(key) for key in keys)]
    return hashlib.sha256("\n".join(written).encode()).hexdigest()


def _seen(texts: Texts) -> Hashes:
    hashes = np.zeros(len(texts), dtype=np.uint64)
    for column in texts.columns:
        hashes = mixed(hashes, column.hash().to_numpy())
    return hashes


def _index_of(ready: Prepared, basis: str, prefix: str, keys: Sequence[BlockKey], seen: Hashes) -> Index:
    """The index of the records of a workspace; holders are counted among these."""
    fields = range(len(ready.fields))
    values = np.empty((len(fields), ready.size), dtype=np.uint64)
    holders = np.empty((len(fields), ready.size), dtype=np.int32)
    for field in fields:
        values[field] = ready.value_hashes[field][ready.values[field]]
        holders[field] = ready.counts[field][ready.values[field]]
    return Index(
        basis=basis,
        record_ids=ready.record_ids,
        seen=seen,
        fingerprints=_fingerprints(ready, prefix),
        keys=hash_keys(ready, keys),
        values=values,
        holders=holders,
    )


def _fingerprints(ready: Prepared, prefix: str) -> pl.Series:
    cursor = ready.connection
    cursor.register("hashes_frame", pl.DataFrame({"hash": ready.hashes}))
    cursor.execute("set variable prefix = $prefix", {"prefix": prefix})
    found = cursor.sql("select getvariable('prefix') || printf('%016x', hash) as fingerprint from hashes_frame").pl()
    cursor.unregister("hashes_frame")
    return found["fingerprint"]


def _carried_on(former: Index, row: Ints, new: Index, texts: Texts) -> Index:
    """The index of all records: the former one's rows, and in place of -1 those of the new one, in order."""
    fresh = row < 0
    gone = np.ones(len(former), dtype=bool)
    gone[row[~fresh]] = False
    # As if the new rows stood behind the former ones.
    place = row.copy()
    place[fresh] = len(former) + np.arange(len(new))
    values = _placed(former.values, new.values, place)
    holders = _placed(former.holders, new.holders, place)
    for field in range(len(values)):
        _recount(field, former, former.values[field][gone], new.values[field], values, holders)
    return Index(
        basis=former.basis,
        record_ids=texts.record_ids,
        seen=np.concatenate([former.seen, new.seen])[place],
        fingerprints=pl.concat([former.fingerprints, new.fingerprints])[place],
        keys=_placed(former.keys, new.keys, place),
        values=values,
        holders=holders,
    )


def _placed(former: npt.NDArray[Any], new: npt.NDArray[Any], place: Ints) -> npt.NDArray[Any]:
    placed = np.empty((len(former), len(place)), dtype=former.dtype)
    for row, one, other in zip(placed, former, new, strict=True):
        np.take(np.concatenate([one, other]), place, out=row)
    return placed


def _recount(field: int, former: Index, gone: Hashes, come: Hashes, values: Hashes, holders: Codes) -> None:
    """Correct, in place, how many records hold the values that some record lost or got."""
    moved, which = np.unique(np.concatenate([gone, come]), return_inverse=True)
    weight = np.concatenate([np.full(len(gone), -1), np.ones(len(come), dtype=np.int64)])
    total = np.zeros(len(moved), dtype=np.int64)
    near = Near(moved)
    there, number = near.places(former.values[field])
    total[number] = former.holders[field][there]
    np.add.at(total, which, weight)
    there, number = near.places(values[field])
    holders[field][there] = total[number]
