"""Who gets a list, what is on it, who speaks for it, and whether the reason is true."""

import datetime as dt
import sys

import numpy as np
import polars as pl
import pytest

from cer_assets.recommend import (
    RECOMMENDATIONS,
    UNKNOWN,
    Als,
    AlsByBucket,
    Context,
    PersonalFrequency,
    Policy,
    Popularity,
    Recommender,
    Trending,
    all_families,
    interactions,
    learn_rhythm,
    rank,
)
from cer_assets.recommend.context import ContextLift
from cer_assets.recommend.families.content import Content
from cer_assets.recommend.hybrid.ensemble import Hybrid
from cer_assets.recommend.rank import short_lists
from cer_assets_tests.recommend.conftest import CUSTOMERS, CUT, SMALL, START, catalogue, order_lines

DAY = dt.timedelta(days=1)
LAST = CUT - DAY
EVERYONE = pl.Series([f"c{number:02}" for number in range(CUSTOMERS)])


@pytest.fixture(scope="module")
def lines(shop: pl.DataFrame) -> pl.DataFrame:
    """The shop, and one who has bought one product only, so that the list must discover nine."""
    return pl.concat([shop, order_lines([("c99", "p02", START + n * 30 * DAY) for n in range(3)])])


@pytest.fixture(scope="module")
def als(lines: pl.DataFrame, buckets: pl.DataFrame) -> AlsByBucket:
    bucket = pl.concat([buckets, pl.DataFrame({"customer_id": ["c99"], "bucket": ["low"]})])
    return AlsByBucket(SMALL).fit(interactions(lines, CUT, 2, traits=bucket), catalogue(), CUT)


@pytest.fixture(scope="module")
def frequency(lines: pl.DataFrame) -> PersonalFrequency:
    return PersonalFrequency().fit(interactions(lines, CUT, 2), catalogue(), CUT)


def of(customer: str, lists: pl.DataFrame) -> pl.DataFrame:
    return lists.filter(pl.col("customer_id") == customer)


def test_the_rows_are_those_of_the_table_in_order(als: Recommender) -> None:
    lists = rank(als, EVERYONE.shuffle(seed=1), catalogue(), LAST)
    assert dict(lists.schema) == RECOMMENDATIONS
    assert lists.select("customer_id", "rank").is_duplicated().sum() == 0
    assert lists.equals(lists.sort("customer_id", "rank"))
    assert lists["as_of"].unique().to_list() == [LAST]
    assert lists.null_count().sum_horizontal().item() == 0
    assert (lists.select("source", "reason") != "").to_numpy().all()
    for _, own in lists.group_by("customer_id"):
        assert own["rank"].to_list() == list(range(1, own.height + 1))
        assert own["score"].is_sorted(descending=True)
        assert own["product_id"].is_unique().all()


def test_a_product_bought_before_says_how_often_and_when(frequency: Recommender) -> None:
    first = of("c99", rank(frequency, pl.Series(["c99"]), catalogue(), LAST)).row(0, named=True)
    assert (first["product_id"], first["source"]) == ("p02", "personal_frequency")
    assert first["reason"] == "Bought 3 times, about every 30 days, last on 2024-03-01: due now"


def test_every_repeat_was_bought_and_no_other_product_was(als: Recommender, lines: pl.DataFrame) -> None:
    lists = rank(als, EVERYONE, catalogue(), LAST).filter(pl.col("customer_id") != UNKNOWN)
    own = lines.filter(pl.col("ordered_on") < CUT).select("customer_id", "product_id").unique()
    bought = lists.join(own, on=["customer_id", "product_id"], how="semi")
    said = lists.filter(pl.col("reason").str.contains("^Bought (once|twice|[0-9]+ times)"))
    assert bought.height == said.height > 0
    assert bought.equals(said)


def test_a_discovery_names_the_product_behind_it(als: Recommender) -> None:
    own = of("c99", rank(als, pl.Series(["c99"]), catalogue(), LAST))
    nearest = own.filter(pl.col("product_id") != "p02").head(4)
    assert (nearest["product_id"] < "p15").all()
    assert nearest["reason"].unique().to_list() == ["Goes with Product 2, which you buy often"]
    assert nearest["source"].str.starts_with("als").all()


def test_a_product_is_not_explained_by_another_of_the_same_title(als: Recommender) -> None:
    same = catalogue().with_columns(title=pl.lit("Whole milk"))
    own = of("c99", rank(als, pl.Series(["c99"]), same, LAST)).filter(pl.col("product_id") != "p02")
    assert own["reason"].unique().to_list() == ["Bought by customers whose baskets are like yours"]


def test_without_titles_the_products_go_by_type_or_number(als: Recommender) -> None:
    untitled = catalogue().with_columns(
        title=pl.lit(None, pl.String),
        type=pl.when(pl.col("product_id") == "p02").then(pl.lit("Bread")),
    )
    for products, name in (
        (untitled, "Bread"),
        (untitled.drop("type"), "product p02"),
        (pl.DataFrame(), "product p02"),
    ):
        reasons = of("c99", rank(als, pl.Series(["c99"]), products, LAST))["reason"]
        assert f"Goes with {name}, which you buy often" in reasons.to_list()


def test_a_stranger_and_the_unknown_are_shown_what_is_trending(als: Recommender) -> None:
    lists = rank(als, pl.Series(["stranger"]), catalogue(), LAST)
    assert lists["customer_id"].unique().sort().to_list() == ["stranger", UNKNOWN]
    assert lists["source"].unique().to_list() == ["trending"]
    assert lists["reason"].str.contains(r"^Bought by \d+ customers in the last 8 weeks$").all()
    trending = Trending().fit(als.interactions_, catalogue(), CUT).recommend(pl.Series(["stranger"]), 10)
    assert of("stranger", lists)["product_id"].to_list() == trending["product_id"].to_list()


def test_who_looked_but_never_bought_is_shown_what_is_like_it_then_what_is_trending(shop: pl.DataFrame) -> None:
    events = pl.DataFrame(
        {"customer_id": ["looker"], "product_id": ["p03"], "kind": ["view"], "occurred_at": [dt.datetime(2024, 3, 30)]}
    )
    products = catalogue().with_columns(
        type=pl.when(pl.col("product_id") < "p04").then(pl.lit("Tea")).otherwise(pl.lit("Bread")),
        title=pl.lit(None, pl.String),
    )
    history = interactions(shop, CUT, 2, events=events)
    own = of("looker", rank(Als(SMALL).fit(history, products, CUT), pl.Series(["looker"]), products, LAST))
    assert own["source"].to_list()[:4] == ["content"] * 4
    assert set(own["product_id"][:4]) == {"p00", "p01", "p02", "p03"}
    assert own.filter(pl.col("product_id") == "p03")["reason"].item() == "You looked at it on 2024-03-30"
    assert own.height == 10


def test_who_only_opened_an_email_is_not_said_to_have_looked(shop: pl.DataFrame) -> None:
    events = pl.DataFrame(
        {
            "customer_id": ["reader"],
            "product_id": ["p03"],
            "kind": ["email_open"],
            "occurred_at": [dt.datetime(2024, 3, 30)],
        }
    )
    history = interactions(shop, CUT, 2, events=events)
    lists = rank(Als(SMALL).fit(history, catalogue(), CUT), pl.Series(["reader"]), catalogue(), LAST, k=30)
    assert "p03" in of("reader", lists)["product_id"]
    assert of("reader", lists).drop("customer_id").equals(of(UNKNOWN, lists).drop("customer_id"))


def test_where_a_model_says_too_little_others_follow_below_it(lines: pl.DataFrame) -> None:
    class Terse(Popularity):
        def score(self, rows: np.ndarray, context: Context | None = None) -> np.ndarray:
            scores = super().score(rows)
            scores[:, 3:] = -np.inf
            return scores

    own = of("c00", rank(Terse().fit(interactions(lines, CUT, 2), catalogue(), CUT), EVERYONE, catalogue(), LAST))
    assert own["source"].to_list() == ["popularity"] * 3 + ["trending"] * 7
    assert own["score"].is_sorted(descending=True)


def test_who_withdrew_has_no_list_and_is_in_no_matrix(lines: pl.DataFrame) -> None:
    withdrawn = pl.Series(["c00", "stranger"])
    history = interactions(lines, CUT, 2, withdrawn)
    assert not history.customers.is_in(withdrawn.implode()).any()
    assert len(history.rows) < len(interactions(lines, CUT, 2).rows)
    model = PersonalFrequency().fit(history, catalogue(), CUT)
    lists = rank(model, pl.concat([EVERYONE, pl.Series(["stranger"])]), catalogue(), LAST, withdrawn)
    assert not set(lists["customer_id"]) & {"c00", "stranger"}
    assert lists["customer_id"].n_unique() == CUSTOMERS


def test_a_model_or_a_rhythm_of_who_withdrew_is_refused(lines: pl.DataFrame, frequency: Recommender) -> None:
    withdrawn = pl.Series(["c00"])
    with pytest.raises(ValueError, match="1 customers who withdrew") as refused:
        rank(frequency, EVERYONE, catalogue(), LAST, withdrawn)
    assert "c00" not in str(refused.value)
    without = PersonalFrequency().fit(interactions(lines, CUT, 2, withdrawn), catalogue(), CUT)
    rhythm = learn_rhythm(frequency.interactions_, catalogue(), CUT)
    with pytest.raises(ValueError, match="withdrew"):
        rank(without, EVERYONE, catalogue(), LAST, withdrawn, rhythm=rhythm)
    trending = Trending().fit(frequency.interactions_, catalogue(), CUT)
    with pytest.raises(ValueError, match="1 customers who withdrew"):
        rank(without, EVERYONE, catalogue(), LAST, withdrawn, rhythm=rhythm, fallbacks=[trending])
    own = learn_rhythm(without.interactions_, catalogue(), CUT)
    with pytest.raises(ValueError, match="withdrew"):
        rank(without, EVERYONE, catalogue(), LAST, withdrawn, rhythm=own, fallbacks=[trending])


def test_what_cannot_be_bought_is_on_no_list(als: Recommender) -> None:
    fewer = catalogue(p02=False, p03=None).with_columns(merchandise=pl.col("product_id") != "p04")
    unlisted = fewer.filter(pl.col("product_id") != "p05")
    shown = rank(als, pl.concat([EVERYONE, pl.Series(["c99", "stranger"])]), unlisted, LAST)["product_id"].unique()
    assert not set(shown) & {"p02", "p04", "p05"}
    assert "p03" in shown


def test_a_list_is_short_rather_than_filled_up_and_says_so(als: Recommender) -> None:
    lists = rank(als, pl.Series(["c99"]), catalogue().head(4), LAST)
    assert lists.group_by("customer_id").len()["len"].to_list() == [4, 4]
    assert short_lists(lists).rows() == [("c99", 4), (UNKNOWN, 4)]
    assert short_lists(lists, 4).is_empty()


def test_who_has_no_list_at_all_has_a_short_one(als: Recommender) -> None:
    lists = rank(als, pl.Series(["c99"]), catalogue().head(4), LAST)
    asked = pl.Series(["none", "c99", "none", None])
    assert short_lists(lists, 4, asked).rows() == [("none", 0)]
    assert short_lists(lists, 5, asked).rows() == [("c99", 4), ("none", 0), (UNKNOWN, 4)]
    assert short_lists(lists.clear(), 5, asked).rows() == [("c99", 0), ("none", 0)]


def test_a_stranger_is_shown_nothing_that_nobody_bought_lately() -> None:
    old = order_lines([("c00", "p00", START), ("c01", "p00", START), ("c00", "p01", START), ("c01", "p01", START)])
    new = order_lines([("c02", "p07", LAST), ("c03", "p07", LAST)])
    model = PersonalFrequency().fit(interactions(pl.concat([old, new]), CUT, 2), catalogue(), CUT)
    lists = rank(model, pl.Series(["stranger"]), catalogue(), LAST)
    assert lists.select("customer_id", "product_id").rows() == [("stranger", "p07"), (UNKNOWN, "p07")]


@pytest.mark.parametrize("share", [0.1, 0.3, 1.0])
def test_one_category_has_no_more_of_a_list_than_its_share(frequency: Recommender, share: float) -> None:
    shelved = catalogue().with_columns(
        category=pl.when(pl.col("product_id") < "p20")
        .then(pl.lit("food"))
        .when(pl.col("product_id") < "p25")
        .then(None)
    )
    policy = Policy(category_share=share)
    lists = rank(frequency, EVERYONE, shelved, LAST, policy=policy).join(shelved, on="product_id")
    food = lists.filter(pl.col("category") == "food").group_by("customer_id").len()
    assert food["len"].max() == policy.most_of_category(10)


FRIDGES = pl.DataFrame(
    {
        "product_id": ["fridge0", "fridge1", "fridge2"],
        "title": ["Fridge", "Large fridge", "Fridge with a freezer"],
        "type": ["fridge"] * 3,
        "available": [True] * 3,
        "merchandise": [True] * 3,
    }
)


@pytest.fixture(scope="module")
def home_shop(shop: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The shop sells fridges too, to each customer at most once; c00 and `new` bought theirs yesterday.

    They are the best sellers of the last weeks by far, so that nothing but the policy keeps one off a list.
    """
    bought = [(f"c{n:02}", f"fridge{n % 3}", LAST - (n % 9) * DAY) for n in range(CUSTOMERS) if n != 1]
    bought += [(f"x{n:03}", f"fridge{n % 3}", LAST - (n % 7) * DAY) for n in range(90)]
    bought += [("new", "fridge0", LAST)]
    products = pl.concat([catalogue().with_columns(type=pl.lit(None, pl.String)), FRIDGES], how="diagonal")
    events = pl.DataFrame(
        {
            "customer_id": ["new", "c00", "c01"],
            "product_id": ["fridge1"] * 3,
            "kind": ["cart"] * 3,
            "occurred_at": [dt.datetime.combine(LAST, dt.time(8))] * 3,
        }
    )
    return pl.concat([shop, order_lines(bought)]), products, events


def hybrid() -> Hybrid:
    families = (PersonalFrequency, Popularity, Trending, Content)
    return Hybrid(families=lambda: {model.name: model for model in (family() for family in families)})


@pytest.mark.parametrize("family", [*sorted(all_families()), "hybrid"])
def test_what_lasts_and_was_bought_yesterday_is_shown_by_no_family_and_no_fallback(
    family: str, home_shop: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame], buckets: pl.DataFrame
) -> None:
    lines, products, events = home_shop
    history = interactions(lines, CUT, 2, traits=buckets, events=events)
    model = (hybrid() if family == "hybrid" else all_families()[family]).fit(history, products, CUT)
    lists = rank(model, pl.Series(["c00", "c01", "new", "stranger"]), products, LAST)
    fridges = lists.filter(pl.col("product_id").str.starts_with("fridge"))["customer_id"].unique()
    assert not set(fridges) & {"c00", "new"}
    assert {"stranger", UNKNOWN} <= set(fridges)


def test_a_lasting_product_too_rare_to_be_a_candidate_holds_its_type_back_all_the_same(shop: pl.DataFrame) -> None:
    products = pl.concat([catalogue().with_columns(type=pl.lit(None, pl.String)), FRIDGES], how="diagonal")
    sold = [(f"x{n:02}", "fridge0", LAST - n * DAY) for n in range(12)]
    lines = pl.concat([shop, order_lines([*sold, ("c00", "fridge2", LAST)])])
    history = interactions(lines, CUT, 10)
    assert "fridge2" not in history.products
    model = Popularity().fit(history, products, CUT)
    wide = Policy(purchases=0)
    everything = learn_rhythm(interactions(lines, CUT, 1), products, CUT)
    lists = rank(model, pl.Series(["c00", "c01"]), products, LAST, policy=wide, rhythm=everything, k=40)
    assert "fridge0" in of("c01", lists)["product_id"]
    assert "fridge0" not in of("c00", lists)["product_id"]


def test_what_is_near_its_rhythm_comes_forward() -> None:
    def weekly(customer: str, product: str, ago: int) -> list[tuple[str | None, str, dt.date]]:
        return [(customer, product, CUT - (ago + 7 * n) * DAY) for n in range(8)]

    bought = [line for n in range(30) for line in weekly(f"c{n:02}", f"p0{n % 2}", n % 7 + 1)]
    lines = order_lines([*bought, *weekly("me", "p00", 1), *weekly("me", "p01", 7)])
    model = PersonalFrequency().fit(interactions(lines, CUT, 2), catalogue(), CUT)
    plain, ours = Policy(forward=0, back=0), Policy()
    shown = {
        policy: rank(model, pl.Series(["me"]), catalogue(), LAST, policy=policy).head(2)["product_id"].to_list()
        for policy in (plain, ours)
    }
    assert shown == {plain: ["p00", "p01"], ours: ["p01", "p00"]}


def test_a_moment_of_which_nothing_is_known_changes_nothing(lines: pl.DataFrame) -> None:
    history = interactions(lines, CUT, 2)
    lift = ContextLift().fit(history, catalogue(), CUT)
    customers = pl.concat([EVERYONE, pl.Series(["stranger"])])
    for model in (PersonalFrequency(), Als(SMALL), Trending()):
        fitted = model.fit(history, catalogue(), CUT)
        plain = rank(fitted, customers, catalogue(), LAST)
        assert rank(fitted, customers, catalogue(), LAST, context=Context(), lift=lift).equals(plain)
        assert rank(fitted, customers, catalogue(), LAST, context=Context()).equals(plain)


def test_a_moment_that_is_known_puts_forward_what_is_bought_in_it() -> None:
    bought = [(f"c{n:02}", product, START + day * DAY) for n in range(20) for day in range(9) for product in "ab"]
    hour = pl.when(pl.col("product_id") == "a").then(8).otherwise(20)
    lines = order_lines(bought).with_columns(pl.col("ordered_at").dt.replace(hour=hour))
    history, products = interactions(lines, CUT, 2), pl.DataFrame({"product_id": ["a", "b"]})
    model, lift = PersonalFrequency().fit(history, products, CUT), ContextLift().fit(history, products, CUT)
    first = {
        hour: rank(model, pl.Series(["c00"]), products, LAST, context=Context(hour=hour), lift=lift)["product_id"][0]
        for hour in (8, 20)
    }
    assert first == {8: "a", 20: "b"}


def test_smaller_blocks_give_the_same_lists(als: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rank(als, EVERYONE, catalogue(), LAST)
    monkeypatch.setattr(sys.modules["cer_assets.recommend.rank"], "block_size", lambda width: 7)
    assert rank(als, EVERYONE, catalogue(), LAST).drop("score").equals(whole.drop("score"))


def test_the_order_of_lines_and_customers_changes_nothing(shop: pl.DataFrame) -> None:
    def lists(seed: int) -> pl.DataFrame:
        shuffled = shop.sample(fraction=1, shuffle=True, seed=seed)
        model = Als(SMALL).fit(interactions(shuffled, CUT, 2), catalogue(), CUT)
        return rank(model, EVERYONE.shuffle(seed=seed), catalogue().sample(fraction=1, shuffle=True, seed=seed), LAST)

    assert lists(1).equals(lists(2))


def test_a_shop_without_purchases_has_no_lists(shop: pl.DataFrame) -> None:
    model = PersonalFrequency().fit(interactions(shop.clear(), CUT, 2), catalogue(), CUT)
    lists = rank(model, EVERYONE, catalogue(), LAST)
    assert (dict(lists.schema), lists.height) == (RECOMMENDATIONS, 0)


def test_scores_are_finite(als: Recommender, frequency: Recommender) -> None:
    for model in (als, frequency):
        assert np.isfinite(rank(model, EVERYONE, catalogue(), LAST)["score"].to_numpy()).all()
