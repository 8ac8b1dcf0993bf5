import polars as pl

from cer_assets.identity import CUSTOMER_FIELDS, MatchField, rule_labels, truth_labeller
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
