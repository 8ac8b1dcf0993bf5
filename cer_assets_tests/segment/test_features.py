from datetime import timedelta
from math import exp, log, log1p

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cer_assets.segment import behaviour_features, preference_features
from cer_assets.segment.features import TOP_CATEGORIES
from cer_assets_tests.segment.shops import AS_OF, CATALOGUE, START, lines, rfm, town

TOWN = town(60)


def behaviour(order_lines: pl.DataFrame) -> pl.DataFrame:
    return behaviour_features(order_lines, CATALOGUE, rfm(order_lines), AS_OF)


def preference(order_lines: pl.DataFrame) -> pl.DataFrame:
    return preference_features(order_lines, CATALOGUE, rfm(order_lines), AS_OF)


TWO = lines(
    ("ann", "a1", "ale", "10.00", 0, 9),
    ("ann", "a1", "beef", "10.00", 0, 9),
    ("ann", "a2", "ale", "10.00", 20, 21),
    ("bob", "b1", "cake", "5.00", 3, 1),
)


def test_features_are_what_their_names_say() -> None:
    ann = behaviour(TWO).row(0, named=True)
    assert ann["recency"] == pytest.approx(log1p((AS_OF - START).days - 20))
    assert ann["frequency"] == pytest.approx(log1p(2))
    assert ann["monetary"] == pytest.approx(log1p(30))
    assert ann["gap"] == pytest.approx(log1p(20))
    assert exp(ann["basket_lines"]) == pytest.approx(1.5)
    assert exp(ann["basket_amount"]) == pytest.approx(15)
    assert ann["breadth"] == pytest.approx(log1p(2))
    assert ann["discount"] == 0


def test_one_day_of_purchases_has_the_time_since_as_its_gap() -> None:
    bob = behaviour(TWO).row(1, named=True)
    assert bob["gap"] == pytest.approx(log1p((AS_OF - START).days - 3))


def test_a_share_of_few_baskets_is_drawn_towards_everyones_and_the_small_hours_are_evening() -> None:
    ann, bob = behaviour(TWO).iter_rows(named=True)
    # Of three baskets one was in the morning and two in the evening, one of them after midnight.
    assert ann["morning"] == pytest.approx((1 + 10 / 3) / 12)
    assert ann["evening"] == pytest.approx((1 + 20 / 3) / 12)
    assert bob["evening"] == pytest.approx((1 + 20 / 3) / 11)
    assert ann["midday"] == 0


def test_a_discount_counts_as_a_share_of_the_price_before_it() -> None:
    cheap = TWO.with_columns((pl.col("amount") / 4).cast(pl.Decimal(18, 2)).alias("discount"))
    assert behaviour(cheap)["discount"].to_list() == pytest.approx([0.2, 0.2])
    assert behaviour(TWO.with_columns(pl.lit(None, pl.Decimal(18, 2)).alias("discount")))["discount"].sum() == 0


def test_what_is_no_merchandise_of_nobody_or_in_the_future_leaves_no_trace() -> None:
    noise = pl.concat(
        [
            lines(("ann", "a3", "dye", "70.00", 5, 9)).with_columns(pl.lit(False).alias("merchandise")),
            lines((None, "n1", "dye", "70.00", 5, 9)),
            lines(("ann", "a4", "dye", "70.00", (AS_OF - START).days + 1, 9)),
        ]
    )
    for features in (behaviour_features, preference_features):
        clean = features(TWO, CATALOGUE, rfm(TWO), AS_OF)
        assert_frame_equal(features(pl.concat([TWO, noise]), CATALOGUE, rfm(TWO), AS_OF), clean)


def test_an_earlier_day_sees_only_what_was_known_then() -> None:
    day = START + timedelta(days=10)
    known = behaviour_features(TWO, CATALOGUE, rfm(TWO, day), day)
    past = TWO.filter(pl.col("ordered_on") <= day)
    assert_frame_equal(known, behaviour_features(past, CATALOGUE, rfm(past, day), day))


def test_the_order_of_the_rows_leaves_no_trace() -> None:
    shuffled = TOWN.sample(fraction=1, shuffle=True, seed=1)
    turned = rfm(TOWN).reverse()
    for features in (behaviour_features, preference_features):
        straight = features(TOWN, CATALOGUE, rfm(TOWN), AS_OF)
        assert_frame_equal(
            features(shuffled, CATALOGUE.reverse(), turned, AS_OF), straight, check_exact=True, check_column_order=True
        )


def test_every_customer_has_every_feature() -> None:
    for features in (behaviour(TOWN), preference(TOWN)):
        assert features["customer_id"].to_list() == sorted(TOWN["customer_id"].unique())
        values = features.drop("customer_id")
        assert set(values.dtypes) == {pl.Float64}
        assert values.select(pl.all_horizontal(pl.all().is_finite()).all()).item()


def test_a_customer_whose_lines_are_missing_looks_like_everyone() -> None:
    features = behaviour_features(TWO.filter(pl.col("customer_id") == "ann"), CATALOGUE, rfm(TWO), AS_OF)
    assert features["basket_lines"].to_list() == pytest.approx([log(1.5)] * 2)


def test_categories_are_columns_and_a_product_without_one_counts_under_its_department_or_as_unknown() -> None:
    bought = lines(*(("ann", f"a{n}", product, "9.00", n, 9) for n, product in enumerate(CATALOGUE["product_id"])))
    assert set(preference(bought).columns) == {"customer_id", "BEER", "MEAT", "SWEETS", "home", "unknown", "other"}


def test_products_that_the_catalogue_does_not_know_are_unknown() -> None:
    features = preference(lines(("ann", "a1", "mystery", "9.00", 0, 9)))
    assert features.columns == ["customer_id", "unknown", "other"]
    assert features["unknown"].to_list() == [1.0]


def test_squared_shares_add_up_to_one() -> None:
    shares = preference(TOWN).drop("customer_id")
    assert shares.select(pl.sum_horizontal(pl.all() ** 2)).to_series().to_list() == pytest.approx([1.0] * len(shares))


def test_a_little_spend_leaves_a_customer_near_everyone_and_much_spend_tells_their_taste() -> None:
    crowd = TOWN.with_columns(pl.col("amount") * 1)
    little = lines(("zoe", "z0", "ale", "1.00", 0, 9))
    much = lines(*(("zoe", f"z{n}", "ale", "90.00", n % 170, 9) for n in range(100)))
    tastes = [preference(pl.concat([crowd, zoe], how="vertical_relaxed"))["BEER"] for zoe in (little, much)]
    everyone = preference(TOWN)["BEER"].mean()
    assert isinstance(everyone, float)
    assert tastes[0][-1] == pytest.approx(everyone, abs=0.1)
    assert tastes[1][-1] > 0.9


def test_only_the_categories_most_is_spent_on_have_a_column() -> None:
    catalogue = pl.DataFrame(
        {"product_id": [f"p{n}" for n in range(40)], "category": [f"c{n}" for n in range(40)]}
    ).with_columns(pl.lit(None, pl.String).alias("department"))
    bought = lines(*(("ann", f"a{n}", f"p{n}", f"{n + 1}.00", n, 9) for n in range(40)))
    features = preference_features(bought, catalogue, rfm(bought), AS_OF)
    assert features.columns[1:] == [*(f"c{n}" for n in range(39, 39 - TOP_CATEGORIES, -1)), "other"]


def test_the_columns_of_an_earlier_model_can_be_asked_for() -> None:
    features = preference_features(TOWN, CATALOGUE, rfm(TOWN), AS_OF, ["MEAT", "GONE", "other"])
    assert features.columns == ["customer_id", "MEAT", "GONE", "other"]
    assert features["GONE"].unique().to_list() == [0.0]


def test_without_customers_there_are_no_rows() -> None:
    for features in (behaviour_features, preference_features):
        assert features(TOWN, CATALOGUE, rfm(TOWN).clear(), AS_OF).is_empty()
        assert features(TOWN.clear(), CATALOGUE, rfm(TOWN).clear(), AS_OF).is_empty()
