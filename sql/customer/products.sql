/* ---
description: "The current catalogue: of each product the row that was delivered last."
owners: ["team:data"]
columns:
  product_id: The product's key in the retailer's systems.
  title: One line a shopper would recognise.
  department: Widest group of the assortment.
  category: Group within the department.
  type: Narrowest group within the category.
  brand: Brand as delivered.
  size: Package size as delivered.
  price: Shelf price of one unit, in the retailer's currency.
  available: Whether it can be bought now; null where the catalogue does not say.
  merchandise: False for what is rung up but is no goods (fuel, coupons, fees).
--- */
-- The feed delivers everything each time (`delivers: full`): what the newest delivery lacks is no longer sold.
with latest_delivery as (
    select max(delivered_on) as delivered_on
    from raw.products
),

current_product as (
    select
        p.*,
        row_number() over (partition by p.product_id order by p.file desc, p.file_line desc) as newest
    from raw.products as p
    inner join latest_delivery as l on p.delivered_on = l.delivered_on
)

select
    product_id,
    title,
    department,
    category,
    type,
    brand,
    size,
    price,
    available,
    coalesce(merchandise, true) as merchandise
from current_product
where newest = 1
