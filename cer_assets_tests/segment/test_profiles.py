from decimal import Decimal

import polars as pl
import pytest
import vl_convert
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.segment import (
    behaviour_features,
    differences,
    fit,
    preference_features,
    profile,
    segment_rows,
)
from cer_assets.segment.charts import choice_of_k, profile_heatmap
from cer_assets.segment.profiles import PHRASES, Kind, segment_names
from cer_assets_tests.segment.shops import AS_OF, CATALOGUE, rfm, town

TOWN = town()
RFM = rfm(TOWN)
FEATURES: dict[Kind, pl.DataFrame] = {
    "behaviour": behaviour_features(TOWN, CATALOGUE, RFM, AS_OF),
    "preference": preference_features(TOWN, CATALOGUE, RFM, AS_OF),
}
MODELS = {
    "behaviour": fit(FEATURES["behaviour"], "k-means"),
    "preference": fit(FEATURES["preference"], "agglomerative", standardise=False),
}
SEGMENTS = {kind: MODELS[kind].assign(features) for kind, features in FEATURES.items()}
PROFILES = {kind: profile(SEGMENTS[kind], features, RFM, kind, AS_OF) for kind, features in FEATURES.items()}

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
    assert rows["customers"].sum() == len(RFM)
    assert rows["share"].sum() == pytest.approx(1)
    assert rows.schema["mean_monetary"] == pl.Decimal(18, 2)
    spent = (rows["mean_monetary"].cast(pl.Float64) * rows["customers"]).sum()
    assert spent == pytest.approx(float(RFM["monetary"].sum()), rel=1e-4)
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
    three = pl.DataFrame(
        {
            "customer_id": ["a", "b", "c"],
            "recency_days": [1, 2, 3],
            "frequency": [1, 1, 2],
            "monetary": ["1.00"] * 2 + ["2.00"],
        }
    ).with_columns(pl.col("monetary").cast(pl.Decimal(18, 2)))
    segments = three.select("customer_id", pl.lit(1, pl.Int64).alias("segment"))
    features = three.select("customer_id", pl.lit(0.0).alias("frequency"))
    row = profile(segments, features, three, "behaviour", AS_OF).row(0, named=True)
    assert row["mean_monetary"] == Decimal("1.33")
    assert row["summary"] == "3 customers (100 %) who bought 1.3 times for 1.33 in all and last 2 days ago, on average."


@kinds
def test_rows_of_the_table_carry_the_name(kind: Kind) -> None:
    rows = segment_rows(SEGMENTS[kind], PROFILES[kind])
    assert rows.columns == ["as_of", "customer_id", "segment", "name"]
    assert rows["customer_id"].to_list() == RFM["customer_id"].to_list()
    assert rows["name"].null_count() == 0


@kinds
def test_charts_can_be_drawn_and_hold_no_customer(kind: Kind) -> None:
    for chart in (
        profile_heatmap(differences(SEGMENTS[kind], FEATURES[kind]), PROFILES[kind]),
        choice_of_k(MODELS[kind]),
        choice_of_k(fit(FEATURES[kind].head(5), "k-means")),
    ):
        text = chart.to_json()
        assert vl_convert.vegalite_to_svg(text).startswith("<svg")
        assert not any(f'"{customer}"' in text for customer in RFM["customer_id"])


def test_without_customers_there_is_no_profile() -> None:
    empty = profile(SEGMENTS["behaviour"].clear(), FEATURES["behaviour"].clear(), RFM.clear(), "behaviour", AS_OF)
    assert empty.is_empty()
    assert empty.columns == PROFILES["behaviour"].columns
