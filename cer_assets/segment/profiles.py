"""What a segment is: its size, its customers' figures, and a name and sentence for people."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Literal

import polars as pl

from cer_assets.segment.features import OTHER, UNKNOWN

Kind = Literal["behaviour", "preference"]

# Below a quarter of a standard deviation a segment is like everyone else.
NOTABLE = 0.25

# What to say of a segment that is above, or below, the others: one phrase a theme, in this order.
PHRASES: Mapping[str, tuple[str, str, str | None]] = {
    "frequency": ("frequency", "frequent", "infrequent"),
    "gap": ("frequency", "long gaps", "short gaps"),
    "monetary": ("spend", "high spend", "low spend"),
    "recency": ("recency", "away for long", "here lately"),
    "basket_lines": ("basket", "big baskets", "small baskets"),
    "basket_amount": ("basket", "costly baskets", "low-priced baskets"),
    "breadth": ("breadth", "wide range", "narrow range"),
    "discount": ("discount", "discount seekers", "full price"),
    "morning": ("daypart", "mornings", None),
    "midday": ("daypart", "midday", None),
    "evening": ("daypart", "evenings", None),
    "weekend": ("weekend", "weekends", "working days"),
}

# Categories that are no category.
MIXED: Mapping[str, str] = {OTHER: "a wide mix", UNKNOWN: "goods of no category"}

NOTHING_SPECIAL: Mapping[Kind, str] = {"behaviour": "like most", "preference": "a bit of everything"}

NAMED = 2
DISTINGUISHING = 4


def differences(segments: pl.DataFrame, features: pl.DataFrame) -> pl.DataFrame:
    """How far each segment's mean of each feature lies from everyone's.

    Args:
        segments: customer_id, segment Int64.
        features: customer_id and Float64 features.

    Returns:
        segment, feature, difference Float64 (standard deviations over all customers; 0 for a
        feature that does not vary), ordered by segment and then by size of the difference.
    """
    names = [column for column in features.columns if column != "customer_id"]
    joined = features.join(segments.select("customer_id", "segment"), on="customer_id").sort("customer_id")
    spread = pl.col(names).std(ddof=0)
    standard = pl.when(spread > 1e-9).then((pl.col(names) - pl.col(names).mean()) / spread).otherwise(0.0)
    return (
        joined.with_columns(standard.name.keep())
        .group_by("segment", maintain_order=True)
        .agg(pl.col(names).mean())
        .unpivot(names, index="segment", variable_name="feature", value_name="difference")
        .sort(pl.col("segment"), -pl.col("difference").abs(), "feature")
    )


def profile(segments: pl.DataFrame, features: pl.DataFrame, rfm: pl.DataFrame, kind: Kind, as_of: date) -> pl.DataFrame:
    """One row per segment.

    Args:
        segments: customer_id, segment Int64.
        features: customer_id and the features the segments were made of.
        rfm: `value.rfm` of `as_of`.
        kind: what the segments are of; it decides how they are named.
        as_of: the day.

    Returns:
        as_of, kind, segment, name (unique), customers Int64, share, mean_recency_days,
        mean_frequency Float64, mean_monetary Decimal(18, 2), distinguishes (the largest
        differences, in standard deviations), summary (a sentence), ordered by segment.
    """
    apart = differences(segments, features)
    names = segment_names(apart, kind)
    money = pl.col("monetary").cast(pl.Decimal(18, 2)).sum().cast(pl.Float64) / pl.len()
    figures = (
        segments.select("customer_id", "segment")
        .join(rfm.select("customer_id", "recency_days", "frequency", "monetary"), on="customer_id")
        .group_by("segment")
        .agg(
            pl.len().cast(pl.Int64).alias("customers"),
            (pl.col("recency_days").sum() / pl.len()).alias("mean_recency_days"),
            (pl.col("frequency").sum() / pl.len()).alias("mean_frequency"),
            money.round(2).cast(pl.Decimal(18, 2)).alias("mean_monetary"),
        )
        .sort("segment")
    )
    told = {segment: _distinguishes(apart.filter(pl.col("segment") == segment)) for segment in names}
    name, tells = (
        pl.col("segment").replace_strict(texts, return_dtype=pl.String, default=None) for texts in (names, told)
    )
    return figures.select(
        pl.lit(as_of).alias("as_of"),
        pl.lit(kind).alias("kind"),
        "segment",
        name.alias("name"),
        "customers",
        (pl.col("customers") / pl.col("customers").sum()).alias("share"),
        "mean_recency_days",
        "mean_frequency",
        "mean_monetary",
        tells.alias("distinguishes"),
    ).with_columns(_summary())


def segment_names(differences: pl.DataFrame, kind: Kind) -> dict[int, str]:
    """A name for each segment from what sets it apart, no two alike.

    Two phrases make a name; segments that would share one are told apart by further phrases, and
    at last by their number.

    Args:
        differences: the frame of `differences`.
        kind: `behaviour` has phrases for its features; `preference` names the categories that are
            bought more than by others.
    """
    phrases = {
        int(segment): _phrases(differences.filter(pl.col("segment") == segment), kind)
        for segment in differences["segment"].unique().sort()
    }
    length = dict.fromkeys(phrases, NAMED)
    for _ in range(max((len(each) for each in phrases.values()), default=0)):
        for segment in _sharing(_named(phrases, length, kind)):
            length[segment] += 1
    names = _named(phrases, length, kind)
    return names | {segment: f"{names[segment]} ({segment})" for segment in _sharing(names)}


def _sharing(names: Mapping[int, str]) -> list[int]:
    """Segments whose name another one has too."""
    taken = list(names.values())
    return [segment for segment, name in names.items() if taken.count(name) > 1]


def _named(phrases: Mapping[int, Sequence[str]], length: Mapping[int, int], kind: Kind) -> dict[int, str]:
    """The name of each segment from its first so many phrases."""
    return {segment: _join(said[: length[segment]], kind) for segment, said in phrases.items()}


def _join(said: Sequence[str], kind: Kind) -> str:
    if kind == "behaviour":
        order = [phrase for _, *both in PHRASES.values() for phrase in both]
        text = ", ".join(sorted(said, key=lambda phrase: order.index(phrase) if phrase in order else len(order)))
    else:
        text = " and ".join(said)
    text = text or NOTHING_SPECIAL[kind]
    return text[:1].upper() + text[1:]


def _phrases(differences: pl.DataFrame, kind: Kind) -> list[str]:
    """What can be said of one segment, the most telling first; one phrase a theme."""
    notable = differences.filter(pl.col("difference").abs() >= NOTABLE)
    if kind == "preference":
        liked = notable.filter(pl.col("difference") > 0)["feature"]
        return [MIXED.get(category, category.strip().lower()) for category in liked]
    said: dict[str, str] = {}
    for _, feature, difference in notable.iter_rows():
        theme, above, below = PHRASES.get(feature, (feature, f"more {feature}", f"less {feature}"))
        phrase = above if difference > 0 else below
        if phrase:
            said.setdefault(theme, phrase)
    return list(said.values())


def _distinguishes(differences: pl.DataFrame) -> str:
    """The largest notable differences of one segment, as in `frequency +1.3, recency -0.9`."""
    notable = differences.filter(pl.col("difference").abs() >= NOTABLE).head(DISTINGUISHING)
    return ", ".join(f"{feature} {difference:+.1f}" for _, feature, difference in notable.iter_rows())


def _summary() -> pl.Expr:
    """A sentence over the columns of `profile`."""
    told = pl.when(pl.col("distinguishes") != "").then(
        pl.format("; against all, in standard deviations: {}.", "distinguishes")
    )
    figures = pl.format(
        "{} customers ({} %) who bought {} times for {} in all and last {} days ago, on average",
        "customers",
        (pl.col("share") * 100).round(0).cast(pl.Int64),
        pl.col("mean_frequency").round(1),
        pl.col("mean_monetary"),
        pl.col("mean_recency_days").round(0).cast(pl.Int64),
    )
    return (figures + told.otherwise(pl.lit("."))).alias("summary")


def segment_rows(segments: pl.DataFrame, profiles: pl.DataFrame) -> pl.DataFrame:
    """Rows of `segment.behaviour` or `segment.preference`.

    Args:
        segments: customer_id, segment, as `SegmentModel.assign` gives them.
        profiles: as_of, segment, name, as `profile` gives them.

    Returns:
        as_of, customer_id, segment, name, ordered by customer_id.
    """
    return (
        segments.join(profiles.select("as_of", "segment", "name"), on="segment")
        .select("as_of", "customer_id", "segment", "name")
        .sort("customer_id")
    )
