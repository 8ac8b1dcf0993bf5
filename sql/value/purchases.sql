/* ---
description: >-
  What a customer bought on a day, and the one place that says what a purchase is: a basket whose
  merchandise comes to more than nothing after its returns.
owners: ["team:data"]
columns:
  customer_id: who bought
  ordered_on: the day, in the retailer's time
  baskets: purchases on the day; 0 on a day of returns only
  amount: net merchandise amount of the day; returns subtract, so it can be negative
  bought: what the goods bought would have cost without discount; returns are left aside
  discount: what was taken off that
--- */
with baskets as (
    -- in one look at all lines; what a basket is made of besides goods counts for nothing
    select
        min(customer_id) as customer_id,
        min(ordered_on) as ordered_on,
        sum(case when merchandise then amount end) as amount,
        sum(case when merchandise and amount > 0 then amount + discount end) as bought,
        sum(case when merchandise and amount > 0 then discount end) as discount
    from customer.order_lines
    group by basket_id
)

select
    customer_id,
    ordered_on,
    cast(count(case when amount > 0 then 1 end) as bigint) as baskets,
    cast(sum(amount) as decimal(18, 2)) as amount,
    cast(coalesce(sum(bought), 0) as decimal(18, 2)) as bought,
    cast(coalesce(sum(discount), 0) as decimal(18, 2)) as discount
from baskets
where customer_id is not null and amount <> 0
group by customer_id, ordered_on
