"""Simulated account holders: who lives in a household, and their true names, dates and ways to be reached.

What systems hold of them lives in `records`, and the errors they make in `errors`. No person here is real.
"""

from datetime import date

import numpy as np
import polars as pl

from cer_assets.sample.draws import Draws, Flags, Floats, Ints
from cer_assets.sample.words import Words, shares, weights

SLOTS = 4
"""A household's people: two adults, a grown child, the child's twin. person = household * SLOTS + slot."""

_AGE_BANDS = {
    "19-24": (19, 24),
    "25-34": (25, 34),
    "35-44": (35, 44),
    "45-54": (45, 54),
    "55-64": (55, 64),
    "65+": (65, 88),
}
_AGE_SHARES = (46, 142, 194, 288, 59, 72)  # of the households whose age band is known
_EXCHANGES = np.array([n for n in range(200, 1000) if n % 100 != 11], dtype=np.int64)
_EPOCH = date(1970, 1, 1)
_NEW_YEAR = (date(2017, 1, 1) - _EPOCH).days
_CHANGES_FROM = (date(2013, 1, 1) - _EPOCH).days
_CHANGES_UNTIL = (date(2017, 12, 20) - _EPOCH).days


def people(households: pl.DataFrame, draws: Draws, words: Words) -> pl.DataFrame:
    """The people of some households.

    Args:
        households: household, age, marital_status, household_size, household_comp (all but the first may be null).
        draws: where chance comes from.
        words: lists to draw from.

    Returns:
        One row a person, sorted by person: person, household, slot; given, nickname, initial, surname,
        former_surname and renamed_on (null: never), suffix (Jr, Sr or null), birth_date; number, street, kind,
        kind_short, unit, city, region, postcode, the same with `old_` before moved_on (null: never moved);
        email, other_email, family_email (null: none), mobile, other_mobile, landline (null: none).
    """
    members = _members(households, draws)
    named = _with_names(members, draws, words)
    dated = named.with_columns(birth_date=_birth_dates(named, draws))
    housed = _with_addresses(dated, draws, words)
    return _with_contacts(housed, draws, words).drop(
        "couple", "head_age", "marital_status", "household_comp", "female", "rarity", "area_code"
    )


def _members(households: pl.DataFrame, draws: Draws) -> pl.DataFrame:
    number = households["household"]
    band = draws.pick("age band", _AGE_SHARES, number)
    known = pl.col("age").replace_strict(list(_AGE_BANDS), range(len(_AGE_BANDS)), default=None)
    bounds = np.array(list(_AGE_BANDS.values()))
    homes = households.select(
        "household", "marital_status", "household_comp", "household_size", band=pl.coalesce(known, pl.Series(band))
    )
    low, high = bounds[homes["band"].to_numpy()].T
    head_age = low + draws.uniform("head's age", number) * (high - low + 1)
    couple_if_unknown = pl.Series(draws.happens("couple", 0.5, number))
    children = (head_age >= 44) & draws.happens("grown child at home", 0.18, number)
    twins = children & draws.happens("twins", 0.15, number)
    homes = homes.with_columns(
        head_age=pl.Series(head_age),
        couple=pl.when((pl.col("marital_status") == "Married") | pl.col("household_comp").str.starts_with("2 Adults"))
        .then(True)
        .when(pl.col("household_comp").str.starts_with("1 Adult"))
        .then(False)
        .otherwise(couple_if_unknown),
        child=pl.Series(children) & (pl.col("household_size").fill_null("") != "1"),
    ).with_columns(twins=pl.Series(twins) & pl.col("child"))
    present = [pl.lit(value=True), pl.col("couple"), pl.col("child"), pl.col("twins")]
    return (
        pl.concat([homes.filter(p).with_columns(slot=pl.lit(s, pl.Int64)) for s, p in enumerate(present)])
        .with_columns(person=pl.col("household") * SLOTS + pl.col("slot"))
        .select("person", "household", "slot", "couple", "head_age", "marital_status", "household_comp")
        .sort("person")
    )


def _with_names(members: pl.DataFrame, draws: Draws, words: Words) -> pl.DataFrame:
    person, household, slot = (members[c] for c in ("person", "household", "slot"))
    head_female = draws.happens("head is a woman", 0.5, household)
    spouse_female = head_female == draws.happens("same sex couple", 0.03, household)
    child_female = draws.happens("child is a woman", 0.5, household)
    twin_female = child_female == draws.happens("twins of one sex", 0.65, household)
    female = np.choose(slot.to_numpy(), [head_female, spouse_female, child_female, twin_female])

    couple = members["couple"].to_numpy()
    parent = np.where(head_female == child_female, 0, np.where(couple & (spouse_female == child_female), 1, -1))
    inherits = (parent >= 0) & draws.happens("child named after parent", np.where(child_female, 0.08, 0.35), household)
    base = household.to_numpy() * SLOTS
    child_key = np.where(inherits, base + parent, base + 2)
    name_key = np.where(slot == 2, child_key, person.to_numpy())
    given, nickname, given_share = _given(female, name_key, person, draws, words)
    sibling, _, _ = _given(female, child_key, person, draws, words)
    again, again_nickname, _ = _given(female, person.to_numpy() + 1_000_000_007, person, draws, words)
    clash = pl.Series((slot == 3).to_numpy()) & (given == sibling)

    junior = (slot == 2).to_numpy() & inherits & ~female
    has_child = pl.Series(slot == 2).to_frame("c").select(pl.col("c").max().over(household)).to_series()
    senior = (slot.to_numpy() == parent) & inherits & ~female & has_child.to_numpy()
    letters = np.array(list("ABCDEFGHJKLMNPRSTVW"))[draws.below("middle initial", 19, person)]
    return _with_surnames(
        members.with_columns(
            given=pl.select(pl.when(clash).then(again).otherwise(given)).to_series(),
            nickname=pl.select(pl.when(clash).then(again_nickname).otherwise(nickname)).to_series(),
            initial=pl.Series(letters),
            suffix=pl.Series(np.select([junior, senior], ["Jr", "Sr"], "")).replace("", None),
            female=pl.Series(female),
            rarity=pl.Series(given_share),
        ),
        draws,
        words,
    )


def _given(
    female: Flags, key: Ints, person: pl.Series, draws: Draws, words: Words
) -> tuple[pl.Series, pl.Series, Floats]:
    """Given name and nickname (null: none) of each person, and the name's share; people of one key share a name."""
    women, men = weights(words.women), weights(words.men)
    place = np.where(
        female,
        draws.pick("woman's given name", women, key),
        len(women) + draws.pick("man's given name", men, key),
    )
    names = pl.concat([words.women, words.men])[place]
    nicknames = names["nicknames"].str.split("|")
    chosen = draws.below("nickname", np.maximum(nicknames.list.len().fill_null(0).to_numpy(), 1), person)
    share = np.concatenate([shares(words.women), shares(words.men)])[place]
    return names["name"], nicknames.list.get(pl.Series(chosen), null_on_oob=True), share


def _with_surnames(members: pl.DataFrame, draws: Draws, words: Words) -> pl.DataFrame:
    person, household = members["person"], members["household"]
    adult = (members["slot"] < 2).to_numpy()
    couple, female = members["couple"].to_numpy(), members["female"].to_numpy()
    family = draws.pick("family name", weights(words.surnames), household)
    own = draws.pick("own name", weights(words.surnames), person)
    sharing = members["marital_status"].replace_strict(
        {"Married": 0.88, "Unmarried": 0.3}, default=0.72, return_dtype=pl.Float64
    )
    bears_own = (members["slot"] == 1).to_numpy() & ~draws.happens("one surname", sharing.to_numpy(), household)
    married = adult & female & couple & ~bears_own & draws.happens("renamed at marriage", 0.14, person)
    parted = adult & female & ~couple & draws.happens("renamed after divorce", 0.04, person)
    renamed = (married | parted) & (own != family)
    place = np.where(bears_own, own, family)
    names = words.surnames["name"]
    return members.with_columns(
        surname=names[place],
        former_surname=pl.select(pl.when(pl.Series(renamed)).then(names[own])).to_series(),
        renamed_on=_dates(_change_day("renamed on", person, draws), renamed),
        rarity=pl.col("rarity") * pl.Series(shares(words.surnames)[place]),
    )


def _birth_dates(members: pl.DataFrame, draws: Draws) -> pl.Series:
    household, slot = members["household"], members["slot"].to_numpy()
    head = members["head_age"].to_numpy()
    # Bounds are drawn too: a fixed one would give many people the same birthday.
    slack = 3 * draws.uniform("youngest age", household)
    spouse = np.clip(head + 4 * draws.normal("age gap", household), np.maximum(19 + slack, head - 8), 92)
    parent = np.where(members["couple"].to_numpy(), np.minimum(head, spouse), head)
    child = parent - 19 - 14 * draws.uniform("parent's age", household)
    child = np.clip(child, 17 + slack, 36 - slack)
    age = np.choose(slot, [head, spouse, child, child])
    return _dates(np.floor(_NEW_YEAR - 365.25 * age).astype(np.int64), np.ones(len(age), dtype=np.bool_))


def _with_addresses(members: pl.DataFrame, draws: Draws, words: Words) -> pl.DataFrame:
    household = members["household"]
    moved = draws.happens("moved", 0.28, household)
    now = _address("address", household, draws, words)
    before = _address("former address", household, draws, words).drop("area_code")
    return pl.concat([members, now, before.select(pl.all().name.prefix("old_"))], how="horizontal").with_columns(
        moved_on=_dates(_change_day("moved on", household, draws), moved)
    )


def _address(purpose: str, household: pl.Series, draws: Draws, words: Words) -> pl.DataFrame:
    def pick(what: str, among: pl.DataFrame) -> pl.DataFrame:
        return among[draws.pick(f"{purpose}: {what}", weights(among), household)]

    city, kind = pick("city", words.cities), pick("kind", words.street_kinds)
    zips = city["zips"].list.len().to_numpy()
    number = 1 + np.floor(10 ** (1.3 + 2.6 * draws.uniform(f"{purpose}: number", household)))
    flat = draws.happens(f"{purpose}: flat", 0.24, household)
    unit = 1 + draws.below(f"{purpose}: unit", 24, household)
    wing = np.array(["", "", "A", "B", "C"])[draws.below(f"{purpose}: wing", 5, household)]
    return pl.DataFrame(
        {
            "number": pl.Series(number.astype(np.int64)).cast(pl.String),
            "street": pick("street", words.streets)["name"],
            "kind": kind["name"],
            "kind_short": kind["short"],
            "unit": pl.select(
                pl.when(pl.Series(flat)).then(pl.concat_str(pl.Series(unit), pl.Series(wing)))
            ).to_series(),
            "city": city["city"],
            "region": city["state"],
            "postcode": city["zips"].list.get(pl.Series(draws.below(f"{purpose}: zip", zips, household))),
            "area_code": city["area_code"],
        }
    )


def _with_contacts(members: pl.DataFrame, draws: Draws, words: Words) -> pl.DataFrame:
    household, slot, area = members["household"], members["slot"].to_numpy(), members["area_code"]
    base = household.to_numpy() * 8
    other_place = np.where(slot < 2, base + 5 + slot, base + slot)
    landline = _phones(base + 4, area, draws)
    family_head = members.select(pl.col("surname").first().over("household")).to_series()
    plural = pl.Series(draws.happens("family mail: plural", 0.5, household))
    family = pl.DataFrame({"name": ascii_letters(family_head), "plural": plural}).select(
        pl.when("plural").then(pl.format("the{}s", "name")).otherwise(pl.format("{}family", "name"))
        + pl.Series(draws.below("family mail: number", 1000, household)).cast(pl.String)
        + "@"
        + _provider("family mail", household, draws, words)
    )
    with_family = pl.Series(draws.happens("family mail", 0.12, household))
    with_landline = pl.Series(draws.happens("landline", 0.5, household))
    return members.with_columns(
        email=_emails("mail", members, draws, words),
        other_email=_emails("other mail", members, draws, words),
        family_email=pl.select(pl.when(with_family).then(family.to_series())).to_series(),
        mobile=_phones(base + slot, area, draws),
        other_mobile=_phones(other_place, area, draws),
        landline=pl.select(pl.when(with_landline).then(landline)).to_series(),
    )


def _emails(purpose: str, members: pl.DataFrame, draws: Draws, words: Words) -> pl.Series:
    """Addresses as people choose them; a common name needs a longer number to be free."""
    person = members["person"]
    year = members["birth_date"].dt.strftime("%y")
    common = pl.Series(members["rarity"].to_numpy() > 2e-6)
    parts = pl.DataFrame(
        {
            "given": ascii_letters(members["given"]),
            "surname": ascii_letters(members["surname"]),
            "form": draws.pick(f"{purpose}: form", (30, 20, 16, 10, 8, 10), person),
            "bare": draws.happens(f"{purpose}: bare", 0.5, person),
            "yearly": draws.happens(f"{purpose}: year", 0.5, person),
            "year": year,
            "number": draws.below(f"{purpose}: number", 1000, person),
            "long_number": 1000 + draws.below(f"{purpose}: long number", 9000, person),
            "common": common,
        }
    )
    form, given, surname = pl.col("form"), pl.col("given"), pl.col("surname")
    stem = (
        pl.when(form == 0).then(given + "." + surname)
        .when(form == 1).then(given + surname)
        .when(form == 2).then(given.str.head(1) + surname)
        .when(form == 3).then(given + surname.str.head(1))
        .when(form == 4).then(surname + "." + given)
        .otherwise(given + "_" + surname.str.head(3))
    )  # fmt: skip
    short = form.is_in([2, 3, 5])
    digits = (
        pl.when("common").then(pl.col("long_number").cast(pl.String))
        .when(pl.col("bare") & ~short).then(pl.lit(""))
        .when(pl.col("yearly") & ~short).then("year")
        .otherwise(pl.col("number").cast(pl.String))
    )  # fmt: skip
    return parts.select(stem + digits + "@" + _provider(purpose, person, draws, words)).to_series()


def _provider(purpose: str, key: pl.Series, draws: Draws, words: Words) -> pl.Series:
    return words.providers["name"][draws.pick(f"{purpose}: provider", weights(words.providers), key)]


def _phones(place: Ints, area_code: pl.Series, draws: Draws) -> pl.Series:
    """Ten digits of the North American plan; places that differ get numbers that differ."""
    size = len(_EXCHANGES) * 10_000
    start = int(draws.bits("first phone number", np.zeros(1, dtype=np.int64))[0] % np.uint64(size))
    number = (place * 6_180_347 + start) % size
    exchange, line = _EXCHANGES[number // 10_000], number % 10_000
    return (
        pl.DataFrame({"area": area_code, "exchange": exchange, "line": line})
        .select(pl.format("{}{}{}", "area", "exchange", pl.col("line").cast(pl.String).str.zfill(4)))
        .to_series()
    )


def ascii_letters(text: pl.Series) -> pl.Series:
    """Lower case letters a to z of a name, accents lost."""
    return text.str.normalize("NFKD").str.to_lowercase().str.replace_all("[^a-z]", "")


def _change_day(purpose: str, key: pl.Series, draws: Draws) -> Ints:
    return _CHANGES_FROM + draws.below(purpose, _CHANGES_UNTIL - _CHANGES_FROM + 1, key)


def _dates(days: Ints, where: Flags) -> pl.Series:
    days_since = pl.Series(days).cast(pl.Int32).cast(pl.Date)
    return pl.select(pl.when(pl.Series(where)).then(days_since)).to_series()
