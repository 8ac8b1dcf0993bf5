"""What every benchmark shares: where data lies, seconds and peak memory, and the one JSON object that is printed.

Nothing here knows what is measured, and nothing judges a figure.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import psutil

T = TypeVar("T")

ROOT = Path(__file__).parents[1]
EVERY = 0.02
"""Seconds between two looks at the memory."""


@dataclass(frozen=True)
class Cost:
    """What some work took."""

    seconds: float
    """Wall-clock time."""
    cpu_seconds: float
    """Time that processors worked, ended children included; what else runs on the machine does not add to it."""
    peak_mb: float
    """Most memory resident at one time, in 10^6 bytes: this process, its children, and all they had loaded before."""


def data_file(name: str) -> Path | None:
    """A public benchmark file by its path in the data folder, or None where it is not there."""
    folder = Path(os.environ.get("CER_BENCH_DATA") or ROOT.parent / "shared" / "data")
    path = folder / name
    return path if path.exists() else None


def measured(work: Callable[[], T]) -> tuple[T, Cost]:
    """Do some work once, and say what it took."""
    with _MemoryWatch() as watch:
        start, worked = time.perf_counter(), _cpu_seconds()
        result = work()
        seconds, cpu_seconds = time.perf_counter() - start, _cpu_seconds() - worked
    return result, Cost(round(seconds, 4), round(cpu_seconds, 4), round(watch.peak / 1e6, 1))


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median wall-clock seconds of some work, after one round that does not count."""
    work()
    return round(statistics.median(_seconds(work) for _ in range(repeats)), 6)


def alone(file: str, *arguments: str) -> Any:
    """What a script prints as JSON when it runs in a process of its own, with a fixed hash seed.

    A process of its own starts with nothing loaded, so that the memory of two peers can be compared.

    Raises:
        subprocess.CalledProcessError: the script failed; what it said is on stderr.
    """
    run = subprocess.run(
        [sys.executable, file, *arguments],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    return json.loads(run.stdout)


def ratio(ours: float, theirs: float) -> float | None:
    """Ours over theirs; None where theirs is zero."""
    return round(ours / theirs, 3) if theirs else None


def cost_ratios(ours: Cost, theirs: Cost) -> dict[str, float | None]:
    """Ours over theirs, in time and memory: below 1 ours takes less."""
    return {name: ratio(getattr(ours, name), getattr(theirs, name)) for name in asdict(ours)}


def report(benchmark: str, packages: Sequence[str], figures: dict[str, Any]) -> None:
    """Print the benchmark's one JSON object: its name, what it ran on, its figures."""
    ran_on = {
        "python": sys.version.split()[0],
        "cores": os.cpu_count(),
        "packages": {name: version(name) for name in packages},
    }
    print_json({"benchmark": benchmark, "ran_on": ran_on, **figures})


def report_skipped(benchmark: str, reason: str) -> None:
    """Print that a benchmark did not run, and why."""
    print_json({"benchmark": benchmark, "skipped": reason})


def print_json(figures: dict[str, Any]) -> None:
    """Print figures as they are: for a script whose output `alone` reads."""
    print(json.dumps(figures, indent=2))


def _cpu_seconds() -> float:
    return sum(sum(resource.getrusage(whose)[:2]) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class _MemoryWatch:
    """Looks at the resident memory of this process and its children until the block ends."""

    def __init__(self) -> None:
        self.peak = 0
        self._process = psutil.Process()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "_MemoryWatch":
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._done.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._done.wait(EVERY):
            self._look()

    def _look(self) -> None:
        family = [self._process, *self._process.children(recursive=True)]
        self.peak = max(self.peak, sum(_resident(process) for process in family))


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:  # a child that ended since it was listed
        return 0
