"""What the recommenders read of the lake, and as of when; nothing is learned here."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import dagster as dg
import polars as pl

from cer_assets.defs.io import reads_itself
from cer_assets.defs.resources import Home
from cer_assets.recommend import Interactions, Sources, interactions, withdrawn_customers

DAY = dt.timedelta(days=1)
READS = {
    name: reads_itself(f"{schema}/{name}")
    for schema, names in {
        "customer": ("order_lines", "products", "events"),
        "raw": ("consents", "weather"),
        "identity": ("links",),
    }.items()
    for name in names
}
"""The tables a `Shop` is read from; each asset that reads one names them all as its inputs."""
_LINE = ("customer_id", "product_id", "quantity", "amount", "discount", "ordered_at", "ordered_on", "merchandise")


@dataclass(frozen=True)
class Shop:
    """Everything that recommenders learn from, all days of it."""

    order_lines: pl.DataFrame
    products: pl.DataFrame
    events: pl.DataFrame
    weather: pl.DataFrame
    withdrawn: pl.Series
    """Customers who withdrew their consent: they are in no matrix and on no list."""
    withdrawn_on: dt.date | None
    """Day of the newest withdrawal: what was learned before it may have learned from who withdrew."""

    @classmethod
    def read(cls, home: Home) -> Self:
        """As the lake holds it now."""
        lines = home.lake.scan("customer.order_lines").select("basket_id", "line", *_LINE).collect()
        return cls(
            order_lines=lines,
            products=home.read("customer.products"),
            events=home.read("customer.events"),
            weather=home.read("raw.weather"),
            withdrawn=withdrawn_customers(home.read("raw.consents"), home.read("identity.links")),
            withdrawn_on=newest_withdrawal(home),
        )

    def before(self, cut: dt.date, min_customers: int, traits: pl.DataFrame | None = None) -> Interactions:
        """What was known on the eve of a day."""
        return interactions(
            self.order_lines,
            cut,
            min_customers,
            self.withdrawn,
            events=self.events,
            traits=traits,
            weather=self.weather,
        )

    def sources(self, traits: Callable[[dt.date], pl.DataFrame]) -> Sources:
        """The same for a backtest, which cuts the past out of it."""
        return Sources(
            order_lines=self.order_lines,
            traits=traits,
            products=self.products,
            events=self.events,
            weather=self.weather,
            withdrawn=self.withdrawn,
        )


def newest_withdrawal(home: Home) -> dt.date | None:
    """The day on which a consent was last withdrawn."""
    moment = home.read("raw.consents").filter(~pl.col("granted"))["at"].max()
    return moment.date() if isinstance(moment, dt.datetime) else None


def morning_after(day: object) -> dt.date:
    """What was known at the end of a day is what was bought strictly before the next."""
    if not isinstance(day, dt.date):
        raise dg.Failure("nobody has bought anything yet: there is nothing to learn from", allow_retries=False)
    return day + DAY
