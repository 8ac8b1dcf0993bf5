/* ---
description: >-
  What each person last said on each purpose, under any of their records; of two statements of one moment the
  withdrawal counts. No statement is no withdrawal. What each purpose governs is said in `cer_assets/defs/purposes.py`.
owners: ["team:data"]
columns:
  customer_id: The person the record belongs to; a statement of a record that nobody knows is not here.
  purpose: What the consent is for.
  granted: Whether it was given (true) or withdrawn (false).
  said_at: When it was said, by the retailer's clock.
  known_on: Day of the first delivery that held it; from then on it holds.
--- */
with statement as (
    select
        l.customer_id,
        c.purpose,
        c.granted,
        c."at" as said_at,
        min(c.delivered_on) as known_on
    from raw.consents as c
    inner join identity.links as l on concat(c.source, ':', c.source_id) = l.record_id
    group by l.customer_id, c.purpose, c.granted, c."at"
),

newest_first as (
    select
        *,
        row_number() over (partition by customer_id, purpose order by said_at desc, granted) as nth
    from statement
)

select
    customer_id,
    purpose,
    granted,
    said_at,
    known_on
from newest_first
where nth = 1
