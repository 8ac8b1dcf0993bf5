"""Whatever becomes of a drop on its way, it is accepted, rejected row by row, or refused; and it has its bounds."""

import json
import subprocess
import sys
from typing import Any

import pytest

from .bombs import BOMBS
from .mutants import ENDINGS, feeds

_MEGABYTES = 16
"""What a bomb may unpack to here; the bound grows with it."""
_TIMES, _BESIDES = 18, 60
"""Reading takes at most so many times what a file may hold, and so many megabytes besides."""
_UNBOUNDED = ("gzip of zeros", "gzip of rows", "a long text meant often", "one page", "rows upon rows")
_OF_MUTANTS = 500
"""Megabytes that small files may take, one after the other, with what allocators keep; two hundred are usual."""
REFUSED = (*_UNBOUNDED, "gzip of line ends", "texts built upon each other")


def _told_by(module: str, *arguments: str, given: bytes | None = None) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", f"cer_assets_tests.feeds.{module}", *arguments],
        input=given,
        capture_output=True,
        check=True,
    )
    return json.loads(done.stdout)


def _no_law_is_broken(seed: int, count: int) -> None:
    told = _told_by("mutants", "--seed", str(seed), "--count", str(count))
    assert told["faults"] == []
    assert min(told["ended"].values()) > count / 10
    assert set(told["ended"]) == {"accepted", "rejected in part", "refused"}
    assert told["megabytes"] < _OF_MUTANTS


def test_a_mutated_drop_is_accepted_rejected_row_by_row_or_refused():
    _no_law_is_broken(seed=2, count=2 * len(feeds()) * len(ENDINGS))


@pytest.mark.endurance
def test_two_thousand_mutated_drops_break_no_law():
    _no_law_is_broken(seed=0, count=2000)


def _read(name: str) -> dict[str, Any]:
    size = ["--megabytes", str(_MEGABYTES)]
    made = subprocess.run(
        [sys.executable, "-m", "cer_assets_tests.feeds.bombs", name, *size, "--make"], capture_output=True, check=True
    )
    return _told_by("bombs", name, *size, given=made.stdout)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name == "a long text meant often" else pytest.mark.endurance) for name in BOMBS],
)
def test_no_file_takes_more_memory_than_is_stated(name: str):
    told = _read(name)
    assert told["megabytes"] < _TIMES * _MEGABYTES + _BESIDES
    assert told["delivered"] == told["accepted"] + told["rejected"]
    assert bool(told["refused"]) == (name in REFUSED)
    if told["refused"]:
        assert "it holds more than 16 MB or 160,000 rows once unpacked" in told["refused"][0]
