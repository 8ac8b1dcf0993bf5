/* ---
description: "The campaigns and what they promote: of each campaign and product the row that was delivered last."
owners: ["team:data"]
columns:
  campaign_id: The campaign.
  name: What it is called.
  kind: Kind of campaign.
  starts_on: First day; null where nobody said.
  ends_on: Last day; null where nobody said.
  product_id: A product it promotes.
--- */
with delivered as (
    select
        c.*,
        row_number() over (
            partition by c.campaign_id, c.product_id
            order by c.delivered_on desc, c.file desc, c.file_line desc
        ) as newest
    from raw.campaigns as c
)

select
    campaign_id,
    name,
    kind,
    starts_on,
    ends_on,
    product_id
from delivered
where newest = 1
