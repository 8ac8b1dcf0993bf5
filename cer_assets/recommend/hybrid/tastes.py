"""What a customer buys of a kind: of a product's category, type, brand and whatever else the catalogue sorts by."""

import numpy as np
import polars as pl

from cer_assets.recommend.hybrid.ledger import Columns, Floats, Ints, Keys, Ledger, over

KINDS = ("department", "category", "type", "brand")
"""Columns of the catalogue that say what kind a product is of; each may be missing."""
HALF_LIFE_DAYS = 60
"""Age at which a purchase counts half for a taste."""
RECENT = 28


def kinds_of(products: pl.Series, catalogue: pl.DataFrame) -> dict[str, Ints]:
    """A code per product for each kind, -1 where it is not known; only kinds that set some products apart."""
    described = [name for name in KINDS if name in catalogue.columns]
    if not described:
        return {}
    of = products.to_frame("product_id").join(
        catalogue.select("product_id", *described), on="product_id", how="left", maintain_order="left"
    )
    codes = {name: of[name].rank("dense").cast(pl.Int64).fill_null(0).to_numpy() - 1 for name in described}
    if "brand" in codes and "category" in codes:
        both = np.minimum(codes["brand"], codes["category"]) >= 0
        pair = codes["category"] * (codes["brand"].max() + 1) + codes["brand"]
        codes["category and brand"] = np.where(both, np.unique(pair, return_inverse=True)[1], -1)
    return {name: code for name, code in codes.items() if len(np.unique(code[code >= 0])) > 1}


class Taste:
    """Features of a customer and a kind of product; nan for a product of unknown kind."""

    def __init__(self, name: str, kind: Ints, ledger: Ledger, price: Floats):
        self.name, self.kind, self._ledger = name, kind, ledger
        self._kinds = int(kind.max(initial=-1)) + 1
        ages, of = ledger.ages, kind[ledger.columns]
        kept = of >= 0
        rows, of, ages = ledger.rows[kept], of[kept], ages[kept]
        self._price = price
        groups = Keys.of(rows * self._kinds + of)
        self._groups = groups
        trips = Keys.of((rows * self._kinds + of) * (int(ages.max(initial=0)) + 1) + ages)
        days = np.bincount(groups.find(trips.keys // (int(ages.max(initial=0)) + 1))[0], minlength=len(groups.keys))
        weight = np.exp2(-ages / HALF_LIFE_DAYS)
        owner = groups.keys // max(self._kinds, 1)
        mine = np.bincount(rows, weight, minlength=ledger.customers)
        all_ = np.bincount(of, weight, minlength=self._kinds)
        share = over(groups.total(weight), mine[owner])
        usual = over(all_, np.full(self._kinds, max(all_.sum(), 1e-9)))
        last, first = groups.least(ages), groups.most(ages)
        gap = over(first - last, days - 1)
        # A pair's first entry is its oldest: products of the kind, and those new to the customer lately.
        pairs = ledger.pairs
        column = pairs.keys % max(ledger.products, 1)
        oldest = ledger.ages[pairs.order[pairs.start]]
        at, found = groups.find((pairs.keys // max(ledger.products, 1)) * self._kinds + kind[column])
        found &= kind[column] >= 0
        distinct = np.bincount(at[found], minlength=len(groups.keys))
        new = np.bincount(at[found & (oldest <= 2 * RECENT)], minlength=len(groups.keys))
        paid = np.log(np.maximum(price, 0.01))[ledger.columns[kept]]
        self._mean_price = over(groups.total(np.nan_to_num(paid)), groups.total(np.isfinite(paid)))
        self._nan: Columns = {
            "last age": last,
            "gap": gap,
            "gap ratio": over(last, gap),
            "variety": over(distinct, groups.count),
        }
        self._zero: Columns = {
            "decayed": groups.total(weight),
            "share": share,
            "lift": over(share, usual[groups.keys % max(self._kinds, 1)]),
            "days 28": groups.total(ages <= RECENT),
            "products": distinct,
            "new products": new,
        }
        recent = ages <= RECENT
        before = (ages > RECENT) & (ages <= 4 * RECENT)
        self._trend = over(
            np.bincount(of[recent], minlength=self._kinds) * 3 + 3, np.bincount(of[before], minlength=self._kinds) + 3
        )
        sold = np.bincount(ledger.columns, np.exp2(-ledger.ages / RECENT), minlength=ledger.products)
        of_kind = np.bincount(np.maximum(kind, 0), sold * (kind >= 0), minlength=max(self._kinds, 1))
        self._share = np.where(kind >= 0, over(sold, of_kind[np.maximum(kind, 0)]), np.nan)

    def of(self, rows: Ints, columns: Ints) -> Columns:
        """Features of each pair (n)."""
        kind = self.kind[columns]
        known = kind >= 0
        at, found = self._groups.find(rows.astype(np.int64) * self._kinds + kind)
        found &= known
        result: Columns = {}
        for otherwise, features in ((np.nan, self._nan), (0.0, self._zero)):
            for name, values in features.items():
                got = np.where(found, values[at], otherwise) if len(values) else np.full(len(at), otherwise)
                result[f"{self.name} {name}"] = np.where(known, got, np.nan)
        price = np.log(np.maximum(self._price[columns], 0.01))
        if len(self._mean_price):
            result[f"{self.name} dearer"] = np.where(found, price - self._mean_price[at], np.nan)
        else:
            result[f"{self.name} dearer"] = np.full(len(at), np.nan)
        result[f"{self.name} trend"] = np.where(known, self._trend[np.maximum(kind, 0)], np.nan)
        result[f"{self.name} product's share"] = self._share[columns]
        return result
