"""Who is who: standardise, block, compare, learn, cluster, keep ids; persons' golden records are SQL."""

from cer_assets.identity.evaluate import bcubed, evaluate_links, pairwise
from cer_assets.identity.fields import CUSTOMER_FIELDS, MatchField
from cer_assets.identity.labels import Labeller, rule_labels, truth_labeller
from cer_assets.identity.model import Model, match_weights
from cer_assets.identity.resolve import Resolution, resolve, resolve_all
from cer_assets.identity.standardise import standardise
from cer_assets.identity.training import train

__all__ = [
    "CUSTOMER_FIELDS",
    "Labeller",
    "MatchField",
    "Model",
    "Resolution",
    "bcubed",
    "evaluate_links",
    "match_weights",
    "pairwise",
    "resolve",
    "resolve_all",
    "rule_labels",
    "standardise",
    "train",
    "truth_labeller",
]
