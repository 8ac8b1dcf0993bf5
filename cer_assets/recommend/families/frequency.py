"""What each customer bought most often, and lately: simple, and hard to beat where people buy the same things again."""

from collections.abc import Sequence
from datetime import date
from typing import ClassVar, Self

import numpy as np
import polars as pl
from pydantic import Field

from cer_assets.recommend.context import ANYTIME, Context
from cer_assets.recommend.families.popularity import Popularity
from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.model import Indices, Recommender, Scores, Settings, Voice


class FrequencySettings(Settings):
    """What counts as often."""

    half_life_days: float | None = Field(default=None, gt=0)
    """Age at which a purchase counts half; none: all count alike."""
    popularity_weight: float = Field(default=1e-3, ge=0)
    """Weight of popularity beside one purchase: it orders what the customer never bought."""


class PersonalFrequency(Recommender):
    """The products each customer bought on most days, then the popular ones.

    Simple, and hard to beat where people buy the same things again (Hu et al. 2020, "Modeling personalized item
    frequency information for next-basket recommendation").
    """

    voice: ClassVar[Voice] = Voice.REPEAT

    def __init__(self, settings: FrequencySettings | None = None, name: str = "personal_frequency"):
        self.name = name
        self.settings: FrequencySettings = settings or FrequencySettings()

    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        """Weigh each customer's days by age, and keep popularity to order what they never bought."""
        self.interactions_ = interactions
        self._place(interactions, as_of)
        popularity = Popularity().fit(interactions, products, as_of).popularity_
        self.popularity_ = popularity / max(float(popularity.max(initial=0)), 1.0)
        return self

    def _place(self, interactions: Interactions, as_of: date) -> None:
        self.frequency_ = interactions.decayed(as_of, self.settings.half_life_days)

    def score(self, rows: Indices, context: Context = ANYTIME) -> Scores:
        """(Decayed) days of purchase plus popularity small enough to only break ties."""
        return self.frequency_[rows].toarray() + np.float32(self.settings.popularity_weight) * self.popularity_


def members() -> Sequence[Recommender]:
    """All purchases alike, and the recent ones more."""
    return [PersonalFrequency(), PersonalFrequency(FrequencySettings(half_life_days=90), "decayed_frequency")]
