"""Whether Dagster's own condition holds a partition back whose parent's blocking check failed in an earlier run.

`automation.py` names what is settled here.
"""

import datetime as dt
from collections.abc import Iterator
from typing import cast

import dagster as dg
import pytest
from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor

from cer_assets.defs.plan import due_loads, held_back
from cer_assets.defs.provenance import Graph
from cer_assets.defs.resources import Home

DAYS = dg.StaticPartitionsDefinition(["monday", "tuesday"])
GATED = dg.AutomationCondition.eager() & dg.AutomationCondition.all_deps_blocking_checks_passed()
WRONG: set[str] = set()
"""The days whose rows are wrong."""


def graph(partitions: dg.PartitionsDefinition[str] | None) -> dg.Definitions:
    """A parent with a blocking check, and a child that Dagster's condition starts."""

    @dg.asset(partitions_def=partitions, check_specs=[dg.AssetCheckSpec("right", asset="parent", blocking=True)])
    def parent(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None] | dg.AssetCheckResult]:
        yield dg.Output(None)
        day = context.partition_key if partitions else "monday"
        yield dg.AssetCheckResult(passed=day not in WRONG)

    @dg.asset(partitions_def=partitions, deps=[parent], automation_condition=GATED)
    def child() -> None: ...

    return dg.Definitions([parent, child])


@pytest.fixture
def history() -> Iterator[dg.DagsterInstance]:
    """An instance that is gone with the test."""
    WRONG.clear()
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def materialize_parent(instance: dg.DagsterInstance, definitions: dg.Definitions, day: str | None) -> bool:
    """The parent in a run of its own."""
    (parent,) = [a for a in definitions.assets or [] if isinstance(a, dg.AssetsDefinition) and "parent" in str(a.key)]
    return dg.materialize([parent], instance=instance, partition_key=day, raise_on_error=False).success


def asked_for(
    instance: dg.DagsterInstance, definitions: dg.Definitions, cursor: AssetDaemonCursor | None = None
) -> tuple[int, AssetDaemonCursor]:
    """How many partitions of the child Dagster's conditions start now."""
    result = dg.evaluate_automation_conditions(definitions, instance, dg.AssetSelection.all(), cursor=cursor)
    return result.get_num_requested(dg.AssetKey("child")), result.cursor


def test_without_partitions_the_condition_holds_back_across_runs(history: dg.DagsterInstance) -> None:
    definitions = graph(None)
    _, cursor = asked_for(history, definitions)
    WRONG.add("monday")
    assert not materialize_parent(history, definitions, None)
    held, cursor = asked_for(history, definitions, cursor)
    WRONG.clear()
    assert materialize_parent(history, definitions, None)
    released, _ = asked_for(history, definitions, cursor)
    assert (held, released) == (0, 1)


def test_per_partition_a_day_that_passes_lets_the_one_through_that_failed(history: dg.DagsterInstance) -> None:
    definitions = graph(DAYS)
    _, cursor = asked_for(history, definitions)
    WRONG.add("monday")
    assert not materialize_parent(history, definitions, "monday")
    held, cursor = asked_for(history, definitions, cursor)
    assert materialize_parent(history, definitions, "tuesday")
    released, _ = asked_for(history, definitions, cursor)
    assert (held, released) == (0, 2)  # monday's rows are as wrong as before


def test_per_partition_a_day_that_fails_holds_back_the_one_that_passed(history: dg.DagsterInstance) -> None:
    definitions = graph(DAYS)
    _, cursor = asked_for(history, definitions)
    WRONG.add("monday")
    assert materialize_parent(history, definitions, "tuesday")
    assert not materialize_parent(history, definitions, "monday")
    held, _ = asked_for(history, definitions, cursor)
    assert held == 0  # tuesday's rows are right


def test_our_own_gate_reads_whole_tables_so_a_good_day_after_a_bad_one_releases_nothing(
    project: dg.Definitions, instance: dg.DagsterInstance, empty_home: Home
) -> None:
    from cer_assets_tests.defs.test_automation import HEADER, drop, load

    recommendations = dg.AssetKey(["recommend", "recommendations"])
    graph = cast("Graph", project.resolve_asset_graph())
    bad = drop(empty_home, dt.date(2017, 1, 1))
    bad.write_text(f"{HEADER}\nb1,1,crm,1,p1,one,2.50,0,s1,never\n")
    (step,) = due_loads(empty_home)
    assert not load(project, instance, empty_home, step).success
    drop(empty_home, dt.date(2017, 1, 2))
    (step,) = due_loads(empty_home)
    assert not load(project, instance, empty_home, step).success
    assert held_back(instance, graph, empty_home)[recommendations] == ["raw/transactions:little_rejected"]
    drop(empty_home, dt.date(2017, 1, 1))
    (step,) = due_loads(empty_home)
    assert load(project, instance, empty_home, step).success
    assert recommendations not in held_back(instance, graph, empty_home)
