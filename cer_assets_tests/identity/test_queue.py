"""What is asked first, what is never asked, and that the random share speaks for all pairs."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.identity.queue import QUESTIONS, questions

MODEL = SimpleNamespace(cut=0.5)
NO_LABELS = pl.DataFrame(schema={"record_a": pl.String, "record_b": pl.String, "answer": pl.String, "by": pl.String})


def frame(*pairs: tuple[str, str, float]) -> pl.DataFrame:
    return pl.DataFrame(pairs, schema=["record_a", "record_b", "score"], orient="row")


def customers(**records: str) -> pl.DataFrame:
    """Links, from a customer's name and its records as letters."""
    rows = [(record, name) for name, members in records.items() for record in members]
    return pl.DataFrame(rows, schema=["record_id", "customer_id"], orient="row")


def said(*answers: tuple[str, str, str, str], **columns: object) -> pl.DataFrame:
    labels = pl.DataFrame(answers, schema=["record_a", "record_b", "answer", "by"], orient="row")
    return labels.with_columns(pl.lit(value).alias(name) for name, value in columns.items())


def decided(edges: pl.DataFrame, links: pl.DataFrame, labels: pl.DataFrame = NO_LABELS, size: int = 9) -> pl.DataFrame:
    """The queue without its random shares."""
    return questions(edges, links, labels, MODEL, size, audit=0, repeats=0)


def pairs(queue: pl.DataFrame) -> list[str]:
    return (queue["record_a"] + queue["record_b"]).to_list()


@pytest.fixture(scope="module")
def crowd() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Edges and links of three hundred customers of one to four records, with pairs between neighbours."""
    rng = np.random.default_rng(1)
    customer = np.repeat(np.arange(300), rng.integers(1, 5, 300))
    ids = pl.Series([f"r{n:04d}" for n in range(len(customer))])
    a, b = np.triu_indices(len(ids), k=1)
    near = (customer[b] - customer[a] <= 1) & (b - a <= 5)
    a, b = a[near], b[near]
    score = np.where(customer[a] == customer[b], rng.beta(6, 1, len(a)), rng.beta(1, 4, len(a)))
    edges = pl.DataFrame({"record_a": ids.gather(a), "record_b": ids.gather(b), "score": score.round(6)})
    return edges.filter(pl.col("score") >= 0.05), pl.DataFrame({"record_id": ids, "customer_id": customer.astype(str)})


def test_the_pair_nearest_the_cut_comes_first() -> None:
    edges = frame(("a", "b", 0.9), ("c", "d", 0.48), ("e", "f", 0.1), ("g", "h", 0.7))
    links = customers(A="ab", C="c", D="d", E="e", F="f", G="gh")
    assert pairs(decided(edges, links)) == ["cd", "gh", "ab", "ef"]


def test_an_answer_on_which_more_records_hang_counts_more() -> None:
    between = [(one, other, 0.4) for one in "ab" for other in "cd"]
    edges = frame(("a", "b", 0.9), ("c", "d", 0.9), *between, ("x", "y", 0.45))
    queue = decided(edges, customers(A="ab", C="cd", X="x", Y="y"))
    assert pairs(queue)[:2] == ["ac", "xy"]
    assert queue["information"].to_list()[:2] == [0.8, 0.45]
    assert queue["why"][0] == "would join customers of 2 and 2 records"


def test_a_customer_is_asked_about_at_its_weakest_link() -> None:
    # Two firm pairs, and between them one bridge.
    edges = frame(
        ("a", "b", 0.99), ("c", "d", 0.98), ("b", "c", 0.9), ("a", "c", 0.6), ("b", "d", 0.6), ("a", "d", 0.5)
    )
    queue = decided(edges, customers(A="abcd"))
    assert pairs(queue) == ["bc"]
    assert queue["why"].to_list() == ["weakest link of a customer, between 2 and 2 of its records"]
    assert queue["information"].to_list() == pytest.approx([2 * (1 - (0.9 + 0.6 + 0.6 + 0.5) / 4)])


def test_what_an_error_costs_follows_from_the_cut() -> None:
    edges, links = frame(("a", "b", 0.8), ("c", "d", 0.2)), customers(A="ab", C="c", D="d")
    eager, wary = (
        questions(edges, links, NO_LABELS, SimpleNamespace(cut=cut), 2, audit=0, repeats=0) for cut in (0.3, 0.7)
    )
    assert pairs(eager) == ["cd", "ab"]
    assert pairs(wary) == ["ab", "cd"]


def test_a_person_is_not_asked_what_a_person_answered() -> None:
    edges, links = (
        frame(("a", "b", 0.6), ("c", "d", 0.4), ("e", "f", 0.4)),
        customers(A="ab", C="c", D="d", E="e", F="f"),
    )
    answers = said(("a", "b", "match", "ann"), ("c", "d", "unsure", "bob"), ("e", "f", "distinct", "rule: one home"))
    for shares in ({"audit": 0.0}, {"audit": 0.9}):
        assert pairs(questions(edges, links, answers, MODEL, 9, repeats=0, **shares)) == ["ef"]


def test_an_answer_taken_back_may_be_asked_for_again() -> None:
    edges, links = frame(("a", "b", 0.6)), customers(A="ab")
    answers = pl.concat([said(("a", "b", "match", "ann"), at=1), said(("a", "b", "withdrawn", "ann"), at=2)])
    answers = answers.with_columns(at=pl.datetime(2024, 1, "at"))
    assert pairs(decided(edges, links, answers)) == ["ab"]


def test_what_people_said_counts_for_the_rest_of_the_customer() -> None:
    edges = frame(("a", "b", 0.9), ("b", "c", 0.6), ("a", "c", 0.6))
    links = customers(A="abc")
    before = decided(edges, links)["information"].item()
    after = decided(edges, links, said(("a", "c", "match", "ann")))
    assert pairs(after) != ["ac"]
    assert after["information"].item() < before


def test_no_customer_fills_the_queue() -> None:
    hub = [("a", other, 0.45) for other in "bcdefghij"]
    queue = decided(frame(*hub), customers(**{name.upper(): name for name in "abcdefghij"}))
    assert len(queue) == 2


def test_the_kinds_of_questions_are_mixed_and_ranked(crowd: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    edges, links = crowd
    answers = edges.head(30).select("record_a", "record_b", answer=pl.lit("match"), by=pl.lit("ann"))
    queue = questions(edges, links, answers, MODEL, size=50)
    assert queue.schema == QUESTIONS
    assert queue["rank"].to_list() == list(range(1, 51))
    assert dict(queue.group_by("drawn").len().iter_rows()) == {"uncertain": 35, "audit": 10, "repeat": 5}
    assert queue.head(10)["drawn"].n_unique() == 3
    assert queue.filter(drawn="uncertain")["information"].is_sorted(descending=True)
    assert queue.filter(pl.col("weight").is_not_null())["drawn"].unique().to_list() == ["audit"]
    assert queue.select("record_a", "record_b").is_unique().all()
    repeated = queue.filter(drawn="repeat")
    assert repeated.join(answers, on=["record_a", "record_b"], how="semi").height == 5


def test_a_pair_is_repeated_once(crowd: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    edges, links = crowd
    answers = edges.head(2).select(
        "record_a", "record_b", answer=pl.lit("match"), by=pl.lit("ann"), drawn=pl.lit("uncertain")
    )
    again = answers.head(1).with_columns(drawn=pl.lit("repeat"))
    queue = questions(edges, links, pl.concat([answers, again]), MODEL, size=50)
    assert pairs(queue.filter(drawn="repeat")) == pairs(answers.tail(1))


def test_a_repeat_or_a_bond_that_was_taken_back_leaves_the_pair_to_be_repeated(
    crowd: tuple[pl.DataFrame, pl.DataFrame],
) -> None:
    edges, links = crowd
    told = edges.head(3).select("record_a", "record_b", answer=pl.lit("match"), by=pl.lit("truth"), drawn=pl.lit(None))
    events = [told, *(told.with_columns(by=pl.lit("ann"), answer=pl.lit(a)) for a in ("must_link", "withdrawn"))]
    again = told.with_columns(by=pl.lit("bob"), drawn=pl.lit("repeat"))
    events += [again.tail(2), again[1].with_columns(answer=pl.lit("withdrawn"), drawn=pl.lit(None, pl.String))]
    labels = pl.concat(
        [part.cast({"drawn": pl.String}).with_columns(at=pl.datetime(2024, 1, n)) for n, part in enumerate(events, 1)]
    )
    queue = questions(edges, links, labels, MODEL, size=50)
    assert sorted(pairs(queue.filter(drawn="repeat"))) == sorted(pairs(told.head(2)))


def test_the_random_share_speaks_for_all_scored_pairs(crowd: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    edges, links = crowd
    of = dict(links.iter_rows())
    totals = [
        questions(edges, links, NO_LABELS, MODEL, size=60, seed=seed, audit=1, repeats=0)
        .with_columns(linked=pl.col("record_a").replace(of) == pl.col("record_b").replace(of))
        .select(pl.col("weight").sum(), linked=pl.col("weight").filter("linked").sum())
        .row(0)
        for seed in range(25)
    ]
    linked = edges.filter(pl.col("record_a").replace(of) == pl.col("record_b").replace(of)).height
    every, of_these_linked = np.mean(totals, axis=0)
    assert every == pytest.approx(len(edges), rel=0.03)
    assert of_these_linked == pytest.approx(linked, rel=0.05)


@pytest.mark.parametrize("size", [0, 1, 3, 1000])
def test_no_more_is_asked_than_wanted(crowd: tuple[pl.DataFrame, pl.DataFrame], size: int) -> None:
    edges, links = crowd
    assert len(questions(edges, links, NO_LABELS, MODEL, size)) <= size


def test_nothing_scored_is_nothing_to_ask() -> None:
    none = frame(("a", "b", 0.5)).clear()
    assert questions(none, customers(A="a", B="b"), NO_LABELS, MODEL).schema == QUESTIONS
    assert questions(none, customers(A="a").clear(), NO_LABELS, MODEL).is_empty()


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 1000))
def test_the_order_of_rows_changes_nothing(crowd: tuple[pl.DataFrame, pl.DataFrame], seed: int) -> None:
    edges, links = crowd
    answers = edges.head(20).select("record_a", "record_b", answer=pl.lit("match"), by=pl.lit("ann"))
    mixed = [part.sample(fraction=1, shuffle=True, seed=seed) for part in (edges, links, answers)]
    turned = mixed[0].rename({"record_a": "record_b", "record_b": "record_a"})
    expected = questions(edges, links, answers, MODEL, seed=7)
    assert questions(*mixed, MODEL, seed=7).equals(expected)
    assert questions(turned, *mixed[1:], MODEL, seed=7).equals(expected)
