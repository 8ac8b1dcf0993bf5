/* ---
description: "Every accepted basket line under the person who paid for it; none is left out, so amounts are conserved."
owners: ["team:data"]
columns:
  basket_id: One visit to one till or one web order.
  line: Number of the line within its basket.
  customer_id: The person the paying record belongs to; null where the payer is unknown.
  source: The system whose id was used at the till.
  source_id: That system's id of the payer.
  product_id: What was bought.
  quantity: Units; negative for a return.
  amount: What was paid for the line, in the retailer's currency; negative for a return.
  discount: What was taken off the shelf price, in the retailer's currency, zero or more.
  store_id: Where.
  ordered_at: When, by the shopper's clock.
  ordered_on: The day of ordered_at.
  merchandise: Whether the line counts as goods (no fuel, coupon or fee, and neither quantity nor amount is zero).
--- */
select
    t.basket_id,
    t.line,
    l.customer_id,
    t.source,
    t.source_id,
    t.product_id,
    t.quantity,
    t.amount,
    coalesce(t.discount, 0)::decimal(18, 2) as discount,
    t.store_id,
    t.ordered_at,
    t.ordered_at::date as ordered_on,
    coalesce(p.merchandise, true) and t.quantity <> 0 and t.amount <> 0 as merchandise
from raw.transactions as t
left join identity.links as l on concat(t.source, ':', t.source_id) = l.record_id
left join customer.products as p on t.product_id = p.product_id
