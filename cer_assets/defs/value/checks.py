"""Whether value figures hang together: scores follow their measures, means follow their buckets."""

import dagster as dg

from cer_assets.defs.checking import bounded


@dg.definitions
def checks() -> dg.Definitions:
    """Of the newest day each."""
    return dg.Definitions(
        asset_checks=[
            bounded(
                "value/rfm",
                "equal_values_equal_scores",
                "Customers of one day with the same recency, frequency or spend have the same score of it.",
                """
                with newest as (select * from value.rfm where as_of = (select max(as_of) from value.rfm))
                select (select count(*) from (select 1 from newest group by recency_days
                        having count(distinct r) > 1))
                    + (select count(*) from (select 1 from newest group by frequency having count(distinct f) > 1))
                    + (select count(*) from (select 1 from newest group by monetary having count(distinct m) > 1))
                    as values_with_two_scores
                """,
                at_most=0,
                blocking=True,
            ),
            bounded(
                "value/rfm",
                "spend_conserved",
                "The spend of all customers of the newest day is what they bought up to it.",
                """
                with newest as (select max(as_of) as day from value.rfm)
                select abs((select coalesce(sum(monetary), 0) from value.rfm, newest where as_of = day)
                    - (select coalesce(sum(p.amount), 0) from value.purchases as p, newest
                        where p.ordered_on <= day and p.customer_id in
                            (select customer_id from value.rfm, newest where as_of = day))) as difference
                """,
                at_most=0,
                blocking=True,
            ),
            bounded(
                "value/clv",
                "figure_or_reason",
                "Every customer has either a figure or the reason why there is none.",
                """
                select count(*) filter (where (expected_spend is null) = (reason is null)) as wrong from value.clv
                where as_of = (select max(as_of) from value.clv)
                """,
                at_most=0,
                blocking=True,
            ),
            bounded(
                "value/clv",
                "most_have_a_figure",
                "At least two in three customers have a figure.",
                """
                select avg(case when expected_spend is null then 0.0 else 1.0 end) as share_of_customers from value.clv
                where as_of = (select max(as_of) from value.clv)
                """,
                at_least=2 / 3,
            ),
            bounded(
                "value/buckets",
                "ordered_by_mean",
                "Mean value falls from high over mid to low.",
                """
                with mean as (
                    select bucket, avg(value) as value from value.buckets
                    where as_of = (select max(as_of) from value.buckets) group by bucket
                )
                select coalesce(sum(case when better.value <= worse.value then 1 else 0 end), 0) as out_of_order
                from mean as better inner join mean as worse
                on (better.bucket, worse.bucket) in (('high', 'mid'), ('mid', 'low'), ('high', 'low'))
                """,
                at_most=0,
                blocking=True,
            ),
            bounded(
                "value/buckets",
                "every_customer_once",
                "Every customer with a purchase is in exactly one bucket.",
                """
                with newest as (select max(as_of) as day from value.buckets)
                select abs((select count(distinct customer_id) from value.buckets, newest where as_of = day)
                    - (select count(*) from value.rfm, newest where as_of = day))
                    + (select count(*) - count(distinct customer_id) from value.buckets, newest where as_of = day)
                    as wrong
                """,
                at_most=0,
                blocking=True,
            ),
        ]
    )
