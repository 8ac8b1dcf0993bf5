"""Models trained on earlier cuts and judged on later ones, and what they say of each customer as of a day."""

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
import polars as pl
from pydantic import Field

from cer_assets.defs.io import (
    Origin,
    live_files,
    model,
    picture,
    python_table,
    read,
    reads_itself,
    sql_assets_of,
    table,
    table_spec,
)
from cer_assets.defs.partitions import as_days, refuse_hindsight
from cer_assets.defs.resources import Home
from cer_assets.predict import CHURN, PURCHASE, Buying, Predictor, Predictors, buying, categories, drivers, response
from cer_assets.predict.charts import calibration_chart, drift_chart, evaluation_chart
from cer_assets.predict.evaluate import CALIBRATION, EVALUATION
from cer_assets.predict.purchases import MEMORY_DAYS, features

_DAY = dt.timedelta(days=1)
_DAYS: list[Origin] = [("predict/purchase_days", name) for name in ("ordered_on", "baskets", "amount", "discount")]
_SENT: list[Origin] = [
    ("customer/campaign_sends", "sent_on"),
    ("customer/campaign_responses", "responded_on"),
    ("customer/campaigns", "starts_on"),
    ("predict/campaign_affinity", "days"),
]
_CAMPAIGNS = ("customer/campaigns", "customer/campaign_sends", "customer/campaign_responses")
_QUESTIONS = {
    "churn": [asked.question for asked in CHURN],
    "purchase": [asked.question for asked in PURCHASE],
    "response": [response.QUESTION],
    "category": [categories.QUESTION],
}


EVERY_DAYS = 7
"""A model is trained anew at the latest when it is so many days old; what it says is said anew every day."""


class Training(dg.Config):
    """When models are learned anew."""

    every_days: int = Field(
        default=EVERY_DAYS, ge=0, description="Age in days at which a model is trained anew; 0 with every drop."
    )


def _morning_after(home: Home) -> dt.date:
    last = home.lake.scan("predict.purchase_days").select(pl.col("ordered_on").max()).collect().item()
    if not isinstance(last, dt.date):
        raise dg.Failure("predict.purchase_days is empty: there is nothing to learn from", allow_retries=False)
    return last + _DAY


def _kept(
    context: dg.AssetExecutionContext, config: Training, home: Home, name: str, cut: dt.date
) -> dg.Output[Predictors] | None:
    """The models in use, while this code trained them and they stand."""
    files = live_files(context, home)
    live = None if files is None else Predictors.from_files(files, _QUESTIONS[name])
    if live is None or not live.stand(cut, config.every_days):
        return None
    return dg.Output(live, metadata={"trained": f"kept: as of {live.models[0].as_of}"})


def _trained(fitted: Sequence[tuple[Predictor, pl.DataFrame]]) -> dg.Output[Predictors]:
    """The models, with how they did on held-out time as tables and pictures."""
    models = [learned for learned, _ in fitted]
    figures = pl.concat([learned.evaluation for learned in models])
    metadata: dict[str, Any] = {
        "held out": table(figures.select("horizon_days", "cut", "metric", "of", "value", "low", "high"), most=200),
        "examples": {f"{one.question.horizon_days or 'a campaign'}": one.examples for one in models},
        "not enough data": "; ".join(sorted({one.reason for one in models if one.reason})) or "no: there is enough",
    }
    for one in models:
        if one.evaluation.height:
            days = "" if one.question.horizon_days is None else f" {one.question.horizon_days} days"
            metadata[f"held out{days}, plot"] = picture(evaluation_chart(one.evaluation))
            metadata[f"calibration{days}"] = picture(calibration_chart(one.calibration))
    return dg.Output(Predictors(tuple(models)), metadata=metadata)


@model("predict/churn_model", ins={"days": reads_itself("predict/purchase_days")}, kinds=["scikitlearn"])
def churn_model(context: dg.AssetExecutionContext, config: Training, home: Home) -> dg.Output[Predictors]:
    """Who stays away for 28 and for 56 days, learned from earlier cuts; features are strictly before each cut.

    Curves and boosted trees, calibrated on later cuts than they learned from. Held out are the latest cuts whose
    horizon has passed, each with a model of its own; beside it stand the base rate, recency, and BG/NBD.
    """
    cut = _morning_after(home)
    if (kept := _kept(context, config, home, "churn", cut)) is not None:
        return kept
    return _trained(buying.fit(home.read("predict.purchase_days"), cut, CHURN))


@model("predict/purchase_model", ins={"days": reads_itself("predict/purchase_days")}, kinds=["scikitlearn"])
def purchase_model(context: dg.AssetExecutionContext, config: Training, home: Home) -> dg.Output[Predictors]:
    """Who comes within 7 days; as `predict/churn_model`, asked the other way round."""
    cut = _morning_after(home)
    if (kept := _kept(context, config, home, "purchase", cut)) is not None:
        return kept
    return _trained(buying.fit(home.read("predict.purchase_days"), cut, PURCHASE))


@model("predict/category_model", ins={"days": reads_itself("predict/category_days")}, kinds=["scikitlearn"])
def category_model(context: dg.AssetExecutionContext, config: Training, home: Home) -> dg.Output[Predictors]:
    """From which of the categories they know customers buy within 7 days; beside it how often and how lately alone."""
    last = home.lake.scan("predict.category_days").select(pl.col("ordered_on").max()).collect().item()
    # A retailer may have no categories at all: then nothing is learned, and that is said.
    cut = last + _DAY if isinstance(last, dt.date) else dt.date(1970, 1, 1)
    if (kept := _kept(context, config, home, "category", cut)) is not None:
        return kept
    return _trained([categories.fit(home.read("predict.category_days"), cut)])


@model(
    "predict/response_model",
    ins={
        "campaigns": read("customer/campaigns"),
        "sends": read("customer/campaign_sends"),
        "responses": read("customer/campaign_responses"),
        "affinity": reads_itself("predict/campaign_affinity"),
        "days": reads_itself("predict/purchase_days"),
    },
    kinds=["scikitlearn"],
)
def response_model(
    context: dg.AssetExecutionContext,
    config: Training,
    home: Home,
    campaigns: pl.DataFrame,
    sends: pl.DataFrame,
    responses: pl.DataFrame,
) -> dg.Output[Predictors]:
    """Who answers a campaign, said before it begins; learned from campaigns that had ended by then.

    Beside it stand each customer's own rate of answers so far, drawn towards that of all, and simple rules.
    """
    cut = _morning_after(home)
    if (kept := _kept(context, config, home, "response", cut)) is not None:
        return kept
    days, affinity = home.read("predict.purchase_days"), home.lake.scan("predict.campaign_affinity")
    newest = affinity.filter(pl.col("as_of") == affinity.select(pl.col("as_of").max()).collect().item()).collect()
    return _trained([response.fit(campaigns, sends, responses, newest, days, cut)])


def _figure(happens: str, of: str) -> dict[str, str]:
    return {
        "as_of": "The last day that is known; the horizon begins the next morning.",
        **({"campaign_id": "The campaign."} if of == "campaign" else {}),
        "customer_id": "The person.",
        **({} if of == "campaign" else {"horizon_days": "Length of the horizon."}),
        "probability": f"Probability {happens}; null where there is a reason.",
        "reason": "Why there is no figure.",
    }


def _spec(
    name: str, columns: dict[str, str], origins: dict[str, list[Origin]], deps: Sequence[str], description: str
) -> dg.AssetSpec:
    return table_spec(
        f"predict/{name}",
        columns=columns,
        origins=origins,
        daily=True,
        kinds=("scikitlearn",),
        deps=deps,
        code=("value",),
        description=description,
    )


_BUYING_DEPS = ("predict/purchase_days",)
_RESPONSE_DEPS = (*_CAMPAIGNS, "predict/campaign_affinity", "predict/purchase_days", "predict/response_model")
_ALL_DEPS = (*_RESPONSE_DEPS, "predict/churn_model", "predict/purchase_model")


@dg.multi_asset(
    name="foresee",
    specs=[
        _spec(
            "churn",
            _figure("of no purchase in the horizon", "customer"),
            {"customer_id": [_DAYS[0]], "probability": _DAYS, "reason": _DAYS},
            (*_BUYING_DEPS, "predict/churn_model"),
            "How likely each customer is to stay away for the next 28 and 56 days, or why that cannot be said.",
        ),
        _spec(
            "purchase",
            _figure("of a purchase in the horizon", "customer"),
            {"customer_id": [_DAYS[0]], "probability": _DAYS, "reason": _DAYS},
            (*_BUYING_DEPS, "predict/purchase_model"),
            "How likely each customer is to come within the next 7 days, or why that cannot be said.",
        ),
        _spec(
            "response",
            _figure("of using a coupon of the campaign", "campaign"),
            {"probability": [*_DAYS, *_SENT], "reason": _DAYS},
            _RESPONSE_DEPS,
            "How likely each customer is to answer each campaign that has not ended, as known before it began; of a "
            "campaign that was sent to nobody yet, all active customers.",
        ),
        _spec(
            "drivers",
            {
                "as_of": "The last day that is known.",
                "model": "churn, purchase or response.",
                "horizon_days": "Length of the horizon; null for a campaign.",
                "campaign_id": "The campaign; null without one.",
                "customer_id": "The person.",
                "rank": "0 the average, 1 to 3 the largest effects, 4 everything else.",
                "feature": "What it is about.",
                "effect": "What it adds to the log odds; a row's ranks add up to those of its probability.",
                "text": "The same in words.",
            },
            {"effect": [*_DAYS, *_SENT], "text": [*_DAYS, *_SENT]},
            _ALL_DEPS,
            "What moved each figure of predict.churn, predict.purchase and predict.response.",
        ),
        _spec(
            "drift",
            {
                "as_of": "The day.",
                "model": "churn, purchase or response.",
                "horizon_days": "Length of the horizon; null for a campaign.",
                "feature": "The feature.",
                "psi": "Population stability index of the customers judged now against those learned from.",
            },
            {"psi": [*_DAYS, *_SENT]},
            _ALL_DEPS,
            "How far the customers have moved from those the models learned from.",
        ),
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def foresee(context: dg.AssetExecutionContext, home: Home) -> Iterator[dg.Output[pl.DataFrame]]:
    """Figures, what moved them, and how far the customers have moved since the models learned; one look at the days.

    A day before what a model has seen is refused.
    """
    wanted = as_days(context.partition_keys)
    learned = {name: _learned(home, name, wanted[0]) for name in ("churn", "purchase", "response")}
    parts: dict[str, list[pl.DataFrame]] = {}
    for day in wanted:
        for name, rows, one in _asked(home, learned, day):
            told, moved = drivers(one, rows), one.drift(rows)
            said = {name: one.predict(rows), "drivers": told, "drift": moved}
            for to, frame in said.items():
                parts.setdefault(to, []).append(
                    frame.with_columns(
                        as_of=pl.lit(day),
                        model=pl.lit(name),
                        horizon_days=pl.lit(one.question.horizon_days, pl.Int64),
                        **({} if "campaign_id" in frame.columns else {"campaign_id": pl.lit(None, pl.String)}),
                    )
                )
    tables = {
        name: pl.concat([part.select(_columns(name)) for part in parts[name]])
        for name in ("churn", "purchase", "response", "drivers", "drift")
    }
    for name, frame in tables.items():
        yield dg.Output(frame, f"predict__{name}", metadata=_shown(name, frame))


def _columns(name: str) -> list[str]:
    figure = ["probability", "reason"]
    return ["as_of"] + {
        "churn": ["customer_id", "horizon_days", *figure],
        "purchase": ["customer_id", "horizon_days", *figure],
        "response": ["campaign_id", "customer_id", *figure],
        "drivers": ["model", "horizon_days", "campaign_id", "customer_id", "rank", "feature", "effect", "text"],
        "drift": ["model", "horizon_days", "feature", "psi"],
    }[name]


def _shown(name: str, frame: pl.DataFrame) -> dict[str, Any]:
    """Of a table of figures how many there are, of drivers what moves most, of drift a picture."""
    if name == "drivers":
        of = frame.filter(pl.col("rank").is_between(1, 3)).group_by("model", "horizon_days", "feature")
        often = of.agg(pl.len().alias("customers"), pl.col("effect").abs().mean().alias("mean effect"))
        return {"what moves figures": table(often.sort("model", "horizon_days", "customers", descending=True))}
    if name == "drift":
        parts = frame.partition_by("model", "horizon_days", maintain_order=True)
        return {f"drift {number}": picture(drift_chart(part)) for number, part in enumerate(parts, 1)}
    by = ["horizon_days"] if "horizon_days" in frame.columns else ["campaign_id"]
    counts = frame.group_by(*by, "reason").agg(
        pl.len().alias("customers"), pl.col("probability").mean().alias("mean probability")
    )
    return {"figures and reasons": table(counts.sort(*by, "customers", descending=True))}


def _learned(home: Home, name: str, first: dt.date) -> Predictors:
    """The champions, as long as none of them saw what came after the day."""
    learned = Predictors.from_files(home.models.load(f"predict_{name}_model"), _QUESTIONS[name])
    for one in learned.models:
        refuse_hindsight(first, one.as_of - _DAY)
    return learned


def _asked(home: Home, learned: dict[str, Predictors], day: dt.date) -> Iterator[tuple[str, pl.DataFrame, Predictor]]:
    """Each model with the rows it is to judge."""
    cut = day + _DAY
    window = pl.col("ordered_on").is_between(cut - dt.timedelta(days=MEMORY_DAYS), day)
    days = home.lake.scan("predict.purchase_days").filter(window).collect()
    known = features(days, cut)
    asked: dict[str, Sequence[Buying]] = {"churn": CHURN, "purchase": PURCHASE}
    for name, each in asked.items():
        for one, its in zip(learned[name].models, each, strict=True):
            yield name, buying.rows_of(known, its, one.facts), one
    affinity = home.lake.scan("predict.campaign_affinity").filter(pl.col("as_of") == day).collect()
    campaigns, sends, responses = (home.read(name.replace("/", ".")) for name in _CAMPAIGNS)
    (one,) = learned["response"].models
    yield "response", response.rows(campaigns, sends, responses, affinity, days, cut), one


@python_table(
    "predict/next_categories",
    columns={
        "as_of": "The last day that is known.",
        "customer_id": "The person.",
        "rank": "1 the likeliest.",
        "category": "A category the customer has bought from in the last half year.",
        "probability": "Probability of buying from it within the next 7 days.",
    },
    origins={
        "customer_id": [("predict/category_days", "customer_id")],
        "category": [("predict/category_days", "category")],
        "probability": [("predict/category_days", "ordered_on")],
    },
    ins={"days": reads_itself("predict/category_days"), "category_model": read("predict/category_model")},
    daily=True,
    kinds=("scikitlearn",),
)
def next_categories(
    context: dg.AssetExecutionContext, home: Home, category_model: dict[str, bytes]
) -> dg.Output[pl.DataFrame]:
    """The five categories each active customer is likeliest to buy from next; none where nothing was learned."""
    wanted = as_days(context.partition_keys)
    (learned,) = Predictors.from_files(category_model, _QUESTIONS["category"]).models
    refuse_hindsight(wanted[0], learned.as_of - _DAY)
    window = pl.col("ordered_on").is_between(wanted[0] - dt.timedelta(days=categories.MEMORY_DAYS), wanted[-1])
    days = home.lake.scan("predict.category_days").filter(window).collect()
    frame = pl.concat([categories.next_categories(learned, days, day) for day in wanted])
    first = frame.filter(pl.col("rank") == 1).group_by("category").len("customers")
    return dg.Output(
        frame,
        metadata={
            "likeliest for most": table(first.sort("customers", "category", descending=[True, False]).head(15)),
            "not enough data": learned.reason or "no: there is enough",
        },
    )


@dg.multi_asset(
    name="judge_models",
    specs=[
        _spec(
            "evaluation",
            {
                "as_of": "The day.",
                "model": "churn, purchase, response or next_category.",
                "horizon_days": "Length of the horizon; null for a campaign.",
                "cut": "First day that was not known when it was said; null: all cuts together.",
                "metric": "auc, average_precision, brier (less is better) or lift@10.",
                "of": "The model, or the baseline beside it.",
                "value": "The figure.",
                "low": "Lower end of its 95 % bootstrap interval over customers.",
                "high": "Upper end.",
            },
            {"value": [*_DAYS, *_SENT]},
            [f"predict/{name}_model" for name in _QUESTIONS],
            "How well the models in use, learned anew at earlier cuts, foresaw what came; baselines beside them.",
        ),
        _spec(
            "calibration",
            {
                "as_of": "The day.",
                "model": "churn, purchase, response or next_category.",
                "horizon_days": "Length of the horizon; null for a campaign.",
                "bin": "Tenth of the rows judged, 0 the least likely.",
                "predicted": "Mean probability.",
                "observed": "Share where it happened.",
                "low": "Lower end of the share's 95 % interval.",
                "high": "Upper end.",
                "customers": "Rows in the bin.",
            },
            {"observed": [*_DAYS, *_SENT]},
            [f"predict/{name}_model" for name in _QUESTIONS],
            "Of rows given a probability on held-out time, in how many it happened.",
        ),
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def judge_models(context: dg.AssetExecutionContext, home: Home) -> Iterator[dg.Output[pl.DataFrame]]:
    """What the models in use carry with them about held-out time, as tables."""
    wanted = as_days(context.partition_keys)
    models = [one for name in _QUESTIONS for one in _learned(home, name, wanted[0]).models]
    figures = pl.concat([one.evaluation for one in models])
    bins = pl.concat([one.calibration for one in models])
    plots = {
        f"{one.question.model} {one.question.horizon_days or ''}".strip(): picture(calibration_chart(one.calibration))
        for one in models
        if one.calibration.height
    }
    latest = figures.filter(pl.col("cut").is_null(), pl.col("metric").is_in(["auc", "brier", "lift@10"]))
    for name, frame, columns, shown in (
        ("evaluation", figures, EVALUATION, {"all cuts together": table(latest.drop("as_of", "cut"), most=100)}),
        ("calibration", bins, CALIBRATION, plots),
    ):
        by_day = [frame.with_columns(as_of=pl.lit(day)).select(*columns) for day in wanted]
        yield dg.Output(pl.concat(by_day), f"predict__{name}", metadata=shown)


@dg.definitions
def predict() -> dg.Definitions:
    """The stage's assets."""
    models = [churn_model, purchase_model, category_model, response_model]
    return dg.Definitions(assets=[*sql_assets_of("predict"), *models, foresee, next_categories, judge_models])
