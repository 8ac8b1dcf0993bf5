import random
from datetime import date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.feeds.contracts import PAIR_ANSWERS, PAIR_DRAWN
from cer_assets.identity import CUSTOMER_FIELDS, MatchField, rule_labels, truth_labeller
from cer_assets.identity.labels import INSTANT, agreement, constraints, effective, gathered, repeats, standing
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
    """Labels of pairs, each written as two letters, with who answered and what; a minute apart, oldest first."""
    told = {
        "record_a": [pair[0] for pair, _, _ in rows],
        "record_b": [pair[1] for pair, _, _ in rows],
        "by": [by for _, by, _ in rows],
        "answer": [answer for _, _, answer in rows],
        "at": [datetime(2024, 5, 1) + timedelta(minutes=n) for n in range(len(rows))],
    }
    return pl.DataFrame({**told, **more})


letters = st.lists(
    st.fixed_dictionaries(
        {
            "pair": st.sampled_from(["ab", "ba", "bc", "ca"]),
            "by": st.sampled_from(["ann", "bob", "rule: x", None]),
            "answer": st.sampled_from(PAIR_ANSWERS),
            "at": st.sampled_from([None, datetime(2024, 5, 1), datetime(2024, 5, 1) + INSTANT, datetime(2024, 5, 2)]),
            "drawn": st.sampled_from([None, *PAIR_DRAWN]),
            "weight": st.sampled_from([None, 1.5, 30.0]),
        }
    ),
    max_size=12,
)


def written(rows: list[dict[str, object]]) -> pl.DataFrame:
    """Labels from dictionaries whose pair is two letters."""
    schema = {"pair": pl.String, "by": pl.String, "answer": pl.String, "at": pl.Datetime("us"), "drawn": pl.String}
    frame = pl.DataFrame(rows, schema | {"weight": pl.Float64})
    ends = {"record_a": pl.col("pair").str.head(1), "record_b": pl.col("pair").str.tail(1)}
    return frame.with_columns(**ends).drop("pair")


def answers(labels: pl.DataFrame) -> dict[str, str]:
    return {a + b: answer for a, b, answer in labels.select("record_a", "record_b", "answer").iter_rows()}


def test_the_newest_answer_of_a_person_stands_until_it_is_withdrawn() -> None:
    labels = said(("ab", "ann", "match"), ("ba", "ann", "distinct"), ("cd", "ann", "match"), ("cd", "ann", "withdrawn"))
    assert answers(effective(labels)) == {"ab": "distinct"}


def test_the_newest_answer_stands_wherever_it_is_in_the_frame() -> None:
    labels = said(("ab", "ann", "distinct"), ("ab", "ann", "match"))
    labels = labels.with_columns(at=pl.Series([datetime(2024, 5, 2), datetime(2024, 5, 1)]))
    assert answers(effective(labels)) == answers(effective(labels.reverse())) == {"ab": "distinct"}


@settings(deadline=None, max_examples=40)
@given(letters, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(rows: list[dict[str, object]], chance: random.Random) -> None:
    labels, mixed = written(rows), written(chance.sample(rows, len(rows)))
    for reading in (standing, effective, constraints, repeats, agreement):
        assert reading(labels).equals(reading(mixed))
    assert gathered(labels, labels, "bob").equals(gathered(mixed, mixed, "bob"))


def test_of_answers_without_time_the_more_cautious_stands_and_a_repeat_comes_after_what_it_repeats() -> None:
    labels = said(("ab", "ann", "match"), ("ab", "ann", "distinct"), ("cd", "ann", "withdrawn"), ("cd", "ann", "match"))
    assert answers(effective(labels.drop("at"))) == {"ab": "distinct"}
    repeated = said(("ab", "ann", "match"), ("ab", "ann", "distinct"), drawn=["repeat", "dedupe"]).drop("at")
    assert agreement(repeated).row(0) == ("ann", 1, 0, 0)
    assert answers(effective(repeated)) == {"ab": "unsure"}


def test_people_stand_above_rules_and_binding_answers_above_others() -> None:
    labels = said(("ab", "ann", "must_link"), ("ab", "bob", "distinct"), ("ab", "rule: x", "distinct"))
    assert answers(effective(labels)) == {"ab": "match"}
    assert answers(effective(labels.tail(2))) == {"ab": "distinct"}
    assert answers(constraints(labels)) == {"ab": "must_link"}


def test_a_repeat_that_differs_makes_the_pair_unsure_and_counts_against_the_answers() -> None:
    rows = [("ab", "ann", "match"), ("cd", "ann", "match"), ("ab", "ann", "distinct"), ("cd", "ann", "match")]
    labels = said(*rows, drawn=["dedupe", "audit", "repeat", "repeat"])
    assert answers(effective(labels)) == {"ab": "unsure", "cd": "match"}
    assert effective(labels)["drawn"].to_list() == ["dedupe", "audit"]
    assert agreement(labels).row(0) == ("ann", 2, 1, 0)


def test_a_repeat_counts_whoever_gave_the_answer_before_it() -> None:
    rows = [("ab", "ann", "match"), ("cd", "ann", "match"), ("ab", "bob", "distinct"), ("cd", "bob", "match")]
    labels = said(*rows, drawn=["dedupe", "audit", "repeat", "repeat"])
    assert repeats(labels).rows() == [("a", "b", "bob", "distinct", "match"), ("c", "d", "bob", "match", "match")]
    assert agreement(labels).row(0) == ("bob", 2, 1, 0)
    assert effective(labels).select("answer", "by").rows() == [("unsure", "ann"), ("match", "ann")]


def test_what_is_answered_after_a_repeat_settles_what_the_repeat_left_open() -> None:
    rows = [("ab", "ann", "match"), ("ab", "bob", "distinct"), ("ab", "ann", "distinct")]
    labels = said(*rows, drawn=["dedupe", "repeat", "steward"])
    assert answers(effective(labels)) == {"ab": "distinct"}
    assert agreement(labels).row(0) == ("bob", 1, 0, 0)


def test_a_repeat_of_nothing_that_stands_is_an_answer() -> None:
    rows = [("ab", "ann", "match"), ("cd", "rule: x", "match"), ("ab", "bob", "distinct"), ("cd", "bob", "distinct")]
    labels = said(*rows, ("ab", "ann", "withdrawn"), drawn=["dedupe", "rule", "repeat", "repeat", None])
    assert answers(effective(labels)) == {"ab": "distinct", "cd": "distinct"}
    assert agreement(labels).is_empty()


def test_a_repeat_that_binds_holds_like_any_binding_answer() -> None:
    labels = said(("ab", "ann", "match"), ("ab", "bob", "cannot_link"), drawn=["dedupe", "repeat"])
    assert answers(constraints(labels)) == {"ab": "cannot_link"}
    assert effective(labels).select("answer", "by", "drawn").row(0) == ("distinct", "bob", "dedupe")
    assert agreement(labels).row(0) == ("bob", 1, 0, 0)


def test_a_slip_that_was_taken_back_is_no_repeat_and_changes_nothing() -> None:
    rows = [("ab", "ann", "match"), ("ab", "bob", "match"), ("ab", "bob", "distinct"), ("ab", "bob", "withdrawn")]
    labels = said(*rows, drawn=["audit", "repeat", "repeat", None])
    uncovered = labels[1].with_columns(at=labels["at"][3] + INSTANT)
    assert standing(pl.concat([labels, uncovered])).drop("order").equals(standing(labels.head(2)).drop("order"))
    assert agreement(labels).is_empty()


def test_an_audited_pair_stays_audited_whoever_answers_it_later() -> None:
    labels = said(("ab", "ann", "match"), ("ab", "bob", "distinct"), drawn=["audit", "steward"])
    labels = labels.with_columns(weight=pl.Series([30.0, None]))
    assert effective(labels).select("answer", "drawn", "weight").row(0) == ("distinct", "audit", 30.0)
    own = labels.with_columns(by=pl.lit("ann"))
    assert effective(own).select("answer", "drawn", "weight").row(0) == ("distinct", "audit", 30.0)


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


def test_peoples_answers_are_those_delivered_and_what_rules_and_the_stand_in_said_stays() -> None:
    held = said(("ab", "ann", "match"), ("bc", "rule: x", "match"), ("cd", "truth", "distinct"), ("ef", "bob", "match"))
    given = said(("ba", "ann", "distinct"), ("ef", "bob", "match"), ("ef", "bob", "match"))
    given = given.with_columns(at=datetime(2024, 5, 3), file=pl.lit("2024-05-03.ann.ndjson"))
    labels = gathered(given, held, "truth")
    assert labels.columns == ["record_a", "record_b", "answer", "by", "at", "drawn", "weight"]
    assert labels.select("record_a", "record_b", "answer", "by").rows() == [
        ("b", "c", "match", "rule: x"),
        ("c", "d", "distinct", "truth"),
        ("a", "b", "distinct", "ann"),
        ("e", "f", "match", "bob"),
    ]
    assert gathered(given, labels, "truth").equals(labels)
    assert gathered(given.clear(), None, "truth").is_empty()


def test_an_answer_delivered_anew_takes_the_place_of_the_one_it_corrects() -> None:
    rows = said(("ab", "ann", "match"), ("ba", "ann", "distinct")).with_columns(
        at=datetime(2024, 5, 1), delivered_on=pl.Series([date(2024, 5, 1), date(2024, 5, 2)])
    )
    given = rows.with_columns(file=pl.lit("answers.csv"), file_line=pl.lit(2, pl.Int64))
    assert gathered(given, None, "truth")["answer"].to_list() == ["distinct"]
    assert gathered(given.reverse(), None, "truth")["answer"].to_list() == ["distinct"]
