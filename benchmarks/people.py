"""Generated people with truth: persons drawn from the febrl originals' columns, and copies of them with errors.

Nothing here is linked. As a script it writes a file, so that whoever measures holds none of the generator's memory.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

FIELDS = (
    "given_name",
    "surname",
    "date_of_birth",
    "street_number",
    "address_1",
    "suburb",
    "postcode",
    "email",
    "phone",
)
SEED = 7

RECORDS_A_PERSON = (0.55, 0.25, 0.12, 0.05, 0.03)
"""Chance of one, two, ... five records."""
HOME = ("street_number", "address_1", "suburb", "postcode")
SHARE_OF_TWINS = 0.02
"""Persons beside whom another person has the same surname, home and phone."""

EDITS = (0, 1, 1, 2, 2, 3, 4)
"""Fields of a copy with a typing error, one of these as likely as another."""
EMPTIED = {
    "given_name": 0.03,
    "date_of_birth": 0.15,
    "street_number": 0.05,
    "address_1": 0.05,
    "suburb": 0.05,
    "postcode": 0.05,
    "email": 0.30,
    "phone": 0.35,
}
"""Chance that a copy has no value."""
UNTOUCHED = 0.5
"""Chance that a person's first record is as it should be; every other one is a copy."""
DOMAINS = ("gmail.com", "yahoo.com", "hotmail.com", "bigpond.com", "outlook.com")

Generator = np.random.Generator
Mask = npt.NDArray[np.bool_]


def people(
    size: int, originals: pl.DataFrame, seed: int = SEED, records_a_person: Sequence[float] = RECORDS_A_PERSON
) -> pl.DataFrame:
    """Records of generated persons, in random order.

    Each column is drawn by itself, but suburb and postcode together; a third of the names are two names blended, so
    that a million persons do not share a thousand names.

    Args:
        size: number of records.
        originals: the columns given_name, surname, address_1, suburb and postcode of records without errors.
        seed: the same seed and originals give the same records.
        records_a_person: chance that a person has one, two, ... records.

    Returns:
        record_id, `FIELDS` (text, null where empty), person_id.
    """
    rng = np.random.default_rng(seed)
    mean = sum(count * chance for count, chance in enumerate(records_a_person, 1))
    # More persons than there are records for: how many the draws below come to is not known before.
    count = round((0.65 if records_a_person is RECORDS_A_PERSON else 1.1 / mean) * size) + 200
    persons = _with_twins(_persons(count, originals, rng), originals, rng)
    copies = rng.choice(np.arange(1, 1 + len(records_a_person)), size=len(persons), p=records_a_person)
    copies[persons["twin"].to_numpy()] = 1
    person = np.repeat(np.arange(len(persons)), copies)[:size]
    first = np.concatenate([[True], person[1:] != person[:-1]])
    clean = persons.drop("twin")[person]
    spoilt = _spoilt(clean, originals, rng)
    kept = pl.Series(first & (rng.random(size) < UNTOUCHED))
    records = pl.DataFrame({name: clean[name].zip_with(kept, spoilt[name]) for name in FIELDS})
    order = rng.permutation(size)
    return records.with_columns(person_id=pl.Series(person).cast(pl.String))[order].select(
        pl.int_range(size).cast(pl.String).alias("record_id"), *FIELDS, "person_id"
    )


def _persons(count: int, originals: pl.DataFrame, rng: Generator) -> pl.DataFrame:
    """Persons as they are, one a row."""
    place = originals[rng.integers(len(originals), size=count)]
    year = rng.integers(1930, 2006, size=count)
    frame = pl.DataFrame(
        {
            "given_name": _names(originals["given_name"], count, rng),
            "surname": _names(originals["surname"], count, rng),
            "date_of_birth": _text(
                year * 10_000 + rng.integers(1, 13, size=count) * 100 + rng.integers(1, 29, size=count)
            ),
            "street_number": _text(rng.integers(1, 301, size=count)),
            "address_1": _drawn(originals["address_1"], count, rng),
            "suburb": place["suburb"],
            "postcode": place["postcode"],
            "initial": rng.random(count) < 0.5,
            "between": _drawn(pl.Series([".", "", "_"]), count, rng),
            "suffix": rng.integers(3, size=count),
            "number": _text(rng.integers(1, 1000, size=count)),
            "domain": _drawn(pl.Series(DOMAINS), count, rng),
            "digits": _text(rng.integers(10**8, size=count)),
        }
    )
    given = pl.when("initial").then(pl.col("given_name").str.head(1)).otherwise(pl.col("given_name").str.head(9))
    year_of_birth = pl.col("date_of_birth").str.slice(2, 2)
    suffix = (
        pl.when(pl.col("suffix") == 0).then(pl.lit("")).when(pl.col("suffix") == 1).then(year_of_birth)
    ).otherwise("number")
    user = pl.concat_str(given, "between", "surname", suffix).str.replace_all(" ", "")
    return frame.with_columns(
        email=pl.concat_str(user, pl.lit("@"), "domain"),
        phone=pl.concat_str(pl.lit("04"), pl.col("digits").str.zfill(8)),
    ).select(FIELDS)


def _with_twins(persons: pl.DataFrame, originals: pl.DataFrame, rng: Generator) -> pl.DataFrame:
    """Behind some persons another one of the same surname, home and phone; column `twin` says which."""
    beside = np.flatnonzero(rng.random(len(persons)) < SHARE_OF_TWINS)
    shared = persons[beside].select("surname", *HOME, "phone")
    twins = _persons(len(beside), originals, rng).with_columns(shared)
    return (
        pl.concat(
            [
                persons.with_columns(twin=pl.lit(value=False), place=pl.int_range(len(persons))),
                twins.with_columns(twin=pl.lit(value=True), place=pl.Series(beside)),
            ]
        )
        .sort("place", "twin")
        .drop("place")
    )


def _spoilt(clean: pl.DataFrame, originals: pl.DataFrame, rng: Generator) -> pl.DataFrame:
    """Each record with errors: typing, names swapped or cut to an initial, a new home, surname or e-mail, gaps."""
    size = len(clean)

    def some(share: float) -> Mask:
        return rng.random(size) < share

    edits = rng.choice(EDITS, size=size)
    rank = rng.random((size, len(FIELDS))).argsort(axis=1).argsort(axis=1)
    columns = {name: _mistyped(clean[name], rank[:, i] < edits, rng) for i, name in enumerate(FIELDS)}
    other = _persons(size, originals, rng)
    swapped = some(0.05)
    given, surname = columns["given_name"], columns["surname"]
    columns["given_name"] = _replaced(given, swapped, surname)
    columns["surname"] = _replaced(surname, swapped, given)
    columns["given_name"] = _replaced(columns["given_name"], some(0.08), columns["given_name"].str.head(1))
    moved = some(0.12)
    for name in HOME:
        columns[name] = _replaced(columns[name], moved, other[name])
    columns["surname"] = _replaced(columns["surname"], some(0.05), other["surname"])
    columns["email"] = _replaced(columns["email"], some(0.15), other["email"])
    nothing = pl.Series([None], dtype=pl.String).new_from_index(0, size)
    for name, share in EMPTIED.items():
        columns[name] = _replaced(columns[name], some(share), nothing)
    return pl.DataFrame(columns)


def _mistyped(values: pl.Series, where: Mask, rng: Generator) -> pl.Series:
    """One character put in, left out, changed, or swapped with the next, in the values that are chosen."""
    size = len(values)
    letters = pl.Series(list("abcdefghijklmnopqrstuvwxyz"))
    frame = pl.DataFrame(
        {
            "value": values,
            "where": where,
            "at": (rng.random(size) * values.str.len_chars().fill_null(0).to_numpy()).astype(np.int64),
            "error": rng.random(size),
            "letter": _drawn(letters, size, rng),
            "digit": _text(rng.integers(10, size=size)),
        }
    )
    value, at, error = pl.col("value"), pl.col("at"), pl.col("error")
    here, following = value.str.slice(at, 1), value.str.slice(at + 1, 1)
    typed = pl.when(here.str.contains(r"\d")).then("digit").otherwise("letter")
    before, behind = value.str.slice(0, at), value.str.slice(at + 1)
    wrong = (
        pl.when(error < 0.25)
        .then(pl.concat_str(before, typed, here, behind))
        .when((error < 0.5) & (value.str.len_chars() > 1))
        .then(pl.concat_str(before, behind))
        .when((error >= 0.5) & (error < 0.8))
        .then(pl.concat_str(before, typed, behind))
        .when(error >= 0.8)
        .then(pl.concat_str(before, following, here, value.str.slice(at + 2)))
        .otherwise(value)
    )
    return frame.select(pl.when("where").then(wrong).otherwise(value).alias("value"))["value"]


def _names(column: pl.Series, count: int, rng: Generator) -> pl.Series:
    """Names as they occur; in a third the first half of one and the second half of another."""
    frame = pl.DataFrame({"one": _drawn(column, count, rng), "other": _drawn(column, count, rng)})
    one, other = pl.col("one"), pl.col("other")
    blend = pl.concat_str(
        one.str.head(pl.max_horizontal(one.str.len_chars() // 2, 2)), other.str.slice(other.str.len_chars() // 2)
    )
    return frame.select(pl.when(pl.Series(rng.random(count) < 0.35)).then(blend).otherwise(one).alias("name"))["name"]


def _drawn(column: pl.Series, count: int, rng: Generator) -> pl.Series:
    """Values of a column, each as likely as it is often there."""
    values = column.drop_nulls()
    return values.gather(rng.integers(len(values), size=count))


def _replaced(values: pl.Series, where: Mask, others: pl.Series) -> pl.Series:
    return others.zip_with(pl.Series(where), values)


def _text(numbers: npt.NDArray[np.int64]) -> pl.Series:
    return pl.Series(numbers).cast(pl.String)


if __name__ == "__main__":
    from identity_sets import febrl_originals

    people(int(sys.argv[1]), febrl_originals()).write_parquet(Path(sys.argv[2]))
