"""What TIFU-KNN makes of histories small enough to work out by hand."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.recommend.families.tifu import TifuKnn, TifuSettings
from cer_assets.recommend.interactions import Interactions, interactions
from cer_assets_tests.recommend.conftest import CUT, order_lines


def shop(*baskets: tuple[str, int, str]) -> Interactions:
    """(customer, days before the cut, products as letters)."""
    lines = [(who, product, CUT - dt.timedelta(days=days)) for who, days, basket in baskets for product in basket]
    return interactions(order_lines(lines), CUT, min_customers=1)


def scores(model: TifuKnn, customer: str) -> dict[str, float]:
    """Score of each product for one customer."""
    history = model.interactions_
    row = history.row_of(pl.Series([customer]))
    return dict(zip(history.products.to_list(), model.score(row)[0].tolist(), strict=True))


def fitted(history: Interactions, **settings: float) -> TifuKnn:
    """Fitted with some settings."""
    return TifuKnn(TifuSettings.model_validate(settings)).fit(history, pl.DataFrame(), CUT)


def test_a_basket_weighs_less_for_every_later_basket_and_stretch() -> None:
    history = shop(("x", 30, "a"), ("x", 20, "b"), ("x", 10, "c"), ("y", 5, "d"))
    model = fitted(history, groups=2, basket_decay=0.5, group_decay=0.1, own_weight=1)
    # Two stretches: the older holds one basket, the newer two.
    expected = {"a": 0.25 * 0.1 / 2, "b": 0.5 / 4, "c": 1 / 4, "d": -np.inf}
    assert scores(model, "x") == pytest.approx(expected)


def test_the_nearest_customer_adds_what_they_bought() -> None:
    history = shop(("x", 3, "ab"), ("near", 3, "abc"), ("far", 3, "de"))
    model = fitted(history, neighbours=1, own_weight=0.7)
    assert scores(model, "x") == pytest.approx({"a": 1.0, "b": 1.0, "c": 0.3, "d": -np.inf, "e": -np.inf})


def test_fewer_others_than_neighbours_are_all_taken() -> None:
    history = shop(("x", 3, "a"), ("y", 3, "b"), ("z", 3, "c"))
    expected = {"a": 0.7, "b": 0.15, "c": 0.15}
    assert scores(fitted(history, neighbours=300, own_weight=0.7), "x") == pytest.approx(expected)


def test_a_customer_alone_has_only_their_own() -> None:
    assert scores(fitted(shop(("x", 3, "a")), own_weight=0.5), "x") == pytest.approx({"a": 0.5})


def test_nothing_is_said_to_a_stranger() -> None:
    model = fitted(shop(("x", 3, "a"), ("y", 3, "b")))
    assert not np.isfinite(model.score(np.array([-1], np.int32))).any()


def test_of_many_customers_a_fixed_sample_is_asked() -> None:
    history = shop(*((f"c{n:02}", 1 + n % 9, "abc"[n % 3] + "de"[n % 2]) for n in range(30)))
    model = fitted(history, max_references=7, neighbours=3)
    assert len(model.references_) == 7
    again = fitted(history, max_references=7, neighbours=3)
    rows = np.arange(-1, 30, dtype=np.int32)
    assert model.score(rows).tobytes() == again.score(rows).tobytes()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 40), st.sampled_from("abcdefg")), min_size=1, max_size=40),
    st.integers(1, 5),
)
def test_scores_of_a_customer_do_not_depend_on_who_is_scored_beside_them(
    bought: list[tuple[int, int, str]], neighbours: int
) -> None:
    model = fitted(shop(*((f"c{who}", days, product) for who, days, product in bought)), neighbours=neighbours)
    rows = np.arange(-1, len(model.interactions_.customers), dtype=np.int32)
    together = model.score(rows)
    alone = np.concatenate([model.score(rows[place : place + 1]) for place in range(len(rows))])
    assert together.tobytes() == alone.tobytes()
