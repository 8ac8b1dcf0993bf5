"""Whether the probabilities can be used: possible, complete, and near what was seen before."""

import dagster as dg

from cer_assets.defs.checking import bounded
from cer_assets.defs.resources import Home


@dg.asset_check(
    asset=["predict", "churn_model"],
    name="trained_or_says_why",
    blocking=True,
    description="The champion has learned from examples, or says why it could not.",
)
def trained_or_says_why(home: Home) -> dg.AssetCheckResult:
    """Read the champion's card."""
    card = home.models.card("predict_churn_model")
    trained = card["reason"] is None and card["base_rate"] is not None
    return dg.AssetCheckResult(
        passed=trained != (card["reason"] is not None),
        metadata={
            "examples": card["examples"],
            "base rate": card["base_rate"] or 0.0,
            "reason": card["reason"] or "none",
        },
    )


@dg.definitions
def checks() -> dg.Definitions:
    """Of the newest day each."""
    return dg.Definitions(
        asset_checks=[
            trained_or_says_why,
            bounded(
                "predict/churn",
                "probability_or_reason",
                "Every customer has either a probability between 0 and 1 or the reason why there is none.",
                """
                select count(*) filter (where (probability is null) = (reason is null)
                    or probability not between 0 and 1) as wrong
                from predict.churn where as_of = (select max(as_of) from predict.churn)
                """,
                at_most=0,
                blocking=True,
            ),
            bounded(
                "predict/churn",
                "most_active_customers_have_a_figure",
                "Of customers with five orders and one in the last 28 days, nine in ten have a figure.",
                """
                select avg(case when c.probability is null then 0.0 else 1.0 end) as share_of_customers
                from predict.churn as c
                inner join value.rfm as r on c.customer_id = r.customer_id and c.as_of = r.as_of
                where c.as_of = (select max(as_of) from predict.churn) and r.frequency >= 5 and r.recency_days <= 28
                """,
                at_least=0.9,
            ),
        ]
    )
