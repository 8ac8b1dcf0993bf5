"""Who bought what on which day, as sparse matrices with their index maps; no model and no ranking lives here."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Interactions:
    """Day-baskets: one entry per customer, product and day of purchase, sorted in that order.

    A product bought twice on one day counts once, as two tills of one shopping trip say nothing more about taste.
    Matrices have one row more than there are customers: the last one is empty, so that row -1 is a customer never seen.
    """

    customers: pl.Series
    """customer_id of each matrix row, sorted."""
    products: pl.Series
    """product_id of each matrix column, sorted."""
    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    days: NDArray[np.int32]
    """Day of purchase, in days since 1970-01-01."""

    @property
    def shape(self) -> tuple[int, int]:
        """Matrix rows (customers and the empty one) and columns (products)."""
        return len(self.customers) + 1, len(self.products)

    def counts(self) -> sparse.csr_matrix:
        """Days on which each customer bought each product, float32 (customers + 1 x products)."""
        return self._matrix(np.ones(len(self.rows), np.float32))

    def decayed(self, as_of: date, half_life_days: float | None) -> sparse.csr_matrix:
        """Like `counts`, each day weighing half as much for every half-life it lies before `as_of`; None: no decay."""
        if half_life_days is None:
            return self.counts()
        age = days_since_epoch(as_of) - self.days
        return self._matrix(np.exp2(-age / half_life_days).astype(np.float32))

    def last_day(self) -> sparse.csr_matrix:
        """Latest day of each customer and product in days since 1970-01-01, float32; same pattern as `counts`."""
        latest = np.ones(len(self.rows), bool)
        latest[:-1] = (self.rows[1:] != self.rows[:-1]) | (self.columns[1:] != self.columns[:-1])
        entries = (self.days[latest].astype(np.float32), (self.rows[latest], self.columns[latest]))
        return sparse.csr_matrix(entries, shape=self.shape)

    def row_of(self, customers: pl.Series) -> NDArray[np.int32]:
        """Matrix row of each customer_id, -1 for one never seen."""
        return _positions(self.customers, customers)

    def column_of(self, products: pl.Series) -> NDArray[np.int32]:
        """Matrix column of each product_id, -1 for one that is not a candidate."""
        return _positions(self.products, products)

    def of(self, customers: pl.Series) -> "Interactions":
        """The interactions of some customers alone; the products and their columns stay."""
        kept = self.customers.filter(self.customers.is_in(customers.implode()))
        row = np.full(len(self.customers), -1, np.int32)
        row[self.row_of(kept)] = np.arange(len(kept), dtype=np.int32)
        mine = row[self.rows] >= 0
        return Interactions(kept, self.products, row[self.rows][mine], self.columns[mine], self.days[mine])

    def _matrix(self, weights: NDArray[np.float32]) -> sparse.csr_matrix:
        # Entries are sorted, so equal cells are added in the same order whatever order the lines came in.
        return sparse.csr_matrix((weights, (self.rows, self.columns)), shape=self.shape)


def interactions(
    order_lines: pl.DataFrame,
    as_of: date,
    min_customers: int = 10,
    withdrawn: pl.Series | None = None,
    products: pl.Series | None = None,
) -> Interactions:
    """Day-baskets of goods before `as_of`.

    Args:
        order_lines: customer_id, product_id, quantity, amount, ordered_on, merchandise. Lines without a customer, lines
            that are not goods and returns are left out.
        as_of: the cut; only days strictly before it are read.
        min_customers: a product is a candidate once this many customers have bought it.
        withdrawn: customer_ids that must not be used at all.
        products: candidates chosen by the caller, instead of `min_customers`.

    Returns:
        Interactions of every customer with at least one candidate.
    """
    bought = purchases(order_lines).filter(pl.col("ordered_on") < as_of)
    if withdrawn is not None:
        bought = bought.filter(~pl.col("customer_id").is_in(withdrawn.implode()))
    if products is None:
        buyers = bought.group_by("product_id").agg(customers=pl.col("customer_id").n_unique())
        products = buyers.filter(pl.col("customers") >= min_customers)["product_id"]
    columns = products.unique().sort().alias("product_id")
    bought = bought.join(columns.to_frame().with_row_index("column"), on="product_id")
    rows = bought["customer_id"].unique().sort()
    cells = bought.join(rows.to_frame().with_row_index("row"), on="customer_id").sort("row", "column", "ordered_on")
    return Interactions(
        customers=rows,
        products=columns,
        rows=cells["row"].to_numpy().astype(np.int32),
        columns=cells["column"].to_numpy().astype(np.int32),
        days=cells["ordered_on"].to_physical().to_numpy().astype(np.int32),
    )


def purchases(order_lines: pl.DataFrame) -> pl.DataFrame:
    """Distinct customer_id, product_id, ordered_on of goods bought, in no order: known customers, no returns."""
    return (
        order_lines.filter(
            pl.col("merchandise") & (pl.col("quantity") > 0) & (pl.col("amount") > 0),
            pl.col("customer_id").is_not_null() & pl.col("product_id").is_not_null(),
        )
        .select("customer_id", "product_id", "ordered_on")
        .unique()
    )


def withdrawn_customers(consents: pl.DataFrame, links: pl.DataFrame, purpose: str = "personalisation") -> pl.Series:
    """Customers whose newest statement on a purpose, under any of their records, is a withdrawal.

    Every statement counts, whatever day is computed: who has withdrawn by now is not used for a past day either.
    No statement is no withdrawal; of two statements of one moment the withdrawal wins.

    Args:
        consents: source, source_id, purpose, granted, at.
        links: record_id (`source:source_id`), customer_id.
        purpose: the purpose asked about.

    Returns:
        Sorted customer_ids.
    """
    return (
        consents.filter(pl.col("purpose") == purpose)
        .with_columns(record_id=pl.concat_str("source", pl.lit(":"), "source_id"))
        .join(links, on="record_id")
        .sort("customer_id", "at", "granted", descending=[False, True, False])
        .unique("customer_id", keep="first", maintain_order=True)
        .filter(~pl.col("granted"))["customer_id"]
    )


def bucket_of(history: Interactions, buckets: pl.DataFrame) -> NDArray[np.object_]:
    """The bucket of each matrix row, None for who has none; the last row is nobody's.

    Args:
        history: whose rows.
        buckets: customer_id, bucket of one day.

    Raises:
        ValueError: a customer has two buckets.
    """
    twice = buckets["customer_id"].is_duplicated().sum()
    if twice:
        raise ValueError(f"{twice} rows of buckets share their customer: pass the buckets of one day")
    rows = history.row_of(buckets["customer_id"])
    bucket = np.full(history.shape[0], None, dtype=object)
    bucket[rows[rows >= 0]] = buckets["bucket"].to_numpy()[rows >= 0]
    return bucket


def days_since_epoch(day: date) -> int:
    """Days since 1970-01-01, as `Interactions.days` counts them."""
    return (day - EPOCH).days


def _positions(index: pl.Series, wanted: pl.Series) -> NDArray[np.int32]:
    found = index.alias("key").to_frame().with_row_index("position")
    keyed = wanted.alias("key").to_frame().join(found, on="key", how="left", maintain_order="left")
    return keyed["position"].cast(pl.Int32).fill_null(-1).to_numpy()
