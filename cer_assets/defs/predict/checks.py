"""Whether the probabilities can be used: possible, complete, better than the base rate, of the customers of now."""

import dagster as dg

from cer_assets.defs.checking import bounded
from cer_assets.defs.resources import Home

_POSSIBLE = """
select count(*) filter (where (probability is null) = (reason is null)
    or probability not between 0 and 1) as wrong
from {table} where as_of = (select max(as_of) from {table})
"""


def _trained_or_says_why(name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=["predict", f"{name}_model"],
        name="trained_or_says_why",
        blocking=True,
        description="The champions have learned from examples, or say why they could not.",
    )
    def check(home: Home) -> dg.AssetCheckResult:
        cards = home.models.card(f"predict_{name}_model")
        models = {each: card for each, card in cards.items() if isinstance(card, dict) and "question" in card}
        silent = [each for each, card in models.items() if card["reason"] is None and card["base_rate"] is None]
        return dg.AssetCheckResult(
            passed=bool(models) and not silent,
            metadata={
                each: card["reason"] or f"{card['examples']} examples, base rate {card['base_rate']:.3f}"
                for each, card in models.items()
            },
        )

    return check


def _possible(name: str) -> dg.AssetChecksDefinition:
    return bounded(
        f"predict/{name}",
        "probability_or_reason",
        "Every row has either a probability between 0 and 1 or the reason why there is none.",
        _POSSIBLE.replace("{table}", f"predict.{name}"),
        at_most=0,
        blocking=True,
    )


@dg.definitions
def checks() -> dg.Definitions:
    """Of the newest day each."""
    return dg.Definitions(
        asset_checks=[
            *(_trained_or_says_why(name) for name in ("churn", "purchase", "category", "response")),
            *(_possible(name) for name in ("churn", "purchase", "response")),
            bounded(
                "predict/churn",
                "most_active_customers_have_a_figure",
                "Of customers with five orders and one in the last 28 days, nine in ten have a figure for 28 days.",
                """
                select avg(case when c.probability is null then 0.0 else 1.0 end) as share_of_customers
                from predict.churn as c
                inner join value.rfm as r on c.customer_id = r.customer_id and c.as_of = r.as_of
                where c.as_of = (select max(as_of) from predict.churn) and r.frequency >= 5 and r.recency_days <= 28
                    and c.horizon_days = 28
                """,
                at_least=0.9,
            ),
            bounded(
                "predict/drivers",
                "effects_add_up",
                "The effects of a customer's churn figure add up to its log odds.",
                """
                with told as (
                    select customer_id, horizon_days, sum(effect) as log_odds from predict.drivers
                    where model = 'churn' and as_of = (select max(as_of) from predict.drivers)
                    group by customer_id, horizon_days
                )
                select coalesce(max(abs(c.probability - 1 / (1 + exp(-t.log_odds)))), 0) as largest_difference
                from told as t
                inner join predict.churn as c on c.customer_id = t.customer_id and c.horizon_days = t.horizon_days
                where c.as_of = (select max(as_of) from predict.drivers)
                """,
                at_most=1e-6,
            ),
            bounded(
                "predict/drift",
                "customers_are_those_learned_from",
                "No feature of those to be judged has a population stability index above .25 against those learned "
                "from last, but those that grow with the records themselves; a model that is asked about other people "
                "than it knows should be trained again.",
                """
                select coalesce(max(psi), 0) as largest_psi, count(*) filter (where psi > 0.25) as features_above
                from predict.drift
                where as_of = (select max(as_of) from predict.drift)
                    and feature not in ('tenure_days', 'purchase_days', 'gap_max', 'blocks_56d')
                """,
                at_most=0.25,
            ),
            bounded(
                "predict/evaluation",
                "better_than_the_base_rate",
                "On held-out time each model has a lower Brier score than its base rate.",
                """
                with judged as (
                    select model, horizon_days,
                        max(case when "of" = model then value end) as brier,
                        max(case when "of" = 'base_rate' then value end) as base_brier
                    from predict.evaluation
                    where as_of = (select max(as_of) from predict.evaluation) and metric = 'brier' and cut is null
                    group by model, horizon_days
                )
                select coalesce(max(brier / nullif(base_brier, 0)), 0) as worst_ratio, count(*) as models_judged
                from judged
                """,
                at_most=1,
            ),
            bounded(
                "predict/calibration",
                "keeps_its_word",
                "On held-out time what was predicted is, over all tenths, within five points of what came.",
                """
                with gap as (
                    select model, horizon_days, sum(abs(predicted - observed) * customers) / sum(customers) as mean_gap
                    from predict.calibration where as_of = (select max(as_of) from predict.calibration)
                    group by model, horizon_days
                )
                select coalesce(max(mean_gap), 0) as largest_mean_gap from gap
                """,
                at_most=0.05,
            ),
            bounded(
                "predict/next_categories",
                "ranked_by_probability",
                "Of no customer is a category with a lower probability ranked before one with a higher.",
                """
                select count(*) as out_of_order
                from predict.next_categories as a
                inner join predict.next_categories as b
                    on a.customer_id = b.customer_id and a.as_of = b.as_of and a.rank < b.rank
                where a.probability < b.probability
                    and a.as_of = (select max(as_of) from predict.next_categories)
                """,
                at_most=0,
                blocking=True,
            ),
        ]
    )
