"""Whether the lists may be shown: complete, available, consented to, and better than the plainest rule."""

import dagster as dg

from cer_assets.defs.checking import bounded

_STATEMENTS = """statement as (
    select l.customer_id, c.granted, row_number() over (
        partition by l.customer_id order by c."at" desc, c.granted
    ) as nth
    from raw.consents as c
    inner join identity.links as l on concat(c.source, ':', c.source_id) = l.record_id
    where c.purpose = 'personalisation'
)"""
"""What each customer said on personalisation, under any record, the newest first (`nth`)."""


def _not_behind(plainer: str, name: str, description: str, at_least: float) -> dg.AssetChecksDefinition:
    """By how much the model of the lists leads a plainer one on held-out days."""
    return bounded(
        "recommend/evaluation",
        name,
        description,
        """
        with decided as (
            select
                coalesce(max(champion) filter (where kind = 'rollback'), max(champion)) as champion,
                bool_or(promoted) and not bool_or(kind = 'rollback') as promoted
            from recommend.decisions where as_of = (select max(as_of) from recommend.decisions)
        ),
        newest as (
            select model, value from recommend.evaluation
            where as_of = (select max(as_of) from recommend.evaluation)
                and cut is null and bucket = 'all' and protocol = 'A' and metric = 'ndcg@10'
        ),
        figures as (
            select
                coalesce(
                    max(n.value) filter (where not d.promoted and n.model = 'champion'),
                    max(n.value) filter (where n.model = d.champion)
                ) as shown,
                max(n.value) filter (where n.model = $plainer) as plainer
            from newest as n cross join decided as d
        )
        select shown - plainer as lead, shown, plainer from figures
        """,
        at_least=at_least,
        parameters={"plainer": plainer},
    )


@dg.definitions
def checks() -> dg.Definitions:
    """Of the newest day each."""
    return dg.Definitions(
        asset_checks=[
            bounded(
                "recommend/recommendations",
                "only_what_can_be_bought",
                "No list holds a product that is unavailable or no merchandise.",
                """
                select count(*) as rows_to_hide from recommend.recommendations as r
                left join customer.products as p on r.product_id = p.product_id
                where r.as_of = (select max(as_of) from recommend.recommendations)
                    and (p.available = false or p.merchandise = false or p.product_id is null)
                    and exists (select 1 from customer.products)
                """,
                at_most=0,
                blocking=True,
            ),
            bounded(
                "recommend/recommendations",
                "no_product_twice",
                "No list holds a product twice, nor two products on one place.",
                """
                select count(*) - least(count(distinct (customer_id, product_id)), count(distinct (customer_id, rank)))
                    as surplus from recommend.recommendations
                where as_of = (select max(as_of) from recommend.recommendations)
                """,
                at_most=0,
                blocking=True,
            ),
            bounded(
                "recommend/recommendations",
                "nobody_who_withdrew",
                "Who withdrew the consent to personalisation, under any record, is on no list.",
                f"""
                with {_STATEMENTS}
                select count(distinct r.customer_id) as customers from recommend.recommendations as r
                inner join statement as s on r.customer_id = s.customer_id and s.nth = 1 and not s.granted
                where r.as_of = (select max(as_of) from recommend.recommendations)
                """,
                at_most=0,
                blocking=True,
            ),
            bounded(
                "recommend/recommendations",
                "every_product_has_a_reason",
                "Every product on a list says where it comes from and why.",
                """
                select count(*) as silent from recommend.recommendations
                where as_of = (select max(as_of) from recommend.recommendations)
                    and (coalesce(source, '') = '' or coalesce(reason, '') = '')
                """,
                at_most=0,
                blocking=True,
            ),
            bounded(
                "recommend/leaks",
                "nothing_was_known_before",
                "No model that was judged had seen a purchase of the days it was judged on, under whatever date.",
                """
                select coalesce(sum(rows), 0) as rows_known_before from recommend.leaks
                where as_of = (select max(as_of) from recommend.leaks)
                """,
                at_most=0,
                blocking=True,
            ),
            bounded(
                "recommend/recommendations",
                "nearly_everyone_has_a_list",
                "At least nine in ten customers have a list of full length; who withdrew the consent has none.",
                f"""
                with list as (
                    select customer_id, count(*) as products from recommend.recommendations
                    where as_of = (select max(as_of) from recommend.recommendations) and customer_id <> 'unknown'
                    group by customer_id
                ),
                {_STATEMENTS},
                asked as (
                    select customer_id from identity.customers
                    except select customer_id from statement where nth = 1 and not granted
                )
                select (select count(*) from list where products = (select max(products) from list))
                    / nullif((select count(*) from asked), 0) as share_of_customers
                """,
                at_least=0.9,
            ),
            bounded(
                "recommend/moments",
                "every_moment_has_a_list",
                "There is a list for strangers in every part of the day on every weekday.",
                "select count(distinct (daypart, weekday)) as moments from recommend.moments",
                at_least=35,
            ),
            _not_behind(
                "popularity",
                "better_than_popularity",
                "On held-out days the model of the lists beats what is popular (NDCG@10, everything bought).",
                at_least=0,
            ),
            _not_behind(
                "personal_frequency",
                "not_worse_than_own_favourites",
                "On held-out days the model of the lists is not materially worse than each customer's own favourites.",
                at_least=-0.005,
            ),
        ]
    )
