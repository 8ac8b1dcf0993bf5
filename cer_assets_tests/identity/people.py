"""Small populations for the tests: people with several records each, and what goes wrong when they are written down."""

from datetime import date, timedelta

import numpy as np
import polars as pl

GIVEN = ["anna", "boris", "clara", "david", "elena", "frank", "greta", "henry", "irene", "jacob", "karen", "louis"]
SURNAMES = ["abbott", "bennett", "castillo", "dawson", "ellis", "fischer", "grant", "hoffman", "jensen", "keller"]
STREETS = ["oak", "elm", "maple", "cedar", "birch", "walnut", "chestnut", "spruce"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def population(people: int, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Standardised records (one to three a person, a few typos and gaps) and their truth: record_id, person_id."""
    rng = np.random.default_rng(seed)
    rows = [row for person in range(people) for row in _records_of(person, rng)]
    frame = pl.DataFrame(rows, schema_overrides={"birth_date": pl.Date, "email": pl.String, "phone": pl.String})
    records = frame.drop("person_id").sample(fraction=1, shuffle=True, seed=seed)
    return records, frame.select("record_id", "person_id")


def _records_of(person: int, rng: np.random.Generator) -> list[dict[str, object]]:
    given, surname = str(rng.choice(GIVEN)), str(rng.choice(SURNAMES))
    true = {
        "given_name": given,
        "surname": surname,
        "birth_date": date(1940, 1, 1) + timedelta(days=int(rng.integers(0, 24_000))),
        "email": f"{given}.{surname}{rng.integers(10, 999)}@mail.com",
        "phone": f"+1614{rng.integers(2_000_000, 9_999_999)}",
        "street": f"{rng.integers(1, 400)} {rng.choice(STREETS)} st",
        "city": str(rng.choice(["columbus", "dayton", "toledo"])),
        "postcode": f"43{rng.integers(100, 140)}",
    }
    rows: list[dict[str, object]] = []
    for nth in range(int(rng.integers(1, 4))):
        row: dict[str, object] = dict(true)
        for column in ("given_name", "surname"):
            if rng.random() < 0.12:
                row[column] = _typo(str(row[column]), rng)
        for column in ("birth_date", "email", "phone"):
            if rng.random() < 0.25:
                row[column] = None
        rows.append({"record_id": f"s{nth}:{person:04d}", "person_id": f"p{person}", **row})
    return rows


def _typo(text: str, rng: np.random.Generator) -> str:
    at = int(rng.integers(1, len(text)))
    return text[:at] + LETTERS[int(rng.integers(26))] + text[at + 1 :]
