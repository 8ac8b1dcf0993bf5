"""What records do besides paying: what they look at, the campaigns they are sent and answer, what they consent to.

Views come from real purchases, sends and responses are real; who clicked what is simulated.
"""

from datetime import date

import numpy as np
import polars as pl

from cer_assets.sample.draws import Draws, Key
from cer_assets.sample.journey import FIRST_DAY, LAST_DAY, Journey
from cer_assets.sample.landing import ISO, as_utc
from cer_assets.sample.people import SLOTS
from cer_assets.sample.records import MONTHLY, RECORD_SLOTS, SYSTEMS, WEB, next_delivery

LOOKS_AHEAD = 3
"""Products are looked at up to so many days before they are bought."""

_VIEWED = 0.05
_DAYS_BEFORE = (35, 30, 20, 15)
_LOGGED_IN = 0.7
_SEARCHED = 0.25
_PUT_IN_CART = 0.3
_OPENED, _CLICKED = 0.35, 0.25
_WITHDRAWN = 0.03
_PURPOSES = ("personalisation", "email")
_DAY = 86_400


def looks(paid: pl.DataFrame, payers: pl.DataFrame, day: date, draws: Draws) -> pl.DataFrame:
    """Views, searches and carts of the days up to a purchase.

    Args:
        paid: the lines of the day, as `purchases.rung_up`.
        payers: as `records.registrations`.
        day: the day of the purchases.
        draws: where chance comes from.

    Returns:
        One event a row: day, number, kind, source, source_id, visitor, product, moment (local). People who hold a
        web account look logged in or not; nobody knows who looks before an anonymous basket.
    """
    accounts = (
        payers.filter((pl.col("system") == WEB) & (pl.col("open_from") <= day))
        .sort("record")
        .unique("person", keep="first", maintain_order=True)
        .select("person", account="record", account_id="source_id", account_from="open_from")
    )
    viewed = paid.filter(pl.Series(draws.happens("viewed", _VIEWED, paid["basket"], paid["line"])))
    viewed = viewed.join(accounts, on="person", how="left", maintain_order="left").filter(
        pl.col("account").is_not_null() | pl.col("record").is_null()
    )
    keys = (viewed["basket"], viewed["line"])
    before = draws.pick("days before", _DAYS_BEFORE, *keys)
    moment = _looked_at(viewed["moment"], before, draws, keys)
    device = draws.bits("device", viewed["person"], viewed["moment"].dt.month().cast(pl.Int64))
    seen = viewed.with_columns(moment=moment, device=pl.Series(device).cast(pl.String)).with_columns(
        day=pl.col("moment").dt.date(),
        known=pl.Series(draws.happens("logged in", _LOGGED_IN, *keys))
        & pl.col("record").is_not_null()
        & (pl.col("account_from") <= pl.col("moment").dt.date()),
    )
    views = seen.select(
        "day",
        "basket",
        "line",
        "product",
        "moment",
        source=pl.when("known").then(pl.lit(SYSTEMS[WEB])),
        source_id=pl.when("known").then("account_id"),
        visitor=pl.when(~pl.col("known")).then(pl.lit("v") + pl.col("device")),
    )
    searched = pl.Series(draws.happens("searched", _SEARCHED, *keys))
    in_cart = pl.Series(draws.happens("put in the cart", _PUT_IN_CART, *keys))
    steps = [
        _step(views.filter(searched), "search", -25, draws).with_columns(product=pl.lit(None, pl.Int64)),
        _step(views, "view", 0, draws),
        _step(views.filter(in_cart), "cart", 35, draws),
    ]
    return pl.concat(steps)


def _looked_at(paid_at: pl.Series, before: np.ndarray, draws: Draws, keys: tuple[Key, Key]) -> pl.Series:
    """On the day itself within the two hours before the till, on earlier days at any waking hour."""
    second = 7 * 3600 + draws.below("looked at", 16 * 3600 - 60, *keys)
    rush = 120 + draws.below("looked shortly before", 7000, *keys)
    clock = (paid_at - paid_at.dt.truncate("1d")).dt.total_seconds().to_numpy()
    same_day = np.maximum(clock - rush, 60)
    offset = np.where(before == 0, same_day, second - before * _DAY)
    return pl.select(
        paid_at.dt.truncate("1d") + pl.duration(seconds=pl.lit(pl.Series(offset)), time_unit="us")
    ).to_series()


def _step(views: pl.DataFrame, kind: str, seconds: int, draws: Draws) -> pl.DataFrame:
    number = draws.bits(kind, views["basket"], views["line"])
    return views.select(
        "day",
        number=pl.Series(number),
        kind=pl.lit(kind),
        source="source",
        source_id="source_id",
        visitor="visitor",
        product="product",
        moment=pl.col("moment") + pl.duration(seconds=seconds, time_unit="us"),
    )


def letters_read(sends: pl.DataFrame, draws: Draws) -> pl.DataFrame:
    """E-mails of campaigns opened, and clicked on, within three days of the sending; columns as `looks`.

    Args:
        sends: as `campaign_sends`.
        draws: where chance comes from.
    """
    keys = (sends["record"], sends["campaign_id"])
    opened = draws.happens("opened", _OPENED, *keys)
    clicked = opened & draws.happens("clicked", _CLICKED, *keys)
    second = draws.below("opened after", LOOKS_AHEAD * _DAY, *keys)
    steps: list[pl.DataFrame] = []
    for kind, happened, later in (("email_open", opened, 0), ("email_click", clicked, 40)):
        moment = pl.col("at") + pl.duration(seconds=pl.lit(pl.Series(second + later)), time_unit="us")
        step = sends.with_columns(
            number=pl.Series(draws.bits(kind, *keys)),
            kind=pl.lit(kind),
            visitor=pl.lit(None, pl.String),
            product=pl.lit(None, pl.Int64),
            moment=moment,
            day=moment.dt.date(),
        )
        columns = ("day", "number", "kind", "source", "source_id", "visitor", "product", "moment")
        steps.append(step.filter(pl.Series(happened)).select(columns))
    return pl.concat(steps)


def as_events(events: pl.DataFrame) -> pl.DataFrame:
    """Events in the layout of the events feed, in order of time."""
    return events.sort("moment", "number").select(
        pl.format("e{}", "number").alias("id"),
        pl.col("kind").alias("type"),
        pl.col("source").alias("sys"),
        pl.col("source_id").alias("user"),
        "visitor",
        pl.col("product").cast(pl.String).alias("sku"),
        as_utc(pl.col("moment")).dt.strftime(ISO + "Z").alias("ts"),
    )


def campaigns(journey: Journey) -> pl.DataFrame:
    """Each campaign with its products: the columns of its feed, and the day of the file it comes with."""
    announced = pl.lit(None, pl.Date)
    for day in MONTHLY:
        announced = pl.when(pl.col("start_date") >= day).then(pl.lit(day)).otherwise(announced)
    return (
        journey.campaigns.join(journey.coupons, on="campaign_id")
        .sort("campaign_id", "product_id")
        .select(
            pl.col("campaign_id").cast(pl.String),
            name=pl.format("Campaign {}", "campaign_id"),
            kind="campaign_type",
            starts_on="start_date",
            ends_on="end_date",
            product_id=pl.col("product_id").cast(pl.String),
            delivered_on=announced.fill_null(FIRST_DAY),
        )
    )


def campaign_sends(journey: Journey, households: pl.DataFrame, payers: pl.DataFrame, draws: Draws) -> pl.DataFrame:
    """Which record of a household each campaign was sent to, always the same one while it is open.

    Returns:
        campaign_id, household, record, source, source_id, at (local), delivered_on.
    """
    sends = (
        journey.sends.join(journey.campaigns.select("campaign_id", "start_date"), on="campaign_id")
        .join(households.select("household", "original"), on="original")
        .with_columns(at=pl.col("start_date").cast(pl.Datetime("us")) + pl.duration(hours=9))
        .sort("campaign_id", "household")
    )
    chosen = _record_of(sends, payers, "gets campaigns", [], draws)
    return _delivered(chosen).select("campaign_id", "household", "record", "source", "source_id", "at", "delivered_on")


def campaign_responses(journey: Journey, households: pl.DataFrame, payers: pl.DataFrame, draws: Draws) -> pl.DataFrame:
    """Which record of a household each coupon was redeemed under.

    Returns:
        campaign_id, source, source_id, coupon_id, at (local), delivered_on.
    """
    redeemed = journey.redemptions.join(households.select("household", "original"), on="original").sort(
        "campaign_id", "household", "coupon_upc", "day"
    )
    keys = [redeemed[column] for column in ("household", "coupon_upc", "campaign_id")]
    second = 9 * 3600 + draws.below("redeemed at", 11 * 3600, *keys)
    redeemed = redeemed.with_columns(
        at=pl.col("day").cast(pl.Datetime("us")) + pl.duration(seconds=pl.lit(pl.Series(second)), time_unit="us")
    )
    chosen = _record_of(redeemed, payers, "redeemed under", ["coupon_upc", "campaign_id"], draws)
    return _delivered(chosen).select(
        pl.col("campaign_id").cast(pl.String),
        "source",
        "source_id",
        pl.col("coupon_upc").cast(pl.String).alias("coupon_id"),
        "at",
        "delivered_on",
    )


def _record_of(rows: pl.DataFrame, payers: pl.DataFrame, purpose: str, keys: list[str], draws: Draws) -> pl.DataFrame:
    """One open record of the household for each row, in the rows' order."""
    rivals = (
        rows.with_row_index("row")
        .join(payers, on="household", how="inner")
        .filter(pl.col("open_from") <= pl.max_horizontal(pl.col("at").dt.date(), pl.lit(FIRST_DAY)))
    )
    chance = draws.uniform(purpose, rivals["record"], *(rivals[key] for key in keys))
    return (
        rivals.with_columns(wait=pl.Series(-np.log1p(-chance)) / pl.col("weight"))
        .sort("row", "wait", "record")
        .unique("row", keep="first", maintain_order=True)
        .with_columns(source=pl.col("system").replace_strict(dict(enumerate(SYSTEMS)), return_dtype=pl.String))
    )


def _delivered(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.drop("delivered_on", strict=False).with_columns(
        delivered_on=next_delivery(pl.col("at").dt.date(), pl.lit(WEB))
    )


def consents(payers: pl.DataFrame, draws: Draws, *, later: bool = True) -> pl.DataFrame:
    """What each record's holder agreed to when it was opened, and what a few withdrew later in the year.

    Args:
        payers: as `records.registrations`.
        draws: where chance comes from.
        later: with what was withdrawn later.

    Returns:
        source, source_id, purpose, granted, at (local), delivered_on.
    """
    granted = payers.join(pl.DataFrame({"purpose": _PURPOSES}), how="cross").with_columns(
        source=pl.col("system").replace_strict(dict(enumerate(SYSTEMS)), return_dtype=pl.String),
        granted=pl.lit(value=True),
        at=pl.col("registered_at"),
        order=pl.col("purpose").replace_strict(_PURPOSES, range(len(_PURPOSES)), return_dtype=pl.Int64),
    )
    columns = ("source", "source_id", "purpose", "granted", "at", "delivered_on")
    if not later:
        return granted.select(columns)
    return pl.concat([granted.select(columns), _withdrawals(granted, draws).select(columns)])


def _withdrawals(granted: pl.DataFrame, draws: Draws) -> pl.DataFrame:
    keys = (granted["record"], granted["order"])
    since = pl.max_horizontal(pl.col("at").dt.date(), pl.lit(FIRST_DAY))
    days = (pl.lit(LAST_DAY) - since).dt.total_days() * pl.Series(draws.uniform("withdrawn after", *keys))
    second = 8 * 3600 + draws.below("withdrawn at", 11 * 3600, *keys)
    day = since + pl.duration(days=1 + days.floor().cast(pl.Int64))
    moment = day.cast(pl.Datetime("us")) + pl.duration(seconds=pl.lit(pl.Series(second)), time_unit="us")
    withdrawn = granted.with_columns(granted=pl.lit(value=False), at=moment)
    return _delivered(withdrawn.filter(pl.Series(draws.happens("withdrawn", _WITHDRAWN, *keys))))


def demographics(households: pl.DataFrame, payers: pl.DataFrame) -> pl.DataFrame:
    """What is known of a household, under the first record of its first adult; columns of its feed."""
    first = pl.col("household") * SLOTS * RECORD_SLOTS
    return (
        households.filter(pl.col("age").is_not_null())
        .with_columns(record=first)
        .join(payers.select("record", "system", "source_id"), on="record")
        .sort("source_id")
        .select(
            source=pl.col("system").replace_strict(dict(enumerate(SYSTEMS)), return_dtype=pl.String),
            source_id="source_id",
            age="age",
            income="income",
            home_ownership="home_ownership",
            marital_status="marital_status",
            household_size="household_size",
            household_comp="household_comp",
            kids="kids",
        )
    )
