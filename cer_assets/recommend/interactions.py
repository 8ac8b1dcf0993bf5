"""Who bought and looked at what on which day, as sparse matrices with their index maps; no model lives here."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

EPOCH = date(1970, 1, 1)
WEATHER = {"day": pl.Date, "temperature": pl.Float64, "rain": pl.Float64}
"""Columns of the weather, one row a day."""
EVENT_KINDS = ("view", "search", "cart", "email_open", "email_click")
"""What a customer may do with a product short of buying it; `Events.kinds` holds positions in it."""


@dataclass(frozen=True)
class Events:
    """What customers did with candidates short of buying them: an entry an event, by row, column, day and kind."""

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    days: NDArray[np.int32]
    """Days since 1970-01-01."""
    kinds: NDArray[np.int8]

    @classmethod
    def none(cls) -> "Events":
        """No event at all."""
        nothing = np.empty(0, np.int32)
        return cls(nothing, nothing, nothing, np.empty(0, np.int8))


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
    hours: NDArray[np.int8]
    """Hour of the day's first purchase of the product (0 to 23), -1 where it is not known."""
    amounts: NDArray[np.float32]
    """What was paid for the product that day."""
    discounts: NDArray[np.float32]
    """What was let off that day."""
    quantities: NDArray[np.float32]
    """How many were bought that day."""
    traits: pl.DataFrame
    """What is known of each customer as of the cut: customer_id in the order of the rows, then columns such as bucket,
    behaviour, preference; null where it is not known."""
    events: Events = field(default_factory=Events.none)
    weather: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=WEATHER))
    """day, temperature (degrees Celsius), rain (mm): one row a day, where there is such a feed."""

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

    def trait(self, name: str) -> NDArray[np.object_]:
        """What is known of each matrix row, None where it is not: for nobody where there is no such column."""
        known = np.full(self.shape[0], None, dtype=object)
        if name in self.traits.columns:
            known[:-1] = self.traits[name].to_numpy()
        return known

    def row_of(self, customers: pl.Series) -> NDArray[np.int32]:
        """Matrix row of each customer_id, -1 for one never seen."""
        return positions(self.customers, customers)

    def column_of(self, products: pl.Series) -> NDArray[np.int32]:
        """Matrix column of each product_id, -1 for one that is not a candidate."""
        return positions(self.products, products)

    def of(self, customers: pl.Series) -> "Interactions":
        """The interactions of some customers alone; the products and their columns stay."""
        kept = self.customers.filter(self.customers.is_in(customers.implode()))
        places = self.row_of(kept)
        row = np.full(len(self.customers), -1, np.int32)
        row[places] = np.arange(len(kept), dtype=np.int32)
        mine, own = row[self.rows] >= 0, row[self.events.rows] >= 0
        seen = self.events
        return replace(
            self,
            customers=kept,
            rows=row[self.rows][mine],
            **{name: getattr(self, name)[mine] for name in _ENTRIES},
            traits=self.traits[places],
            events=Events(row[seen.rows][own], seen.columns[own], seen.days[own], seen.kinds[own]),
        )

    def between(self, first: int, last: int) -> "Interactions":
        """Those of the customers of some rows that follow one another, `last` not among them; as cheap as they are few.

        Rows are counted from 0 again; the products and their columns stay.
        """
        seen = self.events
        own = slice(*np.searchsorted(self.rows, [first, last]))
        looks = slice(*np.searchsorted(seen.rows, [first, last]))
        return replace(
            self,
            customers=self.customers[first:last],
            rows=self.rows[own] - np.int32(first),
            **{name: getattr(self, name)[own] for name in _ENTRIES},
            traits=self.traits[first:last],
            events=Events(seen.rows[looks] - np.int32(first), seen.columns[looks], seen.days[looks], seen.kinds[looks]),
        )

    def in_products(self, products: pl.Series) -> "Interactions":
        """The same customers with these products as the columns; what is none of them is left out.

        Args:
            products: product_ids, sorted.
        """
        column = positions(products, self.products)
        kept, seen = column[self.columns] >= 0, self.events
        looks = column[seen.columns] >= 0
        return replace(
            self,
            products=products,
            rows=self.rows[kept],
            **{name: getattr(self, name)[kept] for name in _ENTRIES if name != "columns"},
            columns=column[self.columns[kept]],
            events=Events(seen.rows[looks], column[seen.columns[looks]], seen.days[looks], seen.kinds[looks]),
        )

    def _matrix(self, weights: NDArray[np.float32]) -> sparse.csr_matrix:
        # Entries are sorted, so equal cells are added in the same order whatever order the lines came in.
        return sparse.csr_matrix((weights, (self.rows, self.columns)), shape=self.shape)


_ENTRIES = ("columns", "days", "hours", "amounts", "discounts", "quantities")


def interactions(
    order_lines: pl.DataFrame,
    as_of: date,
    min_customers: int = 10,
    withdrawn: pl.Series | None = None,
    products: pl.Series | None = None,
    events: pl.DataFrame | None = None,
    traits: pl.DataFrame | None = None,
    weather: pl.DataFrame | None = None,
) -> Interactions:
    """Day-baskets of goods before `as_of`, and what customers looked at before it.

    Args:
        order_lines: customer_id, product_id, quantity, amount, ordered_on, merchandise, and where they are known
            ordered_at and discount. Lines without a customer, lines that are not goods and returns are left out.
        as_of: the cut; only days strictly before it are read.
        min_customers: a product is a candidate once this many customers have bought it.
        withdrawn: customer_ids that must not be used at all.
        products: candidates chosen by the caller, instead of `min_customers`.
        events: customer_id, product_id, kind (of EVENT_KINDS), occurred_at.
        traits: customer_id and what else is known of the customer as of the cut; one row a customer.
        weather: day, temperature, rain; the mean is taken of several places.

    Returns:
        Interactions of every customer who bought, or looked at, at least one candidate.

    Raises:
        ValueError: a customer has two rows of traits.
    """
    bought = day_baskets(order_lines).filter(pl.col("ordered_on") < as_of)
    looked = _looked(events, as_of)
    if withdrawn is not None:
        bought = bought.filter(~pl.col("customer_id").is_in(withdrawn.implode()))
        looked = looked.filter(~pl.col("customer_id").is_in(withdrawn.implode()))
    if products is None:
        buyers = bought.group_by("product_id").agg(customers=pl.col("customer_id").n_unique())
        products = buyers.filter(pl.col("customers") >= min_customers)["product_id"]
    columns = products.unique().sort().alias("product_id")
    numbered = columns.to_frame().with_row_index("column")
    bought, looked = bought.join(numbered, on="product_id"), looked.join(numbered, on="product_id")
    rows = pl.concat([bought["customer_id"], looked["customer_id"]]).unique().sort()
    row = rows.to_frame().with_row_index("row")
    cells = bought.join(row, on="customer_id").sort("row", "column", "ordered_on")
    seen = looked.join(row, on="customer_id").sort("row", "column", "day", "kind")
    return Interactions(
        customers=rows,
        products=columns,
        rows=cells["row"].to_numpy().astype(np.int32),
        columns=cells["column"].to_numpy().astype(np.int32),
        days=cells["ordered_on"].to_physical().to_numpy().astype(np.int32),
        hours=cells["hour"].to_numpy().astype(np.int8),
        amounts=cells["amount"].to_numpy().astype(np.float32),
        discounts=cells["discount"].to_numpy().astype(np.float32),
        quantities=cells["quantity"].to_numpy().astype(np.float32),
        traits=_traits(rows, traits),
        events=Events(
            rows=seen["row"].to_numpy().astype(np.int32),
            columns=seen["column"].to_numpy().astype(np.int32),
            days=seen["day"].to_physical().to_numpy().astype(np.int32),
            kinds=seen["kind"].to_numpy().astype(np.int8),
        ),
        weather=_weather(weather, as_of),
    )


def day_baskets(order_lines: pl.DataFrame) -> pl.DataFrame:
    """Goods bought by known customers, returns left out: one row a customer, product and day, in no order.

    Returns:
        customer_id, product_id, ordered_on, hour (of the first purchase, -1 where the time is not known), quantity,
        amount, discount (Float64).
    """
    hour = pl.col("ordered_at").min().dt.hour() if "ordered_at" in order_lines.columns else pl.lit(-1)
    discount = pl.col("discount").sum() if "discount" in order_lines.columns else pl.lit(0)
    return (
        order_lines.filter(
            pl.col("merchandise") & (pl.col("quantity") > 0) & (pl.col("amount") > 0),
            pl.col("customer_id").is_not_null() & pl.col("product_id").is_not_null(),
        )
        .group_by("customer_id", "product_id", "ordered_on")
        .agg(
            hour=hour.cast(pl.Int8).fill_null(-1),
            quantity=pl.col("quantity").sum().cast(pl.Float64),
            amount=pl.col("amount").sum().cast(pl.Float64),
            discount=discount.cast(pl.Float64).fill_null(0),
        )
    )


def described(index: pl.Series, catalogue: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Columns of a catalogue in the order of some products; a column that is not there is null throughout.

    Args:
        index: product_ids.
        catalogue: product_id and whatever else is known; of several rows of a product the first counts; may be empty.
        columns: those wanted.
    """
    known = [name for name in columns if {"product_id", name} <= set(catalogue.columns)]
    asked = index.to_frame("product_id")
    if known:
        first = catalogue.select("product_id", *known).unique("product_id", keep="first", maintain_order=True)
        asked = asked.join(first, on="product_id", how="left", maintain_order="left")
    absent = [pl.lit(None, pl.String).alias(name) for name in columns if name not in known]
    return asked.with_columns(absent).select(columns)


def _looked(events: pl.DataFrame | None, as_of: date) -> pl.DataFrame:
    kinds = pl.Enum(EVENT_KINDS)
    if events is None:
        return pl.DataFrame(
            schema={"customer_id": pl.String, "product_id": pl.String, "day": pl.Date, "kind": pl.UInt8}
        )
    return events.select(
        "customer_id",
        "product_id",
        day=pl.col("occurred_at").dt.date(),
        kind=pl.col("kind").cast(kinds, strict=False).to_physical(),
    ).filter(
        pl.col("customer_id").is_not_null() & pl.col("product_id").is_not_null() & pl.col("kind").is_not_null(),
        pl.col("day") < as_of,
    )


def _traits(customers: pl.Series, traits: pl.DataFrame | None) -> pl.DataFrame:
    if traits is None:
        return customers.to_frame("customer_id")
    twice = traits["customer_id"].is_duplicated().sum()
    if twice:
        raise ValueError(f"{twice} rows of traits share their customer: pass those of one day")
    return customers.to_frame("customer_id").join(traits, on="customer_id", how="left", maintain_order="left")


def _weather(weather: pl.DataFrame | None, as_of: date) -> pl.DataFrame:
    if weather is None:
        return pl.DataFrame(schema=WEATHER)
    known = weather.filter(pl.col("day") < as_of).sort("day", *(c for c in ("place",) if c in weather.columns))
    means = pl.col("temperature", "rain").cast(pl.Float64).mean()
    return known.group_by("day", maintain_order=True).agg(means).select(*WEATHER)


def days_since_epoch(day: date) -> int:
    """Days since 1970-01-01, as `Interactions.days` counts them."""
    return (day - EPOCH).days


def positions(index: pl.Series, wanted: pl.Series) -> NDArray[np.int32]:
    """Position in an index of each value, -1 for one that is not there."""
    found = index.alias("key").to_frame().with_row_index("position")
    keyed = wanted.alias("key").to_frame().join(found, on="key", how="left", maintain_order="left")
    return keyed["position"].cast(pl.Int32).fill_null(-1).to_numpy()
