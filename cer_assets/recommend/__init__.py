"""What to show each customer, and why: interactions, models behind one contract, the ranking, its backtest."""

from cer_assets.recommend.als import Als, AlsByBucket, AlsSettings, customers_by_bucket
from cer_assets.recommend.backtest import backtest, contenders
from cer_assets.recommend.baselines import PersonalFrequency, Popularity, Trending
from cer_assets.recommend.blend import Blend, BlendSettings
from cer_assets.recommend.evaluate import EVALUATION, PROTOCOLS
from cer_assets.recommend.interactions import Interactions, interactions, withdrawn_customers
from cer_assets.recommend.model import Recommender
from cer_assets.recommend.rank import RECOMMENDATIONS, UNKNOWN, rank

__all__ = [
    "EVALUATION",
    "PROTOCOLS",
    "RECOMMENDATIONS",
    "UNKNOWN",
    "Als",
    "AlsByBucket",
    "AlsSettings",
    "Blend",
    "BlendSettings",
    "Interactions",
    "PersonalFrequency",
    "Popularity",
    "Recommender",
    "Trending",
    "backtest",
    "contenders",
    "customers_by_bucket",
    "interactions",
    "rank",
    "withdrawn_customers",
]
