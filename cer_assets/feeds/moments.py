"""Which dates and times can be told at all."""

from __future__ import annotations

import datetime as dt

import polars as pl
from polars.datatypes import DataTypeClass

_PER_SECOND = {"ms": 1_000, "us": 1_000_000}
_EPOCH = dt.date(1970, 1, 1)
# Two days within what Python can tell, so that every clock of the world can.
_FIRST_DAY, _LAST_DAY = (dt.date(1, 1, 3) - _EPOCH).days, (dt.date(9999, 12, 31) - _EPOCH).days


def in_calendar(given: pl.Expr, found: pl.DataType | DataTypeClass) -> pl.Expr:
    """Dates and times, null where they are of no year that a calendar has: polars 2.1 panics at those."""
    if isinstance(found, pl.Date):
        per_day = 1
    elif isinstance(found, pl.Datetime) and found.time_unit != "ns":  # whose range is narrower than a calendar's
        per_day = 86_400 * _PER_SECOND[found.time_unit]
    else:
        return given
    days = given.to_physical().is_between(_FIRST_DAY * per_day, _LAST_DAY * per_day, closed="left")
    return pl.when(days).then(given)
