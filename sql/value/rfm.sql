/* ---
description: >-
  Recency, frequency and monetary value of every customer with a purchase, as of a day, with scores
  from 1 to 5 among the customers of that day.
owners: ["team:data"]
partitions: {daily: as_of}
columns:
  as_of: the day the figures are as of; its own purchases count
  customer_id: the customer
  recency_days: days since the last purchase
  frequency: purchases so far (baskets with merchandise of net amount > 0)
  monetary: net merchandise amount so far; returns subtract
  first_ordered_on: day of the first purchase
  last_ordered_on: day of the last purchase
  tenure_days: days since the first purchase
  mean_gap_days: days from one day with a purchase to the next, on average; null with only one such day
  discount_share: share of what goods bought would have cost that was given as discount; returns are left aside
  r: recency score, 5 for the most recent; equal recency has equal scores
  f: frequency score, 5 for the most frequent
  m: monetary score, 5 for the highest amount
--- */
with reckonings as (
    -- days with purchases, and the first day asked for that knows of them
    select
        bought.ordered_on,
        min(days.day) as reckoned_on
    from (select distinct ordered_on from value.purchases) as bought
    inner join run.days as days on bought.ordered_on <= days.day
    group by bought.ordered_on
),

gains as (
    -- what came to a customer's figures from one day asked for to the next, in one look at all purchases
    select
        purchases.customer_id,
        reckonings.reckoned_on,
        sum(purchases.baskets) as baskets,
        sum(purchases.amount) as amount,
        sum(purchases.bought) as bought,
        sum(purchases.discount) as discount,
        count(case when purchases.baskets > 0 then 1 end) as days,
        min(case when purchases.baskets > 0 then purchases.ordered_on end) as first_ordered_on,
        max(case when purchases.baskets > 0 then purchases.ordered_on end) as last_ordered_on
    from value.purchases as purchases
    inner join reckonings on purchases.ordered_on = reckonings.ordered_on
    group by purchases.customer_id, reckonings.reckoned_on
),

standings as (
    -- a customer's figures so far, good until the next day asked for that adds to them
    select
        customer_id,
        reckoned_on as known_from,
        lead(reckoned_on, 1, date '9999-12-31')
            over (partition by customer_id order by reckoned_on) as known_until,
        cast(sum(baskets) over so_far as bigint) as frequency,
        cast(sum(amount) over so_far as decimal(18, 2)) as monetary,
        cast(sum(bought) over so_far as double) as bought,
        cast(sum(discount) over so_far as double) as discount,
        sum(days) over so_far as days,
        min(first_ordered_on) over so_far as first_ordered_on,
        max(last_ordered_on) over so_far as last_ordered_on
    from gains
    window so_far as (
        partition by customer_id order by reckoned_on
        rows between unbounded preceding and current row
    )
),

customers_by_day as (
    select
        days.day as as_of,
        standings.customer_id,
        cast(date_diff('day', standings.last_ordered_on, days.day) as bigint) as recency_days,
        standings.frequency,
        standings.monetary,
        standings.first_ordered_on,
        standings.last_ordered_on,
        cast(date_diff('day', standings.first_ordered_on, days.day) as bigint) as tenure_days,
        cast(date_diff('day', standings.first_ordered_on, standings.last_ordered_on) as double)
            / nullif(standings.days - 1, 0) as mean_gap_days,
        standings.discount / nullif(standings.bought, 0) as discount_share
    from run.days as days
    inner join standings
        on standings.known_from <= days.day and standings.known_until > days.day
    where standings.frequency > 0
),

ranked_customers as (
    -- customers of the day that this one surpasses: ties count the same
    select
        as_of,
        customer_id,
        recency_days,
        frequency,
        monetary,
        first_ordered_on,
        last_ordered_on,
        tenure_days,
        mean_gap_days,
        discount_share,
        rank() over (partition by as_of order by recency_days desc) - 1 as less_recent,
        rank() over (partition by as_of order by frequency) - 1 as less_frequent,
        rank() over (partition by as_of order by monetary) - 1 as less_valuable
    from customers_by_day
),

leaders as (
    select
        as_of,
        max(less_recent) as less_recent,
        max(less_frequent) as less_frequent,
        max(less_valuable) as less_valuable
    from ranked_customers
    group by as_of
)

-- Fifths of the way to the day's best, in whole numbers so that every engine rounds alike: the best
-- scores 5, the least 1. Where all are equal there is nothing to rank, and all score 3.
select
    customers.as_of,
    customers.customer_id,
    customers.recency_days,
    customers.frequency,
    customers.monetary,
    customers.first_ordered_on,
    customers.last_ordered_on,
    customers.tenure_days,
    customers.mean_gap_days,
    customers.discount_share,
    cast(least(
        5, coalesce(1 + 5 * customers.less_recent // nullif(leaders.less_recent, 0), 3)
    ) as bigint) as r,
    cast(least(
        5, coalesce(1 + 5 * customers.less_frequent // nullif(leaders.less_frequent, 0), 3)
    ) as bigint) as f,
    cast(least(
        5, coalesce(1 + 5 * customers.less_valuable // nullif(leaders.less_valuable, 0), 3)
    ) as bigint) as m
from ranked_customers as customers
inner join leaders
    on customers.as_of = leaders.as_of
