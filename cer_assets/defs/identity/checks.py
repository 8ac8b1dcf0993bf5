"""Whether records became people: none lost, none twice, no giant, and nearly all right where the truth is known."""

import dagster as dg

from cer_assets.defs.checking import bounded


@dg.definitions
def checks() -> dg.Definitions:
    """Guards of the links; the blocking ones keep purchases from being put under wrong people."""
    return dg.Definitions(
        asset_checks=[
            bounded(
                "identity/records",
                "record_once",
                "No record stands twice.",
                "select count(*) - count(distinct record_id) as surplus from identity.records",
                at_most=0,
                blocking=True,
            ),
            bounded(
                "identity/records",
                "records_can_be_compared",
                "At least nine in ten records have a name and one more field to compare.",
                """
                select avg(case when surname is not null and coalesce(email, phone, street, birth_date::varchar)
                    is not null then 1.0 else 0.0 end) as share_of_records from identity.records
                """,
                at_least=0.9,
            ),
            bounded(
                "identity/links",
                "every_record_once",
                "Every record has exactly one customer.",
                """
                select count(*) filter (where r.record_id is null or l.record_id is null)
                    + (select count(*) - count(distinct record_id) from identity.links) as wrong
                from identity.records as r full join identity.links as l on r.record_id = l.record_id
                """,
                at_most=0,
                blocking=True,
            ),
            bounded(
                "identity/links",
                "no_giant",
                "No customer is made of more than 40 records: more is a default value that glued people together.",
                """
                select coalesce(max(records), 0) as largest
                from (select count(*) as records from identity.links group by customer_id)
                """,
                at_most=40,
                blocking=True,
            ),
            bounded(
                "identity/links",
                "confident",
                "At least nine in ten records are linked, or left alone, with a confidence of one half or more.",
                "select avg(case when confidence >= 0.5 then 1.0 else 0.0 end) as share_of_records from identity.links",
                at_least=0.9,
            ),
            bounded(
                "identity/labels",
                "both_answers",
                "At least five labels say match and five say distinct: fewer teach little.",
                """
                select least(count(*) filter (where answer = 'match'), count(*) filter (where answer = 'distinct'))
                    as rarer_answer from identity.labels
                """,
                at_least=5,
            ),
            bounded(
                "identity/customers",
                "one_row_a_customer",
                "The golden records are exactly the customers of the links.",
                """
                select abs((select count(*) from identity.customers)
                    - (select count(distinct customer_id) from identity.links)) as difference
                """,
                at_most=0,
                blocking=True,
            ),
            bounded(
                "identity/evaluation",
                "pairwise_f1",
                "Against the sample's truth, pairwise F1 is at least .95; without a truth there is nothing to compare.",
                "select max(value) as pairwise_f1 from identity.evaluation where metric = 'pairwise_f1'",
                at_least=0.95,
            ),
        ]
    )
