"""A SQL file of the project over tables of a test's own."""

from collections.abc import Mapping
from pathlib import Path

import duckdb
import polars as pl

SQL = Path(__file__).parents[1] / "sql"


def rows_of(name: str, tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """What `sql/<name>.sql` selects where these are the tables, by `schema.table`."""
    with duckdb.connect(config={"threads": 1}) as con:
        for table, frame in tables.items():
            con.execute(f"create schema if not exists {table.split('.')[0]}")
            con.register("frame", frame)
            con.execute(f"create table {table} as from frame")
        return con.sql((SQL / f"{name}.sql").read_text()).pl()
