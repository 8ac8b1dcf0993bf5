"""Four processes read in a loop while tables are published, snapshotted and vacuumed and the warehouse is replaced."""

import subprocess
import sys
import time
from pathlib import Path

from cer_assets.lake import Lake, build_warehouse, needed_versions, prune_snapshots, take_snapshot
from cer_assets_tests.lake.readers import KINDS, TABLES, rows_of

RUNS = 12


def run(home: Path, lake: Lake, number: int) -> None:
    """A run: every table anew, and then what is done at the end of a run."""
    lake.publish("a.whole", rows_of(number))
    lake.publish("a.parts", rows_of(number), partition_by="part")
    build_warehouse(lake, take_snapshot(lake, home / "snapshots"), home / "warehouse.duckdb")
    needed = needed_versions(prune_snapshots(home / "snapshots", days=1))
    for table in TABLES:
        lake.vacuum(table, needed[table])


def test_no_reader_sees_an_error_half_a_table_or_two_runs(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    run(tmp_path, lake, 0)
    command = [sys.executable, "-m", "cer_assets_tests.lake.readers"]
    readers = [
        subprocess.Popen([*command, kind, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for kind in KINDS
    ]
    until = time.monotonic() + 60
    while time.monotonic() < until and not all((tmp_path / f"reading-{kind}").exists() for kind in KINDS):
        time.sleep(0.05)
    for number in range(1, RUNS):
        run(tmp_path, lake, number)
    (tmp_path / "stop").touch()
    said = [reader.communicate(timeout=60) for reader in readers]
    assert [reader.returncode for reader in readers] == [0] * len(readers), [error for _, error in said]
    assert all(int(reads) > 1 for reads, _ in said)
    assert lake.version("a.whole") == RUNS - 1
