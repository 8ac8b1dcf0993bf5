"""Whether records became people: none lost, none twice, no giant, and nearly all right where the truth is known."""

from collections.abc import Iterator

import dagster as dg
import polars as pl
from pydantic import Field

from cer_assets.defs.checking import bounded
from cer_assets.defs.io import table
from cer_assets.defs.resources import Engine, Home
from cer_assets.identity import Model
from cer_assets.identity.guards import BOUNDS, Bounds, guard

_LINKS = dg.AssetKey(["identity", "links"])
_GUARDS = {
    "shared_home": "People who share a home, a phone or an e-mail address are not made one customer.",
    "junk_contact": "No default e-mail address, phone number or code glues people of many names together.",
    "bridge": "Customers do not hang together by a record in the middle alone.",
    "size_cap": "No customer is made of more records than one person has.",
    "customer_jump": "Only new, changed and withdrawn records move the number of customers that people read now.",
    "ids_changed": "Nearly every record keeps its customer id, beside what people read now.",
}


class Allowed(dg.Config):
    """How much of each trouble is let through; to accept a change once, run the checks with a wider bound."""

    merged_homes: float = Field(default=BOUNDS.merged_homes, description="Share of customers of several records.")
    names_on_a_contact: int = Field(
        default=BOUNDS.names_on_a_contact, description="Names on one contact of a customer."
    )
    bridged: float = Field(default=BOUNDS.bridged, description="Share of pairs inside customers of three and more.")
    records_of_a_customer: int = Field(default=BOUNDS.records_of_a_customer, description="Records of one customer.")
    jump: float = Field(default=BOUNDS.jump, description="Share of the customers that people read now.")
    changed_ids: float = Field(default=BOUNDS.changed_ids, description="Share of the records that people read now.")


@dg.multi_asset_check(
    name="guards",
    specs=[
        dg.AssetCheckSpec(
            name,
            asset=_LINKS,
            description=promise,
            blocking=True,
            additional_deps=[["identity", "records"], ["identity", "edges"]],
        )
        for name, promise in _GUARDS.items()
    ],
    can_subset=True,
)
def guards(
    context: dg.AssetCheckExecutionContext, config: Allowed, home: Home, engine: Engine
) -> Iterator[dg.AssetCheckResult]:
    """What over-merging, gluing and churn look like from outside the model; offenders are named by id only."""
    learned = Model.from_files(home.models.load("identity_model"))
    records, links, edges = (home.read(f"identity.{name}") for name in ("records", "links", "edges"))
    with engine.over() as con:
        found = guard(records, links, edges, learned, home.served("identity.links"), Bounds(**dict(config)), con)
    wanted = {key.name for key in context.selected_asset_check_keys}
    for row in found.figures.filter(pl.col("guard").is_in(list(wanted))).iter_rows(named=True):
        offenders = found.offenders.filter(guard=row["guard"]).drop("guard")
        figure = "not applicable" if row["value"] is None else row["value"]
        yield dg.AssetCheckResult(
            asset_key=_LINKS,
            check_name=row["guard"],
            passed=row["passed"],
            description=row["sentence"],
            metadata={"figure": figure, "at most": row["bound"]}
            | ({"customers": table(offenders)} if len(offenders) else {}),
        )


_CHURN = """
with ran as (
    select
        run,
        min(links_version) as links_version,
        count(*) filter (where event in ('merge', 'split', 'move')) as moved
    from identity.history
    group by run
),
earlier as (
    select moved from ran where links_version >= 0 and run <> (select max_by(run, links_version) from ran)
    order by links_version desc limit $runs
),
usual as (select median(moved) as moved, count(*) as runs from earlier),
newest as (select moved from ran where links_version = $links_version - 1 and links_version >= 0),
records as (select greatest(count(*), 1) as records from identity.links)
select
    coalesce((select moved from newest), 0) / records as share,
    case when usual.runs < $few then $at_first else greatest($at_least, $times * usual.moved / records) end as bound,
    usual.runs
from usual, records
"""
_CHURN_BOUNDS = {"runs": 20, "few": 5, "at_first": 0.05, "times": 3, "at_least": 0.01}
"""Beside three times the median of the last twenty runs that moved an id; a hundredth of the records is always allowed,
and a twentieth while fewer than five such runs are known."""


@dg.asset_check(
    asset=_LINKS,
    name="id_churn",
    description="The newest run merged, split or moved no more customers, as a share of records, than three times what"
    " runs before it did (a hundredth at least, a twentieth while there are few): more is a changed source, or a model"
    " gone astray.",
    additional_deps=[["identity", "history"]],
)
def id_churn(home: Home, engine: Engine) -> dg.AssetCheckResult:
    """Ids that move by the hundred are noticed, though every guard may let them pass."""
    version = home.lake.version("identity.links")
    with engine.over(["identity.history", "identity.links"]) as con:
        ((share, bound, runs),) = con.execute(_CHURN, _CHURN_BOUNDS | {"links_version": version}).fetchall()
    passed = share <= bound
    return dg.AssetCheckResult(
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=None if passed else f"{share:.1%} of the records changed customers, expected at most {bound:.1%}",
        metadata={"share of records": float(share), "at most": float(bound), "runs compared with": runs},
    )


@dg.definitions
def checks() -> dg.Definitions:
    """Guards of the links; the blocking ones keep purchases from being put under wrong people."""
    return dg.Definitions(
        asset_checks=[
            guards,
            id_churn,
            bounded(
                "identity/records",
                "record_once",
                "No record stands twice.",
                "select count(*) - count(distinct record_id) as surplus from identity.records",
                at_most=0,
                blocking=True,
            ),
            bounded(
                "identity/records",
                "records_can_be_compared",
                "At least nine in ten records have a name and one more field to compare.",
                """
                select avg(case when surname is not null and coalesce(email, phone, street, birth_date::varchar)
                    is not null then 1.0 else 0.0 end) as share_of_records from identity.records
                """,
                at_least=0.9,
            ),
            bounded(
                "identity/links",
                "every_record_once",
                "Every record has exactly one customer.",
                """
                select count(*) filter (where r.record_id is null or l.record_id is null)
                    + (select count(*) - count(distinct record_id) from identity.links) as wrong
                from identity.records as r full join identity.links as l on r.record_id = l.record_id
                """,
                at_most=0,
                blocking=True,
            ),
            bounded(
                "identity/links",
                "confident",
                "At least nine in ten records are linked, or left alone, with a confidence of one half or more.",
                "select avg(case when confidence >= 0.5 then 1.0 else 0.0 end) as share_of_records from identity.links",
                at_least=0.9,
            ),
            bounded(
                "identity/labels",
                "both_answers",
                "At least five labels say match and five say distinct: fewer teach little.",
                """
                select least(count(*) filter (where answer = 'match'), count(*) filter (where answer = 'distinct'))
                    as rarer_answer from identity.labels
                """,
                at_least=5,
            ),
            bounded(
                "identity/customers",
                "one_row_a_customer",
                "The golden records are exactly the customers of the links, each of as many records.",
                """
                with linked as (select customer_id, count(*) as records from identity.links group by customer_id)
                select
                    count(*) filter (where l.records is distinct from g.records) + count(g.customer_id)
                        - count(distinct g.customer_id) as customers_that_differ,
                    count(l.customer_id) as customers
                from linked as l full join identity.customers as g on l.customer_id = g.customer_id
                """,
                at_most=0,
                blocking=True,
            ),
            bounded(
                "identity/customers",
                "values_have_an_origin",
                "Every value of a golden record names a record of that customer, and the rule that chose it.",
                """
                with told as (
                    select customer_id, unnest([
                        {'source': given_name_record, 'none': given_name is null, 'bare': given_name_rule is null},
                        {'source': surname_record, 'none': surname is null, 'bare': surname_rule is null},
                        {'source': birth_date_record, 'none': birth_date is null, 'bare': birth_date_rule is null},
                        {'source': email_record, 'none': email is null, 'bare': email_rule is null},
                        {'source': phone_record, 'none': phone is null, 'bare': phone_rule is null},
                        {'source': street_record, 'none': street is null, 'bare': street_rule is null}
                    ]) as value
                    from identity.customers
                )
                select
                    count(*) filter (
                        where value.none <> (value.source is null) or value.none <> value.bare
                        or (not value.none and l.customer_id is distinct from t.customer_id)
                    ) as values_without_origin,
                    count(*) filter (where not value.none) as values_told
                from told as t left join identity.links as l on t.value.source = l.record_id
                """,
                at_most=0,
                blocking=True,
            ),
            bounded(
                "identity/households",
                "every_customer_once",
                "Every customer lives in exactly one household.",
                """
                select count(*) filter (where h.customer_id is null or c.customer_id is null)
                    + count(h.customer_id) - count(distinct h.customer_id) as customers_that_differ,
                    count(distinct h.household_id) as households
                from identity.customers as c full join identity.households as h on c.customer_id = h.customer_id
                """,
                at_most=0,
                blocking=True,
            ),
            bounded(
                "identity/households",
                "no_giant",
                "No household has more than 20 customers: more is a building or a default address.",
                """
                select coalesce(max(customers), 0) as largest
                from (select count(*) as customers from identity.households group by household_id)
                """,
                at_most=20,
                blocking=True,
            ),
            bounded(
                "identity/households",
                "few_by_contact_alone",
                "Few customers are put into a household by a shared phone number or e-mail address without a home.",
                """
                select avg(case when why in ('contact', 'contact and surname') then 1.0 else 0.0 end)
                    as share_of_customers from identity.households
                """,
                at_most=0.2,
            ),
            bounded(
                "identity/evaluation",
                "pairwise_f1",
                "Against the sample's truth, pairwise F1 is at least .95; without a truth there is nothing to compare.",
                "select max(value) as pairwise_f1 from identity.evaluation where metric = 'pairwise_f1'",
                at_least=0.95,
            ),
        ]
    )
