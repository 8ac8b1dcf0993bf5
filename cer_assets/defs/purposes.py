"""Which consent governs what: the one place where a purpose of the feed `consents` is given a meaning.

| purpose           | who has withdrawn it                                                                     |
|-------------------|------------------------------------------------------------------------------------------|
| `personalisation` | is on no list of `recommend.*`, and nothing that is learned for lists learns from them   |

A withdrawal holds from the load of its drop on: `recommend/withdrawn` takes whoever said it off the lists that stand,
also where new ones have to wait for a check; it waits itself only for its own drop and for who is who. Any other
purpose that a source delivers (`email`, `profiling`) is kept in `customer.consents`, by which whoever sends or selects
must go, and governs nothing here until it has a line above. Accounts of purchases, value, segments and predictions need
no consent here.
"""

import datetime as dt
from typing import cast

import polars as pl

from cer_assets.defs.resources import Home

PERSONALISATION = "personalisation"
CONSENTS = "customer.consents"


def withdrawn(home: Home, purpose: str) -> pl.Series:
    """Customers who last withdrew a purpose, sorted."""
    return withdrawals(home, purpose).select("customer_id").collect()["customer_id"].sort()


def withdrawn_on(home: Home, purpose: str) -> dt.date | None:
    """The newest day on which such a withdrawal was said or came to be known; None where nobody withdrew."""
    days = withdrawals(home, purpose).select(pl.max_horizontal(pl.col("said_at").dt.date(), "known_on").max())
    return cast("dt.date | None", days.collect().item())


def withdrawals(home: Home, purpose: str) -> pl.LazyFrame:
    """The rows of `customer.consents` that withdraw a purpose."""
    return home.lake.scan(CONSENTS).filter(pl.col("purpose") == purpose, ~pl.col("granted"))
