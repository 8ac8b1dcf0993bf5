/* ---
description: "The days on which a customer bought something of a category."
owners: ["team:data"]
columns:
  customer_id: who bought
  category: the category, as the catalogue names it
  ordered_on: the day, in the retailer's time
--- */
select distinct
    l.customer_id,
    p.category,
    l.ordered_on
from customer.order_lines as l
inner join customer.products as p on l.product_id = p.product_id
where l.customer_id is not null and p.category is not null and l.merchandise and l.amount > 0
