"""Whether the lists may be shown: complete, available, consented to, and better than the plainest rule."""

import dagster as dg

from cer_assets.defs.checking import bounded


def _not_behind(plainer: str, name: str, description: str, at_least: float) -> dg.AssetChecksDefinition:
    """By how much the blend leads a plainer model on held-out days."""
    return bounded(
        "recommend/evaluation",
        name,
        description,
        """
        with newest as (
            select model, value from recommend.evaluation
            where as_of = (select max(as_of) from recommend.evaluation)
                and bucket = 'all' and protocol = 'A' and metric = 'ndcg@10'
        ),
        figures as (
            select
                max(value) filter (where model = 'blend') as blend,
                max(value) filter (where model = $plainer) as plainer
            from newest
        )
        select blend - plainer as lead, blend, plainer from figures
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
                inner join customer.products as p on r.product_id = p.product_id
                where r.as_of = (select max(as_of) from recommend.recommendations)
                    and (p.available = false or p.merchandise = false)
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
                "nearly_everyone_has_a_list",
                "At least nine in ten customers have a list of ten; who withdrew their consent has none.",
                """
                select (select count(*) from (select customer_id from recommend.recommendations
                        where as_of = (select max(as_of) from recommend.recommendations)
                        group by customer_id having count(*) = 10))
                    / nullif((select count(*) from identity.customers), 0) as share_of_customers
                """,
                at_least=0.9,
            ),
            _not_behind(
                "popularity",
                "better_than_popularity",
                "On held-out days the lists shown beat what is popular with everyone (NDCG@10, everything bought).",
                at_least=0,
            ),
            _not_behind(
                "personal_frequency",
                "not_worse_than_own_favourites",
                "On held-out days the lists shown are not materially worse than each customer's own favourites.",
                at_least=-0.005,
            ),
        ]
    )
