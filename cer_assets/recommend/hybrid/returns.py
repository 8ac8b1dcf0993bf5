"""How readily products are bought again, and by whom: purchases after earlier days against what was to be expected."""

import numpy as np

from cer_assets.recommend.hybrid.ledger import Columns, Floats, Ints, Keys, Ledger

WINDOW = 28
"""Days after a landmark in which a product is bought again or is not."""
LANDMARKS = 6
"""Days looked back from, a window apart, the last one a window before the cut."""
AGES = (3, 7, 14, 28, 56, 112)
"""Bounds of the age of the last purchase."""
COUNTS = (2, 3, 5, 9)
"""Bounds of the number of purchases."""
PRIOR = 3.0
"""Expected purchases that a product, a customer or a kind is believed to have behaved as usual for."""


class Returns:
    """Observed over expected repeat purchases of the past, by product, customer and kind.

    At each landmark every pair bought before it is expected to be bought again with the rate of all pairs of the same
    number of purchases and age of the last. What a product's pairs did beyond that is the product's own.
    """

    def __init__(self, ledger: Ledger, kinds: dict[str, Ints]):
        self._ledger, self._kinds = ledger, kinds
        pair, cell, again = _looked_back(ledger)
        number = (len(AGES) + 1) * (len(COUNTS) + 1)
        asked, came = np.bincount(cell, minlength=number), np.bincount(cell, again, minlength=number)
        usual = (came + again.mean() if len(again) else came) / (asked + 1.0)
        self._usual = usual
        expected = usual[cell]
        owner, column = np.divmod(ledger.pairs.keys, max(ledger.products, 1))
        rows, columns = owner[pair], column[pair]
        self._product = _lift(columns, again, expected, ledger.products)
        self._customer = _lift(rows, again, expected, ledger.customers)
        self._kind = {n: _lift(np.maximum(k[columns], 0), again, expected, int(k.max()) + 1) for n, k in kinds.items()}
        self._taste: dict[str, tuple[Keys, Floats]] = {}
        for name, kind in kinds.items():
            groups = Keys.of(rows * (int(kind.max()) + 2) + kind[columns] + 1)
            self._taste[name] = groups, (groups.total(again) + PRIOR) / (groups.total(expected) + PRIOR)
        self._now = _cell(
            ledger.pairs.count, ledger.ages[ledger.pairs.order[ledger.pairs.start + ledger.pairs.count - 1]]
        )

    def of(self, rows: Ints, columns: Ints) -> Columns:
        """Features of each pair (n)."""
        at, found = self._ledger.find(rows, columns)
        usual = np.where(found, self._usual[self._now[at]], np.nan) if len(self._now) else np.full(len(at), np.nan)
        product, customer = self._product[columns], self._customer[rows]
        result: Columns = {
            "returns usual": usual,
            "returns product": product,
            "returns customer": customer,
            "returns expected": usual * product * customer,
        }
        for name, kind in self._kinds.items():
            of, known = kind[columns], kind[columns] >= 0
            result[f"returns {name}"] = np.where(known, self._kind[name][np.maximum(of, 0)], np.nan)
            groups, lift = self._taste[name]
            where, there = groups.find(rows.astype(np.int64) * (int(kind.max()) + 2) + of + 1)
            own = np.where(there, lift[where], 1.0) if len(lift) else np.ones(len(of))
            result[f"returns customer and {name}"] = np.where(known, own, np.nan)
        return result


def _lift(of: Ints, again: Floats, expected: Floats, number: int) -> Floats:
    seen, hoped = np.bincount(of, again, minlength=number), np.bincount(of, expected, minlength=number)
    return (seen + PRIOR) / (hoped + PRIOR)


def _looked_back(ledger: Ledger) -> tuple[Ints, Ints, Floats]:
    """Pair, cell and outcome of every pair bought before a landmark, all landmarks one after the other."""
    pairs, ages = ledger.pairs, ledger.ages
    oldest = int(ages.max(initial=0))
    found: list[tuple[Ints, Ints, Floats]] = []
    for landmark in range(WINDOW, min(LANDMARKS * WINDOW, oldest - WINDOW) + 1, WINDOW):
        before = pairs.total(ages > landmark).astype(np.int64)
        after = pairs.total((ages <= landmark) & (ages > landmark - WINDOW))
        pair = np.flatnonzero(before)
        last = ages[pairs.order[pairs.start[pair] + before[pair] - 1]] - landmark
        found.append((pair, _cell(before[pair], last), (after[pair] > 0).astype(np.float64)))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    pair, cell, again = (np.concatenate(part) for part in zip(*found, strict=True))
    return pair, cell, again


def _cell(count: Ints, age: Ints) -> Ints:
    return np.searchsorted(np.array(COUNTS), count, side="right") * (len(AGES) + 1) + np.searchsorted(
        np.array(AGES), age, side="left"
    )
