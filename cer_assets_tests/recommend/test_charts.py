"""Charts are drawn from the tables as they are, whoever was judged, and say what they show."""

import datetime as dt

import altair as alt
import polars as pl
import pytest

from cer_assets.recommend.charts import (
    bucket_chart,
    champion_chart,
    coverage_chart,
    evaluation_chart,
    evaluation_table,
    loss_chart,
)
from cer_assets.recommend.evaluate import EVALUATION
from cer_assets_tests.recommend.conftest import CUT

MODELS = {"hybrid": 0.43, "tifu_knn": 0.41, "popularity": 0.16, "champion": 0.42}


@pytest.fixture(scope="module")
def evaluation() -> pl.DataFrame:
    rows = [
        {
            "as_of": CUT + day * dt.timedelta(days=1),
            "cut": cut,
            "model": model,
            "bucket": bucket,
            "protocol": protocol,
            "metric": metric,
            "value": value,
            "low": None if metric == "coverage@10" else value - 0.01,
            "high": None if metric == "coverage@10" else value + 0.01,
        }
        for day in (0, 28)
        for cut in (None, CUT)
        for model, value in MODELS.items()
        for bucket in ("all", "high", "low", "new")
        for protocol in ("A", "B", "C")
        for metric in ("ndcg@10", "recall@10", "coverage@10")
    ]
    return pl.DataFrame(rows, schema=EVALUATION)


def _newest(evaluation: pl.DataFrame) -> pl.DataFrame:
    return evaluation.filter(pl.col("as_of") == pl.col("as_of").max())


def test_the_table_has_the_best_model_first_and_intervals_where_there_are_any(evaluation: pl.DataFrame) -> None:
    table = evaluation_table(_newest(evaluation), ("ndcg@10", "coverage@10"))
    assert table["model"].to_list() == ["hybrid", "champion", "tifu_knn", "popularity"]
    assert table.columns == ["model", *(f"{p} {m}" for p in "ABC" for m in ("ndcg@10", "coverage@10"))]
    assert table.row(0)[1:3] == ("0.43 (0.42 to 0.44)", "0.43")


def test_a_table_of_a_bucket_that_nobody_is_in_is_empty(evaluation: pl.DataFrame) -> None:
    assert evaluation_table(_newest(evaluation), bucket="nobody's").is_empty()


def test_quality_has_a_panel_a_protocol_and_a_panel_a_bucket(evaluation: pl.DataFrame) -> None:
    assert len(evaluation_chart(_newest(evaluation)).to_dict()["hconcat"]) == 3
    assert len(bucket_chart(_newest(evaluation)).to_dict()["hconcat"]) == 4


def test_of_several_origins_what_they_say_together_is_drawn(evaluation: pl.DataFrame) -> None:
    drawn = coverage_chart(_newest(evaluation)).to_dict()
    rows = next(iter(drawn["datasets"].values()))
    assert {row["model"]: row["coverage"] for row in rows} == MODELS
    assert len(rows) == len(MODELS)
    assert {row["role"] for row in rows} == {"baseline", "family", "over all families"}


def test_the_champion_is_followed_over_the_days_beside_the_baselines(evaluation: pl.DataFrame) -> None:
    drawn = champion_chart(evaluation).to_dict()
    longest = max(drawn["datasets"].values(), key=len)
    assert {row["model"] for row in longest} == {"champion", "popularity"}
    assert len({row["as_of"] for row in longest}) == 2


def test_losses_start_at_one_whatever_their_size() -> None:
    drawn = loss_chart({"everyone": [200.0, 100.0], "high": [4.0, 3.0], "none": []}).to_dict()
    rows = next(iter(drawn["datasets"].values()))
    assert [(row["model"], row["pass"], row["loss"]) for row in rows] == [
        ("everyone", 1, 1.0),
        ("everyone", 2, 0.5),
        ("high", 1, 1.0),
        ("high", 2, 0.75),
    ]


@pytest.mark.parametrize("chart", [evaluation_chart, bucket_chart, coverage_chart, champion_chart])
def test_no_figures_are_an_empty_chart(chart: object) -> None:
    assert callable(chart)
    assert isinstance(chart(pl.DataFrame(schema=EVALUATION)), alt.TopLevelMixin)
