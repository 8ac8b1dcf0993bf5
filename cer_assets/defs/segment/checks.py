"""Whether segments can be worked with: everyone in one, none a splinter, the same ones tomorrow."""

import dagster as dg

from cer_assets.defs.checking import bounded, every_customer_once
from cer_assets.defs.resources import Home
from cer_assets.defs.segment.assets import KINDS
from cer_assets.segment.profiles import Kind

_UNCHANGED = """
with newest as (select max(as_of) as day from {table}),
before as (select max(as_of) as day from {table}, newest where as_of < newest.day)
select
    avg(case when now.segment = earlier.segment then 1.0 else 0.0 end) as unchanged_share,
    count(*) as customers,
    max(date_diff('day', earlier.as_of, now.as_of)) as days_between
from {table} as now
inner join newest on now.as_of = newest.day
inner join {table} as earlier on now.customer_id = earlier.customer_id
inner join before on earlier.as_of = before.day
"""


def _everyone(kind: Kind) -> dg.AssetChecksDefinition:
    return every_customer_once(
        f"segment/{kind}", "everyone_in_one_segment", "Every customer of the newest day is in exactly one segment."
    )


def _unchanged(kind: Kind) -> dg.AssetChecksDefinition:
    return bounded(
        f"segment/{kind}",
        "same_as_before",
        "At least 95 % of customers are in the segment they were in on the day before (on the newest earlier day).",
        _UNCHANGED.replace("{table}", f"segment.{kind}"),
        at_least=0.95,
    )


def _stable(kind: Kind) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=["segment", f"{kind}_model"],
        name="stable",
        description="Refitted on bootstrap samples, the segments are the same: adjusted Rand index of at least .85.",
    )
    def stable(home: Home) -> dg.AssetCheckResult:
        card = home.models.card(f"segment_{kind}_model")
        stability = next((t["stability"] for t in card["trials"] if t["k"] == card["segments"]), None)
        return dg.AssetCheckResult(
            passed=stability is None or stability >= 0.85,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "adjusted Rand index": "not measured" if stability is None else stability,
                "bound": 0.85,
                "segments": card["segments"],
            },
        )

    return stable


@dg.definitions
def checks() -> dg.Definitions:
    """Of the newest day each."""
    return dg.Definitions(
        asset_checks=[
            *(check(kind) for check in (_everyone, _unchanged, _stable) for kind in KINDS),
            bounded(
                "segment/profiles",
                "no_splinter",
                "No segment is smaller than one in twenty customers.",
                """
                select min(share) as smallest_share from segment.profiles
                where as_of = (select max(as_of) from segment.profiles)
                """,
                at_least=0.05,
            ),
            bounded(
                "segment/profiles",
                "names_differ",
                "No two segments of one kind share a name.",
                """
                select count(*) - count(distinct (kind, name)) as surplus from segment.profiles
                where as_of = (select max(as_of) from segment.profiles)
                """,
                at_most=0,
                blocking=True,
            ),
        ]
    )
