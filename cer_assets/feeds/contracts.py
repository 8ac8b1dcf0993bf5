"""What a row of each feed must look like: types, nullability, ranges, keys and personal columns.

How a source writes such rows (delimiters, names, time zones) lives in `catalogue.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import dataframely as dy
import polars as pl

EVENT_KINDS = ("view", "search", "cart", "email_open", "email_click")
LINEAGE = ("delivered_on", "file", "file_line")

PAIR_ANSWERS = (
    (MUST_LINK := "must_link"),
    (MATCH := "match"),
    (UNSURE := "unsure"),
    (DISTINCT := "distinct"),
    (CANNOT_LINK := "cannot_link"),
    (WITHDRAWN := "withdrawn"),
)
"""What may be said of a pair of records, from the boldest to the most cautious answer; the last takes one back."""

PAIR_DRAWN = (
    (DEDUPE := "dedupe"),
    (UNCERTAIN := "uncertain"),
    (AUDIT := "audit"),
    (REPEAT := "repeat"),
    "rule",
    "steward",
)
"""How a pair came to be asked about: by dedupe; as an uncertain one of the candidates; at random, to say how good the
links are; once again, unannounced, to say how good the answers are; by a rule; by a steward's own choice."""

_EARLIEST = dt.datetime(1990, 1, 1)


def _one_of(values: tuple[str, ...]) -> dict[str, Callable[[pl.Expr], pl.Expr]]:
    return {f"expected one of {', '.join(values)}": lambda value: value.is_in(list(values))}


def _given_with(other: str) -> dict[str, Callable[[pl.Expr], pl.Expr]]:
    return {
        f"expected a value, because {other} is given": (lambda value: value.is_not_null() | pl.col(other).is_null())
    }


def _not_later_than_next_day(moment: pl.Expr) -> pl.Expr:
    return moment < pl.col("delivered_on").cast(pl.Datetime("us")) + pl.duration(days=2)


def _key(description: str) -> dy.String:
    return dy.String(primary_key=True, description=description)


def _text(description: str) -> dy.String:
    return dy.String(nullable=True, description=description)


def _personal(description: str) -> dy.String:
    return dy.String(nullable=True, description=description, metadata={"personal": True})


def _moment(description: str, *, nullable: bool = False, key: bool = False) -> dy.Datetime:
    """A naive timestamp in the retailer's wall-clock time that its delivery can know of."""
    return dy.Datetime(
        nullable=nullable,
        primary_key=key,
        min=_EARLIEST,
        check={
            "in the future: expected no later than the end of the day after the delivery": (_not_later_than_next_day)
        },
        description=description,
    )


class Delivered(dy.Schema):
    """The lineage that every delivered row carries; a key is unique within one delivery day."""

    delivered_on = dy.Date(primary_key=True, description="day in the name of the delivered file")
    file = dy.String(description="name of the delivered file")
    file_line = dy.Int64(min=1, description="physical line, or row number in a Parquet file")


class CustomerRecord(Delivered):
    """A customer as one source system holds it."""

    source = _key("system that holds the record")
    source_id = _key("the record's id in that system")
    updated_at = _moment("when the system last changed the record, local time", nullable=True)
    full_name = _personal("name in one field, where the source does not split it")
    given_name = _personal("first name as delivered")
    surname = _personal("family name as delivered")
    birth_date = _personal("date of birth as delivered, in the source's own notation")
    email = _personal("e-mail address as delivered")
    phone = _personal("telephone number as delivered")
    street = _personal("street and house number as delivered")
    city = _personal("town or city as delivered")
    region = _personal("state or region as delivered")
    postcode = _personal("postal code as delivered")
    country = _personal("country as delivered")


class Transaction(Delivered):
    """A line of a basket; a return has a negative quantity and amount."""

    basket_id = _key("the till receipt or web order")
    line = dy.Int64(primary_key=True, min=0, description="number of the line in the basket")
    source = dy.String(
        nullable=True,
        check=_given_with("source_id"),
        description="system of the record that paid; null when nobody is known",
    )
    source_id = _text("id in that system of the record that paid; null when nobody is known")
    product_id = dy.String(description="product bought or returned")
    quantity = dy.Decimal(18, 3, description="units; negative for a return")
    amount = dy.Decimal(18, 2, description="money paid for the line; negative for a return")
    discount = dy.Decimal(18, 2, nullable=True, min=0, description="money taken off the price")
    store_id = _text("shop or channel")
    ordered_at = _moment("when it was rung up, local time")


class Product(Delivered):
    """A product of the catalogue."""

    product_id = _key("the product")
    title = _text("what it is called")
    department = _text("widest group")
    category = _text("middle group")
    type = _text("narrowest group")
    brand = _text("brand or manufacturer")
    size = _text("package size as printed")
    price = dy.Decimal(18, 2, nullable=True, min=0, description="list price of one unit")
    available = dy.Bool(nullable=True, description="can be bought now; null means true")
    merchandise = dy.Bool(
        nullable=True,
        description="goods, as opposed to fuel, coupons or fees; null means true",
    )


class Demographics(Delivered):
    """What is known about the household of a record, in the source's own classes."""

    source = _key("system that holds the record")
    source_id = _key("the record's id in that system")
    age = _text("age class")
    income = _text("income class")
    home_ownership = _text("owner, renter, ...")
    marital_status = _text("marital status")
    household_size = _text("people in the household, as a class")
    household_comp = _text("who lives in the household, as a class")
    kids = _text("children in the household, as a class")


class Weather(Delivered):
    """The weather of one day at one place."""

    day = dy.Date(primary_key=True, min=_EARLIEST.date(), description="local day")
    place = _key("shop, town or weather station")
    temperature = dy.Float64(nullable=True, min=-90, max=60, description="mean temperature in degrees Celsius")
    rain = dy.Float64(nullable=True, min=0, max=2000, description="rainfall in millimetres")


class Event(Delivered):
    """A view, search, cart or e-mail event of a known record or an anonymous visitor."""

    event_id = _key("the event")
    source = dy.String(
        nullable=True,
        check=_given_with("source_id"),
        description="system of the record; null for an anonymous visitor",
    )
    source_id = dy.String(
        nullable=True,
        check={
            "expected source_id or anonymous_id": (
                lambda value: value.is_not_null() | pl.col("anonymous_id").is_not_null()
            )
        },
        description="id in that system of the record; null for an anonymous visitor",
    )
    anonymous_id = _text("visitor id of a device nobody has signed in on")
    kind = dy.String(check=_one_of(EVENT_KINDS), description=", ".join(EVENT_KINDS))
    product_id = _text("product it was about, if any")
    occurred_at = _moment("when it happened, local time")


class Campaign(Delivered):
    """A product that a campaign promotes, with the campaign's name and dates."""

    campaign_id = _key("the campaign")
    name = _text("what it is called")
    kind = _text("kind of campaign")
    starts_on = dy.Date(nullable=True, min=_EARLIEST.date(), description="first local day")
    ends_on = dy.Date(
        nullable=True,
        min=_EARLIEST.date(),
        check={"expected a day not before starts_on": lambda day: day >= pl.col("starts_on")},
        description="last local day",
    )
    product_id = _key("a product it promotes")


class CampaignSend(Delivered):
    """A campaign reaching a record."""

    campaign_id = _key("the campaign")
    source = _key("system that holds the record")
    source_id = _key("the record's id in that system")
    at = _moment("when it was sent, local time", key=True)


class CampaignResponse(Delivered):
    """A record using a campaign's coupon."""

    campaign_id = _key("the campaign")
    source = _key("system that holds the record")
    source_id = _key("the record's id in that system")
    coupon_id = _key("the coupon used")
    at = _moment("when it was used, local time", key=True)


class Consent(Delivered):
    """A consent given or withdrawn."""

    source = _key("system that holds the record")
    source_id = _key("the record's id in that system")
    purpose = _key("what the consent is for")
    granted = dy.Bool(description="given (true) or withdrawn (false)")
    at = _moment("when it was given or withdrawn, local time", key=True)


class ErasureRequest(Delivered):
    """A request to be forgotten."""

    source = _key("system that holds the record")
    source_id = _key("the record's id in that system")
    at = _moment("when it was asked, local time", key=True)


class PairLabel(Delivered):
    """An answer to the question whether two records are one person."""

    record_a = _key("a record, `source:source_id`")
    record_b = dy.String(
        primary_key=True,
        check={"expected another record than record_a": lambda b: b != pl.col("record_a")},
        description="another record, `source:source_id`",
    )
    answer = dy.String(check=_one_of(PAIR_ANSWERS), description=", ".join(PAIR_ANSWERS))
    by = dy.String(primary_key=True, metadata={"personal": True}, description="who answered")
    at = _moment("when it was answered, local time", key=True)
    drawn = dy.String(
        nullable=True, check=_one_of(PAIR_DRAWN), description=f"how the pair was chosen: {', '.join(PAIR_DRAWN)}"
    )
    weight = dy.Float64(nullable=True, min=0, description="of an audit question, how many pairs it stands for")


class Reject(dy.Schema):
    """A delivered row that broke its contract, and why."""

    feed = dy.String(description="the feed it was delivered for")
    delivered_on = dy.Date(description="day in the name of the delivered file")
    file = dy.String(description="name of the delivered file")
    file_line = dy.Int64(nullable=True, description="physical line, or row number in a Parquet file")
    column = dy.String(nullable=True, description="first column at fault; null for the whole row")
    reason = dy.String(description="what was expected; never the value")
    content = dy.String(nullable=True, description="the delivered row as JSON", metadata={"personal": True})


CONTRACTS: dict[str, type[dy.Schema]] = {
    "customer_record": CustomerRecord,
    "transactions": Transaction,
    "products": Product,
    "demographics": Demographics,
    "weather": Weather,
    "events": Event,
    "campaigns": Campaign,
    "campaign_sends": CampaignSend,
    "campaign_responses": CampaignResponse,
    "consents": Consent,
    "erasure_requests": ErasureRequest,
    "pair_labels": PairLabel,
}


def contract_columns(contract: type[dy.Schema]) -> dict[str, dy.Column]:
    """The columns a source delivers, in order: all but the lineage."""
    return {name: column for name, column in contract.columns().items() if name not in LINEAGE}


def key_columns(contract: type[dy.Schema]) -> list[str]:
    """The columns that tell two rows of one delivery day apart."""
    return [name for name in contract.primary_key() if name not in LINEAGE]


def required_columns(contract: type[dy.Schema]) -> list[str]:
    """The columns that must hold a value in every row."""
    return [name for name, column in contract_columns(contract).items() if not column.nullable]


def personal_columns(contract: type[dy.Schema]) -> list[str]:
    """The columns whose values may appear nowhere but in the table itself."""
    return [
        name
        for name, column in contract.columns().items()
        if column.metadata is not None and column.metadata.get("personal", False)
    ]


def column_descriptions(contract: type[dy.Schema]) -> dict[str, str]:
    """Each column's description, in the order of `polars_schema`."""
    columns = contract.columns()
    return {name: columns[name].description or "" for name in polars_schema(contract)}


def polars_schema(contract: type[dy.Schema]) -> pl.Schema:
    """Names and types of a contract's table: the contract's columns, then the lineage."""
    columns = contract.columns()
    if issubclass(contract, Delivered):
        columns = contract_columns(contract) | {name: columns[name] for name in LINEAGE}
    return pl.Schema({name: column.dtype for name, column in columns.items()})


def rule_reason(contract: type[dy.Schema], rule: str) -> tuple[str, str]:
    """The column that a dataframely rule judges, and what it expects in words.

    Args:
        contract: The schema the rule belongs to.
        rule: Its name as dataframely gives it, `<column>|<rule>`.

    Returns:
        Column and reason. A rule of ours is named by its reason already.
    """
    column, _, name = rule.partition("|")
    definition = contract.columns()[column]
    match name:
        case "nullability":
            return column, "expected a value, found none"
        case "min":
            return column, f"expected at least {definition.min}"  # pyright: ignore[reportAttributeAccessIssue]
        case "max":
            return column, f"expected at most {definition.max}"  # pyright: ignore[reportAttributeAccessIssue]
        case "inf" | "nan":
            return column, "expected a finite number"
        case _:
            return column, name.removeprefix("check__")
