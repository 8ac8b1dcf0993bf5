"""What families of likeness share: weighted purchases, the strongest entries of a matrix, the own product behind."""

from collections.abc import Callable
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.model import Indices, Scores, blocks, top_k

CELLS = 1 << 24
"""Cells of a dense block that only lives while it is pruned: 64 MB."""
LINES = 1 << 18
"""Own products times recommended ones that are looked at together: some MB."""

Strength = Callable[[Indices, NDArray[np.float32], Indices], Scores]
"""Of (own product, its weight, columns asked, one line each): what it adds to each score."""


def weighted(interactions: Interactions, as_of: date, half_life_days: float | None = None) -> sparse.csr_matrix:
    """log(1 + days of purchase), float32 (customers + 1 x products): the tenth purchase says less than the first.

    Args:
        interactions: what was bought.
        as_of: the day from which age is counted.
        half_life_days: age at which a day counts half; None: all count alike.
    """
    weights = interactions.decayed(as_of, half_life_days)
    weights.data = np.log1p(weights.data)
    return weights


def strongest(product: Callable[[slice], sparse.csr_matrix], shape: tuple[int, int], k: int) -> sparse.csr_matrix:
    """The k largest positive entries of each row of a matrix that is never there as a whole.

    Rows are made and pruned in blocks, so that memory grows with rows x k and not with rows x columns.

    Args:
        product: makes some rows of the matrix.
        shape: of the matrix.
        k: entries kept in a row.
    """
    rows, columns = shape
    size = max(CELLS // max(columns, 1), 1)
    kept = [sparse.csr_matrix(np.empty((0, columns), np.float32))]
    kept += [_pruned(product(slice(start, min(start + size, rows))), k) for start in range(0, rows, size)]
    return sparse.csr_matrix(sparse.vstack(kept, format="csr"))


def _pruned(block: sparse.csr_matrix, k: int) -> sparse.csr_matrix:
    block.data[block.data < 0] = 0
    block.eliminate_zeros()
    entries = np.diff(block.indptr)
    long = np.flatnonzero(entries > k)
    if len(long):
        # Only rows with more than k entries are looked at as dense ones, where nothing ties at zero.
        chosen, best = top_k(block[long].toarray(), k)
        strong = (best.ravel(), (np.repeat(long, k), chosen.ravel()))
        block = scale_rows(block, (entries <= k).astype(np.float32)) + sparse.csr_matrix(strong, shape=block.shape)
        block.eliminate_zeros()
    block.sort_indices()
    return block


def rows_among(interactions: Interactions, customers: pl.Series) -> Indices:
    """Matrix row of each customer_id, -2 for one who is not there: no row that is ever asked about."""
    rows = interactions.row_of(customers)
    return np.where(rows < 0, np.int32(-2), rows)


def scaled_to_length_one(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Each row over its Euclidean length, so that a product of two rows is their cosine; empty rows stay empty."""
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return scale_rows(matrix, 1 / np.maximum(length, 1e-12))


def scale_rows(matrix: sparse.csr_matrix, factors: NDArray[np.floating]) -> sparse.csr_matrix:
    """Each row times its factor, float32."""
    entries = matrix.data * np.repeat(factors, np.diff(matrix.indptr))
    return sparse.csr_matrix((entries.astype(np.float32), matrix.indices, matrix.indptr), matrix.shape)


def scale_columns(matrix: sparse.csr_matrix, factors: NDArray[np.floating]) -> sparse.csr_matrix:
    """Each column times its factor, float32."""
    entries = matrix.data * factors[matrix.indices]
    return sparse.csr_matrix((entries.astype(np.float32), matrix.indices, matrix.indptr), matrix.shape)


def own_product_behind(
    weights: sparse.csr_matrix, rows: Indices, columns: Indices, titles: NDArray[np.int64], strength: Strength
) -> Indices:
    """The own product that adds most to each recommended product's score, -1 where none adds anything.

    Args:
        weights: what each customer's products count (customers + 1 x products).
        rows: matrix rows (n).
        columns: products recommended to them (n x k).
        titles: a code per product; products of one title are not explained by each other.
        strength: what one own product adds to each of k products.

    Returns:
        Columns of products (n x k); of equals the first.
    """
    behind = np.full(columns.shape, -1, np.int32)
    longest = int(np.diff(weights.indptr)[rows].max(initial=0)) * columns.shape[1]
    for start, block in blocks(rows, max(LINES // max(longest, 1), 1)):
        some = slice(start, start + len(block))
        behind[some] = _behind(weights[block], columns[some], titles, strength)
    return behind


def _behind(own: sparse.csr_matrix, columns: Indices, titles: NDArray[np.int64], strength: Strength) -> Indices:
    entries = np.diff(own.indptr)
    place = np.repeat(np.arange(len(columns), dtype=np.int32), entries)
    asked = columns[place]
    added = np.array(strength(own.indices, own.data, asked), np.float32)
    added[titles[own.indices][:, None] == titles[asked]] = 0
    behind = np.full(columns.shape, -1, np.int32)
    some = np.flatnonzero(entries)
    if not len(some):
        return behind
    best = np.zeros(columns.shape, np.float32)
    best[some] = np.maximum.reduceat(added, own.indptr[some].astype(np.intp), axis=0)
    # From the last to the first, so that the first of equals stands.
    entry, slot = np.nonzero((added == best[place]) & (added > 0))
    behind[place[entry[::-1]], slot[::-1]] = own.indices[entry[::-1]]
    return behind


def cells(matrix: sparse.csr_matrix, rows: Indices, columns: Indices) -> NDArray[np.float32]:
    """The entries of a sparse matrix at each row (n) and its columns (n x k), float32, zero where there is none."""
    if not columns.size:
        return np.zeros(columns.shape, np.float32)
    entries = matrix[np.repeat(rows, columns.shape[1]), columns.ravel()]
    return np.asarray(entries, np.float32).reshape(columns.shape)
