"""`value.rfm` from order lines, beside the same figures as one bare DuckDB query over the same Parquet file.

And `value.rfm` for every day of a year in one statement, beside a bare query a day.
"""

import argparse
import tempfile
from datetime import date, timedelta
from pathlib import Path
from statistics import median

import complete_journey
import duckdb
import polars as pl
from measuring import Cost, cost_ratios, measured, median_seconds, ratio, report

LAST_DAY = date(2017, 12, 31)
YEAR = [LAST_DAY - timedelta(days=back) for back in range(365)]
PURCHASES, RFM = complete_journey.query("value.purchases"), complete_journey.query("value.rfm")
LINES_OF_A_BASKET, BASKETS_OF_A_CUSTOMER = 10, 20

LINES = """
    with baskets as (
        select
            basket,
            hash(basket) as a,
            hash(basket, 1) as b,
            (basket * 365) // $baskets as day
        from range($baskets) as numbers(basket)
    ),
    lines as (
        select *, hash(basket, line, 2) as c, hash(basket, line, 3) as d
        from (select *, unnest(range(1, 2 + (b % 19)::bigint)) as line from baskets)
    )
    select
        printf('%011d', basket) as basket_id,
        line,
        left(md5(floor(pow((a % 1000003) / 1000003.0, 2) * $customers)::varchar), 16) as customer_id,
        (c % 60000)::varchar as product_id,
        (case when d % 100 = 0 then -1 else 1 + c % 3 end)::decimal(18, 3) as quantity,
        ((case when d % 100 = 0 then -1 else 1 end) * (0.5 + (d // 100) % 1000 / 100.0))::decimal(18, 2) as amount,
        (case when d % 3 = 0 then (c // 100 % 200) / 100.0 else 0 end)::decimal(18, 2) as discount,
        (b % 400)::varchar as store_id,
        timestamp '2017-01-01 08:00:00' + to_days(day::integer) + to_seconds((a % 40000)::bigint) as ordered_at,
        date '2017-01-01' + day::integer as ordered_on,
        c % 50 <> 0 as merchandise
    from lines
"""
"""A year of baskets of one to nineteen lines, day after day; one line in a hundred is a return, one in fifty no goods.

A few customers come often, many seldom. Nothing is random: the same number of baskets gives the same lines.
"""

BARE = """
    with baskets as (
        select
            min(customer_id) as customer_id,
            min(ordered_on) as ordered_on,
            sum(amount) as amount,
            sum(amount + discount) filter (amount > 0) as bought,
            sum(discount) filter (amount > 0) as discount
        from customer.order_lines
        where merchandise
        group by basket_id
    )
    select
        customer_id,
        date_diff('day', max(ordered_on) filter (amount > 0), $day) as recency_days,
        count(*) filter (amount > 0) as frequency,
        sum(amount)::decimal(18, 2) as monetary,
        date_diff('day', min(ordered_on) filter (amount > 0), $day) as tenure_days,
        date_diff('day', min(ordered_on) filter (amount > 0), max(ordered_on) filter (amount > 0))::double
            / nullif(count(distinct ordered_on) filter (amount > 0) - 1, 0) as mean_gap_days,
        sum(discount) filter (amount <> 0)::double
            / nullif(sum(bought) filter (amount <> 0), 0)::double as discount_share
    from baskets
    where customer_id is not null and ordered_on <= $day
    group by customer_id
    having count(*) filter (amount > 0) > 0
"""
"""The measures of `value.rfm`, without scores."""

BARE_RFM = """
    with baskets as (
        select min(customer_id) as customer_id, min(ordered_on) as ordered_on, sum(amount) as amount
        from customer.order_lines
        where merchandise
        group by basket_id
    )
    select
        customer_id,
        date_diff('day', max(ordered_on) filter (amount > 0), $day) as recency_days,
        count(*) filter (amount > 0) as frequency,
        sum(amount)::decimal(18, 2) as monetary
    from baskets
    where customer_id is not null and ordered_on <= $day
    group by customer_id
    having count(*) filter (amount > 0) > 0
"""
"""Recency, frequency and monetary value alone: the least that such a query can do."""

BARE_OF_PURCHASES = """
    select
        customer_id,
        date_diff('day', max(ordered_on) filter (baskets > 0), $day) as recency_days,
        sum(baskets)::bigint as frequency,
        sum(amount)::decimal(18, 2) as monetary
    from value.purchases
    where ordered_on <= $day
    group by customer_id
    having sum(baskets) > 0
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=50_000_000, help="order lines to generate")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side runs; the median counts")
    arguments = parser.parse_args()
    figures = {
        "from_order_lines": from_order_lines(arguments.lines, arguments.rounds),
        "a_year_of_days": a_year_of_days() if complete_journey.is_installed() else complete_journey.ABSENT,
    }
    report("rfm", ["duckdb", "polars"], figures)


def from_order_lines(lines: int, rounds: int) -> dict[str, object]:
    """Cost of `value.purchases` and `value.rfm`, and of the bare query, in turns on one Parquet file."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as con:
        con.execute("set memory_limit = '6GB'")
        con.execute("set temp_directory = $folder", {"folder": f"{folder}/spill"})
        path, baskets = Path(folder, "order_lines.parquet"), lines // LINES_OF_A_BASKET
        size = {"baskets": baskets, "customers": baskets // BASKETS_OF_A_CUSTOMER}
        con.sql(LINES, params=size).write_parquet(str(path))
        for schema in ("customer", "value", "run"):
            con.execute(f"create schema {schema}")
        con.read_parquet(str(path)).create_view("lines")
        con.execute("create view customer.order_lines as from lines")
        ask_for(con, [LAST_DAY])
        sides = {"ours": ours_from_lines, "bare query": bare_from_lines, "bare query, R, F and M alone": bare_rfm}
        costs: dict[str, list[Cost]] = {name: [] for name in sides}
        tables: dict[str, pl.DataFrame] = {}
        for _ in range(rounds):
            for name, work in sides.items():
                tables[name], cost = measured(lambda work=work: work(con))
                costs[name].append(cost)
        ours, *others = sides
        return {
            "lines": con.execute("select count(*) from customer.order_lines").fetchall()[0][0],
            "customers": tables[ours].height,
            "parquet_mb": round(path.stat().st_size / 1e6, 1),
            "costs": {name: [vars(cost) for cost in each] for name, each in costs.items()},
            "ratios of medians": {
                f"ours over {other}": cost_ratios(middle(costs[ours]), middle(costs[other])) for other in others
            },
            "same_figures": all(agree(tables[ours], tables[other]) for other in others),
        }


def ours_from_lines(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """The project's two statements."""
    con.execute(f"create or replace table value.purchases as {PURCHASES}")
    return con.sql(RFM).pl()


def bare_from_lines(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """The one query."""
    return con.sql(BARE, params={"day": LAST_DAY}).pl()


def bare_rfm(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """The one query for three measures."""
    return con.sql(BARE_RFM, params={"day": LAST_DAY}).pl()


def middle(costs: list[Cost]) -> Cost:
    """Each figure's median."""
    return Cost(*(median(getattr(cost, name) for cost in costs) for name in ("seconds", "cpu_seconds", "peak_mb")))


def a_year_of_days() -> dict[str, object]:
    """Seconds of one day and of 365 on the Complete Journey, ours in one statement and bare queries a day."""
    with complete_journey.connect(complete_journey.order_lines()) as con:

        def ours() -> pl.DataFrame:
            return con.sql(RFM).pl()

        def bare(day: date = LAST_DAY) -> pl.DataFrame:
            return con.sql(BARE_OF_PURCHASES, params={"day": day}).pl()

        def bare_year() -> list[pl.DataFrame]:
            return [bare(day) for day in YEAR]

        ask_for(con, [LAST_DAY])
        seconds = {"ours, one day": median_seconds(ours, 15), "bare query, one day": median_seconds(bare, 15)}
        same = agree(ours(), bare())
        ask_for(con, YEAR)
        seconds |= {
            "ours, 365 days in one statement": median_seconds(ours, 3),
            "bare query, 365 times": median_seconds(bare_year, 1),
        }
        return {
            "data": f"{complete_journey.PACKAGE}, 2017",
            "customers": bare().height,
            "rows_of_the_year": ours().height,
            "seconds": seconds,
            "ratio of 365 days": ratio(seconds["ours, 365 days in one statement"], seconds["bare query, 365 times"]),
            "same_figures": same,
        }


def ask_for(con: duckdb.DuckDBPyConnection, days: list[date]) -> None:
    """Put the days to compute where the statement reads them."""
    con.execute("create or replace table run.days as select unnest($days::date[]) as day", {"days": days})


def agree(ours: pl.DataFrame, bare: pl.DataFrame) -> bool:
    """Whether both give every customer the same measures."""
    return ours.select(bare.columns).sort("customer_id").equals(bare.sort("customer_id"))


if __name__ == "__main__":
    main()
