"""What changed since links were made: records to look at again, and what binds them; no pair is scored."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from cer_assets.identity.cluster import MILLION, Ints, connected
from cer_assets.identity.index import DIGITS, rows_of
from cer_assets.identity.pairs import Bools, coded
from cer_assets.identity.prepare import Workspace
from cer_assets.identity.score import Scored


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


def bound(ids: pl.Series, constraints: pl.DataFrame | None) -> Bound:
    """Read constraints; those with a record that is not here hold between the records that are.

    Args:
        ids: the records, in order.
        constraints: record_a, record_b, answer (must_link or cannot_link).

    Raises:
        ValueError: records must and must not be one person.
    """
    if constraints is None or constraints.is_empty():
        none = np.empty(0, dtype=np.int64)
        said = pl.DataFrame(schema={"record_id": ids.dtype, "said": pl.String})
        return Bound(np.arange(len(ids), dtype=np.int64), (none, none), said)
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
    here = (one < len(ids)) & (other < len(ids))
    both = [pairs, pairs.select(record_a="record_b", record_b="record_a", answer="answer")]
    said = (
        pl.concat(both)
        .select(record_id="record_a", said=pl.format("{} {}", "answer", "record_b"))
        .unique()
        .sort("record_id", "said")
        .group_by("record_id", maintain_order=True)
        .agg(pl.col("said").str.join("\n"))
    )
    return Bound(group[: len(ids)], (one[here], other[here]), said)


def with_constraints(ready: Workspace, fingerprints: pl.Series, bonds: Bound) -> pl.Series:
    """Fingerprints that also tell what people said of the record."""
    if bonds.everyone_is_free:
        return fingerprints
    cursor = ready.connection
    cursor.register("said_frame", bonds.said)
    said = cursor.sql(f"select record_id, left(md5(said), {DIGITS}) as said from said_frame").pl()
    cursor.unregister("said_frame")
    plain = pl.DataFrame({"record_id": ready.record_ids, "plain": fingerprints})
    held = plain.join(said, on="record_id", how="left", maintain_order="left")
    return held.select(pl.col("plain") + pl.col("said").fill_null("")).to_series()


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


def compare_with_known(ids: pl.Series, links: pl.DataFrame, fingerprint: pl.Series, bonds: Bound) -> Known:
    """Find what is new, changed or gone.

    Args:
        ids: the records, in order.
        links: record_id, customer_id and, if known, fingerprint. Without fingerprints every known record is taken for
            unchanged, but for those that constraints speak of.
        fingerprint: of the records now.
        bonds: the constraints.
    """
    row = rows_of(ids, links["record_id"])
    new = row < 0
    if "fingerprint" in links.columns:
        then = links["fingerprint"].extend_constant(None, 1)[np.where(new, len(links), row)]
        same = then.eq_missing(fingerprint).to_numpy()
    else:
        same = ~ids.is_in(bonds.said["record_id"].implode()).to_numpy()
    fresh = new | ~same
    lost = np.ones(len(links), dtype=bool)
    lost[row[~new]] = False
    # A number per customer, and one for all records that are new.
    _, number = np.unique(links["customer_id"].hash().to_numpy(), return_inverse=True)
    nobody = int(number.max(initial=-1)) + 1
    of_record = np.append(number, nobody)[row]
    troubled = np.zeros(nobody + 1, dtype=bool)
    troubled[number[lost]] = True
    troubled[of_record[fresh & ~new]] = True
    first = np.full(nobody + 1, len(ids), dtype=np.int64)
    np.minimum.at(first, of_record, np.arange(len(ids)))
    customer = np.where(new, np.arange(len(ids)), first[of_record])
    return Known(row, customer, fresh, fresh | troubled[of_record], int(lost.sum()))


def scored_before(ids: pl.Series, edges: pl.DataFrame, fresh: Bools) -> Scored:
    """The edges of a former run between records that are here and unchanged."""
    places = pl.DataFrame({"id": ids.filter(pl.Series(~fresh)), "place": np.flatnonzero(~fresh)})
    found = edges.join(places, left_on="record_a", right_on="id").join(
        places, left_on="record_b", right_on="id", suffix="_b"
    )
    score = np.round(found["score"].to_numpy() * MILLION).astype(np.int32)
    codes = coded(found["place"].to_numpy(), found["place_b"].to_numpy())
    order = np.argsort(codes)
    return Scored(codes[order], score[order])
