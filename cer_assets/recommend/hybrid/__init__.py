"""The ranking over every family: candidates, what is known of each pair, and the learned ranker."""

from cer_assets.recommend.hybrid.candidates import CandidateSettings, candidates
from cer_assets.recommend.hybrid.ensemble import Hybrid, HybridSettings
from cer_assets.recommend.hybrid.features import Examples, Features
from cer_assets.recommend.hybrid.ranker import Ranker, RankerSettings, examples, learn

__all__ = [
    "CandidateSettings",
    "Examples",
    "Features",
    "Hybrid",
    "HybridSettings",
    "Ranker",
    "RankerSettings",
    "candidates",
    "examples",
    "learn",
]
