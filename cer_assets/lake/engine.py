"""DuckDB over the lake: a clean connection, and each table as a view named by its address."""

from collections.abc import Iterable, Mapping

import duckdb
import polars as pl
from sqlglot import exp

from cer_assets.lake.tables import Lake

Columns = Mapping[str, pl.DataType | type[pl.DataType]]
"""A table's columns and their polars types."""


def clean_connection(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Settle what would otherwise depend on the machine: the time zone."""
    con.execute("set timezone = 'UTC'")
    con.execute("set enable_progress_bar = false")
    return con


def attach(
    con: duckdb.DuckDBPyConnection,
    lake: Lake,
    tables: Iterable[str],
    *,
    absent: Mapping[str, Columns] | None = None,
) -> None:
    """Make the current version of each table readable as `schema.table`.

    Args:
        con: an open connection.
        lake: where the tables lie.
        tables: their names.
        absent: the columns of tables that may not exist yet: such a table reads as empty.

    Raises:
        MissingTable: a table does not exist and `absent` does not describe it.
    """
    for table in tables:
        schema, name = table.split(".")
        con.execute(_statement(exp.Create(this=_identifier(schema), kind="schema", exists=True)))
        if absent is not None and table in absent and not lake.exists(table):
            _attach_empty(con, absent[table], schema, name)
            continue
        if lake.store.remote:
            _attach_remote(con, lake, table, schema, name)
        else:
            con.execute(_statement(view_over(lake, table)))


def _attach_remote(
    con: duckdb.DuckDBPyConnection, lake: Lake, table: str, schema: str, name: str, version: int | None = None
) -> None:
    """A view over the table's Arrow dataset: DuckDB itself reads `s3://` by an extension that is a download.

    DuckDB hands columns and filters on to the dataset, which opens no file of a partition that is not asked for.
    """
    data = lake.open(table, version).to_pyarrow_dataset()
    con.register(f"{schema}__{name}", data)
    source = exp.select("*").from_(exp.table_(_identifier(f"{schema}__{name}")))
    view = exp.table_(_identifier(name), db=_identifier(schema))
    con.execute(_statement(exp.Create(this=view, kind="view", replace=True, expression=source)))


def copy_table(con: duckdb.DuckDBPyConnection, lake: Lake, table: str, version: int) -> None:
    """Copy the rows of one version of a table into the database that a connection has open, batch by batch."""
    schema, name = table.split(".")
    data = lake.open(table, version).to_pyarrow_dataset()
    con.register("rows_to_copy", data)
    target = exp.table_(_identifier(name), db=_identifier(schema))
    rows = exp.select("*").from_(exp.table_("rows_to_copy"))
    con.execute(_statement(exp.Create(this=target, kind="table", replace=True, expression=rows)))
    con.unregister("rows_to_copy")


def view_over(lake: Lake, table: str, version: int | None = None) -> exp.Expr:
    """`create view schema.table` over the files of one version of a table in a folder, columns in its order."""
    opened = lake.open(table, version)
    schema, name = table.split(".")
    fields = [(field.name, _duckdb_type(str(field.type.type))) for field in opened.schema().fields]
    files = lake.files(table, opened.version())
    if files:
        partitions = opened.metadata().partition_columns
        source: exp.Expr = exp.select(
            *[exp.cast(exp.column(c, quoted=True), t).as_(c, quoted=True) for c, t in fields]
        ).from_(_read_parquet(files, [(c, t) for c, t in fields if c in partitions]))
    else:
        nulls = [exp.cast(exp.null(), t).as_(c, quoted=True) for c, t in fields]
        source = exp.select(*nulls).where(exp.false())
    view = exp.table_(_identifier(name), db=_identifier(schema))
    return exp.Create(this=view, kind="view", replace=True, expression=source)


def _read_parquet(files: list[str], partitions: list[tuple[str, str]]) -> exp.Expr:
    paths = exp.Array(expressions=[exp.Literal.string(file) for file in files])
    options = [exp.EQ(this=exp.column("union_by_name"), expression=exp.true())]
    if partitions:
        types = exp.Struct(
            expressions=[
                exp.PropertyEQ(this=exp.to_identifier(c, quoted=True), expression=exp.Literal.string(t))
                for c, t in partitions
            ]
        )
        options += [
            exp.EQ(this=exp.column("hive_partitioning"), expression=exp.true()),
            exp.EQ(this=exp.column("hive_types"), expression=types),
        ]
    return exp.Anonymous(this="read_parquet", expressions=[paths, *options])


def _duckdb_type(delta: str) -> str:
    names = {
        "string": "varchar",
        "long": "bigint",
        "integer": "integer",
        "short": "smallint",
        "byte": "tinyint",
        "timestamp_ntz": "timestamp",
        "timestamp": "timestamptz",
        "binary": "blob",
    }
    return names.get(delta, delta)


def _attach_empty(con: duckdb.DuckDBPyConnection, columns: Columns, schema: str, name: str) -> None:
    con.from_arrow(pl.DataFrame(schema=columns).to_arrow()).create(f'"{schema}"."{name}"')


def _identifier(name: str) -> exp.Identifier:
    return exp.to_identifier(name, quoted=True)


def _statement(expression: exp.Expr) -> str:
    return expression.sql(dialect="duckdb")
