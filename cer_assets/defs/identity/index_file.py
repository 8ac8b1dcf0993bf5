"""The index of records as a file of the home: what spares a run from reading again what it read before."""

import logging
import os
from pathlib import Path

import polars as pl

from cer_assets.identity import Index

logger = logging.getLogger(__name__)

PREFIX = "identity-index-"


def former_index(folder: Path) -> Index | None:
    """The index that the last run kept; none before the first, or where it cannot be read."""
    for path in sorted(folder.glob(f"{PREFIX}*.arrow")):
        try:
            return Index.from_frame(path.stem.removeprefix(PREFIX), pl.read_ipc(path))
        except (OSError, pl.exceptions.PolarsError) as error:
            logger.warning("%s cannot be read (%s): all records are read again", path.name, type(error).__name__)
    return None


def keep_index(folder: Path, index: Index) -> None:
    """Put the index in the former one's place: a run that is killed meanwhile leaves the former one, or none."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{PREFIX}{index.basis}.arrow"
    beside = path.with_suffix(f".{os.getpid()}")
    index.frame().write_ipc(beside)
    for former in folder.glob(f"{PREFIX}*"):
        if former != beside and former != path:
            former.unlink()
    beside.replace(path)
