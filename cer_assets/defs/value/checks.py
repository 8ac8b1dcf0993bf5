"""Whether value figures hang together: scores follow their measures, means follow their buckets."""

import dagster as dg

from cer_assets.defs.checking import bounded, every_customer_once


@dg.definitions
def checks() -> dg.Definitions:
    """Of the newest day each."""
    return dg.Definitions(
        asset_checks=[
            bounded(
                "value/purchases",
                "agrees_with_orders",
                "Days of purchases hold the baskets and the amounts of `customer.orders` whose payer is known.",
                """
                with days as (select sum(baskets) as baskets, sum(amount) as amount from value.purchases),
                orders as (
                    select count(*) filter (merchandise_amount > 0) as baskets, sum(merchandise_amount) as amount
                    from customer.orders where customer_id is not null
                )
                select abs(coalesce(days.amount, 0) - coalesce(orders.amount, 0))
                    + abs(coalesce(days.baskets, 0) - orders.baskets) as difference
                from days, orders
                """,
                at_most=0,
                blocking=True,
            ),
            bounded(
                "value/rfm",
                "scores_follow_measures",
                "Recency, frequency and spend: the better customer has no lower score, and equals have the same.",
                """
                with newest as (select * from value.rfm where as_of = (select max(as_of) from value.rfm)),
                scored as (
                    select 'r' as score, -recency_days as measure, r as points from newest
                    union all select 'f', frequency, f from newest
                    union all select 'm', monetary, m from newest
                ),
                steps as (
                    select min(points) as least, max(points) as most,
                        lag(max(points)) over (partition by score order by measure) as most_below
                    from scored group by score, measure
                )
                select count(*) filter (where least < most or least < most_below) as values_out_of_order from steps
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
                "At least two in three customers have a figure for the next 91 days.",
                """
                select avg(case when expected_spend is null then 0.0 else 1.0 end) as share_of_customers from value.clv
                where as_of = (select max(as_of) from value.clv) and horizon_days = 91
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
            every_customer_once(
                "value/buckets", "every_customer_once", "Every customer with a purchase is in exactly one bucket."
            ),
            every_customer_once(
                "value/rfm_history",
                "every_customer_once",
                "Every customer with a purchase by the end of the newest week has one standing of it.",
                rows="period = 'week'",
            ),
            bounded(
                "value/buckets",
                "few_move_without_cause",
                "Of customers worth within 5% of what they were worth on the day before, few changed their bucket.",
                """
                with days as (select distinct as_of from value.buckets order by as_of desc limit 2),
                now as (select * from value.buckets where as_of = (select max(as_of) from days)),
                was as (select * from value.buckets where as_of = (select min(as_of) from days))
                select avg(case when now.bucket = was.bucket then 0.0 else 1.0 end) as share_of_customers,
                    count(*) as customers
                from now inner join was on now.customer_id = was.customer_id
                where abs(now.value - was.value) <= 0.05 * was.value
                """,
                at_most=0.01,
            ),
            bounded(
                "value/migration",
                "sums_to_population",
                "Whoever had a bucket on the earlier day, and whoever has one now, went exactly one way.",
                """
                with moves as (select * from value.migration where as_of = (select max(as_of) from value.buckets)),
                counted as (
                    select from_on as day, from_bucket as bucket, from_on, customers from moves
                    union all select as_of, to_bucket, from_on, customers from moves
                ),
                population as (select as_of as day, bucket, count(*) as customers from value.buckets group by all),
                sums as (
                    select day, bucket, from_on, sum(customers) as customers from counted
                    where bucket not in ('new', 'gone') group by all
                ),
                wanted as (
                    select day, bucket, from_on, customers from population
                    inner join (select distinct day, from_on from counted) using (day)
                )
                select coalesce(sum(abs(coalesce(s.customers, 0) - coalesce(w.customers, 0))), 0) as miscounted,
                    count(distinct from_on) as days_before
                from sums as s full join wanted as w using (day, bucket, from_on)
                """,
                at_most=0,
                blocking=True,
            ),
        ]
    )
