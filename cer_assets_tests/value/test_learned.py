from datetime import timedelta
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingRegressor

from cer_assets.value import CLVModel, fit, retrain_reason
from cer_assets.value.calendar import Calendar, day_number
from cer_assets.value.charts import clv_history, customer_history
from cer_assets.value.histories import FEATURES, Floats, Past
from cer_assets.value.learned import Learned, learn
from cer_assets.value.loglinear import LogLinear
from cer_assets.value.trajectory import examples, models_of, over_time, trajectory
from cer_assets.value.trees import Trees, complete
from cer_assets_tests.value.simulate import day, shop

SHOP = shop()
CUT = day(250)
KNOWN = Calendar.of(SHOP, CUT)
LEARNED = learn(KNOWN, day_number(CUT), 91)
MODEL = fit(SHOP, CUT, model="blend")


def learned() -> Learned:
    assert LEARNED is not None
    return LEARNED


def planted(on: int) -> pl.DataFrame:
    """The shop with one enormous purchase of every customer on a day."""
    amount = pl.lit(Decimal("99999.00")).cast(pl.Decimal(18, 2))
    rows = SHOP.select("customer_id").unique().with_columns(pl.lit(day(on)).alias("ordered_on"), amount.alias("amount"))
    return pl.concat([SHOP, rows]).group_by("customer_id", "ordered_on").agg(pl.col("amount").sum())


@settings(deadline=None, max_examples=10)
@given(st.integers(251, 364))
def test_no_feature_sees_a_row_after_the_day(on: int) -> None:
    with_rows = Past(Calendar.of(planted(on), day(364)), day_number(CUT))
    np.testing.assert_array_equal(with_rows.features(), Past(KNOWN, day_number(CUT)).features())
    assert with_rows.spend.sum() == Past(KNOWN, day_number(CUT)).spend.sum()


def test_a_row_planted_on_the_day_itself_is_seen() -> None:
    seen = Past(Calendar.of(planted(250), day(364)), day_number(CUT))
    names = list(FEATURES)
    assert (seen.features()[:, names.index("recency_days")] == 0).all()
    assert (seen.features()[:, names.index("largest")] >= 99999).all()


def test_what_is_learned_knows_nothing_after_its_day() -> None:
    assert learn(Calendar.of(planted(251), day(364)), day_number(CUT), 91) == learned()


def test_every_example_ends_where_its_outcome_begins_and_its_outcome_before_the_day() -> None:
    found = learned()
    assert found.days == 251 // 3
    assert found.cuts[0] == day_number(CUT) - found.days
    assert all(cut - day_number(day(0)) >= found.days for cut in found.cuts)


def test_what_is_learned_adds_up_to_what_the_newest_examples_spent() -> None:
    found, cut = learned(), learned().cuts[0]
    past = Past(KNOWN, cut)
    old = past.tenure_days >= 14
    came = KNOWN.spend(cut, cut + found.days)[past.place][old].sum()
    for figure in found.expected_spend(past):
        assert figure[old].sum() == pytest.approx(came, rel=0.01)


def test_a_history_too_short_teaches_nothing() -> None:
    assert learn(KNOWN, day_number(day(30)), 91) is None
    assert learn(Calendar.of(SHOP.clear(), CUT), day_number(CUT), 91) is None


def rows(n: int = 800, seed: int = 0) -> tuple[Floats, Floats]:
    generator = np.random.default_rng(seed)
    X = generator.gamma(2.0, 2.0, (n, len(FEATURES)))
    X[generator.random(X.shape) < 0.1] = np.nan
    return X, generator.poisson(np.exp(np.nan_to_num(X[:, 0]) / 4)).astype(float)


def test_trees_say_what_scikit_learn_says() -> None:
    X, y = rows()
    model = HistGradientBoostingRegressor(
        loss="poisson",
        max_iter=9,
        max_depth=3,
        max_leaf_nodes=8,
        early_stopping=False,  # pyright: ignore[reportArgumentType]  # its default alone was looked at
        random_state=0,
    ).fit(X, y)
    ours = complete([model], X.shape[1])
    np.testing.assert_allclose(ours.predict(np.asfortranarray(X)), model.predict(X), rtol=1e-12)


def test_trees_and_line_survive_being_stored() -> None:
    X, y = rows()
    for model, kind in ((Trees.fit(X, y, trees=5, bags=2), Trees), (LogLinear.fit(X, y), LogLinear)):
        restored = kind.from_json(model.as_json())
        assert restored == model
        np.testing.assert_array_equal(restored.predict(X), model.predict(X))


def test_trees_rise_and_fall_only_as_they_may() -> None:
    X, y = rows()
    trees = Trees.fit(X, y, list(FEATURES.values()), trees=20)
    generator = np.random.default_rng(1)
    for column, law in enumerate(FEATURES.values()):
        more = np.nan_to_num(X, nan=1.0)
        less = more.copy()
        more[:, column] += generator.gamma(1.0, 3.0, len(X))
        assert (law * (trees.predict(more) - trees.predict(less)) >= -1e-12).all()


def test_a_feature_that_is_known_of_nobody_says_nothing() -> None:
    X, y = rows()
    column = list(FEATURES).index("gap_std")
    X[:, column] = np.nan
    trees = Trees.fit(X, y, trees=5, bags=2)
    told = np.nan_to_num(X, nan=9.0)
    assert trees.importance[column] == 0
    assert np.isfinite(trees.predict(told)).all()
    assert Trees.from_json(trees.as_json()) == trees


def test_a_line_is_not_followed_beyond_what_was_seen() -> None:
    X, y = rows()
    line = LogLinear.fit(X, y)
    top = np.nanmax(X, axis=0)[None, :]
    assert line.predict(top * 50)[0] == pytest.approx(line.predict(top)[0])


def test_what_was_learned_from_other_features_is_refused() -> None:
    altered = MODEL.files()["clv.json"].replace(b'"recency_days"', b'"star_sign"')
    with pytest.raises(ValueError, match="train it again"):
        CLVModel.from_files({"clv.json": altered})


def test_a_model_is_kept_while_it_does_and_says_why_not() -> None:
    assert retrain_reason(MODEL, SHOP, CUT) is None
    assert retrain_reason(MODEL, SHOP, CUT + timedelta(days=14)) is None
    assert retrain_reason(MODEL, SHOP, CUT + timedelta(days=28)) == "it is 28 days old"
    assert retrain_reason(MODEL, SHOP, CUT, every_days=0) == "it is 0 days old"
    assert "no longer there" in str(retrain_reason(MODEL, SHOP, day(240)))
    more = pl.concat([SHOP, SHOP.with_columns(pl.concat_str(pl.lit("x"), "customer_id").alias("customer_id"))])
    assert "customers went from" in str(retrain_reason(MODEL, more, CUT))
    assert "of what it expected in 14 days" in str(retrain_reason(MODEL, planted(255), CUT + timedelta(days=14)))


def test_each_day_is_answered_by_the_newest_model_that_saw_nothing_after_it() -> None:
    early = fit(SHOP, day(200), model="pareto_nbd x gamma_gamma")
    days = [day(190), day(210), day(250), day(257)]
    history = trajectory(SHOP, [MODEL, early], days)
    assert history["as_of"].unique(maintain_order=True).to_list() == days[1:]
    said = history.drop_nulls("model").group_by("as_of").agg(pl.col("model").first()).sort("as_of")
    assert said["model"].to_list() == [early.model, "blend", "blend"]
    assert models_of([], MODEL) == [MODEL]


def test_history_is_drawn_without_saying_whose_it_is() -> None:
    history = trajectory(SHOP, [MODEL], [day(250), day(257), day(264)])
    assert sorted(examples(history)["customer"].unique()) == ["A", "B", "C", "D", "E"]
    quantiles = over_time(history).pivot(on="quantile", index="as_of", values="spend")
    assert (quantiles["one in ten below"] <= quantiles["half below"]).all()
    text = clv_history(history).to_json()
    assert not any(f'"{customer}"' in text for customer in SHOP["customer_id"].unique())
    assert clv_history(history.clear()).to_json()
    own = customer_history(history, str(SHOP["customer_id"][0])).to_dict()
    assert len(next(iter(own["datasets"].values()))) == 3
