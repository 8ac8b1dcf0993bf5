"""What lies beside the lake: model versions, caches, the sample's truth, and what killed processes left behind."""

import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from cer_assets.erasure.suppression import RECORD, Suppression
from cer_assets.lake.files import write_atomically
from cer_assets.lake.models import POINTER

LINKING = "identity_model"
"""The one model that is not trained anew: it holds how much agreement of fields says, in general, and no value; without
it there would be no links to go on from. It learns anew with the next answers about pairs."""


def stored_versions(models: Path) -> pl.DataFrame:
    """How many versions of each model are stored: `name`, `rows`."""
    found = [(folder.name, len(_versions(folder))) for folder in sorted(models.glob("*")) if folder.is_dir()]
    return pl.DataFrame(found, schema={"name": pl.String, "rows": pl.Int64}, orient="row")


def unlearn(models: Path) -> None:
    """Take every champion's pointer away but that of `LINKING`: whoever would have kept a model trains it anew."""
    for pointer in sorted(models.glob(f"*/{POINTER}")):
        if pointer.parent.name != LINKING:
            pointer.unlink()


def forget_versions(models: Path) -> None:
    """Remove every stored version that is neither a champion nor part of one."""
    folders = [folder for folder in sorted(models.glob("*")) if folder.is_dir()]
    champions = {f.name: (f / POINTER).read_text().strip() for f in folders if (f / POINTER).exists()}
    parts = {text for name, version in champions.items() for text in _texts_in(models / name / version)}
    for folder in folders:
        for version in _versions(folder):
            if version.name != champions.get(folder.name) and version.name not in parts:
                shutil.rmtree(version)


def clear(folder: Path) -> None:
    """Remove whatever lies in a folder, which may be made anew at any time."""
    for path in sorted(folder.glob("*")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def forget_truth(truth: Path, suppression: Suppression) -> None:
    """Take the records out of the sample's truth."""
    if not truth.exists():
        return
    known = pl.read_parquet(truth)
    kept = known.filter(suppression.requests(RECORD, known["record_id"]).is_null())
    if kept.height < known.height:
        buffer = io.BytesIO()
        kept.write_parquet(buffer)
        write_atomically(truth, buffer.getvalue())


def leftovers(*folders: Path) -> list[Path]:
    """Half-written files of processes that were killed, in some folders that nobody else writes into."""
    return sorted(path for folder in folders for path in folder.rglob(".*.tmp") if path.is_file())


def _versions(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _texts_in(version: Path) -> set[str]:
    """Every text in the JSON files of a version: the names of the versions that it is made with are among them."""
    found: set[str] = set()
    for path in sorted(version.glob("*.json")):
        _gather(json.loads(path.read_text()), found)
    return found


def _gather(value: object, found: set[str]) -> None:
    if isinstance(value, str):
        found.add(value)
    elif isinstance(value, Mapping):
        for each in value.values():
            _gather(each, found)
    elif isinstance(value, list):
        for each in value:
            _gather(each, found)
