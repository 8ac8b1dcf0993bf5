from datetime import timedelta
from math import exp, log, log1p, sqrt

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from cer_assets.segment import behaviour_features, preference_features
from cer_assets.segment.features import PRIOR, WEEK, weights
from cer_assets_tests.segment.shops import AS_OF, CATALOGUE, LINES, START, Counts, catalogue, counts, lines, town

TOWN = town(60)
COUNTS = counts(TOWN)
NOTHING_KNOWN = pl.DataFrame(schema={"customer_id": pl.String, "age": pl.String})


def behaviour(order_lines: pl.DataFrame) -> pl.DataFrame:
    return behaviour_features(counts(order_lines).habits)


def tastes_of(made: Counts, facts: pl.DataFrame = NOTHING_KNOWN, names: list[str] | None = None) -> pl.DataFrame:
    return preference_features(made.tastes, made.habits, facts, names)


def preference(order_lines: pl.DataFrame, products: pl.DataFrame = CATALOGUE) -> pl.DataFrame:
    return tastes_of(counts(order_lines, products=products))


TWO = lines(
    ("ann", "a1", "ale", "10.00", 0, 9),
    ("ann", "a1", "beef", "10.00", 0, 9),
    ("ann", "a2", "ale", "10.00", 20, 21),
    ("bob", "b1", "cake", "5.00", 3, 1),
)


def test_features_are_what_their_names_say() -> None:
    ann = behaviour(TWO).row(0, named=True)
    assert ann["recency"] == pytest.approx(log((AS_OF - START).days - 20 + WEEK))
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


def test_rhythm_is_steady_where_gaps_are_alike() -> None:
    week, odd = range(0, 175, 7), (0, 1, 2, 3, 60, 61, 62, 120, 121, 174)
    visits = lines(
        *(("ann", f"a{day}", "ale", "9.00", day, 9) for day in week),
        *(("bob", f"b{day}", "ale", "9.00", day, 9) for day in odd),
        ("cyd", "c1", "ale", "9.00", 3, 9),
    )
    habits = counts(visits).habits
    assert habits["gap_days"].to_list() == pytest.approx([7, 174 / 9, None])
    assert habits["gap_variation"].to_list()[::2] == [0, None]
    ann, bob, cyd = behaviour_features(habits)["steadiness"]
    assert ann > cyd > bob


def test_one_place_is_told_from_many_and_from_none_known() -> None:
    shops = TOWN.with_columns(
        pl.when(pl.col("customer_id").str.starts_with("r"))
        .then(pl.lit("main street"))
        .when(pl.col("customer_id").str.starts_with("s"))
        .then(pl.concat_str(pl.lit("shop "), "basket_id"))
        .alias("store_id")
    )
    places = behaviour(shops).group_by(pl.col("customer_id").str.head(1)).agg(pl.col("one_place").mean())
    share = dict(places.iter_rows())
    assert share["r"] > share["l"] > share["s"]
    assert behaviour(TOWN)["one_place"].unique().to_list() == [0]


def test_what_is_no_merchandise_of_nobody_or_in_the_future_leaves_no_trace() -> None:
    noise = pl.concat(
        [
            lines(("ann", "a3", "dye", "70.00", 5, 9)).with_columns(pl.lit(False).alias("merchandise")),
            lines((None, "n1", "dye", "70.00", 5, 9)),
            lines(("ann", "a4", "dye", "70.00", (AS_OF - START).days + 1, 9)),
        ]
    )
    for made, clean in zip(counts(pl.concat([TWO, noise])), counts(TWO), strict=True):
        assert_frame_equal(made, clean)


@settings(deadline=None, max_examples=3)
@given(st.integers(5, 170))
def test_an_earlier_day_sees_only_what_was_known_then(after: int) -> None:
    day = START + timedelta(days=after)
    both, past = counts(TOWN, day, AS_OF), counts(TOWN.filter(pl.col("ordered_on") <= day), day)
    for made, known, whole in zip(both[1:], past[1:], COUNTS[1:], strict=True):
        assert_frame_equal(made.filter(pl.col("as_of") == day), known)
        assert_frame_equal(made.filter(pl.col("as_of") == AS_OF), whole)


def test_the_order_of_the_rows_leaves_no_trace() -> None:
    shuffled = TOWN.sample(fraction=1, shuffle=True, seed=1)
    made = counts(shuffled, products=CATALOGUE.reverse())
    for table, straight in zip(made, COUNTS, strict=True):
        assert_frame_equal(table, straight, check_exact=True)
    turned = Counts(*(table.reverse() for table in made))
    assert_frame_equal(behaviour_features(turned.habits), behaviour_features(COUNTS.habits), check_exact=True)
    assert_frame_equal(tastes_of(turned), tastes_of(COUNTS), check_exact=True, check_column_order=True)


@pytest.mark.parametrize("names", [None, ["brand: other", "category: MEAT", "category: other"]])
def test_sums_do_not_depend_on_the_order_of_their_terms(names: list[str] | None) -> None:
    features = tastes_of(COUNTS, names=names)
    for seed in range(20):
        mixed = Counts(*(table.sample(fraction=1, shuffle=True, seed=seed) for table in COUNTS))
        assert_frame_equal(tastes_of(mixed, names=names), features, check_exact=True)


def test_every_customer_has_every_feature() -> None:
    for features in (behaviour(TOWN), preference(TOWN)):
        assert features["customer_id"].to_list() == sorted(TOWN["customer_id"].unique())
        values = features.drop("customer_id")
        assert set(values.dtypes) == {pl.Float64}
        assert values.select(pl.all_horizontal(pl.all().is_finite()).all()).item()
        assert set(weights(features)) == set(values.columns)


def test_a_customer_whose_lines_are_missing_looks_like_everyone() -> None:
    habits = counts(TWO).habits
    gone = pl.col("customer_id") == "bob"
    without = habits.with_columns(
        pl.when(gone).then(pl.lit(0)).otherwise(name).cast(habits.schema[name]).alias(name)
        for name in ("visits", "lines", "amount", "saved")
    )
    assert behaviour_features(without)["basket_lines"].to_list() == pytest.approx([log(1.5)] * 2)


def test_categories_are_classes_and_a_product_without_one_counts_under_its_department_or_as_unknown() -> None:
    bought = lines(*(("ann", f"a{n}", product, "9.00", n, 9) for n, product in enumerate(CATALOGUE["product_id"])))
    shares = {name for name in preference(bought).columns if name.startswith("category")}
    assert shares == {f"category: {name}" for name in ("BEER", "MEAT", "SWEETS", "home", "unknown")}


def test_products_that_the_catalogue_does_not_know_are_unknown() -> None:
    features = preference(lines(("ann", "a1", "mystery", "9.00", 0, 9)))
    assert features.columns == ["customer_id", "category: unknown", "price: middle"]
    assert features["category: unknown"].to_list() == [1.0]


def test_without_any_category_products_are_told_by_the_words_of_their_titles() -> None:
    titles = ["Red TEA-BAG", "lunch bag, blue", "cake stand", "Small cake tin", "odd", None, "Größe S", "rot / GRÖßE"]
    titles = [*titles, *["the x"] * 9]
    made = counts(TWO, products=catalogue(product_id=[f"p{n:02}" for n in range(17)], title=titles)).assortment
    assert made["category"].to_list()[:6] == ["bag", "bag", "cake", "cake", "unknown", "unknown"]
    assert made["category"].to_list()[6:8] == ["größe", "größe"]
    assert set(made["category"].to_list()[8:]) == {"unknown"}


def test_a_retailer_without_descriptions_has_features_all_the_same() -> None:
    bare = catalogue(product_id=CATALOGUE["product_id"].to_list())
    features = preference(TOWN, bare)
    assert features["category: unknown"].unique().to_list() == [1.0]
    assert features.drop("customer_id").null_count().sum_horizontal().item() == 0
    assert_frame_equal(preference(TOWN, bare.clear()), features)
    assert behaviour_features(counts(TOWN, products=bare).habits)["breadth"].n_unique() == 1


def test_brand_and_price_have_shares_of_their_own() -> None:
    products = catalogue(
        product_id=["ale", "stout", "water"],
        category=["DRINKS"] * 3,
        brand=["Own", "Acme", None],
        price=["1", "4", "2"],
    )
    bought = lines(("ann", "a1", "ale", "1.00", 0, 9), ("bob", "b1", "stout", "4.00", 0, 9))
    made = counts(pl.concat([bought, lines(("cyd", "c1", "water", "2.00", 0, 9))]), products=products)
    said = made.tastes.filter(pl.col("facet") != "category").select("customer_id", "facet", "class").rows()
    assert said == [
        ("ann", "brand", "Own"),
        ("ann", "price", "low"),
        ("bob", "brand", "Acme"),
        ("bob", "price", "high"),
        ("cyd", "price", "middle"),
    ]
    assert {"brand: Own", "price: low"} < set(tastes_of(made).columns)


def test_the_shelf_price_is_told_from_what_was_paid_where_the_catalogue_has_none() -> None:
    products = catalogue(product_id=["ale", "stout", "water"], category=["DRINKS"] * 3)
    amounts = {"ale": "1.00", "stout": "2.00", "water": "4.00"}
    bought = lines(*(("ann", f"a{p}", p, amount, 0, 9) for p, amount in amounts.items()))
    halved = bought.with_columns(
        (pl.col("amount") / 2).cast(LINES["amount"]).alias("amount"),
        (pl.col("amount") / 2).cast(LINES["discount"]).alias("discount"),
    )
    shares = [
        preference(b, products).select("price: low", "price: middle", "price: high").row(0) for b in (bought, halved)
    ]
    assert shares[0] == pytest.approx([sqrt(1 / 7), sqrt(2 / 7), sqrt(4 / 7)])
    assert shares[1] == pytest.approx(shares[0])


def test_squared_shares_of_a_facet_add_up_to_one() -> None:
    shares = preference(TOWN).select(pl.col("^category: .*$"))
    assert shares.select(pl.sum_horizontal(pl.all() ** 2)).to_series().to_list() == pytest.approx([1.0] * len(shares))


def test_a_little_spend_leaves_a_customer_near_everyone_and_much_spend_tells_their_taste() -> None:
    little = lines(("zoe", "z0", "ale", "1.00", 0, 9))
    much = lines(*(("zoe", f"z{n}", "ale", "90.00", n % 170, 9) for n in range(100)))
    tastes = [preference(pl.concat([TOWN, zoe]))["category: BEER"] for zoe in (little, much)]
    everyone = preference(TOWN)["category: BEER"].mean()
    assert isinstance(everyone, float)
    assert tastes[0][-1] == pytest.approx(everyone, abs=0.1)
    assert tastes[1][-1] > 0.9


def test_a_household_of_which_nothing_is_known_is_like_everyone() -> None:
    facts = pl.DataFrame({"customer_id": ["r0", "r1", "s0"], "age": ["65+", "65+", "19-24"], "kids": [None, None, "2"]})
    features = tastes_of(COUNTS, facts)
    old = dict(features.select("customer_id", pl.col("age: 65+") ** 2).iter_rows())
    assert old["r0"] == pytest.approx((1 + PRIOR * 2 / 3) / (1 + PRIOR))
    assert old["s0"] == pytest.approx(PRIOR * 2 / 3 / (1 + PRIOR))
    assert old["l0"] == pytest.approx(2 / 3)
    assert features["kids: 2"].unique().to_list() == [1.0]


def test_only_the_categories_most_is_spent_on_have_a_class() -> None:
    names: list[str | None] = [f"c{n:02}" for n in range(40)]
    bought = lines(*(("ann", f"a{n}", f"c{n:02}", f"{n + 1}.00", n, 9) for n in range(40)))
    features = preference(bought, catalogue(product_id=names, category=names))
    shares = [name for name in features.columns if name.startswith("category")]
    assert shares == [*(f"category: c{n}" for n in range(20, 40)), "category: other"]


def test_the_features_of_an_earlier_model_can_be_asked_for() -> None:
    names = ["category: GONE", "category: MEAT", "category: other"]
    features = tastes_of(COUNTS, names=names)
    assert features.columns == ["customer_id", *names]
    assert features["category: GONE"].unique().to_list() == [0.0]
    assert features.select((pl.col("category: MEAT") ** 2 + pl.col("category: other") ** 2).min()).item() > 0.999


def test_without_customers_there_are_no_rows() -> None:
    nobody = counts(TOWN.clear())
    for features in (behaviour_features(nobody.habits), tastes_of(nobody)):
        assert features.is_empty()
