"""The page for people to act on: the same bytes from the same tables, nothing from outside, and figures that add up."""

import datetime as dt
import re
from collections import Counter
from xml.etree import ElementTree

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.insight.report import Report, Tables, customer_report, words
from cer_assets.insight.report.changes import flow, moved, standings, weekly
from cer_assets.insight.report.cohorts import retention
from cer_assets.insight.report.risk import UNKNOWN, risk, risk_cells
from cer_assets.insight.report.segments import segment_rows
from cer_assets.insight.report.trust import calibration, verdict
from cer_assets.insight.report.worth import best_customers, bucket_sizes, concentration, lorenz, moves
from cer_assets_tests.insight.lake_of_report import CUSTOMERS, DAY, FOUR_WEEKS, HOSTILE, LAST, frames, tables


@pytest.fixture(scope="module")
def told() -> Report:
    return customer_report(tables(frames()))


@pytest.fixture(scope="module")
def page(told: Report) -> str:
    return told.html()


def parsed(page: str) -> ElementTree.Element:
    """The page is XML too, so that it can be checked whole."""
    return ElementTree.fromstring(page.split("<!DOCTYPE html>", 1)[1])


def test_rows_in_any_order_give_the_same_page(page: str) -> None:
    shuffled = {name: frame.sample(fraction=1, shuffle=True, seed=3) for name, frame in frames().items()}
    assert customer_report(tables(shuffled)).html() == page


def test_the_page_is_well_formed_with_one_heading_of_each_section_and_no_id_twice(page: str, told: Report) -> None:
    root = parsed(page)
    ids = Counter(element.get("id") for element in root.iter() if element.get("id"))
    assert max(ids.values()) == 1
    assert {section.name for section in told.sections} <= set(ids)
    values = " ".join(value for element in root.iter() for key, value in element.items() if key != "aria-label")
    assert set(re.findall(r"url\(#([^)]+)\)", values)) <= set(ids)
    assert {a.get("href", "")[1:] for a in root.iter("a")} <= set(ids)
    assert [h.text for h in root.iter("h2")] == ["In short", *(section.title for section in told.sections)]
    assert len(list(root.iter("svg"))) == sum(len(section.figures) for section in told.sections)
    assert all(drawn.get("aria-label") for drawn in root.iter("div") if drawn.get("role") == "img")


def test_nothing_of_the_page_comes_from_outside_or_needs_a_script(page: str) -> None:
    assert not re.search(r"https?:|//[a-z]|@import|src\s*=|<script|<link|<iframe|javascript:", page)


def test_what_comes_from_the_tables_is_escaped(page: str) -> None:
    assert HOSTILE not in page
    texts = [text for text in parsed(page).itertext() if HOSTILE in text]
    assert len(texts) >= 4  # as a card's title, text, action and owner, and beside the bars


def test_nobody_is_on_the_page(page: str) -> None:
    assert not [customer for customer in CUSTOMERS if customer in page]


def test_every_section_has_a_sentence_and_every_chart_one_beside_it(told: Report) -> None:
    assert all(section.headline for section in told.sections)
    assert all(block.reading for section in told.sections for block in section.blocks if block.figure)
    assert all(figure.alternative for section in told.sections for figure in section.figures)
    assert len(told.charts) == sum(len(section.figures) for section in told.sections)


def test_a_home_without_tables_has_a_page_that_says_so() -> None:
    page = customer_report(Tables()).html()
    assert "There are no figures yet" in page
    parsed(page)


def test_missing_tables_leave_sections_that_say_so() -> None:
    nothing = {name: frame.clear() for name, frame in frames().items()}
    assert customer_report(tables(nothing)).as_of is None
    of_value_alone = customer_report(tables({"rfm": frames()["rfm"]}))
    assert {section.name for section in of_value_alone.sections if section.empty} == {
        "buckets",
        "concentration",
        "segments",
        "risk",
        "cohorts",
        "trust",
    }
    parsed(of_value_alone.html())


ALONE = (
    {"people", "orders", "migration", "preference", "calibration"},
    {"purchases", "profiles"},
    {"clv", "behaviour"},
    {"buckets"},
    {"churn"},
)
"""Tables that no sentence and no chart needs two of."""


@pytest.mark.parametrize("empty", ALONE, ids=lambda names: "-".join(sorted(names)))
def test_any_table_may_be_empty(empty: set[str]) -> None:
    known = frames()
    assert customer_report(tables(known | {name: known[name].clear() for name in empty})).sections


def test_every_table_beside_that_of_the_customers_is_emptied_once() -> None:
    assert sorted(name for names in ALONE for name in names) == sorted(set(frames()) - {"rfm"})


def test_one_day_alone_is_said_to_be_the_first() -> None:
    known = frames()
    dated = {"rfm", "clv", "buckets", "behaviour", "churn"}
    first = (
        known | {name: known[name].filter(pl.col("as_of") == LAST) for name in dated} | {"migration": migration_of(0)}
    )
    sections = {section.name: section for section in customer_report(tables(first)).sections}
    assert "figures of 30 June 2024 alone" in " ".join(sections["changes"].blocks[0].reading)
    assert "so far they hold those of one" in sections["buckets"].blocks[1].reading[0]


def migration_of(rows: int) -> pl.DataFrame:
    return frames()["migration"].head(rows)


def test_a_day_is_compared_with_the_last_runs_and_with_four_weeks_before() -> None:
    known = tables(frames())
    levels = standings(known, [LAST, DAY, FOUR_WEEKS])
    assert set(levels["Customers"]) == {LAST, DAY, FOUR_WEEKS}
    assert set(levels["High-value customers"]) == {LAST, DAY}
    bought = frames()["purchases"]
    window = bought.filter(pl.col("ordered_on") > FOUR_WEEKS)
    assert levels["Sales in 28 days"][LAST] == int(window["amount"].sum() * 100)
    assert moved(known, DAY, LAST) == {"higher": 0, "lower": 1, "resegmented": 2}
    assert moved(known, FOUR_WEEKS, LAST) == {"higher": 3, "lower": 2}


def test_flows_explain_the_number_of_active_customers() -> None:
    known = tables(frames())
    for start in (DAY, FOUR_WEEKS):
        active = standings(known, [LAST, start])["Bought in the last 28 days"]
        one = flow(known, start, LAST)
        # Who came back was not active on the first day only where it lies within the window; so of one day alone.
        if start == DAY:
            assert active[LAST] - active[start] == one["new"] + one["returned"] - one["quiet"]
        assert one["new"] <= one["customers"] <= one["baskets"]


def test_weeks_end_on_the_day_and_lie_within_the_records() -> None:
    weeks = weekly(tables(frames()), LAST)
    assert weeks["ends_on"][-1] == LAST
    assert weeks["ends_on"].diff().drop_nulls().unique().to_list() == [dt.timedelta(days=7)]
    assert weeks["ends_on"][0] >= dt.date(2024, 1, 14)
    within = frames()["purchases"].filter(pl.col("ordered_on") > weeks["ends_on"][0] - dt.timedelta(days=7))
    assert int(weeks["sales"].sum()) == int(within["amount"].sum() * 100)


def test_buckets_are_ordered_and_share_all_value_out() -> None:
    sizes = bucket_sizes(tables(frames()))
    assert sizes["bucket"].to_list() == ["high", "mid", "low"]
    assert sizes["customers"].sum() == len(CUSTOMERS)
    assert sizes["value_share"].sum() == pytest.approx(1)


def test_moves_are_those_of_four_weeks_where_they_are_known() -> None:
    found = moves(tables(frames()))
    assert found is not None
    assert found[1:] == (FOUR_WEEKS, LAST)
    assert found[0]["customers"].sum() == 42


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=60).filter(any))
def test_the_best_stand_for_at_least_their_number(spend: list[int]) -> None:
    ranked = pl.Series(sorted(spend, reverse=True))
    top, curve = best_customers(ranked), lorenz(ranked)
    assert all(share >= n / len(spend) - 1e-9 for n, share in top.select("customers", "share").iter_rows())
    assert top["share"].is_sorted()
    assert curve["spend"].is_sorted()
    assert curve["spend"][100] == 1


def test_concentration_speaks_of_the_quarter_where_there_are_several_horizons() -> None:
    section = concentration(tables(frames()))
    assert section.headline is not None
    assert "next 91 days" in section.headline
    # 910 / (1 + n) of 37 customers; the best four of them.
    best, everyone = (sum(1 / (1 + n) for n in range(most)) for most in (4, 37))
    assert f"{best / everyone * 100:.0f}% of the spend" in section.headline


def test_churn_and_value_place_every_customer_once() -> None:
    cells = risk_cells(tables(frames()))
    assert cells["customers"].sum() == len(CUSTOMERS)
    assert cells.filter(pl.col("band") == UNKNOWN)["customers"].sum() == 5
    assert cells.height == 3 * 5


def test_churn_that_nobody_could_be_told_is_said_not_drawn() -> None:
    known = frames()
    thin = known["churn"].with_columns(probability=pl.lit(None, pl.Float64), reason=pl.lit("too few examples"))
    section = risk(tables(known | {"churn": thin}))
    assert not section.figures
    assert "not enough data" in str(section.headline)
    assert section.blocks[0].tables[0].rows == [["too few examples", "40"]]
    assert "Expected to stay away for 28 days" not in standings(tables(known | {"churn": thin}), [LAST])


def test_segments_carry_the_value_and_the_churn_of_their_customers() -> None:
    rows = segment_rows(tables(frames()), "behaviour")
    assert rows["segment"].to_list() == [1, 0]
    assert rows["value_share"].sum() == pytest.approx(1)
    of_first = frames()["churn"].filter((pl.col("horizon_days") == 28) & pl.col("customer_id").is_in(CUSTOMERS[:15]))
    assert rows["churn"][0] == pytest.approx(of_first["probability"].mean(), abs=1e-5)


def test_retention_counts_only_months_that_are_over() -> None:
    known = tables(frames())
    whole, begins = retention(known, LAST)
    assert begins == dt.date(2024, 1, 1)
    assert whole.group_by("cohort").agg(pl.col("after").max()).sort("cohort")["after"].to_list() == [5, 4, 3]
    part, _ = retention(known, DAY)
    assert part["after"].max() == 4
    assert whole["share"].is_between(0, 1).all()


def test_a_verdict_says_how_far_apart_what_was_expected_and_what_happened_are() -> None:
    churn, purchase = calibration(tables(frames())).partition_by("event", maintain_order=True)
    assert "of 250 forecasts, 28% were expected to come true and 27% did" in verdict(churn)
    assert "close enough" in verdict(churn)
    assert "20.0 points apart" in verdict(purchase)
    assert "rough" in verdict(purchase)
    assert "in 3 of 3 groups chance alone would explain it" in verdict(churn)
    assert "in 0 of 2 groups" in verdict(purchase)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (words.percent(0.0), "0%"),
        (words.percent(0.0004), "under 0.1%"),
        (words.percent(0.031), "3.1%"),
        (words.percent(0.42), "42%"),
        (words.percent(0.997), "99.7%"),
        (words.percent(1.0), "100%"),
        (words.money(1234567), "12,346"),
        (words.money(995), "9.95"),
        (words.change(110, 100), "+10 (+10%)"),
        (words.change(90, 100), "−10 (−10%)"),  # noqa: RUF001  # a minus sign is meant
        (words.change(1, None), "–"),  # noqa: RUF001  # an en dash is meant
        (words.counted(1, "customer"), "1 customer"),
        (words.sentence(words.counted(0, "customer")), "No customers"),
        (words.listed(["a", "b", "c"]), "a, b and c"),
        (words.ordinal(12), "12th"),
        (words.ordinal(3), "3rd"),
    ],
)
def test_figures_are_written_as_people_write_them(said: str, expected: str) -> None:
    assert said == expected
