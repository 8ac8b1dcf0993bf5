from datetime import datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.identity import CUSTOMER_FIELDS, MatchField, rule_labels, truth_labeller
from cer_assets.identity.labels import agreement, constraints, effective
from cer_assets_tests.identity.people import population


def test_the_truth_answers_and_is_unsure_of_whom_it_does_not_know() -> None:
    truth = pl.DataFrame({"record_id": ["a", "b", "c"], "person_id": ["1", "1", "2"]})
    assert truth_labeller(truth)([("a", "b"), ("a", "c"), ("a", "z")]) == [True, False, None]


def test_rules_give_labels_of_both_answers_that_say_which_rule_gave_them() -> None:
    records, truth = population(200)
    labels = rule_labels(records, CUSTOMER_FIELDS)
    person = dict(truth.iter_rows())
    right = [(person[a] == person[b]) == (answer == "match") for a, b, answer, _ in labels.iter_rows()]
    assert sum(right) / len(right) > 0.98
    assert set(labels["answer"]) == {"match", "distinct"}
    assert labels["by"].str.starts_with("rule: ").all()
    assert (labels["record_a"] < labels["record_b"]).all()
    assert labels.equals(rule_labels(records.reverse(), CUSTOMER_FIELDS))


def test_two_people_of_one_home_are_labelled_as_two() -> None:
    records = pl.DataFrame(
        {
            "record_id": ["a", "b"],
            "name": ["anna", "peter"],
            "born": ["1980-04-03", "1957-11-21"],
            "phone": ["+16144392210"] * 2,
        }
    )
    fields = [MatchField("name", "name"), MatchField("born", "date"), MatchField("phone", "phone")]
    assert rule_labels(records, fields).row(0) == ("a", "b", "distinct", "rule: one home")


def test_records_without_anything_telling_give_no_match() -> None:
    records = pl.DataFrame({"record_id": ["a", "b", "c"], "city": ["x", "x", "y"]})
    assert "match" not in set(rule_labels(records, [MatchField("city", "text")])["answer"])
    assert rule_labels(records.clear(), [MatchField("city", "text")]).is_empty()


def said(*rows: tuple[str, str, str], **more: list[str | None]) -> pl.DataFrame:
    """Labels of pairs, each written as two letters, with who answered and what; oldest first."""
    told = {
        "record_a": [pair[0] for pair, _, _ in rows],
        "record_b": [pair[1] for pair, _, _ in rows],
        "by": [by for _, by, _ in rows],
        "answer": [answer for _, _, answer in rows],
    }
    return pl.DataFrame({**told, **more})


def answers(labels: pl.DataFrame) -> dict[str, str]:
    return {a + b: answer for a, b, answer in labels.select("record_a", "record_b", "answer").iter_rows()}


def test_the_newest_answer_of_a_person_stands_until_it_is_withdrawn() -> None:
    labels = said(("ab", "ann", "match"), ("ba", "ann", "distinct"), ("cd", "ann", "match"), ("cd", "ann", "withdrawn"))
    assert answers(effective(labels)) == {"ab": "distinct"}


def test_time_orders_labels_before_their_place_in_the_frame_does() -> None:
    labels = said(("ab", "ann", "distinct"), ("ab", "ann", "match"))
    labels = labels.with_columns(at=pl.Series([datetime(2024, 5, 2), datetime(2024, 5, 1)]))
    assert answers(effective(labels)) == answers(effective(labels.reverse())) == {"ab": "distinct"}


def test_people_stand_above_rules_and_binding_answers_above_others() -> None:
    labels = said(("ab", "ann", "must_link"), ("ab", "bob", "distinct"), ("ab", "rule: x", "distinct"))
    assert answers(effective(labels)) == {"ab": "match"}
    assert answers(effective(labels.tail(2).reverse())) == {"ab": "distinct"}
    assert answers(constraints(labels)) == {"ab": "must_link"}


def test_a_repeat_that_differs_makes_the_pair_unsure_and_counts_against_the_answers() -> None:
    rows = [("ab", "ann", "match"), ("cd", "ann", "match"), ("ab", "ann", "distinct"), ("cd", "ann", "match")]
    labels = said(*rows, drawn=["dedupe", "audit", "repeat", "repeat"])
    assert answers(effective(labels)) == {"ab": "unsure", "cd": "match"}
    assert effective(labels)["drawn"].to_list() == ["dedupe", "audit"]
    assert agreement(labels).row(0) == ("ann", 2, 1)


def test_an_audited_pair_stays_audited_whoever_answers_it_later() -> None:
    labels = said(("ab", "ann", "match"), ("ab", "bob", "distinct"), drawn=["audit", "steward"])
    labels = labels.with_columns(weight=pl.Series([30.0, None]))
    assert effective(labels).select("answer", "drawn", "weight").row(0) == ("distinct", "audit", 30.0)


def test_of_binding_labels_that_contradict_each_other_the_oldest_gives_way() -> None:
    chain = [("ab", "ann", "must_link"), ("bc", "ann", "must_link"), ("xy", "ann", "cannot_link")]
    assert answers(constraints(said(*chain, ("ac", "ann", "cannot_link")))) == {
        "ac": "cannot_link",
        "bc": "must_link",
        "xy": "cannot_link",
    }
    assert answers(constraints(said(("ac", "ann", "cannot_link"), *chain))) == {
        "ab": "must_link",
        "bc": "must_link",
        "xy": "cannot_link",
    }


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(["ab", "bc", "cd", "da", "ac"]), st.sampled_from(["must_link", "cannot_link"])),
        max_size=8,
    )
)
def test_constraints_never_contradict_each_other(rows: list[tuple[str, str]]) -> None:
    held = answers(constraints(said(*[(pair, "ann", answer) for pair, answer in rows])))
    group = {letter: letter for letter in "abcd"}
    for pair in (pair for pair, answer in held.items() if answer == "must_link"):
        old, new = group[pair[1]], group[pair[0]]
        group = {letter: new if of == old else of for letter, of in group.items()}
    assert all(group[pair[0]] != group[pair[1]] for pair, answer in held.items() if answer == "cannot_link")


def test_an_answer_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="perhaps"):
        effective(said(("ab", "ann", "perhaps")))


def test_no_label_is_no_answer_and_no_constraint() -> None:
    none = said(("ab", "ann", "match")).clear()
    assert effective(none).is_empty() and constraints(none).is_empty() and agreement(none).is_empty()
