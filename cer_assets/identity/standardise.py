"""Raw customer records in one spelling, without accents, defaults and junk; nobody is told from anybody here."""

import phonenumbers
import polars as pl

TEXT_COLUMNS = (
    "full_name",
    "given_name",
    "surname",
    "birth_date",
    "email",
    "phone",
    "street",
    "city",
    "region",
    "postcode",
    "country",
)
COLUMNS = ("record_id", "source", "source_id", "updated_at", *TEXT_COLUMNS[1:])

MOST_SURNAMES = 10
"""An e-mail address or phone number with more surnames than this is a form's default or a shop's, nobody's own."""

OLDEST = 115
"""Years; an earlier birth date is a default."""

_NO_VALUE = [
    "", "-", "na", "n/a", "nil", "none", "null", "nan", "unknown", "unk", "test", "tbd", "x", "xx", "xxx", "xxxx",
    "anonymous", "not given", "not known", "no name", "customer", "guest", "asdf", "refused", "declined",
]  # fmt: skip
_NO_USER = [
    "test", "tests", "testing", "tester", "none", "no", "noemail", "no-email", "no_email", "nomail", "na", "null",
    "nil", "unknown", "x", "xx", "xxx", "xxxx", "asdf", "asd", "aaa", "abc", "a", "aa", "1", "12", "123", "1234",
    "example", "dummy", "fake", "noreply", "no-reply", "donotreply", "refused", "declined", "notprovided",
]  # fmt: skip
_NO_PROVIDER = [
    "test.com", "none.com", "no.com", "noemail.com", "nomail.com", "na.com", "null.com", "unknown.com", "invalid.com",
]  # fmt: skip
_DEFAULT_DATES = ["1900-01-01", "1901-01-01", "1910-01-01", "1911-11-11", "1970-01-01", "1999-09-09", "2000-01-01"]
_LETTERS = {
    "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "\u0131": "i",
    "\u2019": "'", "`": "'",
}  # fmt: skip
_MONTHS = {
    name: f"{number:02d}"
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_TITLES = r"^(?:(?:mr|mrs|ms|miss|dr|prof|sir|rev)\.? )+"
_DEGREES = r",? (?:phd|md|dds|esq|cpa)\.?$"
_GENERATION = r"(?:jr|sr|junior|senior|ii|iii|iv)"
_PARTICLES = r"(?:van|von|der|den|de|del|della|di|da|dos|du|la|le|ter|ten|bin|ibn|st)"
_SPLIT = rf"^(?P<given>.+?) (?P<surname>(?:{_PARTICLES} )*\S+(?: {_GENERATION})?)$"

_STREET_WORDS = {
    "street": "st", "str": "st", "avenue": "ave", "av": "ave", "road": "rd", "drive": "dr", "drv": "dr",
    "lane": "ln", "boulevard": "blvd", "boul": "blvd", "court": "ct", "circle": "cir", "place": "pl",
    "terrace": "ter", "parkway": "pkwy", "highway": "hwy", "square": "sq", "trail": "trl", "crescent": "cres",
    "close": "cl", "gardens": "gdns", "grove": "grv", "heights": "hts", "alley": "aly", "plaza": "plz",
    "turnpike": "tpke", "expressway": "expy", "crossing": "xing", "point": "pt", "ridge": "rdg", "valley": "vly",
    "north": "n", "south": "s", "east": "e", "west": "w", "northeast": "ne", "northwest": "nw", "southeast": "se",
    "southwest": "sw", "apartment": "apt", "appartment": "apt", "unit": "apt", "suite": "apt", "ste": "apt",
    "flat": "apt", "no": "apt", "number": "apt", "building": "bldg", "floor": "fl", "saint": "st", "mount": "mt",
    "fort": "ft",
}  # fmt: skip
_REGIONS_US = {
    "alabama": "al", "alaska": "ak", "arizona": "az", "arkansas": "ar", "california": "ca", "colorado": "co",
    "connecticut": "ct", "delaware": "de", "district of columbia": "dc", "florida": "fl", "georgia": "ga",
    "hawaii": "hi", "idaho": "id", "illinois": "il", "indiana": "in", "iowa": "ia", "kansas": "ks", "kentucky": "ky",
    "louisiana": "la", "maine": "me", "maryland": "md", "massachusetts": "ma", "michigan": "mi", "minnesota": "mn",
    "mississippi": "ms", "missouri": "mo", "montana": "mt", "nebraska": "ne", "nevada": "nv", "new hampshire": "nh",
    "new jersey": "nj", "new mexico": "nm", "new york": "ny", "north carolina": "nc", "north dakota": "nd",
    "ohio": "oh", "oklahoma": "ok", "oregon": "or", "pennsylvania": "pa", "rhode island": "ri",
    "south carolina": "sc", "south dakota": "sd", "tennessee": "tn", "texas": "tx", "utah": "ut", "vermont": "vt",
    "virginia": "va", "washington": "wa", "west virginia": "wv", "wisconsin": "wi", "wyoming": "wy",
}  # fmt: skip
_COUNTRIES = {
    "usa": "us", "united states": "us", "united states of america": "us", "u.s.": "us", "u.s.a.": "us",
    "america": "us", "united kingdom": "gb", "great britain": "gb", "uk": "gb", "england": "gb", "scotland": "gb",
    "wales": "gb", "canada": "ca", "germany": "de", "deutschland": "de", "france": "fr", "australia": "au",
    "ireland": "ie", "netherlands": "nl", "austria": "at", "switzerland": "ch", "spain": "es", "italy": "it",
    "mexico": "mx", "new zealand": "nz",
}  # fmt: skip


def standardise(records: pl.DataFrame, country: str = "US") -> pl.DataFrame:
    """Bring raw records into one spelling.

    Nicknames stay, for whether Bob is Robert is a question to be learned. What cannot be read, and what forms put
    where nobody answered, becomes null: `none`, test@test.com, 0000000000, 1900-01-01, an e-mail address or phone
    number under more than `MOST_SURNAMES` surnames.

    Args:
        records: the current row of each source and source_id, with `source`, `source_id`, `updated_at` and any of
            `TEXT_COLUMNS` as delivered; absent columns are taken as null.
        country: ISO code of where a phone number or postcode belongs that does not say; also what a date such as
            03/04/1980 means in a source where no date settles it (US: March).

    Returns:
        identity.records, one row per record by record_id: `COLUMNS`, text in lower case without accents, `birth_date`
        a Date, `phone` in E.164, country as ISO code.

    Raises:
        ValueError: a record occurs twice.
    """
    raw = _with_all_columns(records)
    if raw.select("source", "source_id").is_duplicated().any():
        raise ValueError("records: a source and source_id occur twice; pass the current row of each")
    plain = raw.with_columns(_plain(column) for column in TEXT_COLUMNS if column != "email")
    standard = (
        _names(plain)
        .with_columns(
            record_id=pl.concat_str("source", "source_id", separator=":"),
            birth_date=_birth_dates(plain, country),
            email=_email(),
            street=_street(),
            region=pl.col("region").replace(_REGIONS_US),
            country=pl.col("country").replace(_COUNTRIES),
        )
        .with_columns(phone=_phones(plain, country), postcode=_postcode(country))
    )
    return (
        standard.with_columns(_own("email"), _own("phone"))
        .select(*COLUMNS)
        .cast({"updated_at": pl.Datetime("us"), "birth_date": pl.Date})
        .sort("record_id")
    )


def _with_all_columns(records: pl.DataFrame) -> pl.DataFrame:
    absent = [c for c in ("updated_at", *TEXT_COLUMNS) if c not in records.columns]
    return records.with_columns(pl.lit(None).alias(c) for c in absent).select(
        "source",
        "source_id",
        pl.col("updated_at").cast(pl.Datetime("us")),
        *(pl.col(c).cast(pl.String) for c in TEXT_COLUMNS),
    )


def _plain(column: str) -> pl.Expr:
    """Lower case, no accents, single blanks; what stands for no value is null."""
    text = (
        pl.col(column)
        .str.to_lowercase()
        .str.replace_many(_LETTERS)
        .str.normalize("NFKD")
        .str.replace_all(r"\p{M}", "")
        .str.replace_all(r"\s+", " ")
        .str.strip_chars(" ,;")
    )
    return pl.when(~text.is_in(_NO_VALUE)).then(text).alias(column)


def _names(plain: pl.DataFrame) -> pl.DataFrame:
    """Given name and surname, from the full name where only that is there; jr and the like at the surname's end."""
    tidy = plain.with_columns(
        pl.col(c)
        .str.replace(_TITLES, "")
        .str.replace(_DEGREES, "")
        .str.replace(rf",? ({_GENERATION})\.?$", " $1")
        .str.replace_all(r"[^\p{L}', -]", "")
        .str.replace_all(r"\s+", " ")
        .str.strip_chars(" '-")
        for c in ("full_name", "given_name", "surname")
    )
    whole = pl.col("full_name")
    turned = whole.str.replace(r"^([^,]+), ?(.+)$", "$2 $1").str.replace_all(",", "").str.replace_all(r"\s+", " ")
    comma = whole.str.extract_groups(r"^(?P<surname>[^,]+), ?(?P<given>.+)$")
    blank = turned.str.extract_groups(_SPLIT)
    only_whole = pl.col("given_name").is_null() & pl.col("surname").is_null()
    split = tidy.with_columns(
        given_name=pl.when(only_whole)
        .then(pl.coalesce(comma.struct["given"], blank.struct["given"]))
        .otherwise(pl.col("given_name")),
        surname=pl.when(only_whole)
        .then(pl.coalesce(comma.struct["surname"], blank.struct["surname"], turned))
        .otherwise(pl.col("surname")),
    )
    return split.with_columns(*_generation_last()).with_columns(
        pl.when(pl.col(c).str.contains(r"\p{L}") & ~pl.col(c).is_in(_NO_VALUE[:-1]))
        .then(pl.col(c).str.replace_all(",", ""))
        .alias(c)
        for c in ("given_name", "surname")
    )


def _generation_last() -> tuple[pl.Expr, pl.Expr]:
    ending = rf" ({_GENERATION})$"
    given, surname = pl.col("given_name"), pl.col("surname")
    moves = given.str.contains(ending) & surname.is_not_null() & ~surname.str.contains(ending)
    moves = moves.fill_null(value=False)
    return (
        pl.when(moves).then(given.str.replace(ending, "")).otherwise(given).alias("given_name"),
        pl.when(moves)
        .then(pl.concat_str(surname, given.str.extract(ending), separator=" "))
        .otherwise(surname)
        .alias("surname"),
    )


def _birth_dates(plain: pl.DataFrame, country: str) -> pl.Series:
    """Dates as text of one of many forms read as dates, with day and month in the order that their source uses."""
    text = pl.col("birth_date").str.replace(r"[t ]\d{1,2}:\d{2}.*$", "")
    iso = text.str.extract_groups(r"^(?P<y>\d{4})[-/. ]?(?P<m>\d{1,2})[-/. ]?(?P<d>\d{1,2})$")
    numbers = text.str.extract_groups(r"^(?P<a>\d{1,2})[-/. ]?(?P<b>\d{1,2})[-/. ]?(?P<y>\d{4}|\d{2})$")
    day_first = text.str.extract_groups(r"^(?P<d>\d{1,2})[-/. ]*(?P<m>[a-z]{3})[a-z]*[-/., ]*(?P<y>\d{4})$")
    month_first = text.str.extract_groups(r"^(?P<m>[a-z]{3})[a-z]*[-/. ]*(?P<d>\d{1,2})[-/., ]+(?P<y>\d{4})$")
    a, b = (numbers.struct[part].cast(pl.Int64) for part in ("a", "b"))
    newest = plain["updated_at"].dt.year().max()
    year = _full_year(numbers.struct["y"], newest if isinstance(newest, int) else 1999)
    # Where a source's own dates leave the order open, its country's custom settles it.
    custom = 0 if country == "US" else 1
    favours_day = ((a > 12).cast(pl.Int64) - (b > 12).cast(pl.Int64)).sum().over("source")
    by_day = favours_day * 2 + custom > 0
    two, other = _date(year, b, a), _date(year, a, b)
    dates = plain.select(
        "updated_at",
        date=pl.coalesce(
            _date(*(iso.struct[part] for part in "ymd")),
            pl.when(by_day).then(two).otherwise(other),
            pl.when(by_day).then(other).otherwise(two),
            *(
                _date(named.struct["y"], named.struct["m"].replace_strict(_MONTHS, default=None), named.struct["d"])
                for named in (day_first, month_first)
            ),
        ),
    )
    latest = pl.col("updated_at").max().dt.date()
    plausible = (
        ~pl.col("date").cast(pl.String).is_in(_DEFAULT_DATES)
        & (pl.col("date") <= latest).fill_null(value=True)
        & (pl.col("date") > latest.dt.offset_by(f"-{OLDEST}y")).fill_null(value=True)
    )
    return dates.select(pl.when(plausible).then(pl.col("date"))).to_series()


def _full_year(year: pl.Expr, newest: int) -> pl.Expr:
    """A year of two digits is the last one that was over when the newest record was written."""
    number = year.cast(pl.Int64)
    century = pl.when(number + 2000 < newest).then(2000).otherwise(1900)
    return pl.when(year.str.len_chars() == 2).then(number + century).otherwise(number)


def _date(year: pl.Expr, month: pl.Expr, day: pl.Expr) -> pl.Expr:
    parts = (
        year.cast(pl.String).str.zfill(4),
        month.cast(pl.String).str.zfill(2),
        day.cast(pl.String).str.zfill(2),
    )
    return pl.concat_str(*parts, separator="-").str.to_date("%Y-%m-%d", strict=False)


def _email() -> pl.Expr:
    """Lower case, without tags (name+shop@...) and without the dots that Gmail ignores."""
    text = pl.col("email").str.to_lowercase().str.replace_all(r"\s|^mailto:", "").str.strip_chars("<>.,;\"'")
    user = text.str.extract(r"^([^@+]+)(?:\+[^@]*)?@")
    provider = text.str.extract(r"@([^@]+\.[\p{L}]{2,})$").replace({"googlemail.com": "gmail.com"})
    user = pl.when(provider == "gmail.com").then(user.str.replace_all(".", "", literal=True)).otherwise(user)
    junk = user.is_in(_NO_USER) | provider.is_in(_NO_PROVIDER)
    return pl.when(~junk).then(pl.concat_str(user, provider, separator="@"))


def _phones(plain: pl.DataFrame, country: str) -> pl.Series:
    """E.164, evaluated once per distinct way of writing and country."""
    # A country that is not an ISO code says nothing about how its numbers are written.
    region = pl.col("country").replace(_COUNTRIES).str.to_uppercase()
    region = pl.when(region.str.contains(r"^[A-Z]{2}$")).then(region).otherwise(pl.lit(country))
    written = plain.select(phone="phone", region=region.fill_null(country))
    distinct = written.drop_nulls("phone").unique()
    standard = distinct.with_columns(
        standard=pl.Series([_e164(phone, region) for phone, region in distinct.iter_rows()], dtype=pl.String)
    )
    joined = written.join(standard, on=["phone", "region"], how="left", maintain_order="left")
    return joined["standard"]


def _e164(written: str, region: str) -> str | None:
    try:
        number = phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        return None
    digits = str(number.national_number)
    # 0000000 and 5555555555 come from forms that insist on a number, as do digits in a row.
    if len(set(digits)) <= 2 or digits in "12345678901234567890" or digits in "9876543210987654321":
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _street() -> pl.Expr:
    """Words in the post's short forms, units as `apt`, boxes as `po box`."""
    text = (
        pl.col("street")
        .str.replace(r"\bp\.? ?o\.? ?box\b|\bpost office box\b|\bpostbox\b", "po box")
        .str.replace_all("#", " apt ", literal=True)
        .str.replace_all(r"['.]", "")
        .str.replace_all(r"[^\p{L}\p{N}]+", " ")
        .str.strip_chars()
    )
    words = text.str.split(" ").list.eval(pl.element().replace(_STREET_WORDS)).list.join(" ")
    words = words.str.replace_all(r"\bapt(?: apt)+\b", "apt")
    return pl.when(words != "").then(words)


def _postcode(country: str) -> pl.Expr:
    """Letters and digits only; American ones five digits, with the zeros that spreadsheets take from the front."""
    solid = pl.col("postcode").str.replace_all(r"[^\p{L}\p{N}]", "")
    digits = pl.col("postcode").str.extract(r"^(\d{3,5})(?:[- ]?\d{4})?$").str.zfill(5)
    american = pl.col("country").fill_null(country.lower()) == "us"
    code = pl.when(american & digits.is_not_null()).then(digits).otherwise(solid)
    return pl.when(~code.is_in(["", "00000", "99999", "12345"])).then(code)


def _own(column: str) -> pl.Expr:
    surnames = pl.col("surname").n_unique().over(column)
    return pl.when(surnames <= MOST_SURNAMES).then(pl.col(column)).alias(column)
