/* ---
description: "Whom each campaign reached, under the person the record belongs to; a send that was delivered twice is one."
owners: ["team:data"]
columns:
  campaign_id: The campaign.
  customer_id: The person the record belongs to; null where the record is unknown.
  source: The system that holds the record it was sent to.
  source_id: That system's id of the record.
  sent_at: When, by the retailer's clock.
  sent_on: The day of sent_at.
--- */
with sends as (
    select distinct
        campaign_id,
        source,
        source_id,
        "at"
    from raw.campaign_sends
)

select
    s.campaign_id,
    l.customer_id,
    s.source,
    s.source_id,
    s."at" as sent_at,
    s."at"::date as sent_on
from sends as s
left join identity.links as l on concat(s.source, ':', s.source_id) = l.record_id
