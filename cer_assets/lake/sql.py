"""SQL files: front matter, the one select, the tables it reads, and where each of its columns comes from."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlglot import exp, parse, parse_one
from sqlglot.errors import SqlglotError
from sqlglot.lineage import lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope, traverse_scope

OPEN, CLOSE = "/* ---", "--- */"
RUN = "run"
"""The schema of relations that a run hands to a query (`run.days`): parameters, not tables."""


class FrontMatter(BaseModel):
    """What stands above the select."""

    model_config = ConfigDict(extra="forbid")

    description: str
    owners: list[str] = Field(min_length=1)
    partitions: dict[str, str] = Field(default_factory=dict, description="grid -> column, such as {daily: as_of}")
    personal: bool = Field(default=False, description="some column identifies a person")
    columns: dict[str, str] = Field(min_length=1, description="column -> what it holds")


@dataclass(frozen=True)
class SqlFile:
    """A table as one select: `name` is `schema.table`, `reads` the tables it reads, `code` a hash of the query."""

    name: str
    front: FrontMatter
    body: str
    reads: tuple[str, ...]
    code: str

    @property
    def day_column(self) -> str | None:
        """The column that holds the day of a table partitioned by day."""
        return self.front.partitions.get("daily")


def sql_files(root: Path) -> list[SqlFile]:
    """Every SQL file under the folder, by name."""
    return [read_sql_file(path, root) for path in sorted(root.rglob("*.sql"))]


def read_sql_file(path: Path, root: Path) -> SqlFile:
    """Read `<root>/<schema>/<table>.sql`.

    Raises:
        ValueError: the file does not open with front matter, the front matter is not as `FrontMatter` says, or what
            follows is not exactly one select over tables named `schema.table`.
    """
    where = path.relative_to(root)
    text = path.read_text()
    if not text.startswith(OPEN) or CLOSE not in text:
        raise ValueError(f"sql/{where}: open with front matter between '{OPEN}' and '{CLOSE}'")
    head, body = text.removeprefix(OPEN).split(CLOSE, 1)
    try:
        front = FrontMatter.model_validate(yaml.safe_load(head))
        statements = [s for s in parse(body, dialect="duckdb") if s is not None]
    except (ValidationError, SqlglotError, yaml.YAMLError) as error:
        raise ValueError(f"sql/{where}: {error}") from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise ValueError(f"sql/{where}: expected exactly one select, found {len(statements)} statements")
    query = statements[0]
    code = hashlib.sha256(query.sql(dialect="duckdb", comments=False).encode()).hexdigest()[:12]
    name = ".".join(where.with_suffix("").parts)
    return SqlFile(name, front, body.strip().rstrip(";"), tables_read(query, f"sql/{where}"), code)


def tables_read(query: exp.Query, where: str) -> tuple[str, ...]:
    """The tables of every scope; names of CTEs and subqueries are not tables, nor are the run's own relations.

    Raises:
        ValueError: a table is named without its schema; the message begins with `where`.
    """
    tables = {
        source for scope in traverse_scope(query) for source in scope.sources.values() if isinstance(source, exp.Table)
    }
    unqualified = sorted(t.name for t in tables if not t.db)
    if unqualified:
        raise ValueError(f"{where}: name the schema of {unqualified}")
    return tuple(sorted({f"{t.db}.{t.name}" for t in tables if t.db != RUN}))


def column_lineage(
    file: SqlFile, columns: list[str], schemas: Mapping[str, Mapping[str, str]]
) -> dict[str, list[tuple[str, str]]]:
    """For each result column the (table, column) pairs it is computed from.

    Args:
        file: the query.
        columns: the result's columns.
        schemas: table -> column -> type, of every table that the query reads (and of `run.days`).
    """
    nested: dict[str, dict[str, dict[str, str]]] = {}
    for table, fields in schemas.items():
        schema, name = table.split(".")
        nested.setdefault(schema, {})[name] = dict(fields)
    # Qualified once, for it takes longer than to follow a column.
    schema: Any = nested  # sqlglot's own type for it leaves no room for a dict of dicts
    query = qualify(parse_one(file.body, dialect="duckdb"), dialect="duckdb", schema=schema, identify=False)
    scope = build_scope(query)
    return {c: list(dict.fromkeys(_origins(c, query, nested, scope))) for c in columns}


def _origins(column: str, query: exp.Expr, schemas: dict[str, Any], scope: Scope | None) -> Iterator[tuple[str, str]]:
    for node in lineage(column, query, schema=schemas, dialect="duckdb", scope=scope).walk():
        table = node.expression
        if isinstance(table, exp.Table) and table.db and table.db != RUN and "." in node.name:
            yield f"{table.db}.{table.name}", node.name.rpartition(".")[2].strip('"')
