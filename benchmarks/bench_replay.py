"""A model that dedupe trained: its own `partition` beside our replay of it, on the first 10,000 historical records.

Training is not measured. Without arguments it starts a process of its own, whose sets of strings have a fixed order.
"""

import random
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl
from measuring import Cost, alone, cost_ratios, data_file, measured, print_json, ratio, report, report_skipped

FILE = "identity/historical_50k.parquet"
RECORDS = 10_000
FIELDS = {
    "first_name": "String",
    "surname": "String",
    "dob": "ShortString",
    "birth_place": "String",
    "postcode_fake": "ShortString",
    "occupation": "String",
}
"""The file's columns and the types of dedupe's variables."""
LABELS = 100
EVERY = 6
"""dedupe learns on one person in so many: its memory grows too fast for all."""
THRESHOLD = 0.5
REPEATS = 3
WAYS = {"ours, to the record": 10_000, "ours, without the full matrix": 2_000}
"""The most records of a component whose full matrix of distances is made."""


def main() -> None:
    """Run both sides in a process of its own, or be that process."""
    path = data_file(FILE)
    if path is None:
        report_skipped("replay", f"{FILE} is not in the data folder (CER_BENCH_DATA)")
    elif len(sys.argv) > 1:
        print_json(compared(path))
    else:
        report("replay", ["dedupe", "polars", "scikit-learn", "scipy"], alone(__file__, "compared"))


def compared(path: Path) -> dict[str, Any]:
    """Both sides on the same records with the same model."""
    from cer_assets.identity import evaluate_links
    from cer_assets.identity.replay import DedupeModel, replay

    records, truth = read(path)
    deduper = trained(records, truth)
    model = DedupeModel.of(deduper)
    replay(model, records.head(100), THRESHOLD)  # loads what both need
    ways = {way: timed(lambda most=most: replay(model, records, THRESHOLD, most)) for way, most in WAYS.items()}
    data: dict[str, Any] = {row["record_id"]: row for row in records.to_dicts()}
    groups, their_cost = measured(lambda: deduper.partition(data, THRESHOLD))
    theirs = clusters(groups)
    their_quality = evaluate_links(theirs, truth)
    return {
        "data": {"file": path.name, "records": len(records)},
        "model": {"labels": LABELS, "predicates": [repr(p) for p in deduper.predicates], "threshold": THRESHOLD},
        "dedupe": {**asdict(their_cost), **their_quality},
        **{way: beside(links, cost, theirs, their_cost, truth) for way, (links, cost) in ways.items()},
    }


def timed(work: Callable[[], pl.DataFrame]) -> tuple[pl.DataFrame, Cost]:
    """What some work gives, and the middle of what it took."""
    runs = [measured(work) for _ in range(REPEATS)]
    return sorted(runs, key=lambda run: run[1].seconds)[REPEATS // 2]


def beside(links: pl.DataFrame, cost: Cost, theirs: pl.DataFrame, their_cost: Cost, truth: pl.DataFrame) -> Any:
    """Our figures and their ratios to dedupe's."""
    from cer_assets.identity import evaluate_links

    links = links.rename({"cluster": "customer_id"})
    both = links.join(theirs, on="record_id", suffix="_of_dedupe")
    quality, their_quality = evaluate_links(links, truth), evaluate_links(theirs, truth)
    return {
        **asdict(cost),
        **quality,
        "records_grouped_otherwise": both.filter(pl.col("customer_id") != pl.col("customer_id_of_dedupe")).height,
        "times_faster": ratio(their_cost.seconds, cost.seconds),
        "ratios, ours over dedupe": cost_ratios(cost, their_cost)
        | {name: ratio(quality[name], their_quality[name]) for name in ("pairwise_f1", "bcubed_f1")},
    }


def read(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The first records in lower case, empty values null, and their truth."""
    raw = pl.read_parquet(path).head(RECORDS)
    text = pl.col(*FIELDS).str.strip_chars().str.to_lowercase().replace("", None)
    return raw.select(text, record_id="unique_id"), raw.select(record_id="unique_id", person_id="cluster")


def trained(records: pl.DataFrame, truth: pl.DataFrame) -> Any:
    """A model of dedupe's own learning, every seed fixed, answers taken from the truth.

    Without predicates that only say whether a value exists, which would block nearly all pairs, and without index
    predicates, as `train(index_predicates=False)` would leave them out anyhow.
    """
    import dedupe
    from dedupe import variables

    random.seed(0)
    chosen = [
        getattr(variables, kind)(column, has_missing=records[column].has_nulls()) for column, kind in FIELDS.items()
    ]
    for variable in chosen:
        variable.predicates = [
            p for p in variable.predicates if p.type != "ExistsPredicate" and not hasattr(p, "index")
        ]
    deduper = dedupe.Dedupe(chosen, num_cores=0, in_memory=True)
    grid_search: Any = deduper.classifier
    grid_search.n_jobs = 1
    people = truth["person_id"].unique(maintain_order=True).gather_every(EVERY)
    sample = records.join(truth.filter(pl.col("person_id").is_in(people.implode())), on="record_id", how="semi")
    # Its learner draws from generators that it makes without a seed while it is prepared.
    seeded = np.random.default_rng
    with patch.object(np.random, "default_rng", lambda given=0: seeded(given)):
        deduper.prepare_training({row["record_id"]: row for row in sample.to_dicts()})
    person = dict(truth.iter_rows())
    for _ in range(LABELS):
        (pair,) = deduper.uncertain_pairs()
        same = person[pair[0]["record_id"]] == person[pair[1]["record_id"]]
        deduper.mark_pairs({"match": [pair], "distinct": []} if same else {"match": [], "distinct": [pair]})
    deduper.train(index_predicates=False)
    return deduper


def clusters(groups: Iterable[tuple[Any, Any]]) -> pl.DataFrame:
    """Dedupe's groups as record_id and customer_id, the group's smallest record id."""
    rows = [(str(record), str(min(ids))) for ids, _ in groups for record in ids]
    return pl.DataFrame(rows, ["record_id", "customer_id"], orient="row")


if __name__ == "__main__":
    main()
