"""Groups of customers alike: by behaviour and by preference, with profiles people can read."""

from cer_assets.segment.actions import Actions, default_actions, read_actions
from cer_assets.segment.cluster import SegmentModel, compare, fit, match_labels
from cer_assets.segment.features import behaviour_features, preference_features
from cer_assets.segment.learn import learn
from cer_assets.segment.profiles import differences, profile, segment_rows

__all__ = [
    "Actions",
    "SegmentModel",
    "behaviour_features",
    "compare",
    "default_actions",
    "differences",
    "fit",
    "learn",
    "match_labels",
    "preference_features",
    "profile",
    "read_actions",
    "segment_rows",
]
