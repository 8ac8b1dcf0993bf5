"""How readily products are bought again, and by whom: purchases after earlier days against what was to be expected."""

from copy import copy

import numpy as np
from numpy.typing import NDArray

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


STRENGTH = 10.0
"""Gaps that a product's or a kind's own are weighed against: those of all products."""


class Gaps:
    """Days between purchases of one product by one customer, by group: how likely one that is open ends soon.

    At an age, the gaps that ended in the window after it over those that had lasted as long, still open ones included:
    the Kaplan-Meier estimate over one window (Kaplan and Meier 1958).
    """

    def __init__(self, group: Ints, gap: Ints, open_group: Ints, open_age: Ints, groups: int):
        self._span = int(max(gap.max(initial=0), open_age.max(initial=0))) + WINDOW + 2
        self._closed, self._open = np.sort(group * self._span + gap), np.sort(open_group * self._span + open_age)
        self.groups = groups

    def ending(self, group: Ints, age: Ints) -> tuple[Ints, Ints]:
        """Of each group, the gaps that ended in the window after an age, and those that had lasted as long."""
        # An age beyond all that were seen would reach into the next group: nothing lasted so long, in either place.
        at, end = group * self._span + np.minimum(age, self._span - WINDOW - 2), (group + 1) * self._span
        soon = np.searchsorted(self._closed, at + WINDOW, side="right")
        before = np.searchsorted(self._closed, at, side="right")
        lasted = np.searchsorted(self._closed, end) - before
        still_open = np.searchsorted(self._open, end) - np.searchsorted(self._open, at, side="right")
        return soon - before, lasted + still_open


class Returns:
    """Observed over expected repeat purchases of the past, by product, customer and kind.

    At each landmark every pair bought before it is expected to be bought again with the rate of all pairs of the same
    number of purchases and age of the last. What a product's pairs did beyond that is the product's own.
    """

    def __init__(self, ledger: Ledger, kinds: dict[str, Ints]):
        self._kinds = kinds
        pair, cell, again = _looked_back(ledger)
        number = (len(AGES) + 1) * (len(COUNTS) + 1)
        asked, came = np.bincount(cell, minlength=number), np.bincount(cell, again, minlength=number)
        self._usual = (came + again.mean() if len(again) else came) / (asked + 1.0)
        expected = self._usual[cell]
        columns = np.mod(ledger.pairs.keys, max(ledger.products, 1))[pair]
        self._product = _lift(columns, again, expected, ledger.products)
        self._kind = {n: _lift(np.maximum(k[columns], 0), again, expected, int(k.max()) + 1) for n, k in kinds.items()}
        self._gaps: dict[str, Gaps] = {}
        self._place(ledger, (pair, cell, again))

    def of_others(self, ledger: Ledger) -> "Returns":
        """How readily these customers return, beside what is known of products and kinds as it was counted."""
        found = copy(self)
        found._place(ledger, _looked_back(ledger))
        return found

    def _place(self, ledger: Ledger, looked_back: tuple[Ints, Ints, Floats]) -> None:
        self._ledger = ledger
        pair, cell, again = looked_back
        expected = self._usual[cell]
        owner, column = np.divmod(ledger.pairs.keys, max(ledger.products, 1))
        rows, columns = owner[pair], column[pair]
        self._customer = _lift(rows, again, expected, ledger.customers)
        self._taste: dict[str, tuple[Keys, Floats]] = {}
        for name, kind in self._kinds.items():
            groups = Keys.of(rows * (int(kind.max()) + 2) + kind[columns] + 1)
            self._taste[name] = groups, (groups.total(again) + PRIOR) / (groups.total(expected) + PRIOR)
        self._gaps = self._gaps_of(column)
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
        result |= self._at_this_age(at, found, columns)
        for name, kind in self._kinds.items():
            of, known = kind[columns], kind[columns] >= 0
            result[f"returns {name}"] = np.where(known, self._kind[name][np.maximum(of, 0)], np.nan)
            groups, lift = self._taste[name]
            where, there = groups.find(rows.astype(np.int64) * (int(kind.max()) + 2) + of + 1)
            own = np.where(there, lift[where], 1.0) if len(lift) else np.ones(len(of))
            result[f"returns customer and {name}"] = np.where(known, own, np.nan)
        return result

    def _gaps_of(self, columns_of_pairs: Ints) -> dict[str, Gaps]:
        pairs, ages = self._ledger.pairs, self._ledger.ages
        in_order = ages[pairs.order]
        pair = np.repeat(np.arange(len(pairs.keys)), pairs.count)
        follows = np.flatnonzero(pair[1:] == pair[:-1])
        gap, of_gap = in_order[follows] - in_order[follows + 1], pair[follows]
        self._age = in_order[pairs.start + pairs.count - 1]
        groups: dict[str, Ints] = {}
        if not self._gaps:
            groups = {"all": np.zeros(len(pairs.keys), np.int64), "product": columns_of_pairs}
            groups |= {name: kind[columns_of_pairs] + 1 for name, kind in self._kinds.items()}
        found = {name: Gaps(of[of_gap], gap, of, self._age, int(of.max(initial=0)) + 1) for name, of in groups.items()}
        nobody = np.empty(0, np.int64)
        return self._gaps | found | {"own": Gaps(of_gap, gap, nobody, nobody, len(pairs.keys))}

    def _at_this_age(self, at: Ints, found: NDArray[np.bool_], columns: Ints) -> Columns:
        """How likely the gap that is open now ends in the next window, by all, the kind's, the product's, own gaps."""
        if not len(self._age):
            return {f"returns now {name}": np.full(len(at), np.nan) for name in self._gaps}
        at, columns, age = at[found], columns[found], self._age[at[found]]
        group = {"all": np.zeros(len(at), np.int64)} | {name: kind[columns] + 1 for name, kind in self._kinds.items()}
        group |= {"product": columns, "own": at}
        result: Columns = {}
        usual = np.zeros(len(at))
        for name, of in group.items():
            ended, lasted = self._gaps[name].ending(of, age)
            strength = STRENGTH if name != "own" else PRIOR
            rate = (ended + strength * usual) / (lasted + strength)
            if name in ("all", "product"):
                usual = rate
            result[f"returns now {name}"] = np.full(len(found), np.nan)
            result[f"returns now {name}"][found] = rate
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
