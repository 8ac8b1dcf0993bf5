"""The purchases of any day: real baskets, moved ones of copied households, and the records they are rung up under."""

from datetime import date, timedelta

import numpy as np
import polars as pl

from cer_assets.sample.catalogue import Shelves
from cer_assets.sample.draws import Draws
from cer_assets.sample.journey import FIRST_DAY, LAST_DAY, Journey
from cer_assets.sample.landing import as_utc
from cer_assets.sample.records import SYSTEMS

ANONYMOUS = 0.02
"""Share of the baskets of which nobody knows who paid."""

_YEAR = timedelta(weeks=52)
_WEEKS = 52
_COPIED_BASKET = 10**12  # above every real basket number
_LATER_BASKET = 10**15  # above every copy's


class Purchases:
    """What the households of a sample buy, a day at a time.

    A copied household buys what its original bought some whole weeks earlier, counted round the year's 52 weeks, and
    other products of the same type. A day after the year repeats the same weekday 52 weeks before.
    """

    def __init__(self, journey: Journey, households: pl.DataFrame, draws: Draws) -> None:
        """Args: households with household, original, copy, shift (see `journey.households`)."""
        self.lines = journey.lines
        self.shelves = Shelves(journey.products)
        self.draws = draws
        self.shoppers = households.select("household", "original", "copy", "shift")
        baskets = journey.baskets.join(households.select("original").unique(), on="original", how="semi")
        self.baskets = {weekday: baskets.filter(pl.col("day") % 7 == weekday) for weekday in range(7)}

    def on(self, day: date) -> pl.DataFrame:
        """The basket lines of a local day.

        Returns:
            basket, household, line (1 to n in order of the source's product numbers), product, quantity, amount,
            discount, store_id, ordered_at (naive UTC), moment (the same, local); sorted by basket, line.
        """
        repeats = 0
        while day > LAST_DAY:
            day, repeats = day - _YEAR, repeats + 1
        baskets = self._baskets((day - FIRST_DAY).days)
        moment = pl.lit(day + repeats * _YEAR).cast(pl.Datetime("us")) + pl.duration(
            nanoseconds=pl.col("clock").cast(pl.Int64)
        ).cast(pl.Duration("us"))
        moved = (pl.col("shift") > 0) | pl.lit(repeats > 0)
        baskets = baskets.with_columns(moment=moment).with_columns(
            ordered_at=pl.when(moved).then(as_utc(pl.col("moment"))).otherwise("ordered_at"),
            basket=pl.col("basket") + pl.col("copy") * _COPIED_BASKET + repeats * _LATER_BASKET,
        )
        return self._lines(baskets.sort("basket"))

    def _baskets(self, day: int) -> pl.DataFrame:
        """The baskets that fall on a day of the year (0: the first of January) once they are moved."""
        last = _WEEKS * 7
        due = self.baskets[day % 7].with_columns(shift=((day - pl.col("day")) // 7 + _WEEKS) % _WEEKS)
        found = due.join(self.shoppers, on=["original", "shift"], how="inner").sort("basket", "household")
        # The year has one day more than 52 weeks: what is moved onto either end is dealt between the two.
        late = pl.Series(self.draws.happens("dealt to the last day", 0.5, found["basket"], found["household"]))
        if day in (0, last):
            moved_here = late if day == last else ~late
            return found.filter(
                ((pl.col("shift") == 0) & (pl.col("day") == day)) | ((pl.col("shift") > 0) & moved_here)
            )
        return found

    def _lines(self, baskets: pl.DataFrame) -> pl.DataFrame:
        count = baskets["lines"].to_numpy()
        before = np.cumsum(count) - count
        nth = np.arange(int(count.sum())) - np.repeat(before, count)
        rows = np.repeat(baskets["start"].to_numpy(), count) + nth
        which = np.repeat(np.arange(baskets.height), count)
        heads = baskets.select("basket", "household", "copy", "store_id", "ordered_at", "moment")[which]
        lines = pl.concat([heads, self.lines[rows]], how="horizontal").with_columns(line=pl.Series(nth + 1))
        return lines.with_columns(product=self.shelves.replaced(lines, self.draws)).drop("copy")


def rung_up(lines: pl.DataFrame, payers: pl.DataFrame, day: date, draws: Draws) -> pl.DataFrame:
    """The lines of a day with the record that each basket is rung up under.

    One of the household's records that are open on that day, each as likely as its weight; for some baskets nobody.

    Args:
        lines: as `Purchases.on`.
        payers: as `records.registrations`; a household's first record is always open.
        day: the day.
        draws: where chance comes from.

    Returns:
        The lines with record, person, system and source_id (of an anonymous basket: person only).
    """
    baskets = lines.select("basket", "household").unique(maintain_order=True)
    open_now = payers.filter(pl.col("open_from") <= day)
    rivals = baskets.join(
        open_now.select("household", "record", "person", "system", "source_id", "weight"),
        on="household",
        how="inner",
        maintain_order="left_right",
    )
    chance = draws.uniform("rung up under", rivals["basket"], rivals["record"])
    wait = -np.log1p(-chance) / rivals["weight"].to_numpy()
    payer = (
        rivals.with_columns(wait=pl.Series(wait))
        .sort("basket", "wait", "record")
        .unique("basket", keep="first", maintain_order=True)
        .drop("wait", "weight", "household")
    )
    nobody = pl.Series(draws.happens("anonymous basket", ANONYMOUS, payer["basket"]))
    known = payer.with_columns(
        pl.when(~nobody).then(pl.col(column)).alias(column) for column in ("record", "system", "source_id")
    )
    return lines.join(known, on="basket", how="left", maintain_order="left")


def as_transactions(paid: pl.DataFrame) -> pl.DataFrame:
    """Paid lines in the columns and types of the transactions feed."""
    return paid.select(
        pl.col("basket").cast(pl.String).alias("basket_id"),
        pl.col("line").cast(pl.Int64),
        pl.col("system").replace_strict(dict(enumerate(SYSTEMS)), return_dtype=pl.String).alias("source"),
        "source_id",
        pl.col("product").cast(pl.String).alias("product_id"),
        "quantity",
        "amount",
        "discount",
        "store_id",
        "ordered_at",
    )
