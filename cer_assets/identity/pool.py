"""The blocked pairs of a sample of records, each with the rules that find it; which rules are worth it is not asked."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl

from cer_assets.identity.block import Rule
from cer_assets.identity.pairs import PAIRS_PER_BATCH, THREADS, Codes, Hashes, Positions, ends, find_blocks, near_to


def pairs_around(keys: Hashes, rules: Sequence[Rule], around: Positions) -> pl.DataFrame:
    """All pairs that have an end among some records, once for each rule that finds them.

    Args:
        keys: per key and position the hash of the key's value, 0 where there is none.
        rules: as places among the keys.
        around: the positions.

    Returns:
        `rule` (its place among the rules), `first`, `second`; ordered by pair, then rule.
    """
    wanted = np.zeros(keys.shape[1], dtype=bool)
    wanted[around] = True
    near = near_to(wanted, keys)

    def found_by(rule: Rule) -> Codes:
        blocks = find_blocks(keys, [rule], wanted, near).blocks
        batches = list(blocks.batches(wanted, PAIRS_PER_BATCH, len(wanted)))
        return np.concatenate([np.empty(0, dtype=np.uint64), *batches])

    # numpy leaves the interpreter to others while it sorts.
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(found_by, rules))
    codes = np.concatenate([np.empty(0, dtype=np.uint64), *found])
    rule = np.repeat(np.arange(len(found), dtype=np.uint16), [len(f) for f in found])
    # Rules come one after another already.
    order = np.argsort(codes, kind="stable")
    first, second = ends(codes[order])
    return pl.DataFrame({"rule": rule[order], "first": first, "second": second})
