import re
from typing import Any

import altair as alt
import polars as pl
import pytest
import vl_convert

from cer_assets.identity import resolve_all
from cer_assets.identity.charts import (
    WIDTH,
    blocking_rules,
    cluster_sizes,
    id_churn,
    pair_waterfall,
    quality_intervals,
    score_histogram,
    weights_chart,
)
from cer_assets.identity.explain import explain_pairs
from cer_assets_tests.identity.conftest import Trained

FACTS = {"precision": {"value": 0.98, "low": 0.95, "high": 1.0}, "recall": {"value": 0.94, "low": None, "high": None}}
HISTORY = pl.DataFrame(
    {"run": [f"r{n % 25:02d}" for n in range(100)], "event": ["birth", "merge", "split", "end"] * 25}
)
SIZES = pl.DataFrame({"customer_id": [f"c{n}" for n in range(60)], "records": [1 + n % 40 for n in range(60)]})


@pytest.fixture(scope="module")
def charts(trained: Trained) -> dict[str, alt.TopLevelMixin]:
    found = resolve_all(trained.records, trained.model)
    explained = explain_pairs(trained.records, trained.model, found.edges[[0]], mask=True)
    sizes = found.links.group_by("customer_id").len("records")
    return {
        "weights": weights_chart(trained.model),
        "scores": score_histogram(found.scores, trained.model),
        "no scores": score_histogram(found.scores.clear(), trained.model),
        "sizes": cluster_sizes(sizes),
        "many sizes": cluster_sizes(SIZES),
        "no customers": cluster_sizes(sizes.clear()),
        "quality": quality_intervals(FACTS),
        "quality without an audit": quality_intervals({"precision": None, "labels": 3}),
        "rules": blocking_rules(found.blocking),
        "no rules": blocking_rules(found.blocking.clear()),
        "pair": pair_waterfall(explained),
        "pair without values": pair_waterfall(explained.drop("value_a", "value_b")),
        "no pair": pair_waterfall(explained.clear()),
        "runs": id_churn(HISTORY),
        "days in their order": id_churn(HISTORY.rename({"run": "day"}), by="day", order=sorted(set(HISTORY["run"]))),
        "one run": id_churn(HISTORY.filter(run="r00")),
        "no run": id_churn(HISTORY.clear()),
    }


def test_every_chart_can_be_drawn_says_what_it_shows_and_is_narrow(charts: dict[str, alt.TopLevelMixin]) -> None:
    for name, chart in charts.items():
        assert vl_convert.vegalite_to_svg(chart.to_json()).startswith("<svg"), name
        drawn = chart.to_dict()
        assert title_of(drawn), name
        assert all(panel.get("width", 0) <= WIDTH for panel in panels_of(drawn)), name


def test_no_chart_holds_a_record_or_a_value_of_one(charts: dict[str, alt.TopLevelMixin], trained: Trained) -> None:
    def values_of(*columns: str) -> set[str]:
        return {str(value) for column in columns for value in trained.records[column].drop_nulls()}

    personal = values_of("record_id", "email", "phone", "street", "birth_date")
    words = values_of("given_name", "surname", "city")
    for name, chart in charts.items():
        text = chart.to_json(ensure_ascii=False)
        assert not any(value in text for value in personal), name
        # A short name may be part of a longer word, which says nothing of anybody.
        assert words.isdisjoint(re.findall(r"\w+", text.lower())), name
        assert "customer_id" not in text, name


def test_the_steps_of_a_pair_end_at_its_log_odds(trained: Trained) -> None:
    edges = resolve_all(trained.records, trained.model).edges.sort("score")
    explained = explain_pairs(trained.records, trained.model, edges[[len(edges) // 4]])
    rows = pl.DataFrame(largest_dataset(pair_waterfall(explained).to_dict()))
    steps, together = rows[:-1], rows[-1]
    assert together["end"].item() == pytest.approx(explained["contribution"].sum())
    assert steps["end"][-1] == pytest.approx(together["end"].item())
    assert (steps["start"][1:] - steps["end"][:-1]).abs().max() < 1e-9  # type: ignore[operator]


def test_a_waterfall_of_two_pairs_is_refused(trained: Trained) -> None:
    edges = resolve_all(trained.records, trained.model).edges.head(2)
    with pytest.raises(ValueError, match="more than one pair"):
        pair_waterfall(explain_pairs(trained.records, trained.model, edges))


def title_of(chart: dict[str, Any]) -> Any:
    return chart.get("title") or next((t for panel in chart.get("vconcat", []) if (t := panel.get("title"))), None)


def panels_of(chart: dict[str, Any]) -> list[dict[str, Any]]:
    return chart.get("vconcat") or chart.get("hconcat") or [chart]


def largest_dataset(chart: dict[str, Any]) -> list[dict[str, Any]]:
    return max(chart["datasets"].values(), key=len)
