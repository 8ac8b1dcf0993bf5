"""Columns of any type as text that a kind of field can read: numbers, dates, truth values; nothing is compared here."""

import polars as pl

from cer_assets.identity.fields import MatchField

NEWEST_YEAR = 2029
"""The latest year that two digits mean where a column has no year of four digits."""

_MONTHS = {
    name: f"-{number}-"
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_MONTH = r"(?i)[-/., ]*\b(" + "|".join(_MONTHS) + r")[a-z]*\b[-/., ]*"
_WRITTEN_YEAR_FIRST = r"^(?P<y>\d{4})\D+(?P<m>\d{1,2})\D+(?P<d>\d{1,2})(?:\D.*)?$"
_WRITTEN_YEAR_LAST = r"^(?P<a>\d{1,2})[-/. ]+(?P<b>\d{1,2})[-/. ]+(?P<y>\d{4}|\d{2})(?:[^\d].*)?$"
_MONTH_FIRST = r"^\s*-(?P<m>\d{1,2})-(?P<d>\d{1,2})\D+(?P<y>\d{4})$"
_PLAIN_DATE = r"^(?:\d{4}-\d{2}-\d{2}|\d{8}|\d{4})$"


def as_text(records: pl.DataFrame, field: MatchField) -> pl.Series:
    """A field's column as text, null where there is none.

    Whole numbers lose a `.0`, dates become YYYY-MM-DD, full-width and composed letters plain ones. A date that is
    written 3/4/1980 is read by the order of day and month that most of the column's dates that leave no doubt have;
    day first where there is none.

    Raises:
        ValueError: the column's type holds no single value, as a list does.
    """
    column = records[field.column]
    text = _written(column)
    if text.is_empty() or text.null_count() == len(text):
        return text
    # Plain letters have one byte each and no other form.
    if int(text.str.len_bytes().sum()) != int(text.str.len_chars().sum()):
        text = text.str.normalize("NFKC")
    return _dates(text) if field.kind == "date" and isinstance(column.dtype, pl.String) else text


def _written(column: pl.Series) -> pl.Series:
    dtype = column.dtype
    if isinstance(dtype, pl.String):
        return column
    if isinstance(dtype, pl.Datetime):
        return column.dt.date().cast(pl.String)
    if isinstance(dtype, (pl.Float32, pl.Float64, pl.Decimal)):
        number = column.cast(pl.Float64)
        whole = number.is_finite() & (number == number.round()) & (number.abs() < 2**53)
        rest = column.cast(pl.String).zip_with(number.is_finite().fill_null(value=False), _none(column))
        return (
            number.zip_with(whole.fill_null(value=False), _none(column, pl.Float64))
            .cast(pl.Int64)
            .cast(pl.String)
            .fill_null(rest)
        )
    if dtype.is_integer() or isinstance(dtype, (pl.Date, pl.Boolean, pl.Categorical, pl.Enum, pl.Null, pl.Time)):
        return column.cast(pl.String)
    raise ValueError(
        f"records: column {column.name!r} is {dtype}; a field holds text, a number, a date or a truth value per record"
    )


def _none(column: pl.Series, dtype: type[pl.DataType] = pl.String) -> pl.Series:
    return pl.Series(column.name, [None], dtype=dtype).new_from_index(0, len(column))


def _dates(text: pl.Series) -> pl.Series:
    """Dates in one of many forms as YYYY-MM-DD; what is none of them stays as it is."""
    if (text.str.contains(_PLAIN_DATE) | text.is_null()).all():
        return text
    frame = pl.DataFrame({"text": text.str.strip_chars()}).with_columns(
        plain=pl.col("text")
        .str.extract(_MONTH, 1)
        .str.to_lowercase()
        .replace_strict(_MONTHS, default=None, return_dtype=pl.String)
    )
    named = pl.col("text").str.replace(_MONTH, "\x00").str.replace("\x00", pl.col("plain"), literal=True)
    frame = frame.with_columns(text=pl.when(pl.col("plain").is_not_null()).then(named).otherwise("text"))
    ymd = pl.col("text").str.extract_groups(_WRITTEN_YEAR_FIRST)
    mdy = pl.col("text").str.extract_groups(_MONTH_FIRST)
    parts = pl.col("text").str.extract_groups(_WRITTEN_YEAR_LAST)
    a, b = (parts.struct[name].cast(pl.Int64) for name in ("a", "b"))
    month_first = (b > 12).sum() > (a > 12).sum()
    day, month = (
        pl.when((b > 12) | (month_first & (a <= 12))).then(one).otherwise(other) for one, other in ((b, a), (a, b))
    )
    dates = pl.coalesce(
        _iso(*(ymd.struct[name].cast(pl.Int64) for name in "ymd")),
        _iso(*(mdy.struct[name].cast(pl.Int64) for name in "ymd")),
        _iso(_full_year(parts.struct["y"]), month, day),
    )
    return frame.select(pl.coalesce(dates, "text")).to_series().rename(text.name)


def _full_year(year: pl.Expr) -> pl.Expr:
    """A year of two digits is the last one that the column reaches."""
    number = year.cast(pl.Int64)
    newest = pl.when(year.str.len_chars() == 4).then(number).max().fill_null(NEWEST_YEAR)
    century = pl.when(number + 2000 <= newest).then(2000).otherwise(1900)
    return pl.when(year.str.len_chars() == 2).then(number + century).otherwise(number)


def _iso(year: pl.Expr, month: pl.Expr, day: pl.Expr) -> pl.Expr:
    there = month.is_between(0, 12) & day.is_between(0, 31)
    parts = (
        year.cast(pl.String).str.zfill(4),
        month.cast(pl.String).str.zfill(2),
        day.cast(pl.String).str.zfill(2),
    )
    return pl.when(there).then(pl.concat_str(*parts, separator="-"))
