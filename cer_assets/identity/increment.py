"""What changed since links were made: fingerprints, records to look at again, what binds them; no pair is scored."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from cer_assets.identity.cluster import MILLION, Ints, connected
from cer_assets.identity.pairs import Bools, coded
from cer_assets.identity.prepare import Prepared
from cer_assets.identity.score import Scored

DIGITS = 8
"""Hexadecimal digits of the model, and of the constraints, in a fingerprint; the values take sixteen."""


@dataclass(frozen=True)
class Bound:
    """What people said that beats every score, by position."""

    together: Ints
    """Per position the smallest of those that must be one person with it."""
    apart: tuple[Ints, Ints]
    """Pairs that must not be one person."""
    said: pl.DataFrame
    """record_id, said: a text of all constraints on the record, for each record that has any."""

    @property
    def everyone_is_free(self) -> bool:
        """Whether nothing binds anybody."""
        return not len(self.said)


def bound(ready: Prepared, constraints: pl.DataFrame | None) -> Bound:
    """Read constraints; those with a record that is not here hold between the records that are.

    Args:
        ready: the records.
        constraints: record_a, record_b, answer (must_link or cannot_link).

    Raises:
        ValueError: records must and must not be one person.
    """
    ids = ready.record_ids
    if constraints is None or constraints.is_empty():
        none = np.empty(0, dtype=np.int64)
        said = pl.DataFrame(schema={"record_id": ids.dtype, "said": pl.String})
        return Bound(np.arange(ready.size, dtype=np.int64), (none, none), said)
    pairs = constraints.select("record_a", "record_b", "answer")
    # Records that are gone stand behind those that are here: a chain of answers through them still holds.
    every = pl.concat([ids, pairs["record_a"], pairs["record_b"]]).unique(maintain_order=True).to_frame("id")
    places = every.with_row_index("place")
    placed = (
        pairs.join(places, left_on="record_a", right_on="id", maintain_order="left")
        .rename({"place": "a"})
        .join(places, left_on="record_b", right_on="id", maintain_order="left")
        .rename({"place": "b"})
    )
    must, cannot = (placed.filter(answer=answer) for answer in ("must_link", "cannot_link"))
    group = connected(must["a"].to_numpy(), must["b"].to_numpy(), len(every))
    one, other = group[cannot["a"].to_numpy()], group[cannot["b"].to_numpy()]
    if (one == other).any():
        torn = cannot.filter(pl.Series(one == other)).select("record_a", "record_b").sort("record_a", "record_b")
        raise ValueError(
            f"constraints: must and must not be one person: {torn.rows()[:5]}; withdraw one of the answers"
        )
    here = (one < ready.size) & (other < ready.size)
    both = [pairs, pairs.select(record_a="record_b", record_b="record_a", answer="answer")]
    said = (
        pl.concat(both)
        .select(record_id="record_a", said=pl.format("{} {}", "answer", "record_b"))
        .unique()
        .sort("record_id", "said")
        .group_by("record_id", maintain_order=True)
        .agg(pl.col("said").str.join("\n"))
    )
    return Bound(group[: ready.size], (one[here], other[here]), said)


def fingerprints(ready: Prepared, digest: str, bonds: Bound) -> pl.Series:
    """What the link of each record is decided from, in short: model, compared values, constraints on the record."""
    cursor = ready.connection
    cursor.register("hashes_frame", pl.DataFrame({"hash": ready.hashes}))
    cursor.execute("set variable digest = $digest", {"digest": digest[:DIGITS]})
    plain = cursor.sql("select getvariable('digest') || printf('%016x', hash) as fingerprint from hashes_frame").pl()
    cursor.unregister("hashes_frame")
    if bonds.everyone_is_free:
        return plain["fingerprint"]
    cursor.register("said_frame", bonds.said)
    said = cursor.sql(f"select record_id, left(md5(said), {DIGITS}) as said from said_frame").pl()
    cursor.unregister("said_frame")
    held = plain.with_columns(record_id=ready.record_ids).join(said, on="record_id", how="left", maintain_order="left")
    return held.select(pl.col("fingerprint") + pl.col("said").fill_null("")).to_series()


@dataclass(frozen=True)
class Known:
    """Previous links beside the records of now, by position."""

    row: Ints
    """The row of the links that holds the record; -1 where it was not known."""
    customer: Ints
    """The smallest position that shares the record's known customer; its own where it was not known."""
    fresh: Bools
    """New or changed since."""
    uneasy: Bools
    """Fresh, or of a customer that lost a record or holds a changed one."""
    removed: int
    """Records of the links that are gone."""


def nothing_known(size: int) -> Known:
    """At the first load everything is new."""
    every = np.ones(size, dtype=bool)
    return Known(np.full(size, -1, dtype=np.int64), np.arange(size, dtype=np.int64), every, every, 0)


def compare_with_known(ready: Prepared, links: pl.DataFrame, fingerprint: pl.Series, bonds: Bound) -> Known:
    """Find what is new, changed or gone.

    Args:
        ready: the records.
        links: record_id, customer_id and, if known, fingerprint. Without fingerprints every known record is taken for
            unchanged, but for those that constraints speak of.
        fingerprint: of the records now.
        bonds: the constraints.
    """
    ids = ready.record_ids
    position = pl.int_range(pl.len(), dtype=pl.Int64)
    now = pl.DataFrame({"record_id": ids, "now": fingerprint}).with_columns(position=position)
    then = pl.col("fingerprint") if "fingerprint" in links.columns else pl.lit(None, pl.String).alias("fingerprint")
    before = links.select("record_id", "customer_id", then, row=position)
    both = now.join(before, on="record_id", how="left", maintain_order="left")
    if "fingerprint" in links.columns:
        same = pl.col("fingerprint").eq_missing(pl.col("now"))
    else:
        same = ~pl.col("record_id").is_in(bonds.said["record_id"].implode())
    fresh = both.select((pl.col("row").is_null() | ~same).fill_null(value=True)).to_series().to_numpy()
    lost = before.join(now, on="record_id", how="anti")
    changed = both.filter(pl.Series(fresh)).select("customer_id").drop_nulls()
    troubled = pl.concat([lost["customer_id"], changed["customer_id"]]).unique()
    uneasy = fresh | both["customer_id"].is_in(troubled.implode()).fill_null(value=False).to_numpy()
    customer = (
        both.select(
            pl.when(pl.col("row").is_null()).then("position").otherwise(pl.col("position").min().over("customer_id"))
        )
        .to_series()
        .to_numpy()
    )
    return Known(both["row"].fill_null(-1).to_numpy(), customer, fresh, uneasy, len(lost))


def scored_before(ready: Prepared, edges: pl.DataFrame, fresh: Bools) -> Scored:
    """The edges of a former run between records that are here and unchanged."""
    place = pl.DataFrame({"id": ready.record_ids}).with_columns(position=pl.int_range(pl.len(), dtype=pl.Int64))
    found = edges.join(place, left_on="record_a", right_on="id").join(
        place, left_on="record_b", right_on="id", suffix="_b"
    )
    one, other = found["position"].to_numpy(), found["position_b"].to_numpy()
    kept = ~fresh[one] & ~fresh[other]
    score = np.round(found["score"].to_numpy()[kept] * MILLION).astype(np.int32)
    codes = coded(one[kept], other[kept])
    order = np.argsort(codes)
    return Scored(codes[order], score[order])
