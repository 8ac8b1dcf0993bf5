/* ---
description: >-
  How each customer shops, as of a day: counts and sums that behaviour segments are made of. A basket counts on the day
  it was opened.
owners: ["team:data"]
partitions: {daily: as_of}
columns:
  as_of: The last day that counts.
  customer_id: The customer, one of `value.rfm`.
  recency_days: Days since the last purchase.
  frequency: Purchases so far.
  monetary: Net merchandise amount so far, in the retailer's currency.
  tenure_days: Days since the first purchase.
  visits: Baskets of goods worth more than nothing.
  days: Days with a visit.
  gap_days: Mean days from one day with a visit to the next; null with one such day.
  gap_variation: Standard deviation of these gaps over their mean; null with fewer than three such days.
  lines: Lines of the visits.
  amount: What the visits came to, in the retailer's currency.
  saved: What was taken off their shelf prices, in the retailer's currency.
  categories: Different categories bought.
  morning: Visits that began from 5 to before 11 o'clock.
  midday: Visits that began from 11 to before 15 o'clock.
  evening: Visits that began from 19 to before 5 o'clock.
  weekend: Visits on Saturday or Sunday.
  placed: Visits whose shop or channel is known.
  main_place: Visits to the shop or channel visited most.
--- */
with visit as (
    select
        days.day as as_of,
        o.customer_id,
        o.ordered_on,
        o.store_id,
        o.lines,
        o.merchandise_amount as amount,
        o.discount as saved,
        extract(hour from o.ordered_at) as hour,
        date_diff('day', lag(o.ordered_on) over of_customer, o.ordered_on) as gap
    from customer.orders as o
    inner join run.days as days on o.ordered_on <= days.day
    where o.customer_id is not null and o.merchandise_amount > 0
    window of_customer as (partition by days.day, o.customer_id order by o.ordered_on)
),

habit as (
    select
        as_of,
        customer_id,
        count(*) as visits,
        count(distinct ordered_on) as days,
        cast(sum(gap) as bigint) as gaps,
        cast(sum(gap * gap) as bigint) as squared_gaps,
        cast(sum(lines) as bigint) as lines,
        cast(sum(amount) as decimal(18, 2)) as amount,
        cast(sum(saved) as decimal(18, 2)) as saved,
        count(case when hour >= 5 and hour < 11 then 1 end) as morning,
        count(case when hour >= 11 and hour < 15 then 1 end) as midday,
        count(case when hour >= 19 or hour < 5 then 1 end) as evening,
        count(case when extract(isodow from ordered_on) >= 6 then 1 end) as weekend
    from visit
    group by as_of, customer_id
),

visits_to_place as (
    select
        as_of,
        customer_id,
        store_id,
        count(*) as visits
    from visit
    where store_id is not null
    group by as_of, customer_id, store_id
),

place as (
    select
        as_of,
        customer_id,
        cast(sum(visits) as bigint) as placed,
        max(visits) as main_place
    from visits_to_place
    group by as_of, customer_id
),

breadth as (
    select
        days.day as as_of,
        l.customer_id,
        count(distinct coalesce(a.category, 'unknown')) as categories
    from customer.order_lines as l
    inner join run.days as days on l.ordered_on <= days.day
    left join segment.assortment as a on l.product_id = a.product_id
    where l.merchandise and l.customer_id is not null and l.amount > 0
    group by days.day, l.customer_id
)

select
    r.as_of,
    r.customer_id,
    r.recency_days,
    r.frequency,
    r.monetary,
    r.tenure_days,
    coalesce(h.visits, 0) as visits,
    coalesce(h.days, 0) as days,
    h.gaps / nullif(h.days - 1.0, 0) as gap_days,
    case when h.days > 2 then
        sqrt(greatest(h.squared_gaps / (h.days - 1.0) - (h.gaps / (h.days - 1.0)) * (h.gaps / (h.days - 1.0)), 0.0))
        / nullif(h.gaps / (h.days - 1.0), 0)
    end as gap_variation,
    coalesce(h.lines, 0) as lines,
    coalesce(h.amount, 0) as amount,
    coalesce(h.saved, 0) as saved,
    coalesce(b.categories, 0) as categories,
    coalesce(h.morning, 0) as morning,
    coalesce(h.midday, 0) as midday,
    coalesce(h.evening, 0) as evening,
    coalesce(h.weekend, 0) as weekend,
    coalesce(p.placed, 0) as placed,
    coalesce(p.main_place, 0) as main_place
from value.rfm as r
inner join run.days as days on r.as_of = days.day
left join habit as h on r.as_of = h.as_of and r.customer_id = h.customer_id
left join place as p on r.as_of = p.as_of and r.customer_id = p.customer_id
left join breadth as b on r.as_of = b.as_of and r.customer_id = b.customer_id
