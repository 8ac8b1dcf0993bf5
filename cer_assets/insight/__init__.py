"""What joins several stages: what resolving identities buys, what an answer would change; no stage reads from here."""

from cer_assets.insight.impact import what_answers_change
from cer_assets.insight.resolution import resolution_chart, what_resolution_buys

__all__ = ["resolution_chart", "what_answers_change", "what_resolution_buys"]
