"""The project's definitions over a home of a test's own."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

os.environ["CER_LAST_DAY"] = "2018-01-31"

from cer_assets.defs.resources import Home
from cer_assets.defs.wiring import resources
from cer_assets_tests.conftest import copied


@pytest.fixture(scope="session")
def project() -> dg.Definitions:
    """The whole project."""
    from cer_assets.definitions import defs

    return defs()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance that is gone with the test."""
    with dg.DagsterInstance.ephemeral() as one:
        yield one


@pytest.fixture
def empty_home(tmp_path: Path) -> Home:
    """A home with nothing in it."""
    return Home(root=str(tmp_path))


@pytest.fixture
def broken_home(finished_home: Path, tmp_path: Path) -> Home:
    """A copy of the finished home, to break something in; without its instance, and its tables linked.

    Files of a Delta table are written once: what is published here is not seen in the finished home.
    """
    home = tmp_path / "home"
    shutil.copytree(finished_home / "lake", home / "lake", copy_function=os.link)
    for part in ("landing", "models", "reports", "sample_truth", "snapshots"):
        copied(finished_home / part, home / part)
    return Home(root=str(home))


def evaluate(project: dg.Definitions, home: Home, table: str, name: str) -> dg.AssetCheckEvaluation:
    """Run one check over a home."""
    key = dg.AssetCheckKey(dg.AssetKey(table.split("/")), name)
    job = dg.define_asset_job("one_check", dg.AssetSelection.checks(key))
    (check,) = (c for c in project.asset_checks or [] if key in c.check_keys)
    with dg.DagsterInstance.ephemeral() as instance:
        result = (
            dg.Definitions(asset_checks=[check], jobs=[job], resources=resources(home))
            .resolve_job_def("one_check")
            .execute_in_process(instance=instance, raise_on_error=False)
        )
    (evaluation,) = result.get_asset_check_evaluations()
    return evaluation
