"""A model that dedupe trains on a small population, and its partition, printed as JSON by a process of its own.

dedupe iterates over sets of strings: only with PYTHONHASHSEED fixed before the interpreter starts is it the same model.
"""

import json
import random
import sys
from unittest.mock import patch

import dedupe
import numpy as np
import polars as pl
from dedupe.variables import Exact, ShortString, String

from cer_assets.identity.replay import DedupeModel
from cer_assets_tests.identity.people import population

COLUMNS = ("given_name", "surname", "phone", "city")
THRESHOLDS = (0.3, 0.5, 0.8)


def data() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Records of a few people, and who they are."""
    records, truth = population(50, seed=3)
    return records.select("record_id", *COLUMNS), truth


def trained() -> tuple[dedupe.Dedupe, dict[str, dict[str, str | None]]]:
    records, truth = data()
    person = dict(truth.iter_rows())
    rows = {row["record_id"]: row for row in records.to_dicts()}
    random.seed(0)
    names = [String("given_name"), String("surname")]
    variables = [*names, ShortString("phone", has_missing=True), Exact("city")]
    for variable in variables:  # index predicates take most of the time of learning
        variable.predicates = [p for p in variable.predicates if not hasattr(p, "index")]
    deduper = dedupe.Dedupe(variables, num_cores=0, in_memory=True)
    deduper.classifier.n_jobs = 1
    seeded = np.random.default_rng
    with patch.object(np.random, "default_rng", lambda given=0: seeded(given)):
        deduper.prepare_training(rows)
    for _ in range(20):
        (pair,) = deduper.uncertain_pairs()
        same = person[pair[0]["record_id"]] == person[pair[1]["record_id"]]
        deduper.mark_pairs({"match": [pair] if same else [], "distinct": [] if same else [pair]})
    deduper.train(index_predicates=False)
    return deduper, rows


if __name__ == "__main__":
    model, rows = trained()
    groups = {t: [[str(r) for r in ids] for ids, _ in model.partition(rows, t)] for t in THRESHOLDS}
    files = {name: content.decode() for name, content in DedupeModel.of(model).files().items()}
    sys.stdout.write(json.dumps({"files": files, "groups": groups}))
