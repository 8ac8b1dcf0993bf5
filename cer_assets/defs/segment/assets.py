"""Behaviour segments by k-means, preference segments by agglomerative clustering, and their profiles."""

import datetime as dt
from collections.abc import Iterator
from typing import Any, Literal

import dagster as dg
import polars as pl

from cer_assets.defs.io import Origin, model, picture, read, table, table_spec
from cer_assets.defs.partitions import as_days
from cer_assets.defs.resources import Home
from cer_assets.segment import (
    SegmentModel,
    behaviour_features,
    compare,
    differences,
    fit,
    preference_features,
    profile,
    segment_rows,
)
from cer_assets.segment.charts import choice_of_k, profile_heatmap

Kind = Literal["behaviour", "preference"]

_READS = {"order_lines": read("customer/order_lines"), "products": read("customer/products"), "rfm": read("value/rfm")}
_COLUMNS = {
    "as_of": "The day.",
    "customer_id": "The person.",
    "segment": "Number of the segment; it stays from run to run.",
    "name": "The segment's name, from what sets it apart.",
}
_BEHAVIOUR: list[Origin] = [
    *[("value/rfm", name) for name in ("recency_days", "frequency", "monetary", "tenure_days")],
    *[("customer/order_lines", name) for name in ("basket_id", "amount", "discount", "ordered_at", "product_id")],
    ("customer/products", "category"),
]
_PREFERENCE: list[Origin] = [
    ("customer/order_lines", "amount"),
    ("customer/order_lines", "product_id"),
    ("customer/products", "category"),
]


def _previous(home: Home, name: Kind, day: dt.date) -> pl.DataFrame | None:
    """The segments of the newest earlier day, whose numbers are kept."""
    if not home.lake.exists(f"segment.{name}"):
        return None
    earlier = home.read(f"segment.{name}").filter(pl.col("as_of") < day)
    newest = earlier.filter(pl.col("as_of") == pl.col("as_of").max()).select("customer_id", "segment")
    return newest if newest.height else None


def _newest(rfm: pl.DataFrame) -> tuple[pl.DataFrame, dt.date]:
    day = rfm["as_of"].max()
    if not isinstance(day, dt.date):
        raise dg.Failure("value.rfm is empty: nobody has bought anything yet", allow_retries=False)
    return rfm.filter(pl.col("as_of") == day), day


def _trained(home: Home, name: Kind, features: pl.DataFrame, day: dt.date) -> dg.Output[SegmentModel]:
    """The model in use, and the other method on the same features beside it."""
    standardise = name == "behaviour"
    previous = _previous(home, name, day)
    by_means = fit(features, "k-means", standardise=standardise, previous=previous)
    by_tree = fit(features, "agglomerative", standardise=standardise, previous=previous)
    used, other = (by_means, by_tree) if name == "behaviour" else (by_tree, by_means)
    return dg.Output(
        used,
        metadata={
            "k-means and agglomerative": table(compare([used, other], features)),
            "choice of k": picture(choice_of_k(used, other)),
            "as of": str(day),
        },
    )


@model("segment/behaviour_model", ins=_READS, kinds=["scikitlearn"])
def behaviour_model(
    home: Home, order_lines: pl.DataFrame, products: pl.DataFrame, rfm: pl.DataFrame
) -> dg.Output[SegmentModel]:
    """How customers shop: k-means, with as many segments as are stable and large enough."""
    of_day, day = _newest(rfm)
    return _trained(home, "behaviour", behaviour_features(order_lines, products, of_day, day), day)


@model("segment/preference_model", ins=_READS, kinds=["scikitlearn", "scipy"])
def preference_model(
    home: Home, order_lines: pl.DataFrame, products: pl.DataFrame, rfm: pl.DataFrame
) -> dg.Output[SegmentModel]:
    """What customers spend on: agglomerative clustering of their shares of spend by category."""
    of_day, day = _newest(rfm)
    return _trained(home, "preference", preference_features(order_lines, products, of_day, day), day)


_MODELS = ["segment/behaviour_model", "segment/preference_model"]
_DEPS = ["customer/order_lines", "customer/products", "value/rfm"]
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
    "distinguishes": "Largest differences from everyone, in standard deviations.",
    "summary": "The same as a sentence.",
}


@dg.multi_asset(
    name="assign_segments",
    specs=[
        table_spec(
            f"segment/{kind}",
            columns=_COLUMNS,
            origins={"customer_id": [("value/rfm", "customer_id")], "segment": origins, "name": origins},
            daily=True,
            kinds=("scikitlearn",),
            deps=[f"segment/{kind}_model", *_DEPS],
            description=f"Each customer's {kind} segment, by the nearest centre of `segment/{kind}_model`.",
        )
        for kind, origins in (("behaviour", _BEHAVIOUR), ("preference", _PREFERENCE))
    ]
    + [
        table_spec(
            "segment/profiles",
            columns=_PROFILE_COLUMNS,
            origins={name: [*_BEHAVIOUR, *_PREFERENCE] for name in ("segment", "name", "distinguishes", "summary")}
            | {f"mean_{name}": [("value/rfm", name)] for name in ("recency_days", "frequency", "monetary")},
            daily=True,
            deps=[*_MODELS, *_DEPS],
            description="Each segment's size, value, name, and what sets it apart.",
        )
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def segments(context: dg.AssetExecutionContext, home: Home) -> Iterator[dg.Output[pl.DataFrame]]:
    """Assign customers to the segments of both models, and describe the segments."""
    order_lines, products = home.read("customer.order_lines"), home.read("customer.products")
    rfm = home.read("value.rfm")
    profiles: list[pl.DataFrame] = []
    for kind in ("behaviour", "preference"):
        learned = SegmentModel.from_files(home.models.load(f"segment_{kind}_model"))
        rows: list[pl.DataFrame] = []
        metadata: dict[str, Any] = {}
        for day in as_days(context.partition_keys):
            of_day = rfm.filter(pl.col("as_of") == day)
            features = (
                behaviour_features(order_lines, products, of_day, day)
                if kind == "behaviour"
                else preference_features(order_lines, products, of_day, day, learned.features)
            )
            assigned = learned.assign(features)
            described = profile(assigned, features, of_day, kind, day)
            rows.append(segment_rows(assigned, described))
            profiles.append(described)
            metadata = {
                "profiles": table(
                    described.select("segment", "name", "customers", "share", "mean_monetary", "summary")
                ),
                "what sets them apart": picture(profile_heatmap(differences(assigned, features), described)),
            }
        yield dg.Output(pl.concat(rows), f"segment__{kind}", metadata=metadata)
    yield dg.Output(pl.concat(profiles), "segment__profiles")


@dg.definitions
def segment() -> dg.Definitions:
    """The stage's assets."""
    return dg.Definitions(assets=[behaviour_model, preference_model, segments])
