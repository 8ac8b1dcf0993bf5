"""What a customer's own purchases of a product say: how often, how long ago, in what rhythm."""

import numpy as np

from cer_assets.recommend.hybrid.ledger import Columns, Ints, Ledger, gathered, over

HALF_LIVES = (14, 45, 120)
"""Days at which an own purchase counts half."""
LAST_TRIPS = (1, 3, 10)
"""Of so many last trips it is counted how many held the product."""


class OwnPurchases:
    """Features of pairs that were bought before; nan, and counts 0, for all others."""

    def __init__(self, ledger: Ledger):
        self._ledger = ledger
        pairs, trips, ages = ledger.pairs, ledger.trips, ledger.ages
        count = pairs.count
        # The ledger is sorted by pair and day, so a pair's first and last purchase are its first and last entries.
        first, last = pairs.order[pairs.start], pairs.order[pairs.start + count - 1]
        before_last = pairs.order[pairs.start + np.maximum(count - 2, 0)]
        owner = pairs.keys // max(ledger.products, 1)
        number = trips.number[owner]
        ordinal = trips.ordinal(trips.entry)
        since, of_trips = number - 1 - ordinal[last], number - ordinal[first]
        gap, trip_gap = over(ages[first] - ages[last], count - 1), over(ordinal[last] - ordinal[first], count - 1)
        bought = ledger.interactions
        quantity, amount, discount = (
            pairs.total(value) for value in (bought.quantities, bought.amounts, bought.discounts)
        )
        back = trips.number[ledger.rows] - 1 - ordinal
        self._nan: Columns = {
            "own last age": ages[last],
            "own first age": ages[first],
            "own gap": gap,
            "own gap ratio": over(ages[last], gap),
            "own last gap": np.where(count > 1, ages[before_last] - ages[last], np.nan),
            "own trips since": since,
            "own trip gap": trip_gap,
            "own trip gap ratio": over(since + 1, trip_gap),
            "own share of trips": over(count, of_trips),
            "own units a time": over(quantity, count),
            "own discount": over(discount, amount + discount),
            "own discounted days": over(pairs.total(bought.discounts > 0), count),
            "own last discounted": bought.discounts[last] > 0,
            "own last units": over(bought.quantities[last] * count, quantity),
        }
        self._zero: Columns = {
            "own count": count,
            "own share of all trips": over(count, number),
            "own last 28 days": pairs.total(ages <= 28),
            "own 28 days before": pairs.total((ages > 28) & (ages <= 56)),
            **{f"own decayed {days}": pairs.total(np.exp2(-ages / days)) for days in HALF_LIVES},
            **{f"own last {trips} trips": pairs.total(back < trips) for trips in LAST_TRIPS},
        }

    def of(self, rows: Ints, columns: Ints) -> Columns:
        """Features of each pair (n)."""
        at, found = self._ledger.find(rows, columns)
        known: Columns = {name: gathered(values, at, found, np.nan) for name, values in self._nan.items()}
        return known | {name: gathered(values, at, found, 0.0) for name, values in self._zero.items()}
