import dataclasses
import itertools
from datetime import date

import duckdb
import numpy as np
import polars as pl
import pytest

from cer_assets.identity import CUSTOMER_FIELDS, MatchField, Model, resolve_all
from cer_assets.identity.guards import Bounds, Guarded, guard
from cer_assets.identity.learn import Weights
from cer_assets_tests.identity.conftest import Trained
from cer_assets_tests.identity.people import GIVEN, SURNAMES

GUARDS = ["shared_home", "junk_contact", "bridge", "size_cap", "customer_jump", "ids_changed"]
FIELDS = Model(CUSTOMER_FIELDS, (), Weights(0.0, (), np.zeros(0)), (), 0.45)
"""A model that says what the columns are, and no more: guards ask nothing else of one."""
NO_EDGES = pl.DataFrame(schema={"record_a": pl.String, "record_b": pl.String, "score": pl.Float64})


def failed(found: Guarded) -> set[str]:
    return set(found.figures.filter(~pl.col("passed"))["guard"])


def value(found: Guarded, name: str) -> float | None:
    return found.figures.filter(guard=name)["value"].item()


def people(count: int, records_each: int = 3, **shared: str) -> pl.DataFrame:
    """People, two of a surname each, whose records are alike; `shared` columns hold one value in all of them."""
    rows = [
        {
            "record_id": f"s:{person:03d}-{nth}",
            "person_id": f"p{person:03d}",
            "given_name": GIVEN[person % len(GIVEN)],
            "surname": SURNAMES[person // 2 % len(SURNAMES)],
            "birth_date": date(1950 + person % 50, 1 + person % 12, 1 + (5 * person) % 28),
            "email": f"user{person}@mail.com",
            "phone": f"+1614{3_000_000 + 7919 * person}",
            "street": f"{person} oak st",
            "city": "columbus",
            "postcode": "43101",
            **shared,
        }
        for person, nth in itertools.product(range(count), range(records_each))
    ]
    return pl.DataFrame(rows)


def links_by(records: pl.DataFrame, customer: pl.Expr | str = "person_id") -> pl.DataFrame:
    return records.select("record_id", customer_id=pl.col(customer) if isinstance(customer, str) else customer)


def all_pairs(links: pl.DataFrame, score: float = 0.99) -> pl.DataFrame:
    """Every pair inside a customer, with one score."""
    pairs = links.join(links, on="customer_id", suffix="_b").filter(pl.col("record_id") < pl.col("record_id_b"))
    return pairs.select(record_a="record_id", record_b="record_id_b", score=pl.lit(score))


TWO_TO_A_HOME = pl.format("home{}", pl.col("person_id").str.slice(1).cast(pl.Int64) // 2)
PEOPLE = people(40)
LINKS = links_by(PEOPLE)
EDGES = all_pairs(LINKS)


def test_people_told_apart_pass_every_guard() -> None:
    found = guard(PEOPLE, LINKS, EDGES, FIELDS, LINKS)
    assert found.figures["guard"].to_list() == GUARDS
    assert found.figures["passed"].all()
    assert found.figures["value"].to_list() == [0, 1, 0, 3, 0, 0]
    assert found.offenders.is_empty()


@pytest.mark.parametrize("column", ["phone", "email", "street"])
def test_people_of_one_home_under_one_customer_fail(column: str) -> None:
    homes = PEOPLE.with_columns(pl.col(column).first().over(TWO_TO_A_HOME))
    apart, merged = links_by(homes), links_by(homes, TWO_TO_A_HOME)
    assert failed(guard(homes, apart, all_pairs(apart), FIELDS)) == set()
    found = guard(homes, merged, all_pairs(merged), FIELDS)
    assert failed(found) == {"shared_home"}
    assert value(found, "shared_home") == 1.0
    one = links_by(homes, pl.when(pl.col("person_id") < "p002").then(TWO_TO_A_HOME).otherwise("person_id"))
    assert value(guard(homes, one, all_pairs(one), FIELDS), "shared_home") == round(1 / 39, 6)
    assert failed(guard(homes, one, all_pairs(one), FIELDS)) == set()
    assert found.offenders["customer_id"].is_in(merged["customer_id"].implode()).all()


def test_one_persons_changed_name_or_mistyped_date_is_no_merged_home() -> None:
    married = pl.when(pl.col("record_id").str.ends_with("-1")).then(pl.lit("tokarczyk")).otherwise("surname")
    nickname = pl.when(pl.col("record_id").str.ends_with("-2")).then(pl.lit("zz")).otherwise("given_name")
    mistyped = pl.when(pl.col("record_id").str.ends_with("-0")).then(pl.col("birth_date").dt.offset_by("40y"))
    for change in (
        {"surname": married},
        {"given_name": nickname},
        {"birth_date": mistyped.otherwise("birth_date")},
        {"given_name": pl.col("surname"), "surname": pl.col("given_name")},
        {"birth_date": pl.lit(None, pl.Date), "surname": married},
    ):
        records = PEOPLE.with_columns(**change)
        assert value(guard(records, LINKS, EDGES, FIELDS), "shared_home") == 0


def test_a_default_address_that_glued_people_fails_and_the_same_people_apart_pass() -> None:
    junk = people(12, 1, email="noreply@shop.example", phone=None)  # type: ignore[arg-type]
    records = pl.concat([PEOPLE, junk.with_columns(pl.format("junk:{}", "record_id").alias("record_id"))])
    glued = pl.when(pl.col("email") == "noreply@shop.example").then(pl.lit("glue")).otherwise("person_id")
    merged = links_by(records, glued)
    found = guard(records, merged, all_pairs(merged), FIELDS)
    assert "junk_contact" in failed(found)
    assert value(found, "junk_contact") > 10  # type: ignore[operator]
    assert found.offenders.filter(guard="junk_contact").rows() == [
        ("junk_contact", "glue", value(found, "junk_contact"))
    ]
    apart = links_by(records, pl.coalesce(pl.when(glued == "glue").then("record_id"), "person_id"))
    assert failed(guard(records, apart, EDGES, FIELDS)) == set()


def test_one_persons_spellings_on_one_address_are_no_junk() -> None:
    spellings = [("william", "smith"), ("bill", "smith"), ("smith", "william"), ("william", "jones"), ("bil", "jones")]
    records = pl.DataFrame(
        [PEOPLE.row(0, named=True) | {"record_id": f"w:{i}", "given_name": g, "surname": s}
         for i, (g, s) in enumerate(spellings)]
    )  # fmt: skip
    links = links_by(records)
    assert failed(guard(records, links, all_pairs(links), FIELDS)) == set()


def test_two_strangers_held_by_a_third_fail_once_they_are_more_than_exceptions() -> None:
    def bridged(customers: int) -> Guarded:
        ends = pl.col("record_a").str.ends_with("-0") & pl.col("record_b").str.ends_with("-2")
        cut = pl.col("record_a").str.slice(2, 3).cast(pl.Int64) < customers
        return guard(PEOPLE, LINKS, EDGES.filter(~(ends & cut)), FIELDS)

    # One of three pairs; of forty customers two standard errors grant as much again as the bound.
    assert failed(bridged(14)) == set()
    found = bridged(15)
    assert failed(found) == {"bridge"}
    assert value(found, "bridge") == 0.125
    assert found.offenders["customer_id"].to_list() == [f"p{n:03d}" for n in range(5)]


def test_records_that_no_third_ties_together_are_no_bridge() -> None:
    # What only a must_link put together has no edges at all.
    assert value(guard(PEOPLE, LINKS, NO_EDGES, FIELDS), "bridge") == 0


@pytest.mark.parametrize(("records", "passes"), [(40, True), (41, False)])
def test_a_customer_over_the_cap_fails(records: int, passes: bool) -> None:
    crowd = people(1, records)
    links = links_by(crowd)
    found = guard(crowd, links, all_pairs(links), FIELDS)
    assert failed(found) == (set() if passes else {"size_cap"})
    assert found.offenders.rows() == ([] if passes else [("size_cap", "p000", records)])


def test_customers_who_vanish_without_new_records_are_a_jump_once_they_are_more_than_exceptions() -> None:
    def merged(below: str) -> Guarded:
        links = links_by(PEOPLE, pl.when(pl.col("person_id") < below).then(TWO_TO_A_HOME).otherwise("person_id"))
        return guard(PEOPLE, links, all_pairs(links), FIELDS, LINKS)

    assert value(merged("p010"), "customer_jump") == 0.125
    # Of forty customers two standard errors grant nearly as much again as the bound.
    assert "customer_jump" not in failed(merged("p014"))
    assert "customer_jump" in failed(merged("p016"))
    split = links_by(PEOPLE, pl.when(pl.col("person_id") < "p010").then("record_id").otherwise("person_id"))
    assert value(guard(PEOPLE, split, EDGES, FIELDS, LINKS), "customer_jump") == 0.5


def test_new_and_changed_records_explain_a_change_in_number() -> None:
    known = LINKS.filter(pl.col("customer_id") < "p020")
    assert value(guard(PEOPLE, LINKS, EDGES, FIELDS, known), "customer_jump") == 0
    split = LINKS.with_columns(
        customer_id=pl.when(pl.col("customer_id") < "p010").then("record_id").otherwise("customer_id")
    )
    before = LINKS.with_columns(fingerprint=pl.lit("old"))
    changed = split.with_columns(fingerprint=pl.when(pl.col("customer_id").is_in(LINKS["customer_id"].implode()))
        .then(pl.lit("old")).otherwise(pl.lit("new")))  # fmt: skip
    assert failed(guard(PEOPLE, changed, EDGES, FIELDS, before)) == set()
    # A new model changes every fingerprint, which explains nothing.
    trained_anew = split.with_columns(fingerprint=pl.lit("new"))
    assert failed(guard(PEOPLE, trained_anew, EDGES, FIELDS, before)) == {"customer_jump", "ids_changed"}


def test_new_records_explain_no_more_customers_among_the_records_known() -> None:
    known = LINKS.filter(pl.col("customer_id") < "p020")
    split = links_by(PEOPLE, pl.when(pl.col("person_id") < "p010").then("record_id").otherwise("person_id"))
    assert value(guard(PEOPLE, split, EDGES, FIELDS, known), "customer_jump") == 1.0


@pytest.mark.parametrize("stays", [pl.col("record_id") < "s:020", pl.col("record_id").str.ends_with("-0")])
def test_withdrawn_records_are_under_no_other_id_and_no_jump(stays: pl.Expr) -> None:
    records, links = PEOPLE.filter(stays), LINKS.filter(stays)
    found = guard(records, links, NO_EDGES, FIELDS, LINKS)
    assert failed(found) == set()
    assert found.figures.tail(2)["value"].to_list() == [0, 0]
    one_of_five = guard(PEOPLE.head(4), LINKS.head(4), NO_EDGES, FIELDS, LINKS.head(5))
    assert one_of_five.figures.tail(2)["value"].to_list() == [0, 0]


def test_a_withdrawn_record_explains_that_its_customer_comes_apart() -> None:
    middle = pl.col("record_id").str.ends_with("-1")
    records = PEOPLE.filter(~middle)
    apart = records.select("record_id", customer_id=pl.when(pl.col("record_id").str.ends_with("-2"))
        .then("record_id").otherwise("person_id"))  # fmt: skip
    assert failed(guard(records, apart, NO_EDGES, FIELDS, LINKS)) == set()


def test_a_record_that_stays_but_has_no_customer_any_more_lost_its_id() -> None:
    half = LINKS.filter(pl.col("customer_id") < "p020")
    found = guard(PEOPLE, half, EDGES, FIELDS, LINKS)
    assert failed(found) == {"customer_jump", "ids_changed"}
    assert value(found, "ids_changed") == 0.5


def test_the_same_people_under_other_ids_fail_once_they_are_more_than_exceptions() -> None:
    def renamed(below: str) -> Guarded:
        new = pl.when(pl.col("customer_id") < below).then(pl.format("new{}", "customer_id")).otherwise("customer_id")
        return guard(PEOPLE, LINKS.with_columns(customer_id=new), EDGES, FIELDS, LINKS)

    assert failed(renamed("p007")) == set()
    found = renamed("p008")
    assert failed(found) == {"ids_changed"}
    assert value(found, "ids_changed") == 0.2
    assert found.offenders["customer_id"].to_list() == [f"p{n:03d}" for n in range(5)]


def test_guards_that_need_other_kinds_or_an_earlier_run_say_so_and_pass() -> None:
    bare = dataclasses.replace(FIELDS, fields=(MatchField("city", "text"),))
    figures = guard(PEOPLE.select("record_id", "city"), LINKS, EDGES, bare).figures
    silent = figures.filter(pl.col("value").is_null())
    assert silent["guard"].to_list() == ["shared_home", "junk_contact", "customer_jump", "ids_changed"]
    assert silent["passed"].all()
    assert silent["sentence"].str.starts_with("Not applicable: ").all()


def test_nothing_to_guard_passes() -> None:
    assert failed(guard(PEOPLE.clear(), LINKS.clear(), NO_EDGES, FIELDS, LINKS.clear())) == set()
    alone = links_by(PEOPLE, "record_id")
    assert failed(guard(PEOPLE, alone, NO_EDGES, FIELDS)) == set()


def test_bounds_are_the_callers() -> None:
    strict = Bounds(records_of_a_customer=2)
    found = guard(PEOPLE, LINKS, EDGES, FIELDS, bounds=strict)
    assert failed(found) == {"size_cap"}
    assert len(found.offenders) == 5


def test_bounds_that_nothing_could_keep_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"bounds: bridged: nan, jump: -0\.1;"):
        Bounds(jump=-0.1, bridged=float("nan"))
    generous = Bounds(jump=3.0)
    assert guard(PEOPLE, LINKS, EDGES, FIELDS, LINKS, generous).figures.filter(guard="customer_jump")["passed"].item()


def test_what_guards_say_holds_no_value_and_does_not_depend_on_order_or_threads() -> None:
    homes = PEOPLE.with_columns(pl.col("phone").first().over(TWO_TO_A_HOME))
    merged = links_by(homes, TWO_TO_A_HOME)
    edges = all_pairs(merged)
    expected = guard(homes, merged, edges, FIELDS, LINKS)
    with duckdb.connect(config={"threads": 1}) as connection:
        frames = (frame.sample(fraction=1, shuffle=True, seed=7) for frame in (homes, merged, edges))
        found = guard(*frames, FIELDS, LINKS.reverse(), connection=connection)  # type: ignore[misc]
        assert connection.execute("select count(*) from information_schema.tables").fetchall() == [(0,)]
    assert found.figures.equals(expected.figures)
    assert found.offenders.equals(expected.offenders)
    said = " ".join(found.figures["sentence"]) + found.offenders.write_csv()
    for column in ("given_name", "surname", "phone", "email", "street"):
        assert not any(text in said for text in homes[column].unique())


def test_a_model_that_trusts_a_phone_alone_is_stopped_and_the_trained_one_is_not(trained: Trained) -> None:
    family = trained.records.group_by("surname", maintain_order=True).agg(pl.col("record_id").first())
    one_phone = pl.when(pl.col("surname").is_in(family["surname"].implode())).then(pl.lit("+16145550100"))
    # People of one surname have one phone, as a home of many people would.
    records = trained.records.with_columns(phone=pl.concat_str(one_phone, pl.col("surname").hash() % 1000))
    model = trained.model
    number = [f.column for f in model.fields].index("phone")
    levels = [w.copy() for w in model.weights.levels]
    levels[number][:] = [0.0, *[30.0] * (len(levels[number]) - 2), 0.0]
    household = [c.name for c in model.comparisons].index("household")
    levels[household][:] = 0.0
    trusting = dataclasses.replace(
        model, rules=((("phone", "whole"),),), weights=dataclasses.replace(model.weights, levels=tuple(levels))
    )
    before = resolve_all(trained.records, model)
    assert failed(guard(trained.records, before.links, before.edges, model, before.links)) == set()
    after = resolve_all(records, trusting, before.links)
    assert {"shared_home", "junk_contact", "customer_jump"} <= failed(
        guard(records, after.links, after.edges, trusting, before.links)
    )
