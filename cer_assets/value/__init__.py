"""What a customer is worth: lifetime value models, value buckets, and their charts.

The sets behind them (a customer's days of purchases, RFM and its scores) are in `sql/value`.
"""

from cer_assets.value.buckets import bucket, customer_value
from cer_assets.value.clv import CLVModel, fit
from cer_assets.value.evaluate import backtest

__all__ = ["CLVModel", "backtest", "bucket", "customer_value", "fit"]
