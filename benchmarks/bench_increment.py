"""One new record in a hundred: resolving what they touch, beside resolving everything again.

Both find the same people or it says how far they do not, and whether whoever was not touched kept the id. A full run is
resolving everything, or training and then resolving everything; the increment stands beside both.
"""

import argparse
import statistics
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import polars as pl
from identity_sets import identity_set, why_absent
from measuring import Cost, alone, cost_ratios, measured, print_json, report, report_skipped
from our_identity import quality, trained

from cer_assets.identity import resolve_all, truth_labeller

SET = "people_200k"
NEW = 0.01
"""Share of the records that are new."""
SEEDS = (0, 1, 2)
BENCHMARK = "identity, increment"


def main() -> None:
    """Three seeds, or the one that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", default=SET)
    parser.add_argument("--seed", type=int, help="this seed alone")
    asked = parser.parse_args()
    absent = why_absent(asked.set)
    if absent is not None:
        report_skipped(BENCHMARK, absent)
    elif asked.seed is not None:
        print_json(one_increment(asked.set, asked.seed))
    else:
        runs = [alone(__file__, "--set", asked.set, "--seed", str(seed)) for seed in SEEDS]
        figures = {
            "set": asked.set,
            "share_new": NEW,
            **{
                f"median ratio of seconds, increment over {full}": statistics.median(
                    run[f"ratios, increment over {full}"]["seconds"] for run in runs
                )
                for full in ("resolving", "training and resolving")
            },
            "runs": runs,
        }
        report(BENCHMARK, ["duckdb", "polars"], figures)


def one_increment(name: str, seed: int) -> dict[str, Any]:
    """All but the new records resolved, then the new ones added to them; and everything resolved at once."""
    given = identity_set(name)
    records = given.records
    new = pl.Series(np.random.default_rng(seed).permutation(len(records)) < round(NEW * len(records)))
    known_records = records.filter(~new)
    model, training = measured(
        lambda: trained(replace(given, records=known_records), truth_labeller(given.truth), seed)
    )
    before = resolve_all(known_records, model)
    after, added = measured(
        lambda: resolve_all(records, model, known=before.links, edges=before.edges, index=before.index)
    )
    full, every = measured(lambda: resolve_all(records, model))
    whole = Cost(
        training.seconds + every.seconds, training.cpu_seconds + every.cpu_seconds, max(training.peak_mb, every.peak_mb)
    )
    kept = ids_kept(before.links, after.links)
    return {
        "seed": seed,
        "records": len(records),
        "new": int(new.sum()),
        "increment": {**asdict(added), **_f1(after.links, given.truth)},
        "training": asdict(training),
        "resolving": {**asdict(every), **_f1(full.links, given.truth)},
        "ratios, increment over resolving": cost_ratios(added, every),
        "ratios, increment over training and resolving": cost_ratios(added, whole),
        "share_of_records_in_the_same_group": same_groups(after.links, full.links),
        **kept,
    }


def same_groups(one: pl.DataFrame, other: pl.DataFrame) -> float:
    """Share of records whose set of fellow members is the same in both."""
    both = _with_members(one, "one").join(_with_members(other, "other"), on="record_id")
    return round(int((both["one"] == both["other"]).sum()) / len(both), 6)


def ids_kept(before: pl.DataFrame, after: pl.DataFrame) -> dict[str, Any]:
    """Of the groups that have the same members as before: how many, and the share of them that kept their id."""
    both = _with_members(before, "was").join(_with_members(after, "is"), on="record_id", suffix="_after")
    same = both.filter(pl.col("was") == pl.col("is")).unique("was")
    kept = (same["customer_id"] == same["customer_id_after"]).sum()
    return {
        "groups_before": before["customer_id"].n_unique(),
        "groups_untouched": len(same),
        "share_of_untouched_with_their_id": round(int(kept) / max(len(same), 1), 6),
    }


def _with_members(links: pl.DataFrame, name: str) -> pl.DataFrame:
    """Each record with a digest of its group's members."""
    members = pl.col("record_id").sort().str.join(" ").hash().alias(name)
    groups = links.group_by("customer_id").agg(members)
    return links.select("record_id", "customer_id").join(groups, on="customer_id")


def _f1(links: pl.DataFrame, truth: pl.DataFrame) -> dict[str, float]:
    return {"pairwise_f1": quality(links, truth)["pairwise_f1"]}


if __name__ == "__main__":
    main()
