from collections.abc import Mapping
from datetime import date, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.identity.compare import Compared, compare, comparisons
from cer_assets.identity.fields import CUSTOMER_FIELDS, EXACT, KINDS, MISSING, Kind, MatchField
from cer_assets.identity.prepare import prepared
from cer_assets_tests.identity.people import population


def levels(fields: tuple[MatchField, ...], one: Mapping[str, object], other: Mapping[str, object]) -> dict[str, str]:
    """The level of every comparison of two records."""
    columns = {f.column: [one.get(f.column), other.get(f.column)] for f in fields}
    records = pl.DataFrame({"record_id": ["a", "b"]} | columns)
    with prepared(records, fields) as ready:
        compared = compare(ready, pl.DataFrame({"first": [0], "second": [1]}))
    return {c.name: c.labels[compared.levels[0, number]] for number, c in enumerate(comparisons(fields))}


@pytest.mark.parametrize(
    ("kind", "one", "other", "level"),
    [
        ("name", "Núñez", "nunez", "exact"),
        ("name", "O'Brien", "OBrien", "exact"),
        ("name", "bob", "robert", "diminutive"),
        ("name", "jack", "johnny", "diminutive"),
        ("name", "j", "john", "initial"),
        ("name", "mary", "mary ann", "part"),
        ("name", "smith-jones", "smith", "part"),
        ("name", "smith-jones", "jones-taylor", "shared word"),
        ("name", "zhang wei", "Wei Zhang", "same words"),
        ("name", "van der Berg", "Vanderberg", "same words"),
        ("name", "bob smith", "robert smith", "diminutive"),
        ("name", "bob smith", "robert jones", "different"),
        ("name", "r kumar", "kumar rajesh", "initial"),
        ("name", "jonahtan smith", "jonathan smith", "near"),
        ("name", "john smith", "mary smith", "shared word"),
        ("name", "Groß", "GROSS", "exact"),
        ("name", "Søren Łukasz", "soren lukasz", "exact"),
        ("name", "ΓΙΏΡΓΟΣ", "Γιώργος", "exact"),
        ("name", "Наталия", "Наталья", "near"),
        ("name", "Иванов", "Петров", "different"),
        ("name", "Иванов", "ivanov", "exact"),
        ("name", "山田花子", "山田花子", "exact"),
        ("name", "山田花子", "佐藤一郎", "different"),
        ("name", "mary j", "peter j", "different"),
        ("name", "bob j", "robert", "diminutive"),
        ("name", "jonathon", "jonathan", "near"),
        ("name", "sarha", "sarah", "near"),
        ("name", "alexandra", "alexis", "similar"),
        ("name", "anna", "peter", "different"),
        ("name", None, "peter", "missing"),
        ("date", "1980-04-03", "19800403", "exact"),
        ("date", "03/04/1980", "1980-04-03", "exact"),
        ("date", "04/25/1980", "1980-04-25", "exact"),
        ("date", "3 Apr 1980", "1980-04-03", "exact"),
        ("date", "April 3, 1980", "1980-04-03", "exact"),
        ("date", "1980/4/3", "1980-04-03", "exact"),
        ("date", "1980-04-03T00:00:00", "3.4.1980", "exact"),
        ("date", "1980", "1980-04-03", "as far as known"),
        ("date", "1980-04-03", "1980-03-04", "day and month swapped"),
        ("date", "1980-04-03", "1980-04-08", "one digit"),
        ("date", "1980-04-03", "1980-04-21", "two parts of three"),
        ("date", "1980-04-03", "1980-11-21", "year"),
        ("date", "1980-04-03", "1957-11-21", "different"),
        ("email", "Ann.Lee@mail.com", "ann.lee@mail.com", "exact"),
        ("email", "ann.lee@mail.com", "ann.lee@post.org", "same user elsewhere"),
        ("email", "ann.lee@mail.com", "ann.le@mail.com", "near"),
        ("email", "ann.lee1980@mail.com", "ann.lee@post.org", "similar user"),
        ("email", "ann.lee@mail.com", "boss@mail.com", "different"),
        ("phone", "+1 (614) 439-2210", "16144392210", "exact"),
        ("phone", "6144392210", "+16144392210", "last seven"),
        ("phone", "06144392210", "6144392210", "exact"),
        ("phone", "0049 171 4392210", "+49 171 4392210", "exact"),
        ("phone", "+16144392210", "+16144392201", "one digit"),
        ("phone", "+16144392210", "+19377650038", "different"),
        ("postcode", "SW1A 1AA", "sw1a1aa", "exact"),
        ("postcode", "01234", "1234", "exact"),
        ("postcode", "43210", "43215", "one character"),
        ("postcode", "43210", "43299", "start"),
        ("postcode", "43210", "90001", "different"),
        ("code", "AB-1234", "ab1234", "exact"),
        ("code", "ab1234", "ab1243", "one character"),
        ("code", "ab1234", "zz9999", "different"),
        ("address", "12 Oak St, Apt 4", "12 oak st apt 4", "exact"),
        ("address", "12 oak st apt 4", "12 oak st", "near"),
        ("address", "12 oak st", "14 oak st", "similar"),
        ("address", "12 oak st", "9 maple ave", "different"),
        ("address", "Hauptstraße 12", "Hauptstr. 12", "near"),
        ("address", "C/ Mayor, 12", "12 Calle Mayor", "same number and road"),
        ("address", "12 rue de la Paix", "14 rue Pasteur", "different"),
        ("text", "Saint-Denis", "saint denis", "exact"),
        ("text", "columbus", "columbvs", "near"),
        ("text", "north columbus", "columbus", "most words"),
        ("text", "the upper north columbus", "columbus east", "shared word"),
        ("text", "columbus", "dayton", "different"),
        ("text", "prefers calls in the evening", "calls in the evening only", "most words"),
        ("category", "Male", "male", "exact"),
        ("category", "male", "female", "different"),
    ],
)
def test_two_values_agree_at_a_level(kind: Kind, one: str | None, other: str, level: str) -> None:
    field = (MatchField("field", kind),)
    assert levels(field, {"field": one}, {"field": other})["field"] == level
    assert levels(field, {"field": other}, {"field": one})["field"] == level


@pytest.mark.parametrize(
    ("kind", "junk"),
    [
        ("name", "UNKNOWN"),
        ("name", "n/a"),
        ("text", "none"),
        ("category", "N/A"),
        ("email", "test@test.com"),
        ("email", "n/a"),
        ("phone", "0000000000"),
        ("phone", "1234567890"),
        ("postcode", "00000"),
        ("code", "999999999"),
        ("date", "1900-01-01"),
        ("date", "9999-12-31"),
        ("date", "01/01/1900"),
    ],
)
def test_what_a_form_was_given_for_want_of_a_value_is_missing(kind: Kind, junk: str) -> None:
    field = (MatchField("field", kind),)
    assert levels(field, {"field": junk}, {"field": junk})["field"] == "missing"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([19800403, 19570921], pl.Int64),
        ([19800403.0, None], pl.Float64),
        ([date(1980, 4, 3), date(1957, 11, 21)], pl.Date),
        ([datetime(1980, 4, 3, 12), None], pl.Datetime("us")),
        ([True, False], pl.Boolean),
        (["west", "east"], pl.Categorical),
        ([None, None], pl.Null),
        (["", " "], pl.String),
        (["\u2019", "日本 👍"], pl.String),
    ],
)
def test_a_column_of_any_type_is_compared(kind: Kind, values: list[object], dtype: pl.DataType) -> None:
    records = pl.DataFrame({"record_id": ["a", "b"], "field": pl.Series(values, dtype=dtype)})
    with prepared(records, [MatchField("field", kind)]) as ready:
        compared = compare(ready, pl.DataFrame({"first": [0], "second": [1]}))
    assert len(compared) == 1


@pytest.mark.parametrize("values", [[[1], [2]], [{"x": 1}, {"x": 2}], [b"x", b"y"]])
def test_a_column_without_one_value_per_record_is_refused_by_name(values: list[object]) -> None:
    records = pl.DataFrame({"record_id": ["a", "b"], "odd": values})
    with pytest.raises(ValueError, match="column 'odd' is"), prepared(records, [MatchField("odd", "text")]):
        pass


TEXTS = st.one_of(st.text(st.characters(categories=["L", "N", "Zs"]), max_size=12), st.text("ab12 ", max_size=9))


@given(st.lists(TEXTS, min_size=10, max_size=10))
@settings(max_examples=4, deadline=None)
def test_two_records_agree_in_either_order(texts: list[str]) -> None:
    fields = tuple(MatchField(kind, kind) for kind in KINDS)
    records = pl.DataFrame({"record_id": range(len(texts))} | dict.fromkeys(KINDS, texts))
    every = pl.DataFrame({"first": range(len(texts))})
    with prepared(records, fields) as ready:
        compared = compare(ready, every.join(every.rename({"first": "second"}), how="cross"))
    found = {tuple(pair): level for pair, level in zip(compared.pairs.tolist(), compared.levels.tolist(), strict=True)}
    assert all(level == found[b, a] for (a, b), level in found.items())
    # A record is the same as itself, or has nothing to compare.
    same = {MISSING, EXACT, "otherwise", "one home", "same"}
    labels = [c.labels for c in comparisons(fields)]
    for a in range(len(texts)):
        assert {labels[n][level] for n, level in enumerate(found[a, a])} <= same


def test_names_in_the_wrong_columns_are_recognised() -> None:
    found = levels(
        CUSTOMER_FIELDS,
        {"given_name": "smith", "surname": "peter"},
        {"given_name": "peter", "surname": "smiths"},
    )
    assert found["given_name"] == found["surname"] == "swapped"


def test_what_stands_behind_a_name_is_a_comparison_of_its_own() -> None:
    father, son = {"surname": "smith sr"}, {"surname": "smith jr"}
    found = levels(CUSTOMER_FIELDS, father, son)
    assert (found["surname"], found["generation"]) == ("exact", "different")
    assert levels(CUSTOMER_FIELDS, father, {"surname": "smith"})["generation"] == "one only"


def test_people_of_one_home_are_told_apart_by_name_and_birth_date() -> None:
    one = {"given_name": "anna", "surname": "smith", "birth_date": "1980-04-03", "phone": "+16144392210"}
    other = one | {"given_name": "peter", "birth_date": "1957-11-21"}
    assert levels(CUSTOMER_FIELDS, one, other)["household"] == "other name and birth date"
    assert levels(CUSTOMER_FIELDS, one, other | {"birth_date": None})["household"] == "other name"
    assert levels(CUSTOMER_FIELDS, one, other | {"given_name": "anna"})["household"] == "other birth date"
    assert levels(CUSTOMER_FIELDS, one, other | {"phone": None})["household"] == "otherwise"


def test_to_agree_on_a_rare_value_is_rarer() -> None:
    records = pl.DataFrame({"record_id": list("abcdefgh"), "surname": ["smith"] * 6 + ["quux"] * 2})
    with prepared(records, [MatchField("surname", "name")]) as ready:
        compared = compare(ready, pl.DataFrame({"first": [0, 6, 0], "second": [1, 7, 7]}))
    common, different, rare = compared.rarities[:, 0].tolist()
    assert rare > 0 > common
    assert different == 0


def test_a_column_may_have_any_name() -> None:
    field = (MatchField('na"me; drop table x --', "name"),)
    assert levels(field, {field[0].column: "ann"}, {field[0].column: "ann"})[field[0].column] == "exact"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_expected_of_one_persons_records_adds_up(kind: Kind) -> None:
    assert sum(level.expected for level in KINDS[kind].levels) == pytest.approx(1)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="not one of name, date"):
        MatchField("x", "nickname")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (pl.DataFrame({"record_id": ["a", "a"], "surname": ["x", "y"]}), "1 repeated"),
        (pl.DataFrame({"record_id": ["a", None], "surname": ["x", "y"]}), "1 null"),
        (pl.DataFrame({"record_id": ["a"]}), "surname missing"),
    ],
)
def test_unusable_records_are_refused(records: pl.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match=message), prepared(records, [MatchField("surname", "name")]):
        pass


def test_parts_of_compared_pairs_are_put_together_in_order() -> None:
    with prepared(population(20)[0], CUSTOMER_FIELDS) as ready:
        every = compare(ready, pl.DataFrame({"first": [0, 0, 1, 2], "second": [1, 2, 2, 3]}))
    one, other = every.take(np.array([1, 3])), every.take(np.array([0, 2]))
    joined = Compared.joined(one, other)
    assert joined.pairs.tolist() == every.pairs.tolist()
    assert joined.levels.tolist() == every.levels.tolist()
    assert one.without(every.pairs).tolist() == other.pairs.tolist()
    assert every.places(np.array([[1, 2], [7, 8]])).tolist() == [2]


def test_pairs_are_compared_alike_in_a_workspace_that_readies_records_as_asked() -> None:
    pairs = pl.DataFrame({"first": [0, 3], "second": [1, 9]})
    found: list[Compared] = []
    for complete in (True, False):
        with prepared(population(20)[0], CUSTOMER_FIELDS, complete=complete) as ready:
            found.append(compare(ready, pairs))
    assert found[0].levels.tolist() == found[1].levels.tolist()
    assert found[0].rarities.tolist() == found[1].rarities.tolist()
