import dataclasses
from itertools import combinations

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cer_assets.identity import Resolution, resolve, resolve_all
from cer_assets_tests.identity.conftest import Trained

ELSEWHERE = {
    "given_name": "zoltan",
    "surname": "quixwort",
    "email": None,
    "phone": None,
    "street": "9999 zyx ave",
    "city": "nowhere",
    "postcode": "00001",
}


def partition(links: pl.DataFrame) -> set[frozenset[str]]:
    return {frozenset(r) for r in links.group_by("customer_id").agg("record_id")["record_id"].to_list()}


def without(records: pl.DataFrame, *gone: str) -> pl.DataFrame:
    return records.filter(~pl.col("record_id").is_in(list(gone)))


def constraint(*rows: tuple[str, str, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["record_a", "record_b", "answer"], orient="row")


@pytest.fixture(scope="module")
def whole(trained: Trained) -> Resolution:
    return resolve_all(trained.records, trained.model)


def agreement(one: pl.DataFrame, other: pl.DataFrame) -> float:
    same = partition(one) & partition(other)
    return sum(map(len, same)) / len(one)


@settings(deadline=None, max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(0, 380), min_size=1, max_size=40), st.booleans())
def test_new_records_are_linked_as_a_full_run_would_and_the_rest_stays_as_it_is(
    trained: Trained, whole: Resolution, drawn: set[int], with_edges: bool
) -> None:
    ids = trained.records["record_id"].sort()
    earlier = resolve_all(without(trained.records, *(ids[i] for i in drawn)), trained.model)
    edges = earlier.edges if with_edges else None
    found = resolve_all(trained.records, trained.model, known=earlier.links, edges=edges)
    # What is left is drift: the rarities of two hundred people move with every record.
    assert agreement(found.links, whole.links) >= 0.97
    assert found.touched["fresh"] == len(drawn)
    untouched = partition(found.links) & partition(earlier.links)
    kept = earlier.links.filter(pl.col("customer_id").is_in(found.history["customer_id"].drop_nulls().implode()).not_())
    both = kept.join(found.links, on="record_id", suffix="_now").filter(
        pl.col("customer_id") == pl.col("customer_id_now")
    )
    assert len(both) >= sum(map(len, untouched)) * 0.9
    assert found.links["record_id"].to_list() == ids.to_list()


def test_a_record_that_touches_nobody_leaves_every_row_as_it_was(trained: Trained, whole: Resolution) -> None:
    stranger = trained.records.head(1).with_columns(
        record_id=pl.lit("zz"), birth_date=None, **{c: pl.lit(value) for c, value in ELSEWHERE.items()}
    )
    records = pl.concat([trained.records, stranger], how="vertical_relaxed")
    for edges in (whole.edges, None):
        found = resolve_all(records, trained.model, known=whole.links, edges=edges)
        assert without(found.links, "zz").equals(whole.links)
        assert found.history["event"].to_list() == ["birth"]
        assert found.touched["touched"] == 1
    assert resolve_all(records, trained.model, known=whole.links, edges=whole.edges).edges.equals(whole.edges)


def test_nothing_new_is_nothing_done(trained: Trained, whole: Resolution) -> None:
    again = resolve_all(trained.records, trained.model, known=whole.links, edges=whole.edges)
    assert again.links.equals(whole.links)
    assert again.edges.equals(whole.edges)
    assert again.history.is_empty()
    assert again.touched["touched"] == again.touched["pairs"] == 0


def test_a_changed_record_is_linked_anew_and_its_former_customer_too(trained: Trained, whole: Resolution) -> None:
    group = next(sorted(g) for g in sorted(partition(whole.links), key=sorted) if len(g) == 3)
    records = trained.records.with_columns(
        pl.when(pl.col("record_id") == group[0]).then(pl.lit(value)).otherwise(c).alias(c)
        for c, value in ELSEWHERE.items()
    ).with_columns(birth_date=pl.when(pl.col("record_id") != group[0]).then("birth_date"))
    found = resolve_all(records, trained.model, known=whole.links, edges=whole.edges)
    assert found.touched["fresh"] == 1
    assert frozenset(group[1:]) in partition(found.links)
    assert frozenset(group[:1]) in partition(found.links)
    assert found.history["event"].to_list() == ["split"]
    others = partition(whole.links) - {frozenset(group)}
    assert others <= partition(found.links)


def test_a_bridge_that_goes_lets_what_it_held_together_fall_apart(trained: Trained, whole: Resolution) -> None:
    group = next(sorted(g) for g in sorted(partition(whole.links), key=sorted) if len(g) == 3)
    found = resolve_all(without(trained.records, group[1]), trained.model, known=whole.links, edges=whole.edges)
    full = resolve_all(without(trained.records, group[1]), trained.model)
    assert found.touched == {"records": len(full.links), "fresh": 0, "removed": 1, "touched": 2, "pairs": 1}
    assert agreement(found.links, full.links) >= 0.99


def test_another_model_resolves_everything_under_the_ids_known(trained: Trained, whole: Resolution) -> None:
    stricter = dataclasses.replace(trained.model, cut=0.9)
    found = resolve_all(trained.records, stricter, known=whole.links, edges=whole.edges)
    assert found.touched["touched"] == len(trained.records)
    assert partition(found.links) == partition(resolve(trained.records, stricter))
    gone = set(whole.links["customer_id"]) - set(found.links["customer_id"])
    assert gone == set(found.history.filter(pl.col("event") == "merge")["customer_id"])


def test_links_without_fingerprints_are_taken_as_they_are(trained: Trained, whole: Resolution) -> None:
    known = whole.links.drop("fingerprint")
    found = resolve_all(trained.records, trained.model, known=known, edges=whole.edges)
    assert found.links.equals(whole.links)
    assert found.touched["touched"] == 0


def test_a_batch_of_any_size_gives_the_same_bytes(trained: Trained, whole: Resolution) -> None:
    small = resolve_all(trained.records, trained.model, batch=2000)
    for field in dataclasses.fields(small):
        one, other = getattr(small, field.name), getattr(whole, field.name)
        assert one.equals(other) if isinstance(one, pl.DataFrame) else one == other


def test_what_people_said_beats_every_score_for_good(trained: Trained, whole: Resolution) -> None:
    groups = sorted((sorted(g) for g in partition(whole.links)), key=lambda g: (-len(g), g))
    one, other, third = groups[0], groups[1], groups[2]
    said = constraint(
        (one[0], one[1], "cannot_link"), (other[0], third[0], "must_link"), (third[0], groups[3][0], "must_link")
    )
    stricter = dataclasses.replace(trained.model, cut=0.6)
    known = None
    for model in (trained.model, stricter):
        for edges in (None, whole.edges):
            found = resolve_all(trained.records, model, known=known, constraints=said, edges=edges)
            customer = dict(found.links.select("record_id", "customer_id").iter_rows())
            assert customer[one[0]] != customer[one[1]]
            assert customer[other[0]] == customer[third[0]] == customer[groups[3][0]]
            known = whole.links
    # A constraint that is new or taken back touches its records only.
    bound = resolve_all(trained.records, trained.model, known=whole.links, constraints=said, edges=whole.edges)
    assert bound.touched["fresh"] == 5
    free = resolve_all(trained.records, trained.model, known=bound.links, edges=bound.edges)
    assert partition(free.links) == partition(whole.links)


def test_constraints_hold_through_others_and_through_records_that_are_gone(trained: Trained) -> None:
    ids = trained.records["record_id"].sort()
    chain = constraint(
        (ids[0], ids[50], "must_link"), (ids[50], ids[100], "must_link"), (ids[0], ids[1], "cannot_link")
    )
    links = resolve(without(trained.records, ids[50]), trained.model, constraints=chain)
    customer = dict(links.select("record_id", "customer_id").iter_rows())
    assert customer[ids[0]] == customer[ids[100]] != customer[ids[1]]


def test_constraints_that_contradict_each_other_are_refused(trained: Trained) -> None:
    ids = trained.records["record_id"].sort()
    said = [(ids[a], ids[b], "must_link") for a, b in ((0, 1), (1, 2))] + [(ids[0], ids[2], "cannot_link")]
    with pytest.raises(ValueError, match="withdraw one"):
        resolve(trained.records, trained.model, constraints=constraint(*said))


def test_no_group_holds_a_pair_that_people_parted(trained: Trained, whole: Resolution) -> None:
    parted = [(a, b, "cannot_link") for g in partition(whole.links) for a, b in combinations(sorted(g), 2)][::3]
    links = resolve(trained.records, trained.model, constraints=constraint(*parted))
    customer = dict(links.select("record_id", "customer_id").iter_rows())
    assert len(parted) > 20
    assert all(customer[a] != customer[b] for a, b, _ in parted)


def test_hardly_any_record_is_resolved_too(trained: Trained, whole: Resolution) -> None:
    for records in (trained.records.head(0), trained.records.head(1)):
        for known in (None, whole.links.head(0), whole.links):
            found = resolve_all(records, trained.model, known=known, edges=whole.edges)
            assert len(found.links) == len(records)
    gone = resolve_all(trained.records.head(0), trained.model, known=whole.links, edges=whole.edges)
    assert set(gone.history["event"]) == {"end"}
    assert gone.edges.is_empty()
