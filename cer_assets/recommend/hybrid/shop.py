"""What is known of a product, and of a customer, whoever meets whom."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cer_assets.recommend.hybrid.ledger import Columns, Floats, Ints, Keys, Ledger, over
from cer_assets.recommend.interactions import described

SPANS = (7, 28, 84)
"""Days before the cut over which sales are counted."""
LATELY = 10
"""Days in which a discount that still runs will have shown."""


class Products:
    """Features of products."""

    def __init__(self, ledger: Ledger, catalogue: pl.DataFrame):
        pairs, ages, bought, width = ledger.pairs, ledger.ages, ledger.interactions, ledger.products
        self.price = prices(ledger, catalogue)
        column = pairs.keys % max(width, 1)
        first = pairs.order[pairs.start]

        def sold(entries: NDArray[np.bool_] | slice = slice(None)) -> Floats:
            return np.bincount(ledger.columns[entries], minlength=width).astype(np.float64)

        buyers = np.bincount(column, minlength=width)
        new = {days: np.bincount(column[ages[first] <= days], minlength=width) for days in SPANS}
        sales = {days: sold(ages <= days) for days in SPANS}
        low = bought.discounts > 0
        usual = over(sold(low), sold())
        of = Keys.of(ledger.columns)
        born, died = (np.full(width, np.nan) for _ in range(2))
        born[of.keys], died[of.keys] = of.most(ages), of.least(ages)
        self.features: Columns = {
            "product buyers": buyers,
            "product again": over(np.bincount(column[pairs.count > 1], minlength=width), buyers),
            "product days a buyer": over(sold(), buyers),
            **{f"product sales {days}": sales[days] for days in SPANS},
            **{f"product new buyers {days}": new[days] for days in SPANS},
            "product trend": over(sales[7] * 4 + 1, sales[28] + 1),
            "product long trend": over(sales[28] * 3 + 3, sales[84] + 3),
            "product newness": over(new[28], sales[28]),
            "product age": born,
            "product unsold": died,
            "product price": self.price,
            "product discounted": usual,
            **{
                f"product discounted {days}": over(sold(low & (ages <= days)) + usual, sales[days] + 1)
                for days in (7, 28)
            },
            "product price now": self._price_now(ledger),
        }

    def _price_now(self, ledger: Ledger) -> Floats:
        """What a unit cost in the last days over what it usually costs: below 1 while there is a discount."""
        bought, recent = ledger.interactions, ledger.ages <= LATELY
        paid, units = (
            np.bincount(ledger.columns[recent], value[recent], minlength=ledger.products)
            for value in (bought.amounts, bought.quantities)
        )
        return over(over(paid, units), self.price)

    def of(self, columns: Ints) -> Columns:
        """Features of each product asked about (n)."""
        return {name: values[columns] for name, values in self.features.items()}


class Customers:
    """Features of customers."""

    def __init__(self, ledger: Ledger):
        trips, pairs, ages, bought, number = (
            ledger.trips,
            ledger.pairs,
            ledger.ages,
            ledger.interactions,
            ledger.customers,
        )

        def count(rows: Ints, weights: NDArray[np.generic] | None = None) -> Floats:
            return np.bincount(rows, weights, minlength=number).astype(np.float64)

        owner = pairs.keys // max(ledger.products, 1)
        first = ages[pairs.order[pairs.start]]
        last_trip = np.where(trips.number > 0, trips.first + trips.number - 1, 0)
        some = trips.number > 0
        last, oldest = (
            np.where(some, trips.ages[at] if len(trips.ages) else 0, np.nan) for at in (last_trip, trips.first * some)
        )
        lines, recent = count(ledger.rows), count(ledger.rows[ages <= 28])
        gap = over(oldest - last, trips.number - 1)
        spent = count(ledger.rows, bought.amounts)
        self.features: Columns = {
            "customer trips": trips.number,
            "customer recency": last,
            "customer gap": gap,
            "customer gap ratio": over(last, gap),
            "customer tenure": oldest,
            **{f"customer trips {days}": count(trips.rows[trips.ages <= days]) for days in (14, 28, 84)},
            "customer products": count(owner),
            "customer products a trip": over(lines, trips.number),
            "customer lines 28": recent,
            "customer new 28": over(count(owner[first <= 28]), recent),
            "customer bought again": over(count(owner[pairs.count > 1]), count(owner)),
            "customer spent a line": over(spent, lines),
            "customer discount": over(
                count(ledger.rows, bought.discounts), spent + count(ledger.rows, bought.discounts)
            ),
            "customer discounted": over(count(ledger.rows, bought.discounts > 0), lines),
        }

    def of(self, rows: Ints) -> Columns:
        """Features of each customer asked about (n)."""
        return {name: values[rows] for name, values in self.features.items()}


def prices(ledger: Ledger, catalogue: pl.DataFrame) -> Floats:
    """Price of each product: the median paid for one, the catalogue's where nobody says."""
    bought = ledger.interactions
    paid = pl.DataFrame(
        {
            "column": ledger.columns,
            "paid": bought.amounts.astype(np.float64),
            "units": bought.quantities.astype(np.float64),
        }
    ).filter(pl.col("units") > 0)
    medians = paid.group_by("column").agg(price=(pl.col("paid") / pl.col("units")).median()).sort("column")
    price = np.full(ledger.products, np.nan)
    price[medians["column"].to_numpy()] = medians["price"].to_numpy()
    if "price" in catalogue.columns:
        listed = described(bought.products, catalogue, ["price"])["price"].cast(pl.Float64).to_numpy()
        price = np.where(np.isnan(price), listed, price)
    return price
