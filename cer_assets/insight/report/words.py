"""Numbers, days and comparisons as a person writes them; no figure is computed here.

Money has no sign: the report speaks of the retailer's currency, whichever that is. No locale is asked.
"""

from collections.abc import Callable, Sequence
from datetime import date

_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
"""Stands where there is no figure."""


def count(number: int) -> str:
    """`12,345`."""
    return f"{number:,}"


def some(number: int) -> str:
    """`12,345`, or `none`."""
    return count(number) if number else "none"


def counted(number: int, one: str, many: str | None = None) -> str:
    """`no customers`, `1 customer`, `2,000 customers`."""
    return f"{count(number) if number else 'no'} {one if number == 1 else many or one + 's'}"


def sentence(text: str) -> str:
    """The text with a capital at its beginning."""
    return text[:1].upper() + text[1:]


def money(cents: float | None) -> str:
    """An amount in hundredths: whole units from 100 up, two decimals below."""
    if cents is None:
        return NONE
    amount = cents / 100
    return f"{amount:,.0f}" if abs(amount) >= 100 or amount == 0 else f"{amount:,.2f}"


def percent(share: float | None) -> str:
    """A share as a percentage: with one decimal near 0 and near 100, so that few are not none and most are not all."""
    if share is None:
        return NONE
    whole = share * 100
    if 0 < whole < 0.1:
        return "under 0.1%"
    if 99.9 < whole < 100:
        return "over 99.9%"
    near_an_end = 0 < abs(whole) < 9.95 or 99.5 <= whole < 100
    return f"{whole:.1f}%" if near_an_end else f"{whole:.0f}%"


def change(now: float | None, before: float | None, write: Callable[[int], str] = count) -> str:
    """`+168 (+4.2%)`, `unchanged`; a dash where there is nothing to compare.

    Args:
        now: the figure.
        before: what it was.
        write: how the difference is written.
    """
    if now is None or before is None:
        return NONE
    if now == before:
        return "unchanged"
    sign = "+" if now > before else MINUS
    relative = abs(now / before - 1) if before else 0.0
    share = f" ({sign}{percent(relative)})" if relative >= 0.0005 else ""
    return f"{sign}{write(int(abs(now - before)))}{share}"


def compared(now: float, before: float, more: str = "more", less: str = "less") -> str:
    """`4.2% more than`, `12% less than`, `as many as`."""
    if now == before or before == 0:
        return "the same as" if now == before else "up from nothing in"
    return f"{percent(abs(now / before - 1))} {more if now > before else less} than"


def day(when: date) -> str:
    """`31 December 2017`."""
    return f"{when.day} {_MONTHS[when.month - 1]} {when.year}"


def short_day(when: date) -> str:
    """`31 Dec`."""
    return f"{when.day} {_MONTHS[when.month - 1][:3]}"


def month(when: date) -> str:
    """`Dec 2017`."""
    return f"{_MONTHS[when.month - 1][:3]} {when.year}"


def listed(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def ordinal(number: int) -> str:
    """`1st`, `2nd`, `3rd`, `11th`."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
