"""Whether every purchase is still there, once, and under somebody."""

import dagster as dg

from cer_assets.defs.checking import bounded


@dg.definitions
def checks() -> dg.Definitions:
    """Amounts are conserved; nearly every payer is known."""
    return dg.Definitions(
        asset_checks=[
            bounded(
                "customer/order_lines",
                "amount_conserved",
                "Order lines add up to exactly the amounts that were delivered.",
                """
                select abs((select coalesce(sum(amount), 0) from customer.order_lines)
                    - (select coalesce(sum(amount), 0) from raw.transactions)) as difference,
                    (select sum(amount) from raw.transactions) as delivered
                """,
                at_most=0,
                blocking=True,
            ),
            bounded(
                "customer/order_lines",
                "lines_conserved",
                "There are as many order lines as basket lines were accepted.",
                """
                select abs((select count(*) from customer.order_lines)
                    - (select count(*) from raw.transactions)) as difference,
                    (select count(*) from raw.transactions) as delivered
                """,
                at_most=0,
                blocking=True,
            ),
            bounded(
                "customer/order_lines",
                "payers_conserved",
                "Every customer, and the unknown payers together, have exactly the lines, baskets and amount that were"
                " delivered under their records.",
                """
                with delivered as (
                    select
                        coalesce(l.customer_id, '') as payer,
                        count(*) as lines,
                        count(distinct t.basket_id) as baskets,
                        sum(t.amount) as amount
                    from raw.transactions as t
                    left join identity.links as l on concat(t.source, ':', t.source_id) = l.record_id
                    group by 1
                ),
                kept as (
                    select
                        coalesce(customer_id, '') as payer,
                        count(*) as lines,
                        count(distinct basket_id) as baskets,
                        sum(amount) as amount
                    from customer.order_lines group by 1
                )
                select
                    count(*) filter (
                        where d.lines is distinct from k.lines or d.baskets is distinct from k.baskets
                        or d.amount is distinct from k.amount
                    ) as payers_that_differ,
                    count(d.payer) as payers,
                    sum(case when k.payer = '' then k.amount end) as amount_of_unknown_payers
                from delivered as d full join kept as k on d.payer = k.payer
                """,
                at_most=0,
                blocking=True,
            ),
            bounded(
                "customer/orders",
                "baskets_conserved",
                "Every delivered basket is one order, with as many lines and the same amount.",
                """
                with basket as (
                    select basket_id, count(*) as lines, sum(amount) as amount from raw.transactions group by basket_id
                )
                select
                    count(*) filter (
                        where b.lines is distinct from o.lines or b.amount is distinct from o.amount
                    ) + count(o.basket_id) - count(distinct o.basket_id) as baskets_that_differ,
                    count(distinct b.basket_id) as delivered
                from basket as b full join customer.orders as o on b.basket_id = o.basket_id
                """,
                at_most=0,
                blocking=True,
            ),
            bounded(
                "customer/orders",
                "amount_conserved",
                "Orders add up to exactly their lines.",
                """
                select abs((select coalesce(sum(amount), 0) from customer.orders)
                    - (select coalesce(sum(amount), 0) from customer.order_lines)) as difference
                """,
                at_most=0,
                blocking=True,
            ),
            bounded(
                "customer/orders",
                "payer_known",
                "At least nine in ten orders that name a payer belong to a known customer.",
                """
                select avg(case when customer_id is null then 0.0 else 1.0 end) as share_of_orders
                from customer.orders where source_id is not null
                """,
                at_least=0.9,
            ),
            bounded(
                "customer/products",
                "catalogue_covers_sales",
                "At least 95 % of what was sold is in the current catalogue.",
                """
                select sum(case when p.product_id is null then 0.0 else 1.0 end) / nullif(count(*), 0) as share_of_lines
                from raw.transactions as t left join customer.products as p on t.product_id = p.product_id
                """,
                at_least=0.95,
            ),
            bounded(
                "customer/products",
                "product_once",
                "No product stands twice in the catalogue.",
                "select count(*) - count(distinct product_id) as surplus from customer.products",
                at_most=0,
                blocking=True,
            ),
        ]
    )
