"""The whole graph over a generated retailer: time, processor time and peak memory of each asset, and of one more day.

What is run is `make run` itself, in a process of its own; a second process looks at its memory. Figures are read from
the instance's event log and from what was seen, so that a run that was cut short has figures too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
import psutil
from measuring import ROOT, report, report_skipped

EVERY = 0.1
"""Seconds between two looks at the process."""
YEAR, DAY = "year", "day"
LAST_DAYS = {YEAR: "2017-12-31", DAY: "2018-01-01"}
BENCHMARK = "unattended"


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=10_000, help="three records and fifty lines each")
    parser.add_argument("--home", type=Path, help="where to build it; what is there is gone on with, and kept")
    parser.add_argument("--only", choices=["drops", YEAR, DAY, "figures"], help="one part of the whole")
    asked = parser.parse_args()
    if _absent():
        report_skipped(BENCHMARK, _absent() or "")
        return
    with tempfile.TemporaryDirectory() as scratch:
        home: Path = (asked.home or Path(scratch)).absolute()
        parts = ["drops", YEAR, DAY, "figures"] if asked.only is None else [asked.only]
        if "drops" in parts:
            _drops(home, asked.customers, YEAR)
        if YEAR in parts:
            watched_run(home, YEAR)
        if DAY in parts:
            _drops(home, asked.customers, DAY)
            watched_run(home, DAY)
        if "figures" in parts:
            report(BENCHMARK, ["dagster", "deltalake", "duckdb", "polars"], figures(home, asked.customers))


def _absent() -> str | None:
    from identity_sets import why_absent

    return why_absent("people_10k")


def _drops(home: Path, customers: int, which: str) -> None:
    """Written by a process of its own, whose memory is gone when it has written."""
    write = {YEAR: "year", DAY: "one_more_day"}[which]
    code = f"import sys, pathlib, retailer; retailer.{write}(pathlib.Path(sys.argv[1]), int(sys.argv[2]))"
    folder = Path(__file__).parent
    subprocess.run([sys.executable, "-c", code, str(home), str(customers)], check=True, cwd=folder)


def watched_run(home: Path, which: str) -> None:
    """`make run` over the home, and beside it a file of moments, resident bytes and processor seconds."""
    home.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {
        "CER_HOME": str(home),
        "DAGSTER_HOME": str(home / "dagster"),
        "CER_FIRST_DAY": "2017-01-01",
        "CER_LAST_DAY": LAST_DAYS[which],
        "CER_COUNTRY": "AU",
        "PYTHONHASHSEED": "0",
    }
    command = [sys.executable, "-m", "cer_assets.defs.run", "--no-sample"]
    began = time.time()
    with (home / f"{which}.log").open("a") as log, (home / f"{which}.samples").open("a") as samples:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=os.environ.get("CER_TREE", ROOT)
        )
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            _put_truth_aside(home)
            if (seen := _look(watched)) is not None:
                samples.write(f"{time.time():.2f},{seen[0]},{seen[1]:.2f}\n")
                samples.flush()
            time.sleep(EVERY)
    whole = {"seconds": round(time.time() - began, 1), "began": began, "code": process.returncode}
    with (home / f"{which}.runs").open("a") as runs:
        runs.write(json.dumps(whole) + "\n")


def _put_truth_aside(home: Path) -> None:
    """Once questions were answered, nobody knows who is who any more: a shop has no truth to measure itself by."""
    truth = home / "sample_truth" / "people.parquet"
    if truth.exists() and any((home / "lake/identity/labels/_delta_log").glob("*.json")):
        truth.rename(home / "sample_truth" / "was_asked.parquet")


def _look(watched: psutil.Process) -> tuple[int, float] | None:
    """Resident bytes and processor seconds of the process and its children."""
    try:
        family = [watched, *watched.children(recursive=True)]
        resident = sum(process.memory_info().rss for process in family)
        worked = watched.cpu_times()
        return resident, worked.user + worked.system + worked.children_user + worked.children_system
    except psutil.NoSuchProcess:
        return None


@dataclass(frozen=True)
class Step:
    """One step of a run: an asset, several that one function computes, or a check."""

    step: str
    began: float
    seconds: float
    cpu_seconds: float
    peak_mb: float
    done: bool


def figures(home: Path, customers: int) -> dict[str, Any]:
    """Time and memory by asset and by stage, of the year and of the day, and the day as a share of the year."""
    found: dict[str, Any] = {"customers": customers}
    steps = _events(home)
    for which in (YEAR, DAY):
        if not (home / f"{which}.samples").exists():
            continue
        seen = pl.read_csv(home / f"{which}.samples", has_header=False, new_columns=["at", "resident", "worked"])
        rows = _costs(steps, seen)
        if rows.is_empty():
            continue
        # The process counts its processor time from its own start, and a year may take several of them.
        wall = float((seen["at"].diff().fill_null(0).clip(0, 5)).sum())
        by_asset = _summed(rows, pl.col("asset")).sort("seconds", descending=True)
        found[which] = {
            "seconds": round(wall, 1),
            "cpu_seconds": round(float(seen["worked"].diff().fill_null(0).clip(0).sum()), 1),
            "peak_mb": round(_number(seen["resident"].max()) / 1e6),
            "seconds in assets": round(float(rows["seconds"].sum()), 1),
            "by stage": _summed(rows, pl.col("asset").str.split("/").list.first()).to_dicts(),
            "by asset": by_asset.to_dicts(),
        }
    if YEAR in found and DAY in found:
        found["day as a share of the year"] = {
            name: round(found[DAY][name] / found[YEAR][name], 4) for name in ("seconds", "cpu_seconds")
        }
    return found


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)


def _summed(rows: pl.DataFrame, by: pl.Expr) -> pl.DataFrame:
    return rows.group_by(by.alias("asset"), maintain_order=True).agg(
        pl.col("seconds", "cpu_seconds").sum().round(1),
        pl.col("peak_mb").max().round(),
        pl.len().alias("steps"),
        (~pl.col("done")).sum().alias("failed or cut short"),
    )


def _costs(steps: pl.DataFrame, seen: pl.DataFrame) -> pl.DataFrame:
    """What each step took; its checks count for the asset they are of."""
    at, resident, worked = (seen[name].to_numpy() for name in ("at", "resident", "worked"))
    rows: list[dict[str, Any]] = []
    for asset, began, ended, done in steps.iter_rows():
        if began < at[0] - 5 or began > at[-1] + 5:
            continue
        first, last = at.searchsorted(began, "right") - 1, min(int(at.searchsorted(ended)), len(at) - 1)
        first = max(int(first), 0)
        step = Step(
            step=asset,
            began=began,
            seconds=ended - began,
            cpu_seconds=max(float(worked[last] - worked[first]), 0),
            peak_mb=float(resident[first : last + 1].max()) / 1e6,
            done=done,
        )
        rows.append(asdict(step))
    return (
        pl.DataFrame(rows, schema_overrides={"done": pl.Boolean}).rename({"step": "asset"}) if rows else pl.DataFrame()
    )


def _events(home: Path) -> pl.DataFrame:
    """asset, began, ended, done of every step of every run; one may be under way."""
    import dagster as dg

    rows: list[tuple[str, float, float, bool]] = []
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        for run in instance.get_runs():
            rows += _steps_of(instance.all_logs(run.run_id))
    return pl.DataFrame(rows, schema=["asset", "began", "ended", "done"], orient="row").sort("began")


def _steps_of(logs: Any) -> list[tuple[str, float, float, bool]]:
    started: dict[str, float] = {}
    rows: list[tuple[str, float, float, bool]] = []
    latest = 0.0
    assets: dict[str, str] = {}
    for entry in logs:
        latest = max(latest, entry.timestamp)
        event = entry.dagster_event
        if event is None or event.step_key is None:
            continue
        if event.is_step_start:
            started[event.step_key] = entry.timestamp
        elif event.is_step_materialization or event.event_type_value == "ASSET_CHECK_EVALUATION":
            key = event.asset_key or event.asset_check_evaluation_data.asset_key
            assets.setdefault(event.step_key, "/".join(key.path))
        elif (event.is_step_success or event.is_step_failure) and event.step_key in started:
            rows.append((event.step_key, started.pop(event.step_key), entry.timestamp, event.is_step_success))
    rows += [(step, began, latest, False) for step, began in started.items()]
    return [(_asset_of(step, assets), began, ended, done) for step, began, ended, done in rows]


def _asset_of(step: str, assets: dict[str, str]) -> str:
    return assets.get(step, step.replace("__", "/", 1))


if __name__ == "__main__":
    main()
