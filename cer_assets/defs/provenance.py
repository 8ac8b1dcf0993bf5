"""In which state an asset is, and in which states it read the others: what catching up compares."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol, cast, overload

from dagster import (
    AssetCheckKey,
    AssetKey,
    AssetRecordsFilter,
    DagsterInstance,
    EventLogEntry,
    FreshnessPolicy,
    PartitionsDefinition,
)

from cer_assets.defs.partitions import days
from cer_assets.defs.resources import Home
from cer_assets.lake import Snapshot

DATA_VERSION = "dagster/data_version"
CODE_VERSION = "dagster/code_version"
STANDS_ON = "cer/stands_on"
"""Asset metadata: the only inputs whose change makes the asset stale, where these are not all of them.

A model that learned from labelled pairs goes on standing when records are added; it is retrained for new labels.
"""
WHOLE_LAKE = "cer/whole_lake"
"""Asset metadata: the asset is of all tables as they stand, whether or not it comes after them in the graph: a version
of any of them makes it stale, a past day computed again too, and a blocking check of theirs does not hold it back."""
LAKE = "lake"
"""Under what name the state of the whole lake is recorded: that of the snapshot which names these versions."""


class Node(Protocol):
    """What is asked of an asset in Dagster's graph."""

    @property
    def partitions_def(self) -> PartitionsDefinition[str] | None:
        """Its grid."""
        ...

    @property
    def parent_keys(self) -> set[AssetKey]:
        """What it reads."""
        ...

    @property
    def code_version(self) -> str | None:
        """Which code computes it."""
        ...

    @property
    def metadata(self) -> Mapping[str, object]:
        """What its definition says."""
        ...

    @property
    def freshness_policy(self) -> FreshnessPolicy | None:
        """By when it must be new."""
        ...

    @property
    def execution_set_asset_keys(self) -> AbstractSet[AssetKey]:
        """The assets that can only be materialized together with it, itself among them."""
        ...


class CheckNode(Protocol):
    """What is asked of a check in Dagster's graph."""

    @property
    def blocking(self) -> bool:
        """Whether its failure holds back what stands on its asset."""
        ...


class Graph(Protocol):
    """What is asked of Dagster's asset graph (`Definitions.resolve_asset_graph()`)."""

    @overload
    def get(self, asset_key: AssetKey) -> Node: ...
    @overload
    def get(self, asset_key: AssetCheckKey) -> CheckNode: ...

    @property
    def toposorted_asset_keys(self) -> Sequence[AssetKey]:
        """All keys, what is read before what reads it."""
        ...

    @property
    def asset_check_keys(self) -> AbstractSet[AssetCheckKey]:
        """All checks."""
        ...


class Records:
    """The newest materializations as one plan sees them: of some assets at once, and nothing twice."""

    def __init__(self, instance: DagsterInstance, keys: Iterable[AssetKey]) -> None:
        self._instance = instance
        found = instance.get_asset_records(list(keys))
        self._newest = {one.asset_entry.asset_key: one.asset_entry.last_materialization for one in found}
        self._known = set(keys)
        self._parts: dict[tuple[AssetKey, str], EventLogEntry | None] = {}
        self._partitions: dict[AssetKey, AbstractSet[str]] = {}
        self._versions: dict[str, int | None] = {}
        self._lake: str | None = None

    def latest(self, key: AssetKey, partition: str | None) -> EventLogEntry | None:
        """The newest materialization of the asset, or of one partition of it."""
        if key not in self._known:
            self._newest[key] = latest(self._instance, key, None)
            self._known.add(key)
        newest = self._newest.get(key)
        if partition is None or newest is None or _partition(newest) == partition:
            return newest
        if (key, partition) not in self._parts:
            self._parts[key, partition] = latest(self._instance, key, partition)
        return self._parts[key, partition]

    def partitions(self, key: AssetKey) -> AbstractSet[str]:
        """The partitions that were ever materialized."""
        if key not in self._partitions:
            self._partitions[key] = self._instance.get_materialized_partitions(key)
        return self._partitions[key]

    def version(self, home: Home, table: str) -> int | None:
        """The current version of a table."""
        if table not in self._versions:
            self._versions[table] = home.lake.version(table)
        return self._versions[table]

    def lake(self, home: Home) -> str:
        """The name of the snapshot that would be taken now."""
        if self._lake is None:
            versions = {table: self.version(home, table) for table in home.lake.tables()}
            self._lake = Snapshot({table: version for table, version in versions.items() if version is not None}).name
        return self._lake


def _partition(entry: EventLogEntry) -> str | None:
    return entry.asset_materialization.partition if entry.asset_materialization else None


def latest(source: DagsterInstance | Records, key: AssetKey, partition: str | None) -> EventLogEntry | None:
    """The newest materialization of the asset, or of one partition of it."""
    if isinstance(source, Records):
        return source.latest(key, partition)
    partitions = None if partition is None else [partition]
    wanted = AssetRecordsFilter(asset_key=key, asset_partitions=partitions)
    records = source.fetch_materializations(wanted, limit=1).records
    return records[0].event_log_entry if records else None


def tag(entry: EventLogEntry | None, name: str) -> str | None:
    """A tag of a materialization."""
    materialization = entry.asset_materialization if entry else None
    return (materialization.tags or {}).get(name) if materialization else None


def stands_on(graph: Graph, key: AssetKey) -> set[AssetKey]:
    """The inputs whose change makes the asset stale."""
    named = graph.get(key).metadata.get(STANDS_ON)
    parents = graph.get(key).parent_keys
    return (
        parents
        if named is None
        else {parent for parent in parents if parent.to_user_string() in cast("list[str]", named)}
    )


def input_states(
    source: DagsterInstance | Records, graph: Graph, home: Home, key: AssetKey, partition: str | None
) -> dict[str, str | None]:
    """The state of everything that the asset stands on, by `schema/table`; of all tables by `LAKE`."""
    child, parents = graph.get(key), sorted(stands_on(graph, key))
    records = source if isinstance(source, Records) else Records(source, parents)
    states = {
        parent.to_user_string(): _state(records, graph.get(parent), home, parent, child, partition)
        for parent in parents
    }
    return states | ({LAKE: records.lake(home)} if child.metadata.get(WHOLE_LAKE) else {})


def _state(records: Records, node: Node, home: Home, key: AssetKey, child: Node, partition: str | None) -> str | None:
    """As the child sees it.

    A raw table is in the state of its Delta version, which stands still when rows are written that were there before;
    a model in that of its champion, so that a rollback is seen; a table as of days in that of the child's day, or of
    the newest where the child has none; any other in that of its data version.
    """
    grid, table, model = node.partitions_def, ".".join(key.path), "_".join(key.path)
    if key.path[0] == "raw":
        version = records.version(home, table)
        return None if version is None else f"version {version}"
    if grid is None:
        return home.models.champion(model) or tag(records.latest(key, None), DATA_VERSION)
    if grid == days:
        seen = partition if child.partitions_def == days else max(records.partitions(key), default=None)
        return tag(records.latest(key, seen), DATA_VERSION)
    champions = [home.models.champion(f"{model}-{part}") for part in grid.get_partition_keys()]
    return ",".join(champion or "-" for champion in champions) if any(champions) else None
