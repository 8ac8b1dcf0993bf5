"""The contract of the recommenders: the laws every family keeps, and what some of them promise beyond."""

import datetime as dt
import json
from collections.abc import Callable
from functools import cache

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.recommend import (
    ANYTIME,
    Als,
    AlsByBucket,
    Context,
    Hybrid,
    HybridSettings,
    Interactions,
    Popularity,
    Recommender,
    interactions,
)
from cer_assets.recommend.families import all_families
from cer_assets.recommend.hybrid.candidates import standardised
from cer_assets.recommend.model import Voice
from cer_assets.recommend.topk import all_at_once, top_k
from cer_assets_tests.recommend.conftest import CUSTOMERS, CUT, SMALL, START, catalogue, order_lines

DAY = dt.timedelta(days=1)
LOOKING, STRANGER = "looking", -1
"""A customer with events and no purchase; the row of one never seen."""


def _members() -> dict[str, Callable[[], Recommender]]:
    def fresh(name: str) -> Recommender:
        model = all_families()[name]
        known = set(type(model.settings).model_fields)
        few = {"factors": 8, "regularization": 1.0, "iterations": 3, "threads": 1}
        model.settings = model.settings.model_copy(update={name: few[name] for name in known & set(few)})
        return model

    families = {name: lambda name=name: fresh(name) for name in all_families()}
    return {**families, "weighed": lambda: weighed(Als(SMALL))}


def weighed(discovery: Recommender) -> Hybrid:
    """A family and what is popular, in one list."""
    of = {"discovery": discovery, "popularity": Popularity()}
    return Hybrid(None, HybridSettings(weights={"discovery": 1.0, "popularity": 0.1}), lambda: of, "weighed")


MEMBERS = _members()


@pytest.fixture(scope="module", params=MEMBERS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def described() -> pl.DataFrame:
    return catalogue().with_columns(
        category=pl.when(pl.col("product_id") < "p15").then(pl.lit("Bread")).otherwise(pl.lit("Paint")),
        price=pl.lit(2.5),
    )


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "customer_id": [LOOKING, "c00"],
            "product_id": ["p03", "p20"],
            "kind": ["view", "cart"],
            "occurred_at": [dt.datetime(2024, 3, 30, 9), dt.datetime(2024, 3, 30, 10)],
        }
    )


@pytest.fixture(scope="module")
def fit(
    shop: pl.DataFrame, buckets: pl.DataFrame, events: pl.DataFrame, described: pl.DataFrame
) -> Callable[[str], Recommender]:
    @cache
    def fitted(family: str) -> Recommender:
        history = interactions(shop, CUT, 2, events=events, traits=buckets)
        return MEMBERS[family]().fit(history, described, CUT)

    return fitted


def test_families_fitted_beside_one_another_are_those_fitted_in_turn(
    fit: Callable[[str], Recommender],
    shop: pl.DataFrame,
    buckets: pl.DataFrame,
    events: pl.DataFrame,
    described: pl.DataFrame,
) -> None:
    history = interactions(shop, CUT, 2, events=events, traits=buckets)
    at_once = all_at_once(lambda _, made: made().fit(history, described, CUT), MEMBERS)
    for name, model in at_once.items():
        rows = _everyone(history)
        assert np.array_equal(model.score(rows), fit(name).score(rows)), name


@pytest.fixture(scope="module")
def fitted(family: str, fit: Callable[[str], Recommender]) -> Recommender:
    return fit(family)


def _everyone(history: Interactions) -> np.ndarray:
    return np.append(np.arange(len(history.customers)), STRANGER).astype(np.int32)


def test_a_list_holds_distinct_products_best_first(fitted: Recommender) -> None:
    lists = fitted.recommend(pl.Series(["c00", "c01"]), 10)
    assert lists.schema == {"customer_id": pl.String, "rank": pl.Int64, "product_id": pl.String, "score": pl.Float64}
    assert lists["customer_id"].unique().sort().to_list() == ["c00", "c01"]
    for _, own in lists.group_by("customer_id"):
        assert own["rank"].to_list() == list(range(1, own.height + 1))
        assert 1 <= own.height <= 10
        assert own["product_id"].n_unique() == own.height
        assert own["score"].is_sorted(descending=True)


@pytest.mark.parametrize("name", ["popularity", "personal_frequency", "decayed_frequency", "als_global", "weighed"])
def test_what_speaks_of_every_product_fills_a_list(name: str, fit: Callable[[str], Recommender]) -> None:
    assert fit(name).recommend(pl.Series(["c00", "c01"]), 10).height == 20


def test_others_are_scored_as_if_they_had_been_there(fitted: Recommender) -> None:
    history = fitted.interactions_
    some = pl.Series(["c03", "c04", "c21", LOOKING])
    others = fitted.of_others(history.of(some), CUT)
    wanted = fitted.score(history.row_of(some))
    np.testing.assert_allclose(others.score(np.arange(4, dtype=np.int32)), wanted, rtol=1e-6)
    np.testing.assert_array_equal(others.score(np.array([STRANGER], np.int32)), fitted.score(np.array([STRANGER])))
    np.testing.assert_array_equal(fitted.score(history.row_of(some)), wanted)


def test_scores_are_a_dense_block_of_numbers(fitted: Recommender) -> None:
    history = fitted.interactions_
    scores = fitted.score(_everyone(history))
    assert scores.shape == (len(history.customers) + 1, len(history.products))
    assert scores.dtype == np.float32
    assert not np.isnan(scores).any()
    assert not np.isposinf(scores).any()


def test_what_the_caller_writes_into_a_block_is_gone_in_the_next(fitted: Recommender) -> None:
    rows = _everyone(fitted.interactions_)
    first = fitted.score(rows)
    kept = first.copy()
    first[:] = 7
    np.testing.assert_array_equal(fitted.score(rows), kept)


def test_scores_do_not_depend_on_who_is_scored_beside(fitted: Recommender) -> None:
    rows = _everyone(fitted.interactions_)
    whole = fitted.score(rows)
    apart = np.vstack([fitted.score(rows[:7]), fitted.score(rows[7:8]), fitted.score(rows[8:])])
    np.testing.assert_allclose(apart, whole, rtol=1e-4, atol=1e-5)
    assert (np.isfinite(apart) == np.isfinite(whole)).all()


def test_the_order_of_the_lines_changes_no_bit(
    family: str, fitted: Recommender, shop: pl.DataFrame, buckets: pl.DataFrame, events: pl.DataFrame,
    described: pl.DataFrame,
) -> None:  # fmt: skip
    shuffled = [frame.sample(fraction=1, shuffle=True, seed=5) for frame in (shop, events, buckets, described)]
    history = interactions(shuffled[0], CUT, 2, events=shuffled[1], traits=shuffled[2])
    again = MEMBERS[family]().fit(history, shuffled[3], CUT)
    rows = _everyone(history)
    np.testing.assert_array_equal(again.score(rows), fitted.score(rows))


def test_of_the_cut_and_later_days_nothing_is_known(
    family: str, fitted: Recommender, shop: pl.DataFrame, buckets: pl.DataFrame, events: pl.DataFrame,
    described: pl.DataFrame,
) -> None:  # fmt: skip
    later = order_lines([(f"c{number:02}", "p29", CUT + DAY) for number in range(CUSTOMERS)])
    seen = events.with_columns(occurred_at=pl.lit(dt.datetime(2024, 4, 1)), product_id=pl.lit("p29"))
    history = interactions(pl.concat([shop, later]), CUT, 2, events=pl.concat([events, seen]), traits=buckets)
    rows = _everyone(history)
    np.testing.assert_array_equal(MEMBERS[family]().fit(history, described, CUT).score(rows), fitted.score(rows))


def test_a_moment_of_which_nothing_is_known_changes_nothing(fitted: Recommender) -> None:
    rows = _everyone(fitted.interactions_)
    np.testing.assert_array_equal(fitted.score(rows, Context()), fitted.score(rows, ANYTIME))
    np.testing.assert_array_equal(fitted.score(rows, Context()), fitted.score(rows))


def test_a_stranger_is_shown_what_any_stranger_is_and_nothing_at_random(fitted: Recommender) -> None:
    lists = fitted.recommend(pl.Series(["nobody", "somebody"]), 10)
    first, second = (lists.filter(customer_id=name)["product_id"].to_list() for name in ("nobody", "somebody"))
    assert first == second


@pytest.mark.parametrize(
    ("name", "products"), [("als_global", 0), ("als_bucket", 0), ("popularity", 10), ("weighed", 10)]
)
def test_a_stranger_is_shown_what_is_popular_or_nothing(
    name: str, products: int, fit: Callable[[str], Recommender]
) -> None:
    assert fit(name).recommend(pl.Series(["nobody"]), 10).height == products


def test_nobody_is_answered_with_no_rows(fitted: Recommender) -> None:
    assert fitted.recommend(pl.Series([], dtype=pl.String), 10).is_empty()


def test_who_only_looked_is_answered_without_an_error(fitted: Recommender) -> None:
    assert fitted.recommend(pl.Series([LOOKING]), 10).height <= 10


def test_what_stands_behind_is_the_customers_own_and_no_namesake(fitted: Recommender) -> None:
    history = fitted.interactions_
    rows = _everyone(history)
    columns, scores = top_k(fitted.score(rows), 5)
    titles = (np.arange(len(history.products)) // 2).astype(np.int64)
    told = fitted.explain(rows, columns, titles)
    assert told.behind.shape == told.source.shape == told.voice.shape == columns.shape
    assert {Voice(voice) for voice in told.voice.ravel()} <= set(Voice)
    row, place = np.nonzero((told.behind >= 0) & np.isfinite(scores))
    named = told.behind[row, place]
    looked = np.zeros(history.shape, bool)
    looked[history.events.rows, history.events.columns] = True
    own = np.asarray(history.counts().toarray() > 0) | looked
    assert own[rows[row], named].all()
    assert (titles[named] != titles[columns[row, place]]).all()


@pytest.mark.parametrize("described", [None, "nothing", "nulls"])
def test_no_column_of_the_catalogue_is_certain(family: str, described: str | None, shop: pl.DataFrame) -> None:
    texts = ("title", "department", "category", "type", "brand", "size")
    products = {
        None: pl.DataFrame(),
        "nothing": catalogue().select("product_id"),
        "nulls": catalogue().with_columns(
            *(pl.lit(None, pl.String).alias(name) for name in texts), price=pl.lit(None, pl.Decimal(18, 2))
        ),
    }[described]
    model = MEMBERS[family]().fit(interactions(shop, CUT, 2), products, CUT)
    assert model.recommend(pl.Series(["c00", "nobody"]), 5).height <= 10


def test_a_shop_where_nobody_bought_anything_is_no_error(family: str, shop: pl.DataFrame, events: pl.DataFrame) -> None:
    products = pl.Series(["p03", "p20"])
    for history in (interactions(shop.clear(), CUT), interactions(shop.clear(), CUT, products=products, events=events)):
        model = MEMBERS[family]().fit(history, catalogue(), CUT)
        assert model.recommend(pl.Series(["c00", LOOKING, "nobody"]), 5).height <= 6


def test_a_single_customer_with_a_single_product_is_no_error(family: str) -> None:
    model = MEMBERS[family]().fit(interactions(order_lines([("a", "p00", START)]), CUT, 1), catalogue(), CUT)
    assert model.recommend(pl.Series(["a", "nobody"]), 5).height <= 2


def test_a_card_says_in_json_which_model_it_is_of(family: str, fitted: Recommender) -> None:
    card = json.loads(json.dumps(fitted.card()))
    assert card["model"] == fitted.name == family
    settings = fitted.settings.model_dump(mode="json")
    assert card["settings"] == settings
    assert type(fitted.settings).model_validate(settings) == fitted.settings
    with pytest.raises(ValueError, match="unheard_of"):
        type(fitted.settings).model_validate({"unheard_of": 1})


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
    history = interactions(shop, CUT, 2, traits=buckets)
    high = history.of(buckets.filter(pl.col("bucket") == "high")["customer_id"])
    alone = Als(SMALL).fit(high, catalogue(), CUT)
    split = AlsByBucket(SMALL).fit(history, catalogue(), CUT)
    np.testing.assert_allclose(
        split.score(history.row_of(pl.Series(["c03"]))), alone.score(high.row_of(pl.Series(["c03"]))), rtol=1e-5
    )
    assert list(split.models_) == ["high", "low"]


def test_without_a_bucket_there_is_no_discovery_and_still_a_list(shop: pl.DataFrame, buckets: pl.DataFrame) -> None:
    known = buckets.filter(pl.col("customer_id") != "c05")
    history = interactions(shop, CUT, 2, traits=known)
    discovery = AlsByBucket(SMALL).fit(history, catalogue(), CUT)
    assert discovery.recommend(pl.Series(["c05"])).is_empty()
    assert weighed(discovery).fit(history, catalogue(), CUT).recommend(pl.Series(["c05"])).height == 10


def test_buckets_of_two_days_are_refused(shop: pl.DataFrame, buckets: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="80 rows of traits share their customer"):
        interactions(shop, CUT, 2, traits=pl.concat([buckets, buckets]))


def test_models_handed_in_are_not_trained_again(shop: pl.DataFrame, buckets: pl.DataFrame) -> None:
    history = interactions(shop, CUT, 2, traits=buckets)
    trained = AlsByBucket(SMALL).fit(history, catalogue(), CUT).models_
    only_low = AlsByBucket(models={"low": trained["low"]}).fit(history, catalogue(), CUT)
    rows = history.row_of(pl.Series(["c00", "c30"]))
    assert np.isneginf(only_low.score(rows)).all(axis=1).tolist() == [True, False]


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
    found = standardised(scores)
    assert np.isnan(found[~known]).all()
    for row, said in zip(found, known, strict=True):
        if said.sum() > 1:
            assert abs(row[said].mean()) < 1e-4
            assert abs(row[said].std() - 1) < 1e-3


def test_equal_scores_standardise_to_nothing() -> None:
    assert standardised(np.full((1, 3), 5, np.float32)).tolist() == [[0, 0, 0]]
