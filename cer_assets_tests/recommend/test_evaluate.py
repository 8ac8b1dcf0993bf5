"""Metrics against their definition, protocols against the window, the backtest against leaks."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.recommend import EVALUATION, Popularity, backtest, interactions
from cer_assets.recommend.charts import bucket_chart, evaluation_chart
from cer_assets.recommend.evaluate import Targets, coverage, lists, mean_interval, measure, targets
from cer_assets_tests.recommend.conftest import CUT, SMALL, START, order_lines

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


def test_backtest_has_every_model_bucket_protocol_and_metric(shop: pl.DataFrame, buckets: pl.DataFrame) -> None:
    figures = backtest(shop, buckets, CUT, min_customers=2, als=SMALL, resamples=20)
    assert dict(figures.schema) == EVALUATION
    assert figures.height == 5 * 3 * 3 * 4
    assert figures["as_of"].unique().to_list() == [CUT]
    judged = figures.filter(pl.col("metric") != "coverage@10")
    assert judged.select((pl.col("low") <= pl.col("value")) & (pl.col("value") <= pl.col("high"))).to_series().all()
    assert judged["value"].is_between(0, 1).all()
    ndcg = dict(figures.filter(bucket="all", protocol="A", metric="ndcg@10").select("model", "value").iter_rows())
    assert ndcg["blend"] > ndcg["popularity"]
    assert ndcg["als_global"] > ndcg["popularity"]


def test_no_model_sees_the_window(shop: pl.DataFrame, buckets: pl.DataFrame) -> None:
    history = interactions(shop, CUT, 2)
    # A window in which everyone buys what nobody of their taste ever bought: no model can know.
    swapped = pl.DataFrame({"customer_id": history.customers}).with_columns(
        odd=pl.col("customer_id").str.slice(1).cast(pl.Int64) % 2 == 1
    )
    planted = order_lines(
        [(customer, "p00" if odd else "p29", CUT) for customer, odd in swapped.iter_rows() for _ in range(3)]
    )
    before = shop.filter(pl.col("ordered_on") < CUT)
    figures = backtest(pl.concat([before, planted]), buckets, CUT, min_customers=2, als=SMALL, resamples=5)
    hit = figures.filter(bucket="all", protocol="A", metric="recall@10", model="als_global")["value"].item()
    assert hit < 0.2


def test_a_window_without_purchases_gives_no_rows(shop: pl.DataFrame, buckets: pl.DataFrame) -> None:
    figures = backtest(shop, buckets, CUT + 100 * DAY, min_customers=2, als=SMALL)
    assert (dict(figures.schema), figures.height) == (EVALUATION, 0)


def test_the_charts_can_be_drawn(shop: pl.DataFrame, buckets: pl.DataFrame) -> None:
    figures = backtest(shop, buckets, CUT, min_customers=2, als=SMALL, resamples=5)
    assert len(evaluation_chart(figures).to_dict()["hconcat"]) == 3
    assert len(bucket_chart(figures).to_dict()["hconcat"]) == 3
