"""Content: what is described like what was bought or looked at."""

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest

from cer_assets.recommend.families.content import Content, ContentSettings, described
from cer_assets.recommend.interactions import Interactions, interactions
from cer_assets_tests.recommend.conftest import CUT, START, order_lines

DAY = dt.timedelta(days=1)
PRODUCTS = ["espresso", "filter", "mocha", "novel", "poems", "vase"]
CATALOGUE = pl.DataFrame(
    {
        "product_id": PRODUCTS,
        "title": ["Espresso beans", "Filter coffee beans", "Mocha beans", "A novel", "Poems, a book", None],
        "category": ["coffee", "coffee", "coffee", "books", "books", None],
        "brand": ["Bella", "Bella", "Roma", "Reclam", "Reclam", None],
    }
)
"""Nothing is known of the vase."""


def history(events: pl.DataFrame | None = None, **bought: str) -> Interactions:
    """What some customers bought, and two who bought everything."""
    everything = [(who, product, START) for who in ("all", "also") for product in PRODUCTS]
    lines = order_lines([*everything, *((who, product, CUT - DAY) for who, product in bought.items())])
    return interactions(lines, CUT, 1, events=events)


def seen(*events: tuple[str, str, str]) -> pl.DataFrame:
    """Events of (customer, product, kind), all on the eve of the cut."""
    frame = pl.DataFrame(events, schema=["customer_id", "product_id", "kind"], orient="row")
    return frame.with_columns(occurred_at=pl.lit(dt.datetime.combine(CUT - DAY, dt.time(9))))


def first(model: Content, customer: str, without: str = "") -> str:
    """The product a customer would be shown, other than what they had."""
    return model.recommend(pl.Series([customer]), 2).filter(pl.col("product_id") != without)["product_id"][0]


@pytest.mark.parametrize(
    "catalogue",
    [CATALOGUE, CATALOGUE.select("product_id", "title"), CATALOGUE.with_columns(category=pl.lit(None, pl.String))],
    ids=["whole", "one text", "category empty"],
)
def test_what_is_described_like_a_purchase_comes_next(catalogue: pl.DataFrame) -> None:
    model = Content().fit(history(drinker="filter", reader="novel"), catalogue, CUT)
    assert first(model, "drinker", "filter") == "espresso"
    assert first(model, "reader", "novel") == "poems"


@pytest.mark.parametrize("catalogue", [pl.DataFrame(), CATALOGUE.select("product_id"), CATALOGUE.clear()])
def test_without_a_description_it_says_nothing(catalogue: pl.DataFrame) -> None:
    model = Content().fit(history(drinker="filter"), catalogue, CUT)
    assert np.isneginf(model.score(np.arange(-1, 3, dtype=np.int32))).all()
    assert np.isneginf(model.score_events(np.array([0]), pl.Series(["filter"]), pl.Series(["cart"]))).all()


def test_events_alone_are_enough_and_a_stranger_is_told_nothing() -> None:
    events = seen(("new", "poems", "view"), ("new", "filter", "view"), ("new", "filter", "cart"))
    past = history(events)
    model = Content().fit(past, CATALOGUE, CUT)
    assert first(model, "new", "filter") == "espresso"
    assert model.recommend(pl.Series(["nobody"])).is_empty()
    new, column = past.row_of(pl.Series(["new"])), {name: place for place, name in enumerate(past.products)}
    asked = np.array([[column["espresso"], column["novel"], column["vase"]]], np.int32)
    assert model.behind(new, asked, np.arange(6)).tolist() == [[column["filter"], column["poems"], -1]]


def test_a_cart_says_more_than_a_search_and_a_search_more_than_a_view() -> None:
    weight = ContentSettings().event_weights
    assert weight["view"] < weight["search"] < weight["cart"]
    model = Content().fit(history(), CATALOGUE, CUT)

    def told(*events: tuple[str, str]) -> str:
        products, kinds = (pl.Series(part) for part in zip(*events, strict=True))
        scores = model.score_events(np.zeros(len(events), np.int64), products, kinds)
        return PRODUCTS[int(scores[0].argmax())]

    assert told(("novel", "view"), ("espresso", "cart")) == "espresso"
    assert told(("novel", "cart"), ("espresso", "view")) == "novel"


def test_events_without_an_account_score_as_those_of_a_customer() -> None:
    events = [("new", "poems", "search"), ("new", "mocha", "cart")]
    past = history(seen(*events))
    model = Content(ContentSettings(event_half_life_days=1e9)).fit(past, CATALOGUE, CUT)
    _, products, kinds = (pl.Series(part) for part in zip(*events, strict=True))
    unheard: dict[str, Any] = {"product_id": "never seen", "kind": "cart"}
    adhoc = model.score_events(
        np.array([1, 1, 0, 0]),
        pl.concat([products, pl.Series([unheard["product_id"], "vase"])]),
        pl.concat([kinds, pl.Series([unheard["kind"], "cart"])]),
    )
    assert np.isneginf(adhoc[0]).all()
    np.testing.assert_allclose(adhoc[1], model.score(past.row_of(pl.Series(["new"])))[0], rtol=1e-6)


def test_a_description_has_length_one_whatever_order_the_catalogue_has() -> None:
    candidates = pl.Series(PRODUCTS)
    matrix = described(CATALOGUE, candidates)
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    np.testing.assert_allclose(lengths, [1, 1, 1, 1, 1, 0], rtol=1e-6)
    assert (matrix != described(CATALOGUE.reverse(), candidates)).nnz == 0
