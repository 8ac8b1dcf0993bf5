from itertools import combinations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.identity import bcubed, evaluate_links, pairwise

labels = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(labels)
def test_figures_are_those_of_counting_by_hand(rows: list[tuple[int, int]]) -> None:
    found, true = [f for f, _ in rows], [t for _, t in rows]
    pairs = list(combinations(range(len(rows)), 2))
    put = {p for p in pairs if found[p[0]] == found[p[1]]}
    right = {p for p in pairs if true[p[0]] == true[p[1]]}
    by_pair = pairwise(pl.Series(found), pl.Series(true))
    assert by_pair["precision"] == pytest.approx(len(put & right) / len(put) if put else 1, abs=1e-6)
    assert by_pair["recall"] == pytest.approx(len(put & right) / len(right) if right else 1, abs=1e-6)

    n = range(len(rows))
    same = [[sum(rows[i] == rows[j] for j in n), sum(found[i] == found[j] for j in n)] for i in n]
    by_record = bcubed(pl.Series(found), pl.Series(true))
    assert by_record["precision"] == pytest.approx(sum(a / b for a, b in same) / len(rows), abs=1e-6)


def test_links_equal_to_the_truth_are_perfect_whatever_their_names() -> None:
    links = pl.DataFrame({"record_id": ["a", "b", "c"], "customer_id": ["x", "x", "y"]})
    truth = pl.DataFrame({"record_id": ["c", "b", "a", "unseen"], "person_id": ["1", "2", "2", "3"]})
    figures = evaluate_links(links, truth)
    assert figures["pairwise_f1"] == figures["bcubed_f1"] == 1
    assert (figures["records"], figures["persons"], figures["customers"]) == (3, 2, 2)


def test_a_truth_of_other_records_is_refused() -> None:
    links = pl.DataFrame({"record_id": ["a"], "customer_id": ["x"]})
    truth = pl.DataFrame({"record_id": ["b"], "person_id": ["1"]})
    with pytest.raises(ValueError, match="none of the linked records"):
        evaluate_links(links, truth)
