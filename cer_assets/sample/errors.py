"""How true content is written down: the typos, gaps, defaults and habits of three systems.

Who is meant lives in `people`, when it was recorded in `records`.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from cer_assets.sample.draws import Draws, Flags, Floats
from cer_assets.sample.words import Words

# How often each goes wrong in a record of the CRM, of a web account and of a loyalty card.
RATES: dict[str, tuple[float, float, float]] = {
    "nickname": (0.10, 0.22, 0.12),
    "initial_only": (0.02, 0.015, 0.03),
    "typo_given": (0.04, 0.025, 0.045),
    "typo_surname": (0.045, 0.02, 0.045),
    "swapped_names": (0.02, 0.01, 0.02),
    "no_birth_date": (0.12, 0.28, 0.35),
    "junk_birth_date": (0.03, 0.01, 0.015),
    "day_and_month_swapped": (0.015, 0.005, 0.015),
    "typo_birth_date": (0.02, 0.01, 0.02),
    "no_email": (0.30, 0.0, 0.32),
    "junk_email": (0.015, 0.0, 0.01),
    "typo_email": (0.02, 0.005, 0.025),
    "family_email": (0.5, 0.4, 0.5),
    "other_email": (0.12, 0.18, 0.10),
    "no_phone": (0.15, 0.40, 0.18),
    "junk_phone": (0.02, 0.005, 0.015),
    "typo_phone": (0.02, 0.01, 0.02),
    "landline": (0.45, 0.15, 0.35),
    "other_mobile": (0.10, 0.07, 0.08),
    "no_address": (0.03, 0.30, 0.08),
    "typo_street": (0.05, 0.02, 0.05),
    "typo_city": (0.02, 0.01, 0.02),
    "typo_postcode": (0.02, 0.01, 0.015),
    "no_unit": (0.25, 0.15, 0.30),
    "upper_case": (0.35, 0.02, 0.22),
    "lower_case": (0.0, 0.08, 0.0),
    "accents_lost": (0.6, 0.15, 0.85),
}
# Habits: how often they show, without being wrong.
_MIDDLE_INITIAL = (0.12, 0.03, 0.06)
_SUFFIX = (0.5, 0.15, 0.4)
_SHORT_KIND = (0.55, 0.5, 0.75)
_SURNAME_FIRST = 0.03

JUNK_EMAIL = "test@test.com"
JUNK_PHONE = "0000000000"
JUNK_BIRTH_DATE = (1900, 1, 1)

_BIRTH_FORMATS = ("%d.%m.%Y", "%Y-%m-%d", "%m/%d/%Y")
_PHONE_FORMATS = ("({}) {}-{}", "{}-{}-{}", "+1{}{}{}", "{}{}{}", "{}.{}.{}", "1-{}-{}-{}")
_PHONE_HABITS = ((40, 30, 5, 10, 8, 7), (5, 30, 30, 30, 5, 0), (10, 20, 0, 50, 15, 5))
_LETTERS = "etaoinsrhldcumfpgwybvkjxqz"
_DIGITS = "0123456789"


def as_held(versions: pl.DataFrame, draws: Draws, words: Words) -> pl.DataFrame:
    """The content of record versions as their systems hold it.

    An error belongs to the record and to the name or home it was made with: a later version repeats it.

    Args:
        versions: as of `records.versions`.
        draws: where chance comes from.
        words: how providers are mistyped.

    Returns:
        record, person, household, system, source_id, updated_at; given_name, surname, full_name, birth_date, email,
        phone, street, city, region, postcode (String, null where not held); and one Boolean column
        `error_<name>` for each error of RATES that did happen there.
    """
    held = _names(versions, draws)
    held = _birth_dates(held, draws)
    held = _emails(held, draws, words)
    held = _phones(held, draws)
    held = _addresses(held, draws)
    held = _recognisable(held)
    held = _spelling(held, draws)
    return held.select(
        "record", "person", "household", "system", "source_id", "updated_at",
        "given_name", "surname", "full_name", "birth_date", "email", "phone",
        "street", "city", "region", "postcode",
        pl.col("^error_.*$"),
    )  # fmt: skip


def _goes_wrong(held: pl.DataFrame, error: str, draws: Draws, epoch: str | None = None) -> pl.Series:
    return pl.Series(f"error_{error}", _happens(held, error, RATES[error], draws, epoch))


def _happens(
    held: pl.DataFrame, purpose: str, by_system: Sequence[float], draws: Draws, epoch: str | None = None
) -> Flags:
    keys = [held["record"]] if epoch is None else [held["record"], held[epoch]]
    return draws.happens(purpose, _of_system(held, by_system), *keys)


def _of_system(held: pl.DataFrame, by_system: Sequence[float]) -> Floats:
    return np.asarray(by_system, dtype=np.float64)[held["system"].to_numpy()]


def _names(held: pl.DataFrame, draws: Draws) -> pl.DataFrame:
    former = (pl.col("name_epoch") == 0) & pl.col("former_surname").is_not_null()
    with_initial = pl.Series(_happens(held, "shows the middle initial", _MIDDLE_INITIAL, draws))
    with_suffix = pl.Series(_happens(held, "shows the suffix", _SUFFIX, draws))
    held = held.with_columns(
        *(_goes_wrong(held, e, draws) for e in ("nickname", "initial_only", "typo_given", "swapped_names")),
        _goes_wrong(held, "typo_surname", draws, "name_epoch"),
        surname=pl.when(former).then("former_surname").otherwise("surname"),
        given_name=pl.col("given"),
    ).with_columns(
        error_nickname=pl.col("error_nickname") & pl.col("nickname").is_not_null(),
        error_former_surname=former,
    )
    held = held.with_columns(given_name=pl.when("error_nickname").then("nickname").otherwise("given_name"))
    held = held.with_columns(
        given_name=_mistyped(held, "given_name", "error_typo_given", _LETTERS, draws),
        surname=_mistyped(held, "surname", "error_typo_surname", _LETTERS, draws, "name_epoch"),
    ).with_columns(
        given_name=pl.when("error_initial_only").then(pl.col("given_name").str.head(1)).otherwise("given_name")
    )
    initial = pl.when(with_initial & ~pl.col("error_initial_only")).then(" " + pl.col("initial"))
    suffix = pl.when(with_suffix).then(" " + pl.col("suffix"))
    held = held.with_columns(
        given_name=pl.col("given_name") + initial.fill_null(""),
        surname=pl.col("surname") + suffix.fill_null(""),
    )
    swapped = pl.col("error_swapped_names")
    surname_first = pl.Series(draws.happens("surname first", _SURNAME_FIRST, held["record"]))
    return held.with_columns(
        given_name=pl.when(swapped).then("surname").otherwise("given_name"),
        surname=pl.when(swapped).then("given_name").otherwise("surname"),
    ).with_columns(
        full_name=pl.when(surname_first)
        .then(pl.format("{}, {}", "surname", "given_name"))
        .otherwise(pl.format("{} {}", "given_name", "surname"))
    )


def _birth_dates(held: pl.DataFrame, draws: Draws) -> pl.DataFrame:
    errors = ("no_birth_date", "junk_birth_date", "day_and_month_swapped", "typo_birth_date")
    born, record = pl.col("birth_date"), held["record"]
    year_slip = pl.Series(draws.happens("typo in the year", 0.5, record))
    by = pl.Series(np.array([-10, -1, 1, 10])[draws.below("typo by", 4, record)])
    true_day, true_month, true_year = born.dt.day(), born.dt.month(), born.dt.year()
    typo, junk = pl.col("error_typo_birth_date"), pl.col("error_junk_birth_date")
    swapped = pl.col("error_day_and_month_swapped") & (true_day <= 12)
    held = held.with_columns(_goes_wrong(held, error, draws) for error in errors)
    held = held.with_columns(
        birth_date=pl.when(junk)
        .then(pl.date(*JUNK_BIRTH_DATE))
        .when(swapped)
        .then(pl.date(true_year, true_day, true_month))
        .when(typo & year_slip)
        .then(pl.date(true_year + by, true_month, true_day.clip(1, 28)))
        .when(typo)
        .then(pl.date(true_year, true_month, (true_day + by.abs() - 1) % 28 + 1))
        .otherwise(born),
        error_day_and_month_swapped=swapped,
    )
    text = pl.coalesce(
        pl.when(pl.col("system") == number).then(pl.col("birth_date").dt.strftime(form))
        for number, form in enumerate(_BIRTH_FORMATS)
    )
    return held.with_columns(birth_date=pl.when(~pl.col("error_no_birth_date")).then(text))


def _emails(held: pl.DataFrame, draws: Draws, words: Words) -> pl.DataFrame:
    errors = ("no_email", "junk_email", "typo_email", "family_email", "other_email")
    held = held.with_columns(_goes_wrong(held, error, draws) for error in errors)
    held = (
        held.with_columns(
            pl.col("error_family_email") & pl.col("family_email").is_not_null(),
            email=pl.when(pl.col("error_family_email") & pl.col("family_email").is_not_null())
            .then("family_email")
            .when("error_other_email")
            .then("other_email")
            .otherwise("email"),
        )
        .with_columns(pl.col("email").str.split_exact("@", 1).struct.rename_fields(["local", "provider"]))
        .unnest("email")
    )
    misspelt = pl.col("provider").replace_strict(
        words.providers["name"].to_list(), words.providers["misspelt"].to_list()
    )
    at_provider = pl.col("error_typo_email") & pl.Series(draws.happens("typo in the provider", 0.4, held["record"]))
    local = _mistyped(held, "local", "error_typo_email", _LETTERS, draws)
    written = (
        pl.when(at_provider).then(pl.col("local")).otherwise(local)
        + "@"
        + pl.when(at_provider).then(misspelt).otherwise("provider")
    )
    return held.with_columns(
        email=pl.when("error_junk_email").then(pl.lit(JUNK_EMAIL)).when(~pl.col("error_no_email")).then(written)
    )


def _phones(held: pl.DataFrame, draws: Draws) -> pl.DataFrame:
    errors = ("no_phone", "junk_phone", "typo_phone", "landline", "other_mobile")
    held = held.with_columns(_goes_wrong(held, error, draws) for error in errors)
    held = held.with_columns(
        pl.col("error_landline") & pl.col("landline").is_not_null(),
        digits=pl.when(pl.col("error_landline") & pl.col("landline").is_not_null())
        .then("landline")
        .when("error_other_mobile")
        .then("other_mobile")
        .otherwise("mobile"),
    )
    slipped = _mistyped(held, "digits", "error_typo_phone", _DIGITS, draws)
    habits = [draws.pick("phone habit", habit, held["record"]) for habit in _PHONE_HABITS]
    held = held.with_columns(digits=slipped, habit=pl.Series(np.choose(held["system"].to_numpy(), habits)))
    area, exchange, line = (pl.col("digits").str.slice(*at) for at in ((0, 3), (3, 3), (6, 9)))
    written = pl.coalesce(
        pl.when(pl.col("habit") == number).then(pl.format(form, area, exchange, line))
        for number, form in enumerate(_PHONE_FORMATS)
    )
    return held.with_columns(
        phone=pl.when("error_junk_phone").then(pl.lit(JUNK_PHONE)).when(~pl.col("error_no_phone")).then(written)
    )


def _addresses(held: pl.DataFrame, draws: Draws) -> pl.DataFrame:
    former = (pl.col("home_epoch") == 0) & pl.col("moved_on").is_not_null()
    parts = ("number", "street", "kind", "kind_short", "unit", "city", "region", "postcode")
    short = pl.Series(_happens(held, "short street kind", _SHORT_KIND, draws))
    unit_form = draws.below("unit form", 5, held["record"])
    held = held.with_columns(
        *(_goes_wrong(held, e, draws) for e in ("no_address", "no_unit")),
        *(_goes_wrong(held, e, draws, "home_epoch") for e in ("typo_street", "typo_city", "typo_postcode")),
        *(pl.when(former).then(f"old_{part}").otherwise(part).alias(part) for part in parts),
        unit_form=pl.Series(np.array([" Apt {}", ", Apt {}", " #{}", " Apt. {}", " Unit {}"])[unit_form]),
        error_former_address=former,
    )
    held = held.with_columns(
        street=_mistyped(held, "street", "error_typo_street", _LETTERS, draws, "home_epoch"),
        city=_mistyped(held, "city", "error_typo_city", _LETTERS, draws, "home_epoch"),
        postcode=_mistyped(held, "postcode", "error_typo_postcode", _DIGITS, draws, "home_epoch"),
        error_no_unit=pl.col("error_no_unit") & pl.col("unit").is_not_null(),
    )
    compass = pl.col("street").str.replace(r"^(N)orth |^(S)outh |^(E)ast |^(W)est ", "$1$2$3$4 ")
    unit = pl.when(pl.col("unit").is_not_null() & ~pl.col("error_no_unit")).then(
        pl.col("unit_form").str.replace("{}", pl.col("unit"), literal=True)
    )
    written = pl.format(
        "{} {} {}{}",
        "number",
        pl.when(short).then(compass).otherwise("street"),
        pl.when(short).then("kind_short").otherwise("kind"),
        unit.fill_null(""),
    )
    return held.with_columns(street=written)


def _recognisable(held: pl.DataFrame) -> pl.DataFrame:
    """Leave out addresses only where two other things remain that a person could be known by."""
    known = pl.sum_horizontal(
        pl.col("birth_date").is_not_null() & ~pl.col("error_junk_birth_date"),
        pl.col("email").is_not_null() & ~pl.col("error_junk_email"),
        pl.col("phone").is_not_null() & ~pl.col("error_junk_phone"),
    )
    held = held.with_columns(error_no_address=pl.col("error_no_address") & (known >= 2))
    kept = ~pl.col("error_no_address")
    places = ("street", "city", "region", "postcode")
    return held.with_columns(pl.when(kept).then(place).alias(place) for place in places)


def _spelling(held: pl.DataFrame, draws: Draws) -> pl.DataFrame:
    texts = ("given_name", "surname", "full_name", "street", "city")
    held = held.with_columns(_goes_wrong(held, error, draws) for error in ("upper_case", "lower_case", "accents_lost"))
    plain = pl.col(*texts).str.normalize("NFKD").str.replace_all(r"\p{M}", "")
    accented = pl.any_horizontal(pl.col("given_name", "surname").str.contains(r"[^\x00-\x7F]"))
    held = held.with_columns(pl.col("error_accents_lost") & accented)
    held = held.with_columns(pl.when("error_accents_lost").then(plain).otherwise(pl.col(*texts)))
    return held.with_columns(
        pl.when("error_upper_case").then(pl.col(*texts).str.to_uppercase())
        .when("error_lower_case").then(pl.col(*texts).str.to_lowercase())
        .otherwise(pl.col(*texts))
    )  # fmt: skip


def _mistyped(
    held: pl.DataFrame, column: str, where: str, alphabet: str, draws: Draws, epoch: str | None = None
) -> pl.Expr:
    """The text with one character after the first left out, replaced, doubled or exchanged with the next.

    Digits are replaced or exchanged only, since a number of another length is caught where it is typed.
    """
    keys = [held["record"]] if epoch is None else [held["record"], held[epoch]]
    kinds = (0.3, 0.3, 0.15, 0.25) if alphabet == _LETTERS else (0.0, 0.6, 0.0, 0.4)
    text = pl.col(column)
    place = pl.Series(draws.uniform(f"{column}: where", *keys))
    kind = pl.Series(draws.pick(f"{column}: how", kinds, *keys))
    other = np.array(list(alphabet))[draws.below(f"{column}: what", len(alphabet), *keys)]
    at = 1 + (place * (text.str.len_chars().cast(pl.Int64) - 1)).floor().cast(pl.Int64)
    before, here = text.str.slice(0, at), text.str.slice(at, 1)
    after_one, beyond = text.str.slice(at + 1, 1), text.str.slice(at + 2)
    wrong = (
        pl.when(kind == 0).then(before + after_one + beyond)
        .when(kind == 1).then(before + pl.Series(other) + after_one + beyond)
        .when(kind == 2).then(before + here + here + after_one + beyond)
        .otherwise(before + after_one + here + beyond)
    )  # fmt: skip
    return pl.when(pl.col(where) & (text.str.len_chars() >= 3)).then(wrong).otherwise(text)
