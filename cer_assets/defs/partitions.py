"""The grids that assets are partitioned by: the retailer's days, and the audiences that a model is trained for."""

import datetime as dt
from collections.abc import Iterable

import dagster as dg

from cer_assets.defs.resources import first_day, last_day, timezone


def _days() -> dg.DailyPartitionsDefinition:
    end = last_day()
    return dg.DailyPartitionsDefinition(
        start_date=first_day().isoformat(),
        end_date=(end + dt.timedelta(days=1)).isoformat() if end else None,
        timezone=timezone(),
        end_offset=0 if end else 1,  # today's drops may come today
    )


days = _days()
EVERYONE = "all"
audiences = dg.StaticPartitionsDefinition([EVERYONE, "high", "mid", "low"])
"""Whose purchases an ALS model learns from: everyone's, or those of one value bucket."""


def refuse_hindsight(day: dt.date, learned_until: dt.date) -> None:
    """Fail where a past day would be scored by a model that saw what came after it.

    A day's grace, for a till may ring up past midnight.
    """
    if learned_until > day + dt.timedelta(days=1):
        raise dg.Failure(
            f"{day} cannot be scored by a model that has seen purchases until {learned_until}: past days stay as they"
            " were known then",
            allow_retries=False,
        )


def as_days(keys: Iterable[str]) -> list[dt.date]:
    """Partition keys of the daily grid as dates, in order."""
    return sorted(dt.date.fromisoformat(key) for key in keys)
