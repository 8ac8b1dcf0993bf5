"""The moment a list is shown in (hour, weekday, weather), and how much more likely each product is bought in one."""

from collections.abc import Sequence
from datetime import date
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.kin import kin_of, ratios

DAYPARTS = {"night": 22, "morning": 6, "midday": 11, "afternoon": 14, "evening": 18}
"""The hour in which each part of the day begins; it lasts until the next one."""
WET_FROM = 1.0
"""Millimetres of rain that make a day wet (the wet day of the World Meteorological Organization)."""


class Context(BaseModel):
    """When and in what weather a list is shown; every part may be unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hour: int | None = Field(default=None, ge=0, le=23)
    """Hour of the day on the retailer's clock."""
    weekday: int | None = Field(default=None, ge=1, le=7)
    """1 is Monday."""
    temperature: float | None = None
    """Degrees Celsius."""
    rain: float | None = Field(default=None, ge=0)
    """Millimetres that day."""


ANYTIME = Context()
"""Nothing is known of the moment: the list as such."""


class ContextLift:
    """How much more often each product is bought at a time of day, on a weekday and in a weather than otherwise.

    A product's purchases in each class of moments are set beside those expected if the moment did not matter, and drawn
    towards its type's, category's and department's (`kin.ratios`): few purchases move little, and none nothing.
    """

    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        """Learn the lifts from what was bought before `as_of` on days and at hours that are known.

        Args:
            interactions: the purchases, and the weather of their days where there is a feed.
            products: product_id and, where known, category and type.
            as_of: the first day not read.
        """
        self.products_ = interactions.products
        kin = kin_of(interactions.products, products)
        warmth, wetness = self._weather(interactions)
        self.lifts_ = [
            _lift(interactions.columns, found, classes, kin)
            for found, classes in (
                (daypart(interactions.hours), len(DAYPARTS)),
                ((interactions.days + 3) % 7, 7),  # 1970-01-01 was a Thursday
                (warmth, 3),
                (wetness, 2),
            )
        ]
        return self

    def lift(self, context: Context) -> NDArray[np.float32]:
        """Natural log of how much more likely than usual each product is bought in this moment (products).

        Zero throughout where nothing is known of the moment; known parts add up. Most are within a tenth or two of
        zero; .7 means twice as likely.
        """
        total = np.zeros(len(self.products_), np.float32)
        for lifts, found in zip(self.lifts_, self._classes(context), strict=True):
            if found >= 0:
                total += lifts[found]
        return total

    def _classes(self, context: Context) -> tuple[int, int, int, int]:
        """Class of each part of a context, -1 where it is not known."""
        hour = -1 if context.hour is None else context.hour
        temperature = np.array([np.nan if context.temperature is None else context.temperature])
        rain = np.array([np.nan if context.rain is None else context.rain])
        return (
            int(daypart(np.array([hour]))[0]),
            -1 if context.weekday is None else context.weekday - 1,
            int(self._warmth(temperature)[0]),
            int(_wetness(rain)[0]),
        )

    def _weather(self, interactions: Interactions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How warm and how wet the day of each purchase was, -1 where there is no weather of it."""
        weather = interactions.weather
        known = weather["temperature"].drop_nulls().drop_nans()
        self.terciles_ = np.quantile(known.to_numpy(), [1 / 3, 2 / 3]) if len(known) else np.full(2, np.nan)
        days = pl.DataFrame({"day": interactions.days}, schema={"day": pl.Int32})
        numbered = weather.with_columns(pl.col("day").to_physical())
        of = days.join(numbered, on="day", how="left", maintain_order="left")
        measured = of.select(pl.col("temperature", "rain").fill_null(float("nan")))
        return self._warmth(measured["temperature"].to_numpy()), _wetness(measured["rain"].to_numpy())

    def _warmth(self, temperature: NDArray[np.float64]) -> NDArray[np.int64]:
        """0 cold, 1 mild, 2 warm for this climate; -1 where it is not known, or no climate was ever seen."""
        unknown = np.isnan(temperature) | np.isnan(self.terciles_[0])
        return np.where(unknown, -1, np.searchsorted(self.terciles_, temperature, side="left"))


def daypart(hours: NDArray[np.integer]) -> NDArray[np.int64]:
    """Position in DAYPARTS of each hour (0 to 23), -1 for an hour that is not known (-1)."""
    begins = np.array(list(DAYPARTS.values()))
    order = np.argsort(begins)
    # Before the first beginning of the day, the last part of the day before goes on.
    return np.where(hours < 0, -1, order[np.searchsorted(begins[order], hours, side="right") - 1])


def _wetness(rain: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.where(np.isnan(rain), -1, rain >= WET_FROM)


def _lift(
    columns: NDArray[np.int32], found: NDArray[np.integer], classes: int, kin: Sequence[NDArray[np.int64]]
) -> NDArray[np.float32]:
    """Log ratio of each class and product (classes x products), each group's drawn towards that of the group above."""
    known = found >= 0
    products = len(kin[-1])
    cells = columns[known].astype(np.int64) * classes + found[known]
    bought = np.bincount(cells, minlength=products * classes).reshape(products, classes).astype(np.float64)
    expected = bought.sum(axis=1, keepdims=True) * (bought.sum(axis=0) / max(bought.sum(), 1))
    return np.log(ratios(bought, expected, kin).T).astype(np.float32)
