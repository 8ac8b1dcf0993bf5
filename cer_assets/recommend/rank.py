"""The rows of `recommend.recommendations`: who gets a list, what may be on it, where a product comes from and why."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from cer_assets.recommend.hybrid.blend import Blend
from cer_assets.recommend.model import Indices, as_frame, blocks, top_k

UNKNOWN = "unknown"
"""The customer_id under which a visitor nobody knows finds a list; also for who wants none made for them."""
OFTEN = 3
"""Days on which a product was bought for a reason to say `often`."""
RECOMMENDATIONS = {
    "as_of": pl.Date,
    "customer_id": pl.String,
    "rank": pl.Int64,
    "product_id": pl.String,
    "score": pl.Float64,
    "source": pl.String,
    "reason": pl.String,
}
"""Columns of `recommend.recommendations`."""


def rank(
    blend: Blend,
    customers: pl.Series,
    products: pl.DataFrame,
    as_of: date,
    withdrawn: pl.Series | None = None,
    k: int = 10,
) -> pl.DataFrame:
    """The list of each customer, and one for `unknown`.

    A product the customer bought before has the source `repeat`; one the discovery model knows has that model's source
    (`als:<bucket>`); the rest is `trending`, which is all there is for a customer without history. A list is shorter
    than `k` where fewer products may be shown.

    Args:
        blend: fitted; on interactions without the customers in `withdrawn`.
        customers: customer_ids who shall have a list, with or without purchases.
        products: the catalogue: product_id, title, type, category, available, merchandise.
        as_of: the day written into the rows.
        withdrawn: customer_ids who want no personal list: they get none.
        k: longest list.

    Returns:
        as_of, customer_id, rank (from 1), product_id, score (comparable within a customer only), source, reason; by
        customer_id and rank.
    """
    wanted = pl.concat([customers.drop_nulls().cast(pl.String), pl.Series([UNKNOWN])]).unique().sort()
    if withdrawn is not None:
        wanted = wanted.filter(~wanted.is_in(withdrawn.implode()))
    history = blend.interactions_
    if history.products.is_empty():
        return pl.DataFrame(schema=RECOMMENDATIONS)
    ranking = _Ranking(
        blend,
        barred=~recommendable(products, history.products),
        titles=_titles(products, history.products),
        times=history.counts(),
        last_day=history.last_day(),
    )
    ranked = [
        ranking.of_block(wanted[start : start + len(block)], block, k)
        for start, block in blocks(history.row_of(wanted))
    ]
    named = pl.concat(ranked).with_columns(as_of=pl.lit(as_of), score=pl.col("score").round(6), reason=_reason())
    return named.select(*RECOMMENDATIONS)


def recommendable(products: pl.DataFrame, candidates: pl.Series) -> NDArray[np.bool_]:
    """Which candidates may be shown: in the catalogue, not unavailable, not anything but goods.

    Where there is no catalogue at all, every candidate may. What the catalogue leaves open counts as yes.
    """
    if products.is_empty():
        return np.ones(len(candidates), bool)
    sold = products.filter(pl.col("available").fill_null(True) & pl.col("merchandise").fill_null(True))
    return candidates.is_in(sold["product_id"].implode()).to_numpy()


@dataclass(frozen=True)
class _Ranking:
    """What is the same for every block of customers."""

    blend: Blend
    barred: NDArray[np.bool_]
    """Columns that may not be shown."""
    titles: pl.Series
    """What a reason calls each column."""
    times: sparse.csr_matrix
    """On how many days each row bought each column."""
    last_day: sparse.csr_matrix
    """The last of them, in days since 1970-01-01."""

    def of_block(self, customers: pl.Series, rows: Indices, k: int) -> pl.DataFrame:
        """The lists of one block, with source and what the reasons need."""
        scores, known = self.blend.score_and_discover(rows)
        scores[:, self.barred] = -np.inf
        columns, best = top_k(scores, k)
        times = _cells(self.times, rows, columns)
        discovered = (times == 0) & np.take_along_axis(known, columns, axis=1)
        behind = self._behind(rows, columns, discovered)
        source = np.where(discovered, self.blend.discovery.name, "trending")
        source = np.where(times > 0, "repeat", source)
        shown = np.isfinite(best)
        return as_frame(customers, columns, best, self.blend.interactions_.products).with_columns(
            source=pl.Series(source[shown], dtype=pl.String),
            times=pl.Series(times[shown]),
            last_on=_dates(_cells(self.last_day, rows, columns)[shown]),
            behind=self.titles.gather(np.maximum(behind[shown], 0)).set(pl.Series(behind[shown] < 0), None),
            behind_times=pl.Series(_cells(self.times, rows, np.maximum(behind, 0))[shown]),
            behind_on=_dates(_cells(self.last_day, rows, np.maximum(behind, 0))[shown]),
            buyers=pl.Series(self.blend.trending_.buyers_[columns[shown]]),
            trending_days=pl.lit(self.blend.trending_.settings.days),
        )

    def _behind(self, rows: Indices, columns: Indices, discovered: NDArray[np.bool_]) -> Indices:
        codes = self.titles.rank("dense").to_numpy().astype(np.int64)
        behind = np.full(columns.shape, -1, np.int32)
        asked = discovered.any(axis=1)
        behind[asked] = self.blend.discovery.behind(rows[asked], columns[asked], codes)
        return np.where(discovered, behind, -1)


def _cells(matrix: sparse.csr_matrix, rows: Indices, columns: Indices) -> NDArray[np.int64]:
    """The entries of a matrix at each row (n) and its columns (n x k)."""
    entries = matrix[np.repeat(rows, columns.shape[1]), columns.ravel()]
    return np.asarray(entries).reshape(columns.shape).astype(np.int64)


def _titles(products: pl.DataFrame, candidates: pl.Series) -> pl.Series:
    described = [name for name in ("title", "type", "category") if name in products.columns]
    if not described:
        return "product " + candidates
    titles = products.select("product_id", title=pl.coalesce(described))
    joined = candidates.to_frame().join(titles, on="product_id", how="left", maintain_order="left")
    return joined.select(title=pl.coalesce("title", "product " + pl.col("product_id")))["title"]


def _dates(days: NDArray[np.int64]) -> pl.Series:
    return pl.Series(days.astype(np.int32)).cast(pl.Date)


def _reason() -> pl.Expr:
    on = pl.col("behind_on").dt.to_string("%Y-%m-%d")
    repeat = (
        pl.when(pl.col("times") > 1)
        .then(pl.format("Bought {} times, last on {}", "times", pl.col("last_on").dt.to_string("%Y-%m-%d")))
        .otherwise(pl.format("Bought once, on {}", pl.col("last_on").dt.to_string("%Y-%m-%d")))
    )
    discovery = (
        pl.when(pl.col("behind").is_null())
        .then(pl.lit("Bought by customers whose baskets are like yours"))
        .when(pl.col("behind_times") >= OFTEN)
        .then(pl.format("Goes with {}, which you buy often", "behind"))
        .otherwise(pl.format("Goes with {}, which you bought on {}", "behind", on))
    )
    weeks = pl.col("trending_days") // 7
    trending = pl.format("Bought by {} customers in the last {} weeks", "buyers", weeks)
    return (
        pl.when(pl.col("source") == "repeat")
        .then(repeat)
        .when(pl.col("source") == "trending")
        .then(trending)
        .otherwise(discovery)
    )
