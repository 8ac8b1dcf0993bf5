"""A delivered value becomes a value of the contract's type, or a fault.

Ranges and required values are the contract's to judge.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from cer_assets.feeds.catalogue import Layout
from cer_assets.feeds.moments import in_calendar
from cer_assets.feeds.parcel import JSON_CELL

_ISO_MOMENT = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?) ?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?$"
)
_EXACT_FLOATS = 2.0**53
_DATE, _TIME, _OFFSET = 1, 2, 3
_TRUE = ["true", "t", "yes", "y", "1"]
_FALSE = ["false", "f", "no", "n", "0"]


class NotCastable(TypeError):
    """No value of the delivered type can be one of the contract's type."""


@dataclass(frozen=True)
class Cast:
    """A contract column made from a delivered one, in two steps that a frame takes one after the other."""

    given: pl.Expr
    """What was delivered; null where the source means that there is nothing."""
    convert: Callable[[pl.Expr], pl.Expr]
    """From what was given to the contract's type; null where it cannot be read."""
    reason: str
    """What was expected, in words."""


def cast(delivered: pl.Expr, found: pl.DataType, wanted: pl.DataType, layout: Layout, timezone: str) -> Cast:
    """Make a contract column from a delivered one.

    Blank texts, the layout's null values and NaN are nothing given. Floating-point numbers are rounded to the decimals
    of the contract; texts and decimal numbers with more than those cannot be read. Timestamps become naive wall-clock
    times of the retailer.

    Args:
        delivered: The delivered values.
        found: Their type; `JSON_CELL` for values out of NDJSON.
        wanted: The contract's type.
        layout: How the source writes values.
        timezone: The retailer's zone.

    Raises:
        NotCastable: The types do not fit, whatever the values.
    """
    reason = _expected(wanted, layout)
    if found == JSON_CELL:
        text = _given(delivered.struct.field("text"), pl.String(), layout)
        number = delivered.struct.field("number").fill_nan(None)
        anything = pl.when(text.is_not_null() | number.is_not_null())
        return Cast(
            anything.then(pl.struct(text=text, number=number)),
            lambda cell: _convert_json_cell(cell, wanted, layout, timezone),
            reason,
        )
    # Types that do not fit are found now, not when the values are there.
    _convert(pl.lit(None), found, wanted, layout, timezone)
    return Cast(
        _given(delivered, found, layout),
        lambda given: _convert(given, found, wanted, layout, timezone),
        reason,
    )


def _convert_json_cell(cell: pl.Expr, wanted: pl.DataType, layout: Layout, timezone: str) -> pl.Expr:
    text = _convert(cell.struct.field("text"), pl.String(), wanted, layout, timezone)
    try:
        number = _convert(cell.struct.field("number"), pl.Float64(), wanted, layout, timezone)
    except NotCastable:
        return text
    return pl.coalesce(text, number)


def _given(delivered: pl.Expr, found: pl.DataType, layout: Layout) -> pl.Expr:
    """The delivered values, null where the source means that there is none."""
    if _is_text(found):
        text = delivered.cast(pl.String).str.strip_chars()
        return pl.when(text.is_in(["", *layout.null_values]).not_()).then(text)
    return delivered.fill_nan(None) if found.is_float() else delivered


def _convert(given: pl.Expr, found: pl.DataType, wanted: pl.DataType, layout: Layout, timezone: str) -> pl.Expr:
    given = in_calendar(given, found)
    match wanted:
        case pl.String():
            return _to_string(given, found)
        case pl.Int64():
            return _to_whole_number(given, found, layout)
        case pl.Decimal():
            return _to_decimal(given, found, wanted, layout)
        case pl.Float64():
            return _to_float(given, found, layout)
        case pl.Boolean():
            return _to_boolean(given, found)
        case pl.Date():
            return in_calendar(_to_date(given, found, layout, timezone), wanted)
        case pl.Datetime():
            return _to_moment(given, found, layout, timezone)
        case _:
            raise NotCastable


def _expected(wanted: pl.DataType, layout: Layout) -> str:
    match wanted:
        case pl.Int64():
            return "expected a whole number"
        case pl.Decimal(scale=scale):
            return (
                f"expected a number of at most {18 - scale} digits and {scale} decimals, "
                f"with decimal sign '{layout.decimal}' and nothing between the digits"
            )
        case pl.Float64():
            return f"expected a number, with decimal sign '{layout.decimal}'"
        case pl.Boolean():
            return "expected true or false"
        case pl.Date():
            return f"expected a date in the form {layout.date_format or 'YYYY-MM-DD'}"
        case pl.Datetime():
            form = layout.datetime_format or "YYYY-MM-DDTHH:MM:SS, with or without an offset"
            return f"expected a timestamp in the form {form}"
        case _:
            return "expected text"


def _is_text(found: pl.DataType) -> bool:
    return isinstance(found, pl.String | pl.Categorical | pl.Enum | pl.Null)


def _to_string(given: pl.Expr, found: pl.DataType) -> pl.Expr:
    if _is_text(found):
        return given
    if found.is_float():
        whole = given.round(0) == given
        digits = pl.when(whole & (given.abs() < _EXACT_FLOATS)).then(given).cast(pl.Int64).cast(pl.String)
        return pl.coalesce(digits, given.cast(pl.String))
    if found.is_decimal():
        return given.cast(pl.String).str.replace(r"\.0*$|(\.[0-9]*[1-9])0+$", "${1}")
    if isinstance(found, pl.Datetime):
        return given.dt.to_string("iso").str.replace(r" 00:00:00(\.0+)?$", "")
    if found.is_integer() or isinstance(found, pl.Boolean | pl.Date):
        return given.cast(pl.String)
    raise NotCastable


def _to_whole_number(given: pl.Expr, found: pl.DataType, layout: Layout) -> pl.Expr:
    if _is_text(found):
        return _point_number(given, layout).str.extract(r"^\+?(-?[0-9]+)(?:\.0*)?$").cast(pl.Int64, strict=False)
    if found.is_integer():
        return given.cast(pl.Int64, strict=False)
    if found.is_float() or found.is_decimal():
        whole = (given.round(0) == given) & (given.abs() < _EXACT_FLOATS)
        return pl.when(whole).then(given).cast(pl.Int64, strict=False)
    raise NotCastable


def _to_decimal(given: pl.Expr, found: pl.DataType, wanted: pl.Decimal, layout: Layout) -> pl.Expr:
    scale = wanted.scale
    if _is_text(found):
        number = _point_number(given, layout)
        exact = rf"^[+-]?(?:[0-9]+(?:\.[0-9]{{0,{scale}}}0*)?|\.[0-9]{{1,{scale}}}0*)$"
        return pl.when(number.str.contains(exact)).then(number).cast(wanted, strict=False)
    if found.is_integer():
        return given.cast(wanted, strict=False)
    if found.is_float():
        fits = given.abs() < 10.0 ** (wanted.precision - scale) - 1
        return pl.when(fits).then(given.round(scale)).cast(wanted, strict=False)
    if found.is_decimal():
        value = given.cast(wanted, strict=False)
        return pl.when(value.cast(found, strict=False) == given).then(value)
    raise NotCastable


def _to_float(given: pl.Expr, found: pl.DataType, layout: Layout) -> pl.Expr:
    if _is_text(found):
        return _point_number(given, layout).cast(pl.Float64, strict=False)
    if found.is_numeric():
        return given.cast(pl.Float64)
    raise NotCastable


def _to_boolean(given: pl.Expr, found: pl.DataType) -> pl.Expr:
    if isinstance(found, pl.Boolean):
        return given
    if _is_text(found):
        word = given.str.to_lowercase()
        yes, no = word.is_in(_TRUE), word.is_in(_FALSE)
    elif found.is_numeric():
        yes, no = given == 1, given == 0
    else:
        raise NotCastable
    return pl.when(yes).then(True).when(no).then(False)


def _to_date(given: pl.Expr, found: pl.DataType, layout: Layout, timezone: str) -> pl.Expr:
    if _is_text(found):
        return given.str.to_date(layout.date_format or "%Y-%m-%d", strict=False)
    if isinstance(found, pl.Date):
        return given
    if isinstance(found, pl.Datetime):
        local = given if found.time_zone is None else given.dt.convert_time_zone(timezone)
        return local.dt.date()
    raise NotCastable


def _to_moment(given: pl.Expr, found: pl.DataType, layout: Layout, timezone: str) -> pl.Expr:
    """A naive wall-clock time in the retailer's zone; a bare date is its midnight there."""
    if _is_text(found):
        moment = _parsed_moment(given, layout, timezone)
    elif isinstance(found, pl.Date):
        moment = given
    elif isinstance(found, pl.Datetime):
        moment = _wall_clock(_instant(given, found.time_zone, layout, timezone), timezone)
    else:
        raise NotCastable
    return moment.cast(pl.Datetime("us"))


def _parsed_moment(given: pl.Expr, layout: Layout, timezone: str) -> pl.Expr:
    if layout.datetime_format is not None:
        zone = "UTC" if re.search("%[:#]*z", layout.datetime_format) else None
        moment = given.str.to_datetime(layout.datetime_format, time_unit="us", strict=False)
        return _wall_clock(_instant(moment, zone, layout, timezone), timezone)
    date = given.str.extract(_ISO_MOMENT, _DATE)
    time = given.str.extract(_ISO_MOMENT, _TIME)
    offset = given.str.extract(_ISO_MOMENT, _OFFSET)
    seconds = pl.when(time.str.len_bytes() == 5).then(pl.lit(":00")).otherwise(pl.lit(""))
    naive = (date + "T" + time + seconds).str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
    absolute = (naive - _offset_length(offset)).dt.replace_time_zone("UTC")
    instant = pl.when(offset.is_null()).then(_instant(naive, None, layout, timezone))
    return (
        pl.when(time.is_null())
        .then(date.str.to_datetime("%Y-%m-%d", time_unit="us", strict=False))
        .otherwise(_wall_clock(instant.otherwise(absolute), timezone))
    )


def _offset_length(offset: pl.Expr) -> pl.Expr:
    """`+05:30`, `-0400`, `+02` or `Z` as a duration."""
    digits = offset.str.replace_all(r"[^0-9]", "").str.pad_end(4, "0").cast(pl.Int64)
    minutes = digits // 100 * 60 + digits % 100
    sign = pl.when(offset.str.starts_with("-")).then(-1).otherwise(1)
    return pl.duration(minutes=sign * minutes)


def _instant(moment: pl.Expr, zone: str | None, layout: Layout, timezone: str) -> pl.Expr:
    """Timestamps with their zone: a naive one is in the layout's, or else the retailer's.

    Of two possible instants the earlier is taken; a time that a clock skips is taken as if the
    clock had not been put forward yet (02:30 becomes 03:30).
    """
    if zone is not None:
        return moment.dt.convert_time_zone("UTC")

    def local(naive: pl.Expr) -> pl.Expr:
        return naive.dt.replace_time_zone(
            layout.timezone or timezone, ambiguous="earliest", non_existent="null"
        ).dt.convert_time_zone("UTC")

    if layout.timezone == "UTC":
        return moment.dt.replace_time_zone("UTC")
    day = pl.duration(days=1)
    return local(moment).fill_null(local(moment - day) + day)


def _wall_clock(instant: pl.Expr, timezone: str) -> pl.Expr:
    return instant.dt.convert_time_zone(timezone).dt.replace_time_zone(None)


def _point_number(given: pl.Expr, layout: Layout) -> pl.Expr:
    """Text with a point as decimal sign; null where it has a point that is none."""
    if layout.decimal == ".":
        return given
    pointless = given.str.contains(".", literal=True).not_()
    return pl.when(pointless).then(given.str.replace(",", ".", literal=True))
