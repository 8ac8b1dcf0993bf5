"""The lists that names, addresses and e-mails are drawn from; drawing from them lives in `people`."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import BytesIO

import numpy as np
import polars as pl

from cer_assets.sample.draws import Floats


@dataclass(frozen=True)
class Words:
    """Weighted lists as frames; each has a column `weight`."""

    women: pl.DataFrame
    """Given names of women: name, weight, nicknames (separated by `|`, null for none)."""
    men: pl.DataFrame
    surnames: pl.DataFrame
    """name, weight."""
    cities: pl.DataFrame
    """city, state, area_code, weight, zips (list)."""
    streets: pl.DataFrame
    street_kinds: pl.DataFrame
    """name, short, weight."""
    providers: pl.DataFrame
    """name, misspelt, weight."""


@cache
def read_words() -> Words:
    """The lists that ship with the package."""
    given = _list("given_names")
    cities = _list("cities").with_columns(pl.col("zips").str.split("|"))
    return Words(
        women=given.filter(pl.col("sex") == "f").drop("sex"),
        men=given.filter(pl.col("sex") == "m").drop("sex"),
        surnames=_list("surnames"),
        cities=cities,
        streets=_list("streets"),
        street_kinds=_list("street_kinds"),
        providers=_list("mail_providers"),
    )


def weights(words: pl.DataFrame) -> Floats:
    """The weights of a list."""
    return words["weight"].cast(pl.Float64).to_numpy()


def shares(words: pl.DataFrame) -> Floats:
    """The weights of a list as parts of one."""
    return weights(words) / np.sum(weights(words))


def _list(name: str) -> pl.DataFrame:
    content = files("cer_assets.sample").joinpath("vocabulary", f"{name}.csv").read_bytes()
    texts = {"area_code": pl.String, "zips": pl.String}
    return pl.read_csv(BytesIO(content), schema_overrides=texts)
