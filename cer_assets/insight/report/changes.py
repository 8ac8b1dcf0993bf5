"""What changed: how the customers stand now and before, and what happened in between."""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

import altair as alt
import polars as pl

from cer_assets.insight.report import words
from cer_assets.insight.report.charts import ACCENT, OTHER, WIDTH
from cer_assets.insight.report.content import Block, Figure, Section, Table, Tile
from cer_assets.insight.report.tables import (
    ACTIVE_DAYS,
    AHEAD_DAYS,
    CHURN_DAYS,
    Tables,
    cents,
    columns_of,
    days_of,
    is_active,
    millionths,
    nearest_horizon,
    window,
)
from cer_assets.insight.report.worth import bucket_moves

WEEKS = 26
NAME, TITLE = "changes", "What changed"
QUESTION = "Are more people buying, and who came and went?"
_DAY = timedelta(days=1)


def changes(tables: Tables, as_of: date) -> Section:
    """Standings now against those of the run before and of four weeks ago, and the flows that explain them."""
    since, month = tables.earlier_day(as_of), as_of - timedelta(days=ACTIVE_DAYS)
    days = [as_of, *([since] if since else []), *([month] if month != since else [])]
    levels = standings(tables, days)
    if not levels:
        return Section(NAME, TITLE, QUESTION, empty="Nobody has bought anything yet.")
    flows = [(start, flow(tables, start, as_of)) for start in days[1:]]
    told = [(start, one | moved(tables, start, as_of)) for start, one in flows if one]
    headline = _headline(*told[0], as_of) if told else None
    reading = [text for text in (headline, None if since else _first_day(as_of)) if text]
    blocks = [Block(reading=reading, tables=[_level_table(levels, days), *_flow_table(told, as_of)])]
    return Section(NAME, TITLE, QUESTION, headline, [*blocks, *_weekly_block(tables, as_of)])


def tiles(tables: Tables, as_of: date) -> list[Tile]:
    """The figures at the top of the page: each with how it was four weeks before, where that is known."""
    month = as_of - timedelta(days=ACTIVE_DAYS)
    levels = standings(tables, [as_of, month])
    return [
        Tile(name, _written(name)(of_day[as_of]), _in_four_weeks(name, of_day[as_of], of_day.get(month)))
        for name, of_day in levels.items()
        if name.startswith(_TILES)
    ]


def _in_four_weeks(measure: str, now: int, before: int | None) -> str:
    return "" if before is None else f"{words.change(now, before, _written(measure))} in 4 weeks"


CUSTOMERS = "Customers"
ACTIVE = f"Bought in the last {ACTIVE_DAYS} days"
PURCHASES = f"Purchases in {ACTIVE_DAYS} days"
SALES = f"Sales in {ACTIVE_DAYS} days"
HIGH = "High-value customers"
EXPECTED = "Spend expected in "
LEAVING = "Expected to stay away for "
_TILES = (CUSTOMERS, ACTIVE, SALES, HIGH, EXPECTED)


def standings(tables: Tables, days: list[date]) -> dict[str, Mapping[date, int]]:
    """Measure -> day -> figure (money in hundredths), of the days that are known; only measures of the newest day."""
    of_day: dict[str, Mapping[date, int]] = {}
    if tables.rfm is not None:
        rfm = _on(tables.rfm, days, customers=pl.len().cast(pl.Int64), active=is_active().sum().cast(pl.Int64))
        of_day |= {CUSTOMERS: _column(rfm, "customers"), ACTIVE: _column(rfm, "active")}
    if (bought := _by_day(tables)) is not None and bought.height:
        begins = bought.select(pl.col("ordered_on").min()).item()
        known = [day for day in days if day - timedelta(days=ACTIVE_DAYS - 1) >= begins]
        windows = {day: bought.filter(window(day, ACTIVE_DAYS)) for day in known}
        of_day[PURCHASES] = {day: int(rows["baskets"].sum()) for day, rows in windows.items()}
        of_day[SALES] = {day: int(rows["sales"].sum()) for day, rows in windows.items()}
    if tables.buckets is not None:
        high = _on(tables.buckets, days, high=(pl.col("bucket") == "high").sum().cast(pl.Int64))
        of_day[HIGH] = _column(high, "high")
    if found := nearest_horizon(tables.clv, AHEAD_DAYS):
        whole = _of_horizon(tables.clv, found[2])
        of_day[f"{EXPECTED}{found[2]} days"] = _column(_on(whole, days, spend=_sum_of_some("expected_spend")), "spend")
    if found := nearest_horizon(tables.churn, CHURN_DAYS):
        whole = _of_horizon(tables.churn, found[2])
        p = millionths("probability")
        leaving = (pl.when(p.count() > 0).then(p.sum()) / 1e6).round(0).cast(pl.Int64)
        of_day[f"{LEAVING}{found[2]} days"] = _column(_on(whole, days, leaving=leaving), "leaving")
    return {measure: figures for measure, figures in of_day.items() if days[0] in figures}


def flow(tables: Tables, after: date, until: date) -> dict[str, int]:
    """What happened from the day behind `after` to `until`: who came, came back, fell quiet; purchases and sales.

    Returns:
        customers (who bought), baskets, sales (hundredths), new (bought for the first time), returned (for the first
        time in `ACTIVE_DAYS` or more), quiet (bought within `ACTIVE_DAYS` of `after`, not of `until`); empty where the
        records begin later than `after`.
    """
    if tables.purchases is None:
        return {}
    bought = tables.purchases.filter((pl.col("baskets") > 0) & (pl.col("ordered_on") <= until))
    within, before = pl.col("ordered_on") > after, pl.col("ordered_on") <= after
    ordered = pl.col("ordered_on")
    people = (
        bought.select(
            "customer_id",
            last_before=pl.when(before).then(ordered),
            first_within=pl.when(within).then(ordered),
            last=ordered,
            baskets=pl.when(within).then("baskets"),
            sales=pl.when(within).then(cents("amount")),
        )
        .group_by("customer_id")
        .agg(pl.col("last_before", "last").max(), pl.col("first_within").min(), pl.col("baskets", "sales").sum())
        .collect()
    )
    if people["last_before"].null_count() == people.height:
        return {}
    came, known = pl.col("first_within").is_not_null(), pl.col("last_before").is_not_null()
    away = (pl.col("first_within") - pl.col("last_before")) >= timedelta(days=ACTIVE_DAYS)
    edge = timedelta(days=ACTIVE_DAYS)
    quiet = known & (pl.col("last_before") > after - edge) & (pl.col("last") <= until - edge)
    row = people.select(
        customers=came.sum(),
        baskets=pl.col("baskets").sum(),
        sales=pl.col("sales").sum(),
        new=(came & ~known).sum(),
        returned=(came & known & away).sum(),
        quiet=quiet.sum(),
    ).row(0, named=True)
    return {name: int(figure) for name, figure in row.items()}


def moved(tables: Tables, start: date, as_of: date) -> dict[str, int]:
    """Who stands elsewhere than on `start`: moved to a higher or lower bucket, or to another segment of behaviour.

    Returns:
        higher, lower, resegmented; each only where its table holds both days.
    """
    found: dict[str, int] = {}
    if (of_days := bucket_moves(tables, start, as_of)) is not None:
        found |= {"higher": of_days["up"], "lower": of_days["down"]}
    if tables.behaviour is not None and {start, as_of} <= set(days_of(tables.behaviour)):
        now, then = (
            tables.behaviour.filter(pl.col("as_of") == day).select("customer_id", "segment") for day in (as_of, start)
        )
        changed = now.join(then, on="customer_id").select((pl.col("segment") != pl.col("segment_right")).sum())
        found["resegmented"] = int(changed.collect().item())
    return found


def weekly(tables: Tables, as_of: date) -> pl.DataFrame:
    """Buyers and sales of each of the last weeks, which all end on the weekday of `as_of`.

    Returns:
        ends_on, buyers, new (bought for the first time on record), sales (hundredths), from the oldest on; only weeks
        that lie wholly within the records, and at least a week after their beginning, when everyone seems new.
    """
    schema = {"ends_on": pl.Date, "buyers": pl.Int64, "new": pl.Int64, "sales": pl.Int64}
    if tables.purchases is None:
        return pl.DataFrame(schema=schema)
    bought = tables.purchases.filter((pl.col("baskets") > 0) & (pl.col("ordered_on") <= as_of))
    ordered = pl.col("ordered_on")
    start = bought.select(ordered.min()).collect().item()
    if start is None:
        return pl.DataFrame(schema=schema)
    weeks_ago = (pl.lit(as_of) - ordered).dt.total_days() // 7
    by_week = bought.select("customer_id", weeks_ago=weeks_ago, sales=cents("amount")).group_by(
        "customer_id", "weeks_ago"
    )
    first_seen = bought.group_by("customer_id").agg(first=weeks_ago.max())
    return (
        by_week.agg(pl.col("sales").sum())
        .filter(pl.col("weeks_ago") < WEEKS)
        .join(first_seen, on="customer_id")
        .group_by("weeks_ago")
        .agg(
            buyers=pl.len(),
            new=(pl.col("weeks_ago") == pl.col("first")).sum(),
            sales=pl.col("sales").sum(),
        )
        .select((pl.lit(as_of) - pl.duration(days=7) * pl.col("weeks_ago")).alias("ends_on"), "buyers", "new", "sales")
        .filter(pl.col("ends_on") - pl.duration(days=13) >= start)
        .sort("ends_on")
        .collect()
        .cast(schema)  # pyright: ignore[reportArgumentType]  # a mapping of types is taken
    )


def weekly_chart(weeks: pl.DataFrame) -> alt.VConcatChart:
    """Buyers a week, those who bought for the first time apart, and sales below.

    Args:
        weeks: the frame of `weekly`.
    """
    before, first = "bought before", "first purchase on record"
    labels = [words.short_day(day) for day in weeks["ends_on"]]
    named = weeks.with_columns(week=pl.Series(labels, dtype=pl.String), old=pl.col("buyers") - pl.col("new"))
    people = pl.concat(
        [
            named.select("week", kind=pl.lit(kind), place=pl.lit(place), customers=column)
            for place, (kind, column) in enumerate(((before, "old"), (first, "new")))
        ]
    )
    axis = alt.Axis(labelAngle=0, values=labels[:: -max(1, len(labels) // 6)], ticks=False, domain=False)
    x = alt.X("week:N", title=None, sort=labels, axis=axis, scale=alt.Scale(paddingInner=0.25))
    colour = alt.Color("kind:N", title=None, scale=alt.Scale(domain=[before, first], range=[ACCENT, OTHER]))
    axis_y = alt.Axis(tickCount=4, format=",d", domain=False, ticks=False)
    buyers = (
        alt.Chart(people, title="Customers who bought, by week")
        .mark_bar()
        .encode(x=x, y=alt.Y("customers:Q", title=None, axis=axis_y), color=colour, order="place:Q")
        .properties(width=WIDTH, height=150)
    )
    sales = (
        alt.Chart(named.with_columns(pl.col("sales") / 100), title="Sales, by week")
        .mark_bar(color=ACCENT)
        .encode(x=x, y=alt.Y("sales:Q", title=None, axis=axis_y))
        .properties(width=WIDTH, height=110)
    )
    return alt.vconcat(buyers, sales, spacing=14)


def _on(table: pl.LazyFrame, days: list[date], **figures: pl.Expr) -> pl.DataFrame:
    return table.filter(pl.col("as_of").is_in(days)).group_by("as_of").agg(**figures).collect()


def _sum_of_some(column: str) -> pl.Expr:
    """The sum of money in hundredths; null where no row has any."""
    paid = cents(column)
    return pl.when(paid.count() > 0).then(paid.sum())


def _column(of_day: pl.DataFrame, name: str) -> dict[date, int]:
    return {day: int(value) for day, value in of_day.select("as_of", name).drop_nulls().iter_rows()}


def _of_horizon(table: pl.LazyFrame | None, horizon: int) -> pl.LazyFrame:
    assert table is not None
    return table.filter(pl.col("horizon_days") == horizon)


def _by_day(tables: Tables) -> pl.DataFrame | None:
    """Purchases and sales of each day."""
    if tables.purchases is None:
        return None
    sums = {"baskets": pl.col("baskets").sum(), "sales": cents("amount").sum()}
    return tables.purchases.group_by("ordered_on").agg(**sums).collect()


def _written(measure: str) -> Callable[[int], str]:
    return words.money if measure == SALES or measure.startswith(EXPECTED) else words.count


def _first_day(as_of: date) -> str:
    return (
        f"The tables hold figures of {words.day(as_of)} alone, so what can only be known by looking on two days has"
        " nothing to be compared with yet; the next day's run fills it in."
    )


def _headline(start: date, happened: Mapping[str, int], as_of: date) -> str:
    span = "On " + words.day(as_of) if start == as_of - _DAY else f"Since {words.day(start)}"
    return (
        f"{span}, {words.counted(happened['customers'], 'customer')} bought for {words.money(happened['sales'])}:"
        f" {words.some(happened['new'])} of them for the first time, {words.some(happened['returned'])} after"
        f" {ACTIVE_DAYS} days or more away, while {words.some(happened['quiet'])} fell quiet (no purchase for"
        f" {ACTIVE_DAYS} days)."
    )


def _level_table(levels: Mapping[str, Mapping[date, int]], days: list[date]) -> Table:
    now, *earlier = days
    rows = [
        [
            measure,
            _written(measure)(of_day[now]),
            *(words.change(of_day[now], of_day.get(day), _written(measure)) for day in earlier),
        ]
        for measure, of_day in levels.items()
    ]
    columns = ["measure", words.short_day(now), *(f"against {words.short_day(day)}" for day in earlier)]
    return Table(f"How customers stand on {words.day(now)}", columns, rows)


_FLOWS = {
    "customers": "Customers who bought",
    "baskets": "Purchases",
    "sales": "Sales",
    "new": "Bought for the first time",
    "returned": f"Came back after {ACTIVE_DAYS} days or more",
    "quiet": f"Fell quiet: no purchase for {ACTIVE_DAYS} days",
    "higher": "Moved to a higher value bucket",
    "lower": "Moved to a lower value bucket",
    "resegmented": "Shop differently: another segment",
}


def _flow_table(told: list[tuple[date, dict[str, int]]], as_of: date) -> list[Table]:
    if not told:
        return []
    shown: dict[str, Any] = {"sales": words.money}
    rows = [
        [label, *(shown.get(name, words.count)(one[name]) if name in one else words.NONE for _, one in told)]
        for name, label in _FLOWS.items()
        if any(name in one for _, one in told)
    ]
    columns = ["measure", *(f"since {words.short_day(start)}" for start, _ in told)]
    return [Table(f"What happened until {words.day(as_of)}", columns, rows)]


def _weekly_block(tables: Tables, as_of: date) -> list[Block]:
    weeks = weekly(tables, as_of)
    if weeks.height < 2:
        return []
    now, before = weeks.row(-1, named=True), weeks.row(-2, named=True)
    usual = weeks.head(-1).tail(12)
    people = words.compared(now["buyers"], before["buyers"], less="fewer")
    sales = words.compared(now["sales"], int(usual["sales"].sum()) / usual.height)
    text = (
        f"In the week to {words.day(as_of)}, {words.counted(now['buyers'], 'customer')} bought, {people} the week"
        f" before; sales of {words.money(now['sales'])} were {sales} the mean of the"
        f" {words.counted(usual.height, 'week')} before it."
    )
    rows = [
        [words.day(row["ends_on"]), words.count(row["buyers"]), words.count(row["new"]), words.money(row["sales"])]
        for row in weeks.sort("ends_on", descending=True).iter_rows(named=True)
    ]
    table = Table("The weeks in figures", ["week to", "customers", "first purchase", "sales"], rows, folded=True)
    figure = Figure("weekly", "Week by week", weekly_chart(weeks), text)
    return [Block("Week by week", [text, *_known_payers(tables, as_of)], figure, [table])]


def _known_payers(tables: Tables, as_of: date) -> list[str]:
    """Which share of the sales the report can speak of at all."""
    if tables.orders is None or not {"customer_id", "ordered_on", "merchandise_amount"} <= set(
        columns_of(tables.orders)
    ):
        return []
    known = pl.col("customer_id").is_not_null()
    paid = cents("merchandise_amount")
    of_window = tables.orders.filter(window(as_of, ACTIVE_DAYS))
    known_sales, sales = (
        of_window.select(paid.filter(known).sum().alias("known"), paid.sum().alias("all")).collect().row(0)
    )
    if not sales or sales <= 0:
        return []
    share = words.percent(known_sales / sales)
    return [
        f"{share} of the sales of the last {ACTIVE_DAYS} days were to customers who are known: the report speaks of"
        " those."
    ]
