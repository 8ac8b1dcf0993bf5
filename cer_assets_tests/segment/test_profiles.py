from decimal import Decimal

import polars as pl
import pytest
import vl_convert
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cer_assets.segment import (
    SegmentModel,
    behaviour_features,
    default_actions,
    differences,
    learn,
    preference_features,
    profile,
    read_actions,
    segment_rows,
)
from cer_assets.segment import cluster as clustering
from cer_assets.segment.charts import choice_of_k, profile_heatmap, segment_sizes
from cer_assets.segment.profiles import MIXED, PHRASES, PRICES, PROFILE, Kind, segment_names
from cer_assets_tests.segment.shops import AS_OF, counts, town

TOWN = town()
COUNTS = counts(TOWN)
HABITS = COUNTS.habits
FACTS = pl.DataFrame({"customer_id": [f"r{n}" for n in range(90)]}).with_columns(pl.lit("65+").alias("age"))
FEATURES: dict[Kind, pl.DataFrame] = {
    "behaviour": behaviour_features(HABITS),
    "preference": preference_features(COUNTS.tastes, HABITS, FACTS),
}


def learned(kind: Kind, previous: pl.DataFrame | None = None) -> SegmentModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clustering, "BOOTSTRAPS", 4)
        return learn(kind, FEATURES[kind], AS_OF, previous)[0]


MODELS = {kind: learned(kind) for kind in FEATURES}
SEGMENTS = {kind: MODELS[kind].assign(features) for kind, features in FEATURES.items()}
PROFILES = {kind: profile(MODELS[kind], features, HABITS, COUNTS.tastes, kind) for kind, features in FEATURES.items()}

kinds = pytest.mark.parametrize("kind", list(FEATURES))


def apart(*rows: tuple[int, str, float]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["segment", "feature", "difference"], orient="row").sort(
        pl.col("segment"), -pl.col("difference").abs()
    )


@kinds
def test_the_kinds_of_customers_there_are_become_segments(kind: Kind) -> None:
    by_kind = SEGMENTS[kind].group_by("segment").agg(pl.col("customer_id").str.head(1).n_unique())
    assert len(by_kind) == 3
    assert by_kind["customer_id"].to_list() == [1, 1, 1]


@kinds
def test_a_profile_adds_up_to_the_population(kind: Kind) -> None:
    rows = PROFILES[kind]
    assert rows["customers"].sum() == len(HABITS)
    assert rows["share"].sum() == pytest.approx(1)
    assert rows.schema["mean_monetary"] == pl.Decimal(18, 2)
    spent = (rows["mean_monetary"].cast(pl.Float64) * rows["customers"]).sum()
    assert spent == pytest.approx(float(HABITS["monetary"].sum()), rel=1e-4)
    assert rows["as_of"].unique().to_list() == [AS_OF] and rows["kind"].unique().to_list() == [kind]


@kinds
def test_every_segment_has_a_name_of_its_own_and_a_sentence(kind: Kind) -> None:
    rows = PROFILES[kind]
    assert rows["name"].n_unique() == len(rows)
    for name, summary, customers in rows.select("name", "summary", "customers").iter_rows():
        assert name and name[0].isupper()
        assert summary.startswith(f"{customers} customers (") and summary.endswith(".")


def test_names_say_what_a_segment_likes() -> None:
    liked = SEGMENTS["preference"].join(PROFILES["preference"].select("segment", "name"), on="segment")
    names = dict(liked.select(pl.col("customer_id").str.head(1), "name").unique().iter_rows())
    assert "meat" in names["r"].lower() and "sweets" in names["s"].lower() and "beer" in names["l"].lower()


def test_names_say_how_a_segment_shops() -> None:
    behaving = SEGMENTS["behaviour"].join(PROFILES["behaviour"].select("segment", "name"), on="segment")
    names = dict(behaving.select(pl.col("customer_id").str.head(1), "name").unique().iter_rows())
    assert any(phrase in names["r"].lower() for phrase in ("frequent", "short gaps", "mornings"))
    assert any(phrase in names["s"].lower() for phrase in ("big baskets", "weekends", "midday"))
    assert any(phrase in names["l"].lower() for phrase in ("away for long", "low spend", "evenings"))


def test_a_difference_is_in_standard_deviations_over_all_customers() -> None:
    features = pl.DataFrame({"customer_id": ["a", "b", "c", "d"], "x": [1.0, 1.0, 3.0, 3.0], "flat": [2.0] * 4})
    segments = pl.DataFrame({"customer_id": ["a", "b", "c", "d"], "segment": [1, 1, 2, 2]})
    assert differences(segments, features).rows() == [(1, "x", -1), (1, "flat", 0), (2, "x", 1), (2, "flat", 0)]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 6), st.sampled_from([*PHRASES, "other"]), st.sampled_from([-2.0, -0.5, 0.0, 0.5, 2.0])
        ),
        min_size=1,
        max_size=30,
        unique_by=lambda row: row[:2],
    ),
    st.sampled_from(list(FEATURES)),
)
def test_names_are_never_shared(rows: list[tuple[int, str, float]], kind: Kind) -> None:
    names = segment_names(apart(*rows), kind)
    assert set(names) == {segment for segment, _, _ in rows}
    assert len(set(names.values())) == len(names)


def test_segments_alike_in_two_things_are_told_apart_by_a_third() -> None:
    alike = [(n, feature, size) for n in (1, 2) for feature, size in (("frequency", 2.0), ("monetary", 1.9))]
    names = segment_names(apart(*alike, (1, "weekend", 1.0), (2, "weekend", -1.0)), "behaviour")
    assert names == {1: "Frequent, high spend, weekends", 2: "Frequent, high spend, working days"}


def test_segments_like_everyone_else_are_told_apart_by_number() -> None:
    names = segment_names(apart((1, "frequency", 0.1), (2, "frequency", -0.1)), "behaviour")
    assert names == {1: "Like most (1)", 2: "Like most (2)"}


def test_a_mean_spend_is_rounded_to_money() -> None:
    model = MODELS["behaviour"].named({})
    few = FEATURES["behaviour"].head(3)
    habits = HABITS.head(3).with_columns(
        pl.Series("monetary", ["1.00", "1.00", "2.00"]).cast(pl.Decimal(18, 2)),
        pl.Series("recency_days", [1, 2, 27 + 28]),
        pl.Series("frequency", [1, 1, 2]),
    )
    row = profile(model, few, habits, COUNTS.tastes, "behaviour").row(0, named=True)
    assert (row["mean_monetary"], row["lapsed_share"]) == (Decimal("1.33"), pytest.approx(1 / 3))
    assert row["summary"] == (
        "3 customers (100 %) who bought 1.3 times for 1.33 in all and last 19 days ago, on average; 33 % have not"
        " bought for 28 days."
    )


def test_a_segment_spends_more_on_its_top_categories_than_everyone() -> None:
    tops = SEGMENTS["preference"].join(PROFILES["preference"].select("segment", "top_categories"), on="segment")
    told = dict(tops.select(pl.col("customer_id").str.head(1), "top_categories").unique().iter_rows())
    assert told["r"].startswith("MEAT 8") and told["s"].startswith("SWEETS 8") and told["l"].startswith("BEER 8")


@kinds
def test_every_segment_has_an_action_and_an_owner(kind: Kind) -> None:
    offered = {offer.action for offer in getattr(default_actions(), kind)}
    for action, owner, said in PROFILES[kind].select("action", "owner", "distinguishes").iter_rows():
        assert owner
        assert action in {text.format(first=said.rsplit(" (", said.count(" ("))[0]) for text in offered}


def test_what_households_said_is_told_and_makes_no_name() -> None:
    regulars = PROFILES["preference"].filter(pl.col("name").str.contains("(?i)meat")).row(0, named=True)
    assert "age" not in regulars["name"].lower()
    said = FACTS.with_columns(
        pl.when(pl.int_range(pl.len()) < 45).then(pl.lit("0")).otherwise(pl.lit("2")).alias("kids")
    )
    apart_by_kids = differences(SEGMENTS["preference"], preference_features(COUNTS.tastes, HABITS, said))
    assert all("kids" not in name.lower() for name in segment_names(apart_by_kids, "preference").values())


def test_the_actions_fit_what_can_be_said() -> None:
    phrases = {phrase for _, *both in PHRASES.values() for phrase in both}
    assert {said for offer in default_actions().behaviour for said in offer.said} <= phrases
    assert {said for offer in default_actions().preference for said in offer.said} <= {
        *PRICES.values(),
        *MIXED.values(),
    }
    assert not default_actions().behaviour[-1].said and not default_actions().preference[-1].said


def test_the_first_action_whose_words_are_all_said_is_suggested() -> None:
    actions = read_actions(
        "owner: us\nbehaviour:\n- {said: [a, b], action: both}\n- {said: [a], action: 'with {first}', owner: them}\n"
        "- {action: none}\npreference:\n- {action: any}\n"
    )
    assert actions.suggest("behaviour", ["b", "a"]) == ("both", "us")
    assert actions.suggest("behaviour", ["c", "a"]) == ("with c", "them")
    assert actions.suggest("behaviour", []) == ("none", "us")
    with pytest.raises(ValidationError, match="wording"):
        read_actions("owner: us\nbehaviour: [{action: x, wording: y}]\npreference: [{action: x}]")


def test_a_name_is_kept_while_it_is_true() -> None:
    now = apart((1, "monetary", 2.0), (1, "frequency", 1.9), (1, "weekend", 0.3), (2, "monetary", -2.0))
    kept = segment_names(now, "behaviour", {1: "Frequent, weekends", 2: "High spend", 9: "Gone"})
    assert kept == {1: "Frequent, weekends", 2: "Low spend"}


@kinds
def test_a_second_run_keeps_numbers_and_names(kind: Kind) -> None:
    rows = segment_rows(MODELS[kind], FEATURES[kind], AS_OF)
    again = learned(kind, rows.with_columns((pl.col("segment") + 10).alias("segment")))
    assert {number - 10: name for number, name in again.names.items()} == MODELS[kind].names


@kinds
def test_rows_of_the_table_carry_the_name(kind: Kind) -> None:
    rows = segment_rows(MODELS[kind], FEATURES[kind], AS_OF)
    assert rows.columns == ["as_of", "customer_id", "segment", "name"]
    assert rows["customer_id"].to_list() == HABITS["customer_id"].to_list()
    assert rows["name"].null_count() == 0


@kinds
def test_charts_can_be_drawn_and_hold_no_customer(kind: Kind) -> None:
    for chart in (
        profile_heatmap(differences(SEGMENTS[kind], FEATURES[kind]), PROFILES[kind]),
        choice_of_k(MODELS[kind]),
        choice_of_k(*learn(kind, FEATURES[kind].head(5), AS_OF)),
        segment_sizes(PROFILES[kind]),
    ):
        text = chart.to_json()
        assert vl_convert.vegalite_to_svg(text).startswith("<svg")
        assert not any(f'"{customer}"' in text for customer in HABITS["customer_id"])


def test_without_customers_there_is_no_profile() -> None:
    nobody = FEATURES["behaviour"].clear()
    empty = profile(MODELS["behaviour"], nobody, HABITS.clear(), COUNTS.tastes.clear(), "behaviour")
    assert empty.is_empty()
    assert empty.columns == list(PROFILE)
