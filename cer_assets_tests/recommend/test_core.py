import polars as pl
import pytest

from cer_assets.recommend import RankerSettings, Sources, all_families, fit, recommend
from cer_assets.recommend.hybrid.ranker import WindowSettings
from cer_assets_tests.recommend.conftest import CUT, catalogue

ONE = pl.Series(["c00"])


def test_any_family_is_had_by_its_name(shop: pl.DataFrame) -> None:
    sources = Sources(shop, products=catalogue())
    model = fit(sources, CUT, "tifu_knn", min_customers=2)
    same = all_families()["tifu_knn"].fit(sources.before(CUT, 2), sources.products, CUT)
    assert recommend(model, ONE).equals(same.recommend(ONE))


def test_the_hybrid_learns_from_the_windows_before_the_day_and_from_nobody_who_withdrew(shop: pl.DataFrame) -> None:
    sources = Sources(shop, products=catalogue(), withdrawn=pl.Series(["c01"]))
    settings = RankerSettings(windows=WindowSettings(days=14, windows=1, fewest_days=14))
    model = fit(sources, CUT, min_customers=2, settings=settings)
    assert model.card()["ranker"]["learned_on"]["windows"] == 1
    assert "c01" not in model.interactions_.customers
    assert recommend(model, ONE, 5).height == 5


def test_a_name_nobody_has_is_answered_with_those_there_are(shop: pl.DataFrame) -> None:
    with pytest.raises(LookupError, match="tifu_knn"):
        fit(Sources(shop), CUT, "oracle")
