from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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

LINES = {
    "basket_id": pl.String,
    "customer_id": pl.String,
    "ordered_on": pl.Date,
    "amount": pl.Decimal(18, 2),
    "discount": pl.Decimal(18, 2),
    "merchandise": pl.Boolean,
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
    "mean_gap_days": pl.Float64,
    "discount_share": pl.Float64,
    "r": pl.Int64,
    "f": pl.Int64,
    "m": pl.Int64,
}


Basket = tuple[str | None, int, list[tuple[str, str, bool]]]
"""The customer, the day, and of each line its amount, its discount and whether it is goods."""


def order_lines(baskets: Iterable[Basket]) -> pl.DataFrame:
    """`customer.order_lines` as far as purchases are made from it."""
    lines = [
        (f"b{number}", customer, START + timedelta(days=day), Decimal(amount), Decimal(discount), goods)
        for number, (customer, day, content) in enumerate(baskets)
        for amount, discount, goods in content
    ]
    return pl.DataFrame(lines, schema=LINES, orient="row")


def orders(*rows: tuple[str | None, int, str]) -> pl.DataFrame:
    """Baskets of one line: (customer, day, amount)."""
    return order_lines((customer, day, [(amount, "0.00", Decimal(amount) != 0)]) for customer, day, amount in rows)


@contextmanager
def value_tables(lines: pl.DataFrame, days: Iterable[int], *tables: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """The statements of `sql/value` over the lines, for the days asked for."""
    with duckdb.connect(config={"threads": 1}) as connection:
        for schema in ("customer", "value", "run"):
            connection.execute(f"create schema {schema}")
        connection.register("lines", lines)
        connection.execute("create table customer.order_lines as select * from lines")
        wanted = pl.DataFrame({"day": [START + timedelta(days=day) for day in days]}, schema={"day": pl.Date})
        connection.register("wanted", wanted)
        connection.execute("create table run.days as select * from wanted")
        for table in tables:
            connection.execute(f"create table value.{table} as " + (SQL / f"{table}.sql").read_text())
        yield connection


def rfm(lines: pl.DataFrame, *days: int) -> pl.DataFrame:
    """`value.rfm` of the days asked for."""
    with value_tables(lines, days, "purchases", "rfm") as connection:
        return connection.sql("from value.rfm order by as_of, customer_id").pl()


def history(lines: pl.DataFrame, *days: int) -> pl.DataFrame:
    """`value.rfm_history` of the days asked for."""
    with value_tables(lines, days, "purchases", "rfm", "rfm_history") as connection:
        return connection.sql("from value.rfm_history order by as_of, period, customer_id").pl()


def brute_force(baskets: list[Basket], as_of: int) -> Iterator[tuple[object, ...]]:
    """Measures of each customer, basket by basket."""
    for customer in sorted({c for c, _, _ in baskets if c is not None}):
        goods = [
            (day, [(Decimal(a), Decimal(d)) for a, d, is_goods in content if is_goods])
            for c, day, content in baskets
            if c == customer and day <= as_of
        ]
        net = [(day, sum((a for a, _ in content), Decimal(0)), content) for day, content in goods]
        days = sorted({day for day, amount, _ in net if amount > 0})
        if days:
            bought = [(a, d) for _, amount, content in net if amount != 0 for a, d in content if a > 0]
            gross = sum((a + d for a, d in bought), Decimal(0))
            yield (
                customer,
                as_of - days[-1],
                sum(amount > 0 for _, amount, _ in net),
                sum((amount for _, amount, _ in net), Decimal(0)),
                START + timedelta(days=days[0]),
                START + timedelta(days=days[-1]),
                as_of - days[0],
                (days[-1] - days[0]) / (len(days) - 1) if len(days) > 1 else None,
                float(sum((d for _, d in bought), Decimal(0))) / float(gross),
            )


lines_of_a_basket = st.lists(
    st.sampled_from(
        [
            ("-7.30", "0.00", True),
            ("-1.00", "0.30", True),
            ("0.10", "0.00", True),
            ("0.20", "0.05", True),
            ("5.00", "2.00", True),
            ("7.30", "0.00", True),
            ("19.99", "0.01", True),
            ("0.00", "4.00", False),
            ("30.00", "0.00", False),
        ]
    ),
    min_size=1,
    max_size=3,
)
baskets = st.lists(
    st.tuples(st.sampled_from(["ann", "bob", "cyd", "dee", None]), st.integers(0, 12), lines_of_a_basket), max_size=20
)


@settings(deadline=None, max_examples=30)
@given(baskets)
def test_every_day_says_what_counting_by_hand_says(delivered: list[Basket]) -> None:
    days = range(0, 15, 2)
    figures = rfm(order_lines(delivered), *days)
    for day in days:
        found = figures.filter(pl.col("as_of") == START + timedelta(days=day)).drop("as_of", "r", "f", "m")
        assert found.rows() == list(brute_force(delivered, day))


@settings(deadline=None, max_examples=30)
@given(baskets)
def test_scores_rise_with_the_figure_and_equal_figures_score_equally(delivered: list[Basket]) -> None:
    figures = rfm(order_lines(delivered), 3, 12).with_columns(-pl.col("recency_days").alias("recency_days"))
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


def test_goods_brought_back_in_the_basket_they_were_bought_in_are_no_purchase() -> None:
    bought_and_returned = [("5.00", "1.00", True), ("-5.00", "0.00", True)]
    figures = rfm(order_lines([("ann", 0, [("2.00", "0.00", True)]), ("ann", 3, bought_and_returned)]), 4)
    row = figures.row(0, named=True)
    assert (row["frequency"], row["monetary"], row["recency_days"], row["discount_share"]) == (1, Decimal(2), 4, 0.0)


def test_fuel_coupons_and_lines_of_nothing_count_for_nothing() -> None:
    figures = rfm(
        order_lines([("ann", 0, [("2.00", "2.00", True), ("40.00", "1.00", False), ("0.00", "3.00", False)])]), 0
    )
    row = figures.row(0, named=True)
    assert (row["frequency"], row["monetary"], row["discount_share"]) == (1, Decimal(2), 0.5)


def test_the_gap_between_purchases_is_of_days_and_needs_two_of_them() -> None:
    delivered = orders(
        ("ann", 0, "1.00"), ("ann", 0, "1.00"), ("bob", 0, "1.00"), ("bob", 4, "1.00"), ("bob", 10, "1.00")
    )
    assert rfm(delivered, 20)["mean_gap_days"].to_list() == [None, 5.0]


def test_history_has_a_standing_for_each_week_and_month_that_ended_and_what_was_bought_in_it() -> None:
    delivered = orders(
        ("ann", 0, "1.00"), ("ann", 7, "2.00"), ("ann", 8, "4.00"), ("bob", 30, "8.00"), ("bob", 31, "9.00")
    )
    found = history(delivered, *range(35)).filter(pl.col("customer_id") == "ann")
    weeks = found.filter(pl.col("period") == "week")  # START is a Monday
    assert weeks["as_of"].to_list() == [START + timedelta(days=day) for day in (6, 13, 20, 27, 34)]
    assert (weeks["as_of"] - weeks["starts_on"]).dt.total_days().unique().to_list() == [6]
    assert weeks["baskets"].to_list() == [1, 2, 0, 0, 0]
    assert [str(amount) for amount in weeks["spend"]] == ["1.00", "6.00", "0.00", "0.00", "0.00"]
    assert weeks["frequency"].to_list() == [1, 3, 3, 3, 3]
    (month,) = found.filter(pl.col("period") == "month").iter_rows(named=True)
    assert (month["starts_on"], month["as_of"], month["baskets"], month["r"]) == (
        START,
        START + timedelta(days=30),
        3,
        1,
    )


@settings(deadline=None, max_examples=15)
@given(baskets)
def test_what_was_bought_in_all_weeks_is_what_was_bought(delivered: list[Basket]) -> None:
    weeks = history(order_lines(delivered), 6, 13).filter(pl.col("period") == "week")
    bought = weeks.group_by("customer_id").agg(pl.col("baskets").sum(), pl.col("frequency").max())
    assert bought["baskets"].equals(bought["frequency"].rename("baskets"))


def test_the_history_of_a_day_is_the_same_alone_and_among_others() -> None:
    delivered = orders(("ann", 0, "1.00"), ("bob", 5, "2.00"), ("ann", 12, "4.00"))
    together = history(delivered, *range(31))
    assert_frame_equal(together.filter(pl.col("as_of") == START + timedelta(days=13)), history(delivered, 13))


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
