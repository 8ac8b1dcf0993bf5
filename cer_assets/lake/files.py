"""Files that appear whole or not at all."""

import os
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Put a file in place whole: no reader sees half of it, and a killed writer leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = staged_for(path)
    with staged.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)


def staged_for(path: Path) -> Path:
    """Where this process may write what is to take a file's place; what writers that were killed left there is gone."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    for left in path.parent.glob(f".{path.name}.*.tmp*"):
        writer = left.name.removeprefix(f".{path.name}.").split(".")[0]
        if writer == str(os.getpid()) or not _is_running(writer):
            left.unlink(missing_ok=True)
    return beside


def _is_running(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):
        return True
    return True
