/* ---
description: "Every basket under the person who paid for it: its lines added up."
owners: ["team:data"]
columns:
  basket_id: One visit to one till or one web order.
  customer_id: The person the paying record belongs to; null where the payer is unknown.
  source: The system whose id was used at the till.
  source_id: That system's id of the payer.
  store_id: Where.
  ordered_at: When the basket was opened, by the shopper's clock.
  ordered_on: The day of ordered_at.
  lines: Number of lines.
  quantity: Units, returns taken off.
  amount: What was paid, in the retailer's currency, returns taken off.
  discount: What was taken off the shelf prices, in the retailer's currency.
  merchandise_amount: The part of amount that was paid for goods.
--- */
select
    basket_id,
    min(customer_id) as customer_id,
    min(source) as source,
    min(source_id) as source_id,
    min(store_id) as store_id,
    min(ordered_at) as ordered_at,
    min(ordered_on) as ordered_on,
    count(*) as lines,
    sum(quantity)::decimal(18, 3) as quantity,
    sum(amount)::decimal(18, 2) as amount,
    sum(discount)::decimal(18, 2) as discount,
    coalesce(sum(case when merchandise then amount end), 0)::decimal(18, 2) as merchandise_amount
from customer.order_lines
group by basket_id
