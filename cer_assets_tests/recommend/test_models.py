"""The contract of the recommenders, and what each of them promises."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.recommend import (
    Als,
    AlsByBucket,
    Blend,
    PersonalFrequency,
    Popularity,
    Recommender,
    Trending,
    interactions,
)
from cer_assets.recommend.hybrid.blend import standardise
from cer_assets.recommend.model import top_k
from cer_assets_tests.recommend.conftest import CUSTOMERS, CUT, SMALL, START, catalogue, order_lines

DAY = dt.timedelta(days=1)


@pytest.fixture(scope="module", params=["popularity", "trending", "personal_frequency", "als", "als_bucket", "blend"])
def fitted(request: pytest.FixtureRequest, shop: pl.DataFrame, buckets: pl.DataFrame) -> Recommender:
    families: dict[str, Recommender] = {
        "popularity": Popularity(),
        "trending": Trending(),
        "personal_frequency": PersonalFrequency(),
        "als": Als(SMALL),
        "als_bucket": AlsByBucket(SMALL),
        "blend": Blend(AlsByBucket(SMALL)),
    }
    return families[request.param].fit(interactions(shop, CUT, 2), catalogue(), CUT)


def test_every_family_ranks_ten_distinct_products_best_first(fitted: Recommender) -> None:
    lists = fitted.recommend(pl.Series(["c00", "c01"]), 10)
    assert lists.schema == {"customer_id": pl.String, "rank": pl.Int64, "product_id": pl.String, "score": pl.Float64}
    for _, own in lists.group_by("customer_id"):
        assert own["rank"].to_list() == list(range(1, 11))
        assert own["product_id"].n_unique() == 10
        assert own["score"].is_sorted(descending=True)


def test_no_family_pads_the_list_of_a_stranger_at_random(fitted: Recommender) -> None:
    lists = fitted.recommend(pl.Series(["nobody"]), 10)
    # ALS knows nothing of a stranger and says so; all others fall back on what is popular.
    assert lists.height == (0 if isinstance(fitted, Als | AlsByBucket) else 10)


def test_every_family_answers_nobody_with_no_rows(fitted: Recommender) -> None:
    assert fitted.recommend(pl.Series([], dtype=pl.String), 10).is_empty()


def test_popularity_counts_customers_not_purchases() -> None:
    lines = order_lines([("a", "p", START), ("a", "p", START + DAY), ("a", "q", START), ("b", "q", START)])
    model = Popularity().fit(interactions(lines, CUT, 1), pl.DataFrame(), CUT)
    assert model.score(np.array([0, -1], np.int32)).tolist() == [[1, 2], [1, 2]]


def test_trending_forgets_what_is_past() -> None:
    lines = order_lines([("a", "old", START), ("b", "old", START), ("a", "new", CUT - DAY)])
    model = Trending(days=28).fit(interactions(lines, CUT, 1), pl.DataFrame(), CUT)
    assert model.recommend(pl.Series(["stranger"]))["product_id"].to_list() == ["new"]
    assert model.buyers_.tolist() == [1, 0]


def test_a_decayed_frequency_prefers_the_recent() -> None:
    lines = order_lines([("a", "old", START), ("a", "old", START + DAY), ("a", "new", CUT - DAY)])
    history = interactions(lines, CUT, 1)
    first = {
        half_life: PersonalFrequency(half_life).fit(history, pl.DataFrame(), CUT).recommend(pl.Series(["a"]), 1)
        for half_life in (None, 30.0)
    }
    assert {k: v["product_id"].item() for k, v in first.items()} == {None: "old", 30.0: "new"}


def test_als_finds_the_taste_of_a_customer(shop: pl.DataFrame) -> None:
    model = Als(SMALL).fit(interactions(shop, CUT, 2), catalogue(), CUT)
    lists = model.recommend(pl.Series([f"c{number:02}" for number in range(CUSTOMERS)]), 8)
    odd = pl.col("customer_id").str.slice(1).cast(pl.Int64) % 2 == 1
    assert lists.select(((pl.col("product_id") >= "p15") == odd).mean()).item() > 0.95


def test_als_gives_the_same_bytes_on_any_number_of_threads(shop: pl.DataFrame) -> None:
    history = interactions(shop, CUT, 2)
    shuffled = interactions(shop.sample(fraction=1, shuffle=True, seed=3), CUT, 2)
    one = Als(SMALL).fit(history, catalogue(), CUT).files()["factors.npz"]
    four = Als(SMALL.model_copy(update={"threads": 4})).fit(shuffled, catalogue(), CUT).files()["factors.npz"]
    assert one == four


def test_als_comes_back_from_its_files_without_any_customer_in_them(shop: pl.DataFrame) -> None:
    history = interactions(shop, CUT, 2)
    model = Als(SMALL).fit(history, catalogue(), CUT)
    files = model.files()
    assert not any(b"c00" in data or "c00".encode("utf-32-le") in data for data in files.values())
    again = Als.from_files(files).apply(history, CUT)
    assert again.files() == files
    assert again.card() == model.card()
    rows = np.arange(5, dtype=np.int32)
    np.testing.assert_array_equal(again.score(rows), model.score(rows))


def test_als_scores_a_purchase_made_since_training(shop: pl.DataFrame) -> None:
    trained = Als.from_files(Als(SMALL).fit(interactions(shop, CUT, 2), catalogue(), CUT).files())
    newcomer = order_lines([("new", "p20", CUT), ("new", "p22", CUT)])
    later = interactions(pl.concat([shop, newcomer]), CUT + DAY, 2)
    products = trained.apply(later, CUT + DAY).recommend(pl.Series(["new"]), 5)["product_id"]
    assert (products >= "p15").all()


def test_als_says_nothing_about_a_product_it_never_saw(shop: pl.DataFrame) -> None:
    without = interactions(shop.filter(pl.col("product_id") != "p00"), CUT, 2)
    model = Als(SMALL).fit(without, catalogue(), CUT).apply(interactions(shop, CUT, 2), CUT)
    assert np.isneginf(model.score(np.arange(4, dtype=np.int32))[:, 0]).all()


def test_a_bucket_is_scored_by_its_own_model(shop: pl.DataFrame, buckets: pl.DataFrame) -> None:
    history = interactions(shop, CUT, 2)
    high = history.of(buckets.filter(pl.col("bucket") == "high")["customer_id"])
    alone = Als(SMALL).fit(high, catalogue(), CUT)
    split = AlsByBucket(SMALL).fit(history, catalogue(), CUT)
    np.testing.assert_allclose(
        split.score(history.row_of(pl.Series(["c03"]))), alone.score(high.row_of(pl.Series(["c03"]))), rtol=1e-5
    )
    assert split.source(history.row_of(pl.Series(["c03", "c30"]))).tolist() == ["als:high", "als:low"]


def test_without_a_bucket_there_is_no_discovery_and_still_a_list(shop: pl.DataFrame, buckets: pl.DataFrame) -> None:
    known = buckets.filter(pl.col("customer_id") != "c05")
    history = interactions(shop, CUT, 2)
    discovery = AlsByBucket(known, SMALL).fit(history, catalogue(), CUT)
    assert discovery.recommend(pl.Series(["c05"])).is_empty()
    assert Blend(discovery).fit(history, catalogue(), CUT).recommend(pl.Series(["c05"])).height == 10


def test_buckets_of_two_days_are_refused(shop: pl.DataFrame, buckets: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="80 rows of buckets share their customer"):
        AlsByBucket(pl.concat([buckets, buckets]), models={}).fit(interactions(shop, CUT, 2), catalogue(), CUT)


def test_models_handed_in_are_not_trained_again(shop: pl.DataFrame, buckets: pl.DataFrame) -> None:
    history = interactions(shop, CUT, 2)
    trained = AlsByBucket(SMALL).fit(history, catalogue(), CUT).models_
    given_ = AlsByBucket(buckets, models={"low": trained["low"]}).fit(history, catalogue(), CUT)
    rows = history.row_of(pl.Series(["c00", "c30"]))
    assert np.isneginf(given_.score(rows)).all(axis=1).tolist() == [True, False]


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 5), st.integers(1, 30), st.integers(1, 12), st.integers(0, 1000))
def test_the_top_k_are_those_of_a_full_sort(rows: int, columns: int, k: int, seed: int) -> None:
    scores = np.random.default_rng(seed).permutation(rows * columns).reshape(rows, columns).astype(np.float32)
    chosen, best = top_k(scores, k)
    np.testing.assert_array_equal(chosen, np.argsort(-scores, axis=1)[:, :k])
    np.testing.assert_array_equal(best, -np.sort(-scores, axis=1)[:, :k])


def test_equal_scores_are_ordered_by_column() -> None:
    assert top_k(np.zeros((1, 4), np.float32), 4)[0].tolist() == [[0, 1, 2, 3]]


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 4), st.integers(2, 20), st.integers(0, 1000))
def test_standardised_scores_have_mean_zero_and_spread_one_over_what_is_known(
    rows: int, columns: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(3, 2, (rows, columns)).astype(np.float32)
    known = rng.random((rows, columns)) < 0.7
    scores[~known] = -np.inf
    standardise(scores, known)
    assert (scores[~known] == 0).all()
    for row, said in zip(scores, known, strict=True):
        if said.sum() > 1:
            assert abs(row[said].mean()) < 1e-4
            assert abs(row[said].std() - 1) < 1e-3


def test_equal_scores_standardise_to_nothing() -> None:
    scores = np.full((1, 3), 5, np.float32)
    standardise(scores, np.ones((1, 3), bool))
    assert scores.tolist() == [[0, 0, 0]]
