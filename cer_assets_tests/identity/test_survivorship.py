from datetime import date, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.identity.standardise import COLUMNS
from cer_assets.identity.survivorship import (
    GOLDEN_FIELDS,
    Survivorship,
    default_rules,
    golden_customers,
    golden_table,
    read_rules,
)
from cer_assets.lake import column_lineage

TYPES = dict.fromkeys(COLUMNS, pl.String) | {"updated_at": pl.Datetime("us"), "birth_date": pl.Date}
ADDRESS = {"columns": ["street", "city", "region", "postcode", "country"], "rules": ["most_recent"]}


def records_of(*rows: dict[str, Any]) -> pl.DataFrame:
    """Records of sources that their ids begin with."""
    return pl.DataFrame([{"source": row["record_id"].split(":")[0]} | row for row in rows], schema=TYPES)


def rules(**changed: Any) -> Survivorship:
    """Every field by the most recent record, but for what is named."""
    fields = {f: {"rules": ["most_recent"]} for f in ("given_name", "surname", "birth_date", "email", "phone")}
    return Survivorship.model_validate({"fields": fields | {"address": ADDRESS} | changed})


def person(records: pl.DataFrame, rules: Survivorship | None = None) -> dict[str, Any]:
    """The golden record of one person whom all of the records belong to."""
    links = records.select("record_id", customer_id=pl.lit("p"))
    return golden_customers(records, links, rules).row(0, named=True)


def chosen(golden: dict[str, Any], field: str) -> tuple[Any, Any, Any]:
    return golden[field], golden[f"{field}_record"], golden[f"{field}_rule"]


EMAILS = records_of(
    {"record_id": "crm:1", "updated_at": datetime(2015, 1, 1), "email": "a@x.com"},
    {"record_id": "loy:1", "updated_at": datetime(2016, 1, 1), "email": "b@long.com"},
    {"record_id": "loy:2", "updated_at": datetime(2014, 1, 1), "email": "b@long.com"},
    {"record_id": "web:1", "updated_at": datetime(2017, 1, 1), "email": "c@x.com"},
    {"record_id": "web:2", "updated_at": datetime(2018, 1, 1)},
    {"record_id": "web:3", "updated_at": None, "email": "d@x.com"},
)


@pytest.mark.parametrize(
    ("rule", "value", "record"),
    [
        ("most_recent", "c@x.com", "web:1"),
        ("most_frequent", "b@long.com", "loy:1"),
        ("most_trusted", "a@x.com", "crm:1"),
        ("longest_valid", "b@long.com", "loy:1"),
        ("longest", "b@long.com", "loy:1"),
    ],
)
def test_a_rule_chooses_a_value_and_names_the_record_and_itself(rule: str, value: str, record: str) -> None:
    by_rule = rules(email={"rules": [rule], "trusted": ["crm", "loy"]})
    assert chosen(person(EMAILS, by_rule), "email") == (value, record, rule)


def test_a_later_rule_decides_only_what_the_earlier_ones_leave_open() -> None:
    by_source = rules(email={"rules": ["most_trusted", "most_recent"], "trusted": ["web"]})
    assert chosen(person(EMAILS, by_source), "email") == ("c@x.com", "web:1", "most_recent")


def test_records_that_hold_one_value_leave_no_rule_to_decide() -> None:
    golden = person(EMAILS.filter(pl.col("email") == "b@long.com"))
    assert chosen(golden, "email") == ("b@long.com", "loy:1", "only_value")


def test_what_every_rule_leaves_open_falls_to_the_smallest_record_id() -> None:
    undated = EMAILS.with_columns(updated_at=pl.lit(None, pl.Datetime("us")))
    assert chosen(person(undated, rules()), "email") == ("a@x.com", "crm:1", "record_id")


def test_a_field_that_no_record_holds_has_no_record_and_no_rule() -> None:
    assert chosen(person(EMAILS), "phone") == (None, None, None)


def test_an_address_comes_whole_from_one_record_and_a_fuller_one_goes_first() -> None:
    homes = records_of(
        {
            "record_id": "crm:1",
            "updated_at": datetime(2015, 1, 1),
            "street": "1 oak st",
            "city": "dayton",
            "postcode": "45001",
        },
        {
            "record_id": "loy:1",
            "updated_at": datetime(2016, 1, 1),
            "street": "2 elm st",
            "postcode": "45002",
            "country": "us",
        },
        {"record_id": "web:1", "updated_at": datetime(2017, 1, 1), "city": "toledo", "region": "oh"},
    )
    whole = person(homes)
    assert [chosen(whole, c) for c in ("street", "city", "postcode")] == [
        ("1 oak st", "crm:1", "most_complete"),
        ("dayton", "crm:1", "most_complete"),
        ("45001", "crm:1", "most_complete"),
    ]
    assert chosen(whole, "country") == chosen(whole, "region") == (None, None, None)
    newest = person(homes, rules())
    assert chosen(newest, "city") == ("toledo", "web:1", "most_recent")
    assert newest["street"] is None


def test_the_rules_in_force_prefer_what_most_records_say_and_the_newest_way_to_be_reached() -> None:
    golden = person(
        records_of(
            {
                "record_id": "crm:1",
                "updated_at": datetime(2016, 1, 1),
                "given_name": "j",
                "surname": "kellner",
                "birth_date": date(1980, 3, 4),
                "phone": "+16140000001",
            },
            {"record_id": "loy:1", "updated_at": datetime(2014, 1, 1), "given_name": "john", "surname": "keller"},
            {"record_id": "loy:2", "updated_at": datetime(2015, 1, 1), "surname": "keller"},
            {
                "record_id": "web:1",
                "updated_at": datetime(2017, 1, 1),
                "birth_date": date(1980, 4, 3),
                "phone": "+16140000002",
            },
        ),
    )
    assert chosen(golden, "given_name") == ("john", "loy:1", "longest")
    assert chosen(golden, "surname") == ("keller", "loy:2", "most_frequent")
    assert chosen(golden, "birth_date") == (date(1980, 3, 4), "crm:1", "most_trusted")
    assert chosen(golden, "phone") == ("+16140000002", "web:1", "most_recent")


def test_every_customer_is_one_row_with_value_record_and_rule_of_each_field() -> None:
    links = EMAILS.select("record_id", customer_id=pl.Series(["p", "q", "q", "p", "r", "p"]))
    golden = golden_customers(EMAILS, links)
    expected = [x for f in GOLDEN_FIELDS for x in (f, f"{f}_record", f"{f}_rule")]
    assert golden.columns == ["customer_id", "records", *expected]
    assert golden.select("customer_id", "records").rows() == [("p", 3), ("q", 2), ("r", 1)]


def test_no_records_are_no_customers() -> None:
    golden = golden_customers(EMAILS.clear(), EMAILS.clear().select("record_id", customer_id="record_id"))
    assert golden.is_empty()


@settings(max_examples=5, deadline=None)
@given(
    seed=st.integers(0, 10_000), names=st.lists(st.sampled_from(["ann", "anna", "an", None]), min_size=6, max_size=6)
)
def test_the_order_of_records_changes_nothing_and_every_value_is_one_that_its_record_holds(
    seed: int, names: list[str | None]
) -> None:
    records = EMAILS.with_columns(given_name=pl.Series(names, dtype=pl.String))
    links = records.select("record_id", customer_id=pl.Series(list("ppqpqq")))
    golden = golden_customers(records, links)
    shuffled = records.sample(fraction=1, shuffle=True, seed=seed)
    assert golden_customers(shuffled, links.reverse()).equals(golden)
    for field in ("given_name", "email"):
        told = golden.drop_nulls(field).join(records, left_on=f"{field}_record", right_on="record_id", suffix="_held")
        assert told[field].to_list() == told[f"{field}_held"].to_list()
        assert golden[f"{field}_rule"].is_null().to_list() == golden[field].is_null().to_list()


def test_the_table_says_what_it_reads_and_where_its_columns_come_from() -> None:
    table = golden_table()
    columns = ["birth_date", "city", "records"]
    schemas = {
        "identity.records": dict.fromkeys(COLUMNS, "VARCHAR") | {"updated_at": "TIMESTAMP", "birth_date": "DATE"},
        "identity.links": {"record_id": "VARCHAR", "customer_id": "VARCHAR", "confidence": "DOUBLE"},
    }
    origins = {c: set(pairs) for c, pairs in column_lineage(table, columns, schemas).items()}
    assert table.reads == ("identity.links", "identity.records")
    assert (
        list(table.front.columns)
        == golden_customers(EMAILS.clear(), EMAILS.clear().select("record_id", customer_id="record_id")).columns
    )
    assert {("identity.records", c) for c in ("birth_date", "source", "updated_at")} <= origins["birth_date"]
    assert ("identity.records", "email") not in origins["birth_date"]
    assert {("identity.records", c) for c in ("city", "street", "postcode")} <= origins["city"]
    assert golden_table().code == table.code != golden_table(rules()).code


def test_a_source_of_any_name_is_only_ever_a_value() -> None:
    odd = "it's; drop table records --"
    records = EMAILS.with_columns(source=pl.when(pl.col("record_id") == "web:1").then(pl.lit(odd)).otherwise("source"))
    golden = person(records, rules(email={"rules": ["most_trusted"], "trusted": [odd]}))
    assert golden["email_record"] == "web:1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fields: {surname: {rules: [newest]}}", "fields.surname.rules.0"),
        ("fields: {surname: {rules: []}}", "fields.surname.rules"),
        ("fields: {surname: {rule: [most_recent]}}", "fields.surname.rule"),
        ("fields: {surname: [most_recent]}", "fields.surname"),
        ("fields: {'no name': {rules: [most_recent]}}", "no name"),
        ("fields: {title: {rules: [most_recent]}}", "fields.title: 'title' is no column"),
        ("fields: {surname: {rules: [most_recent]}}", "'email' has no rule"),
        ("fields: {surname: {rules: [most_trusted]}}", "fields.surname.rules: most_trusted needs"),
        ("fields: {surname: {rules: [longest, longest]}}", "fields.surname.rules: a rule stands twice"),
        ("fields: {a: {columns: [city], rules: [longest]}, city: {rules: [longest]}}", "fields.a and fields.city"),
        ("fields: {a: {columns: [city], core: [street], rules: [longest]}}", "fields.a.core"),
        ("fields: [", "not YAML"),
        ("nothing", "survivorship"),
    ],
)
def test_a_configuration_that_cannot_hold_is_refused_by_the_name_of_its_field(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_rules(text)


def test_the_rules_in_force_are_whole() -> None:
    in_force = default_rules()
    assert sorted(c for r in in_force.fields.values() for c in r.columns) == sorted(GOLDEN_FIELDS)
    assert in_force.fields["address"].columns[0] == "street"
