"""Whether a customer will use a coupon of a campaign, said before the campaign begins."""

from datetime import date, timedelta

import polars as pl

from cer_assets.predict.predictor import Predictor, Question, learn_and_judge
from cer_assets.predict.purchases import MEMORY_DAYS, features

DRAWN_TO_MEAN = 3.0
"""Sends of an average customer that a customer's own are mixed with, before their rate counts."""
SOONEST_DAYS = 91
"""Campaigns that begin later are not judged yet."""
AMOUNTS = ("amount", "amount_4w", "amount_13w")
"""Columns of `predict.campaign_affinity`: paid for what a campaign promotes, in half a year and of late."""
OWN = (
    "recency_days",
    "gap_mean",
    "spend_mean",
    "products_mean",
    "categories_mean",
    "discount_share",
    "discount_share_8w",
    "days_4w",
    "days_8w",
    "spend_4w",
    "spend_8w",
    "spend_13w",
    "trend",
)
"""What is asked of `purchases.features`."""
MOST_EXAMPLES = 60_000
"""What training costs follows this, not the number of customers."""
FEATURES = (
    "sends",
    "responses",
    "coupons",
    "response_rate",
    "response_rate_of_kind",
    "days_since_response",
    "kind_rate",
    "kind_sends",
    "campaign_products",
    "campaign_days",
    "campaign_sends",
    "affinity_days",
    "affinity_products",
    "affinity_amount",
    "affinity_amount_4w",
    "affinity_amount_13w",
    "affinity_share",
    "affinity_recency",
    "affinity_breadth",
    *OWN,
)
"""What is known of a customer and a campaign before it begins."""
QUESTION = Question(
    model="response",
    keys=("campaign_id", "customer_id"),
    features=FEATURES,
    rules=("recency_days", "affinity_days"),
    rivals=("response_rate",),
    # What a campaign is changes with every campaign; whom it is sent to should not.
    compared=OWN,
    judged_cuts=4,
)


def fit(
    campaigns: pl.DataFrame,
    sends: pl.DataFrame,
    responses: pl.DataFrame,
    affinity: pl.DataFrame,
    days: pl.DataFrame,
    as_of: date,
) -> tuple[Predictor, pl.DataFrame]:
    """Learn from campaigns that had ended by a day, and judge on the latest of them.

    Each campaign is a cut: nothing from its first day on is in the features, and it is learned from by no campaign that
    began before it had ended.

    Args:
        campaigns: rows of `customer.campaigns`.
        sends: rows of `customer.campaign_sends`.
        responses: rows of `customer.campaign_responses`.
        affinity: rows of `predict.campaign_affinity` of one as_of.
        days: rows of `predict.purchase_days`.
        as_of: nothing from this day on is read.

    Returns:
        The predictor, and what it and the baselines would have said, as `predictor.judge` returns it.
    """
    return learn_and_judge(QUESTION, examples(campaigns, sends, responses, affinity, days, as_of), as_of)


def examples(
    campaigns: pl.DataFrame,
    sends: pl.DataFrame,
    responses: pl.DataFrame,
    affinity: pl.DataFrame,
    days: pl.DataFrame,
    as_of: date,
) -> pl.DataFrame:
    """Of campaigns that had ended by a day who got them, what was known of them, and who answered; as of `fit`.

    Only the campaigns of a year, which `predict.campaign_affinity` knows; an answer after a campaign's end is none.
    """
    offers = _offers(campaigns)
    ended = offers.filter(pl.col("ends_on") < as_of, pl.col("starts_on") >= as_of - timedelta(days=MEMORY_DAYS))
    ended = ended.join(sends.drop_nulls("customer_id"), on="campaign_id", how="semi", maintain_order="left")
    past = _rows(ended, offers, sends, responses, affinity, days, _sample(ended, sends))
    in_time = responses.join(ended, on="campaign_id").filter(pl.col("responded_on") < pl.col("known_on"))
    used = in_time.select("campaign_id", "customer_id").unique()
    return (
        past.filter(pl.col("reason").is_null())
        .join(used.with_columns(happened=pl.lit(value=True)), on=["campaign_id", "customer_id"], how="left")
        .with_columns(pl.col("happened").fill_null(value=False))
        .sort("cut", "campaign_id", "customer_id")
    )


def _sample(ended: pl.DataFrame, sends: pl.DataFrame) -> pl.DataFrame:
    """Every n-th customer, so that there are about MOST_EXAMPLES: a customer_id is a hash, hence a random sample."""
    sent = sends.drop_nulls("customer_id").join(ended, on="campaign_id", how="semi")
    sent = sent.select("campaign_id", "customer_id").unique()
    customers = sent["customer_id"].unique().sort()
    return customers.gather_every(max(1, -(-sent.height // MOST_EXAMPLES))).to_frame()


def rows(
    campaigns: pl.DataFrame,
    sends: pl.DataFrame,
    responses: pl.DataFrame,
    affinity: pl.DataFrame,
    days: pl.DataFrame,
    cut: date,
) -> pl.DataFrame:
    """What is known of each customer and each campaign that has not ended, before it begins or before the cut.

    The customers are those it was sent to; of a campaign sent to nobody yet, all who bought in the last eight weeks:
    whom to send it to is the question then. Arguments as of `fit`; nothing from the cut on is read.

    Returns:
        campaign_id, customer_id, the features, reason.
    """
    offers = _offers(campaigns)
    open_ = offers.filter(pl.col("ends_on") >= cut, pl.col("starts_on") <= cut + timedelta(days=SOONEST_DAYS))
    known = sends.filter(pl.col("sent_on") < cut)
    return _rows(
        open_.with_columns(pl.min_horizontal("cut", pl.lit(cut))),
        offers,
        known,
        responses.filter(pl.col("responded_on") < cut),
        affinity,
        days.filter(pl.col("ordered_on") < cut),
    ).drop("cut", "known_on")


def _offers(campaigns: pl.DataFrame) -> pl.DataFrame:
    """One row a campaign that has dates."""
    return (
        campaigns.group_by("campaign_id")
        .agg(pl.col("kind").min(), pl.col("starts_on").min(), pl.col("ends_on").max(), campaign_products=pl.len())
        .drop_nulls(["starts_on", "ends_on"])
        .with_columns(
            cut=pl.col("starts_on"),
            known_on=pl.col("ends_on") + timedelta(days=1),
            campaign_days=(pl.col("ends_on") - pl.col("starts_on")).dt.total_days() + 1,
        )
        .sort("cut", "campaign_id")
    )


def _rows(
    asked: pl.DataFrame,
    offers: pl.DataFrame,
    sends: pl.DataFrame,
    responses: pl.DataFrame,
    affinity: pl.DataFrame,
    days: pl.DataFrame,
    among: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Features of the customers of each campaign asked for, a cut at a time; of some customers (None: of all)."""
    kinds = offers.select("campaign_id", "kind")
    sent = sends.drop_nulls("customer_id").join(kinds, on="campaign_id", how="inner")
    sent = sent.group_by("campaign_id", "customer_id").agg(pl.col("kind").first(), pl.col("sent_on").min())
    used = responses.drop_nulls("customer_id").join(kinds, on="campaign_id", how="inner")
    parts = [
        _rows_at(part, cut, sent, used, affinity, days, among)
        for (cut,), part in asked.sort("cut", "campaign_id").partition_by("cut", as_dict=True).items()
    ]
    none = _rows_at(asked.clear(), date(1970, 1, 1), sent.clear(), used.clear(), affinity.clear(), days.clear())
    return pl.concat([none, *parts])


def _rows_at(
    asked: pl.DataFrame,
    cut: date,
    sent: pl.DataFrame,
    used: pl.DataFrame,
    affinity: pl.DataFrame,
    days: pl.DataFrame,
    among: pl.DataFrame | None = None,
) -> pl.DataFrame:
    # That somebody is sent it, on the first morning or later, is what was decided, not what is foreseen.
    reached = sent.join(asked.select("campaign_id"), on="campaign_id", how="semi").select("campaign_id", "customer_id")
    sends_of_campaign = reached.group_by("campaign_id").len("campaign_sends")
    if among is not None:
        reached = reached.join(among, on="customer_id", how="semi")
    unsent = asked.select("campaign_id").join(sent, on="campaign_id", how="anti")
    if unsent.is_empty():
        days = days.join(reached, on="customer_id", how="semi")
    own = features(days, cut)
    candidates = unsent.join(own.filter(pl.col("recency_days") <= 56).select("customer_id"), how="cross")
    before, answered = sent.filter(pl.col("sent_on") < cut), used.filter(pl.col("responded_on") < cut)
    rate = _rate(before, answered)
    mean_of_kind = _drawn("kind_responses", "kind_sends", pl.lit(rate)).fill_null(rate)
    spent = pl.col("amount").sum().cast(pl.Float64).alias("spend_26w")
    figure = pl.col(FEATURES).cast(pl.Float64)
    half_year = days.filter(pl.col("ordered_on").is_between(cut - timedelta(days=182), cut - timedelta(days=1)))
    return (
        pl.concat([reached, candidates])
        .join(
            asked.select("campaign_id", "kind", "cut", "known_on", "campaign_products", "campaign_days"),
            on="campaign_id",
        )
        .join(sends_of_campaign, on="campaign_id", how="left")
        .join(_past_of_customers(before, answered, cut), on="customer_id", how="left")
        .join(_past_of_customers_and_kinds(before, answered), on=["customer_id", "kind"], how="left", nulls_equal=True)
        .join(_past_of_kinds(before, answered), on="kind", how="left", nulls_equal=True)
        .join(
            affinity.select(
                "campaign_id",
                "customer_id",
                affinity_days="days",
                affinity_products="products",
                **{f"affinity_{name}": pl.col(name).cast(pl.Float64) for name in AMOUNTS},
                affinity_recency=(pl.lit(cut) - pl.col("last_bought_on")).dt.total_days(),
            ),
            on=["campaign_id", "customer_id"],
            how="left",
        )
        .join(half_year.group_by("customer_id").agg(spent), on="customer_id", how="left")
        .join(own.select("customer_id", *OWN), on="customer_id", how="left")
        .with_columns(
            pl.col("sends", "responses", "coupons", "sends_of_kind", "responses_of_kind").fill_null(0),
            pl.col("affinity_days", "affinity_products", *(f"affinity_{name}" for name in AMOUNTS)).fill_null(0),
        )
        .with_columns(
            response_rate=_drawn("responses", "sends", pl.lit(rate)),
            response_rate_of_kind=_drawn("responses_of_kind", "sends_of_kind", mean_of_kind),
            affinity_share=pl.col("affinity_amount") / pl.col("spend_26w"),
            affinity_breadth=pl.col("affinity_products") / pl.col("campaign_products"),
            reason=pl.when(pl.col("recency_days").is_null()).then(pl.lit("no purchase in the last 364 days")),
        )
        .select(
            "campaign_id",
            "customer_id",
            "cut",
            "known_on",
            pl.when(figure.is_finite()).then(figure).name.keep(),
            "reason",
        )
        .sort("campaign_id", "customer_id")
    )


def _past_of_customers(before: pl.DataFrame, answered: pl.DataFrame, cut: date) -> pl.DataFrame:
    """What each customer was sent and used."""
    sends = before.group_by("customer_id").agg(sends=pl.col("campaign_id").n_unique())
    uses = answered.group_by("customer_id").agg(
        responses=pl.col("campaign_id").n_unique(),
        coupons=pl.len(),
        days_since_response=(pl.lit(cut) - pl.col("responded_on").max()).dt.total_days(),
    )
    return sends.join(uses, on="customer_id", how="full", coalesce=True)


def _past_of_customers_and_kinds(before: pl.DataFrame, answered: pl.DataFrame) -> pl.DataFrame:
    """What each customer was sent and used of each kind."""
    uses = answered.group_by("customer_id", "kind").agg(responses_of_kind=pl.col("campaign_id").n_unique())
    return (
        before.group_by("customer_id", "kind")
        .agg(sends_of_kind=pl.col("campaign_id").n_unique())
        .join(uses, on=["customer_id", "kind"], how="full", coalesce=True, nulls_equal=True)
    )


def _past_of_kinds(before: pl.DataFrame, answered: pl.DataFrame) -> pl.DataFrame:
    """How the campaigns of each kind were answered."""
    uses = answered.select("campaign_id", "customer_id", "kind").unique().group_by("kind").len("kind_responses")
    return (
        before.group_by("kind")
        .agg(kind_sends=pl.len())
        .join(uses, on="kind", how="left", nulls_equal=True)
        .with_columns(pl.col("kind_responses").fill_null(0))
        # Who was never sent it may answer all the same.
        .with_columns(kind_rate=(pl.col("kind_responses") / pl.col("kind_sends")).clip(upper_bound=1))
    )


def _drawn(answers: str, sends: str, mean: pl.Expr) -> pl.Expr:
    """The share of the sends that was answered, drawn towards a mean where there were few."""
    return (pl.col(answers) + DRAWN_TO_MEAN * mean) / (pl.col(sends) + DRAWN_TO_MEAN)


def _rate(before: pl.DataFrame, answered: pl.DataFrame) -> float:
    """Of all sends so far the share that was answered."""
    uses = answered.select("campaign_id", "customer_id").unique().height
    return min(uses / before.height, 1.0) if before.height else 0.0
