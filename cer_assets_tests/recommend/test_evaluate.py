"""Metrics against their definition, protocols against the window, intervals against what they promise."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.recommend import PersonalFrequency, Popularity, interactions
from cer_assets.recommend.evaluate import (
    EVALUATION,
    METRICS,
    NEW,
    Judged,
    Targets,
    coverage,
    describe,
    evaluate,
    figures,
    judge,
    lists,
    mean_interval,
    measure,
    of_some,
    paired,
    targets,
)
from cer_assets.recommend.model import Scores
from cer_assets.recommend.topk import Indices
from cer_assets_tests.recommend.conftest import CUT, START, catalogue, order_lines

DAY = dt.timedelta(days=1)


def _targets(bought: dict[int, list[int]], width: int, longest_ideal: int | None = 10) -> Targets:
    cells = np.array(sorted(row * width + column for row, own in bought.items() for column in own), np.int64)
    return Targets(np.array(sorted(bought), np.int32), cells, width, longest_ideal)


def test_a_perfect_list_scores_one() -> None:
    assert measure(np.array([[3, 1]]), _targets({0: [1, 3]}, 5)).tolist() == [[1, 1, 1]]


def test_an_empty_list_scores_nothing() -> None:
    assert measure(np.array([[-1, -1]]), _targets({2: [1, 3]}, 5)).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("longest_ideal", [10, None])
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000))
def test_metrics_follow_their_definition(longest_ideal: int | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    width, k = 40, 10
    bought = {
        int(row): rng.choice(width, rng.integers(1, 30), replace=False).tolist() for row in rng.choice(50, 4, False)
    }
    ranked = np.array([rng.choice(width, k, replace=False) for _ in bought])
    expected = []
    for row, columns in zip(sorted(bought), ranked, strict=True):
        hit = [column in bought[row] for column in columns]
        n = len(bought[row])
        gain = sum(h / np.log2(place + 2) for place, h in enumerate(hit))
        ideal = sum(1 / np.log2(place + 2) for place in range(n if longest_ideal is None else min(n, k)))
        precision = sum(h * sum(hit[: place + 1]) / (place + 1) for place, h in enumerate(hit))
        expected.append([gain / ideal, sum(hit) / n, precision / min(n, k)])
    np.testing.assert_allclose(measure(ranked, _targets(bought, width, longest_ideal)), expected)


def test_protocols_differ_in_what_counts() -> None:
    before = [("a", "p", START), ("b", "q", START), ("b", "r", START), ("b", "s", START)]
    after = [("a", "p", CUT), ("a", "q", CUT), ("a", "r", CUT + DAY), ("a", "s", CUT + 28 * DAY), ("new", "p", CUT)]
    lines = order_lines([*before, *after, ("a", "unseen", CUT)])
    history = interactions(lines, CUT, 1)
    wanted = targets(lines, history, CUT, 28)
    named = {protocol: history.products.gather(t.cells % t.width).to_list() for protocol, t in wanted.items()}
    assert named == {"A": ["p", "q", "r"], "B": ["p", "q"], "C": ["q", "r"]}
    assert {history.customers[int(row)] for t in wanted.values() for row in t.rows} == {"a"}


def test_the_lists_of_protocol_c_hold_nothing_the_customer_bought(shop: pl.DataFrame) -> None:
    history = interactions(shop, CUT, 2)
    rows = np.arange(len(history.customers), dtype=np.int32)
    ranked = lists(Popularity().fit(history, pl.DataFrame(), CUT), rows)
    own = history.counts().toarray()
    assert own[rows[:, None], ranked["C"]][ranked["C"] >= 0].sum() == 0
    assert own[rows[:, None], ranked["A"]].sum() > 0


def test_coverage_counts_products_once() -> None:
    assert coverage(np.array([[0, 1], [1, -1]]), 4) == 0.5


def test_the_interval_holds_the_mean_and_is_the_same_for_the_same_seed() -> None:
    values = np.random.default_rng(0).random((200, 2))
    mean, low, high = mean_interval(values, seed=3)
    assert ((low < mean) & (mean < high)).all()
    np.testing.assert_array_equal(mean_interval(values, seed=3)[1], low)


def test_precision_novelty_and_repeats_are_of_what_is_on_the_list() -> None:
    lines = order_lines([("a", "p", START), ("b", "p", START), ("c", "p", START), ("d", "p", START), ("a", "q", START)])
    history = interactions(lines, CUT, 1)
    ranked = np.array([[0, 1, -1, -1], [1, -1, -1, -1], [-1, -1, -1, -1]], np.int32)
    found = describe(ranked, _targets({0: [0], 1: [1], 2: [0]}, 2), history, 4)
    # p was bought by all four, which tells nothing; q by one of four, which tells two bits.
    np.testing.assert_allclose(found, [[0.25, 1.0, 1.0], [0.25, 2.0, 0.0], [0.0, np.nan, np.nan]])


def test_what_nobody_bought_is_no_more_novel_than_what_one_bought() -> None:
    history = interactions(
        order_lines([("a", "p", START), ("b", "p", START)]), CUT, products=pl.Series(["p", "unsold"])
    )
    assert describe(np.array([[1]], np.int32), _targets({0: [0]}, 2), history, 1)[0].tolist() == [0, 1, 0]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_a_customer_with_several_lists_is_drawn_as_one(seed: int) -> None:
    values = np.random.default_rng(seed).random((12, 2))
    customers = np.arange(12)
    once = mean_interval(values, 50, seed, customers)
    twice = mean_interval(np.vstack([values, values]), 50, seed, np.append(customers, customers))
    for alone, together in zip(once, twice, strict=True):
        np.testing.assert_allclose(alone, together)


def test_what_is_not_known_is_not_counted() -> None:
    mean, low, high = mean_interval(np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, np.nan]]), 50)
    assert mean[0] == 2
    assert 1 <= low[0] <= high[0] <= 3
    assert np.isnan([mean[1], low[1], high[1]]).all()


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_a_lead_turns_round_with_the_models(seed: int) -> None:
    ours, theirs = np.random.default_rng(seed).random((2, 40))
    value, low, high = paired(ours, theirs, 100)
    assert low <= value <= high
    np.testing.assert_allclose(paired(theirs, ours, 100), [-value, -high, -low])


def test_a_lead_of_one_model_over_itself_is_nothing() -> None:
    values = np.random.default_rng(0).random(40)
    assert paired(values, values) == (0, 0, 0)


def test_a_lead_that_all_customers_share_is_certain_however_they_differ() -> None:
    values = np.random.default_rng(0).random(40)
    np.testing.assert_allclose(paired(values + 0.01, values), [0.01, 0.01, 0.01])


@pytest.fixture(scope="module")
def judged(shop: pl.DataFrame, buckets: pl.DataFrame) -> Judged:
    # One who has bought on two days only.
    newcomer = order_lines([("c99", "p02", START), ("c99", "p02", START + DAY), ("c99", "p02", CUT)])
    lines = pl.concat([shop, newcomer])
    history = interactions(lines, CUT, 2, traits=buckets)
    models = {model.name: model.fit(history, catalogue(), CUT) for model in (Popularity(), PersonalFrequency())}
    return judge(models, targets(lines, history, CUT, 28), CUT)


def test_figures_are_of_all_of_each_bucket_and_of_the_new(judged: Judged) -> None:
    table = figures([judged], resamples=20)
    assert table.columns == [name for name in EVALUATION if name != "as_of"]
    assert table["bucket"].unique().sort().to_list() == ["all", "high", "low", NEW]
    known = table.filter(pl.col("bucket") != NEW)
    assert known.height == 2 * 2 * 3 * 3 * (len(METRICS) + 1)
    means = table.filter(pl.col("metric") != "coverage@10")
    assert means.select(pl.col("low") <= pl.col("value"), high=pl.col("value") <= pl.col("high")).to_numpy().all()
    shares = means.filter(~pl.col("metric").str.starts_with("novelty"))
    assert shares["value"].is_between(0, 1).all()
    assert (
        table.filter(pl.col("metric") == "coverage@10")["low"].null_count() == table["metric"].eq("coverage@10").sum()
    )


def test_the_new_are_those_with_few_day_baskets_whatever_bucket_they_are_in(judged: Judged) -> None:
    assert judged.customers.filter("new").rows() == [("c99", None, True)]
    assert judged.groups()["all"].sum() == judged.customers.height
    assert judged.groups()[NEW].sum() == 1


def test_one_origin_and_all_origins_of_one_are_the_same(judged: Judged) -> None:
    table = figures([judged], resamples=20)
    assert table["cut"].unique().sort().to_list() == [None, CUT]
    pooled, own = (table.filter(cut).drop("cut") for cut in (pl.col("cut").is_null(), pl.col("cut") == CUT))
    assert pooled.equals(own)


def test_a_customer_of_two_origins_counts_in_both_and_is_drawn_once(judged: Judged) -> None:
    later = Judged(CUT + 28 * DAY, judged.customers, judged.values, judged.covered)
    pooled = figures([judged, later], resamples=20).filter(pl.col("cut").is_null())
    alone = figures([judged], resamples=20).filter(pl.col("cut").is_null())
    for column in ("value", "low", "high"):
        np.testing.assert_allclose(pooled[column].to_numpy(), alone[column].to_numpy())


def test_over_origins_stand_only_models_that_were_judged_at_each(judged: Judged) -> None:
    # Who was new at the first origin, where alone both were judged, is not at the second.
    customers = judged.customers.with_columns(new=pl.lit(value=False))
    known = {
        name: {p: {g: v for g, v in of.items() if g != NEW} for p, of in judged.covered[name].items()}
        for name in ("popularity",)
    }
    later = Judged(CUT + 28 * DAY, customers, {"popularity": judged.values["popularity"]}, known)
    table = figures([judged, later], resamples=20)
    models = {cut: set(own["model"]) for (cut,), own in table.group_by("cut")}
    assert models == {None: {"popularity"}, CUT: {"popularity", "personal_frequency"}, later.cut: {"popularity"}}
    assert not table["value"].is_nan().any()


def test_a_group_without_coverage_has_no_row_of_it(judged: Judged) -> None:
    unknown = {name: {p: {"all": v["all"]} for p, v in of.items()} for name, of in judged.covered.items()}
    table = figures([Judged(CUT, judged.customers, judged.values, unknown)], resamples=20)
    assert table.filter(metric="coverage@10")["bucket"].unique().to_list() == ["all"]
    assert table.drop_nulls("value").height == table.height
    assert not table["value"].is_nan().any()


def test_models_judged_apart_stand_beside_each_other(judged: Judged, shop: pl.DataFrame, buckets: pl.DataFrame) -> None:
    apart = [Judged(CUT, judged.customers, {n: judged.values[n]}, {n: judged.covered[n]}) for n in judged.values]
    assert figures([apart[0].beside(apart[1])], resamples=5).equals(figures([judged], resamples=5))


def test_values_of_customers_are_a_column_a_model(judged: Judged) -> None:
    values = judged.per_customer("recall", "C")
    assert values.columns == ["cut", "customer_id", "bucket", "new", "personal_frequency", "popularity"]
    assert values["customer_id"].is_sorted()
    # Who bought nothing new is not asked for it.
    assert 0 < values["popularity"].null_count() == values["personal_frequency"].null_count() < values.height


def test_of_many_customers_a_sample_is_asked(shop: pl.DataFrame) -> None:
    history = interactions(shop, CUT, 2)
    wanted = targets(shop, history, CUT, 28)
    some = of_some(wanted, 10, seed=1)
    assert len(some["A"].rows) == 10
    for protocol, target in some.items():
        assert set(target.rows) <= set(some["A"].rows)
        assert set(target.cells) == {cell for cell in wanted[protocol].cells if cell // target.width in target.rows}
    assert of_some(wanted, 1000)["A"] is wanted["A"]


def test_what_never_reached_a_list_has_no_novelty(shop: pl.DataFrame) -> None:
    class Silent(Popularity):
        def score(self, rows: Indices, *_: object) -> Scores:
            return np.full((len(rows), len(self.interactions_.products)), -np.inf, np.float32)

    history = interactions(shop, CUT, 2)
    table = evaluate({"silent": Silent().fit(history, catalogue(), CUT)}, targets(shop, history, CUT, 28), resamples=5)
    assert not table["metric"].is_in(["novelty@10", "repeats@10"]).any()
    assert table.filter(metric="ndcg@10")["value"].to_list() == [0, 0, 0]
