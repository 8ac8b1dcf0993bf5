"""One true sentence a product."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from cer_assets.recommend import ANYTIME, Context, interactions
from cer_assets.recommend.context import ContextLift
from cer_assets.recommend.interactions import Interactions
from cer_assets.recommend.model import Explanation, Voice
from cer_assets.recommend.reasons import evidence, named
from cer_assets_tests.recommend.conftest import CUT, START, order_lines

DAY = dt.timedelta(days=1)
PRODUCTS = pl.DataFrame(
    {
        "product_id": ["bread", "butter", "jam", "milk", "tea"],
        "title": ["Rye bread", "Butter", "PLUM JAM", None, None],
        "type": ["Bread", None, None, "FLUID MILK", None],
    }
)
EVENTS = pl.DataFrame(
    {
        "customer_id": ["looker", "looker"],
        "product_id": ["jam", "tea"],
        "kind": ["view", "cart"],
        "occurred_at": [dt.datetime(2024, 3, 20, 9), dt.datetime(2024, 3, 21, 9)],
    }
)


@pytest.fixture(scope="module")
def history() -> Interactions:
    bought = [("regular", "milk", CUT - (9 * n + 8) * DAY) for n in range(7)]
    bought += [("regular", "bread", CUT - 4 * DAY), ("regular", "bread", CUT - 5 * DAY), ("regular", "bread", START)]
    bought += [("regular", "butter", START), ("regular", "jam", START), ("regular", "jam", START + 2 * DAY)]
    bought += [(f"c{n}", "tea", CUT - 10 * DAY) for n in range(14)]
    return interactions(order_lines(bought), CUT, 1, events=EVENTS)


def sentence(
    history: Interactions,
    customer: str,
    product: str,
    voice: Voice = Voice.TREND,
    behind: str | None = None,
    products: pl.DataFrame = PRODUCTS,
) -> str:
    rows = history.row_of(pl.Series([customer]))
    column, own = history.column_of(pl.Series([product, behind or ""]))
    explained = Explanation(
        source=np.array([["any"]], dtype=object),
        voice=np.array([[voice.value]], dtype=object),
        behind=np.array([[own]], np.int32),
    )
    return evidence(history, products, CUT).sentences(rows, np.array([[column]], np.int32), explained).item()


def test_a_regular_purchase_says_how_often_how_far_apart_and_whether_it_is_due(history: Interactions) -> None:
    said = "Bought 7 times, about every 9 days, last on 2024-03-24: due now"
    assert sentence(history, "regular", "milk", Voice.REPEAT) == said


def test_a_purchase_that_is_not_due_says_nothing_of_it(history: Interactions) -> None:
    assert sentence(history, "regular", "bread").endswith("last on 2024-03-28")


def test_what_was_bought_once_or_twice_has_no_rhythm(history: Interactions) -> None:
    assert sentence(history, "regular", "butter", Voice.REPEAT) == "Bought once, on 2024-01-01"
    assert sentence(history, "regular", "jam", Voice.REPEAT) == "Bought twice, last on 2024-01-03"


@pytest.mark.parametrize(
    ("voice", "own", "said"),
    [
        (Voice.LIKENESS, "milk", "Goes with fluid milk, which you buy often"),
        (Voice.LIKENESS, "butter", "Goes with Butter, which you bought on 2024-01-01"),
        (Voice.CONTENT, "milk", "Like fluid milk, which you buy often"),
        (Voice.TOGETHER, "jam", "Often in one basket with plum jam, which you bought on 2024-01-03"),
        (Voice.LIKENESS, None, "Bought by customers whose baskets are like yours"),
        (Voice.CUSTOMERS, None, "Bought by customers whose baskets are like yours"),
        (Voice.REPEAT, None, "Bought by 14 customers in the last 8 weeks"),
        (Voice.TREND, None, "Bought by 14 customers in the last 8 weeks"),
        (Voice.CONTENT, None, "Bought by 14 customers in the last 8 weeks"),
    ],
)
def test_each_voice_says_what_it_can_show(history: Interactions, voice: Voice, own: str | None, said: str) -> None:
    assert sentence(history, "regular", "tea", voice, own) == said


def test_what_was_looked_at_is_not_said_to_be_bought(history: Interactions) -> None:
    assert sentence(history, "looker", "bread", Voice.CONTENT, "jam") == "Like plum jam, which you looked at"
    assert sentence(history, "looker", "jam", Voice.CONTENT) == "You looked at it on 2024-03-20"


def test_an_email_that_was_opened_is_no_look_at_what_is_in_it() -> None:
    bought = order_lines([("c0", "jam", START), ("c0", "tea", START)])
    kinds = ["email_open", "email_click", "search", "email_open"]
    events = pl.DataFrame(
        {
            "customer_id": ["reader", "clicker", "clicker", "clicker"],
            "product_id": ["jam", "jam", "tea", "tea"],
            "kind": kinds,
            "occurred_at": [dt.datetime(2024, 3, day, 9) for day in (20, 20, 21, 22)],
        }
    )
    history = interactions(bought, CUT, 1, events=events)
    assert sentence(history, "reader", "jam", Voice.CONTENT) == "Bought by a customer"
    assert sentence(history, "reader", "tea", Voice.CONTENT, "jam") == "Bought by a customer"
    assert sentence(history, "clicker", "jam", Voice.CONTENT) == "You looked at it on 2024-03-20"
    assert sentence(history, "clicker", "tea", Voice.CONTENT) == "You looked at it on 2024-03-21"


def test_what_the_customer_neither_bought_nor_looked_at_stands_behind_nothing(history: Interactions) -> None:
    assert (
        sentence(history, "c0", "bread", Voice.LIKENESS, "milk") == "Bought by customers whose baskets are like yours"
    )


@pytest.mark.parametrize("voice", [Voice.LIKENESS, Voice.CUSTOMERS])
def test_a_stranger_has_no_baskets_to_be_like(history: Interactions, voice: Voice) -> None:
    assert sentence(history, "nobody", "tea", voice) == "Bought by 14 customers in the last 8 weeks"


def test_a_trend_that_is_over_gives_no_weeks(history: Interactions) -> None:
    assert sentence(history, "nobody", "butter") == "Bought by a customer"


def test_a_product_goes_by_its_title_its_type_its_category_or_its_id() -> None:
    ids = PRODUCTS["product_id"]
    assert named(PRODUCTS, ids).to_list() == ["Rye bread", "Butter", "plum jam", "fluid milk", "product tea"]
    shelved = PRODUCTS.select("product_id", category=pl.lit("Food"))
    assert named(shelved, pl.Series(["tea", "new"])).to_list() == ["Food", "product new"]
    assert named(pl.DataFrame(), pl.Series(["tea"])).to_list() == ["product tea"]


def test_a_moment_that_speaks_for_a_product_is_named() -> None:
    morning = [("c" + str(n), "tea", START + n * DAY) for n in range(60)]
    evening = [("c" + str(n), "beer", START + n * DAY) for n in range(60)]
    lines = pl.concat(
        [
            order_lines(morning).with_columns(pl.col("ordered_at").dt.replace(hour=7)),
            order_lines(evening).with_columns(pl.col("ordered_at").dt.replace(hour=19)),
        ]
    )
    bought = interactions(lines, CUT, 1)
    products = pl.DataFrame({"product_id": ["beer", "tea"]})
    lift = ContextLift().fit(bought, products, CUT)
    known = evidence(bought, products, CUT, Context(hour=8, weekday=2), lift)
    assert known.moments.to_list() == [None, "in the morning"]
    assert evidence(bought, products, CUT, ANYTIME, lift).moments.null_count() == 2


def test_a_sentence_names_no_customer(history: Interactions) -> None:
    columns = np.tile(np.arange(5, dtype=np.int32), (len(history.customers), 1))
    rows = np.arange(len(history.customers), dtype=np.int32)
    explained = Explanation(
        source=np.full(columns.shape, "any", dtype=object),
        voice=np.full(columns.shape, Voice.LIKENESS.value, dtype=object),
        behind=np.full(columns.shape, 3, np.int32),
    )
    said = " ".join(evidence(history, PRODUCTS, CUT).sentences(rows, columns, explained))
    assert not any(customer in said for customer in history.customers)
