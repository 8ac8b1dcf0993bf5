"""What an answer would change is counted by hand on a shop of seven records."""

import datetime as dt
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.identity import resolve_all, train
from cer_assets.identity.queue import questions
from cer_assets.insight.impact import IMPACT, what_answers_change
from cer_assets_tests.identity.people import population

DAY = dt.date(2024, 3, 1)
LABELS = pl.DataFrame(schema={"record_a": pl.String, "record_b": pl.String, "answer": pl.String, "by": pl.String})
CUT = 0.5
LINKS = pl.DataFrame(
    {
        "record_id": [f"crm:{n}" for n in range(1, 8)],
        "customer_id": ["ann", "ann", "ann", "bob", "cid", "cid", "dot"],
    }
)
EDGES = pl.DataFrame(
    [
        ("crm:1", "crm:2", 0.9),
        ("crm:1", "crm:3", 0.6),
        ("crm:2", "crm:3", 0.5),
        ("crm:1", "crm:4", 0.45),
        ("crm:2", "crm:4", 0.4),
        ("crm:3", "crm:4", 0.45),
        ("crm:5", "crm:6", 0.7),
    ],
    schema=["record_a", "record_b", "score"],
    orient="row",
)
SPENT = [("1", 30), ("2", 0), ("3", 60), ("4", 20), ("5", 500), ("6", 500)]
ORDERS = pl.DataFrame(
    {
        "source": ["crm"] * len(SPENT),
        "source_id": [source_id for source_id, _ in SPENT],
        "merchandise_amount": [Decimal(amount) for _, amount in SPENT],
    },
    schema_overrides={"merchandise_amount": pl.Decimal(18, 2)},
)
BUCKETS = pl.DataFrame(
    {
        "as_of": [DAY - dt.timedelta(days=1)] + [DAY] * 3,
        "customer_id": ["ann", "ann", "bob", "cid"],
        "bucket": ["high", "mid", "low", "high"],
        "value": [9000.0, 90.0, 20.0, 1000.0],
    }
)
CONSENTS = pl.DataFrame(
    [
        ("crm", "1", "email", True, 1),
        ("crm", "4", "email", True, 1),
        ("crm", "4", "email", False, 2),
        ("crm", "1", "post", True, 1),
        ("crm", "4", "post", True, 1),
        ("crm", "5", "sms", True, 1),
        ("crm", "6", "sms", False, 1),
    ],
    schema=["source", "source_id", "purpose", "granted", "at"],
    orient="row",
).with_columns(at=pl.datetime(2024, 1, "at"))
HOUSEHOLDS = pl.DataFrame({"customer_id": ["ann", "bob", "cid", "dot"], "household_id": ["h", "h", "i", "j"]})


def asked(*pairs: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(pairs, schema=["record_a", "record_b"], orient="row")


def impact(*pairs: tuple[str, str], constraints: pl.DataFrame | None = None) -> dict[str, dict[str, object]]:
    """By answer, what one question or the first of several would change."""
    rows = what_answers_change(asked(*pairs), LINKS, EDGES, CUT, ORDERS, BUCKETS, CONSENTS, HOUSEHOLDS, constraints)
    assert dict(rows.schema) == dict(IMPACT)
    return {row["answer"]: row for row in rows.head(2).iter_rows(named=True)}


def test_a_match_between_two_customers_merges_them_under_the_larger_ones_id() -> None:
    match = impact(("crm:4", "crm:1"))["match"]
    assert (match["effect"], match["customers_before"], match["customers_after"]) == ("merge", "ann, bob", "ann")
    assert (match["records_before"], match["records_after"], match["records_moved"]) == ("3, 1", "4", 1)
    assert (match["spend_before"], match["spend_after"]) == ("90.00, 20.00", "110.00")


def test_a_merge_joins_value_and_finds_consents_that_conflict() -> None:
    match = impact(("crm:1", "crm:4"))["match"]
    assert (match["buckets_before"], match["buckets_after"], match["bucket_changes"]) == ("mid, low", "mid", True)
    assert (match["consents_in_conflict"], match["consents_settled"], match["households"]) == ("email", "", "same")
    assert match["sentence"] == (
        "Match: ann (3 records, mid value) and bob (1 record, low value) would become ann (4 records, mid value); "
        "granted by one and withdrawn by the other: email; they live together."
    )


def test_the_answer_that_says_what_is_so_already_changes_nothing() -> None:
    apart, together = impact(("crm:1", "crm:4"))["distinct"], impact(("crm:5", "crm:6"))["match"]
    for row in (apart, together):
        assert (row["effect"], row["records_moved"], row["bucket_changes"]) == ("none", 0, False)
        assert row["customers_before"] == row["customers_after"]
    assert apart["sentence"] == "Distinct: nothing would change."


def test_a_distinct_within_a_customer_cuts_it_where_the_scores_say() -> None:
    row = impact(("crm:1", "crm:3"))["distinct"]
    assert (row["effect"], row["customers_after"], row["records_after"]) == ("split", "ann, new", "2, 1")
    # Two thirds of the spend, and so of the value of 90, go with record 3.
    assert (row["spend_after"], row["buckets_after"]) == ("30.00, 60.00", "low, low")


def test_a_split_settles_what_two_records_of_one_customer_said_differently() -> None:
    row = impact(("crm:5", "crm:6"))["distinct"]
    assert (row["consents_in_conflict"], row["consents_settled"], row["households"]) == ("", "sms", None)
    assert (row["spend_after"], row["buckets_after"]) == ("500.00, 500.00", "mid, mid")


def test_a_customer_who_never_bought_has_no_bucket() -> None:
    row = impact(("crm:4", "crm:7"))["match"]
    assert (row["buckets_before"], row["buckets_after"], row["bucket_changes"]) == ("low, -", "low", False)
    assert row["households"] == "different"


def test_what_people_bound_stays_bound() -> None:
    held = pl.DataFrame({"record_a": ["crm:3"], "record_b": ["crm:4"], "answer": ["cannot_link"]})
    row = impact(("crm:1", "crm:4"), constraints=held)["match"]
    assert row["effect"] == "regroup"
    assert (row["customers_after"], row["records_after"]) == ("ann, new", "3, 1")


def test_a_question_is_judged_by_itself_whatever_stands_beside_it() -> None:
    assert impact(("crm:1", "crm:3"), ("crm:1", "crm:4"), ("crm:5", "crm:6")) == impact(("crm:1", "crm:3"))


def test_what_was_not_handed_in_is_not_said() -> None:
    rows = what_answers_change(asked(("crm:1", "crm:4"), ("crm:1", "crm:99")), LINKS, EDGES, CUT)
    assert dict(rows.schema) == dict(IMPACT)
    assert rows["answer"].to_list() == ["match", "distinct"]
    for column in ("spend_after", "buckets_before", "bucket_changes", "consents_in_conflict", "households"):
        assert rows[column].null_count() == 2
    assert rows["sentence"][0] == "Match: ann (3 records) and bob (1 record) would become ann (4 records)."


def test_no_question_gives_no_row() -> None:
    rows = what_answers_change(asked(("crm:1", "crm:4")).clear(), LINKS, EDGES, CUT, ORDERS, BUCKETS, CONSENTS)
    assert rows.is_empty()
    assert dict(rows.schema) == dict(IMPACT)


@pytest.mark.parametrize("pair", [("crm:1", "crm:4"), ("crm:1", "crm:2"), ("crm:4", "crm:7"), ("crm:2", "crm:5")])
def test_records_and_spend_are_conserved(pair: tuple[str, str]) -> None:
    for row in impact(pair).values():
        for what in ("records", "spend"):
            before, after = (
                sum(Decimal(n) for n in str(row[f"{what}_{when}"]).split(", ")) for when in ("before", "after")
            )
            assert before == after


@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 1000))
def test_the_order_of_rows_changes_nothing(seed: int) -> None:
    queue = asked(("crm:1", "crm:4"), ("crm:1", "crm:3"), ("crm:5", "crm:6"))
    frames = [queue, LINKS, EDGES, ORDERS, BUCKETS, CONSENTS, HOUSEHOLDS]
    mixed = [frame.sample(fraction=1, shuffle=True, seed=seed) for frame in frames]
    one, two = (what_answers_change(*given[:3], CUT, *given[3:]) for given in (frames, mixed))
    assert one.equals(two)


def test_what_is_foretold_is_what_a_run_makes_of_the_answer() -> None:
    records, _ = population(60)
    model = train(records)
    found = resolve_all(records, model)
    queue = questions(found.edges, found.links, LABELS, model, size=6, audit=0, repeats=0)
    foretold = what_answers_change(queue, found.links, found.edges, model.cut).filter(pl.col("effect") != "none")
    assert set(foretold["answer"]) == {"match", "distinct"}
    # The questions share no customer, so one run can take all their answers.
    binding = {"match": "must_link", "distinct": "cannot_link"}
    said = foretold.select("record_a", "record_b", pl.col("answer").replace(binding))
    links = resolve_all(records, model, found.links, constraints=said).links
    both = links.select("record_id", then="customer_id").join(found.links, on="record_id")
    for row in foretold.iter_rows(named=True):
        concerned = both.filter(pl.col("customer_id").is_in(row["customers_before"].split(", ")))
        sizes = concerned.group_by("then").len()["len"].sort(descending=True)
        assert ", ".join(map(str, sizes)) == row["records_after"]
        assert concerned.filter(pl.col("then") != pl.col("customer_id")).height == row["records_moved"]
