"""Segments of either kind from start to name: clusters by both methods, numbers and names kept from run to run."""

from datetime import date

import polars as pl

from cer_assets.segment.cluster import METHODS, SegmentModel, fit
from cer_assets.segment.features import weights
from cer_assets.segment.profiles import Kind, differences, segment_names


def learn(
    kind: Kind, features: pl.DataFrame, as_of: date, previous: pl.DataFrame | None = None, seed: int = 0
) -> list[SegmentModel]:
    """Named segments by each method.

    Args:
        kind: features of behaviour are in units of their own and standardised; shares are not.
        features: customer_id and the features of every customer.
        as_of: the last day that the features know of.
        previous: customer_id, segment and name of the run before.
        seed: of everything drawn.

    Returns:
        A model a method; the first, k-means, is the one to use.
    """
    models = [
        fit(
            features,
            method,
            as_of,
            standardise=kind == "behaviour",
            weights=weights(features),
            previous=previous,
            seed=seed,
        )
        for method in METHODS
    ]
    names = {} if previous is None else dict(previous.select("segment", "name").unique().drop_nulls().iter_rows())
    return [model.named(segment_names(differences(model.assign(features), features), kind, names)) for model in models]
