from datetime import date
from importlib import import_module

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from cer_assets.identity import resolve_all
from cer_assets.identity.link import link, pair_off
from cer_assets_tests.identity.conftest import Trained

# The package offers a function by the same name, which hides the module.
link_module = import_module("cer_assets.identity.link")
fixtures = settings(deadline=None, max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
pairs_with_gains = st.dictionaries(st.tuples(st.integers(0, 7), st.integers(0, 7)), st.integers(1, 4), max_size=30)


@pytest.fixture(scope="module")
def two_sources(trained: Trained) -> pl.DataFrame:
    """The people's first and second records as two sources; a third of the people are in the first one only."""
    source = pl.col("record_id").str.head(2)
    return trained.records.with_columns(source=source).filter(pl.col("source").is_in(["s0", "s1"]))


def arrays(pairs: dict[tuple[int, int], int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = np.array([(a, b, gain) for (a, b), gain in pairs.items()], dtype=np.int64).reshape(-1, 3)
    return rows[:, 0], rows[:, 1], rows[:, 2]


def paired_off(pairs: dict[tuple[int, int], int]) -> set[tuple[int, int]]:
    one, other, gain = arrays(pairs)
    chosen = pair_off(one, other, gain)
    return set(zip(one[chosen].tolist(), other[chosen].tolist(), strict=True))


@settings(deadline=None, max_examples=100)
@given(pairs_with_gains)
def test_nobody_stands_in_two_pairs_and_no_other_choice_brings_more(pairs: dict[tuple[int, int], int]) -> None:
    chosen = paired_off(pairs)
    assert len({a for a, _ in chosen}) == len({b for _, b in chosen}) == len(chosen)
    dense = np.zeros((8, 8), dtype=np.int64)
    for pair, gain in pairs.items():
        dense[pair] = gain
    best = dense[linear_sum_assignment(dense, maximize=True)].sum()
    assert sum(pairs[pair] for pair in chosen) == best


@settings(deadline=None, max_examples=50)
@given(pairs_with_gains, st.randoms())
def test_neither_the_order_of_pairs_nor_others_far_away_change_who_is_chosen(
    pairs: dict[tuple[int, int], int], random
) -> None:
    mixed = list(pairs.items())
    random.shuffle(mixed)
    elsewhere = {(-3, -3): 3, (-3, -2): 2, (-2, -3): 2, (20, 20): 1}
    chosen = paired_off(pairs)
    assert paired_off(dict(mixed)) == chosen
    far = paired_off({**elsewhere, **dict(mixed)})
    assert {pair for pair in far if pair not in elsewhere} == chosen


def test_equal_partners_are_told_apart_by_their_numbers() -> None:
    assert paired_off({(a, b): 5 for a in range(4) for b in range(3)}) == {(0, 0), (1, 1), (2, 2)}


def test_a_record_leaves_its_best_partner_to_one_that_has_no_other() -> None:
    assert paired_off({(0, 0): 9, (0, 1): 8, (1, 0): 7}) == {(0, 1), (1, 0)}


def test_in_a_component_too_large_to_assign_at_once_the_stronger_pairs_go_first(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(link_module, "ASSIGNED_CAP", 3)
    assert paired_off({(0, 0): 9, (0, 1): 8, (1, 0): 7, (1, 1): 3}) == {(0, 0), (1, 1)}
    assert "too large to assign" in caplog.text


def test_many_contested_components_are_assigned_as_each_would_be_alone() -> None:
    size = 3_000
    shape = {(0, 0): 5, (0, 1): 5, (1, 0): 5, (1, 1): 4}
    many = {(2 * n + a, 2 * n + b): gain for n in range(size) for (a, b), gain in shape.items()}
    assert paired_off(many) == {(2 * n + a, 2 * n + b) for n in range(size) for a, b in ((0, 1), (1, 0))}


def test_people_in_both_sources_are_linked_once(trained: Trained, two_sources: pl.DataFrame) -> None:
    links = link(two_sources, trained.model, "source")
    assert links["record_a"].str.starts_with("s0:").all() and links["record_b"].str.starts_with("s1:").all()
    assert links["record_a"].is_unique().all() and links["record_b"].is_unique().all()
    assert links["score"].is_between(trained.model.cut, 1).all()
    person = pl.col("record_id").str.slice(3)
    both = two_sources.group_by(person).len().filter(len=2)
    right = links.filter(pl.col("record_a").str.slice(3) == pl.col("record_b").str.slice(3))
    assert len(right) >= 0.97 * max(len(links), len(both))


def test_a_link_scores_what_its_pair_scores(trained: Trained, two_sources: pl.DataFrame) -> None:
    scored = resolve_all(two_sources, trained.model).edges
    links = link(two_sources, trained.model, "source")
    both = links.join(scored, on=["record_a", "record_b"], suffix="_of_pair")
    assert len(both) == len(links)
    assert both.select((pl.col("score") - pl.col("score_of_pair")).abs().max()).item() <= 1e-6


@fixtures
@given(st.integers(0, 1000), st.integers(1, 2))
def test_row_order_and_threads_do_not_change_a_link(
    trained: Trained, two_sources: pl.DataFrame, seed: int, threads: int
) -> None:
    expected = link(two_sources, trained.model, "source")
    with duckdb.connect(config={"threads": threads}) as connection:
        shuffled = two_sources.sample(fraction=1, shuffle=True, seed=seed)
        assert link(shuffled, trained.model, "source", connection).equals(expected)


@fixtures
@given(st.sampled_from(["a", "s0:0100", "z"]), st.sampled_from(["s0", "s1"]))
def test_a_record_far_from_all_changes_no_link(
    trained: Trained, two_sources: pl.DataFrame, name: str, source: str
) -> None:
    stranger = {"record_id": f"{name}-new", "source": source, "given_name": "xqz", "surname": "wvvk"}
    stranger |= {"birth_date": date(1899, 7, 7), "email": "qq@zz.zz", "phone": "+4999", "street": "9 zzz"}
    more = pl.concat([two_sources, pl.DataFrame(stranger)], how="diagonal_relaxed")
    pairs = ["record_a", "record_b"]
    links = link(more, trained.model, "source").select(pairs)
    assert links.equals(link(two_sources, trained.model, "source").select(pairs))


def test_what_people_said_must_or_must_not_link_holds(trained: Trained, two_sources: pl.DataFrame) -> None:
    free = link(two_sources, trained.model, "source")
    (a, b, _), (c, d, _) = free.row(0), free.row(1)
    answers = {"record_a": [d, a], "record_b": [a, b], "answer": ["must_link", "cannot_link"]}
    links = link(two_sources, trained.model, "source", constraints=pl.DataFrame(answers))
    partner = dict(links.select("record_a", "record_b").iter_rows())
    assert partner[a] == d
    assert partner.get(c) != d and b not in partner.values()
    assert links.filter(~pl.col("record_a").is_in([a, c])).equals(free.filter(~pl.col("record_a").is_in([a, c])))


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ([("s0:0001", "s0:0002", "must_link")], "of one source"),
        ([("s0:0001", "s1:0009", "must_link"), ("s1:0005", "s0:0001", "must_link")], "share a record"),
        ([("s0:0001", "s1:0005", "must_link"), ("s1:0005", "s0:0001", "cannot_link")], "also must not"),
    ],
)
def test_constraints_that_cannot_hold_are_refused_by_record_id(
    trained: Trained, two_sources: pl.DataFrame, answers: list[tuple[str, str, str]], why: str
) -> None:
    frame = pl.DataFrame(answers, ["record_a", "record_b", "answer"], orient="row")
    known = two_sources.clear().select(two_sources.columns)
    ids = ["s0:0001", "s0:0002", "s1:0005", "s1:0009"]
    rows = pl.DataFrame({"record_id": ids, "source": [i[:2] for i in ids]})
    with pytest.raises(ValueError, match=f"s0:0001.*{why}"):
        link(pl.concat([known, rows], how="diagonal_relaxed"), trained.model, "source", constraints=frame)


def test_sources_that_are_not_two_are_refused(trained: Trained, two_sources: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"'shop'.*missing"):
        link(two_sources, trained.model, "shop")
    with pytest.raises(ValueError, match="has 1 different values and 0 nulls"):
        link(two_sources.filter(source="s0"), trained.model, "source")
    gap = pl.when(pl.col("record_id") == "s0:0001").then(None).otherwise("source").alias("source")
    with pytest.raises(ValueError, match="has 2 different values and 1 nulls"):
        link(two_sources.with_columns(gap), trained.model, "source")


def test_sources_without_a_common_candidate_have_no_link(trained: Trained, two_sources: pl.DataFrame) -> None:
    one = two_sources.filter(source="s0").head(1)
    stranger = pl.DataFrame({"record_id": "s1:zz", "source": "s1", "given_name": "xqz"})
    links = link(pl.concat([one, stranger], how="diagonal_relaxed"), trained.model, "source")
    assert links.is_empty() and links.columns == ["record_a", "record_b", "score"]
