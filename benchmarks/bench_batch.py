"""Memory of resolving beside the number of pairs compared at a time: it follows the batch, not the pairs.

The same records and the same model with batches of several sizes, each in a process of its own.
"""

import argparse
from dataclasses import asdict
from typing import Any

from identity_sets import identity_set, why_absent
from measuring import alone, measured, print_json, report, report_skipped
from our_identity import trained

from cer_assets.identity import resolve_all, truth_labeller

SETS = ("people_200k",)
BATCHES = (250_000, 1_000_000, 5_000_000, 20_000_000)
BENCHMARK = "identity, memory by batch"


def main() -> None:
    """Every set with every batch, or the one batch that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=SETS)
    parser.add_argument("--batch", type=int, help="this one alone")
    asked = parser.parse_args()
    absent = [reason for name in asked.sets if (reason := why_absent(name)) is not None]
    if absent:
        report_skipped(BENCHMARK, absent[0])
    elif asked.batch is not None:
        print_json(one_batch(asked.sets[0], asked.batch))
    else:
        runs = [alone(__file__, name, "--batch", str(batch)) for name in asked.sets for batch in BATCHES]
        report(BENCHMARK, ["duckdb", "polars"], {"runs": runs})


def one_batch(name: str, batch: int) -> dict[str, Any]:
    """Peak memory of resolving in batches of one size."""
    given = identity_set(name)
    model = trained(given, truth_labeller(given.truth), 0)
    found, cost = measured(lambda: resolve_all(given.records, model, batch=batch))
    return {"set": name, "records": len(given.records), "pairs": found.touched["pairs"], "batch": batch, **asdict(cost)}


if __name__ == "__main__":
    main()
