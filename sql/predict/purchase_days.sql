/* ---
description: >-
  What a customer bought on a day, and how: the rows of value.purchases with how much was on offer and how wide the
  basket was. Every prediction reads days from here, and no wider table.
owners: ["team:data"]
columns:
  customer_id: who bought
  ordered_on: the day, in the retailer's time
  baskets: purchases on the day; 0 on a day of returns only
  amount: net merchandise amount of the day; returns subtract, so it can be negative
  discount: what was taken off the shelf prices of the goods bought
  products: different products bought
  categories: different categories bought; 0 where the catalogue knows none
--- */
with day_of_goods as (
    select
        l.customer_id,
        l.ordered_on,
        sum(l.discount) as discount,
        count(distinct l.product_id) as products,
        count(distinct p.category) as categories
    from customer.order_lines as l
    left join customer.products as p on l.product_id = p.product_id
    where l.customer_id is not null and l.merchandise and l.amount > 0
    group by l.customer_id, l.ordered_on
)

select
    p.customer_id,
    p.ordered_on,
    p.baskets,
    p.amount,
    coalesce(g.discount, 0)::decimal(18, 2) as discount,
    coalesce(g.products, 0) as products,
    coalesce(g.categories, 0) as categories
from value.purchases as p
left join day_of_goods as g on p.customer_id = g.customer_id and p.ordered_on = g.ordered_on
