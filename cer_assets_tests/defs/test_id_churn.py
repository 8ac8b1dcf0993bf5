"""A run that moves more ids than runs before it did is noticed."""

import dagster as dg
import polars as pl
import pytest

from cer_assets.defs.resources import Home
from cer_assets_tests.defs.conftest import evaluate


def resolved(home: Home, moved: list[int], since: int = 0) -> None:
    """A thousand records whose links were published after a birth and runs that moved so many, and `since` more."""
    links = pl.DataFrame({"record_id": [f"crm:{n}" for n in range(1000)], "customer_id": "c", "confidence": 1.0})
    history = [{"run": "first", "event": "birth", "links_version": -1}]
    for version in range(len(moved) + 1 + since):
        home.lake.publish("identity.links", links.with_columns(confidence=pl.lit(version / 100)))
    for version, ids in enumerate(moved):
        history += [{"run": f"run {version}", "event": "merge", "links_version": version}] * ids
        history += [{"run": f"run {version}", "event": "birth", "links_version": version}]
    home.lake.publish("identity.history", pl.DataFrame(history))


@pytest.mark.parametrize(
    ("moved", "since", "passes", "bound"),
    [
        ([], 0, True, 0.05),
        ([40], 0, True, 0.05),
        ([60], 0, False, 0.05),
        ([2, 2, 2, 2, 2, 9], 0, True, 0.01),
        ([2, 2, 2, 2, 2, 11], 0, False, 0.01),
        ([2, 2, 2, 2, 2, 11], 1, True, 0.01),
        ([20, 20, 20, 20, 20, 55], 0, True, 0.06),
        ([20, 20, 20, 20, 20, 65], 0, False, 0.06),
    ],
)
def test_the_newest_run_is_compared_with_those_before(
    project: dg.Definitions, empty_home: Home, moved: list[int], since: int, passes: bool, bound: float
) -> None:
    resolved(empty_home, moved, since)
    found = evaluate(project, empty_home, "identity/links", "id_churn")
    assert found.passed is passes
    assert found.metadata["at most"].value == pytest.approx(bound)
    assert found.severity == dg.AssetCheckSeverity.WARN
