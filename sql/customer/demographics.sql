/* ---
description: "What is known of a customer's household, in the sources' own classes: of each fact the one delivered last."
owners: ["team:data"]
columns:
  customer_id: The person the record belongs to.
  age: Age class.
  income: Income class.
  home_ownership: Owner, renter, ...
  marital_status: Marital status.
  household_size: People in the household, as a class.
  household_comp: Who lives in the household, as a class.
  kids: Children in the household, as a class.
--- */
with newest_delivery as (
    -- The feed delivers changes (`delivers: changes`): a record's last row replaces those before it.
    select
        d.*,
        row_number() over (
            partition by d.source, d.source_id order by d.delivered_on desc, d.file desc, d.file_line desc
        ) as nth
    from raw.demographics as d
),

record_of_customer as (
    select
        l.customer_id,
        d.age,
        d.income,
        d.home_ownership,
        d.marital_status,
        d.household_size,
        d.household_comp,
        d.kids,
        row_number() over (partition by l.customer_id order by d.delivered_on, d.source, d.source_id) as said
    from newest_delivery as d
    inner join identity.links as l on concat(d.source, ':', d.source_id) = l.record_id
    where d.nth = 1
)

select
    customer_id,
    max_by(age, said) filter (where age is not null) as age,
    max_by(income, said) filter (where income is not null) as income,
    max_by(home_ownership, said) filter (where home_ownership is not null) as home_ownership,
    max_by(marital_status, said) filter (where marital_status is not null) as marital_status,
    max_by(household_size, said) filter (where household_size is not null) as household_size,
    max_by(household_comp, said) filter (where household_comp is not null) as household_comp,
    max_by(kids, said) filter (where kids is not null) as kids
from record_of_customer
group by customer_id
