/* ---
description: >-
  Who used a coupon of which campaign, under the person the record belongs to; a response that was delivered twice is
  one.
owners: ["team:data"]
columns:
  campaign_id: The campaign.
  customer_id: The person the record belongs to; null where the record is unknown.
  source: The system that holds the record it was used under.
  source_id: That system's id of the record.
  coupon_id: The coupon.
  responded_at: When, by the retailer's clock.
  responded_on: The day of responded_at.
--- */
with responses as (
    select distinct
        campaign_id,
        source,
        source_id,
        coupon_id,
        "at"
    from raw.campaign_responses
)

select
    r.campaign_id,
    l.customer_id,
    r.source,
    r.source_id,
    r.coupon_id,
    r."at" as responded_at,
    r."at"::date as responded_on
from responses as r
left join identity.links as l on concat(r.source, ':', r.source_id) = l.record_id
