"""Probabilities of what a customer does next, trained on earlier time and judged on later.

Will they stay away (churn), come (purchase), buy from a category, answer a campaign? `predictor` is the one shape of
all these.
"""

from cer_assets.predict.buying import CHURN, PURCHASE, Buying
from cer_assets.predict.drivers import drivers
from cer_assets.predict.predictor import Predictor, Predictors, Question, judge, learn, learn_and_judge, said_of

__all__ = [
    "CHURN",
    "PURCHASE",
    "Buying",
    "Predictor",
    "Predictors",
    "Question",
    "drivers",
    "judge",
    "learn",
    "learn_and_judge",
    "said_of",
]
