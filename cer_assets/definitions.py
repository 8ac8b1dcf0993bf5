"""The door: everything under `defs/` is one code location."""

from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    """Load `defs/`, nothing else."""
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
