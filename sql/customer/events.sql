/* ---
description: "What people looked at, searched for, put in the cart or opened, under the person the record belongs to; an event that was delivered twice is one."
owners: ["team:data"]
columns:
  event_id: The event.
  customer_id: The person the record belongs to; null where the record is unknown, and for visitors nobody knows.
  anonymous_id: The device of a visitor who did not sign in.
  kind: view, search, cart, email_open or email_click.
  product_id: The product it was about, if any.
  occurred_at: When, by the retailer's clock.
  occurred_on: The day of occurred_at.
--- */
with delivered_event as (
    select
        e.*,
        row_number() over (
            partition by e.event_id order by e.delivered_on desc, e.file desc, e.file_line desc
        ) as nth
    from raw.events as e
)

select
    e.event_id,
    l.customer_id,
    e.anonymous_id,
    e.kind,
    e.product_id,
    e.occurred_at,
    e.occurred_at::date as occurred_on
from delivered_event as e
left join identity.links as l on concat(e.source, ':', e.source_id) = l.record_id
where e.nth = 1
