"""Who is who: standardise, block, compare, learn, cluster, keep ids, explain, guard; golden records and households."""

from cer_assets.identity.advice import label_quality, retrain_due, stop_advice
from cer_assets.identity.curve import Costs
from cer_assets.identity.evaluate import bcubed, evaluate_links, pairwise
from cer_assets.identity.explain import explain_clusters, explain_pairs, pair_scores
from cer_assets.identity.fields import CUSTOMER_FIELDS, MatchField
from cer_assets.identity.guards import Bounds, guard
from cer_assets.identity.households import households
from cer_assets.identity.index import Index
from cer_assets.identity.labels import Labeller, constraints, effective, rule_labels, truth_labeller
from cer_assets.identity.link import link
from cer_assets.identity.model import Model, match_weights
from cer_assets.identity.replay import DedupeModel, replay
from cer_assets.identity.resolve import Resolution, resolve, resolve_all
from cer_assets.identity.standardise import standardise
from cer_assets.identity.survivorship import golden_customers, golden_table, read_rules
from cer_assets.identity.training import train

__all__ = [
    "CUSTOMER_FIELDS",
    "Bounds",
    "Costs",
    "DedupeModel",
    "Index",
    "Labeller",
    "MatchField",
    "Model",
    "Resolution",
    "bcubed",
    "constraints",
    "effective",
    "evaluate_links",
    "explain_clusters",
    "explain_pairs",
    "golden_customers",
    "golden_table",
    "guard",
    "households",
    "label_quality",
    "link",
    "match_weights",
    "pair_scores",
    "pairwise",
    "read_rules",
    "replay",
    "resolve",
    "resolve_all",
    "retrain_due",
    "rule_labels",
    "standardise",
    "stop_advice",
    "train",
    "truth_labeller",
]
