"""Which consent governs what: the one place where a purpose of the feed `consents` is given a meaning.

| purpose           | who has withdrawn it                                                                     |
|-------------------|------------------------------------------------------------------------------------------|
| `personalisation` | is on no list of `recommend.*`, and nothing that is learned for lists learns from them   |
| `profiling`       | gets no figure in `predict.*`, and none of its models learns from them                   |
| `email`           | is proposed for no campaign (`predict.response`); what is learned may learn from them    |

A withdrawal holds from the load of its drop on. What nobody named a purpose for needs no consent here: accounts of
purchases, value, segments. Any other purpose that a source delivers is kept in `customer.consents`, and governs nothing
until it has a line above.
"""

import datetime as dt
from typing import cast

import polars as pl

from cer_assets.defs.resources import Home

PERSONALISATION, PROFILING, EMAIL = "personalisation", "profiling", "email"
CONSENTS = "customer.consents"


def withdrawn(home: Home, purpose: str) -> pl.Series:
    """Customers who last withdrew a purpose, sorted."""
    return _withdrawals(home, purpose).select("customer_id").collect()["customer_id"].sort()


def withdrawn_on(home: Home, purpose: str) -> dt.date | None:
    """The newest day on which such a withdrawal was said or came to be known; None where nobody withdrew."""
    days = _withdrawals(home, purpose).select(pl.max_horizontal(pl.col("said_at").dt.date(), "known_on").max())
    return cast("dt.date | None", days.collect().item())


def _withdrawals(home: Home, purpose: str) -> pl.LazyFrame:
    return home.lake.scan(CONSENTS).filter(pl.col("purpose") == purpose, ~pl.col("granted"))
