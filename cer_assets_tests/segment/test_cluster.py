from collections.abc import Mapping
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score

from cer_assets.segment import SegmentModel, compare, match_labels
from cer_assets.segment import cluster as clustering
from cer_assets.segment.cluster import KS, METHODS, SMALLEST_SHARE, STABLE, Method, Trial, choice, ward_cuts

KNOWN = 4
DAY = date(2024, 6, 30)


def fit(
    features: pl.DataFrame,
    method: Method,
    *,
    standardise: bool = True,
    weights: Mapping[str, float] | None = None,
    previous: pl.DataFrame | None = None,
) -> SegmentModel:
    """As of one day, with few repetitions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clustering, "BOOTSTRAPS", 4)
        return clustering.fit(features, method, DAY, standardise=standardise, weights=weights, previous=previous)


def blobs(sizes: tuple[int, ...] = (160, 110, 80, 50), seed: int = 0, spread: float = 0.5) -> pl.DataFrame:
    """Customers round well separated centres; the id tells which."""
    generator = np.random.default_rng(seed)
    centres = np.array([(0, 0, 0), (6, 0, 0), (0, 6, 0), (0, 0, 6), (6, 6, 6)])
    group = np.repeat(np.arange(len(sizes)), sizes)
    points = centres[group] + generator.normal(0, spread, (len(group), 3))
    return pl.DataFrame(points, schema=["x", "y", "z"]).with_columns(
        pl.format("{}-{}", pl.Series(generator.permutation(len(group))), pl.Series(group)).alias("customer_id")
    )


def truth(segments: pl.DataFrame) -> list[str]:
    return segments["customer_id"].str.split("-").list.last().to_list()


BLOBS = blobs()
MODELS = {method: fit(BLOBS, method) for method in METHODS}


@pytest.mark.parametrize("method", METHODS)
def test_groups_that_are_there_are_found_and_counted(method: Method) -> None:
    segments = MODELS[method].assign(BLOBS)
    assert MODELS[method].k == KNOWN
    assert adjusted_rand_score(truth(segments), segments["segment"].to_list()) == 1
    assert MODELS[method].card()["sound"]


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_the_rows_leaves_no_trace(method: Method) -> None:
    shuffled = BLOBS.sample(fraction=1, shuffle=True, seed=2)
    assert fit(shuffled, method).files() == MODELS[method].files()
    assert_frame_equal(MODELS[method].assign(shuffled), MODELS[method].assign(BLOBS))


@pytest.mark.parametrize("method", METHODS)
def test_a_model_survives_being_stored_as_files(method: Method) -> None:
    model = MODELS[method]
    restored = SegmentModel.from_files(model.files())
    assert restored.files() == model.files()
    assert restored.card() == model.card()
    assert_frame_equal(restored.assign(BLOBS), model.assign(BLOBS))


def test_segments_are_numbered_from_the_largest() -> None:
    sizes = MODELS["k-means"].assign(BLOBS).group_by("segment").len().sort("segment")
    assert sizes["segment"].to_list() == [1, 2, 3, 4]
    assert sizes["len"].to_list() == [160, 110, 80, 50]


def test_a_splinter_is_no_segment() -> None:
    splintered = blobs((200, 150, 100, 8))
    assert MODELS["k-means"].k == 4
    assert fit(splintered, "k-means").k == 3


def test_the_tree_over_weighted_leaves_is_wards_tree_over_all_they_stand_for() -> None:
    generator = np.random.default_rng(3)
    leaves, weights = generator.normal(size=(40, 3)), generator.integers(1, 5, 40)
    everyone = np.repeat(leaves, weights, axis=0)
    tree = linkage(everyone, "ward")
    for k, means in ward_cuts(leaves, weights.astype(float), [2, 5, 9, 99]).items():
        cut = fcluster(tree, k, "maxclust")
        whole = np.array([everyone[cut == cluster].mean(axis=0) for cluster in np.unique(cut)])
        assert np.sort(means, axis=0) == pytest.approx(np.sort(whole, axis=0))


def test_the_hierarchy_of_many_customers_is_built_on_small_clusters_and_finds_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clustering, "WARD_AT_MOST", 300)
    monkeypatch.setattr(clustering, "SMALL_CLUSTERS", 60)
    segments = fit(BLOBS, "agglomerative").assign(BLOBS)
    assert adjusted_rand_score(truth(segments), segments["segment"].to_list()) == 1


def test_more_customers_than_centres_need_are_assigned_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "FIT_AT_MOST", 150)
    segments = fit(BLOBS, "k-means").assign(BLOBS)
    assert len(segments) == len(BLOBS)
    assert adjusted_rand_score(truth(segments), segments["segment"].to_list()) == 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("customers", [0, 1, 2, 29])
def test_too_few_customers_are_one_segment(method: Method, customers: int) -> None:
    few = BLOBS.head(customers)
    model = fit(few, method)
    assert (model.k, model.trials) == (1, ())
    assert model.assign(few)["segment"].to_list() == [1] * customers
    assert SegmentModel.from_files(model.files()).files() == model.files()


@pytest.mark.parametrize("method", METHODS)
def test_customers_who_are_all_alike_are_one_segment(method: Method) -> None:
    alike = BLOBS.with_columns(pl.lit(1.0).alias(column) for column in "xyz")
    assert fit(alike, method).k == 1


@pytest.mark.parametrize("method", METHODS)
def test_few_different_customers_make_no_more_segments_than_there_are_kinds(method: Method) -> None:
    kinds = BLOBS.with_columns((pl.col(column) > 3).cast(pl.Float64).alias(column) for column in "xyz")
    model = fit(kinds, method)
    assert model.k == KNOWN
    assert max(trial.k for trial in model.trials) == KNOWN


def test_a_feature_that_does_not_vary_changes_nothing() -> None:
    flat = BLOBS.with_columns(pl.lit(7.0).alias("flat"))
    assert_frame_equal(fit(flat, "k-means").assign(flat), MODELS["k-means"].assign(BLOBS))


def test_one_customer_far_out_makes_no_segment_of_its_own() -> None:
    far = pl.DataFrame({"x": [60.0], "y": [-60.0], "z": [60.0], "customer_id": ["stray-9"]})
    stray = pl.concat([BLOBS, far])
    model = fit(stray, "k-means")
    assert model.k == KNOWN
    assert model.assign(stray).group_by("segment").len()["len"].to_list().count(1) == 0


@pytest.mark.parametrize("wrong", [None, float("nan"), float("inf")])
def test_a_feature_that_is_no_number_is_refused(wrong: float | None) -> None:
    broken = BLOBS.with_columns(
        pl.when(pl.int_range(pl.len()) == 3).then(pl.lit(wrong, pl.Float64)).otherwise("x").alias("x")
    )
    with pytest.raises(ValueError, match="finite"):
        fit(broken, "k-means")


def test_the_scale_of_a_feature_counts_only_where_it_is_meant_to() -> None:
    stretched = BLOBS.with_columns(pl.col("x") * 1000)
    assert_frame_equal(fit(stretched, "k-means").assign(stretched), MODELS["k-means"].assign(BLOBS))
    by_x = fit(stretched, "k-means", standardise=False).assign(stretched)
    assert adjusted_rand_score(truth(by_x), by_x["segment"].to_list()) < 0.9


def test_a_feature_counts_by_its_weight() -> None:
    flattened = fit(BLOBS, "k-means", weights={"x": 0.0}).assign(BLOBS)
    assert_frame_equal(flattened, fit(BLOBS.drop("x"), "k-means").assign(BLOBS))


def test_a_sound_number_beats_a_better_silhouette() -> None:
    sound = Trial(5, STABLE, SMALLEST_SHARE, 0.1)
    fickle = Trial(3, STABLE - 0.01, 0.3, 0.9)
    splintered = Trial(4, 1.0, SMALLEST_SHARE - 0.01, 0.9)
    assert choice([fickle, sound, splintered]) == sound
    assert choice([fickle, splintered]) == fickle


def test_of_sound_numbers_with_equal_silhouettes_the_one_that_tells_most_is_taken() -> None:
    three, four, five = Trial(3, 0.97, 0.3, 0.26), Trial(4, 0.9, 0.2, 0.24), Trial(5, 0.9, 0.1, 0.2)
    assert choice([three, four, five]) == four


def test_segments_keep_the_numbers_they_had() -> None:
    before = MODELS["k-means"].assign(BLOBS).with_columns((11 - pl.col("segment")).alias("segment"))
    model = fit(BLOBS, "k-means", previous=before)
    assert_frame_equal(model.assign(BLOBS), before)


def test_a_number_of_segments_is_kept_only_while_it_is_nearly_as_good() -> None:
    best = Trial(5, STABLE, 0.1, 0.30)
    assert Trial(4, STABLE - 0.04, 0.1, 0.26).nearly_as_good(best)
    assert not Trial(4, STABLE - 0.06, 0.1, 0.30).nearly_as_good(best)
    assert not Trial(4, 1.0, 0.1, 0.24).nearly_as_good(best)
    assert not Trial(4, 1.0, SMALLEST_SHARE - 0.01, 0.30).nearly_as_good(best)


def test_the_run_before_decides_between_numbers_of_segments_that_are_nearly_as_good() -> None:
    vague = blobs((400, 300, 200, 150), spread=3.0)
    free = fit(vague, "k-means")
    other = next(t.k for t in free.trials if t.k != free.k and t.nearly_as_good(_trial_of(free, free.k)))
    before = fit(vague, "k-means").assign(vague).with_columns((pl.int_range(pl.len()) % other).alias("segment"))
    assert fit(vague, "k-means", previous=before).k == other


def _trial_of(model: SegmentModel, k: int) -> Trial:
    return next(trial for trial in model.trials if trial.k == k)


def test_a_new_segment_takes_a_number_never_used() -> None:
    before = MODELS["k-means"].assign(BLOBS)
    grown = pl.concat(
        [BLOBS, blobs((0, 0, 0, 0, 90), seed=1).with_columns(pl.format("n{}", "customer_id").alias("customer_id"))]
    )
    after = fit(grown, "k-means", previous=before).assign(grown)
    assert after.filter(pl.col("customer_id").str.starts_with("n"))["segment"].unique().to_list() == [5]
    assert_frame_equal(after.join(before, on="customer_id", how="semi"), before)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=40))
def test_matching_gives_every_segment_one_number_and_keeps_the_most_customers(pairs: list[tuple[int, int]]) -> None:
    previous = pl.DataFrame(
        {"customer_id": [str(n) for n in range(len(pairs))], "segment": [old for old, _ in pairs]},
        schema={"customer_id": pl.String, "segment": pl.Int64},
    )
    new = previous.with_columns(pl.Series("segment", [new for _, new in pairs], dtype=pl.Int64))
    numbers = match_labels(previous, new)
    assert set(numbers) == set(new["segment"])
    assert len(set(numbers.values())) == len(numbers)
    kept = sum(numbers[after] == before for before, after in pairs)
    assert kept >= sum(after == before for before, after in pairs)


def test_matching_the_same_segments_changes_nothing() -> None:
    segments = MODELS["k-means"].assign(BLOBS)
    assert match_labels(segments, segments) == {1: 1, 2: 2, 3: 3, 4: 4}
    assert match_labels(segments.clear(), segments) == {1: 1, 2: 2, 3: 3, 4: 4}


def test_methods_stand_side_by_side_with_how_far_they_agree() -> None:
    rows = compare(list(MODELS.values()), BLOBS)
    assert rows["method"].to_list() == list(METHODS)
    assert rows["agreement"].to_list() == [1.0, 1.0]
    assert rows["segments"].to_list() == [KNOWN, KNOWN]
    assert (rows["stability"] >= STABLE).all()
    alone = compare([fit(BLOBS.head(5), "k-means")], BLOBS.head(5))
    assert alone["silhouette"].to_list() == [None]


def test_segments_without_borders_stay_where_they_were_as_customers_move_a_little() -> None:
    vague = blobs((300, 250, 200), spread=3.0)
    before = fit(vague, "k-means").assign(vague)
    generator = np.random.default_rng(1)
    moved = vague.with_columns(pl.col(c) + generator.normal(0, 0.03, len(vague)) for c in "xyz")
    after = fit(moved, "k-means", previous=before).assign(moved)
    assert (before["segment"] == after["segment"]).mean() >= 0.95


def test_the_same_customers_and_the_same_run_before_give_the_same_model() -> None:
    before = MODELS["k-means"].assign(BLOBS)
    again = [fit(BLOBS, "k-means", previous=before) for _ in range(2)]
    assert again[0].files() == again[1].files()
    assert_frame_equal(again[0].assign(BLOBS), before)


def test_the_card_tells_every_number_tried_and_no_customer() -> None:
    card = MODELS["k-means"].card()
    assert [trial["k"] for trial in card["trials"]] == list(KS)
    said = str(card | {"as_of": None})
    assert not any(customer in said for customer in BLOBS["customer_id"])
