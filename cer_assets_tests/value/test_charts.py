import altair as alt
import polars as pl
import pytest
import vl_convert

from cer_assets.value import backtest, bucket, customer_value, fit
from cer_assets.value.buckets import migration
from cer_assets.value.charts import backtest_intervals, bucket_sizes, clv_concentration, migration_grid, rfm_grid
from cer_assets_tests.value.simulate import day, shop

SHOP = shop(n=200)
YEAR = day(364)
CLV = fit(SHOP, YEAR).predict(SHOP, YEAR, 91)
RFM = (
    SHOP.group_by("customer_id")
    .agg(pl.col("amount").sum().alias("monetary"), pl.len().alias("frequency"))
    .with_columns(pl.lit(YEAR).alias("as_of"), (pl.col("frequency") % 5 + 1).alias("f"), pl.lit(3).alias("r"))
)
JUDGED = backtest(SHOP, day(272), YEAR, resamples=5)
BUCKETS = bucket(customer_value(RFM, CLV))
MOVES = migration(BUCKETS.with_columns(as_of=day(357)).tail(-5), BUCKETS)

CHARTS = {
    "rfm": rfm_grid(RFM),
    "concentration": clv_concentration(CLV),
    "buckets": bucket_sizes(BUCKETS),
    "migration": migration_grid(MOVES),
    "backtest": backtest_intervals(JUDGED),
    "no customers": rfm_grid(RFM.clear()),
    "no figures": clv_concentration(CLV.clear()),
    "no buckets": bucket_sizes(BUCKETS.clear()),
    "no day before": migration_grid(MOVES.clear()),
    "nothing judged": backtest_intervals(JUDGED.clear()),
}


@pytest.mark.parametrize("name", CHARTS)
def test_the_chart_can_be_drawn(name: str) -> None:
    assert vl_convert.vegalite_to_svg(CHARTS[name].to_json()).startswith("<svg")


@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS)
def test_the_chart_holds_no_customer(chart: alt.TopLevelMixin) -> None:
    text = chart.to_json()
    assert "customer_id" not in text
    assert not any(f'"{customer}"' in text for customer in SHOP["customer_id"].unique())


def test_the_best_customers_hold_more_than_their_share() -> None:
    curve = pl.DataFrame(clv_concentration(CLV).to_dict()["datasets"].popitem()[1])
    assert curve["spend"].is_sorted()
    assert (curve["spend"] >= curve["customers"] - 1e-9).all()
    assert (curve["spend"][0], curve["spend"][-1]) == (0, pytest.approx(1))
