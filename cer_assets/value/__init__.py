"""What a customer is worth: lifetime value models, value buckets, and their charts.

The sets behind them (a customer's days of purchases, RFM and its scores) are in `sql/value`.
"""

from cer_assets.value.buckets import bucket, customer_value, migration
from cer_assets.value.clv import CLVModel, earlier_periods, fit
from cer_assets.value.evaluate import backtest
from cer_assets.value.retrain import retrain_reason
from cer_assets.value.trajectory import models_of, trajectory

__all__ = [
    "CLVModel",
    "backtest",
    "bucket",
    "customer_value",
    "earlier_periods",
    "fit",
    "migration",
    "models_of",
    "retrain_reason",
    "trajectory",
]
