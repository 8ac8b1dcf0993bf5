"""Model files: a folder per content hash, a card beside the files, and a pointer that names the champion."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cer_assets.lake.files import write_atomically

CARD, POINTER = "card.json", "champion"


@dataclass(frozen=True)
class ModelStore:
    """Models under one folder: `<name>/<content hash>/` holds the files, `<name>/champion` the hash in use.

    Files are stored and handed back as bytes: what they mean is their model's business, and nothing here unpickles.
    """

    root: Path

    def save(self, name: str, files: Mapping[str, bytes], card: Mapping[str, Any]) -> str:
        """Store a model and return its content hash; the same files always land in the same place."""
        version = _hash(files)
        folder = self.root / name / version
        for file, data in sorted(files.items()):
            write_atomically(folder / file, data)
        text = json.dumps({**card, "files": sorted(files)}, indent=2, sort_keys=True, default=str)
        write_atomically(folder / CARD, text.encode())
        return version

    def promote(self, name: str, version: str) -> None:
        """Make a stored version the champion; a rollback is a promotion of a former one.

        Raises:
            LookupError: the version was never stored.
        """
        if not (self.root / name / version / CARD).exists():
            raise LookupError(f"model {name} has no version {version} under {self.root}")
        write_atomically(self.root / name / POINTER, version.encode())

    def champion(self, name: str) -> str | None:
        """The version in use, or None before the first promotion."""
        pointer = self.root / name / POINTER
        return pointer.read_text().strip() if pointer.exists() else None

    def load(self, name: str, version: str | None = None) -> dict[str, bytes]:
        """The files of a version (default: the champion), without the card.

        Raises:
            LookupError: no such version, no champion, or the files are not those that were stored.
        """
        version = version or self.champion(name)
        if version is None:
            raise LookupError(f"model {name} has no champion yet: materialize the asset that trains it")
        folder = self.root / name / version
        names = self.card(name, version)["files"]
        files = {file: (folder / file).read_bytes() for file in names}
        if _hash(files) != version:
            raise LookupError(f"model {name} {version}: the files in {folder} were changed since")
        return files

    def card(self, name: str, version: str | None = None) -> dict[str, Any]:
        """The card of a version (default: the champion).

        Raises:
            LookupError: no such version, or no champion.
        """
        version = version or self.champion(name)
        path = self.root / name / str(version) / CARD
        if not path.exists():
            raise LookupError(f"model {name} has no version {version} under {self.root}")
        return json.loads(path.read_text())


def _hash(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(name.encode() + b"\0" + hashlib.sha256(data).digest())
    return digest.hexdigest()[:16]
