/* ---
description: >-
  How much of what a campaign promotes a customer had bought in the half year before it began, or before the day after
  as_of where it has not begun; of campaigns of the last year, and of customers it was sent to, or of all where it was
  sent to nobody by then.
owners: ["team:data"]
partitions: {daily: as_of}
columns:
  as_of: the last day that is read
  campaign_id: the campaign
  customer_id: the customer
  days: days on which a promoted product was bought
  products: different promoted products bought
  amount: paid for them
  amount_4w: of that, in the last four weeks before it began
  amount_13w: of that, in the last thirteen weeks
  last_bought_on: last such day
--- */
with campaign as (
    select
        campaign_id,
        min(starts_on) as starts_on
    from customer.campaigns
    where starts_on is not null
    group by campaign_id
),

campaign_of_day as (
    -- the first day that is not read
    select
        d.day as as_of,
        c.campaign_id,
        least(c.starts_on, d.day + interval 1 day)::date as cut
    from run.days as d
    inner join campaign as c
        on c.starts_on > d.day - interval 364 day and c.starts_on <= d.day + interval 91 day
),

sent as (
    -- what was known of it at the end of the day
    select distinct
        c.as_of,
        c.campaign_id,
        s.customer_id
    from campaign_of_day as c
    inner join customer.campaign_sends as s on c.campaign_id = s.campaign_id and s.sent_on <= c.as_of
    where s.customer_id is not null
),

sent_at_all as (
    select distinct
        as_of,
        campaign_id
    from sent
)

select
    c.as_of,
    c.campaign_id,
    l.customer_id,
    count(distinct l.ordered_on) as days,
    count(distinct l.product_id) as products,
    sum(l.amount)::decimal(18, 2) as amount,
    coalesce(sum(l.amount) filter (where l.ordered_on >= c.cut - interval 28 day), 0)::decimal(18, 2) as amount_4w,
    coalesce(sum(l.amount) filter (where l.ordered_on >= c.cut - interval 91 day), 0)::decimal(18, 2) as amount_13w,
    max(l.ordered_on) as last_bought_on
from campaign_of_day as c
inner join customer.campaigns as p on c.campaign_id = p.campaign_id
inner join customer.order_lines as l
    on p.product_id = l.product_id and l.ordered_on < c.cut and l.ordered_on >= c.cut - interval 182 day
left join sent as s on c.as_of = s.as_of and c.campaign_id = s.campaign_id and l.customer_id = s.customer_id
left join sent_at_all as a on c.as_of = a.as_of and c.campaign_id = a.campaign_id
where
    l.customer_id is not null and l.merchandise and l.amount > 0
    and (s.customer_id is not null or a.campaign_id is null)
group by c.as_of, c.campaign_id, l.customer_id
