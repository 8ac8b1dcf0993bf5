"""Work on several processors: block after block of customers, model beside model; and the best products of scores."""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import OpenBLASController, threadpool_limits

S = TypeVar("S")
T = TypeVar("T")
Scores = NDArray[np.float32]
Indices = NDArray[np.int32]

BLOCK = 1024
"""Customers scored at once, at most."""
BLOCK_BYTES = 16 * 2**20
"""Bytes that the scores of one block may take; one block a thread is under way, whatever the number of customers."""
MOST_AT_ONCE = 4
"""Models fitted at once, at most: the larger ones hold twice products^2 numbers while they learn."""
MAXIMA = 256
"""Maxima a row is reduced to before any is compared with the others, at least; then 8 for each place of the list."""
HEAD = 8
"""The part of the items, the longest, that everyone is scored on: one in so many."""
MOSTLY = 0.75
"""Share of the customers still open at which lengths tell too little: the rest of the items is scored at once."""
SIGN = np.uint32(1 << 31)
COLUMN = np.uint64(0xFFFFFFFF)
"""The bits of a key that hold the column, counted down."""


def block_size(width: int) -> int:
    """Customers whose scores of `width` products are held at once."""
    return int(np.clip(BLOCK_BYTES // (4 * max(width, 1)), 1, BLOCK))


def blocks(rows: Indices, size: int = BLOCK) -> Iterator[tuple[int, Indices]]:
    """Cut rows into blocks: (position of the first, rows)."""
    return ((start, rows[start : start + size]) for start in range(0, len(rows), size))


def over_blocks(work: Callable[[int, Indices], T], rows: Indices, size: int = BLOCK, threads: int = 0) -> Generator[T]:
    """What `work` makes of each block (position of the first, rows), in order, a block a thread under way.

    BLAS has one thread meanwhile: the threads share no work, so that results do not depend on their number.

    Args:
        work: called from several threads; it may write into nothing that another block reads.
        rows: matrix rows.
        size: rows of a block.
        threads: blocks under way at once, 0 for one per core.
    """
    threads = min(threads or cores(), max(-(-len(rows) // size), 1))
    with one_blas_thread():
        if threads == 1:
            yield from (work(start, block) for start, block in blocks(rows, size))
            return
        with ThreadPoolExecutor(threads) as pool:
            yield from _in_order(pool, work, blocks(rows, size), threads)


def all_at_once(work: Callable[[str, S], T], on: Mapping[str, S]) -> dict[str, T]:
    """What `work` makes of each, by name and in order, as many at once as there are processors, and at most four.

    BLAS has one thread meanwhile; what else a work starts threads for, such as ALS, it starts beside the others.

    Args:
        work: called from several threads with a name and what stands under it; it may change nothing that another
            reads. What it raises is told with the name.
        on: what is worked on.
    """

    def named(name: str, one: S) -> T:
        try:
            return work(name, one)
        except Exception as error:
            error.add_note(f"while working on {name}")
            raise

    with one_blas_thread(), ThreadPoolExecutor(min(cores(), MOST_AT_ONCE)) as pool:
        return dict(zip(on, pool.map(named, on.keys(), on.values()), strict=True))


def best_of_rows(
    score: Callable[[Indices], Scores],
    rows: Indices,
    width: int,
    k: int,
    without: sparse.csr_matrix | None = None,
    barred: NDArray[np.bool_] | None = None,
    threads: int = 0,
) -> tuple[Indices, Scores]:
    """Columns and scores of the `k` best of each row as in `top_k`, block by block.

    Args:
        score: scores of a block of rows (rows x width), which are written into; called from several threads.
        rows: matrix rows.
        width: number of columns.
        k: length of a list.
        without: entries of this matrix are left out, whatever they hold: what each row bought already, say.
        barred: columns left out for every row.
        threads: blocks under way at once, 0 for one per core; the result does not depend on it.
    """
    columns = np.zeros((len(rows), min(k, width)), np.int32)
    best = np.full(columns.shape, -np.inf, np.float32)

    def rank(start: int, block: Indices) -> None:
        scores = leave_out(score(block), block, without, barred)
        place = slice(start, start + len(block))
        columns[place], best[place] = top_k(scores, k)

    for _ in over_blocks(rank, rows, block_size(width), threads):
        pass
    return columns, best


def best_by_factors(
    customer_factors: NDArray[np.float32],
    item_factors: NDArray[np.float32],
    k: int,
    without: sparse.csr_matrix | None = None,
    barred: NDArray[np.bool_] | None = None,
    threads: int = 0,
) -> tuple[Indices, Scores]:
    """What `best_of_rows` finds where a score is a product of factors, most of the products never multiplied out.

    No score is above the length of the customer's factor times that of the item's (Cauchy and Schwarz). Items come by
    falling length, in parts that double; a customer is done once the next part begins too short for their k-th score.

    Args:
        customer_factors: (rows x factors); who has none but zeros is recommended nothing.
        item_factors: (columns x factors).
        k: length of a list.
        without: (rows x columns); its entries are left out, whatever they hold.
        barred: columns left out for every row.
        threads: blocks under way at once, 0 for one per core; the result does not depend on it.
    """
    width = len(item_factors)
    length = np.linalg.norm(item_factors, axis=1)
    order = np.argsort(-length, kind="stable")
    if barred is not None:
        order = order[~barred[order]]
    items = _Items(item_factors[order], length[order], order.astype(np.int64), np.full(width, -1, np.int64))
    items.place[order] = np.arange(len(order))
    keys = np.zeros((len(customer_factors), min(k, width)), np.uint64)
    size = np.linalg.norm(customer_factors, axis=1)
    some = np.flatnonzero((size > 0) & (keys.shape[1] > 0)).astype(np.int32)

    def rank(_: int, block: Indices) -> None:
        own = None if without is None else without[block]
        keys[block] = items.best_of(customer_factors[block], size[block], keys.shape[1], own)

    for _ in over_blocks(rank, some, block_size(width // 2), threads):
        pass
    return _unpacked(keys)


def leave_out(
    scores: Scores,
    rows: Indices,
    without: sparse.csr_matrix | None = None,
    barred: NDArray[np.bool_] | None = None,
) -> Scores:
    """Set to -inf, in place, what must not be recommended to some rows; returns the scores.

    Args:
        scores: scores of the rows (rows x columns).
        rows: matrix rows.
        without: entries of this matrix are left out, whatever they hold.
        barred: columns left out for every row.
    """
    if without is not None:
        own = without[rows]
        scores[np.repeat(np.arange(len(rows)), np.diff(own.indptr)), own.indices] = -np.inf
    if barred is not None:
        scores[:, np.flatnonzero(barred)] = -np.inf
    return scores


def top_k(scores: Scores, k: int) -> tuple[Indices, Scores]:
    """Columns and scores of the k best of each row, best first; equal scores in column order.

    A row is first reduced to the maxima of groups of its columns: the k greatest of them stand for k different columns,
    so that what is less than the least of them is not among the k best.

    Args:
        scores: (rows x columns); -inf is never recommended.
        k: length of a list.

    Returns:
        Shapes (rows x min(k, columns)). Where a row has less to recommend, its last places are column 0, score -inf.

    Raises:
        ValueError: a score is not a number.
    """
    rows, width = scores.shape
    k = min(k, width)
    if not (rows and k):
        return np.zeros((rows, k), np.int32), np.zeros((rows, k), np.float32)
    return _unpacked(_best_keys(scores, k))


@contextmanager
def one_blas_thread() -> Generator[None]:
    """BLAS on one thread: a product split over threads adds in another order each time.

    It may be entered again inside, and from several threads at once: the limit stands until the last one leaves.
    """
    _LIMIT.enter()
    try:
        yield
    finally:
        _LIMIT.leave()


def cores() -> int:
    """Processors of this machine."""
    return os.cpu_count() or 1


class _BlasLimit:
    """The limit is the process's: whoever leaves early would lift it from all others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0

    def enter(self) -> None:
        with self._lock:
            if not self._inside:
                self._limits = threadpool_limits(1, user_api="blas")
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                # Only the thread that set the limit may lift it, and the last to leave may be another.
                OpenBLASController.clear_controlling_thread(force=True)
                self._limits.restore_original_limits()
                OpenBLASController.clear_controlling_thread()


_LIMIT = _BlasLimit()


def _in_order(
    pool: ThreadPoolExecutor,
    work: Callable[[int, Indices], T],
    todo: Iterator[tuple[int, Indices]],
    threads: int,
) -> Iterator[T]:
    # One more than there are threads, so that none waits while a result is taken; not all, or they would pile up.
    ahead: deque[Future[T]] = deque()
    for start, block in todo:
        ahead.append(pool.submit(work, start, block))
        if len(ahead) > threads:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


def _least_of_the_best(scores: Scores, k: int) -> Scores:
    """A score of each row that at least k of its columns reach, or the least number where that is -inf."""
    width = scores.shape[1]
    # Groups are stripes (columns j, j + kept, j + 2 kept, ...): their maxima take one pass over whole vectors.
    kept = min(max(MAXIMA, 8 * k), width)
    maxima = scores[:, :kept].copy()
    for start in range(kept, width, kept):
        stripe = scores[:, start : start + kept]
        np.maximum(maxima[:, : stripe.shape[1]], stripe, out=maxima[:, : stripe.shape[1]])
    if np.isnan(maxima).any():
        raise ValueError("a score is not a number: give -inf to what cannot be recommended")
    maxima.partition(kept - k, axis=1)
    return np.maximum(maxima[:, kept - k], np.finfo(np.float32).min)


def _best_keys(scores: Scores, k: int, names: NDArray[np.int64] | None = None) -> NDArray[np.uint64]:
    """Keys of the k best of each row, best first, 0 where there are fewer; `names`: what the columns are called."""
    keys = _keys(scores, _least_of_the_best(scores, k), k, names)
    keys.partition(keys.shape[1] - k, axis=1)
    return np.sort(keys[:, -k:], axis=1)[:, ::-1]


def _keys(scores: Scores, least: Scores, k: int, names: NDArray[np.int64] | None) -> NDArray[np.uint64]:
    """Scores not less than the least as whole numbers of the same order, where equal ones come by column; 0 to fill."""
    rows, width = scores.shape
    cells = np.flatnonzero(scores >= least[:, None])
    first = np.searchsorted(cells, np.arange(rows + 1) * width)
    row = np.repeat(np.arange(rows), np.diff(first))
    value = scores.reshape(-1)[cells]
    if names is None and len(cells) > MAXIMA * rows:
        # Many columns share the least score: of those, the first k are enough. (Under other names, which come first?)
        least_of = least[row]
        tied = value == least_of
        earlier = np.cumsum(tied) - tied
        few = ~tied | (earlier - earlier[np.minimum(first[:-1], len(cells) - 1)][row] < k)
        cells, row, value = cells[few], row[few], value[few]
        first = np.searchsorted(cells, np.arange(rows + 1) * width)
    bits = (value + np.float32(0)).view(np.uint32)  # -0 and 0 are equal, their bits are not
    ordered = np.where(bits & SIGN, ~bits, bits | SIGN).astype(np.uint64)
    column = cells - row * width
    column = (column if names is None else names[column]).astype(np.uint64)
    keys = np.zeros((rows, max(int(np.diff(first).max()), k)), np.uint64)
    keys[row, np.arange(len(cells)) - first[row]] = (ordered << np.uint64(32)) | (COLUMN - column)
    return keys


def _unpacked(keys: NDArray[np.uint64]) -> tuple[Indices, Scores]:
    columns = np.where(keys > 0, COLUMN - (keys & COLUMN), 0).astype(np.int32)
    return columns, _scores_of(keys)


def _scores_of(keys: NDArray[np.uint64]) -> Scores:
    ordered = (keys >> np.uint64(32)).astype(np.uint32)
    scores = np.where(ordered & SIGN, ordered ^ SIGN, ~ordered).view(np.float32)
    return np.where(keys > 0, scores, np.float32(-np.inf))


@dataclass(frozen=True)
class _Items:
    """Items by falling length of their factors."""

    factors: NDArray[np.float32]
    length: NDArray[np.float32]
    names: NDArray[np.int64]
    """Which column each is."""
    place: NDArray[np.int64]
    """Where each column stands, -1 for one that is left out."""

    def best_of(
        self,
        factors: NDArray[np.float32],
        length: NDArray[np.float32],
        k: int,
        without: sparse.csr_matrix | None,
    ) -> NDArray[np.uint64]:
        """Keys of the k best for some customers, best first."""
        best = np.zeros((len(factors), k), np.uint64)
        row, place = np.empty(0, np.int64), np.empty(0, np.int64)
        if without is not None:
            row, place = np.repeat(np.arange(len(factors)), np.diff(without.indptr)), self.place[without.indices]
        start, open_rows = 0, np.arange(len(factors))
        rounding = np.float32(1 + np.finfo(np.float32).eps * (factors.shape[1] + 8))
        end = max(len(self.factors) // HEAD, 2 * k)
        while len(open_rows) and start < len(self.factors):
            part = slice(start, min(end, len(self.factors)))
            scores = factors[open_rows] @ self.factors[part].T
            line = np.full(len(factors), -1)
            line[open_rows] = np.arange(len(open_rows))
            here = (place >= part.start) & (place < part.stop) & (line[row] >= 0)
            scores[line[row[here]], place[here] - start] = -np.inf
            found = _best_keys(scores, min(k, scores.shape[1]), self.names[part])
            both = np.sort(np.hstack([best[open_rows], found]), axis=1)
            best[open_rows] = both[:, : -k - 1 : -1]
            start, end = part.stop, 2 * part.stop
            if start < len(self.factors):
                most = length[open_rows] * self.length[start] * rounding
                open_rows = open_rows[most >= _scores_of(best[open_rows, -1])]
            if len(open_rows) > MOSTLY * len(factors):
                end = len(self.factors)
        return best
