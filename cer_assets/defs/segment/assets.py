"""Habits and tastes from `sql/segment/`, behaviour and preference segments made of them, and their profiles."""

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
import polars as pl
from pydantic import Field

from cer_assets.defs.io import Origin, live_files, model, picture, read, reads_itself, sql_assets_of, table, table_spec
from cer_assets.defs.partitions import as_days, refuse_hindsight
from cer_assets.defs.resources import Home
from cer_assets.segment import (
    SegmentModel,
    behaviour_features,
    compare,
    default_actions,
    differences,
    learn,
    preference_features,
    profile,
    segment_rows,
)
from cer_assets.segment.charts import choice_of_k, profile_heatmap, segment_sizes
from cer_assets.segment.profiles import Kind

KINDS: Sequence[Kind] = ("behaviour", "preference")
_HABITS = {"habits": reads_itself("segment/habits")}
_TASTES = {"tastes": reads_itself("segment/tastes"), "facts": read("customer/demographics")}
_COLUMNS = {
    "as_of": "The day.",
    "customer_id": "The person.",
    "segment": "Number of the segment; it stays from run to run.",
    "name": "The segment's name, from what sets it apart.",
}
_HABIT = [
    *("recency_days", "frequency", "monetary", "tenure_days", "visits", "days", "gap_days", "gap_variation", "lines"),
    *("amount", "saved", "categories", "morning", "midday", "evening", "weekend", "placed", "main_place"),
]
_FACT = ["age", "income", "home_ownership", "marital_status", "household_size", "household_comp", "kids"]
_ORIGINS: dict[Kind, list[Origin]] = {
    "behaviour": [("segment/habits", name) for name in _HABIT],
    "preference": [
        *[("segment/tastes", name) for name in ("facet", "class", "amount")],
        ("segment/habits", "customer_id"),
        *[("customer/demographics", name) for name in _FACT],
    ],
}


EVERY_DAYS = 7
"""Segments are learned anew at the latest when they are so many days old; customers are assigned to them every day."""


class Choice(dg.Config):
    """Whether segments stay."""

    start_anew: bool = Field(default=False, description="Choose segments as if there had been none before.")
    every_days: int = Field(
        default=EVERY_DAYS, ge=0, description="Age in days at which segments are learned anew; 0 with every drop."
    )


class Owner(dg.Config):
    """Who acts on a segment."""

    owner: str | None = Field(
        default=None, description="Acts where the action names nobody else; by default the owner in actions.yaml."
    )


def _previous(home: Home, kind: Kind, day: dt.date) -> pl.DataFrame | None:
    """The segments of the newest earlier day, whose numbers and names are kept."""
    if not home.lake.exists(f"segment.{kind}"):
        return None
    earlier = home.lake.scan(f"segment.{kind}").filter(pl.col("as_of") < day)
    newest = earlier.filter(pl.col("as_of") == pl.col("as_of").max()).select("customer_id", "segment", "name").collect()
    return newest if newest.height else None


def _newest(home: Home) -> dt.date:
    day = home.lake.scan("segment.habits").select(pl.col("as_of").max()).collect().item()
    if not isinstance(day, dt.date):
        raise dg.Failure("segment.habits is empty: nobody has bought anything yet", allow_retries=False)
    return day


def _of_days(home: Home, name: str, days: Sequence[dt.date]) -> pl.DataFrame:
    """Habits or tastes of some days; no other day is read."""
    return home.lake.scan(f"segment.{name}").filter(pl.col("as_of").is_in(days)).collect()


def _of(daily: pl.DataFrame, day: dt.date) -> pl.DataFrame:
    return daily.filter(pl.col("as_of") == day)


def _kept(
    context: dg.AssetExecutionContext, config: Choice, home: Home, day: dt.date
) -> dg.Output[SegmentModel] | None:
    """The model in use, while it was learned on an earlier day, is young enough, and by this code."""
    files = None if config.start_anew else live_files(context, home)
    live = None if files is None else SegmentModel.from_files(files)
    if live is None or not 0 < (day - live.as_of).days < config.every_days:
        return None
    return dg.Output(live, metadata={"trained": f"kept: learned as of {live.as_of}", "as of": str(day)})


def _trained(
    kind: Kind, features: pl.DataFrame, day: dt.date, previous: pl.DataFrame | None
) -> dg.Output[SegmentModel]:
    """The model in use, and the other method on the same features beside it."""
    models = learn(kind, features, day, previous)
    metadata: dict[str, Any] = {
        "k-means and agglomerative": table(compare(models, features)),
        "choice of k": picture(choice_of_k(*models)),
        "as of": str(day),
    }
    if previous is not None:
        both = previous.join(models[0].assign(features), on="customer_id", suffix="_now")
        metadata["share of earlier customers whose segment stays"] = (both["segment"] == both["segment_now"]).mean()
    return dg.Output(models[0], metadata=metadata)


@model("segment/behaviour_model", ins=_HABITS, kinds=["scikitlearn", "scipy"])
def behaviour_model(context: dg.AssetExecutionContext, config: Choice, home: Home) -> dg.Output[SegmentModel]:
    """How customers shop: k-means, with as many segments as are stable and large enough; learned anew once a week."""
    day = _newest(home)
    if (kept := _kept(context, config, home, day)) is not None:
        return kept
    previous = None if config.start_anew else _previous(home, "behaviour", day)
    return _trained("behaviour", behaviour_features(_of_days(home, "habits", [day])), day, previous)


@model("segment/preference_model", ins=_HABITS | _TASTES, kinds=["scikitlearn", "scipy"])
def preference_model(
    context: dg.AssetExecutionContext, config: Choice, home: Home, facts: pl.DataFrame
) -> dg.Output[SegmentModel]:
    """What customers spend on: k-means on shares of spend by category, brand and price, and what households said.

    Learned anew once a week.
    """
    day = _newest(home)
    if (kept := _kept(context, config, home, day)) is not None:
        return kept
    previous = None if config.start_anew else _previous(home, "preference", day)
    habits, tastes = (_of_days(home, name, [day]) for name in ("habits", "tastes"))
    return _trained("preference", preference_features(tastes, habits, facts), day, previous)


_DEPS = ["segment/habits", "segment/tastes", "customer/demographics"]
_PROFILE_COLUMNS = {
    "as_of": "The day.",
    "kind": "behaviour or preference.",
    "segment": "Number of the segment.",
    "name": "Its name.",
    "customers": "How many customers are in it.",
    "share": "Of all customers.",
    "mean_recency_days": "Mean days since the last purchase.",
    "mean_frequency": "Mean number of orders.",
    "mean_monetary": "Mean spend, in the retailer's currency.",
    "lapsed_share": "Of its customers, those without a purchase in the last 28 days.",
    "top_categories": "Categories that take more of its spend than of everyone's, by how much more.",
    "distinguishes": "Largest differences from everyone, in standard deviations.",
    "summary": "The same as a sentence.",
    "action": "What to do about it.",
    "owner": "Who does it.",
}
_TOLD = [*_ORIGINS["behaviour"], *_ORIGINS["preference"]]


@dg.multi_asset(
    name="assign_segments",
    specs=[
        table_spec(
            f"segment/{kind}",
            columns=_COLUMNS,
            origins={
                "customer_id": [("segment/habits", "customer_id")],
                "segment": _ORIGINS[kind],
                "name": _ORIGINS[kind],
            },
            daily=True,
            kinds=("scikitlearn",),
            deps=[f"segment/{kind}_model", *_DEPS],
            description=f"Each customer's {kind} segment, by the nearest centre of `segment/{kind}_model`.",
        )
        for kind in KINDS
    ]
    + [
        table_spec(
            "segment/profiles",
            columns=_PROFILE_COLUMNS,
            origins=dict.fromkeys(("segment", "name", "distinguishes", "summary", "action"), _TOLD)
            | {f"mean_{name}": [("segment/habits", name)] for name in ("recency_days", "frequency", "monetary")}
            | {
                "lapsed_share": [("segment/habits", "recency_days")],
                "top_categories": [("segment/tastes", "class"), ("segment/tastes", "amount")],
            },
            daily=True,
            deps=[*(f"segment/{kind}_model" for kind in KINDS), *_DEPS],
            description="Each segment's size, value, name, what sets it apart, and what to do about it.",
        )
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def segments(context: dg.AssetExecutionContext, config: Owner, home: Home) -> Iterator[dg.Output[pl.DataFrame]]:
    """Assign customers to the segments of both models, and describe the segments.

    A day before what a model has seen is refused.
    """
    days = as_days(context.partition_keys)
    habits, tastes = (_of_days(home, name, days) for name in ("habits", "tastes"))
    facts = home.read("customer.demographics")
    actions = default_actions()
    if config.owner:
        actions = actions.model_copy(update={"owner": config.owner})
    profiles: list[pl.DataFrame] = []
    for kind in KINDS:
        learned = SegmentModel.from_files(home.models.load(f"segment_{kind}_model"))
        refuse_hindsight(days[0], learned.as_of)
        rows: list[pl.DataFrame] = []
        metadata: dict[str, Any] = {}
        for day in days:
            own, taste = _of(habits, day), _of(tastes, day)
            features = (
                behaviour_features(own)
                if kind == "behaviour"
                else preference_features(taste, own, facts, learned.features)
            )
            described = profile(learned, features, own, taste, kind, actions)
            rows.append(segment_rows(learned, features, day))
            profiles.append(described)
            metadata = {
                "profiles": table(
                    described.select("segment", "name", "customers", "share", "summary", "top_categories", "action")
                ),
                "sizes": picture(segment_sizes(described)),
                "what sets them apart": picture(
                    profile_heatmap(differences(learned.assign(features), features), described)
                ),
            }
        yield dg.Output(pl.concat(rows), f"segment__{kind}", metadata=metadata)
    yield dg.Output(pl.concat(profiles), "segment__profiles")


@dg.definitions
def segment() -> dg.Definitions:
    """The stage's assets."""
    return dg.Definitions(assets=[*sql_assets_of("segment"), behaviour_model, preference_model, segments])
