import datetime as dt
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.feeds.casts import NotCastable, cast
from cer_assets.feeds.catalogue import Layout

UNREADABLE = "cannot be read"
MONEY = pl.Decimal(18, 2)
MOMENT = pl.Datetime("us")
NEW_YORK = "America/New_York"


def _cast(
    value: Any, wanted: pl.DataType, found: pl.DataType | None = None, retailer: str = NEW_YORK, **layout: Any
) -> Any:
    """One value through the two steps of a cast."""
    delivered = pl.DataFrame({"x": pl.Series([value], dtype=found or pl.String())})
    made = cast(pl.col("x"), delivered.schema["x"], wanted, Layout(**layout), retailer)
    frame = delivered.select(made.given.alias("x"))
    read = frame.select(made.convert(pl.col("x")).alias("x"))
    assert read.schema["x"] == wanted
    return UNREADABLE if frame["x"].is_not_null().item() and read["x"].is_null().item() else read["x"].item()


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("2.99", Decimal("2.99")),
        (" -2.9 ", Decimal("-2.90")),
        ("+3", Decimal("3.00")),
        (".5", Decimal("0.50")),
        ("2.99000", Decimal("2.99")),
        ("9999999999999999.99", Decimal("9999999999999999.99")),
        ("", None),
        ("   ", None),
        ("2.991", UNREADABLE),
        ("2,99", UNREADABLE),
        ("1,000.00", UNREADABLE),
        ("1e3", UNREADABLE),
        ("99999999999999999.99", UNREADABLE),
        ("inf", UNREADABLE),
        ("nan", UNREADABLE),
        ("$2", UNREADABLE),
        ("٣", UNREADABLE),
    ],
)
def test_money_in_text_is_exact_or_unreadable(text: str, amount: object):
    assert _cast(text, MONEY) == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [("2,99", Decimal("2.99")), ("2.99", UNREADABLE), ("1.000,00", UNREADABLE), ("1000", Decimal("1000.00"))],
)
def test_a_layout_says_which_decimal_sign_it_writes(text: str, amount: object):
    assert _cast(text, MONEY, decimal=",") == amount


@pytest.mark.parametrize(
    ("number", "found", "amount"),
    [
        (2.9999999, pl.Float64(), Decimal("3.00")),
        (0.1 + 0.2, pl.Float64(), Decimal("0.30")),
        (float("nan"), pl.Float64(), None),
        (float("inf"), pl.Float64(), UNREADABLE),
        (1e18, pl.Float64(), UNREADABLE),
        (7, pl.Int32(), Decimal("7.00")),
        (2**62, pl.Int64(), UNREADABLE),
        (Decimal("2.99000"), pl.Decimal(38, 5), Decimal("2.99")),
        (Decimal("2.99100"), pl.Decimal(38, 5), UNREADABLE),
        (Decimal("2.99"), MONEY, Decimal("2.99")),
    ],
)
def test_money_in_numbers_is_rounded_only_where_it_is_floating(number: object, found: pl.DataType, amount: object):
    assert _cast(number, MONEY, found) == amount


@pytest.mark.parametrize(
    ("value", "found", "text"),
    [
        (" a b ", pl.String(), "a b"),
        ("NULL", pl.String(), None),
        ("a", pl.Categorical(), "a"),
        (12, pl.UInt16(), "12"),
        (12.0, pl.Float64(), "12"),
        (6011000990139424.0, pl.Float64(), "6011000990139424"),
        (12.5, pl.Float64(), "12.5"),
        (float("nan"), pl.Float64(), None),
        (Decimal("12.00"), pl.Decimal(18, 2), "12"),
        (Decimal("100.50"), pl.Decimal(18, 2), "100.5"),
        (True, pl.Boolean(), "true"),
        (dt.date(1980, 2, 1), pl.Date(), "1980-02-01"),
        (dt.datetime(1980, 2, 1), pl.Datetime("ns"), "1980-02-01"),
        (None, pl.Null(), None),
    ],
)
def test_an_id_is_text_whatever_the_source_calls_it(value: object, found: pl.DataType, text: str | None):
    assert _cast(value, pl.String(), found, null_values=["NULL"]) == text


@pytest.mark.parametrize(
    ("value", "found", "number"),
    [
        ("12", pl.String(), 12),
        ("-12.0", pl.String(), -12),
        ("12.5", pl.String(), UNREADABLE),
        ("first", pl.String(), UNREADABLE),
        ("99999999999999999999", pl.String(), UNREADABLE),
        (12.0, pl.Float32(), 12),
        (12.5, pl.Float64(), UNREADABLE),
        (Decimal("12.00"), pl.Decimal(18, 2), 12),
        (2**63, pl.UInt64(), UNREADABLE),
    ],
)
def test_a_whole_number_is_whole(value: object, found: pl.DataType, number: object):
    assert _cast(value, pl.Int64(), found) == number


@pytest.mark.parametrize(
    ("value", "found", "answer"),
    [
        *(("TRUE", pl.String(), True), ("y", pl.String(), True), ("0", pl.String(), False), ("No", pl.String(), False)),
        *(("maybe", pl.String(), UNREADABLE), (1, pl.Int8(), True), (2, pl.Int8(), UNREADABLE)),
        *((False, pl.Boolean(), False), ("", pl.String(), None)),
    ],
)
def test_yes_and_no_are_read_in_the_usual_spellings(value: object, found: pl.DataType, answer: object):
    assert _cast(value, pl.Boolean(), found) == answer


@pytest.mark.parametrize(
    ("value", "found", "day"),
    [
        ("2024-02-29", pl.String(), dt.date(2024, 2, 29)),
        ("2023-02-29", pl.String(), UNREADABLE),
        ("2024-02-29x", pl.String(), UNREADABLE),
        (dt.date(2024, 2, 29), pl.Date(), dt.date(2024, 2, 29)),
        (dt.datetime(2024, 2, 29, 3), pl.Datetime("ms"), dt.date(2024, 2, 29)),
        (dt.datetime(2024, 2, 29, 3), pl.Datetime("us", "UTC"), dt.date(2024, 2, 28)),
    ],
)
def test_a_day_is_a_local_day(value: object, found: pl.DataType, day: object):
    assert _cast(value, pl.Date(), found) == day


def test_a_layout_says_how_it_writes_days():
    assert _cast("29.02.2024", pl.Date(), date_format="%d.%m.%Y") == dt.date(2024, 2, 29)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-07-01T12:00:00", dt.datetime(2024, 7, 1, 8)),
        ("2024-07-01 12:00", dt.datetime(2024, 7, 1, 8)),
        ("2024-07-01T12:00:00Z", dt.datetime(2024, 7, 1, 8)),
        ("2024-07-01T12:00:00.123456789Z", dt.datetime(2024, 7, 1, 8, 0, 0, 123456)),
        ("2024-07-01T12:00:00+05:30", dt.datetime(2024, 7, 1, 2, 30)),
        ("2024-07-01T12:00:00-0400", dt.datetime(2024, 7, 1, 12)),
        ("2024-07-01 12:00:00 +02", dt.datetime(2024, 7, 1, 6)),
        ("2024-07-01", dt.datetime(2024, 7, 1)),
        ("2024-07-01T", UNREADABLE),
        ("2024-07-01T12", UNREADABLE),
        ("2024-07-01T25:00:00", UNREADABLE),
        ("2024-06-31T12:00:00", UNREADABLE),
        ("01.07.2024 12:00", UNREADABLE),
        ("1719835200", UNREADABLE),
    ],
)
def test_a_timestamp_in_text_is_absolute_with_an_offset_and_else_in_the_layouts_zone(text: str, moment: object):
    assert _cast(text, MOMENT, timezone="UTC") == moment


@pytest.mark.parametrize(
    ("value", "found", "moment"),
    [
        (dt.datetime(2024, 7, 1, 12), pl.Datetime("ns"), dt.datetime(2024, 7, 1, 8)),
        (dt.datetime(2024, 7, 1, 12), pl.Datetime("ms", "Asia/Tokyo"), dt.datetime(2024, 7, 1, 8)),
        (dt.date(2024, 7, 1), pl.Date(), dt.datetime(2024, 7, 1)),
    ],
)
def test_a_typed_timestamp_is_converted_alike(value: dt.date, found: pl.DataType, moment: dt.datetime):
    if found == pl.Datetime("ms", "Asia/Tokyo"):
        value = dt.datetime(2024, 7, 1, 12, tzinfo=dt.UTC)
    assert _cast(value, MOMENT, found, timezone="UTC") == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2017-03-12T02:30:00", dt.datetime(2017, 3, 12, 3, 30)),
        ("2017-11-05T01:30:00", dt.datetime(2017, 11, 5, 1, 30)),
        ("2017-03-12T07:30:00Z", dt.datetime(2017, 3, 12, 3, 30)),
    ],
)
def test_a_time_the_clock_skips_or_repeats_is_always_read_the_same(text: str, moment: dt.datetime):
    assert _cast(text, MOMENT) == moment
    assert _cast(text, MOMENT, timezone=NEW_YORK) == moment


def test_of_two_possible_instants_the_earlier_is_taken():
    assert _cast("2017-11-05T01:30:00", MOMENT, retailer="UTC", timezone=NEW_YORK) == dt.datetime(2017, 11, 5, 5, 30)


def test_a_day_a_whole_country_skipped_is_read_as_the_next():
    samoa = _cast("2011-12-30T12:00:00", MOMENT, retailer="Pacific/Apia")

    assert samoa == dt.datetime(2011, 12, 31, 12)


@pytest.mark.parametrize(
    ("form", "text", "moment"),
    [
        ("%d.%m.%Y %H:%M", "01.07.2024 12:00", dt.datetime(2024, 7, 1, 12)),
        ("%d.%m.%Y %H:%M", "2024-07-01T12:00:00", UNREADABLE),
        ("%d.%m.%Y", "01.07.2024", dt.datetime(2024, 7, 1)),
        ("%Y-%m-%d %H:%M:%S %z", "2024-07-01 12:00:00 +0200", dt.datetime(2024, 7, 1, 6)),
    ],
)
def test_a_layout_says_how_it_writes_timestamps(form: str, text: str, moment: object):
    assert _cast(text, MOMENT, datetime_format=form) == moment


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (pl.List(pl.String), pl.String()),
        (pl.Binary(), pl.String()),
        (pl.Boolean(), MONEY),
        (pl.Int64(), MOMENT),
        (pl.Float64(), pl.Date()),
        (pl.Date(), pl.Int64()),
        (pl.Time(), pl.Boolean()),
        (pl.Struct({"a": pl.Int64}), pl.Float64()),
    ],
)
def test_types_that_never_fit_are_told_before_any_value_is_read(found: pl.DataType, wanted: pl.DataType):
    with pytest.raises(NotCastable):
        cast(pl.col("x"), found, wanted, Layout(), NEW_YORK)


@given(st.decimals(min_value=-(10**12), max_value=10**12, places=2, allow_nan=False))
@settings(deadline=None, max_examples=50)
def test_money_written_with_either_sign_reads_back(amount: Decimal):
    text = f"{amount:f}"

    assert _cast(text, MONEY) == amount
    assert _cast(text.replace(".", ","), MONEY, decimal=",") == amount
    assert _cast(float(amount), MONEY, pl.Float64()) == amount


@given(
    st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2040, 1, 1)), st.sampled_from(["UTC", NEW_YORK, "Asia/Kolkata"])
)
@settings(deadline=None, max_examples=50)
def test_an_offset_says_the_same_instant_whatever_the_layouts_zone(moment: dt.datetime, zone: str):
    text = moment.isoformat()

    assert _cast(f"{text}Z", MOMENT, retailer="UTC", timezone=zone) == moment
    assert _cast(f"{text}+05:30", MOMENT, retailer="Asia/Kolkata", timezone=zone) == moment
