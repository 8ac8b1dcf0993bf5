"""A landing zone to drop files into, and the project's own feeds."""

import gzip
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import cer_assets
from cer_assets.feeds import CONTRACTS, Delivery, Feed, catalogue, list_drops, read_drops

ZONE = "America/New_York"

Content = str | bytes | pl.DataFrame
Read = Callable[..., Delivery]


def declare(feed: str, *, layout: Mapping[str, Any] | None = None, **attributes: Any) -> Feed:
    """A feed of its own contract whose files are written plainly, unless told otherwise."""
    given: dict[str, Any] = {
        "feed": feed,
        "contract": feed if feed in CONTRACTS else "customer_record",
        "description": "Made for a test.",
        "delivers": "changes",
        "owners": ["team:data"],
        "layouts": [layout or {}],
    }
    return Feed.model_validate(given | attributes)


def write(path: Path, content: Content) -> None:
    """Write a drop; a frame becomes Parquet, a text is compressed where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, pl.DataFrame):
        buffer = io.BytesIO()
        content.write_parquet(buffer)
        content = buffer.getvalue()
    if isinstance(content, str):
        content = content.encode()
        content = gzip.compress(content) if path.name.endswith(".gz") else content
    path.write_bytes(content)


@pytest.fixture(scope="session")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """Drop files, given as name to content, into a new landing zone and read them."""

    def read_files(feed: Feed, files: Mapping[str, Content], timezone: str = ZONE) -> Delivery:
        landing = tmp_path_factory.mktemp("landing")
        for name, content in files.items():
            write(landing / feed.feed / name, content)
        return read_drops(feed, list_drops(landing, feed.feed), timezone)

    return read_files


@pytest.fixture(scope="session")
def feeds() -> dict[str, Feed]:
    """The feeds that the project declares."""
    return catalogue(Path(cer_assets.__file__).parent / "defs" / "raw")
