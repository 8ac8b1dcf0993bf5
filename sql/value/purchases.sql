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
--- */
select
    customer_id,
    ordered_on,
    cast(count(case when merchandise_amount > 0 then 1 end) as bigint) as baskets,
    cast(sum(merchandise_amount) as decimal(18, 2)) as amount
from customer.orders
where customer_id is not null and merchandise_amount <> 0
group by customer_id, ordered_on
