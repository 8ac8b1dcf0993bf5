from datetime import date

import phonenumbers
import polars as pl
import pytest

from cer_assets.sample.errors import JUNK_EMAIL, JUNK_PHONE, RATES
from cer_assets.sample.records import SYSTEMS, in_force


@pytest.fixture(scope="module")
def people(population):
    return population.people


@pytest.fixture(scope="module")
def held(population):
    """What the systems hold at the end of the year."""
    return in_force(population.held, date(2017, 12, 31))


def test_every_household_has_one_or_two_adults(people):
    adults = people.filter(pl.col("slot") < 2).group_by("household").len()
    assert adults.height == 2_469
    assert set(adults["len"]) == {1, 2}


def test_adults_have_the_age_and_company_that_demographics_name(people, journey):
    known = people.join(journey.demographics.rename({"original": "household"}), on="household", how="inner")
    heads = known.filter(pl.col("slot") == 0, pl.col("age") == "35-44")
    assert heads["birth_date"].is_between(date(1972, 1, 1), date(1982, 1, 1)).all()
    alone = known.filter(pl.col("household_comp").str.starts_with("1 Adult"), pl.col("marital_status") != "Married")
    assert alone.filter(pl.col("slot") == 1).is_empty()
    married = known.filter(pl.col("marital_status") == "Married").group_by("household").agg(pl.col("slot").max())
    assert (married["slot"] >= 1).all()


def test_no_birthday_is_common(people):
    others = people.filter(pl.col("slot") < 3)
    assert others["birth_date"].value_counts()["count"].max() <= 5


def test_twins_share_a_birth_date_and_a_surname_but_no_given_name(people):
    pairs = people.filter(pl.col("slot") == 3).join(
        people.filter(pl.col("slot") == 2), on="household", suffix="_of_twin"
    )
    assert pairs.height > 10
    assert (pairs["birth_date"] == pairs["birth_date_of_twin"]).all()
    assert (pairs["surname"] == pairs["surname_of_twin"]).all()
    assert (pairs["given"] != pairs["given_of_twin"]).all()


def test_some_children_bear_a_parents_name_at_one_address(people):
    juniors = people.filter(pl.col("suffix") == "Jr").join(
        people.filter(pl.col("suffix") == "Sr"), on=["household", "given", "street"], suffix="_of_parent"
    )
    assert juniors.height > 10
    years = (juniors["birth_date"] - juniors["birth_date_of_parent"]).dt.total_days() / 365.25
    assert years.min() > 15.5


def test_names_are_as_unequal_as_in_life(people):
    surnames = people["surname"].value_counts(sort=True)["count"]
    assert surnames.len() > 1_000
    assert surnames[0] > 20
    assert people["given"].n_unique() > 300


def test_telephone_numbers_are_valid_and_belong_to_one_person_or_household(people):
    numbers = people["mobile"].head(300)
    assert all(phonenumbers.is_valid_number(phonenumbers.parse(n, "US")) for n in numbers)
    assert people["mobile"].n_unique() == people.height
    homes = people.filter(pl.col("landline").is_not_null()).group_by("landline").agg(pl.col("household").n_unique())
    assert (homes["household"] == 1).all()


def test_people_have_one_to_five_records_over_three_systems_and_some_two_in_one(population):
    per_person = population.payers.group_by("person").agg(pl.len(), pl.col("system").n_unique())
    assert set(per_person["len"]) == {1, 2, 3, 4, 5}
    assert (per_person["len"] > per_person["system"]).sum() > 100
    assert set(population.payers["system"]) == set(range(len(SYSTEMS)))
    assert population.payers["source_id"].n_unique() == population.payers.height


def test_numbers_of_records_do_not_tell_who_belongs_together(population):
    cards = population.payers.filter(pl.col("system") == 2).sort("source_id")
    neighbours = (cards["person"] == cards["person"].shift(1)).sum()
    assert neighbours < 10


@pytest.mark.parametrize("error", [*RATES, "former_surname", "former_address"])
def test_each_stated_error_is_planted(held, error):
    assert held[f"error_{error}"].sum() > 10


def test_errors_show_in_what_is_held(held, people):
    true = held.join(people, on="person", suffix="_true")
    assert set(true.filter("error_junk_email")["email"]) == {JUNK_EMAIL}
    assert set(true.filter("error_junk_phone", ~pl.col("error_no_phone"))["phone"]) <= {JUNK_PHONE}
    assert true.filter("error_no_birth_date")["birth_date"].null_count() == true["error_no_birth_date"].sum()
    plain = true.filter(~pl.any_horizontal(pl.col("^error_.*(name|typo|initial|case|accents).*$")))
    assert (plain["given_name"].str.replace(r" [A-Z]$", "") == plain["given"]).all()
    renamed = true.filter("error_former_surname", "error_upper_case")
    assert renamed.filter(pl.col("surname").str.contains(r"[a-z]")).is_empty()
    relatives = held.filter(pl.col("email").is_not_null(), pl.col("email") != JUNK_EMAIL)
    shared = relatives.group_by("email").agg(pl.col("person").n_unique()).filter(pl.col("person") > 1)
    assert shared.height > 20


def test_most_typos_are_one_edit_away(held, people):
    import duckdb

    typos = held.filter(
        "error_typo_surname",
        ~pl.col("error_swapped_names"),
        ~pl.col("error_former_surname"),
    ).join(people.select("person", "surname"), on="person", suffix="_true")
    pairs = typos.select(
        a=pl.col("surname")
        .str.normalize("NFKD")
        .str.replace_all(r"\p{M}", "")
        .str.to_lowercase()
        .str.replace(" [js]r$", ""),
        b=pl.col("surname_true").str.normalize("NFKD").str.replace_all(r"\p{M}", "").str.to_lowercase(),
    )
    assert pairs.height > 50
    with duckdb.connect() as connection:
        connection.register("pairs", pairs)
        most = connection.execute("select max(damerau_levenshtein(a, b)) from pairs").fetchall()
    assert most == [(1,)]


def test_a_record_knows_enough_to_be_recognised(held):
    known = held.select(
        pl.sum_horizontal(
            pl.col("street").is_not_null(),
            pl.col("birth_date").is_not_null() & ~pl.col("error_junk_birth_date"),
            pl.col("email").is_not_null() & ~pl.col("error_junk_email"),
            pl.col("phone").is_not_null() & ~pl.col("error_junk_phone"),
        )
    ).to_series()
    assert known.min() >= 1
    assert (known >= 2).mean() > 0.9
