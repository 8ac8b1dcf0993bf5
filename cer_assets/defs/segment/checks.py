"""Whether segments can be worked with: everyone in one, none a splinter, the same ones tomorrow."""

from typing import Literal

import dagster as dg

from cer_assets.defs.checking import bounded
from cer_assets.defs.resources import Home

_EVERYONE = {
    "behaviour": """
        with newest as (select * from segment.behaviour where as_of = (select max(as_of) from segment.behaviour))
        select abs((select count(*) from newest)
            - (select count(*) from value.rfm where as_of = (select max(as_of) from newest)))
            + (select count(*) - count(distinct customer_id) from newest) as wrong
        """,
    "preference": """
        with newest as (select * from segment.preference where as_of = (select max(as_of) from segment.preference))
        select abs((select count(*) from newest)
            - (select count(*) from value.rfm where as_of = (select max(as_of) from newest)))
            + (select count(*) - count(distinct customer_id) from newest) as wrong
        """,
}

_UNCHANGED = {
    "behaviour": """
        with newest as (select max(as_of) as day from segment.behaviour),
        before as (select max(as_of) as day from segment.behaviour, newest where as_of < newest.day)
        select
            avg(case when now.segment = earlier.segment then 1.0 else 0.0 end) as unchanged_share,
            count(*) as customers,
            max(date_diff('day', earlier.as_of, now.as_of)) as days_between
        from segment.behaviour as now
        inner join newest on now.as_of = newest.day
        inner join segment.behaviour as earlier on now.customer_id = earlier.customer_id
        inner join before on earlier.as_of = before.day
        """,
    "preference": """
        with newest as (select max(as_of) as day from segment.preference),
        before as (select max(as_of) as day from segment.preference, newest where as_of < newest.day)
        select
            avg(case when now.segment = earlier.segment then 1.0 else 0.0 end) as unchanged_share,
            count(*) as customers,
            max(date_diff('day', earlier.as_of, now.as_of)) as days_between
        from segment.preference as now
        inner join newest on now.as_of = newest.day
        inner join segment.preference as earlier on now.customer_id = earlier.customer_id
        inner join before on earlier.as_of = before.day
        """,
}


def _everyone(kind: Literal["behaviour", "preference"]) -> dg.AssetChecksDefinition:
    return bounded(
        f"segment/{kind}",
        "everyone_in_one_segment",
        "Every customer of the newest day is in exactly one segment.",
        _EVERYONE[kind],
        at_most=0,
        blocking=True,
    )


def _unchanged(kind: Literal["behaviour", "preference"]) -> dg.AssetChecksDefinition:
    return bounded(
        f"segment/{kind}",
        "same_as_before",
        "At least 95 % of customers are in the segment they were in on the day before (on the newest earlier day).",
        _UNCHANGED[kind],
        at_least=0.95,
    )


def _stable(kind: Literal["behaviour", "preference"]) -> dg.AssetChecksDefinition:
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
            metadata={"adjusted Rand index": stability or 0.0, "bound": 0.85, "segments": card["segments"]},
        )

    return stable


@dg.definitions
def checks() -> dg.Definitions:
    """Of the newest day each."""
    return dg.Definitions(
        asset_checks=[
            *[_everyone(kind) for kind in ("behaviour", "preference")],
            *[_unchanged(kind) for kind in ("behaviour", "preference")],
            *[_stable(kind) for kind in ("behaviour", "preference")],
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
