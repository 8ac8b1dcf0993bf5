"""What lasts and what is used up, learned from the gaps between purchases."""

import datetime as dt
import warnings
from random import Random

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.recommend import interactions
from cer_assets.recommend.rhythm import Rhythm, RhythmSettings, learn_rhythm
from cer_assets_tests.recommend.conftest import CUT, START, order_lines

DAY = dt.timedelta(days=1)
YESTERDAY = CUT - DAY

Bought = list[tuple[str | None, str, dt.date]]


def purchases() -> Bought:
    """Thirty customers buy milk every week, one in ten of them a fridge, once."""
    weeks = range(0, 91, 7)
    milk: Bought = [(f"c{n:02}", f"milk{n % 3}", START + (n % 7 + day) * DAY) for n in range(30) for day in weeks]
    fridges: Bought = [(f"c{n:02}", f"fridge{n % 2}", START + n * DAY) for n in range(0, 30, 10)]
    return milk + fridges


def catalogue() -> pl.DataFrame:
    ids = ["milk0", "milk1", "milk2", "fridge0", "fridge1", "fridge2", "cup"]
    return pl.DataFrame(
        {
            "product_id": ids,
            "department": ["food"] * 3 + ["home"] * 4,
            "category": ["dairy"] * 3 + ["kitchen"] * 4,
            "type": ["milk"] * 3 + ["fridge"] * 3 + [None],
        }
    )


def rhythm(bought: Bought, products: pl.DataFrame | None = None, cut: dt.date = CUT) -> Rhythm:
    known = catalogue() if products is None else products
    return learn_rhythm(interactions(order_lines(bought), cut, 1), known, cut)


def days_of(found: Rhythm, days: np.ndarray, product: str) -> float:
    return float(days[found.types.kind_of(pl.Series([product]))[0]])


def held(found: Rhythm, customer: str, product: str, lasting_days: float = 0) -> bool:
    row, kind = found.row_of(pl.Series([customer]))[0], found.types.kind_of(pl.Series([product]))[0]
    return bool(found.held(lasting_days)[row, kind])


def test_what_is_bought_every_week_lasts_about_a_week() -> None:
    found = rhythm(purchases())
    assert 5 <= days_of(found, found.typical_days(), "milk0") <= 9
    assert days_of(found, found.held_days(), "milk0") < 8


def test_what_nobody_has_bought_twice_is_held_back_for_a_year() -> None:
    found = rhythm(purchases())
    assert days_of(found, found.held_days(), "fridge0") >= 365
    longer = RhythmSettings(lasting_days=730)
    again = learn_rhythm(interactions(order_lines(purchases()), CUT, 1), catalogue(), CUT, longer)
    assert days_of(again, again.held_days(), "fridge0") >= 730


def test_a_purchase_of_one_product_holds_its_whole_type_back() -> None:
    found = rhythm([*purchases(), ("c01", "fridge0", YESTERDAY)])
    kinds = found.types.kind_of(pl.Series(["fridge0", "fridge1", "fridge2"]))
    assert len(set(kinds)) == 1
    assert held(found, "c01", "fridge2")
    assert not held(found, "c02", "fridge2")


def test_a_type_is_one_within_its_category_and_a_category_within_its_department() -> None:
    levels = [("food", "dairy", "misc"), ("food", "bread", "misc"), ("home", "bread", "misc"), ("home", "bread", None)]
    levels += [("food", "dairy", "misc"), (None, "bread", "misc"), (None, "bread", "misc"), ("home", None, "misc")]
    ids = [f"p{number}" for number in range(len(levels))]
    named = pl.DataFrame(levels, schema=["department", "category", "type"], orient="row")
    products = named.with_columns(pl.Series("product_id", ids))
    found = rhythm([(f"c{number}", product, YESTERDAY) for number, product in enumerate(ids)], products)
    kinds = found.types.kind_of(pl.Series(ids))
    assert (kinds[:, None] == kinds).tolist() == [[one == other for other in levels] for one in levels]
    assert held(found, "c0", "p4")
    assert not held(found, "c0", "p1")


def test_a_category_learns_nothing_from_its_namesake_in_another_department() -> None:
    levels = {"milk": ("food", "other", "milk"), "tv": ("home", "other", "tv"), "sofa": ("home", "rooms", "sofa")}
    rows = [(product, *names) for product, names in levels.items()]
    products = pl.DataFrame(rows, schema=["product_id", "department", "category", "type"], orient="row")
    weekly: Bought = [(f"c{n:02}", "milk", START + day * DAY) for n in range(30) for day in range(0, 91, 7)]
    twice: Bought = [(f"c{n:02}", product, START + n * DAY) for n in range(6) for product in ("tv", "sofa")]
    twice += [(f"c{n:02}", product, YESTERDAY) for n in range(3) for product in ("tv", "sofa")]
    found = rhythm(weekly + twice, products)
    tv, sofa = (days_of(found, found.held_days(), product) for product in ("tv", "sofa"))
    assert tv == pytest.approx(sofa)


def test_what_was_bought_long_enough_ago_is_held_back_no_more() -> None:
    later = CUT + 500 * DAY
    found = rhythm(purchases(), cut=later)
    assert not held(found, "c00", "fridge0")


def test_what_is_used_up_within_days_is_not_held_back_once_it_must_last_weeks() -> None:
    found = rhythm([*purchases(), ("c01", "milk0", YESTERDAY), ("c01", "fridge0", YESTERDAY)])
    assert held(found, "c01", "milk0")
    assert not held(found, "c01", "milk0", lasting_days=28)
    assert held(found, "c01", "fridge0", lasting_days=28)


def test_who_buys_faster_than_others_is_held_back_for_less() -> None:
    daily: Bought = [("c99", "milk0", CUT - day * DAY) for day in range(1, 60)]
    found = rhythm([*purchases(), *daily, ("c01", "milk0", YESTERDAY)])
    rows, kind = found.row_of(pl.Series(["c99", "c01"])), found.types.kind_of(pl.Series(["milk0"]))[0]
    fast, usual = (float(found.types.pace[row, kind]) for row in rows)
    assert fast > 3 * usual
    assert not held(found, "c99", "milk0")


def test_progress_grows_with_the_days_since_the_purchase() -> None:
    last: Bought = [("x", "milk0", CUT - 3 * DAY), ("y", "milk0", CUT - 10 * DAY), ("z", "milk0", CUT - 30 * DAY)]
    found = rhythm(purchases() + last)
    kind = found.types.kind_of(pl.Series(["milk0"]))[0]
    progress = [found.types.progress[row, kind] for row in found.row_of(pl.Series(["x", "y", "z"]))]
    assert progress == sorted(progress)
    assert len(set(progress)) == 3


def test_a_customer_never_seen_is_held_back_from_nothing() -> None:
    found = rhythm(purchases())
    assert found.row_of(pl.Series(["nobody"])).tolist() == [-1]
    assert found.held()[-1].nnz == 0


@pytest.mark.parametrize("kept", [[], ["type"], ["category"], ["department"], ["category", "type"]])
def test_any_columns_of_the_catalogue_may_be_absent(kept: list[str]) -> None:
    found = rhythm([*purchases(), ("c01", "fridge0", YESTERDAY)], catalogue().select("product_id", *kept))
    assert held(found, "c01", "fridge0", lasting_days=28)
    assert not held(found, "c01", "milk0", lasting_days=28)


def test_without_a_catalogue_a_product_is_a_type_of_its_own() -> None:
    found = rhythm([*purchases(), ("c01", "fridge0", YESTERDAY)], pl.DataFrame())
    assert held(found, "c01", "fridge0")
    assert not held(found, "c01", "fridge1")


def test_columns_without_a_value_are_like_columns_that_are_not_there() -> None:
    empty = catalogue().with_columns(pl.lit(None, pl.String).alias(name) for name in ("department", "category", "type"))
    bought = purchases()
    bare, nothing = rhythm(bought, catalogue().select("product_id")), rhythm(bought, empty)
    np.testing.assert_array_equal(bare.types.rates, nothing.types.rates)


def test_a_type_without_purchases_is_taken_to_last() -> None:
    found = rhythm(purchases())
    assert days_of(found, found.held_days(), "cup") >= 365


def test_nothing_bought_is_no_rhythm() -> None:
    with warnings.catch_warnings(action="error"):
        found = rhythm([], pl.DataFrame())
        described = rhythm([])
    assert found.held().nnz == 0
    assert (described.held_days() >= 365).all()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(0, 90)), max_size=60), st.randoms())
@settings(deadline=None, max_examples=30)
def test_a_rhythm_knows_no_order_of_lines_and_its_hazards_are_positive(
    drawn: list[tuple[int, int, int]], random: Random
) -> None:
    ids = catalogue()["product_id"]
    bought: Bought = [(f"c{customer}", ids[product], START + day * DAY) for customer, product, day in drawn]
    shuffled = random.sample(bought, len(bought))
    one, other = rhythm(bought), rhythm(shuffled, catalogue().sample(fraction=1, shuffle=True, seed=1))
    clock, again = one.types, other.types
    assert clock.kinds.equals(again.kinds)
    np.testing.assert_array_equal(clock.rates, again.rates)
    np.testing.assert_array_equal(clock.progress.toarray(), again.progress.toarray())
    assert (clock.rates > 0).all()
    assert np.isfinite(clock.rates).all()
    assert (np.diff(np.stack([clock.days(p) for p in (0.05, 0.1, 0.5, 1.0)]), axis=0) >= 0).all()


def test_what_is_bought_after_the_cut_changes_nothing() -> None:
    later = [*purchases(), ("c01", "fridge0", CUT), ("c02", "milk0", CUT + 5 * DAY)]
    np.testing.assert_array_equal(rhythm(purchases()).types.rates, rhythm(later).types.rates)
