"""Matrix factorisation: its loss, its regularisation in the data's own units, whom it serves, what it remembers."""

import datetime as dt
import json
from copy import copy

import numpy as np
import polars as pl
import pytest
from implicit.cpu.als import AlternatingLeastSquares, calculate_loss
from numpy.typing import NDArray
from scipy import sparse

from cer_assets.recommend import Als, AlsByBucket, AlsSettings, Interactions, interactions
from cer_assets.recommend.families import als
from cer_assets.recommend.families.als import largest_entries, noise
from cer_assets.recommend.topk import one_blas_thread, top_k
from cer_assets_tests.recommend.conftest import CUSTOMERS, CUT, PRODUCTS, SMALL, START, catalogue, order_lines

ROWS = np.arange(CUSTOMERS, dtype=np.int32)
LOOKED = dt.datetime(2024, 3, 30, 9)


@pytest.fixture(scope="module")
def history(shop: pl.DataFrame, buckets: pl.DataFrame) -> Interactions:
    return interactions(shop, CUT, 2, traits=buckets)


@pytest.fixture(scope="module")
def model(history: Interactions) -> Als:
    return Als(SMALL).fit(history, catalogue(), CUT)


def own_solver(regularization: float) -> AlternatingLeastSquares:
    with one_blas_thread():
        return AlternatingLeastSquares(
            factors=SMALL.factors,
            regularization=regularization,
            iterations=SMALL.iterations,
            random_state=SMALL.seed,
            num_threads=1,
        )


def test_every_iteration_leaves_less_loss_and_the_last_is_what_implicit_calls_it(
    model: Als, history: Interactions
) -> None:
    confidence = history.decayed(CUT, SMALL.half_life_days)[:-1]
    solver = own_solver(model.regularization_)
    with one_blas_thread():
        solver.fit(confidence, show_progress=False)
        theirs = calculate_loss(
            confidence, solver.user_factors, solver.item_factors, model.regularization_, num_threads=1
        )
    assert len(model.losses_) == SMALL.iterations
    assert all(later < earlier for earlier, later in zip(model.losses_, model.losses_[1:], strict=False))
    assert model.losses_[-1] == pytest.approx(theirs, rel=1e-4)


def test_the_loss_of_some_cells_is_near_that_of_all(
    model: Als, history: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(als, "LOSS_CELLS", 200)
    estimated = Als(SMALL).fit(history, catalogue(), CUT)
    np.testing.assert_allclose(estimated.losses_, model.losses_, rtol=0.1)
    np.testing.assert_array_equal(estimated.item_factors_, model.item_factors_)


def test_noise_is_the_largest_singular_value_of_scattered_entries() -> None:
    scattered = sparse.random(300, 200, 0.1, format="csr", random_state=1, data_rvs=lambda n: np.ones(n))
    centred = scattered.toarray() - scattered.mean()
    assert noise(scattered) == pytest.approx(np.linalg.svd(centred, compute_uv=False)[0], rel=0.15)
    assert noise(sparse.csr_matrix((0, 0))) == 0


def test_regularisation_follows_what_is_bought(shop: pl.DataFrame, model: Als) -> None:
    tenfold = SMALL.model_copy(update={"alpha": 10 * SMALL.alpha})
    few = Als(SMALL).fit(interactions(shop.sample(fraction=0.3, seed=0), CUT, 1), catalogue(), CUT)
    assert few.regularization_ < model.regularization_
    assert Als(tenfold).fit(interactions(shop, CUT, 2), catalogue(), CUT).regularization_ == pytest.approx(
        10 * model.regularization_, rel=1e-5
    )


def test_the_best_are_those_of_all_scores(model: Als, history: Interactions) -> None:
    bought = history.counts()
    scores = model.score(ROWS)
    scores[bought[ROWS].nonzero()] = -np.inf
    expected = top_k(scores, 10)
    found = model.best(ROWS, 10, bought)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)
    assert np.isneginf(model.best(np.array([-1], np.int32), 10)[1]).all()


def test_a_product_never_seen_is_not_among_the_best(shop: pl.DataFrame) -> None:
    without = interactions(shop.filter(pl.col("product_id") != "p00"), CUT, 2)
    placed = Als(SMALL).fit(without, catalogue(), CUT).apply(interactions(shop, CUT, 2), CUT)
    columns, scores = placed.best(ROWS, PRODUCTS)
    assert not (columns[np.isfinite(scores)] == 0).any()
    assert np.isfinite(scores).sum(axis=1).tolist() == [PRODUCTS - 1] * CUSTOMERS


def test_of_who_bought_only_what_it_never_saw_it_says_nothing(shop: pl.DataFrame, model: Als) -> None:
    unseen = order_lines([("early", "unseen", START), ("early", "also unseen", START)])
    later = interactions(pl.concat([shop, unseen]), CUT, 1)
    row = later.row_of(pl.Series(["early"]))
    for learned in (model, Als(SMALL).fit(interactions(order_lines([]), CUT, 1), catalogue(), CUT)):
        placed = copy(learned).apply(later, CUT)
        assert np.isneginf(placed.score(row)).all()
        assert np.isneginf(placed.best(row, 5)[1]).all()


def test_who_only_looked_teaches_it_nothing(shop: pl.DataFrame) -> None:
    looked = [{"customer_id": f"v{n}", "product_id": "p03", "kind": "view", "occurred_at": LOOKED} for n in range(50)]
    visited = interactions(shop, CUT, 2, events=pl.DataFrame(looked))
    bought = interactions(shop, CUT, 2)
    assert len(visited.customers) == len(bought.customers) + 50
    assert Als(SMALL).fit(visited, catalogue(), CUT).files() == Als(SMALL).fit(bought, catalogue(), CUT).files()


def test_without_regularisation_there_may_be_no_solution_and_it_is_refused() -> None:
    with pytest.raises(ValueError, match="regularization"):
        AlsSettings(regularization=0)


def test_behind_a_recommendation_stands_a_favourite_of_the_same_taste(model: Als, history: Interactions) -> None:
    columns, _ = model.best(ROWS, 5, history.counts())
    titles = np.arange(PRODUCTS)
    behind = model.behind(ROWS, columns, titles)
    assert (behind >= 0).all()
    bought = history.counts()[ROWS].toarray() > 0
    assert np.take_along_axis(bought, behind, axis=1).all()
    assert ((behind < PRODUCTS // 2) == (columns < PRODUCTS // 2)).mean() > 0.9
    assert (model.behind(np.array([-1], np.int32), columns[:1], titles) == -1).all()


def test_blocks_of_rows_have_the_same_product_behind(
    model: Als, history: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns, _ = model.best(ROWS, 5, history.counts())
    titles = np.arange(PRODUCTS) // 2
    whole = model.behind(ROWS, columns, titles)
    monkeypatch.setattr(als.blocks, "__defaults__", (7,))
    np.testing.assert_array_equal(model.behind(ROWS, columns, titles), whole)


def test_the_largest_entries_come_largest_first_and_equal_ones_by_column() -> None:
    matrix = sparse.csr_matrix(np.array([[0, 2, 1, 2, 3], [0, 0, 0, 0, 0], [0, 0, 5, 0, 0]], np.float32))
    assert largest_entries(matrix, 3).tolist() == [[4, 1, 3], [-1, -1, -1], [2, -1, -1]]


def test_each_bucket_s_model_serves_its_customers_alone(history: Interactions) -> None:
    by_bucket = AlsByBucket(SMALL).fit(history, catalogue(), CUT)
    high: NDArray[np.bool_] = history.trait("bucket")[:-1] == "high"
    served = by_bucket.models_["high"]
    assert np.isfinite(served.score(ROWS)).all(axis=1).tolist() == high.tolist()
    assert not served.customer_factors_[:-1][~high].any()
    card = by_bucket.card()
    assert set(card["buckets"]) == {"high", "low"}
    assert json.loads(json.dumps(card)) == card


def test_the_card_says_how_it_was_learned_and_survives_its_files(history: Interactions) -> None:
    model = Als(SMALL, "als_small").fit(history, catalogue(), CUT)
    card = model.card()
    assert card["model"] == "als_small"
    assert card["as_of"] == CUT.isoformat()
    assert len(card["losses"]) == SMALL.iterations
    assert Als.from_files(model.files()).card() == card


def test_a_shop_without_purchases_trains_to_nothing() -> None:
    nobody = interactions(order_lines([]), CUT, 1)
    model = Als(SMALL).fit(nobody, pl.DataFrame(), CUT)
    assert model.losses_ == []
    assert model.score(np.array([-1], np.int32)).shape == (1, 0)
    assert model.recommend(pl.Series(["anyone"])).is_empty()
    assert AlsByBucket(SMALL).fit(nobody, pl.DataFrame(), CUT).recommend(pl.Series(["anyone"])).is_empty()
