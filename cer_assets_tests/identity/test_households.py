from datetime import datetime
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.identity.households import BLOCK_CAP, CONTACT_CAP, CUT, EVIDENCE, households
from cer_assets_tests.identity.test_survivorship import records_of


class Town:
    """Records of customers, each customer's first at a day and every further one later."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.owners: list[str] = []

    def add(self, customer: str, street: str | None = None, postcode: str | None = "45001", **held: Any) -> None:
        """One more record of a customer."""
        day = datetime(2017, 1, 1 + self.owners.count(customer))
        place = postcode if street else None
        row = {"record_id": f"web:{len(self.rows):05d}", "updated_at": day, "street": street, "postcode": place}
        self.rows.append(row | held)
        self.owners.append(customer)

    def frames(self) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """Golden customers (of each field the last value that was told), records, links."""
        records = records_of(*self.rows)
        links = records.select("record_id", customer_id=pl.Series(self.owners))
        told = links.join(records, on="record_id").sort("updated_at", "record_id")
        last = pl.col("surname", "street", "city", "postcode").drop_nulls().last()
        return told.group_by("customer_id").agg(last), records, links

    def households(self, known: pl.DataFrame | None = None) -> pl.DataFrame:
        """Who lives with whom."""
        return households(*self.frames(), known=known)


@pytest.fixture
def town() -> Town:
    return Town()


def together(found: pl.DataFrame) -> list[list[str]]:
    """The customers of each household."""
    return sorted(found.group_by("household_id").agg(pl.col("customer_id").sort())["customer_id"].to_list())


def reasons(found: pl.DataFrame) -> dict[str, str]:
    return dict(found.select("customer_id", "why").iter_rows())


def test_a_door_makes_a_household_whatever_the_surnames(town: Town) -> None:
    town.add("ann", "12 oak st apt 3", surname="abbott")
    town.add("bob", "12 oak st apt 3", surname="keller")
    town.add("cid", "14 oak st", surname="abbott")
    found = town.households()
    assert together(found) == [["ann", "bob"], ["cid"]]
    assert reasons(found) == {"ann": "address", "bob": "address", "cid": "alone"}
    assert dict(found.select("customer_id", "customers").iter_rows()) == {"ann": 2, "bob": 2, "cid": 1}


def test_two_units_of_one_building_are_two_homes_even_of_one_name(town: Town) -> None:
    town.add("ann", "12 oak st apt 3", surname="abbott")
    town.add("bob", "12 oak st apt 4", surname="abbott")
    assert together(town.households()) == [["ann"], ["bob"]]


def test_who_left_out_the_unit_is_let_in_by_a_surname_but_not_by_the_building(town: Town) -> None:
    town.add("ann", "12 oak st apt 3", surname="abbott")
    town.add("bob", "12 oak st", surname="abbott")
    town.add("cid", "12 oak st", surname="keller")
    found = town.households()
    assert together(found) == [["ann", "bob"], ["cid"]]
    assert reasons(found)["bob"] == "address and surname"


def test_the_unit_that_another_record_of_a_customer_names_counts(town: Town) -> None:
    town.add("ann", "12 oak st apt 3", surname="abbott")
    town.add("bob", "12 oak st apt 3", surname="keller")
    town.add("bob", "12 oak st", surname="keller")
    assert together(town.households()) == [["ann", "bob"]]


def test_people_live_where_they_moved_to(town: Town) -> None:
    town.add("ann", "12 oak st", surname="abbott")
    town.add("bob", "12 oak st", surname="abbott")
    town.add("bob", "7 elm st", "45002", surname="abbott")
    assert together(town.households()) == [["ann"], ["bob"]]


def test_a_common_number_and_surname_hold_a_household_of_which_one_system_missed_the_move(town: Town) -> None:
    town.add("ann", "12 oak st", surname="abbott", phone="+16140000001")
    town.add("bob", "7 elm st", "45002", surname="abbott", phone="+16140000001")
    town.add("cid", "9 elm st", "45002", surname="keller", phone="+16140000001")
    found = town.households()
    assert together(found) == [["ann", "bob"], ["cid"]]
    assert reasons(found)["ann"] == "contact and surname"


def test_a_customer_without_a_home_is_found_by_phone_or_e_mail(town: Town) -> None:
    town.add("ann", "12 oak st", surname="abbott", email="family@x.com")
    town.add("bob", surname="keller", email="family@x.com")
    assert reasons(town.households()) == {"ann": "contact", "bob": "contact"}


@pytest.mark.parametrize(
    ("other", "is_one"), [("12 maplle ave", True), ("12 staple ave", False), ("12 maple st", False)]
)
def test_a_slip_of_a_letter_is_the_same_road_and_another_road_is_not(town: Town, other: str, is_one: bool) -> None:
    town.add("ann", "12 maple ave", surname="abbott")
    town.add("bob", other, surname="keller")
    assert (len(together(town.households())) == 1) == is_one


def test_an_address_under_many_surnames_joins_only_who_have_more_in_common(town: Town) -> None:
    surnames = ["abbott", "bennett", "castillo", "dawson", "ellis", "fischer"]
    for number, surname in enumerate(surnames):
        town.add(f"c{number}", "1 main st", surname=surname)
    town.add("c6", "1 main st", surname="abbott")
    assert [home for home in together(town.households()) if len(home) > 1] == [["c0", "c6"]]


def test_neither_a_default_address_nor_a_hot_line_glues_a_crowd(town: Town) -> None:
    for number in range(BLOCK_CAP + 2):
        town.add(f"c{number:02d}", "1 main st", surname="smith")
    for number in range(CONTACT_CAP + 1):
        town.add(f"d{number}", surname="smith", phone="+18005550000")
    assert set(reasons(town.households()).values()) == {"alone"}


def test_a_chain_is_cut_where_its_ends_have_nothing_in_common(town: Town) -> None:
    town.add("ann", "12 oak st", surname="abbott", phone="+16140000001")
    town.add("bob", "7 elm st", "45002", surname="abbott", phone="+16140000001")
    town.add("cid", "7 elm st", "45002", surname="keller")
    town.add("dan", "9 elm st", "45003", surname="keller", email="k@x.com")
    town.add("eve", "7 elm st", "45002", surname="keller", email="k@x.com")
    assert together(town.households()) == [["ann"], ["bob", "cid", "eve"], ["dan"]]


def test_ids_stay_with_the_larger_part_when_customers_come_move_and_merge(town: Town) -> None:
    for name in ("ann", "bob", "cid"):
        town.add(name, "12 oak st", surname="abbott")
    town.add("dan", "9 elm st", surname="keller")
    before = town.households()
    town.add("cid", "3 ash st", "45009", surname="abbott")
    town.add("eve", "9 elm st", surname="keller")
    after = dict(town.households(known=before).select("customer_id", "household_id").iter_rows())
    was = dict(before.select("customer_id", "household_id").iter_rows())
    assert (after["ann"], after["bob"]) == (was["ann"], was["bob"])
    assert after["cid"] not in was.values()
    assert after["dan"] == after["eve"] == was["dan"]


def test_no_customers_are_no_households(town: Town) -> None:
    town.add("ann", "12 oak st")
    golden, records, links = town.frames()
    none = households(golden.clear(), records, links.clear())
    assert none.columns == ["household_id", "customer_id", "customers", "why"]
    assert none.is_empty()


def test_a_chance_neighbour_is_no_household_and_what_is_makes_one_alone() -> None:
    weak = [why for why, weight in EVIDENCE.items() if weight < CUT]
    assert weak == ["perhaps neighbours"]
    assert list(EVIDENCE.values()) == sorted(EVIDENCE.values(), reverse=True)


PEOPLE = st.lists(
    st.tuples(
        st.sampled_from(["1 oak st", "1 oak st apt 2", "1 oak st apt 3", "2 elm ave", None]),
        st.sampled_from(["abbott", "keller", "moreno", None]),
        st.sampled_from(["+16140000001", "+16140000002", None]),
    ),
    min_size=2,
    max_size=14,
)


@settings(max_examples=5, deadline=None)
@given(people=PEOPLE, seed=st.integers(0, 1000))
def test_order_and_threads_change_nothing_and_a_second_run_keeps_every_id(people: list[Any], seed: int) -> None:
    town = Town()
    for number, (street, surname, phone) in enumerate(people):
        town.add(f"c{number:02d}", street, surname=surname, phone=phone)
    golden, records, links = town.frames()
    found = households(golden, records, links)
    assert sorted(found["customer_id"]) == sorted(golden["customer_id"])
    with duckdb.connect(config={"threads": 1}) as con:
        mixed = [frame.sample(fraction=1, shuffle=True, seed=seed) for frame in (golden, records, links)]
        assert households(mixed[0], mixed[1], mixed[2], connection=con).equals(found)
        assert households(golden, records, links, known=found, connection=con).equals(found)
