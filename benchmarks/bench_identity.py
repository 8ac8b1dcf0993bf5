"""Who is who with a hundred labels: ours beside dedupe and Splink, set by set, each run in a process of its own.

Without arguments every set is run; with names, those sets; with a side and a seed, that run of one set alone.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import polars as pl
from identity_sets import SETS, IdentitySet, identity_set, why_absent
from measuring import alone, measured, print_json, ratio, report

LABELS = 100
SEEDS = (0, 1, 2)
LOADED = {"ours": "our_identity", "dedupe": "peer_dedupe", "splink": "peer_splink"}
"""What each side loads before the clock starts, and the other sides do not load at all."""
ONCE = {("dedupe", "febrl3"), ("dedupe", "febrl4"), ("splink", "people_1m")}
"""Peers that take minutes run with one seed."""
TOO_LARGE = (
    "its blocks stay single-field under a hundred labels, so that pairs grow with the square of the records: "
    "3.7 million of 50,000 records, scored in Python and clustered from every score above 0; it did not finish"
)
ABSENT = {("dedupe", name): TOO_LARGE for name in ("historical_50k", "people_200k", "people_1m")}
QUALITY = ("pairwise_f1", "bcubed_f1")


@dataclass(frozen=True)
class Found:
    """What a side made of a set."""

    links: pl.DataFrame
    """record_id, customer_id."""
    labels: int = 0
    facts: Mapping[str, Any] | None = None
    links_at: Callable[[float], pl.DataFrame] | None = None
    """Links at another threshold, where the truth may choose it."""


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=SETS, help=f"of {', '.join(SETS)}, or people_ and any size, as 50k")
    parser.add_argument("--side", choices=sorted(LOADED), help="one side alone")
    parser.add_argument("--seed", type=int, default=0, help="with --side: of every random choice")
    asked = parser.parse_args()
    if asked.side:
        (name,) = asked.sets
        one_side(name, asked.side, asked.seed)
    else:
        packages = ["dedupe", "duckdb", "polars", "scikit-learn", "splink"]
        report("identity", packages, {"labels": LABELS, "sets": {name: compared(name) for name in asked.sets}})


def compared(name: str) -> dict[str, Any]:
    """All sides of one set, and the middle of ours over the middle of each peer's."""
    absent = why_absent(name)
    if absent is not None:
        return {"skipped": absent}
    sides = {side: runs_of(name, side) for side in LOADED}
    ours = sides["ours"]["median"]
    peers = {side: run["median"] for side, run in sides.items() if side != "ours" and "median" in run}
    ratios = {
        f"ours over {side}": {figure: ratio(ours[figure], value) for figure, value in median.items()}
        for side, median in peers.items()
    }
    return {**sides, "ratios, median over median": ratios}


def runs_of(name: str, side: str) -> dict[str, Any]:
    """A side's runs of a set, each in its own process, with their median and range."""
    if (side, name) in ABSENT:
        return {"not run": ABSENT[side, name]}
    if side != "ours" and find_spec(side) is None:
        return {"not run": f"the package {side} (extra `bench`) is not installed"}
    seeds = SEEDS[:1] if (side, name) in ONCE else SEEDS
    runs = [alone(__file__, name, "--side", side, "--seed", str(seed)) for seed in seeds]
    return {**summary(runs, ("seconds", "cpu_seconds", "peak_mb", *QUALITY)), "runs": runs}


def summary(runs: Sequence[Mapping[str, Any]], figures: Sequence[str]) -> dict[str, Any]:
    """Median and range of some figures over runs."""
    values = {figure: [run[figure] for run in runs] for figure in figures}
    return {
        "median": {figure: round(statistics.median(of), 6) for figure, of in values.items()},
        "range": {figure: [min(of), max(of)] for figure, of in values.items()},
    }


def one_side(name: str, side: str, seed: int) -> None:
    """Link the records from nothing known to groups, and print what it took and how good the links are."""
    given = identity_set(name)
    import_module(LOADED[side])
    found, cost = measured(lambda: {"ours": by_ours, "dedupe": by_dedupe, "splink": by_splink}[side](given, seed))

    from our_identity import quality  # not before: what it loads would count as the peer's memory

    figures = {"seed": seed, "labels": found.labels, **asdict(cost), **quality(found.links, given.truth)}
    if found.links_at is not None:
        figures |= at_best_threshold(found.links_at, given.truth)
    print_json(figures | dict(found.facts or {}))


def at_best_threshold(links_at: Callable[[float], pl.DataFrame], truth: pl.DataFrame) -> dict[str, Any]:
    """The figures at the threshold where the truth finds pairwise F1 best, beside F1 at every other one."""
    from our_identity import quality
    from peer_splink import BY_DEFAULT, THRESHOLDS

    figures = {threshold: quality(links_at(threshold), truth) for threshold in THRESHOLDS}
    best = max(THRESHOLDS, key=lambda threshold: figures[threshold]["pairwise_f1"])
    by_threshold = {str(threshold): figures[threshold]["pairwise_f1"] for threshold in THRESHOLDS}
    return {
        **figures[best],
        "threshold, chosen with the truth": best,
        "pairwise_f1 at the default of .5": figures[0.5]["pairwise_f1"],
        f"pairwise_f1 at the examples' {BY_DEFAULT}": figures[BY_DEFAULT]["pairwise_f1"],
        "pairwise_f1 by threshold": by_threshold,
    }


def by_ours(given: IdentitySet, seed: int) -> Found:
    """`train` on answers from the truth, then `resolve`, or `link` between two sources."""
    from our_identity import grouped, trained

    from cer_assets.identity import truth_labeller

    model, training = measured(lambda: trained(given, truth_labeller(given.truth), seed))
    links = grouped(given, model)
    facts = {"cut": round(model.cut, 4), "seconds_training": training.seconds}
    return Found(links, len(model.labels), facts)


def by_dedupe(given: IdentitySet, seed: int) -> Found:
    """dedupe, cut at its default."""
    from peer_dedupe import link_by_dedupe

    return Found(link_by_dedupe(given, LABELS, seed), LABELS)


def by_splink(given: IdentitySet, seed: int) -> Found:
    """Splink, which needs no labels; the truth chooses its threshold after the clock has stopped."""
    from peer_splink import link_by_splink

    found = link_by_splink(given, seed)
    return Found(found.links, links_at=found.links_at)


if __name__ == "__main__":
    main()
