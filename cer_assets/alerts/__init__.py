"""Who hears of what goes wrong: an alert, where it is sent, and what was said already.

What is wrong is found out elsewhere; nothing here knows of Dagster.
"""

from cer_assets.alerts.alert import Alert, Change
from cer_assets.alerts.news import Told, as_text, tell, told_from
from cer_assets.alerts.targets import InvalidTarget, NotDelivered, Target, targets_of

__all__ = [
    "Alert",
    "Change",
    "InvalidTarget",
    "NotDelivered",
    "Target",
    "Told",
    "as_text",
    "targets_of",
    "tell",
    "told_from",
]
