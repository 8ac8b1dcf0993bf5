from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pytest
import sqlglot
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

SQL = Path(__file__).parents[2] / "sql" / "value"
FILES = sorted(path.name for path in SQL.glob("*.sql"))
START = date(2024, 1, 1)

ORDERS = {
    "basket_id": pl.String,
    "customer_id": pl.String,
    "ordered_on": pl.Date,
    "merchandise_amount": pl.Decimal(18, 2),
}

RFM = {
    "as_of": pl.Date,
    "customer_id": pl.String,
    "recency_days": pl.Int64,
    "frequency": pl.Int64,
    "monetary": pl.Decimal(18, 2),
    "first_ordered_on": pl.Date,
    "last_ordered_on": pl.Date,
    "tenure_days": pl.Int64,
    "r": pl.Int64,
    "f": pl.Int64,
    "m": pl.Int64,
}


def orders(*rows: tuple[str | None, int, str]) -> pl.DataFrame:
    """Baskets of (customer, day, amount)."""
    baskets = [
        (f"b{number}", customer, START + timedelta(days=day), Decimal(amount))
        for number, (customer, day, amount) in enumerate(rows)
    ]
    return pl.DataFrame(baskets, schema=ORDERS, orient="row")


def rfm(baskets: pl.DataFrame, *days: int) -> pl.DataFrame:
    """Both statements over the baskets, for the days asked for."""
    with duckdb.connect(config={"threads": 1}) as connection:
        for schema in ("customer", "value", "run"):
            connection.execute(f"create schema {schema}")
        connection.register("baskets", baskets)
        connection.execute("create table customer.orders as select * from baskets")
        wanted = pl.DataFrame({"day": [START + timedelta(days=day) for day in days]}, schema={"day": pl.Date})
        connection.register("wanted", wanted)
        connection.execute("create table run.days as select * from wanted")
        connection.execute("create table value.purchases as " + (SQL / "purchases.sql").read_text())
        return connection.sql((SQL / "rfm.sql").read_text()).pl().sort("as_of", "customer_id")


def brute_force(baskets: pl.DataFrame, as_of: date) -> Iterator[tuple[object, ...]]:
    for customer in sorted(baskets["customer_id"].drop_nulls().unique()):
        so_far = baskets.filter((pl.col("customer_id") == customer) & (pl.col("ordered_on") <= as_of))
        bought = so_far.filter(pl.col("merchandise_amount") > 0)
        if len(bought):
            first, last = bought["ordered_on"].min(), bought["ordered_on"].max()
            assert isinstance(first, date) and isinstance(last, date)
            spent = sum(so_far["merchandise_amount"], Decimal(0))
            yield customer, (as_of - last).days, len(bought), spent, first, last, (as_of - first).days


baskets = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob", "cyd", "dee", None]),
        st.integers(0, 12),
        st.sampled_from(["-7.30", "-1.00", "0.00", "0.10", "0.20", "5.00", "19.99"]),
    ),
    max_size=30,
).map(lambda rows: orders(*rows))


@settings(deadline=None, max_examples=30)
@given(baskets)
def test_every_day_says_what_counting_by_hand_says(delivered: pl.DataFrame) -> None:
    days = range(0, 15, 2)
    figures = rfm(delivered, *days)
    for day in days:
        as_of = START + timedelta(days=day)
        found = figures.filter(pl.col("as_of") == as_of).drop("as_of", "r", "f", "m")
        assert found.rows() == list(brute_force(delivered, as_of))


@settings(deadline=None, max_examples=30)
@given(baskets)
def test_scores_rise_with_the_figure_and_equal_figures_score_equally(delivered: pl.DataFrame) -> None:
    figures = rfm(delivered, 3, 12).with_columns(-pl.col("recency_days").alias("recency_days"))
    for figure, score in (("recency_days", "r"), ("frequency", "f"), ("monetary", "m")):
        assert figures[score].is_between(1, 5).all()
        for _, day in figures.group_by("as_of"):
            by_value = day.group_by(figure).agg(pl.col(score).min(), pl.col(score).max().alias("most")).sort(figure)
            assert by_value[score].equals(by_value["most"])
            assert by_value[score].is_sorted()
            ends = (by_value[score][0], by_value[score][-1])
            assert ends == ((1, 5) if len(by_value) > 1 else (3, 3))


def test_different_figures_fall_into_fifths() -> None:
    figures = rfm(orders(*((f"c{number:02}", number, f"{number + 1}.00") for number in range(50))), 60)
    assert figures["m"].to_list() == [*[1] * 10, *[2] * 10, *[3] * 10, *[4] * 10, *[5] * 10]
    assert figures["r"].to_list() == figures["m"].to_list()
    assert figures["f"].unique().to_list() == [3]


def test_the_columns_have_their_contracted_types() -> None:
    assert dict(rfm(orders(("ann", 0, "1.00")), 0).schema) == RFM


def test_a_year_in_one_statement_equals_each_day_on_its_own() -> None:
    delivered = orders(("ann", 0, "1.00"), ("ann", 40, "2.50"), ("bob", 3, "9.00"), ("bob", 41, "-9.00"))
    year = rfm(delivered, *range(365))
    for day in (0, 3, 39, 40, 41, 364):
        as_of = START + timedelta(days=day)
        assert_frame_equal(year.filter(pl.col("as_of") == as_of), rfm(delivered, day))


def test_the_order_of_the_baskets_leaves_no_trace() -> None:
    delivered = orders(*((f"c{number % 7}", number % 30, f"{number}.10") for number in range(80)))
    assert_frame_equal(rfm(delivered, 10, 20), rfm(delivered.reverse(), 10, 20))


def test_a_return_lowers_the_amount_and_is_no_purchase() -> None:
    figures = rfm(orders(("ann", 0, "10.00"), ("ann", 5, "-4.00")), 6)
    row = figures.row(0, named=True)
    assert (row["frequency"], row["monetary"], row["recency_days"]) == (1, Decimal("6.00"), 6)


def test_who_only_returned_goods_and_who_is_unknown_have_no_row() -> None:
    figures = rfm(orders(("ann", 0, "-4.00"), (None, 0, "8.00"), ("bob", 0, "0.00"), ("cyd", 0, "1.00")), 1)
    assert figures["customer_id"].to_list() == ["cyd"]


def test_a_day_knows_nothing_of_later_days() -> None:
    delivered = orders(("ann", 0, "1.00"), ("bob", 4, "1.00"))
    later = orders(("ann", 0, "1.00"), ("bob", 4, "1.00"), ("ann", 5, "50.00"), ("cyd", 5, "1.00"))
    assert_frame_equal(rfm(delivered, 0, 4), rfm(later, 0, 4))


def test_without_baskets_or_days_there_is_no_row() -> None:
    assert rfm(orders(), 0).is_empty()
    assert rfm(orders(("ann", 0, "1.00"))).is_empty()


@pytest.mark.parametrize("name", FILES)
def test_the_statement_is_portable_to_spark(name: str) -> None:
    (written,) = sqlglot.transpile((SQL / name).read_text(), read="duckdb", write="spark", comments=False)
    (read,) = sqlglot.transpile(written, read="spark", write="spark")
    assert read == written
    # Spark divides whole numbers into fractions unless it is told not to.
    whole = "//" in (SQL / name).read_text()
    assert (" DIV " in written) == whole


@pytest.mark.parametrize("name", FILES)
def test_the_front_matter_describes_exactly_the_columns_of_the_result(name: str) -> None:
    text = (SQL / name).read_text()
    matter = yaml.safe_load(text.split("---")[1])
    selected = sqlglot.parse_one(text, read="duckdb").named_selects
    assert list(matter["columns"]) == selected
    assert matter["description"] and matter["owners"]
