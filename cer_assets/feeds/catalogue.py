"""How each source writes its drops: one YAML file per feed, checked against its contract.

What a row must look like lives in `contracts.py`; reading the drops themselves in `read.py`.
"""

from __future__ import annotations

import codecs
import hashlib
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from cer_assets.feeds.contracts import CONTRACTS, contract_columns


class InvalidFeed(ValueError):
    """A feed's YAML file cannot be used; the message names file and field."""


# Finding the names walks the whole time zone database.
_timezones = cache(available_timezones)


def _known_timezone(name: str) -> str:
    if name not in _timezones():
        raise ValueError("expected the name of a time zone, such as Europe/Berlin or UTC")
    return name


def _known_encoding(name: str) -> str:
    try:
        codecs.lookup(name)
    except LookupError:
        raise ValueError("expected an encoding, such as utf-8 or cp1252") from None
    return name


Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
Timezone = Annotated[str, AfterValidator(_known_timezone)]
Encoding = Annotated[str, AfterValidator(_known_encoding)]


class Layout(BaseModel):
    """How one kind of file of a feed is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: str = "*"
    """Pattern of the file names this layout reads (`*`, `?`, `[...]`)."""
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    """Character between two fields of a CSV file."""
    encoding: Encoding = "utf-8"
    """Encoding of a CSV or NDJSON file."""
    timezone: Timezone | None = None
    """Zone of timestamps without an offset; the retailer's own when not given."""
    datetime_format: str | None = None
    """strftime form of timestamps in text; ISO 8601 when not given."""
    date_format: str | None = None
    """strftime form of dates in text; ISO 8601 when not given."""
    decimal: Literal[".", ","] = "."
    """Decimal sign of numbers in text."""
    null_values: tuple[str, ...] = ()
    """Texts that stand for no value; an empty or blank text always does."""
    columns: dict[str, str] = {}
    """Contract column to delivered column; a column not named here keeps its name."""
    constants: dict[str, str] = {}
    """Contract column to the one value that all of its rows have."""

    @field_validator("delimiter")
    @classmethod
    def _not_a_quote(cls, delimiter: str) -> str:
        if delimiter in '"\r\n':
            raise ValueError("expected a character other than a quote or a line end")
        return delimiter

    @model_validator(mode="after")
    def _one_origin_per_column(self) -> Layout:
        if twice := sorted(self.columns.keys() & self.constants.keys()):
            raise ValueError(f"{', '.join(twice)}: expected in columns or in constants, not both")
        return self

    def delivered_name(self, column: str) -> str:
        """The delivered column that holds a contract column."""
        return self.columns.get(column, column)


class Feed(BaseModel):
    """A feed: which contract its rows keep, and how its files are written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    feed: Name
    """Its name: the folder in the landing zone and the table `raw.<feed>`."""
    contract: str = ""
    """Name of the contract; the feed's own name when not given."""
    description: str = Field(min_length=1)
    """One sentence: what a row is and where it comes from."""
    delivers: Literal["full", "changes"]
    """Whether a delivery holds everything (`full`) or only what is new or changed."""
    partitions: Literal["daily"] | None = None
    """`daily` where each delivery is a day of its own; otherwise one table of all deliveries."""
    owners: tuple[str, ...] = Field(min_length=1)
    """Who answers for the feed, as Dagster owners (`team:data` or an e-mail address)."""
    layouts: tuple[Layout, ...] = Field(min_length=1)
    """The first whose `files` pattern matches a file's name reads it."""
    max_reject_share: float = Field(default=0.05, ge=0, le=1)
    """The largest share of a day's rows that may be rejected before everything downstream waits."""
    quiet_seconds: int = Field(default=0, ge=0)
    """How long a file must have stayed as it is before the landing sensor asks for it: one that a person adds to,
    answer by answer, is not loaded at every answer."""

    @model_validator(mode="before")
    @classmethod
    def _contract_of_the_same_name(cls, given: Any) -> Any:
        if isinstance(given, dict) and "contract" not in given and "feed" in given:
            return given | {"contract": given["feed"]}
        return given

    @field_validator("contract")
    @classmethod
    def _known_contract(cls, contract: str) -> str:
        if contract not in CONTRACTS:
            raise ValueError(f"expected one of {', '.join(CONTRACTS)}")
        return contract

    @model_validator(mode="after")
    def _layouts_fit_the_contract(self) -> Feed:
        allowed = contract_columns(CONTRACTS[self.contract])
        for number, layout in enumerate(self.layouts):
            for part, named in (("columns", layout.columns), ("constants", layout.constants)):
                if strange := [column for column in named if column not in allowed]:
                    raise ValueError(
                        f"layouts.{number}.{part}: {', '.join(strange)} is no column of the "
                        f"contract {self.contract}; expected any of {', '.join(allowed)}"
                    )
        return self

    @property
    def version(self) -> str:
        """Changes with whatever of the declaration bears on the rows, so that what was read before is stale."""
        declared = self.model_dump_json(include={"contract", "delivers", "partitions", "layouts"})
        declared += "".join(
            f"{name} {column.dtype}" for name, column in contract_columns(CONTRACTS[self.contract]).items()
        )
        return hashlib.sha256(declared.encode()).hexdigest()[:12]

    def layout_of(self, file: str) -> Layout | None:
        """The layout that reads a file of this name, or None when no pattern matches."""
        return next((x for x in self.layouts if fnmatchcase(file, x.files)), None)


def read_feed(path: Path) -> Feed:
    """Read one feed's `defs.yaml`.

    Args:
        path: The file; its folder has the feed's name, its `attributes` are the feed.

    Returns:
        The feed, checked against its contract.

    Raises:
        InvalidFeed: The file is no YAML, a field is wrong or unknown, or the folder has another
            name than the feed. The message names the file and the field.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InvalidFeed(f"{path}: expected YAML: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("attributes"), dict):
        raise InvalidFeed(f"{path}: attributes: expected a mapping that describes the feed")
    try:
        feed = Feed.model_validate(document["attributes"])
    except ValidationError as error:
        raise InvalidFeed(_faults(path, error)) from error
    if feed.feed != path.parent.name:
        raise InvalidFeed(f"{path}: attributes.feed: expected {path.parent.name}, the name of its folder")
    return feed


def catalogue(folder: Path) -> dict[str, Feed]:
    """Read every `<feed>/defs.yaml` of a folder, sorted by feed.

    Raises:
        InvalidFeed: As `read_feed`.
    """
    feeds = [read_feed(path) for path in sorted(folder.glob("*/defs.yaml"))]
    return {feed.feed: feed for feed in feeds}


def _faults(path: Path, error: ValidationError) -> str:
    faults = [
        ".".join(["attributes", *map(str, fault["loc"])]) + f": {fault['msg']}"
        for fault in error.errors(include_url=False, include_input=False)
    ]
    return "\n".join(f"{path}: {fault}" for fault in faults)
