"""Which pairs are worth comparing: keys, rules made of keys, what a rule costs and finds, and the pairs themselves."""

import itertools
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse
from sqlglot import exp

from cer_assets.identity.fields import KINDS, MatchField, name_partner
from cer_assets.identity.prepare import DIALECT, of_field

Floats = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]

logger = logging.getLogger(__name__)

BLOCK_CAP = 300
"""A block of more records is not compared at all: what so many share tells nobody apart."""

PAIRS_PER_RECORD_AND_RULE = 3.0
"""A rule that would bring more pairs per record than this is too coarse; it is tried with a further key."""

PAIRS_PER_RECORD = 20.0
"""What all rules together may bring."""

MOST_RULES = 60
"""A pair remembers the rules that found it as bits of one integer."""

MEASURED_RECORDS = 20_000
"""The cost of a rule is measured on so many records and projected to all of them."""

MOST_MEASURED = 400
"""How many rules of several keys are measured at most, however many fields there are."""

TWINS = 0.995
"""Two keys that are equal for this share of the records that hold either find the same pairs."""


@dataclass(frozen=True)
class BlockKey:
    """A kind's key on one column. `positions` are the fields it reads."""

    column: str
    name: str
    positions: tuple[int, ...]
    coarse: bool
    expression: exp.Expr


Rule = tuple[int, ...]
"""Places in the list of keys: two records that share all of these keys are compared."""


def block_keys(fields: Sequence[MatchField]) -> tuple[BlockKey, ...]:
    """Every key of every field; one that reads a name and its partner stands once, with the first of the two."""
    return tuple(_keys(fields))


def _keys(fields: Sequence[MatchField]) -> Iterator[BlockKey]:
    for position, field in enumerate(fields):
        partner = name_partner(fields, position)
        for key in KINDS[field.kind].keys:
            reads = (position,)
            if "partner" in key.expression:
                if partner is None or partner < position:
                    continue
                reads = (position, partner)
            expression = of_field(key.expression, fields, position)
            yield BlockKey(field.column, key.name, reads, key.coarse, expression)


def candidate_rules(keys: Sequence[BlockKey]) -> list[Rule]:
    """Single keys, two keys of different fields, and three coarse keys of different fields; short rules first."""
    numbers = range(len(keys))
    coarse = [k for k in numbers if keys[k].coarse]
    rules = itertools.chain(
        ((k,) for k in numbers), itertools.combinations(numbers, 2), itertools.combinations(coarse, 3)
    )
    return [rule for rule in rules if _of_different_fields(keys, rule)]


def _of_different_fields(keys: Sequence[BlockKey], rule: Rule) -> bool:
    read = [p for k in rule for p in keys[k].positions]
    return len(read) == len(set(read))


def hashed(key: BlockKey) -> str:
    """SQL for the hash of a key's value over `l`, null where there is no value."""
    value = f"nullif({key.expression.sql(DIALECT)}, '')"
    return f"case when {value} is not null then hash({value}) end"


def affordable_rules(keys: Hashes, rules: Sequence[Rule], rng: np.random.Generator) -> list[Rule]:
    """The shortest rules that stay within the budget of pairs per record.

    A longer rule is left out where a shorter one that it contains is in, for it would find nothing more, unless the
    shorter one leaves records in blocks over the cap.

    Args:
        keys: per key and position the hash of the key's value, 0 where there is none.
        rules: as places among the keys.
        rng: draws the records on which rules are measured.
    """
    size = keys.shape[1]
    chosen = sample_positions(size, MEASURED_RECORDS, rng)
    hashes = np.ascontiguousarray(keys[:, chosen].T)
    share = len(hashes) / max(size, 1)
    # Both ends of a pair are in the sample by chance.
    affordable = PAIRS_PER_RECORD_AND_RULE * share * len(hashes)
    twins = _twins(hashes)
    rules = [rule for rule in rules if not twins & set(rule)]
    kept: list[Rule] = []
    complete: list[frozenset[int]] = []
    empty: list[frozenset[int]] = []
    pairs_of_key: dict[int, float] = {}
    singles = (rule for rule in rules if len(rule) == 1)
    measured = 0
    for rule in itertools.chain(singles, _most_promising(rules, pairs_of_key, len(hashes), affordable)):
        held = frozenset(rule)
        if any(short <= held for short in itertools.chain(complete, empty)):
            continue
        if len(rule) > 1 and (measured := measured + 1) > MOST_MEASURED:
            break
        pairs, lost = _measure(hashes, rule)
        if len(rule) == 1:
            pairs_of_key[rule[0]] = pairs
        if pairs == 0:
            empty.append(held)
        elif pairs <= affordable:
            kept.append(rule)
            if lost <= 0.01 * len(hashes):
                complete.append(held)
    logger.info("%d of %d blocking rules stay within the budget, %d measured", len(kept), len(rules), measured)
    return kept


def _twins(hashes: Hashes) -> set[int]:
    """The keys that are as good as equal to one before them, as the first word of names of one word is to the name."""
    found: set[int] = set()
    for one, other in itertools.combinations(range(hashes.shape[1]), 2):
        # Most keys differ in the first few records already.
        if all(_alike(hashes[:most, one], hashes[:most, other]) for most in (100, len(hashes))):
            found.add(other)
    return found


def _alike(one: Hashes, other: Hashes) -> bool:
    differ = int((one != other).sum())
    return differ <= (1 - TWINS) * int(((one != 0) | (other != 0)).sum())


def _most_promising(
    rules: Sequence[Rule], pairs_of_key: Mapping[int, float], records: int, affordable: float
) -> Iterator[Rule]:
    """Rules of several keys, short ones first, then those that promise the most pairs that can be afforded.

    A rule is guessed to find what it would if its keys had nothing to do with each other; read when the keys are known.
    """
    every = max(records * (records - 1) / 2, 1.0)

    def promise(rule: Rule) -> tuple[int, bool, float, Rule]:
        pairs = every * math.prod(pairs_of_key.get(key, 0.0) / every for key in rule)
        return len(rule), pairs > affordable, round(pairs if pairs > affordable else -pairs, 6), rule

    yield from sorted((rule for rule in rules if len(rule) > 1), key=promise)


def _measure(hashes: Hashes, rule: Rule) -> tuple[float, int]:
    """Pairs that the rule finds among the measured records, blocks counted up to the cap; records beyond it."""
    keys = hashes[:, list(rule)]
    keys = keys[(keys != 0).all(axis=1)]
    odd = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)
    _, counts = np.unique((keys * odd[: len(rule)]).sum(axis=1, dtype=np.uint64), return_counts=True)
    compared = np.minimum(counts, BLOCK_CAP).astype(np.float64)
    return float((compared * (compared - 1) / 2).sum()), int(counts[counts > BLOCK_CAP].sum())


def sample_positions(size: int, most: int, rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """At most so many positions of `size` records, drawn without replacement, in order."""
    return np.sort(rng.choice(size, size=min(most, size), replace=False)).astype(np.int32)


def choose_rules(found: pl.DataFrame, chance: Floats, rules: int, records: int) -> list[int]:
    """The rules that find the most likely matches for the fewest pairs, greedily, until the budget is spent.

    A match found by a second rule counts a third: an error in one key then costs nothing.

    Args:
        found: `rule`, `first`, `second` of pairs around a sample of records, ordered by pair.
        chance: the chance that a pair is a match, per distinct pair in order.
        rules: how many rules there are.
        records: how many records the pairs are around.

    Returns:
        Numbers of the chosen rules, best first.
    """
    another = found.select(pl.any_horizontal(pl.col("first", "second").diff() != 0)).to_series().fill_null(value=False)
    pair = another.cum_sum().to_numpy()
    shape = (len(chance), rules)
    finds = sparse.csc_array((np.ones(len(found)), (pair, found["rule"].to_numpy())), shape=shape)
    found_by = finds.T.tocsr()
    times = np.zeros(len(chance))
    chosen: list[int] = []
    # Pairs with one end in the sample are counted around both ends, hence twice what a record brings.
    budget = PAIRS_PER_RECORD * records * 2
    while len(chosen) < min(MOST_RULES, rules):
        new = chance * np.where(times == 0, 1.0, np.where(times == 1, 1 / 3, 0.0))
        gain = np.asarray(found_by @ new, dtype=np.float64)
        cost = np.asarray(found_by @ (times == 0).astype(np.float64), dtype=np.float64)
        # The constant keeps rules that find next to nothing from looking best for their precision.
        worth = np.where(gain > 0, gain / (cost + 0.05 * records), -1.0)
        worth[chosen] = -1.0
        worth[(times > 0).sum() + cost > budget] = -1.0
        best = int(np.argmax(np.round(worth, 9)))
        if worth[best] <= 0 or gain[best] < 1e-4 * chance.sum():
            break
        chosen.append(best)
        times[finds.indices[finds.indptr[best] : finds.indptr[best + 1]]] += 1
    logger.info("%d blocking rules chosen", len(chosen))
    return chosen
