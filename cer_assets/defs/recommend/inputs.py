"""What the recommenders read of the lake, and as of when; nothing is learned here."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import dagster as dg
import polars as pl

from cer_assets.defs.io import reads_itself
from cer_assets.defs.purposes import PERSONALISATION, withdrawn, withdrawn_on
from cer_assets.defs.resources import Home
from cer_assets.recommend import Interactions, Sources, teachers

DAY = dt.timedelta(days=1)
TABLES = (
    "customer/order_lines",
    "customer/products",
    "customer/events",
    "customer/consents",
    "raw/weather",
    "identity/links",
)
READS = {table.split("/")[1]: reads_itself(table) for table in TABLES}
"""The tables a `Shop` is read from; each asset that reads one names them all as its inputs."""
_EVENT = ("customer_id", "product_id", "kind", "occurred_at")
_LINE = ("customer_id", "product_id", "quantity", "amount", "discount", "ordered_at", "ordered_on", "merchandise")


@dataclass(frozen=True)
class Shop:
    """Everything that recommenders learn from, all days of it; of very many customers a sample (`CrowdSettings`)."""

    order_lines: pl.DataFrame
    products: pl.DataFrame
    events: pl.DataFrame
    weather: pl.DataFrame
    withdrawn: pl.Series
    """Customers who withdrew their consent: they are in no matrix and on no list."""
    withdrawn_on: dt.date | None
    """Day of the newest withdrawal of that consent: what was learned before it may have learned from who withdrew."""
    last: dt.date | None
    """The newest day with a purchase of anyone; None where nobody bought."""
    sampled: bool
    """Whether there are customers whose purchases are not in here."""

    @classmethod
    def read(cls, home: Home) -> Self:
        """As the lake holds it now."""
        lines = home.lake.scan("customer.order_lines").select("basket_id", "line", *_LINE)
        events = home.lake.scan("customer.events").select(*_EVENT)
        goods = lines.filter(pl.col("merchandise") & pl.col("customer_id").is_not_null())
        counted = goods.group_by("customer_id").agg(lines=pl.len().cast(pl.Int64)).collect(engine="streaming")
        taught = teachers(counted.sort("customer_id"))
        if taught is not None:
            lines = lines.filter(pl.col("customer_id").is_in(taught.implode()))
            events = events.filter(pl.col("customer_id").is_in(taught.implode()))
        last = home.lake.scan("customer.order_lines").select(pl.col("ordered_on").max()).collect().item()
        return cls(
            order_lines=lines.collect(),
            products=home.read("customer.products"),
            events=events.collect(),
            weather=home.read("raw.weather"),
            withdrawn=withdrawn(home, PERSONALISATION),
            withdrawn_on=withdrawn_on(home, PERSONALISATION),
            last=last,
            sampled=taught is not None,
        )

    def before(self, cut: dt.date, min_customers: int, traits: pl.DataFrame | None = None) -> Interactions:
        """What was known on the eve of a day."""
        return self.sources(None if traits is None else lambda _: traits).before(cut, min_customers)

    def sources(self, traits: Callable[[dt.date], pl.DataFrame] | None) -> Sources:
        """The same for a backtest, which cuts the past out of it."""
        return Sources(
            order_lines=self.order_lines,
            traits=traits,
            products=self.products,
            events=self.events,
            weather=self.weather,
            withdrawn=self.withdrawn,
        )


def morning_after(day: object) -> dt.date:
    """What was known at the end of a day is what was bought strictly before the next."""
    if not isinstance(day, dt.date):
        raise dg.Failure("nobody has bought anything yet: there is nothing to learn from", allow_retries=False)
    return day + DAY
