"""Files that appear whole or not at all."""

import os
import socket
import stat
import time
from contextlib import suppress
from pathlib import Path

ABANDONED = 24 * 60 * 60
"""Seconds after which what another host was writing is taken for left: no file takes a day to write."""


def write_atomically(path: Path, data: bytes) -> None:
    """Put a file in place whole: no reader sees half of it, and a killed writer leaves the old one.

    It has the rights of the one whose place it takes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = staged_for(path)
    former = _rights_of(path)
    if former is not None:
        staged.touch(mode=0o600)
    with staged.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if former is not None:
        _give_rights(staged, former)
    staged.replace(path)


def staged_for(path: Path) -> Path:
    """Where this process may write what is to take a file's place; what writers that were killed left there is gone.

    A process is known by its number on its own host alone, and several hosts may share a volume: what another host's
    writer left is told by its age.
    """
    host, own = _host(), str(os.getpid())
    for left in path.parent.glob(f".{path.name}.*.tmp*"):
        writer = left.name.removeprefix(f".{path.name}.").split(".")
        ended = writer[1] == own or not _is_running(writer[1]) if writer[0] == host else _is_old(left)
        if ended:
            left.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.{host}.{own}.tmp")


def _rights_of(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _give_rights(staged: Path, former: os.stat_result) -> None:
    """The mode of a former file, and its group and owner where this process may give it away.

    A file system that knows no such rights is no reason to write nothing.
    """
    for user, group in ((-1, former.st_gid), (former.st_uid, -1)):
        with suppress(OSError):
            os.chown(staged, user, group)
    with suppress(OSError):
        staged.chmod(stat.S_IMODE(former.st_mode))


def _host() -> str:
    """This host's name as a part of a file's name, in which a dot ends it."""
    return socket.gethostname().replace(".", "-").replace("/", "-") or "host"


def _is_old(left: Path) -> bool:
    try:
        return left.stat().st_mtime < time.time() - ABANDONED
    except FileNotFoundError:
        return False


def _is_running(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):
        return True
    return True
