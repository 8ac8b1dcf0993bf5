"""`value.rfm` for one day and for every day of a year, beside the same figures from one bare DuckDB query a day."""

from datetime import date, timedelta

import complete_journey
import duckdb
import polars as pl
from measuring import median_seconds, ratio, report, report_skipped

LAST_DAY = date(2017, 12, 31)
YEAR = [LAST_DAY - timedelta(days=back) for back in range(365)]

BARE = """
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
"""Recency, frequency and monetary value without scores."""


def main() -> None:
    """Measure and print."""
    if not complete_journey.is_installed():
        report_skipped("rfm", complete_journey.ABSENT)
        return
    with complete_journey.connect(complete_journey.order_lines()) as con:
        con.execute("create table run.days(day date)")
        report("rfm", ["duckdb", "polars", complete_journey.PACKAGE], figures(con))


def figures(con: duckdb.DuckDBPyConnection) -> dict[str, object]:
    """Seconds of each way, their ratios, and whether they agree."""
    statement = complete_journey.query("value.rfm")

    def ours() -> pl.DataFrame:
        return con.sql(statement).pl()

    def bare(day: date = LAST_DAY) -> pl.DataFrame:
        return con.sql(BARE, params={"day": day}).pl()

    def bare_year() -> list[pl.DataFrame]:
        return [bare(day) for day in YEAR]

    ask_for(con, [LAST_DAY])
    ours_day, bare_day = median_seconds(ours, 15), median_seconds(bare, 15)
    same = agree(ours(), bare())
    ask_for(con, YEAR)
    ours_year, bare_days = median_seconds(ours, 3), median_seconds(bare_year, 1)
    return {
        "customers": bare().height,
        "days_of_purchases": con.execute("select count(*) from value.purchases").fetchall()[0][0],
        "rows_of_the_year": ours().height,
        "seconds": {
            "value.rfm, one day": ours_day,
            "bare query, one day": bare_day,
            "value.rfm, 365 days in one statement": ours_year,
            "bare query, 365 times": bare_days,
        },
        "ratios": {
            "one day, ours over bare": ratio(ours_day, bare_day),
            "365 days, ours over 365 bare queries": ratio(ours_year, bare_days),
            "ours, 365 days over one day": ratio(ours_year, ours_day),
            "ours for 365 days over bare for one day": ratio(ours_year, bare_day),
        },
        "same_figures": same,
    }


def ask_for(con: duckdb.DuckDBPyConnection, days: list[date]) -> None:
    """Put the days to compute where the statement reads them."""
    con.register("wanted", pl.DataFrame({"day": days}))
    con.execute("create or replace table run.days as select day from wanted")
    con.unregister("wanted")


def agree(ours: pl.DataFrame, bare: pl.DataFrame) -> bool:
    """Whether both give every customer the same recency, frequency and monetary value."""
    return ours.select(bare.columns).sort("customer_id").equals(bare.sort("customer_id"))


if __name__ == "__main__":
    main()
