/* ---
description: >-
  Under which group each product counts when tastes are compared. A product without category, department and type
  counts under the word of its title that it shares with most products; without a title too, as unknown.
owners: ["team:data"]
columns:
  product_id: The product.
  category: Its category, else its department, its type, a word of its title, or unknown.
  brand: Its brand as delivered; null where none is known.
  price: Shelf price of one unit, in the retailer's currency; null where none is known.
--- */
with word_of_product as (
    select distinct
        p.product_id,
        w.word
    from customer.products as p
    cross join unnest(string_split(regexp_replace(lower(p.title), '[^\p{L}]+', ' ', 'g'), ' ')) as w (word)
    where coalesce(p.category, p.department, p.type) is null and length(w.word) > 2
),

common_word as (
    -- A word that most titles have says nothing, nor does one that stands in a single title.
    select
        word,
        count(*) as products
    from word_of_product
    where word not in ('and', 'for', 'the', 'with')
    group by word
    having count(*) > 1 and 5 * count(*) <= (select count(*) from customer.products)
),

word_of_title as (
    select
        w.product_id,
        w.word,
        row_number() over (partition by w.product_id order by c.products desc, w.word) as nth
    from word_of_product as w
    inner join common_word as c on w.word = c.word
)

select
    p.product_id,
    coalesce(p.category, p.department, p.type, w.word, 'unknown') as category,
    p.brand,
    p.price
from customer.products as p
left join word_of_title as w on p.product_id = w.product_id and w.nth = 1
