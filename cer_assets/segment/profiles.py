"""What a segment is: its size, its customers' figures, a name and sentence for people, and what to do about it."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Literal

import polars as pl

from cer_assets.segment.actions import Actions, default_actions
from cer_assets.segment.cluster import SegmentModel
from cer_assets.segment.features import BETWEEN, OTHER, UNKNOWN, WEIGHTS

Kind = Literal["behaviour", "preference"]

# Below a quarter of a standard deviation a segment is like everyone else.
NOTABLE = 0.25

# Days without a purchase after which a customer counts as lapsed.
LAPSED_AFTER = 28

# What to say of a segment that is above, or below, the others: one phrase a theme, in this order.
PHRASES: Mapping[str, tuple[str, str, str | None]] = {
    "frequency": ("frequency", "frequent", "infrequent"),
    "gap": ("frequency", "long gaps", "short gaps"),
    "monetary": ("spend", "high spend", "low spend"),
    "recency": ("recency", "away for long", "here lately"),
    "basket_lines": ("basket", "big baskets", "small baskets"),
    "basket_amount": ("basket", "costly baskets", "low-priced baskets"),
    "breadth": ("breadth", "wide range", "narrow range"),
    "steadiness": ("rhythm", "steady rhythm", "irregular visits"),
    "discount": ("discount", "discount seekers", "full price"),
    "morning": ("daypart", "mornings", None),
    "midday": ("daypart", "midday", None),
    "evening": ("daypart", "evenings", None),
    "weekend": ("weekend", "weekends", "working days"),
    "one_place": ("place", "one shop", "several shops"),
}

# How spend above the others' is said, by facet; a class of price that is not there says nothing.
MIXED: Mapping[str, str] = {OTHER: "a wide mix", UNKNOWN: "goods of no category"}
PRICES: Mapping[str, str] = {"low": "low-priced choices", "high": "high-priced choices"}

NOTHING_SPECIAL: Mapping[Kind, str] = {"behaviour": "like most", "preference": "a bit of everything"}

NAMED = 2
DISTINGUISHING = 4
TOP_CATEGORIES = 3

PROFILE: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "as_of": pl.Date,
    "kind": pl.String,
    "segment": pl.Int64,
    "name": pl.String,
    "customers": pl.Int64,
    "share": pl.Float64,
    "mean_recency_days": pl.Float64,
    "mean_frequency": pl.Float64,
    "mean_monetary": pl.Decimal(18, 2),
    "lapsed_share": pl.Float64,
    "top_categories": pl.String,
    "distinguishes": pl.String,
    "summary": pl.String,
    "action": pl.String,
    "owner": pl.String,
}
"""The columns of `segment.profiles`."""


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


def profile(
    model: SegmentModel,
    features: pl.DataFrame,
    habits: pl.DataFrame,
    tastes: pl.DataFrame,
    kind: Kind,
    actions: Actions | None = None,
) -> pl.DataFrame:
    """One row per segment that has customers.

    Args:
        model: of which the segments are; the names are its own.
        features: customer_id and the features it reads.
        habits: `segment.habits` of one day.
        tastes: `segment.tastes` of that day.
        kind: what the segments are of.
        actions: what to suggest, by default `actions.yaml`.

    Returns:
        The columns of `PROFILE`, ordered by segment. share is of all customers; lapsed_share of the segment's, those
        without a purchase for 28 days; top_categories are those that take more of the segment's spend than of
        everyone's, by how much more; distinguishes are the largest differences, in standard deviations.
    """
    segments = model.assign(features)
    apart = differences(segments, features)
    actions = actions or default_actions()
    tops = _top_categories(segments, tastes)
    texts = pl.DataFrame(
        [
            _texts(apart.filter(pl.col("segment") == segment), kind, actions) | {"segment": segment}
            for segment in apart["segment"].unique().sort()
        ],
        schema={"segment": pl.Int64, "said": pl.String, "distinguishes": pl.String, "action": pl.String}
        | {"owner": pl.String},
    )
    named = pl.DataFrame(
        {"segment": list(model.names), "name": list(model.names.values())},
        schema={"segment": pl.Int64, "name": pl.String},
    )
    return (
        _figures(segments, habits)
        .join(named, on="segment", how="left", maintain_order="left")
        .join(tops, on="segment", how="left", maintain_order="left")
        .join(texts, on="segment", how="left", maintain_order="left")
        .with_columns(pl.lit(kind).alias("kind"), pl.col("top_categories").fill_null(""), _summary())
        .select(pl.col(column).cast(dtype) for column, dtype in PROFILE.items())
    )


def _figures(segments: pl.DataFrame, habits: pl.DataFrame) -> pl.DataFrame:
    """Size and means of each segment."""
    money = pl.col("monetary").cast(pl.Decimal(18, 2)).sum().cast(pl.Float64) / pl.len()
    return (
        segments.join(habits.select("as_of", "customer_id", "recency_days", "frequency", "monetary"), on="customer_id")
        .group_by("segment")
        .agg(
            pl.col("as_of").max(),
            pl.len().cast(pl.Int64).alias("customers"),
            (pl.col("recency_days").sum() / pl.len()).alias("mean_recency_days"),
            (pl.col("frequency").sum() / pl.len()).alias("mean_frequency"),
            money.round(2).cast(pl.Decimal(18, 2)).alias("mean_monetary"),
            ((pl.col("recency_days") >= LAPSED_AFTER).sum() / pl.len()).alias("lapsed_share"),
        )
        .with_columns((pl.col("customers") / pl.col("customers").sum()).alias("share"))
        .sort("segment")
    )


def _top_categories(segments: pl.DataFrame, tastes: pl.DataFrame) -> pl.DataFrame:
    """Of each segment what it spends a larger share on than everyone: segment, top_categories."""
    spend = pl.col("amount").cast(pl.Decimal(38, 2)).sum().cast(pl.Float64)
    all_spend = pl.col("spend").sum()
    return (
        tastes.filter((pl.col("facet") == "category") & ~pl.col("class").is_in([OTHER, UNKNOWN]))
        .join(segments, on="customer_id")
        .group_by("segment", "class")
        .agg(spend.alias("spend"))
        .sort("segment", "class")
        .with_columns(
            (pl.col("spend") / all_spend.over("segment")).alias("share"),
            (all_spend.over("class") / all_spend).alias("usual"),
        )
        .filter(pl.col("share") > pl.col("usual"))
        .sort(pl.col("segment"), pl.col("usual") - pl.col("share"), "class")
        .group_by("segment", maintain_order=True)
        .head(TOP_CATEGORIES)
        .with_columns(
            pl.format(
                "{} {} % (all: {} %)",
                "class",
                *((pl.col(of) * 100).round(1) for of in ("share", "usual")),
            ).alias("top_categories")
        )
        .group_by("segment", maintain_order=True)
        .agg(pl.col("top_categories").str.join(", "))
    )


def _texts(differences: pl.DataFrame, kind: Kind, actions: Actions) -> dict[str, str]:
    """What is said of one segment, and what is to be done about it."""
    phrases = [phrase for phrase, _ in _phrases(differences, kind)]
    action, owner = actions.suggest(kind, phrases)
    told = [f"{phrase} ({size:+.1f})" for phrase, size in _phrases(differences, kind, facts=True)[:DISTINGUISHING]]
    said = ", ".join(phrases[:DISTINGUISHING])
    return {"said": said, "distinguishes": ", ".join(told), "action": action, "owner": owner}


def segment_names(differences: pl.DataFrame, kind: Kind, previous: Mapping[int, str] | None = None) -> dict[int, str]:
    """A name for each segment from what sets it apart, no two alike.

    Two phrases make a name; segments that would share one are told apart by further phrases, and
    at last by their number. A previous name is kept while all of it is still true.

    Args:
        differences: the frame of `differences`.
        kind: `behaviour` has phrases for its features; `preference` names what is bought more than by others.
        previous: the names that segments had in the run before, by number.
    """
    phrases = {
        int(segment): [phrase for phrase, _ in _phrases(differences.filter(pl.col("segment") == segment), kind)]
        for segment in differences["segment"].unique().sort()
    }
    kept = {
        segment: name
        for segment, name in (previous or {}).items()
        if segment in phrases
        and set(name.lower().split(BETWEEN_PHRASES[kind])) <= {p.lower() for p in phrases[segment]}
    }
    length = dict.fromkeys(phrases, NAMED)
    for _ in range(max((len(each) for each in phrases.values()), default=0)):
        for segment in _sharing(_named(phrases, length, kind) | kept):
            length[segment] += 1
    names = _named(phrases, length, kind) | kept
    return names | {segment: f"{names[segment]} ({segment})" for segment in _sharing(names)}


def _sharing(names: Mapping[int, str]) -> list[int]:
    """Segments whose name another one has too."""
    taken = list(names.values())
    return [segment for segment, name in names.items() if taken.count(name) > 1]


def _named(phrases: Mapping[int, Sequence[str]], length: Mapping[int, int], kind: Kind) -> dict[int, str]:
    """The name of each segment from its first so many phrases."""
    return {segment: _join(said[: length[segment]], kind) for segment, said in phrases.items()}


BETWEEN_PHRASES: Mapping[Kind, str] = {"behaviour": ", ", "preference": " and "}


def _join(said: Sequence[str], kind: Kind) -> str:
    if kind == "behaviour":
        order = [phrase for _, *both in PHRASES.values() for phrase in both]
        said = sorted(said, key=lambda phrase: order.index(phrase) if phrase in order else len(order))
    text = BETWEEN_PHRASES[kind].join(said) or NOTHING_SPECIAL[kind]
    return text[:1].upper() + text[1:]


def _phrases(differences: pl.DataFrame, kind: Kind, *, facts: bool = False) -> list[tuple[str, float]]:
    """What can be said of one segment and by how much it differs, the most telling first; one phrase a theme.

    What households said of themselves is told on request only: it makes no name.
    """
    notable = differences.filter(pl.col("difference").abs() >= NOTABLE)
    said: dict[str, tuple[str, float]] = {}
    for _, feature, difference in notable.iter_rows():
        theme, phrase = _of_taste(feature, difference) if kind == "preference" else _of_habit(feature, difference)
        facet, is_taste, _ = feature.partition(BETWEEN)
        if phrase and (facts or not is_taste or facet in WEIGHTS):
            said.setdefault(theme, (phrase, difference))
    return list(said.values())


def _of_habit(feature: str, difference: float) -> tuple[str, str | None]:
    """The theme of a feature of behaviour and the phrase for it."""
    theme, above, below = PHRASES.get(feature, (feature, f"more {feature}", f"less {feature}"))
    return theme, above if difference > 0 else below


def _of_taste(feature: str, difference: float) -> tuple[str, str | None]:
    """The theme of a feature of preference and the phrase for it; what is bought less of is not said."""
    facet, _, cls = feature.partition(BETWEEN)
    if difference < 0:
        return feature, None
    if facet == "category":
        return feature, MIXED.get(cls, cls.strip().lower())
    if facet == "price":
        return facet, PRICES.get(cls)
    if facet == "brand":
        return facet, f"{cls} brand"
    return facet, f"{facet.replace('_', ' ')} {cls}"


def _summary() -> pl.Expr:
    """A sentence over the columns of `profile`."""
    told = pl.when(pl.col("said") != "").then(pl.format("; set apart by: {}.", "said")).otherwise(pl.lit("."))
    figures = pl.format(
        "{} customers ({} %) who bought {} times for {} in all and last {} days ago, on average; {} % have not bought"
        f" for {LAPSED_AFTER} days",
        "customers",
        (pl.col("share") * 100).round(0).cast(pl.Int64),
        pl.col("mean_frequency").round(1),
        pl.col("mean_monetary"),
        pl.col("mean_recency_days").round(0).cast(pl.Int64),
        (pl.col("lapsed_share") * 100).round(0).cast(pl.Int64),
    )
    return (figures + told).alias("summary")


def segment_rows(model: SegmentModel, features: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Rows of `segment.behaviour` or `segment.preference`.

    Args:
        model: of which the segments are.
        features: customer_id and the features it reads.
        as_of: the day of the features.

    Returns:
        as_of, customer_id, segment, name, ordered by customer_id.
    """
    name = pl.col("segment").replace_strict(dict(model.names), return_dtype=pl.String, default=None)
    return model.assign(features).select(pl.lit(as_of).alias("as_of"), "customer_id", "segment", name.alias("name"))
