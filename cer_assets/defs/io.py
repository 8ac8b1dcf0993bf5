"""Between Dagster and the lake: the IO managers, what they write into metadata, and SQL files as assets.

What a table holds and how it is computed is said where the asset is defined, or in its SQL file.
"""

import base64
import datetime as dt
import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import altair as alt
import dagster as dg
import polars as pl

from cer_assets.defs.partitions import as_days, days
from cer_assets.defs.provenance import CODE_VERSION, LAKE, STANDS_ON, Graph, input_states, latest, tag
from cer_assets.defs.resources import SQL_FOLDER, Engine, Home, columns_of
from cer_assets.lake import Published, Snapshot, SqlFile, column_lineage, read_snapshot, sql_files
from cer_assets.lake.files import write_atomically

PACKAGE = Path(__file__).parents[1]

DAY_COLUMN = "cer/day_column"
"""Asset metadata: the column that holds the day of a table on the daily grid."""
SCHEMA, LINEAGE = "dagster/column_schema", "dagster/column_lineage"
"""Dagster's own keys: on the definition they say what columns hold and where they come from, on a materialization also
of what type they are."""
TABLE_VERSION = "table version"
"""Materialization metadata: the Delta version that holds what was published."""
REPLACES = "cer/replaces"
"""Output metadata of a table laid out by day but not partitioned in Dagster: the days its rows replace."""
REPORT_FILE = "cer/report_file"
"""Asset metadata: the name of the file that a page is written to."""
INPUTS = "cer/inputs"
"""Materialization metadata: asset key -> the state it was read in. Catching up compares it with the state of now."""

Origin = tuple[str, str]
"""A column of another table: (`schema/table`, column)."""


def read(key: str) -> dg.AssetIn:
    """The whole of another asset's table, every day of it."""
    return dg.AssetIn(key=dg.AssetKey(key.split("/")), partition_mapping=dg.AllPartitionMapping())


def reads_itself(key: str) -> dg.AssetIn:
    """Another asset whose table, all days of it, the function reads for itself: columns or days of it, or its files."""
    return dg.AssetIn(
        key=dg.AssetKey(key.split("/")), partition_mapping=dg.AllPartitionMapping(), dagster_type=dg.Nothing
    )


def same_day(key: str) -> dg.AssetIn:
    """Another asset's table, the run's day of it."""
    return dg.AssetIn(key=dg.AssetKey(key.split("/")))


def name_of(key: dg.AssetKey) -> str:
    """The table's SQL name: the asset key is the address."""
    return ".".join(key.path)


def table_metadata(
    columns: Mapping[str, str], day_column: str | None = None, origins: Mapping[str, Sequence[Origin]] | None = None
) -> dict[str, Any]:
    """Definition metadata of an asset that is a table."""
    schema = dg.TableSchema([dg.TableColumn(name, "", description) for name, description in columns.items()])
    metadata: dict[str, Any] = {SCHEMA: schema}
    if origins:
        metadata[LINEAGE] = lineage(origins)
    return metadata | ({DAY_COLUMN: day_column} if day_column else {})


def lineage(columns: Mapping[str, Sequence[Sequence[str]]]) -> dg.TableColumnLineage:
    """Column lineage as Dagster shows it."""
    return dg.TableColumnLineage(
        {
            column: [
                dg.TableColumnDep(dg.AssetKey(re.split(r"[./]", table)), name)
                for table, name in dict.fromkeys((table, name) for table, name in origins)
            ]
            for column, origins in columns.items()
        }
    )


def code_of(*packages: str) -> str:
    """A code version that moves with what an asset calls.

    That is: packages, with their data files and their faces under `defs/`, and the modules that all stages share.
    """
    digest = hashlib.sha256()
    called = [path for path in PACKAGE.glob("*.py") if path.name != "definitions.py"]
    for folder in (PACKAGE / place for package in packages for place in (package, f"defs/{package}")):
        called += [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    for path in sorted(called):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def python_table(
    key: str,
    *,
    columns: Mapping[str, str],
    origins: Mapping[str, Sequence[Origin]],
    ins: Mapping[str, dg.AssetIn] | None = None,
    daily: bool = False,
    laid_out_by: str | None = None,
    kinds: Sequence[str] = ("polars",),
    personal: bool = False,
    code: Sequence[str] = (),
    stands_on: Sequence[str] | None = None,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """An asset whose function returns a table's frame; what every table has in common is said here once.

    Args:
        key: `schema/table`.
        columns: what each column holds.
        origins: what each column is computed from.
        ins: the tables handed to the function, by parameter.
        daily: one partition a day, in the column `as_of`.
        laid_out_by: the column of days that the table's files are laid out by, where Dagster knows no partitions of it:
            a day whose rows stay is not written again.
        kinds: shown on the asset, beside deltalake.
        personal: whether any column identifies a person.
        code: packages of cer_assets whose source the result depends on, beside the stage's own.
        stands_on: the inputs whose change makes the table stale, where these are not all.
    """
    spec = table_spec(
        key,
        columns=columns,
        origins=origins,
        daily=daily,
        laid_out_by=laid_out_by,
        kinds=kinds,
        personal=personal,
        code=code,
        stands_on=stands_on,
    )
    return dg.asset(
        key=spec.key,
        ins=ins,
        group_name=spec.group_name,
        owners=spec.owners,
        kinds=spec.kinds,
        tags=spec.tags,
        code_version=spec.code_version,
        partitions_def=spec.partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run() if daily else None,
        metadata=spec.metadata,
        io_manager_key="lake_tables",
    )


def table_spec(
    key: str,
    *,
    columns: Mapping[str, str],
    origins: Mapping[str, Sequence[Origin]],
    daily: bool = False,
    laid_out_by: str | None = None,
    kinds: Sequence[str] = ("polars",),
    personal: bool = False,
    code: Sequence[str] = (),
    stands_on: Sequence[str] | None = None,
    description: str | None = None,
    deps: Sequence[str] = (),
) -> dg.AssetSpec:
    """One of several tables that one function returns; the arguments are those of `python_table`."""
    stage = key.split("/")[0]
    return dg.AssetSpec(
        key.split("/"),
        description=description,
        deps=[dep.split("/") for dep in deps],
        group_name=stage,
        owners=["team:data"],
        kinds={*kinds, "deltalake"},
        tags={"stage": stage} | ({"personal_data": "yes"} if personal else {}),
        code_version=code_of(stage, *code),
        partitions_def=days if daily else None,
        metadata=table_metadata(columns, "as_of" if daily else laid_out_by, origins)
        | ({} if stands_on is None else {STANDS_ON: list(stands_on)}),
    ).with_io_manager_key("lake_tables")


def model(
    key: str,
    *,
    ins: Mapping[str, dg.AssetIn],
    kinds: Sequence[str],
    partitions_def: dg.PartitionsDefinition[str] | None = None,
    stands_on: Sequence[str] | None = None,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """An asset whose function returns a trained model; its files and its card are kept, and it becomes the champion.

    Args:
        key: `schema/table`.
        ins: the tables handed to the function, by parameter.
        kinds: shown on the asset.
        partitions_def: a model a partition, where there is a grid.
        stands_on: the inputs whose change calls for training anew, where these are not all.
    """
    spec = model_spec(key, kinds=kinds, stands_on=stands_on)
    return dg.asset(
        key=spec.key,
        ins=ins,
        group_name=spec.group_name,
        owners=spec.owners,
        kinds=spec.kinds,
        tags=spec.tags,
        metadata=spec.metadata,
        code_version=spec.code_version,
        partitions_def=partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run() if partitions_def else None,
        io_manager_key="model_files",
    )


def model_spec(
    key: str,
    *,
    kinds: Sequence[str],
    stands_on: Sequence[str] | None = None,
    code: Sequence[str] = (),
    description: str | None = None,
    deps: Sequence[str] = (),
) -> dg.AssetSpec:
    """A trained model that a function returns beside tables; the arguments are those of `model` and `python_table`."""
    stage = key.split("/")[0]
    return dg.AssetSpec(
        key.split("/"),
        description=description,
        deps=[dep.split("/") for dep in deps],
        group_name=stage,
        owners=["team:data"],
        kinds=set(kinds),
        tags={"stage": stage, "model": "yes"},
        metadata={} if stands_on is None else {STANDS_ON: list(stands_on)},
        code_version=code_of(stage, *code),
    ).with_io_manager_key("model_files")


def picture(chart: alt.TopLevelMixin) -> dg.MetadataValue:
    """A chart as an image inside the metadata; drawn offline."""
    buffer = io.BytesIO()
    chart.save(buffer, format="png", scale_factor=1.3)
    return dg.MetadataValue.md(f"![chart](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})")


def table(frame: pl.DataFrame, most: int = 50) -> dg.MetadataValue:
    """A small frame as a markdown table inside the metadata."""
    head = frame.head(most)
    lines = ["| " + " | ".join(head.columns) + " |", "|" + "---|" * head.width]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in head.iter_rows()]
    return dg.MetadataValue.md("\n".join(lines))


_MARKUP = re.compile(r"([\\`|\[\]<>])")


def _cell(value: object) -> str:
    """What a table's cell shows; text that a source delivered is shown as text, and draws no link, image or column."""
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return "" if value is None else " ".join(_MARKUP.sub(r"\\\1", str(value)).split())


def with_version(
    context: dg.OutputContext, home: Home, version: str, seen: Mapping[str, str | None] | None = None
) -> None:
    """Give the materialization its data version, and the states of what it was computed from.

    Args:
        context: of the output.
        home: the lake.
        version: the data version.
        seen: states in which the asset saw something, where it knows better than a look at them now would tell.
    """
    key, step = context.asset_key, context.step_context
    step.set_data_version(key, dg.DataVersion(version))
    partitions = list(context.asset_partition_keys) if context.has_asset_partitions else [None]
    graph = cast("Graph", step.job_def.asset_layer.asset_graph)
    states = input_states(step.instance, graph, home, key, partitions[-1]) | dict(seen or {})
    context.add_output_metadata({INPUTS: dg.MetadataValue.json(states)})


class LakeTables(dg.ConfigurableIOManager):
    """An asset's frame becomes its Delta table, all of a run's days in one commit."""

    home: dg.ResourceDependency[Home]

    def handle_output(self, context: dg.OutputContext, obj: pl.DataFrame | Published) -> None:
        """Publish the frame, unless that was done where it lay, and describe what was published."""
        name, metadata = name_of(context.asset_key), context.definition_metadata
        if isinstance(origins := metadata.get(LINEAGE), dg.TableColumnLineage | dg.TableColumnLineageMetadataValue):
            context.add_output_metadata({LINEAGE: origins})
        day_column = cast("str | None", metadata.get(DAY_COLUMN))
        done = (
            obj
            if isinstance(obj, Published)
            else self.home.lake.publish(name, obj, partition_by=day_column, keys=_days_of(context, day_column))
        )
        with_version(context, self.home, done.content)
        context.add_output_metadata(
            {
                "dagster/row_count": done.table_rows,
                "dagster/uri": self.home.lake.uri(name),
                "dagster/table_name": name,
                SCHEMA: _schema(done.columns, _descriptions(metadata.get(SCHEMA))),
                TABLE_VERSION: done.version,
                "changed": done.changed,
                "size": dg.MetadataValue.text(f"{done.bytes / 1e6:,.1f} MB"),
                "content hash": done.content,
            }
        )
        if context.has_asset_partitions and day_column is not None:
            for day in as_days(context.asset_partition_keys):
                context.step_context.add_asset_metadata(
                    {"dagster/partition_row_count": done.partitions.get(day, 0)}, context.asset_key, day.isoformat()
                )

    def load_input(self, context: dg.InputContext) -> pl.DataFrame:
        """The table whole, or one day of it where the input is mapped to one."""
        upstream, name = context.upstream_output, name_of(context.asset_key)
        day_column = (upstream.definition_metadata or {}).get(DAY_COLUMN) if upstream else None
        if not (day_column and context.has_asset_partitions):
            return self.home.read(name)
        wanted = as_days(context.asset_partition_keys)
        of_day = pl.col(cast("str", day_column)).is_between(wanted[0], wanted[-1])
        if not self.home.lake.exists(name):
            return self.home.read(name).filter(of_day)
        return self.home.lake.scan(name).filter(of_day).collect()


class StoredModel(Protocol):
    """What a model offers to be stored without pickle."""

    def files(self) -> dict[str, bytes]:
        """Name -> bytes; the same model gives the same bytes."""
        ...

    def card(self) -> dict[str, Any]:
        """What it was trained on, with what settings, and how it did."""
        ...


@dataclass(frozen=True)
class Challenger:
    """A model that was judged before it may go live: stored either way, the champion only if it passed."""

    model: StoredModel
    passed: bool


class ModelFiles(dg.ConfigurableIOManager):
    """An asset's model becomes a folder of files and the champion; it is read back as the bytes of its files.

    A partitioned model is a mapping from partition to model, written and read. A `Challenger` that did not pass is
    stored and nothing else.
    """

    home: dg.ResourceDependency[Home]

    def handle_output(
        self, context: dg.OutputContext, obj: StoredModel | Challenger | Mapping[str, StoredModel]
    ) -> None:
        """Store the model, make it the champion, show its card."""
        name, store = "_".join(context.asset_key.path), self.home.models
        goes_live = not isinstance(obj, Challenger) or obj.passed
        obj = obj.model if isinstance(obj, Challenger) else obj
        models = {f"{name}-{part}": one for part, one in obj.items()} if isinstance(obj, Mapping) else {name: obj}
        versions: dict[str, str] = {}
        for each, one in models.items():
            versions[each] = store.save(each, one.files(), one.card())
            if goes_live:
                store.promote(each, versions[each])
        champions = {each: store.champion(each) for each in models}
        with_version(context, self.home, ",".join(champion or "-" for champion in champions.values()))
        cards = {each: json.loads(json.dumps(one.card(), default=str)) for each, one in models.items()}
        context.add_output_metadata(
            {
                "card": dg.MetadataValue.json(cards),
                "champion": dg.MetadataValue.json(champions),
                "stored": dg.MetadataValue.json(versions),
                "dagster/uri": str(store.root),
            }
        )

    def load_input(self, context: dg.InputContext) -> dict[str, bytes] | dict[str, dict[str, bytes]]:
        """The champion's files; of a partitioned model those of each partition that has one."""
        name, store = "_".join(context.asset_key.path), self.home.models
        if not context.has_asset_partitions:
            return store.load(name)
        parts = [part for part in context.asset_partition_keys if store.champion(f"{name}-{part}")]
        return {part: store.load(f"{name}-{part}") for part in parts}


def live_files(context: dg.AssetExecutionContext, home: Home) -> dict[str, bytes] | None:
    """The files of the asset's champion, if this version of the code trained it."""
    name = "_".join(context.asset_key.path)
    trained = tag(latest(context.instance, context.asset_key, None), CODE_VERSION)
    if home.models.champion(name) is None or trained != context.assets_def.code_versions_by_key[context.asset_key]:
        return None
    return home.models.load(name)


class SnapshotFiles(dg.ConfigurableIOManager):
    """A snapshot is written by who takes it; here its name becomes the data version."""

    home: dg.ResourceDependency[Home]

    def handle_output(self, context: dg.OutputContext, obj: Snapshot) -> None:
        """Say which snapshot it is, and in what states it saw everything."""
        # Another may have written since: what came after the snapshot was taken makes it stale.
        with_version(context, self.home, obj.name, {LAKE: obj.name})
        context.add_output_metadata({"snapshot": obj.name})

    def load_input(self, context: dg.InputContext) -> Snapshot:
        """The current snapshot."""
        return read_snapshot(self.home.snapshots)


class ReportFiles(dg.ConfigurableIOManager):
    """An asset's page becomes a file of the home's reports, in place whole or not at all."""

    home: dg.ResourceDependency[Home]

    def handle_output(self, context: dg.OutputContext, obj: str) -> None:
        """Write the page, and say where it is."""
        path, page = self._path(context.definition_metadata), obj.encode()
        write_atomically(path, page)
        with_version(context, self.home, hashlib.sha256(page).hexdigest()[:16])
        context.add_output_metadata(
            {"page": dg.MetadataValue.path(path), "size": dg.MetadataValue.text(f"{len(page) / 1e3:,.0f} kB")}
        )

    def load_input(self, context: dg.InputContext) -> str:
        """The page as it stands."""
        upstream = context.upstream_output
        return self._path((upstream.definition_metadata or {}) if upstream else {}).read_text()

    def _path(self, metadata: Mapping[str, Any]) -> Path:
        return self.home.reports / cast("str", metadata[REPORT_FILE])


def sql_asset(file: SqlFile) -> dg.AssetsDefinition:
    """One SQL file as an asset: its dependencies and its column lineage are those of the query."""
    schema, table_name = file.name.split(".")

    @dg.asset(
        key=[schema, table_name],
        deps=[dg.AssetKey(name.split(".")) for name in file.reads],
        group_name=schema,
        description=f"{file.front.description}\n\n```sql\n{file.body}\n```",
        owners=file.front.owners,
        kinds={"sql", "duckdb", "deltalake"},
        tags={"stage": schema} | ({"personal_data": "yes"} if file.front.personal else {}),
        code_version=file.code,
        partitions_def=days if file.day_column else None,
        backfill_policy=dg.BackfillPolicy.single_run() if file.day_column else None,
        metadata=table_metadata(file.front.columns, file.day_column),
        io_manager_key="lake_tables",
    )
    def build(context: dg.AssetExecutionContext, engine: Engine) -> dg.Output[Published]:
        wanted = as_days(context.partition_keys) if file.day_column else []
        with engine.over(file.reads, days=wanted) as con:
            schemas = columns_of(con, [*file.reads, "run.days"])
            # Published by the engine that holds the rows: as a frame those of fifty million lines fill the memory.
            done = engine.home.lake.publish_query(
                con, file.name, file.body, partition_by=file.day_column, keys=wanted if file.day_column else None
            )
        origins = column_lineage(file, list(done.columns), schemas)
        return dg.Output(done, metadata={LINEAGE: lineage(origins)})

    return build


def sql_assets_of(stage: str) -> list[dg.AssetsDefinition]:
    """The SQL files of one stage as assets."""
    if not SQL_FOLDER.is_dir():
        raise FileNotFoundError(f"{SQL_FOLDER} is missing: install the project from its checkout (pip install -e .)")
    return [sql_asset(file) for file in sql_files(SQL_FOLDER) if file.name.startswith(f"{stage}.")]


def _days_of(context: dg.OutputContext, day_column: str | None) -> list[dt.date] | None:
    """The days that an output replaces: the run's partitions, or those it names itself; None is the whole table."""
    if day_column is None:
        return None
    if context.has_asset_partitions:
        return as_days(context.asset_partition_keys)
    named = context.output_metadata.get(REPLACES)
    if named is None:
        return None
    return as_days(str(named.value if isinstance(named, dg.TextMetadataValue) else named).split())


def _descriptions(schema: object) -> dict[str, str]:
    schema = schema.schema if isinstance(schema, dg.TableSchemaMetadataValue) else schema
    return {c.name: c.description or "" for c in schema.columns} if isinstance(schema, dg.TableSchema) else {}


def schema_of(frame: pl.DataFrame, columns: Mapping[str, str]) -> dg.TableSchema:
    """Column names and types of a frame, with what each column holds."""
    return _schema(frame.schema, columns)


def _schema(types: Mapping[str, pl.DataType], columns: Mapping[str, str]) -> dg.TableSchema:
    return dg.TableSchema([dg.TableColumn(name, str(dtype), columns.get(name)) for name, dtype in types.items()])
