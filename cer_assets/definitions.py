"""The door: everything under `defs/` is one code location."""

import warnings
from pathlib import Path

import dagster as dg

from cer_assets.defs import discretion

# Dagster 1.13 warns of its own use of a beta parameter whenever it copies an asset check.
warnings.filterwarnings("ignore", message="Parameter `execution_type`", category=dg.BetaWarning)
discretion.install()


@dg.definitions
def defs() -> dg.Definitions:
    """Load `defs/`, nothing else; by when its tables must be new is said once, in `automation.py`."""
    from cer_assets.defs.automation import with_freshness

    return with_freshness(dg.load_from_defs_folder(path_within_project=Path(__file__).parent))
