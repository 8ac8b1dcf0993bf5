/* ---
description: "A person: the golden record. Of each field the most recent value that any of the person's records holds, and which record that is."
owners: ["team:data"]
personal: true
columns:
  customer_id: The person.
  records: Number of records that are this person.
  given_name: Given name.
  given_name_record: The record that given_name was taken from; null where no record holds one.
  surname: Family name, with jr and the like behind it.
  surname_record: The record that surname was taken from; null where no record holds one.
  birth_date: Date of birth.
  birth_date_record: The record that birth_date was taken from; null where no record holds one.
  email: E-mail address.
  email_record: The record that email was taken from; null where no record holds one.
  phone: Phone number, E.164.
  phone_record: The record that phone was taken from; null where no record holds one.
  street: Street, number and unit, or box.
  street_record: The record that street was taken from; null where no record holds one.
  city: Town.
  city_record: The record that city was taken from; null where no record holds one.
  region: State or province.
  region_record: The record that region was taken from; null where no record holds one.
  postcode: Postcode.
  postcode_record: The record that postcode was taken from; null where no record holds one.
  country: ISO code of the country.
  country_record: The record that country was taken from; null where no record holds one.
--- */
with linked_records as (
    select
        links.customer_id,
        records.*,
        row_number() over (
            partition by links.customer_id
            order by records.updated_at desc nulls last, records.record_id
        ) as age
    from identity.links as links
    join identity.records as records on links.record_id = records.record_id
)
select
    customer_id,
    count(record_id) as records,
    min_by(given_name, age) filter (where given_name is not null) as given_name,
    min_by(record_id, age) filter (where given_name is not null) as given_name_record,
    min_by(surname, age) filter (where surname is not null) as surname,
    min_by(record_id, age) filter (where surname is not null) as surname_record,
    min_by(birth_date, age) filter (where birth_date is not null) as birth_date,
    min_by(record_id, age) filter (where birth_date is not null) as birth_date_record,
    min_by(email, age) filter (where email is not null) as email,
    min_by(record_id, age) filter (where email is not null) as email_record,
    min_by(phone, age) filter (where phone is not null) as phone,
    min_by(record_id, age) filter (where phone is not null) as phone_record,
    min_by(street, age) filter (where street is not null) as street,
    min_by(record_id, age) filter (where street is not null) as street_record,
    min_by(city, age) filter (where city is not null) as city,
    min_by(record_id, age) filter (where city is not null) as city_record,
    min_by(region, age) filter (where region is not null) as region,
    min_by(record_id, age) filter (where region is not null) as region_record,
    min_by(postcode, age) filter (where postcode is not null) as postcode,
    min_by(record_id, age) filter (where postcode is not null) as postcode_record,
    min_by(country, age) filter (where country is not null) as country,
    min_by(record_id, age) filter (where country is not null) as country_record
from linked_records
group by customer_id
