"""The families as the champion's lists need them: ALS with the models that were stored with it."""

from collections.abc import Mapping
from datetime import date
from typing import Self

import polars as pl

from cer_assets.recommend.families import all_families
from cer_assets.recommend.families.als import Als, AlsByBucket
from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.model import Recommender

EVERYONE = "all"
"""The audience of the ALS model that learned from all customers; the others are value buckets."""


class _TrainedAls(Als):
    """ALS whose factors were learned before: fitting it places customers and products, and learns nothing."""

    def __init__(self, trained: Als):
        super().__init__(trained.settings, trained.name)
        vars(self).update(vars(trained))

    def fit(self, interactions: Interactions, products: pl.DataFrame, as_of: date) -> Self:
        """Score these customers from now on."""
        return self.apply(interactions, as_of)


def trained_families(models: Mapping[str, Als]) -> dict[str, Recommender]:
    """All families, ALS with factors learned before.

    Args:
        models: by audience; families whose audience is not there learn anew when they are fitted.
    """
    families = all_families()
    if EVERYONE in models:
        families["als_global"] = _TrainedAls(models[EVERYONE])
    by_bucket = {audience: model for audience, model in models.items() if audience != EVERYONE}
    if by_bucket:
        families["als_bucket"] = AlsByBucket(models=by_bucket)
    return families
