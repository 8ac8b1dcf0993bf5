"""How likely something is bought again, on histories where the answer is plain."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from cer_assets.recommend.families.hazard import Hazard
from cer_assets.recommend.interactions import Interactions, interactions
from cer_assets_tests.recommend.conftest import CUT, order_lines

CUSTOMERS = 30


def bought(lines: list[tuple[str, str, int]]) -> Interactions:
    """(customer, product, days before the cut)."""
    moved = [(customer, product, CUT - dt.timedelta(days=days)) for customer, product, days in lines]
    return interactions(order_lines(moved), CUT, min_customers=1)


@pytest.fixture(scope="module")
def year() -> list[tuple[str, str, int]]:
    """Everyone buys milk every week, and once each one of the films, half a year ago and again in each month."""
    lines = [(f"c{n:02}", "milk", 1 + 7 * week + n % 7) for n in range(CUSTOMERS) for week in range(40)]
    return lines + [
        (f"c{n:02}", f"film {month}", 10 + 28 * month + n % 7) for n in range(CUSTOMERS) for month in range(9)
    ]


def chances(model: Hazard, customer: str) -> dict[str, float]:
    """Score of each product for one customer."""
    row = model.interactions_.row_of(pl.Series([customer]))
    return dict(zip(model.interactions_.products.to_list(), model.score(row)[0].tolist(), strict=True))


def test_what_is_always_bought_again_is_likely_and_what_never_is_is_not(year: list[tuple[str, str, int]]) -> None:
    found = chances(Hazard().fit(bought(year), pl.DataFrame(), CUT), "c03")
    assert found["milk"] > 0.8
    assert max(chance for product, chance in found.items() if product != "milk") < 0.3


def test_of_two_products_bought_alike_the_one_others_buy_again_is_likelier(year: list[tuple[str, str, int]]) -> None:
    new = [("new", "milk", 12), ("new", "film 0", 12)]
    found = chances(Hazard().fit(bought([*year, *new]), pl.DataFrame(), CUT), "new")
    assert found["milk"] > found["film 0"]


def test_nothing_is_said_of_what_a_customer_never_bought(year: list[tuple[str, str, int]]) -> None:
    model = Hazard().fit(bought([*year, ("new", "milk", 3)]), pl.DataFrame(), CUT)
    assert [product for product, chance in chances(model, "new").items() if np.isfinite(chance)] == ["milk"]
    assert not np.isfinite(model.score(np.array([-1], np.int32))).any()


def test_a_history_too_short_to_learn_from_is_ordered_by_shares_of_baskets() -> None:
    lines = [("x", "a", 1), ("x", "a", 2), ("x", "b", 2), ("y", "b", 3)]
    found = chances(Hazard().fit(bought(lines), pl.DataFrame(), CUT), "x")
    assert found["a"] == 1
    assert found["b"] == pytest.approx(0.95 / 1.95)


def test_the_order_of_purchases_changes_no_chance(year: list[tuple[str, str, int]]) -> None:
    catalogue = pl.DataFrame({"product_id": ["milk"], "type": ["dairy"], "category": ["food"]})
    rows = np.arange(-1, CUSTOMERS, dtype=np.int32)
    one, other = (
        Hazard().fit(bought(lines), catalogue, CUT).score(rows).tobytes() for lines in (year, list(reversed(year)))
    )
    assert one == other
