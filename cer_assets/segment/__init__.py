"""Groups of customers alike: by behaviour and by preference, with profiles people can read."""

from cer_assets.segment.cluster import SegmentModel, compare, fit, match_labels
from cer_assets.segment.features import behaviour_features, preference_features
from cer_assets.segment.profiles import differences, profile, segment_rows

__all__ = [
    "SegmentModel",
    "behaviour_features",
    "compare",
    "differences",
    "fit",
    "match_labels",
    "preference_features",
    "profile",
    "segment_rows",
]
