"""What an error may say where it is kept: in the event log, in ticks, on stderr.

A library quotes the value it fell over (`could not convert string 'Ada Lovelace' to DATE`). Here its words give way to
its class, the line of ours that called it, and what to do about it where that can be told. What this package says in a
`raise` of its own is left as it is: a message of ours names no value.

`CER_ERRORS=whole` lets every word through, for a home that holds nobody's data.
"""

import dis
import os
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import dagster as dg
from dagster._utils import error as dagster_error

from cer_assets.defs.resources import Home

PACKAGE = Path(__file__).parents[1]
_OURS = ("builtins", "cer_assets", "dagster")
_BOUNDARY = "redact_user_stacktrace_if_enabled"
"""What Dagster passes every call of ours through: a step's function, its inputs and outputs, checks, sensors."""

_NO_ROOM, _NO_WRITING = "is full: make room there", "cannot be written by user {user}: make it writable"
_SIGNS = {
    _NO_ROOM: ("no space left", "disk is full", "os error 28", "quota exceeded", "os error 122"),
    _NO_WRITING: (
        "read-only",
        "readonly",
        "os error 30",
        "permission denied",
        "os error 13",
        "unable to open database",
    ),
    "holds a file that grew larger than it may: see `ulimit -f` of user {user}": ("file too large", "os error 27"),
    "cannot be read or written: see whether the disk is full, read-only or broken": ("disk i/o error", "os error 5"),
}
"""What is wrong with a folder, and the words by which systems and libraries tell it."""
_ELSEWHERE = {
    "There was not enough memory.": ("out of memory", "could not allocate", "memoryerror"),
    "Too many files are open: see `ulimit -n`.": ("too many open files", "os error 24"),
    "A server did not answer: see whether it is up.": ("connection refused", "timed out", "dns error"),
}
"""What else an error of the machine may be, and its words."""
_LITTLE = 2**20
"""Bytes: a disk with less room than that is full."""


class Withheld(Exception):
    """An error of a library, without its words."""


@contextmanager
def discreet() -> Generator[None]:
    """Let out errors of libraries without their words."""
    try:
        yield
    except Exception as error:
        safe = told(error)
        if safe is error:
            raise
        raise safe from safe.__cause__


def told(error: BaseException) -> BaseException:
    """The error as it may be kept, and in the same way what it came from."""
    if os.environ.get("CER_ERRORS") == "whole":
        return error
    return _told(error, {})


def hint(error: BaseException) -> str:
    """What is to be done about an error of the machine; nothing for any other."""
    said = " ".join(_words(error)).lower()
    for wrong, signs in _SIGNS.items():
        if any(sign in said for sign in signs):
            found = _wrong_with_folders() or [f"{' or '.join(_folders())} {wrong}"]
            return f"{'; '.join(found).format(user=os.geteuid())}, and start again. What was there before is intact."
    return next((advice for advice, signs in _ELSEWHERE.items() if any(sign in said for sign in signs)), "")


def _folders() -> list[str]:
    """Where a run writes."""
    home = Home.of_environment()
    elsewhere = [place for place in (home.landing_at, home.lake_at) if place and "://" not in place]
    return [home.root, *_disks_under(home.root), *elsewhere, tempfile.gettempdir()]


def _disks_under(folder: str) -> list[str]:
    """The folders in it that lie on disks of their own: mounted there, or linked to."""
    with suppress(OSError):
        disk = Path(folder).stat().st_dev
        return sorted(str(one) for one in Path(folder).iterdir() if one.is_dir() and one.stat().st_dev != disk)
    return []


def _wrong_with_folders() -> list[str]:
    """What can be seen to be wrong with them; a file that did not fit may be gone by now."""
    found: list[str] = []
    for place in filter(os.path.isdir, _folders()):
        disk = os.statvfs(place)
        if disk.f_flag & os.ST_RDONLY or not os.access(place, os.W_OK):
            found.append(f"{place} {_NO_WRITING}")
        elif disk.f_bavail * disk.f_frsize < _LITTLE:
            found.append(f"{place} {_NO_ROOM}")
    return found


def install() -> None:
    """Have Dagster pass what the code of this process raises through `told`, before anything of it is kept.

    Raises:
        RuntimeError: this version of Dagster keeps errors in a way that is not known here.
    """
    usual = getattr(dagster_error, _BOUNDARY, None)
    if usual is None:
        raise RuntimeError(f"Dagster {dg.__version__} has no {_BOUNDARY}: see how it keeps errors of user code")
    if getattr(usual, "discreet", False):
        return

    @contextmanager
    def boundary() -> Generator[None]:
        with cast("Callable[[], Any]", usual)(), discreet():
            yield

    boundary.discreet = True  # pyright: ignore[reportFunctionMemberAccess]  # a mark, so that it happens once
    setattr(dagster_error, _BOUNDARY, boundary)


def _told(error: BaseException, seen: dict[int, BaseException]) -> BaseException:
    if id(error) in seen:
        return seen[id(error)]
    speaks = _is_framework(error) or _is_ours(error)
    kept = error if speaks else Withheld(_in_our_words(error)).with_traceback(error.__traceback__)
    seen[id(error)] = seen[id(kept)] = kept
    kept.__dict__.pop("__notes__", None)
    cause, context, hidden = error.__cause__, error.__context__, error.__suppress_context__
    kept.__cause__ = None if cause is None else _told(cause, seen)
    kept.__context__ = None if context is None or hidden else _told(context, seen)
    kept.__suppress_context__ = hidden
    if isinstance(kept, dg.DagsterError) and isinstance(origin := getattr(kept, "user_exception", None), Exception):
        # The framework hands on what it wraps.
        safe = _told(origin, seen)
        kept.user_exception = safe  # pyright: ignore[reportAttributeAccessIssue]
        kept.original_exc_info = (type(safe), safe, safe.__traceback__)  # pyright: ignore[reportAttributeAccessIssue]
    return kept


def _is_framework(error: BaseException) -> bool:
    return isinstance(error, dg.DagsterError | dg.RetryRequested | Withheld) or not isinstance(error, Exception)


def _is_ours(error: BaseException) -> bool:
    """Whether a `raise` or an `assert` of this package said it, and not something that it called."""
    if type(error).__module__.split(".")[0] not in _OURS:
        return False
    last = _innermost(error.__traceback__)
    if last is None or not _is_here(last):
        return False
    return dis.opname[last.tb_frame.f_code.co_code[last.tb_lasti]] == "RAISE_VARARGS"


def _in_our_words(error: BaseException) -> str:
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    said = [" ".join(filter(None, (kind, _place(error.__traceback__)))) + "."]
    if isinstance(error, OSError) and error.errno is not None:
        # The system's own: a number, what the number means, and the file that it was about.
        said.append(": ".join(map(str, filter(None, (os.strerror(error.errno), error.filename)))) + ".")
    said.append(hint(error))
    if not any(said[1:]):
        said.append("What it said is left out, for it may quote what a record holds.")
    return " ".join(filter(None, said))


def _place(traceback: TracebackType | None) -> str:
    """The innermost line of this package that the error came through."""
    ours: TracebackType | None = None
    while traceback is not None:
        ours = traceback if _is_here(traceback) else ours
        traceback = traceback.tb_next
    if ours is None:
        return ""
    code = ours.tb_frame.f_code
    return f"at {Path(code.co_filename).relative_to(PACKAGE.parent)}, line {ours.tb_lineno}, in {code.co_name}"


def _is_here(traceback: TracebackType) -> bool:
    return Path(traceback.tb_frame.f_code.co_filename).is_relative_to(PACKAGE)


def _innermost(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback


def _words(error: BaseException | None) -> Iterator[str]:
    """What an error and those it came from say; only ever looked through for signs."""
    while error is not None:
        yield f"{type(error).__name__} {error}"
        error = error.__cause__ or error.__context__
