/* ---
description: >-
  Every customer at the end of each week (Monday to Sunday) and of each month: the standing of that
  day, taken from `value.rfm`, and what was bought in the period. A day that ends neither has no rows.
owners: ["team:data"]
partitions: {daily: as_of}
columns:
  as_of: the last day of the period
  period: week or month
  starts_on: the first day of the period
  customer_id: the customer
  baskets: purchases in the period
  spend: net merchandise amount of the period; returns subtract
  recency_days: days since the last purchase, at the end of the period
  frequency: purchases so far
  monetary: net merchandise amount so far
  r: recency score of that day
  f: frequency score of that day
  m: monetary score of that day
--- */
with periods as (
    select
        'week' as period,
        cast(date_trunc('week', day) as date) as starts_on,
        day as ends_on
    from run.days
    where date_diff('day', cast(date_trunc('week', day) as date), day) = 6
    union all
    select
        'month' as period,
        cast(date_trunc('month', day) as date) as starts_on,
        day as ends_on
    from run.days
    where day = last_day(day)
),

purchases_of_periods as (
    select
        periods.period,
        periods.ends_on,
        purchases.customer_id,
        cast(sum(purchases.baskets) as bigint) as baskets,
        cast(sum(purchases.amount) as decimal(18, 2)) as spend
    from periods
    inner join value.purchases as purchases
        on purchases.ordered_on >= periods.starts_on and purchases.ordered_on <= periods.ends_on
    group by periods.period, periods.ends_on, purchases.customer_id
)

select
    rfm.as_of,
    periods.period,
    periods.starts_on,
    rfm.customer_id,
    coalesce(bought.baskets, 0) as baskets,
    cast(coalesce(bought.spend, 0) as decimal(18, 2)) as spend,
    rfm.recency_days,
    rfm.frequency,
    rfm.monetary,
    rfm.r,
    rfm.f,
    rfm.m
from periods
inner join value.rfm as rfm on periods.ends_on = rfm.as_of
left join purchases_of_periods as bought
    on periods.period = bought.period
    and periods.ends_on = bought.ends_on
    and rfm.customer_id = bought.customer_id
