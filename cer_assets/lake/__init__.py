"""The lake: Delta tables published whole, DuckDB over them, SQL files and their lineage, snapshots, model files.

What a column means, and which table is built from which, is said elsewhere: this package knows no stage and no dagster.
"""

from cer_assets.lake.content import UNBOUNDED, Memory, bounded, content_hash
from cer_assets.lake.engine import attach, clean_connection
from cer_assets.lake.models import ModelStore
from cer_assets.lake.snapshot import (
    Snapshot,
    build_warehouse,
    make_current,
    needed_versions,
    prune_snapshots,
    read_snapshot,
    take_snapshot,
)
from cer_assets.lake.sql import SqlFile, column_lineage, read_sql_file, sql_files, tables_read
from cer_assets.lake.tables import Lake, MissingTable, Published, stretches
from cer_assets.lake.vacuum import Vacuumed

__all__ = [
    "UNBOUNDED",
    "Lake",
    "Memory",
    "MissingTable",
    "ModelStore",
    "Published",
    "Snapshot",
    "SqlFile",
    "Vacuumed",
    "attach",
    "bounded",
    "build_warehouse",
    "clean_connection",
    "column_lineage",
    "content_hash",
    "make_current",
    "needed_versions",
    "prune_snapshots",
    "read_snapshot",
    "read_sql_file",
    "sql_files",
    "stretches",
    "tables_read",
    "take_snapshot",
]
