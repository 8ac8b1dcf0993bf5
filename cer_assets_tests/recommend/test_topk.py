"""The best of each row against a full sort, and blocks that give the same bytes on any number of threads."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_info

from cer_assets.recommend import topk
from cer_assets.recommend.topk import (
    BLOCK,
    BLOCK_BYTES,
    Indices,
    Scores,
    all_at_once,
    best_by_factors,
    best_of_rows,
    block_size,
    leave_out,
    one_blas_thread,
    over_blocks,
    top_k,
)

SEEDS = st.integers(0, 2**32 - 1)


def by_full_sort(scores: Scores, k: int) -> tuple[Indices, Scores]:
    columns = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(scores, columns, axis=1)
    return np.where(np.isneginf(best), 0, columns).astype(np.int32), best


def assert_same(found: tuple[Indices, Scores], expected: tuple[Indices, Scores]) -> None:
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    assert [part.dtype for part in found] == [np.int32, np.float32]


@settings(deadline=None, max_examples=150)
@given(
    rows=st.integers(0, 6),
    columns=st.one_of(st.integers(0, 40), st.integers(200, 1500)),
    k=st.one_of(st.integers(0, 12), st.integers(30, 300)),
    values=st.one_of(st.integers(1, 4), st.just(10_000)),
    missing=st.sampled_from([0.0, 0.3, 0.99, 1.0]),
    seed=SEEDS,
)
def test_the_top_k_are_those_of_a_full_sort_with_equal_scores_in_column_order(
    rows: int, columns: int, k: int, values: int, missing: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = (rng.integers(-values, values, (rows, columns)) / 4).astype(np.float32)
    scores[rng.random(scores.shape) < missing] = -np.inf
    assert_same(top_k(scores, k), by_full_sort(scores, k))


def test_minus_zero_and_zero_are_equal_scores() -> None:
    assert top_k(np.array([[-0.0, 0.0, -0.0]], np.float32), 2)[0].tolist() == [[0, 1]]


def test_scores_need_not_lie_in_one_piece_of_memory() -> None:
    scores = np.random.default_rng(0).random((600, 5), np.float32)
    assert_same(top_k(scores.T, 9), by_full_sort(scores.T, 9))


def test_a_score_that_is_no_number_is_refused() -> None:
    scores = np.zeros((2, 700), np.float32)
    scores[1, 650] = np.nan
    with pytest.raises(ValueError, match="not a number"):
        top_k(scores, 3)


def test_what_is_left_out_is_on_no_list_and_nothing_else_is_missing() -> None:
    scores = np.tile(np.arange(5, dtype=np.float32), (3, 1))
    bought = sparse.csr_matrix(np.array([[0, 0, 0, 0, 0], [0, 0, 0, 0, 2], [0, 1, 0, 0, 1], [1, 0, 0, 0, 0]]))
    barred = np.array([False, False, False, True, False])
    kept = leave_out(scores, np.array([1, 2, -1], np.int32), bought, barred)
    assert [np.flatnonzero(np.isfinite(row)).tolist() for row in kept] == [[0, 1, 2], [0, 2], [1, 2, 4]]


@settings(deadline=None, max_examples=60)
@given(
    customers=st.integers(0, 40),
    items=st.one_of(st.integers(0, 30), st.integers(200, 900)),
    k=st.integers(0, 25),
    spread=st.floats(0.1, 3),
    seed=SEEDS,
)
def test_what_lengths_of_factors_rule_out_is_on_no_list_anyway(
    customers: int, items: int, k: int, spread: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    # Whole numbers: their products are exact, so that many scores are equal and none differs by rounding.
    own = rng.integers(-3, 4, (customers, 4)).astype(np.float32)
    theirs = np.rint(rng.normal(0, spread, (items, 4)) * rng.integers(0, 5, (items, 1))).astype(np.float32)
    own[rng.random(customers) < 0.1] = 0
    bought = sparse.random(customers, items, 0.2, format="csr", random_state=rng, dtype=np.float32)
    barred = rng.random(items) < 0.1

    def score(rows: Indices) -> Scores:
        scores = own[rows] @ theirs.T
        scores[~own[rows].any(axis=1)] = -np.inf
        return scores

    everyone = np.arange(customers, dtype=np.int32)
    expected = best_of_rows(score, everyone, items, k, bought, barred)
    assert_same(best_by_factors(own, theirs, k, bought, barred), expected)


def test_rare_long_factors_leave_most_items_alone_and_the_lists_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    own, theirs = rng.normal(size=(300, 16)).astype(np.float32), rng.normal(size=(4000, 16)).astype(np.float32)
    theirs *= (np.arange(1, 4001, dtype=np.float32) ** -0.7)[rng.permutation(4000)][:, None]
    made = 0
    best_keys = topk._best_keys

    def counted(scores: Scores, k: int, names: NDArray[np.int64] | None = None) -> NDArray[np.uint64]:
        nonlocal made
        made += scores.size
        return best_keys(scores, k, names)

    expected = top_k(own @ theirs.T, 10)
    monkeypatch.setattr(topk, "_best_keys", counted)
    found = best_by_factors(own, theirs, 10, threads=1)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)
    assert made < 0.4 * 300 * 4000


def test_the_same_bytes_on_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topk, "BLOCK_BYTES", 4 * 500 * 16)
    rng = np.random.default_rng(3)
    own, theirs = rng.normal(size=(400, 8)).astype(np.float32), rng.normal(size=(500, 8)).astype(np.float32)
    rows = rng.integers(-1, 400, 333).astype(np.int32)
    dense = [best_of_rows(lambda block: own[block] @ theirs.T, rows, 500, 7, threads=n) for n in (1, 2, 5)]
    bounded = [best_by_factors(own, theirs, 7, threads=n) for n in (1, 2, 5)]
    for one, *others in (dense, bounded):
        for other in others:
            assert_same(other, one)


def test_results_of_blocks_come_in_order_whichever_ends_first() -> None:
    first_may_end = threading.Event()

    def work(start: int, block: Indices) -> list[int]:
        if start == 0:
            assert first_may_end.wait(10)
        else:
            first_may_end.set()
        return block.tolist()

    assert list(over_blocks(work, np.arange(7, dtype=np.int32), 3, threads=2)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_no_more_blocks_are_begun_than_can_be_taken() -> None:
    begun: list[int] = []
    results = over_blocks(lambda start, _: begun.append(start), np.arange(100, dtype=np.int32), 1, threads=2)
    next(results)
    assert len(begun) <= 3
    results.close()


def test_a_failure_in_a_block_is_the_caller_s() -> None:
    def work(start: int, block: Indices) -> None:
        if start:
            raise LookupError("no such model")

    with pytest.raises(LookupError, match="no such model"):
        list(over_blocks(work, np.arange(9, dtype=np.int32), 2, threads=2))


def test_a_block_takes_bounded_memory_and_at_least_one_row() -> None:
    assert block_size(10) == BLOCK
    assert 4 * 20_000 * block_size(20_000) <= BLOCK_BYTES
    assert block_size(10**9) == block_size(10**10) == 1


def threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_blas_is_on_one_thread_until_the_last_has_left() -> None:
    before = threads()
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with one_blas_thread():
            entered.set()
            leave.wait(10)

    with one_blas_thread():
        thread = threading.Thread(target=other)
        thread.start()
        assert entered.wait(10)
        with one_blas_thread():
            assert threads() == {1}
        assert threads() == {1}
    assert threads() == {1}
    leave.set()
    thread.join()
    assert threads() == before


def test_work_at_once_comes_back_by_name_and_in_order_and_what_fails_is_told() -> None:
    before, on = threads(), {name: number for number, name in enumerate("dcba")}
    assert list(all_at_once(lambda name, number: name * number, on).items()) == [
        ("d", ""),
        ("c", "c"),
        ("b", "bb"),
        ("a", "aaa"),
    ]
    with pytest.raises(ZeroDivisionError) as raised:
        all_at_once(lambda _, number: 1 / number, on)
    assert raised.value.__notes__ == ["while working on d"]
    assert threads() == before
