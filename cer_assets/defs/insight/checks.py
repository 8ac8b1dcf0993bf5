"""Whether resolution pays, the report names nobody, and the snapshot holds everything."""

import re

import dagster as dg
import polars as pl

from cer_assets.defs.checking import bounded
from cer_assets.defs.insight.assets import PAGE
from cer_assets.defs.resources import Home
from cer_assets.lake import read_snapshot


@dg.asset_check(
    asset=["insight", "snapshot"],
    name="names_every_table",
    blocking=True,
    description="The snapshot names a version of every table of the lake, and each can still be read.",
)
def names_every_table(home: Home) -> dg.AssetCheckResult:
    """Compare the snapshot with the lake."""
    versions = read_snapshot(home.snapshots).versions
    missing = sorted(set(home.lake.tables()) - set(versions))
    gone = sorted(t for t, version in versions.items() if not home.lake.holds(t, version))
    return dg.AssetCheckResult(
        passed=not missing and not gone,
        metadata={"tables": len(versions), "not named": missing, "no longer there": gone, "bound": 0},
    )


@dg.asset_check(
    asset=["insight", "report"],
    name="names_nobody",
    blocking=True,
    description="No id, e-mail address or telephone number of a customer stands in the page.",
)
def names_nobody(home: Home) -> dg.AssetCheckResult:
    """Look up every word of the page."""
    words = pl.LazyFrame({"value": sorted(set(re.findall(r"[\w.+@-]+", (home.reports / PAGE).read_text())))})
    values = home.lake.scan("identity.customers").select("customer_id", "email", "phone").unpivot().select("value")
    found = values.drop_nulls().unique().join(words, on="value", how="semi").select(pl.len()).collect().item()
    return dg.AssetCheckResult(passed=found == 0, metadata={"found": found, "bound": 0})


@dg.definitions
def checks() -> dg.Definitions:
    """Of the newest state."""
    return dg.Definitions(
        asset_checks=[
            names_every_table,
            names_nobody,
            bounded(
                "insight/resolution",
                "resolution_pays",
                "Spend per customer is closer to the truth with resolution than without.",
                """
                select (select max(value) from insight.resolution
                        where view = 'unresolved' and metric = 'monetary_relative_error')
                    - (select max(value) from insight.resolution
                        where view = 'resolved' and metric = 'monetary_relative_error') as error_taken_away
                """,
                at_least=0,
            ),
        ]
    )
