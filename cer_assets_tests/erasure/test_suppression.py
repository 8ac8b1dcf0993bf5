import hashlib
import hmac

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.erasure import Keyed, NoKey, Suppression, key_mark, values_of
from cer_assets.erasure.suppression import CUSTOMER, RECORD, VISITOR

KEY = "a key that nobody else knows, of 40 signs"


def suppressing(*records: str, key: str = KEY, visitors: tuple[str, ...] = ()) -> Suppression:
    """A list of some records, each under a request of its own name."""
    keyed = Keyed.with_key(key)
    ids, seen = pl.Series(records, dtype=pl.String), pl.Series(visitors, dtype=pl.String)
    listed = pl.concat(
        [
            key_mark(keyed),
            keyed.listed(RECORD, ids, ids, ids.str.extract("^([^:]*):")),
            keyed.listed(VISITOR, pl.repeat("request", len(seen), dtype=pl.String, eager=True), seen),
        ]
    )
    return Suppression.of(listed, key)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=30)))
def test_hashes_are_hmac_sha256_of_the_record_as_it_stands(ids: list[str]) -> None:
    hashed = Keyed.with_key(KEY).hashes(RECORD, pl.Series(ids, dtype=pl.String))
    assert hashed.to_list() == [hmac.new(KEY.encode(), i.encode(), hashlib.sha256).hexdigest() for i in ids]


def test_a_record_a_customer_and_a_visitor_of_one_name_are_told_apart() -> None:
    keyed, one = Keyed.with_key(KEY), pl.Series(["same"])
    assert len({keyed.hashes(kind, one)[0] for kind in (RECORD, CUSTOMER, VISITOR)}) == 3


def test_nobody_is_suppressed_without_a_list_and_no_key_is_asked_for() -> None:
    rows = pl.DataFrame({"source": ["crm"], "source_id": ["1"]})
    assert Suppression.of(Suppression.nobody().listed, None).of_rows(rows).to_list() == [None]


@pytest.mark.parametrize("key", [None, "", "too short", KEY + "!"])
def test_a_list_is_not_read_without_the_key_it_was_made_with(key: str | None) -> None:
    with pytest.raises(NoKey, match="CER_SUPPRESSION_KEY"):
        Suppression.of(suppressing("crm:1").listed, key)


def test_rows_are_told_by_record_by_either_record_of_a_pair_and_by_visitor_where_no_record_is_named() -> None:
    of = suppressing("crm:1", "web:ü 2", visitors=("v1",))
    people = pl.DataFrame({"source": ["crm", "crm", "web", None], "source_id": ["1", "2", "ü 2", None]})
    pairs = pl.DataFrame({"record_a": ["crm:1", "crm:5", "crm:5"], "record_b": ["crm:5", "crm:1", "crm:6"]})
    events = pl.DataFrame(
        {"source": [None, "crm", None], "source_id": [None, "7", None], "anonymous_id": ["v1", "v1", "v2"]}
    )
    assert of.of_rows(people).to_list() == ["crm:1", None, "web:ü 2", None]
    assert of.of_rows(pairs).to_list() == ["crm:1", "crm:1", None]
    assert of.of_rows(events).to_list() == ["request", None, None]


def test_a_delivered_row_is_told_by_a_word_or_a_quoted_value_of_it() -> None:
    of = suppressing("crm:C1", "web:a b")
    texts = [
        '{"CUSTNO":"C1","LASTNAME":"x"}',
        '{"line":"\\"C1;Doe"}',
        '{"user_id":"a b"}',
        '{"fields":["C10","C11"]}',
        '{"record_a":"crm:C1","record_b":"crm:C2"}',
        None,
    ]
    found = of.of_texts(pl.Series(texts, dtype=pl.String))
    assert found.to_list() == ["crm:C1", "crm:C1", "web:a b", None, "crm:C1", None]


def test_while_it_is_under_way_a_row_without_an_id_is_told_by_mail_phone_or_two_words_of_the_name() -> None:
    keyed = Keyed.with_key(KEY)
    person = pl.DataFrame(
        {
            "request": "r",
            "surname": ["Müller"],
            "full_name": ["Eva Maria"],
            "email": ["Eva@x.de"],
            "phone": ["0301234567"],
        }
    )
    of = suppressing("crm:1").with_more(values_of(keyed, person))
    texts = [
        '{"mail":"EVA@X.DE"}',
        '{"phone":"+49 (30) 123-4567"}',
        '{"n":"MULLER, Eva"}',
        '{"n":"Eva Schmidt"}',
        '{"mail":"heva@x.de","phone":"0309999999"}',
    ]
    assert of.of_texts(pl.Series(texts)).to_list() == ["r", "r", "r", None, None]
