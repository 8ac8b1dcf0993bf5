"""What a customer buys of a kind: of a product's category, type, brand and whatever else the catalogue sorts by."""

from copy import copy

import numpy as np
import polars as pl

from cer_assets.arrays import distinct
from cer_assets.recommend.hybrid.ledger import Columns, Floats, Ints, Keys, Ledger, gathered, over
from cer_assets.recommend.interactions import described

KINDS = ("department", "category", "type", "brand")
"""Columns of the catalogue that say what kind a product is of; each may be missing."""
HALF_LIFE_DAYS = 60
"""Age at which a purchase counts half for a taste."""
RECENT = 28
"""Days that are called recent."""


def kinds_of(products: pl.Series, catalogue: pl.DataFrame) -> dict[str, Ints]:
    """A code per product for each kind, -1 where it is not known; only kinds that set some products apart."""
    of = described(products, catalogue, [name for name in KINDS if name in catalogue.columns])
    codes = {name: of[name].rank("dense").cast(pl.Int64).fill_null(0).to_numpy() - 1 for name in of.columns}
    if "brand" in codes and "category" in codes:
        both = np.minimum(codes["brand"], codes["category"]) >= 0
        pair = codes["category"] * (codes["brand"].max() + 1) + codes["brand"]
        codes["category and brand"] = np.where(both, np.unique(pair, return_inverse=True)[1], -1)
    return {name: code for name, code in codes.items() if len(np.unique(code[code >= 0])) > 1}


class Taste:
    """Features of a customer and a kind of product; nan for a product of unknown kind."""

    def __init__(self, name: str, kind: Ints, ledger: Ledger, price: Floats):
        self.name, self.kind = name, kind
        self._kinds = int(kind.max(initial=0)) + 1
        self._price = np.log(np.maximum(price, 0.01))
        self._trend, self._part = self._sales(ledger)
        kept = kind[ledger.columns] >= 0
        weight = np.exp2(-ledger.ages[kept] / HALF_LIFE_DAYS)
        self._usual = np.bincount(kind[ledger.columns[kept]], weight, minlength=self._kinds)
        self._place(ledger)

    def of_others(self, ledger: Ledger) -> "Taste":
        """These customers' tastes, beside what everyone buys of each kind as it was counted."""
        found = copy(self)
        found._place(ledger)
        return found

    def _place(self, ledger: Ledger) -> None:
        self._ledger, kind = ledger, self.kind
        kept = kind[ledger.columns] >= 0
        rows, columns, ages = ledger.rows[kept], ledger.columns[kept], ledger.ages[kept]
        self._groups = groups = Keys.of(rows * self._kinds + kind[columns])
        weight = np.exp2(-ages / HALF_LIFE_DAYS)
        last = groups.least(ages)
        gap = over(groups.most(ages) - last, self._days(rows, kind[columns], ages) - 1)
        distinct, new = self._products()
        share, lift = self._shares(rows, weight)
        paid = self._price[columns]
        self._nan: Columns = {
            "last age": last,
            "gap": gap,
            "gap ratio": over(last, gap),
            "variety": over(distinct, groups.count),
            "price": over(groups.total(np.nan_to_num(paid)), groups.total(np.isfinite(paid))),
        }
        self._zero: Columns = {
            "decayed": groups.total(weight),
            "share": share,
            "lift": lift,
            "days 28": groups.total(ages <= RECENT),
            "products": distinct,
            "new products": new,
        }
        self._own = self._own_shares(groups.count, groups.total(weight))

    def of(self, rows: Ints, columns: Ints) -> Columns:
        """Features of each pair (n)."""
        kind = self.kind[columns]
        known = kind >= 0
        at, found = self._groups.find(rows * self._kinds + kind)
        found &= known
        got: Columns = {name: gathered(values, at, found, np.nan) for name, values in self._nan.items()}
        got |= {name: np.where(known, gathered(values, at, found, 0.0), np.nan) for name, values in self._zero.items()}
        own, there = self._ledger.find(rows, columns)
        got |= {name: gathered(values, own, there, 0.0) for name, values in self._own.items()}
        got["dearer"] = self._price[columns] - got.pop("price")
        got["trend"] = np.where(known, self._trend[np.maximum(kind, 0)], np.nan)
        got["product's share"] = self._part[columns]
        return {f"{self.name} {name}": values for name, values in got.items()}

    def _days(self, rows: Ints, kinds: Ints, ages: Ints) -> Ints:
        """Days on which each customer bought of each kind."""
        span = int(ages.max(initial=0)) + 1
        days = distinct((rows * self._kinds + kinds) * span + ages)
        return np.bincount(self._groups.find(days // span)[0], minlength=len(self._groups.keys))

    def _products(self) -> tuple[Ints, Ints]:
        """How many products of each kind each customer bought, and how many of them first lately."""
        pairs = self._ledger.pairs
        owner, column = np.divmod(pairs.keys, max(self._ledger.products, 1))
        first = self._ledger.ages[pairs.order[pairs.start]]
        at, found = self._groups.find(owner * self._kinds + self.kind[column])
        found &= self.kind[column] >= 0
        number = len(self._groups.keys)
        new = found & (first <= 2 * RECENT)
        return np.bincount(at[found], minlength=number), np.bincount(at[new], minlength=number)

    def _shares(self, rows: Ints, weight: Floats) -> tuple[Floats, Floats]:
        """Each kind's share of what each customer buys, and that over its share of what all buy."""
        groups = self._groups
        owner, kind = np.divmod(groups.keys, self._kinds)
        share = over(groups.total(weight), np.bincount(rows, weight, minlength=self._ledger.customers)[owner])
        return share, over(share * self._usual.sum(), self._usual[kind])

    def _own_shares(self, count: Ints, decayed: Floats) -> Columns:
        """Each pair's share of the customer's purchases of its kind, all alike and the later ones more."""
        ledger, pairs = self._ledger, self._ledger.pairs
        owner, column = np.divmod(pairs.keys, max(ledger.products, 1))
        at, found = self._groups.find(owner * self._kinds + self.kind[column])
        found &= self.kind[column] >= 0
        mine = pairs.total(np.exp2(-ledger.ages / HALF_LIFE_DAYS))
        return {
            "own share": over(pairs.count, gathered(count, at, found, np.nan)),
            "own decayed share": over(mine, gathered(decayed, at, found, np.nan)),
        }

    def _sales(self, ledger: Ledger) -> tuple[Floats, Floats]:
        """Sales of each kind lately over those before, and each product's share of its kind's."""
        ages, kind = ledger.ages, self.kind[ledger.columns]
        recent, before = (kind >= 0) & (ages <= RECENT), (kind >= 0) & (ages > RECENT) & (ages <= 4 * RECENT)
        lately, earlier = (np.bincount(kind[days], minlength=self._kinds) for days in (recent, before))
        sold = np.bincount(ledger.columns, np.exp2(-ages / RECENT), minlength=ledger.products)
        known = self.kind >= 0
        all_ = np.bincount(self.kind[known], sold[known], minlength=self._kinds)
        part = np.where(known, over(sold, all_[np.maximum(self.kind, 0)]), np.nan)
        return over(lately * 3 + 3, earlier + 3), part
