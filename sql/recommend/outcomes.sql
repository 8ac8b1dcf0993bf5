/* ---
description: >-
  What became of the lists shown a week before, by where their products came from: how many customers came at all, and
  how much of what they were shown they bought. Read it beside the backtest: a model that has lost its grip shows here.
owners: ["team:data"]
partitions: {daily: as_of}
columns:
  as_of: The last day that counts.
  shown_on: The day of the lists, a week before.
  source: Where the products came from, as the lists say.
  customers: Customers with such a product on their list who bought anything within the week.
  shown: Products on the lists of those customers.
  bought: How many of these they bought within the week.
  bought_share: bought as a share of shown.
--- */
with shown as (
    select
        d.day as as_of,
        r.as_of as shown_on,
        r.customer_id,
        r.product_id,
        r.source
    from recommend.recommendations as r
    inner join run.days as d on r.as_of = d.day - interval 7 day
),

bought as (
    select distinct
        d.day as as_of,
        l.customer_id,
        l.product_id
    from customer.order_lines as l
    inner join run.days as d on l.ordered_on > d.day - interval 7 day and l.ordered_on <= d.day
    where l.merchandise and l.quantity > 0 and l.amount > 0 and l.customer_id is not null
),

came as (
    select distinct
        as_of,
        customer_id
    from bought
)

select
    s.as_of,
    s.shown_on,
    s.source,
    count(distinct s.customer_id) as customers,
    count(*) as shown,
    count(b.product_id) as bought,
    cast(count(b.product_id) as double) / count(*) as bought_share
from shown as s
inner join came as c on s.as_of = c.as_of and s.customer_id = c.customer_id
left join bought as b on s.as_of = b.as_of and s.customer_id = b.customer_id and s.product_id = b.product_id
group by s.as_of, s.shown_on, s.source
