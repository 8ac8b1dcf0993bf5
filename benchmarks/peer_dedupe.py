"""dedupe on the identity sets, with labels as its documentation asks for them; nothing of ours is in it.

Every seed is fixed, one process, no index predicates, so that a run can be repeated.
"""

import random
from typing import Any
from unittest.mock import patch

import dedupe
import numpy as np
import polars as pl
from dedupe.variables import Exact, ShortString, String
from identity_sets import IdentitySet

CUT = 0.5
"""Its default threshold."""
MOST = 2_000
"""It learns from so many records; beyond, what it stores per pair fills the memory and takes minutes."""
CLASSES: dict[str, Any] = {"date": ShortString, "code": ShortString, "postcode": ShortString, "category": Exact}
"""Kinds that are not its `String`."""


def link_by_dedupe(given: IdentitySet, labels: int, seed: int) -> pl.DataFrame:
    """Groups by dedupe from so many answers: record_id, customer_id."""
    random.seed(seed)
    np.random.seed(seed)
    tables = given.records.partition_by("source", include_key=False) if given.linked else [given.records]
    data: list[dict[str, dict[str, Any]]] = [{r["record_id"]: r for r in table.to_dicts()} for table in tables]
    variables = [_variable(given, column) for column in given.fields]
    maker = dedupe.RecordLink if given.linked else dedupe.Dedupe
    deduper: Any = maker(variables, num_cores=0, in_memory=True)
    deduper.classifier.n_jobs = 1
    # Its learner draws from generators that it makes without a seed while it is prepared.
    seeded = np.random.default_rng
    with patch.object(np.random, "default_rng", lambda given=seed: seeded(given)):
        deduper.prepare_training(*(_some(table, MOST // len(data)) for table in data))
    person = dict(given.truth.iter_rows())
    for _ in range(labels):
        (pair,) = deduper.uncertain_pairs()
        same = person[pair[0]["record_id"]] == person[pair[1]["record_id"]]
        deduper.mark_pairs({"match": [pair], "distinct": []} if same else {"match": [], "distinct": [pair]})
    deduper.train(index_predicates=False)
    if given.linked:
        pairs = [pair for pair, _ in deduper.join(*data, threshold=CUT, constraint="one-to-one")]
        second = {b: a for a, b in pairs}
        rows = [(record, second.get(record, record)) for record in given.records["record_id"]]
    else:
        groups = deduper.partition(data[0], threshold=CUT)
        rows = [(record, str(group)) for group, (members, _) in enumerate(groups) for record in members]
    return pl.DataFrame(rows, ["record_id", "customer_id"], orient="row")


def _variable(given: IdentitySet, column: str) -> Any:
    """A column as dedupe describes it; of many records, without a predicate that would store nearly every pair."""
    made = CLASSES.get(given.fields[column], String)
    variable = made(column, has_missing=given.records[column].null_count() > 0)
    if len(given.records) > MOST:
        variable.predicates = [p for p in variable.predicates if p.type != "ExistsPredicate"]
    return variable


def _some(table: dict[str, dict[str, Any]], most: int) -> dict[str, dict[str, Any]]:
    """The records it learns from."""
    return table if len(table) <= most else dict(random.sample(sorted(table.items()), most))
