"""What joins several stages: what resolving identities buys; no stage reads anything from here."""

from cer_assets.insight.resolution import resolution_chart, what_resolution_buys

__all__ = ["resolution_chart", "what_resolution_buys"]
