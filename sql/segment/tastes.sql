/* ---
description: >-
  What each customer's money goes on, as of a day: net spend by category, by brand and by level of price. The classes
  with most spend have rows of their own, the rest count as other.
owners: ["team:data"]
partitions: {daily: as_of}
columns:
  as_of: The last day that counts.
  customer_id: The customer.
  facet: category, brand or price.
  class: The category, the brand, or how the product's price compares with the median of its category (low, middle, high).
  amount: Net spend, more than zero, in the retailer's currency.
--- */
with line as (
    select
        days.day as as_of,
        l.customer_id,
        l.product_id,
        l.quantity,
        l.amount,
        l.discount
    from customer.order_lines as l
    inner join run.days as days on l.ordered_on <= days.day
    where l.merchandise and l.customer_id is not null
),

product_sold as (
    select
        as_of,
        product_id,
        sum(amount) as amount,
        sum(case when amount > 0 then amount + discount end)
        / nullif(sum(case when amount > 0 then quantity end), 0) as usual_price
    from line
    group by as_of, product_id
),

product as (
    select
        s.as_of,
        s.product_id,
        s.amount,
        coalesce(a.category, 'unknown') as category,
        a.brand,
        cast(coalesce(a.price, s.usual_price) as double) as price
    from product_sold as s
    left join segment.assortment as a on s.product_id = a.product_id
),

ranked_category as (
    select
        as_of,
        category,
        cast(median(price) as double) as median_price,
        row_number() over (partition by as_of order by sum(amount) desc, category) as nth
    from product
    group by as_of, category
),

ranked_brand as (
    select
        as_of,
        brand,
        row_number() over (partition by as_of order by sum(amount) desc, brand) as nth
    from product
    where brand is not null
    group by as_of, brand
),

classed_product as (
    select
        p.as_of,
        p.product_id,
        case when c.nth <= 20 then p.category else 'other' end as category,
        case when b.nth <= 5 then p.brand when b.nth > 5 then 'other' end as brand,
        case
            when p.price < 0.8 * c.median_price then 'low'
            when p.price > 1.25 * c.median_price then 'high'
            when p.price is not null then 'middle'
        end as price
    from product as p
    inner join ranked_category as c on p.as_of = c.as_of and p.category = c.category
    left join ranked_brand as b on p.as_of = b.as_of and p.brand = b.brand
),

spending as (
    select
        l.as_of,
        l.customer_id,
        p.category,
        p.brand,
        p.price,
        sum(l.amount) as amount
    from line as l
    inner join classed_product as p on l.as_of = p.as_of and l.product_id = p.product_id
    group by l.as_of, l.customer_id, p.category, p.brand, p.price
),

taste as (
    select as_of, customer_id, 'category' as facet, category as class, amount from spending
    union all
    select as_of, customer_id, 'brand' as facet, brand as class, amount from spending
    union all
    select as_of, customer_id, 'price' as facet, price as class, amount from spending
)

select
    as_of,
    customer_id,
    facet,
    class,
    cast(sum(amount) as decimal(18, 2)) as amount
from taste
where class is not null
group by as_of, customer_id, facet, class
having sum(amount) > 0
