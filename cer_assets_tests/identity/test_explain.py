import dataclasses
import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cer_assets.identity import Model, resolve_all
from cer_assets.identity.explain import explain_clusters, explain_pairs, masked, pair_scores
from cer_assets_tests.identity.conftest import Trained

RELAXED = settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])


def shifted(model: Model, seed: int) -> Model:
    """The model with other weights, small enough that a score does not round to 0 or 1."""
    rng = np.random.default_rng(seed)
    weights = dataclasses.replace(
        model.weights,
        bias=float(rng.normal(-2, 1)),
        levels=tuple(rng.normal(0, 0.6, len(w)).round(6) for w in model.weights.levels),
        rarities=rng.normal(0.1, 0.2, len(model.weights.rarities)).round(6),
    )
    return dataclasses.replace(model, weights=weights)


@RELAXED
@given(st.integers(0, 10_000))
def test_contributions_add_up_to_the_log_odds_of_the_score_of_resolve(trained: Trained, seed: int) -> None:
    model = shifted(trained.model, seed)
    found = resolve_all(trained.records, model)
    assume(len(found.edges) > 0)
    drawn = found.edges.sample(min(40, len(found.edges)), seed=seed)
    explained = explain_pairs(trained.records, model, drawn)
    exact = pair_scores(explained).join(drawn, on=["record_a", "record_b"], suffix="_of_resolve")
    assert len(exact) == len(drawn)
    assert (exact["score"] - exact["score_of_resolve"]).abs().max() <= 0.5e-6 + 1e-12  # type: ignore[operator]
    logit = np.log(exact["score"] / (1 - exact["score"]))
    assert np.allclose(exact["logit"], logit, atol=1e-6)
    total = explained.group_by("record_a", "record_b").agg(
        pl.col("contribution").sum(), pl.col("weight", "rarity").sum()
    )
    both = total.join(exact, on=["record_a", "record_b"])
    assert np.allclose(both["contribution"], both["logit"], atol=1e-6)
    assert np.allclose(both["weight"] + both["rarity"], both["logit"], atol=1e-6)


def test_each_pair_has_the_prior_and_every_comparison_in_the_models_order(trained: Trained) -> None:
    ids = trained.records["record_id"].sort()
    pairs = pl.DataFrame({"record_a": [ids[5], ids[0], ids[1]], "record_b": [ids[2], ids[1], ids[0]]})
    explained = explain_pairs(trained.records, trained.model, pairs)
    names = ["prior", *(c.name for c in trained.model.comparisons)]
    for (a, b), rows in explained.group_by("record_a", "record_b", maintain_order=True):
        assert str(a) < str(b)
        assert rows["comparison"].to_list() == names
        assert rows["order"].to_list() == list(range(len(names)))
    # The same pair the other way round is one pair.
    assert len(explained) == 2 * len(names)
    level = {c.name: c.labels for c in trained.model.comparisons}
    assert all(row[1] in level[row[0]] for row in explained.filter(pl.col("order") > 0)[["comparison", "level"]].rows())


def test_an_explanation_holds_no_value_unless_asked_and_then_a_masked_one(trained: Trained) -> None:
    pairs = resolve_all(trained.records, trained.model).edges.head(30)
    plain = explain_pairs(trained.records, trained.model, pairs)
    assert plain.columns == ["record_a", "record_b", "order", "comparison", "level", "weight", "rarity", "contribution"]
    shown = explain_pairs(trained.records, trained.model, pairs, mask=True)
    assert shown.drop("value_a", "value_b").equals(plain)
    values = {
        str(value)
        for column in ("given_name", "surname", "birth_date", "email", "phone", "street", "city", "postcode")
        for value in trained.records[column].drop_nulls()
    }
    masked_values = {*shown["value_a"].drop_nulls(), *shown["value_b"].drop_nulls()}
    assert masked_values and not masked_values & values
    household = shown.filter(comparison="household")
    assert household["value_a"].null_count() == len(household)


def test_a_masked_value_shows_its_shape_only() -> None:
    given_and_shown = {
        "simon": "s•••n",
        "anna-maria": "a••a-m•••a",
        "eve": "•••",
        "12 oak st": "## ••• ••",
        "1980-03-31": "####-##-##",
        "josé o'hara": "j••é •'h••a",
        "a.very.long.address@mail.example": "•.v••y.l••g.a•••••s@m••…",
        "": "",
        None: None,
    }
    frame = pl.DataFrame({"value": list(given_and_shown)}, schema={"value": pl.String})
    assert frame.select(masked(pl.col("value")))["value"].to_list() == list(given_and_shown.values())


def test_a_pair_that_cannot_be_explained_is_refused_by_its_record_ids(trained: Trained) -> None:
    first = trained.records["record_id"][0]
    with pytest.raises(ValueError, match=f"not among the {len(trained.records)} records, the first is {first} and z:9"):
        explain_pairs(trained.records, trained.model, pl.DataFrame({"record_a": [first], "record_b": ["z:9"]}))
    with pytest.raises(ValueError, match="with itself"):
        explain_pairs(trained.records, trained.model, pl.DataFrame({"record_a": [first], "record_b": [first]}))


def test_no_pairs_give_no_rows(trained: Trained) -> None:
    nothing = pl.DataFrame(schema={"record_a": pl.String, "record_b": pl.String})
    explained = explain_pairs(trained.records, trained.model, nothing, mask=True)
    assert explained.is_empty()
    assert pair_scores(explained).is_empty()


def edges_of(*rows: tuple[str, str, float]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"record_a": pl.String, "record_b": pl.String, "score": pl.Float64}, orient="row")


def links_of(**members: str) -> pl.DataFrame:
    rows = [(record, customer) for customer, records in members.items() for record in records]
    return pl.DataFrame(rows, schema={"record_id": pl.String, "customer_id": pl.String}, orient="row")


def test_the_weakest_link_is_where_two_tight_groups_meet(trained: Trained) -> None:
    model = dataclasses.replace(trained.model, cut=0.45)
    edges = edges_of(
        ("a", "b", 0.99), ("a", "c", 0.95), ("b", "c", 0.97), ("d", "e", 0.98), ("c", "d", 0.9), ("b", "e", 0.3),
        ("x", "y", 0.5), ("e", "x", 0.4),
    )  # fmt: skip
    found = explain_clusters(edges, links_of(one="abcde", two="xy", alone="z"), model)
    assert found["customer_id"].to_list() == ["one", "two"]
    one, two = found.rows(named=True)
    assert (one["smaller"], one["larger"], one["records"]) == (["d", "e"], ["a", "b", "c"], 5)
    assert one["mean"] == pytest.approx((0.9 + 0.3) / 6)
    assert (one["record_a"], one["record_b"], one["strongest"]) == ("c", "d", 0.9)
    assert not one["rejoins"]
    assert (two["smaller"], two["larger"], two["mean"], two["rejoins"]) == (["y"], ["x"], 0.5, True)
    assert (
        explain_clusters(edges, links_of(one="abcde", two="xy", alone="z"), model, ["two"]).rows() == found.rows()[1:]
    )


def test_what_no_score_holds_parts_at_no_cost(trained: Trained) -> None:
    found = explain_clusters(edges_of(("a", "b", 0.9)), links_of(one="abc", two="yz"), trained.model)
    one, two = found.rows(named=True)
    assert (one["smaller"], one["larger"], one["mean"], one["rejoins"]) == (["c"], ["a", "b"], 0.0, False)
    assert (two["smaller"], two["larger"], two["mean"], two["strongest"]) == (["z"], ["y"], 0.0, None)


def test_a_must_link_is_never_cut(trained: Trained) -> None:
    edges = edges_of(("a", "b", 0.9), ("b", "c", 0.8), ("x", "y", 0.9))
    links = links_of(one="abcd", two="xy")
    bound = pl.DataFrame({"record_a": ["a", "c", "x"], "record_b": ["d", "d", "y"], "answer": "must_link"})
    found = explain_clusters(edges, links, trained.model, constraints=bound)
    one = found.row(0, named=True)
    assert found["customer_id"].to_list() == ["one"]
    assert (one["smaller"], one["larger"]) == (["b"], ["a", "c", "d"])
    apart = bound.with_columns(answer=pl.lit("cannot_link"))
    plain = explain_clusters(edges, links, trained.model)
    assert explain_clusters(edges, links, trained.model, constraints=apart).equals(plain)
    assert explain_clusters(edges, links, trained.model, ["nobody"], bound).is_empty()


def test_sides_part_every_customer_and_rejoin_at_the_cut_that_joined_them(trained: Trained) -> None:
    found = resolve_all(trained.records, trained.model)
    explained = explain_clusters(found.edges, found.links, trained.model)
    sizes = (
        found.links.group_by("customer_id").agg(pl.col("record_id").sort()).filter(pl.col("record_id").list.len() > 1)
    )
    sides = explained.join(sizes, on="customer_id").with_columns(both=pl.concat_list("smaller", "larger").list.sort())
    assert len(sides) == len(explained) == len(sizes)
    assert (sides["both"] == sides["record_id"]).all()
    assert (explained["smaller"].list.len() <= explained["larger"].list.len()).all()
    assert explained["rejoins"].all()
    assert explained["mean"].is_sorted()


@RELAXED
@given(st.integers(0, 10_000))
def test_the_sides_are_those_of_joining_one_pair_of_groups_at_a_time(trained: Trained, seed: int) -> None:
    rng = np.random.default_rng(seed)
    records = "abcdefg"
    pairs = [(*pair, float(rng.random().__round__(6))) for pair in itertools.combinations(records, 2)]
    kept = [pair for pair in pairs if rng.random() < 0.8]
    edges = edges_of(*kept).sample(fraction=1, shuffle=True, seed=seed)
    row = explain_clusters(edges, links_of(one=records), trained.model).row(0, named=True)
    sides = _one_at_a_time(records, {(a, b): score for a, b, score in kept})
    assert {frozenset(row["smaller"]), frozenset(row["larger"])} == sides


def _one_at_a_time(records: str, score: dict[tuple[str, str], float]) -> set[frozenset[str]]:
    groups = [frozenset(record) for record in records]

    def mean(one: frozenset[str], other: frozenset[str]) -> float:
        across = [score.get((min(a, b), max(a, b)), 0.0) for a in one for b in other]
        return sum(across) / len(across)

    while len(groups) > 2:
        one, other = max(itertools.combinations(groups, 2), key=lambda pair: mean(*pair))
        groups = [g for g in groups if g not in (one, other)] + [one | other]
    return set(groups)
