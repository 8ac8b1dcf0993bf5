"""Who is who with a hundred labels: ours beside dedupe on fake_1000, each in a process of its own.

Without arguments it runs both sides and prints them beside each other; with a side and a seed, that side alone.
"""

import random
import statistics
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
import polars as pl
from measuring import Cost, alone, cost_ratios, data_file, measured, print_json, ratio, report, report_skipped

FILE = "identity/fake_1000.csv"
LABELS = 100
SEEDS = (0, 1, 2)
FIELDS: dict[str, Literal["name", "date", "text", "email"]] = {
    "first_name": "name",
    "surname": "name",
    "dob": "date",
    "city": "text",
    "email": "email",
}
"""The file's columns and their kinds."""
PACKAGES = {"ours": "cer_assets.identity", "dedupe": "dedupe"}
"""What each side loads before the clock starts, and the other side does not load at all."""
QUALITY = ("pairwise_f1", "bcubed_f1")


def main() -> None:
    """Run both sides, or the one that is asked for."""
    path = data_file(FILE)
    if path is None:
        report_skipped("identity", f"{FILE} is not in the data folder (CER_BENCH_DATA)")
    elif len(sys.argv) > 1:
        side, seed = sys.argv[1:]
        one_side(side, int(seed), path)
    else:
        report("identity", ["dedupe", "duckdb", "polars", "scikit-learn"], compared(path))


def compared(path: Path) -> dict[str, Any]:
    """Both sides and their ratios: the middle of our seeds over dedupe's one."""
    ours = [alone(__file__, "ours", str(seed)) for seed in SEEDS]
    theirs = alone(__file__, "dedupe", "0")
    middle = {name: statistics.median(run[name] for run in ours) for name in ("seconds", "peak_mb", *QUALITY)}
    cost = Cost(middle["seconds"], middle["peak_mb"]), Cost(theirs["seconds"], theirs["peak_mb"])
    return {
        "data": {"file": path.name, "records": len(read(path)[0])},
        "ours": ours,
        "dedupe": theirs,
        "ratios, median of ours over dedupe": cost_ratios(*cost)
        | {name: ratio(middle[name], theirs[name]) for name in QUALITY},
    }


def one_side(side: str, seed: int, path: Path) -> None:
    """Link the records from nothing known to groups, and print what it took and how good the links are."""
    records, truth = read(path)
    link = {"ours": link_by_ours, "dedupe": link_by_dedupe}[side]
    import_module(PACKAGES[side])
    (links, labels), cost = measured(lambda: link(records, truth, seed))

    from cer_assets.identity import evaluate_links  # not before: its packages would count as dedupe's memory

    quality = {
        name: value
        for name, value in evaluate_links(links, truth).items()
        if name.startswith(("pairwise", "bcubed")) or name in ("persons", "customers")
    }
    print_json({"seed": seed, "labels": labels, **asdict(cost), **quality})


def read(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The records in lower case, empty values null, and their truth; both sides see the same."""
    raw = pl.read_csv(path, infer_schema=False)
    text = pl.col(*FIELDS).str.strip_chars().str.to_lowercase().replace("", None)
    return raw.select(text, record_id="unique_id"), raw.select(record_id="unique_id", person_id="cluster")


def link_by_ours(records: pl.DataFrame, truth: pl.DataFrame, seed: int) -> tuple[pl.DataFrame, int]:
    """Links by `train` and `resolve`, and the number of labels they took."""
    from cer_assets.identity import MatchField, resolve, train, truth_labeller

    fields = [MatchField(column, kind) for column, kind in FIELDS.items()]
    model = train(records, fields, truth_labeller(truth), LABELS, seed)
    return resolve(records, model), len(model.labels)


def link_by_dedupe(records: pl.DataFrame, truth: pl.DataFrame, seed: int) -> tuple[pl.DataFrame, int]:
    """Links by dedupe as its documentation has it, and the number of labels they took.

    Its sample is the whole file, which is smaller than the sample it would draw. Only one process and one job, so that
    a run can be repeated.
    """
    import dedupe
    from dedupe.variables import ShortString, String

    random.seed(seed)
    np.random.seed(seed)
    person = dict(truth.iter_rows())
    data: dict[str, dict[str, Any]] = {row["record_id"]: row for row in records.to_dicts()}
    gaps = {column for column in FIELDS if records[column].null_count()}
    variables = [
        (ShortString if kind == "date" else String)(column, has_missing=column in gaps)
        for column, kind in FIELDS.items()
    ]
    deduper = dedupe.Dedupe(variables, num_cores=0, in_memory=True)
    grid_search: Any = deduper.classifier
    grid_search.n_jobs = 1
    # Its learner draws from generators that it makes without a seed while it is prepared.
    seeded = np.random.default_rng
    with patch.object(np.random, "default_rng", lambda given=seed: seeded(given)):
        deduper.prepare_training(data)
    for _ in range(LABELS):
        (pair,) = deduper.uncertain_pairs()
        same = person[pair[0]["record_id"]] == person[pair[1]["record_id"]]
        deduper.mark_pairs({"match": [pair], "distinct": []} if same else {"match": [], "distinct": [pair]})
    deduper.train(index_predicates=False)
    groups = deduper.partition(data, threshold=0.5)
    rows = [(record, str(group)) for group, (members, _) in enumerate(groups) for record in members]
    return pl.DataFrame(rows, ["record_id", "customer_id"], orient="row"), LABELS


if __name__ == "__main__":
    main()
