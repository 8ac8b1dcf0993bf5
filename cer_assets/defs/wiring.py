"""The resources by name, and the executor: one process a run."""

import dagster as dg
from dagster_duckdb import DuckDBResource

from cer_assets.defs.io import LakeTables, ModelFiles, ReportFiles, SnapshotFiles
from cer_assets.defs.resources import Engine, Home, memory_limit


def resources(home: Home) -> dict[str, object]:
    """All resources over one home."""
    memory = DuckDBResource(
        database=":memory:",
        connection_config={"memory_limit": memory_limit(), "temp_directory": f"{home.root}/spill", "threads": 2},
    )
    return {
        "home": home,
        "engine": Engine(home=home, database=memory),
        "lake_tables": LakeTables(home=home),
        "model_files": ModelFiles(home=home),
        "report_files": ReportFiles(home=home),
        "snapshot_files": SnapshotFiles(home=home),
    }


@dg.definitions
def wiring() -> dg.Definitions:
    """Resources over `CER_HOME`; a run's steps share its process, since a process a step costs seconds each."""
    return dg.Definitions(resources=resources(Home.of_environment()), executor=dg.in_process_executor)
