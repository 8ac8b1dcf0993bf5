"""Who gets a list, what is on it, and whether the reason is true."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

import cer_assets.recommend.model
from cer_assets.recommend import RECOMMENDATIONS, UNKNOWN, Als, AlsByBucket, Blend, interactions, rank
from cer_assets_tests.recommend.conftest import CUSTOMERS, CUT, SMALL, START, catalogue, order_lines

DAY = dt.timedelta(days=1)
EVERYONE = pl.Series([f"c{number:02}" for number in range(CUSTOMERS)])


@pytest.fixture(scope="module")
def blend(shop: pl.DataFrame, buckets: pl.DataFrame) -> Blend:
    # One who has bought one product only, so that the list must discover nine.
    thin = order_lines([("c99", "p02", START), ("c99", "p02", START + DAY), ("c99", "p02", START + 2 * DAY)])
    bucket = pl.concat([buckets, pl.DataFrame({"customer_id": ["c99"], "bucket": ["low"]})])
    return Blend(AlsByBucket(bucket, SMALL)).fit(interactions(pl.concat([shop, thin]), CUT, 2), catalogue(), CUT)


def test_the_rows_are_those_of_the_table_in_order(blend: Blend) -> None:
    lists = rank(blend, EVERYONE.shuffle(seed=1), catalogue(), CUT)
    assert dict(lists.schema) == RECOMMENDATIONS
    assert lists.select("customer_id", "rank").is_duplicated().sum() == 0
    assert lists.equals(lists.sort("customer_id", "rank"))
    assert lists["as_of"].unique().to_list() == [CUT]
    assert lists.null_count().sum_horizontal().item() == 0


def test_a_product_bought_before_says_how_often_and_when(blend: Blend) -> None:
    first = rank(blend, pl.Series(["c99"]), catalogue(), CUT).row(0, named=True)
    assert (first["product_id"], first["source"]) == ("p02", "repeat")
    assert first["reason"] == "Bought 3 times, last on 2024-01-03"


def test_every_repeat_was_bought_and_no_other_product_was(blend: Blend, shop: pl.DataFrame) -> None:
    lists = rank(blend, EVERYONE, catalogue(), CUT).filter(pl.col("customer_id") != UNKNOWN)
    own = shop.filter(pl.col("ordered_on") < CUT).select("customer_id", "product_id").unique()
    bought = lists.join(own, on=["customer_id", "product_id"], how="semi")
    assert bought.height == lists.filter(pl.col("source") == "repeat").height
    assert set(bought["source"]) == {"repeat"}


def test_a_discovery_names_the_product_behind_it(blend: Blend) -> None:
    discovered = rank(blend, pl.Series(["c99"]), catalogue(), CUT).filter(pl.col("source") == "als:low")
    assert discovered.height == 9
    nearest = discovered.head(4)
    assert (nearest["product_id"] < "p15").all()
    assert nearest["reason"].unique().to_list() == ["Goes with Product 2, which you buy often"]


def test_a_product_is_not_explained_by_another_of_the_same_title(blend: Blend) -> None:
    same = catalogue().with_columns(title=pl.lit("Whole milk"))
    discovered = rank(blend, pl.Series(["c99"]), same, CUT).filter(pl.col("source") == "als:low")
    assert discovered["reason"].unique().to_list() == ["Bought by customers whose baskets are like yours"]


def test_without_titles_the_products_go_by_type_or_number(blend: Blend) -> None:
    untitled = catalogue().with_columns(
        title=pl.lit(None, pl.String),
        type=pl.when(pl.col("product_id") == "p02").then(pl.lit("Bread")),
    )
    for products, name in (
        (untitled, "Bread"),
        (untitled.drop("type"), "product p02"),
        (pl.DataFrame(), "product p02"),
    ):
        discovered = rank(blend, pl.Series(["c99"]), products, CUT).filter(pl.col("source") == "als:low")
        assert f"Goes with {name}, which you buy often" in discovered["reason"].to_list()


def test_a_stranger_and_the_unknown_are_shown_what_is_trending(blend: Blend) -> None:
    lists = rank(blend, pl.Series(["stranger"]), catalogue(), CUT)
    assert lists["customer_id"].unique().sort().to_list() == ["stranger", UNKNOWN]
    assert lists["source"].unique().to_list() == ["trending"]
    assert lists["reason"].str.contains(r"^Bought by \d+ customers in the last 8 weeks$").all()
    trending = blend.trending_.recommend(pl.Series(["stranger"]), 10)["product_id"].to_list()
    assert lists.filter(pl.col("customer_id") == "stranger")["product_id"].to_list() == trending


def test_who_withdrew_has_no_list(blend: Blend) -> None:
    lists = rank(blend, EVERYONE, catalogue(), CUT, withdrawn=pl.Series(["c00", "stranger"]))
    assert "c00" not in lists["customer_id"].to_list()
    assert lists["customer_id"].n_unique() == CUSTOMERS


def test_what_cannot_be_bought_is_on_no_list(blend: Blend) -> None:
    fewer = catalogue(p02=False, p03=None).with_columns(merchandise=pl.col("product_id") != "p04")
    unlisted = fewer.filter(pl.col("product_id") != "p05")
    shown = rank(blend, pl.concat([EVERYONE, pl.Series(["c99", "stranger"])]), unlisted, CUT)["product_id"].unique()
    assert not set(shown) & {"p02", "p04", "p05"}
    assert "p03" in shown


def test_a_list_is_short_rather_than_filled_up(blend: Blend) -> None:
    few = catalogue().head(4)
    assert rank(blend, pl.Series(["c99"]), few, CUT).group_by("customer_id").len()["len"].to_list() == [4, 4]


def test_a_stranger_is_shown_nothing_that_nobody_bought_lately(shop: pl.DataFrame) -> None:
    old = order_lines([("c00", "p00", START), ("c01", "p00", START), ("c00", "p01", START), ("c01", "p01", START)])
    new = order_lines([("c02", "p07", CUT - DAY), ("c03", "p07", CUT - DAY)])
    blend = Blend(AlsByBucket(pl.DataFrame(schema={"customer_id": pl.String, "bucket": pl.String})))
    blend.fit(interactions(pl.concat([old, new]), CUT, 2), catalogue(), CUT)
    lists = rank(blend, pl.Series(["c00", "stranger"]), catalogue(), CUT)
    assert lists.select("customer_id", "product_id").rows() == [
        *[("c00", product) for product in ("p00", "p01", "p07")],
        ("stranger", "p07"),
        (UNKNOWN, "p07"),
    ]


def test_smaller_blocks_give_the_same_lists(blend: Blend, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rank(blend, EVERYONE, catalogue(), CUT)
    monkeypatch.setattr(cer_assets.recommend.model.blocks, "__defaults__", (7,))
    assert rank(blend, EVERYONE, catalogue(), CUT).drop("score").equals(whole.drop("score"))


def test_the_order_of_lines_and_customers_changes_nothing(shop: pl.DataFrame) -> None:
    def lists(seed: int) -> pl.DataFrame:
        shuffled = shop.sample(fraction=1, shuffle=True, seed=seed)
        blend = Blend(Als(SMALL)).fit(interactions(shuffled, CUT, 2), catalogue(), CUT)
        return rank(blend, EVERYONE.shuffle(seed=seed), catalogue().sample(fraction=1, shuffle=True, seed=seed), CUT)

    assert lists(1).equals(lists(2))


def test_one_als_for_all_is_named_so(shop: pl.DataFrame) -> None:
    blend = Blend(Als(SMALL)).fit(interactions(shop, CUT, 2), catalogue(), CUT)
    assert "als:all" in rank(blend, EVERYONE, catalogue(), CUT)["source"].to_list()


def test_a_shop_without_purchases_has_no_lists(shop: pl.DataFrame, buckets: pl.DataFrame) -> None:
    blend = Blend(AlsByBucket(buckets)).fit(interactions(shop.clear(), CUT, 2), catalogue(), CUT)
    lists = rank(blend, EVERYONE, catalogue(), CUT)
    assert (dict(lists.schema), lists.height) == (RECOMMENDATIONS, 0)


def test_scores_are_finite(blend: Blend) -> None:
    assert np.isfinite(rank(blend, EVERYONE, catalogue(), CUT)["score"].to_numpy()).all()
