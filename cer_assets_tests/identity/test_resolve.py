import dataclasses
import math

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cer_assets.identity import Model, Resolution, resolve, resolve_all
from cer_assets.identity.compare import Compared, compare
from cer_assets.identity.prepare import prepared
from cer_assets_tests.identity.conftest import Trained


def same_bytes(found: Resolution, expected: Resolution) -> None:
    for field in dataclasses.fields(found):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        assert one.write_csv() == other.write_csv() if isinstance(one, pl.DataFrame) else one == other


@settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 1000), st.sampled_from([1, 2, 4]))
def test_row_order_and_threads_do_not_change_a_byte(trained: Trained, seed: int, threads: int) -> None:
    expected = resolve_all(trained.records, trained.model)
    with duckdb.connect(config={"threads": threads}) as connection:
        shuffled = trained.records.sample(fraction=1, shuffle=True, seed=seed)
        found = resolve_all(shuffled, trained.model, connection=connection)
    same_bytes(found, expected)


def test_scores_in_sql_are_those_of_the_weights(trained: Trained) -> None:
    edges = resolve_all(trained.records, trained.model).edges
    with prepared(trained.records, trained.model.fields) as ready:
        place = pl.DataFrame({"id": ready.record_ids}).with_row_index("position")
        pairs = (
            edges.join(place, left_on="record_a", right_on="id")
            .join(place, left_on="record_b", right_on="id", suffix="_b")
            .select(first="position", second="position_b", score="score")
            .sort("first", "second")
        )
        compared = compare(ready, pairs)
    assert len(pairs) > 100
    np.testing.assert_allclose(trained.model.weights.chance(compared), pairs["score"].to_numpy(), atol=2e-6)
    assert isinstance(compared, Compared)


def test_every_record_is_linked_once_with_a_confidence(trained: Trained) -> None:
    links = resolve(trained.records, trained.model)
    assert links["record_id"].to_list() == sorted(trained.records["record_id"])
    assert links["confidence"].is_between(0, 1).all()


def test_confidence_is_the_mean_score_with_the_others_or_the_distance_from_everybody(trained: Trained) -> None:
    found = resolve_all(trained.records, trained.model)
    size = found.links.group_by("customer_id").len()
    pair_ids = size.filter(pl.col("len") == 2)["customer_id"].implode()
    customer = dict(found.links.select("record_id", "customer_id").iter_rows())
    confidence = dict(found.links.select("record_id", "confidence").iter_rows())
    for a, b, score in found.edges.iter_rows():
        if customer[a] == customer[b] and customer[a] in pair_ids.to_list()[0]:
            assert confidence[a] == confidence[b] == pytest.approx(score, abs=1e-6)
    strongest = max(found.edges.rows(), key=lambda edge: edge[2] if customer[edge[0]] != customer[edge[1]] else -1)
    alone = [r for r in strongest[:2] if size.filter(customer_id=customer[r])["len"].item() == 1]
    assert all(confidence[r] == pytest.approx(1 - strongest[2], abs=1e-6) for r in alone)


def test_what_was_resolved_before_keeps_its_ids(trained: Trained) -> None:
    ids = trained.records["record_id"].sort()
    earlier = trained.records.filter(pl.col("record_id").is_in(ids.gather_every(9).implode()).not_())
    before = resolve_all(earlier, trained.model)
    after = resolve_all(trained.records, trained.model, known=before.links)
    gone = set(before.links["customer_id"]) - set(after.links["customer_id"])
    assert gone == set(after.history.filter(pl.col("event") == "merge")["customer_id"])
    again = resolve_all(trained.records, trained.model, known=after.links)
    assert again.links.equals(after.links)
    assert again.history.is_empty()


def test_two_records_linked_by_a_third_are_compared_before_they_are_joined(believing: Trained) -> None:
    # The blocking rules below find A-B and B-C only: A and C share neither e-mail nor phone.
    bridge = believing.records.clear().select(believing.records.columns)
    person = {"given_name": "anna", "surname": "abbott", "birth_date": None, "street": None, "city": None}
    rows = [
        person | {"record_id": "A", "email": "anna@abbott.com", "phone": None, "postcode": "43101"},
        person | {"record_id": "B", "email": "anna@abbott.com", "phone": "+16144392210", "postcode": None},
        {"record_id": "C", "given_name": "peter", "surname": "keller", "phone": "+16144392210", "postcode": "90001"},
    ]
    bridge = pl.concat([bridge, pl.DataFrame(rows, schema_overrides=bridge.schema)], how="diagonal_relaxed")
    rules = ((("email", "whole"),), (("phone", "whole"),))
    model = dataclasses.replace(believing.model, rules=rules, cut=0.6)
    weights = [w.copy() for w in model.weights.levels]
    for number, field in enumerate(model.fields):
        if field.column in ("email", "phone"):
            weights[number][1] = 40.0
    model = dataclasses.replace(model, weights=dataclasses.replace(model.weights, levels=tuple(weights)))
    found = resolve_all(bridge, model)
    assert found.scores["pairs"].sum() == 3
    assert found.blocking["pairs"].to_list() == [1, 1]
    groups = dict(found.links.select("record_id", "customer_id").iter_rows())
    assert groups["A"] == groups["B"] != groups["C"]


def test_the_histogram_counts_every_scored_pair_and_the_rules_what_they_found(trained: Trained) -> None:
    found = resolve_all(trained.records, trained.model)
    assert found.scores["pairs"].sum() >= len(found.edges)
    assert len(found.blocking) == len(trained.model.rules)
    assert (found.blocking["only"] <= found.blocking["matches"]).all()
    assert (found.blocking["matches"] <= found.blocking["pairs"]).all()


def test_the_callers_connection_is_left_as_it_was(believing: Trained) -> None:
    with duckdb.connect() as connection:
        connection.execute("create table prepared as select 1 as mine")
        resolve(believing.records, believing.model, connection=connection)
        assert connection.execute("from prepared").fetchall() == [(1,)]
        assert connection.execute("select table_name from information_schema.tables").fetchall() == [("prepared",)]


def test_a_model_without_rules_leaves_everyone_alone(believing: Trained) -> None:
    nothing: Model = dataclasses.replace(believing.model, rules=())
    links = resolve(believing.records, nothing)
    assert links["customer_id"].n_unique() == len(links)
    assert math.isclose(links["confidence"].min(), 1.0)  # type: ignore[arg-type]
