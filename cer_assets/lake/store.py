"""The files under a lake's root, by one set of verbs whether that is a folder or an `s3://` address.

Credentials and endpoint of `s3://` come from the environment alone (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
`AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP`): delta-rs and fsspec both read them there.
"""

import datetime as dt
import errno
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast

from upath import UPath

_CANNOT_WAIT = (errno.EINVAL, errno.ENOTSUP)
"""Said by file systems that know no waiting for a folder, as some of networks do not."""


@dataclass(frozen=True)
class Found:
    """A file: its size in bytes, and when it was written."""

    bytes: int
    written: dt.datetime


@dataclass(frozen=True)
class Store:
    """The files under a root; paths are relative to it."""

    root: str

    @cached_property
    def remote(self) -> bool:
        """Whether the root is no folder of this machine."""
        return "://" in self.root and not self.root.startswith("file://")

    def write(self, path: str) -> IO[bytes]:
        """A file to be written; on `s3://` it appears when it is closed, in a folder as it grows."""
        if not self.remote:
            self._path(path).parent.mkdir(parents=True, exist_ok=True)
        return cast("IO[bytes]", self._fs.open(self._key(path), "wb"))

    def settle(self, paths: Iterable[str]) -> None:
        """Wait until files, and their names in all folders up to the root, would outlast a power cut.

        On `s3://` they did once they were closed. A file that another took away meanwhile is none.
        """
        if self.remote:
            return
        root, folders = Path(self._key("")), set[Path]()
        for path in paths:
            file = Path(self._key(path))
            _sync(file)
            folders.update(folder for folder in file.parents if folder.is_relative_to(root))
        for folder in sorted(folders, reverse=True):
            _sync(folder)

    def read(self, path: str) -> bytes:
        """A file's bytes.

        Raises:
            FileNotFoundError: there is none.
        """
        return cast("bytes", self._fs.cat_file(self._key(path)))

    def folders(self, path: str = "") -> list[str]:
        """The names of the folders directly under a path; none where the path is not there."""
        try:
            found = cast("list[dict[str, Any]]", self._fs.ls(self._key(path), detail=True, refresh=True))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(str(one["name"]).rstrip("/").rpartition("/")[2] for one in found if one["type"] == "directory")

    def files(self, path: str) -> Mapping[str, Found]:
        """Every file under a path, however deep, by its path relative to that."""
        key = self._key(path)
        found = cast("dict[str, dict[str, Any]]", self._fs.find(key, detail=True, refresh=True))
        prefix = key.strip("/") + "/"
        return {name.strip("/").removeprefix(prefix): _found(one) for name, one in found.items()}

    def remove(self, paths: Iterable[str]) -> int:
        """Delete files; one that is gone already is no fault. How many there were to delete."""
        keys = [self._key(path) for path in paths]
        if self.remote:
            if keys:
                self._fs.rm(keys)
            return len(keys)
        for key in keys:
            UPath(key).unlink(missing_ok=True)
        return len(keys)

    @cached_property
    def _fs(self) -> Any:
        """Without a memory of listings: other processes write too."""
        return UPath(self.root, use_listings_cache=False).fs if self.remote else UPath(self.root).fs

    def _path(self, path: str) -> UPath:
        return UPath(self._key(path))

    def _key(self, path: str) -> str:
        root = self.root.removeprefix("file://").rstrip("/")
        root = root.partition("://")[2] if self.remote else root
        return f"{root}/{path}".rstrip("/")


def _sync(path: Path) -> None:
    try:
        held = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(held)
    except OSError as error:
        if error.errno not in _CANNOT_WAIT:
            raise
    finally:
        os.close(held)


def _found(one: Mapping[str, Any]) -> Found:
    """Both kinds of store say it under a name of their own."""
    written = one.get("LastModified", one.get("mtime"))
    if not isinstance(written, dt.datetime):
        written = dt.datetime.fromtimestamp(float(written or 0), dt.UTC)
    return Found(int(one["size"]), written.astimezone(dt.UTC))
