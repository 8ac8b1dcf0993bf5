"""Twelve seeds, answers that mislead, a field that is nearly always empty, no answers at all: does ours ever fail.

Nothing runs beside it: the question is the worst run, not the ratio. With names, only those sets.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from identity_sets import IdentitySet, Kind, identity_set, why_absent
from measuring import ROOT, report
from our_identity import grouped, quality, trained

from cer_assets.feeds import catalogue, key_columns, list_drops, newest, read_drops
from cer_assets.feeds.contracts import CONTRACTS
from cer_assets.identity import CUSTOMER_FIELDS, MatchField, rule_labels, standardise, truth_labeller
from cer_assets.identity.labels import Labeller, Pair
from cer_assets.sample import write_sample

SEEDS = 12
SETS = ("fake_1000", "febrl3", "febrl4", "historical_50k")
MOST = 5_000
"""Records with true answers: of a larger set, all records of some persons."""
FEW = 2_000
"""Records in the other cases, whose runs are many."""
COLD_SETS = ("febrl3", "sample")
"""Sets that are also resolved without any answer."""
EMPTY = 0.98
"""Share of the records that lose their value of one field, another field with each seed."""

Answers = Callable[[IdentitySet, int], Labeller]


def main() -> None:
    """Run every case on every set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=[*SETS, "sample"])
    parser.add_argument("--cases", nargs="*", default=[*CASES, COLD], choices=[*CASES, COLD])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    asked = parser.parse_args()
    figures = {name: of_set(name, asked.cases, asked.seeds) for name in asked.sets}
    report("identity, robust", ["dedupe", "duckdb", "polars"], {"seeds": asked.seeds, "sets": figures})


def of_set(name: str, cases: Sequence[str], seeds: int) -> dict[str, Any]:
    """Every case of one set: how often it raised, and the least, middle and greatest F1."""
    if name != "sample" and (absent := why_absent(name)) is not None:
        return {"skipped": absent}
    given = sample() if name == "sample" else identity_set(name)
    many, few = given.sampled(MOST), given.sampled(FEW)
    done: dict[str, Any] = {}
    for case in cases:
        if case == COLD:
            if name in COLD_SETS:
                done[case] = repeated(lambda seed: without_answers(given, seed), seeds, len(given.records))
        else:
            used = many if case == TRUE else few
            done[case] = repeated(
                lambda seed, case=case, used=used: with_answers(used, seed, case), seeds, len(used.records)
            )
    return done


def repeated(run: Callable[[int], float], seeds: int, records: int) -> dict[str, Any]:
    """One run per seed; a failure is kept by its kind, and the others go on."""
    found: list[float] = []
    failures: dict[int, str] = {}
    for seed in range(seeds):
        try:
            found.append(run(seed))
        except Exception as error:  # any failure at all is what is looked for
            failures[seed] = f"{type(error).__name__}: {error}"
    spread = {"min": min(found), "median": round(statistics.median(found), 6), "max": max(found)} if found else {}
    return {"records": records, "raised": failures, "pairwise_f1": spread}


def with_answers(given: IdentitySet, seed: int, case: str) -> float:
    """Pairwise F1 of one case."""
    return f1(emptied(given, seed) if case == EMPTIED else given, CASES[case](given, seed), seed)


def f1(given: IdentitySet, labeller: Labeller | None, seed: int, known: pl.DataFrame | None = None) -> float:
    """Pairwise F1 of one training and resolving."""
    return quality(grouped(given, trained(given, labeller, seed, known)), given.truth)["pairwise_f1"]


def without_answers(given: IdentitySet, seed: int) -> float:
    """Pairwise F1 where rules gave the only labels."""
    fields = [MatchField(column, kind) for column, kind in given.fields.items()]
    return f1(given, None, seed, rule_labels(given.records, fields, seed))


def emptied(given: IdentitySet, seed: int) -> IdentitySet:
    """The set with one field nearly empty."""
    column = list(given.fields)[seed % len(given.fields)]
    kept = pl.Series(np.random.default_rng(seed).random(len(given.records)) >= EMPTY)
    values = pl.when(kept).then(pl.col(column))
    return replace(given, records=given.records.with_columns(values.alias(column)))


def the_truth(given: IdentitySet, seed: int) -> Labeller:
    """Answers without a fault."""
    return truth_labeller(given.truth)


def always(answer: bool) -> Answers:
    """One answer to every question."""
    return lambda given, seed: lambda pairs: [answer] * len(pairs)


def unsure_half_the_time(given: IdentitySet, seed: int) -> Labeller:
    """The truth, or no answer."""
    return _disturbed(given, seed, 0.5, lambda answer: None)


def wrong_a_tenth_of_the_time(given: IdentitySet, seed: int) -> Labeller:
    """The truth, or its contrary."""
    return _disturbed(given, seed, 0.1, lambda answer: not answer)


def _disturbed(given: IdentitySet, seed: int, share: float, disturb: Callable[[bool | None], bool | None]) -> Labeller:
    true, rng = truth_labeller(given.truth), np.random.default_rng(seed)

    def answer(pairs: list[Pair]) -> list[bool | None]:
        disturbed = rng.random(len(pairs)) < share
        return [disturb(a) if d else a for a, d in zip(true(pairs), disturbed, strict=True)]

    return answer


TRUE = "the truth"
EMPTIED = "one field 98 % empty"
COLD = "no answers"
CASES: Mapping[str, Answers] = {
    TRUE: the_truth,
    "all distinct": always(answer=False),
    "all match": always(answer=True),
    "half unsure": unsure_half_the_time,
    "a tenth wrong": wrong_a_tenth_of_the_time,
    EMPTIED: the_truth,
}


def sample() -> IdentitySet:
    """The customer records of the project's sample, read and standardised as its graph does it."""
    with tempfile.TemporaryDirectory() as folder:
        write_sample(Path(folder), days=1)
        truth = pl.read_parquet(Path(folder) / "sample_truth" / "people.parquet", memory_map=False)
        found: list[pl.DataFrame] = []
        for name, feed in catalogue(ROOT / "cer_assets" / "defs" / "raw").items():
            if feed.contract == "customer_record":
                rows = read_drops(feed, list_drops(Path(folder) / "landing", name), "America/New_York").accepted
                found.append(newest(rows, key_columns(CONTRACTS[feed.contract]), feed.delivers))
    kinds: dict[str, Kind] = {field.column: field.kind for field in CUSTOMER_FIELDS}
    records = standardise(pl.concat(found)).select("record_id", *kinds)
    return IdentitySet("sample", records, truth.select("record_id", "person_id"), kinds)


if __name__ == "__main__":
    main()
