"""The report as an asset: a file of the home, known by its bytes."""

import hashlib
from pathlib import Path

import dagster as dg
import polars as pl

from cer_assets.defs.resources import Home
from cer_assets.defs.wiring import resources
from cer_assets_tests.insight.lake_of_report import frames


def materialized(project: dg.Definitions, home: Home) -> dg.AssetMaterialization:
    report = project.get_assets_def(["insight", "report"])
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([report], instance=instance, resources=resources(home))
    (event,) = result.get_asset_materialization_events()
    return event.step_materialization_data.materialization


def version_of(done: dg.AssetMaterialization) -> str:
    return (done.tags or {})["dagster/data_version"]


def test_the_report_is_a_file_of_the_home_whose_bytes_are_its_version(
    project: dg.Definitions, empty_home: Home
) -> None:
    empty = materialized(project, empty_home)
    page = Path(empty_home.root, "reports", "customers.html")
    assert "There are no figures yet" in page.read_text()
    assert empty.metadata["page"].value == str(page)
    assert version_of(empty) == hashlib.sha256(page.read_bytes()).hexdigest()[:16]
    assert version_of(materialized(project, empty_home)) == version_of(empty)


def test_the_report_shows_its_charts_in_the_ui_and_stands_where_tables_are_missing(
    project: dg.Definitions, empty_home: Home
) -> None:
    for name in ("purchases", "buckets"):
        empty_home.lake.publish(f"value.{name}", frames()[name].cast({pl.Decimal: pl.Decimal(18, 2)}))
    done = materialized(project, empty_home)
    assert "data:image/png" in str(done.metadata["Value buckets: Share of customers and of value"].value)
    assert "High-value customers" in (empty_home.reports / "customers.html").read_text()
    assert [path.name for path in empty_home.reports.iterdir()] == ["customers.html"]
