"""What is known of a candidate at the cut, by hand."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from cer_assets.recommend.hybrid.candidates import Candidates
from cer_assets.recommend.hybrid.features import Examples, Features
from cer_assets.recommend.interactions import interactions
from cer_assets_tests.recommend.conftest import CUT, order_lines

BOUGHT = [
    ("a", "milk", 30),
    ("a", "milk", 20),
    ("a", "milk", 10),
    ("a", "tea", 20),
    ("b", "milk", 5),
    ("b", "bread", 90),
]
CATALOGUE = pl.DataFrame({"product_id": ["bread", "milk", "tea"], "type": ["food", "drink", "drink"]})


def known(
    customer: str, product: str, catalogue: pl.DataFrame = CATALOGUE, traits: pl.DataFrame | None = None
) -> dict[str, float]:
    lines = order_lines([(who, what, CUT - timedelta(days=age)) for who, what, age in BOUGHT])
    history = interactions(lines, CUT, 1, traits=traits)
    row, column = (history.row_of(pl.Series([customer])), history.column_of(pl.Series([product])))
    nothing = np.empty((1, 0), np.float32)
    found = Features(history, catalogue, CUT).of(Candidates(np.zeros(1, np.int32), row, column, (), nothing, nothing))
    return dict(zip(found.names, found.X[0].tolist(), strict=True))


def test_own_purchases_have_an_age_a_gap_and_a_share_of_the_trips() -> None:
    milk = known("a", "milk")
    assert milk["own count"] == 3
    assert milk["own last age"] == 10
    assert milk["own gap"] == 10
    assert milk["own gap ratio"] == 1
    assert milk["own trips since"] == 0
    assert milk["own share of trips"] == 1
    assert milk["own last 28 days"] == 2


def test_what_was_never_bought_has_no_age() -> None:
    bread = known("a", "bread")
    assert np.isnan(bread["own last age"])
    assert bread["own count"] == 0


def test_a_single_purchase_has_no_gap() -> None:
    assert np.isnan(known("a", "tea")["own gap"])


def test_products_and_customers_are_counted() -> None:
    pair = known("b", "milk")
    assert pair["product buyers"] == 2
    assert pair["product sales 28"] == 3
    assert pair["product price"] == 2.5
    assert pair["customer trips"] == 2
    assert pair["customer recency"] == 5
    assert pair["customer products"] == 2


def test_a_customers_taste_is_known_for_a_kind_and_not_where_the_kind_is_not() -> None:
    assert known("a", "tea")["type products"] == 2
    assert known("a", "tea")["type last age"] == 10
    assert known("a", "tea")["type own share"] == 0.25
    assert known("a", "bread")["type decayed"] == 0
    unknown = CATALOGUE.with_columns(type=pl.Series(["food", "drink", None]))
    assert np.isnan(known("a", "tea", unknown)["type decayed"])


@pytest.mark.parametrize("catalogue", [pl.DataFrame(), CATALOGUE.with_columns(type=pl.lit(None, pl.String))])
def test_a_catalogue_that_says_nothing_adds_no_feature(catalogue: pl.DataFrame) -> None:
    assert not [name for name in known("a", "milk", catalogue) if name.startswith("type")]


def test_the_same_trait_is_the_same_number_whoever_else_there_is() -> None:
    one = pl.DataFrame({"customer_id": ["a"], "bucket": ["high"]})
    both = pl.DataFrame({"customer_id": ["a", "b"], "bucket": ["high", "low"]})
    assert known("a", "milk", traits=one)["trait bucket"] == known("a", "milk", traits=both)["trait bucket"]
    assert np.isnan(known("b", "milk", traits=one)["trait bucket"])


def test_a_stranger_has_features_too() -> None:
    stranger = known("nobody", "milk")
    assert stranger["customer trips"] == 0
    assert np.isnan(stranger["own last age"])
    assert stranger["product buyers"] == 2


def test_gaps_that_ended_soon_make_the_open_one_likely_to_end() -> None:
    # Both of a's gaps lasted 10 days, and the open one is 10 days old: none of all gaps lasted longer and ended.
    assert known("a", "milk")["returns now all"] == 0
    assert known("b", "milk")["returns now all"] > 0


def test_features_are_found_by_name_and_a_missing_one_is_not_known() -> None:
    one = Examples(
        np.zeros(2, np.int32),
        np.arange(2, dtype=np.int32),
        np.array([[1, 2], [3, 4]], np.float32),
        ("x", "y"),
    )
    assert np.array_equal(one.aligned(("y", "z")), [[2, np.nan], [4, np.nan]], equal_nan=True)
