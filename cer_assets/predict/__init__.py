"""Probabilities of what a customer does next, trained on earlier time and judged on later; churn so far."""

from cer_assets.predict.churn import CHURN, ChurnModel, ChurnSettings, backtest, fit, hold_out

__all__ = ["CHURN", "ChurnModel", "ChurnSettings", "backtest", "fit", "hold_out"]
