from datetime import date, datetime

import polars as pl
import pytest

from cer_assets.identity import standardise
from cer_assets.identity.standardise import COLUMNS, MOST_SURNAMES

UPDATED = datetime(2017, 6, 1, 12)


def one(**fields: str | None) -> dict[str, object]:
    record = {"source": "crm", "source_id": "1", "updated_at": UPDATED} | fields
    return standardise(pl.DataFrame([record], infer_schema_length=None)).row(0, named=True)


def of_dates(*written: str, country: str = "US") -> list[date | None]:
    frame = pl.DataFrame(
        {"source": "crm", "source_id": [f"{i:02d}" for i in range(len(written))], "updated_at": UPDATED}
        | {"birth_date": list(written)}
    )
    return standardise(frame, country)["birth_date"].to_list()


def test_a_record_becomes_one_row_of_the_standard_columns_with_nulls_for_what_was_not_delivered() -> None:
    row = one(surname="Núñez")
    assert tuple(row) == COLUMNS
    assert row["record_id"] == "crm:1"
    assert row["surname"] == "nunez"
    assert row["email"] is None
    assert row["birth_date"] is None


def test_the_row_order_of_the_input_does_not_matter() -> None:
    frame = pl.DataFrame(
        {
            "source": ["web", "crm", "crm"],
            "source_id": ["1", "2", "1"],
            "updated_at": [UPDATED] * 3,
            "birth_date": ["13/04/1980", "04/05/1980", "13/05/1980"],
        }
    )
    assert standardise(frame).equals(standardise(frame.reverse()))


def test_a_record_that_occurs_twice_is_refused() -> None:
    frame = pl.DataFrame({"source": ["crm"] * 2, "source_id": ["1"] * 2, "updated_at": [UPDATED] * 2})
    with pytest.raises(ValueError, match="occur twice"):
        standardise(frame)


@pytest.mark.parametrize(
    ("written", "given", "surname"),
    [
        ("Mary Ann Smith", "mary ann", "smith"),
        ("SMITH, Mary Ann", "mary ann", "smith"),
        ("Dr. Maria de la Cruz", "maria", "de la cruz"),
        ("John Smith Jr.", "john", "smith jr"),
        ("Smith Jr, John", "john", "smith jr"),
        ("John Smith, Jr.", "john", "smith jr"),
        ("Cher", None, "cher"),
        ("Łukasz Øster-Straße", "lukasz", "oster-strasse"),
        ("unknown", None, None),
    ],
)
def test_a_full_name_is_split_where_it_is_all_there_is(written: str, given: str | None, surname: str | None) -> None:
    row = one(full_name=written)
    assert (row["given_name"], row["surname"]) == (given, surname)


def test_a_full_name_is_left_alone_where_its_parts_are_given() -> None:
    row = one(full_name="Wrong Name", given_name="Ann", surname="O'Brien")
    assert (row["given_name"], row["surname"]) == ("ann", "o'brien")


def test_jr_moves_behind_the_surname() -> None:
    assert one(given_name="John Jr", surname="Smith")["surname"] == "smith jr"


@pytest.mark.parametrize(
    ("written", "email"),
    [
        (" Ann.Lee+shop@GMail.com ", "annlee@gmail.com"),
        ("ann.lee@googlemail.com", "annlee@gmail.com"),
        ("Ann.Lee@web.de", "ann.lee@web.de"),
        ("test@test.com", None),
        ("none@none.com", None),
        ("noemail@gmail.com", None),
        ("not an address", None),
        ("a b@c", None),
    ],
)
def test_an_email_address_is_normalised_or_junk(written: str, email: str | None) -> None:
    assert one(email=written)["email"] == email


@pytest.mark.parametrize(
    ("written", "phone"),
    [
        ("(614) 439-2210", "+16144392210"),
        ("1-614-439-2210", "+16144392210"),
        ("614.439.2210", "+16144392210"),
        ("+44 20 7946 0958", "+442079460958"),
        ("0000000000", None),
        ("5555555555", None),
        ("1234567890", None),
        ("123", None),
        ("call me", None),
    ],
)
def test_a_phone_number_is_e164_or_junk(written: str, phone: str | None) -> None:
    assert one(phone=written)["phone"] == phone


def test_a_phone_number_is_read_as_its_records_country_writes_it() -> None:
    assert one(phone="020 7946 0958", country="United Kingdom")["phone"] == "+442079460958"


@pytest.mark.parametrize(
    "written",
    ["1980-04-03", "19800403", "03-Apr-1980", "April 3, 1980", "1980/4/3", "1980-04-03T00:00:00", "04/03/80"],
)
def test_a_birth_date_is_read_in_many_forms(written: str) -> None:
    assert of_dates(written) == [date(1980, 4, 3)]


@pytest.mark.parametrize("written", ["01/01/1900", "1900-01-01", "1970-01-01", "31/31/1980", "2031-01-01", "soon"])
def test_a_default_or_impossible_birth_date_is_null(written: str) -> None:
    assert of_dates(written) == [None]


def test_the_order_of_day_and_month_is_decided_by_the_sources_own_dates() -> None:
    assert of_dates("04.03.1980", "25.12.1975") == [date(1980, 3, 4), date(1975, 12, 25)]
    assert of_dates("04/03/1980", "12/25/1975") == [date(1980, 4, 3), date(1975, 12, 25)]


def test_where_no_date_settles_it_the_country_does() -> None:
    assert of_dates("04/03/1980") == [date(1980, 4, 3)]
    assert of_dates("04/03/1980", country="GB") == [date(1980, 3, 4)]


@pytest.mark.parametrize(
    ("written", "street"),
    [
        ("12 North Main Street, Apt. 4", "12 n main st apt 4"),
        ("12 N. Main St #4", "12 n main st apt 4"),
        ("12 N Main St Unit 4", "12 n main st apt 4"),
        ("P.O. Box 99", "po box 99"),
        ("PO BOX 99", "po box 99"),
        (" , ", None),
    ],
)
def test_a_street_has_one_spelling(written: str, street: str | None) -> None:
    assert one(street=written)["street"] == street


def test_american_postcodes_have_five_digits_again() -> None:
    assert one(postcode="02139-1234")["postcode"] == "02139"
    assert one(postcode="2139")["postcode"] == "02139"
    assert one(postcode="SW1A 1AA", country="uk")["postcode"] == "sw1a1aa"


def test_what_too_many_surnames_share_is_nobodys_own() -> None:
    def shared_by(surnames: int) -> pl.DataFrame:
        return standardise(
            pl.DataFrame(
                {
                    "source": "crm",
                    "source_id": [str(i) for i in range(surnames)],
                    "updated_at": UPDATED,
                    "surname": [f"{chr(97 + i)}son" for i in range(surnames)],
                    "email": "shop@retail.com",
                    "phone": "614 439 2210",
                }
            )
        )

    assert shared_by(MOST_SURNAMES)["email"].null_count() == 0
    too_many = shared_by(MOST_SURNAMES + 1)
    assert too_many["email"].null_count() == len(too_many)
    assert too_many["phone"].null_count() == len(too_many)
