"""What to show each customer, and why: interactions, models behind one contract, the ranking, its backtest."""

from cer_assets.recommend.backtest import BacktestSettings, Sources, challenge, rolling_backtest
from cer_assets.recommend.context import ANYTIME, Context
from cer_assets.recommend.core import fit, recommend
from cer_assets.recommend.crowd import CrowdSettings, everyone, rank_everyone, teachers
from cer_assets.recommend.evaluate import EVALUATION, PROTOCOLS
from cer_assets.recommend.families import all_families
from cer_assets.recommend.families.als import Als, AlsByBucket, AlsSettings
from cer_assets.recommend.families.frequency import FrequencySettings, PersonalFrequency
from cer_assets.recommend.families.popularity import Popularity, Trending, TrendingSettings
from cer_assets.recommend.hybrid import Hybrid, HybridSettings, RankerSettings
from cer_assets.recommend.interactions import Interactions, interactions
from cer_assets.recommend.model import Recommender
from cer_assets.recommend.policy import Policy
from cer_assets.recommend.rank import RECOMMENDATIONS, UNKNOWN, rank, short_lists
from cer_assets.recommend.rhythm import Rhythm, learn_rhythm
from cer_assets.recommend.stored import trained_families

__all__ = [
    "ANYTIME",
    "EVALUATION",
    "PROTOCOLS",
    "RECOMMENDATIONS",
    "UNKNOWN",
    "Als",
    "AlsByBucket",
    "AlsSettings",
    "BacktestSettings",
    "Context",
    "CrowdSettings",
    "FrequencySettings",
    "Hybrid",
    "HybridSettings",
    "Interactions",
    "PersonalFrequency",
    "Policy",
    "Popularity",
    "RankerSettings",
    "Recommender",
    "Rhythm",
    "Sources",
    "Trending",
    "TrendingSettings",
    "all_families",
    "challenge",
    "everyone",
    "fit",
    "interactions",
    "learn_rhythm",
    "rank",
    "rank_everyone",
    "recommend",
    "rolling_backtest",
    "short_lists",
    "teachers",
    "trained_families",
]
