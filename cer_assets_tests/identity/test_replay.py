import json
import os
import random
import subprocess
import sys
import warnings
from importlib import import_module
from typing import Any

import dedupe
import numpy as np
import polars as pl
import pytest
from dedupe import clustering, predicates, variables
from dedupe.blocking import Fingerprinter
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from cer_assets.identity.replay import DedupeModel, replay
from cer_assets_tests.identity import trained_by_dedupe

# The package offers a function by the same name, which hides the module.
replay_module = import_module("cer_assets.identity.replay")
RECORDS = pl.DataFrame(
    [
        ("r01", "anna abbott", "12 oak st", 10.0, "shop", "a: b"),
        ("r02", "ana abbott", "12 oak street", 10.5, "shop", "a b"),
        ("r03", "anna abbot", None, 9.0, "web", "a: b"),
        ("r04", "boris dawson", "7 elm rd", 100.0, "web", None),
        ("r05", "boris dawsen", "7 elm road", 120.0, "web", "c"),
        ("r06", "dawson boris", "17 elm road", None, "shop", "c"),
        ("r07", "clara ellis", "3 birch av", 55.0, None, "d:e"),
        ("r08", "klara ellis", None, 55.0, "shop", "d:e"),
        ("r09", "clara elis", "3 birch av", 50.0, "shop", "d"),
        ("r10", "anna dawson", "12 elm st", 10.0, "web", None),
        ("r11", "frank grant", "90 cedar way", 7.0, "shop", "f"),
        ("r12", "frank grant", "90 cedar way", 7.0, "shop", "f"),
    ],
    ["record_id", "name", "street", "spent", "kind", "note"],
    orient="row",
)


def every_variable() -> list[Any]:
    return [
        variables.String("name", name="name"),
        variables.ShortString("street", name="street", crf=True, has_missing=True),
        variables.Price("spent", has_missing=True),
        variables.Categorical("kind", categories=["shop", "web"], has_missing=True),
        variables.Text("note", has_missing=True),
        variables.Exact("note", name="same note", has_missing=True),
        variables.Exists("street"),
        variables.Interaction("name", "street"),
    ]


def deduper_with(blocks: list[Any], seed: int = 0, chosen: list[Any] | None = None) -> Any:
    """A dedupe whose blocks are given and whose regression is drawn at random."""
    deduper = dedupe.Dedupe(chosen or every_variable(), num_cores=0, in_memory=True)
    deduper.predicates = tuple(blocks)
    deduper._fingerprinter = Fingerprinter(deduper.predicates)
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(40, len(deduper.data_model))).astype(np.float32)
    deduper.classifier = LogisticRegression().fit(columns, rng.random(40) < 0.5)
    return deduper


def partition(deduper: Any, records: pl.DataFrame, threshold: float) -> dict[str, str]:
    """The smallest record id of each record's group, as dedupe groups them."""
    groups = deduper.partition({row["record_id"]: row for row in records.to_dicts()}, threshold)
    return {str(record): str(min(ids)) for ids, _ in groups for record in ids}


def replayed(deduper: Any, records: pl.DataFrame, threshold: float) -> dict[str, str]:
    return dict(replay(deduper, records, threshold).iter_rows())


def test_a_model_that_dedupe_trained_gives_the_same_partition_from_its_file() -> None:
    command = [sys.executable, "-m", trained_by_dedupe.__name__]
    child = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "0"}, stdout=subprocess.PIPE, check=True)
    told = json.loads(child.stdout)
    model = DedupeModel.from_files({name: content.encode() for name, content in told["files"].items()})
    records, _ = trained_by_dedupe.data()
    sizes: list[int] = []
    for threshold, groups in told["groups"].items():
        expected = {record: min(ids) for ids in groups for record in ids}
        assert replayed(model, records, float(threshold)) == expected
        sizes.append(len(groups))
    assert len(set(sizes)) == 3


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10_000))
def test_any_predicates_and_any_regression_give_the_partition_of_dedupe(seed: int) -> None:
    draw = random.Random(seed)
    parts = sorted((p for v in every_variable()[:6] for p in v.predicates), key=repr)
    blocks = [draw.choice(parts), draw.choice(parts) + draw.choice(parts), sum_of(draw.sample(parts, 3))]
    deduper = deduper_with([*blocks, predicates.SimplePredicate(predicates.wholeFieldPredicate, "name")], seed)
    for threshold in (0.2, 0.5, 0.7):
        assert replayed(deduper, RECORDS, threshold) == partition(deduper, RECORDS, threshold)


def sum_of(parts: list[Any]) -> Any:
    first, *others = parts
    for part in others:
        first = first + part
    return first


def test_whole_numbers_are_ids_too_and_order_by_value() -> None:
    numbered = RECORDS.with_columns(record_id=pl.Series([5, 40, 300, 2, 11, 7, 1000, 9, 3, 21, 8, 6]))
    deduper = deduper_with([predicates.StringPredicate(predicates.firstTokenPredicate, "name")], 1)
    assert {str(a): str(b) for a, b in replayed(deduper, numbered, 0.5).items()} == partition(deduper, numbered, 0.5)


def test_the_order_of_rows_changes_nothing() -> None:
    deduper = deduper_with([predicates.StringPredicate(predicates.commonFourGram, "name")], 2)
    shuffled = RECORDS.sample(fraction=1, shuffle=True, seed=1)
    assert replay(deduper, shuffled).equals(replay(deduper, RECORDS))


def test_the_file_holds_the_model_and_nothing_else() -> None:
    index = predicates.LevenshteinCanopyPredicate(2, "name")
    deduper = deduper_with([predicates.StringPredicate(predicates.fingerprint, "name") + index], 3)
    model = DedupeModel.of(deduper)
    assert DedupeModel.from_files(model.files()) == model
    assert DedupeModel.from_files(model.files()).files() == model.files()
    assert replay(model, RECORDS).equals(replay(deduper, RECORDS))


edges = st.dictionaries(
    st.tuples(st.integers(0, 14), st.integers(0, 14)).filter(lambda pair: pair[0] < pair[1]), st.integers(1, 9_999)
)


def pairs_of(scored: dict[tuple[int, int], int]) -> Any:
    # No two scores are the same, since equal ones are merged in the order of scipy's heap.
    rows = [(a, b, score + place / 1_000) for place, ((a, b), score) in enumerate(sorted(scored.items()))]
    first, second, score = np.array(rows).reshape(-1, 3).T
    return replay_module._Pairs(first.astype(np.int64), second.astype(np.int64), (score / 10_000).astype(np.float32))


def clusters_of_dedupe(pairs: Any, threshold: float, most: int = 30_000) -> list[int]:
    scored = np.empty(len(pairs.score), dtype=[("pairs", int, 2), ("score", "f4")])
    scored["pairs"], scored["score"] = np.stack([pairs.first, pairs.second], axis=1), pairs.score
    label = list(range(15))
    with warnings.catch_warnings(action="ignore"):  # of an odds ratio of a certain pair
        for ids, _ in clustering.cluster(scored, threshold, most) if len(scored) else ():
            for record in ids:
                label[record] = min(ids)
    return label


@settings(deadline=None, max_examples=60)
@given(edges, st.sampled_from([0.1, 0.5, 0.8]), st.sampled_from([0, 3, 2_000]))
def test_groups_are_those_of_dedupe_whether_or_not_all_distances_are_laid_out(
    scored: dict[tuple[int, int], int], threshold: float, literal: int
) -> None:
    pairs = pairs_of(scored)
    assert replay_module._clusters(pairs, 15, threshold, literal).tolist() == clusters_of_dedupe(pairs, threshold)


@settings(deadline=None, max_examples=40)
@given(edges, st.sampled_from([0.1, 0.5]))
def test_a_component_too_large_is_taken_apart_as_dedupe_does(
    scored: dict[tuple[int, int], int], threshold: float
) -> None:
    pairs = pairs_of(scored)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay_module, "LARGEST_COMPONENT", 6)
        assert replay_module._clusters(pairs, 15, threshold, 100).tolist() == clusters_of_dedupe(pairs, threshold, 6)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.floats(0.2, 0.9))
def test_merging_in_order_is_centroid_linkage(seed: int, cut: float) -> None:
    size = 40
    rng = np.random.default_rng(seed)
    one, other = np.triu_indices(size, 1)
    condensed = np.where(rng.random(len(one)) < 0.4, rng.random(len(one)), 1).astype(np.float32)
    scored = condensed < 1
    pairs = replay_module._Pairs(one[scored], other[scored], 1 - condensed[scored])
    condensed[scored] = 1 - pairs.score
    ours = replay_module._in_order(pairs, size, cut)
    theirs = fcluster(linkage(condensed, "centroid"), cut, criterion="distance")
    both = set(zip(ours.tolist(), theirs.tolist(), strict=True))
    assert len(both) == len(set(ours.tolist())) == len(set(theirs.tolist()))


@pytest.mark.parametrize(
    ("variable", "why"),
    [
        (variables.Custom("name", comparator=lambda a, b: float(a == b)), "CustomType"),
        (variables.Set("note"), "SetType"),
        (variables.LatLong("note"), "LatLongType"),
        (variables.Text("note", corpus=["a b"]), "by a corpus"),
    ],
)
def test_variables_that_are_not_covered_are_refused(variable: Any, why: str) -> None:
    blocks = [predicates.SimplePredicate(predicates.wholeFieldPredicate, "name")]
    with pytest.raises(ValueError, match=why):
        DedupeModel.of(deduper_with(blocks, chosen=[variables.String("name"), variable]))


def test_what_else_is_not_covered_is_refused() -> None:
    blocks = [predicates.SimplePredicate(predicates.wholeFieldPredicate, "name")]
    untrained = dedupe.Dedupe([variables.String("name")], num_cores=0)
    with pytest.raises(ValueError, match=r"call its train\(\) first"):
        replay(untrained, RECORDS)
    own = predicates.SimplePredicate(lambda value: frozenset((value,)), "name")
    with pytest.raises(ValueError, match="a function of its own"):
        DedupeModel.of(deduper_with([own]))
    deduper = deduper_with(blocks)
    deduper.classifier = GaussianNB()
    with pytest.raises(ValueError, match="GaussianNB is not a logistic regression"):
        DedupeModel.of(deduper)


def test_records_that_do_not_fit_the_model_are_refused() -> None:
    model = DedupeModel.of(deduper_with([predicates.SimplePredicate(predicates.wholeFieldPredicate, "name")]))
    with pytest.raises(ValueError, match=r"column\(s\) kind missing"):
        replay(model, RECORDS.drop("kind"))
    with pytest.raises(ValueError, match="differ on every row"):
        replay(model, pl.concat([RECORDS, RECORDS.head(1)]))
    with pytest.raises(ValueError, match="record_id is Float64"):
        replay(model, RECORDS.with_columns(record_id=pl.col("spent")))
