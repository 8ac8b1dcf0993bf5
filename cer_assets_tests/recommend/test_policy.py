"""What may be shown, what comes forward, and how many of one category a list may hold."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import sparse

from cer_assets.recommend import interactions
from cer_assets.recommend.policy import Allowance, Policy, allowance, in_log_odds, recommendable
from cer_assets.recommend.rhythm import learn_rhythm
from cer_assets_tests.recommend.conftest import CUT, START, order_lines

DAY = dt.timedelta(days=1)
NOBODY = np.array([-1], np.int32)


def capped(category: list[int], share: float) -> Allowance:
    """An allowance that knows nothing but categories."""
    width = len(category)
    nothing = sparse.csr_matrix((1, 1), dtype=np.float32)
    of = sparse.csr_matrix((1, width), dtype=np.float32)
    return Allowance(
        policy=Policy(category_share=share),
        barred=np.zeros(width, bool),
        category=np.array(category, np.int32),
        held=nothing,
        of_type=of,
        kind=np.full(width, -1, np.int32),
        shift=nothing,
        bought=of,
    )


def one_by_one(scores: np.ndarray, category: list[int], k: int, most: int) -> list[int]:
    """The list as a person would make it: best first, passing over what has its share."""
    chosen: list[int] = []
    for column in sorted(range(len(scores)), key=lambda at: (-scores[at], at)):
        same = [at for at in chosen if category[at] == category[column] and category[column] >= 0]
        if np.isfinite(scores[column]) and len(same) < most and len(chosen) < k:
            chosen.append(column)
    return chosen


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_a_capped_list_is_the_one_made_product_by_product(data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 60))
    k = data.draw(st.integers(1, 12))
    share = data.draw(st.sampled_from([0.1, 0.25, 0.4, 1.0]))
    category = data.draw(st.lists(st.integers(-1, 3), min_size=width, max_size=width))
    value = st.sampled_from([0.0, 1.0, 1.5, 2.0, -np.inf])
    rows = data.draw(st.lists(st.lists(value, min_size=width, max_size=width), min_size=1, max_size=4))
    allowed = capped(category, share)
    columns, best = allowed.best(np.array(rows, np.float32), k)
    for row, own, score in zip(rows, columns, best, strict=True):
        shown = own[np.isfinite(score)].tolist()
        assert shown == one_by_one(np.array(row), category, k, allowed.policy.most_of_category(k))
        assert np.isfinite(score).tolist() == sorted(np.isfinite(score), reverse=True)
        assert score[np.isfinite(score)].tolist() == [row[column] for column in shown]


def test_a_cap_is_refilled_from_the_whole_row_where_one_category_leads_it() -> None:
    category = [0] * 2000 + [1] * 2 + [-1] * 3
    scores = np.arange(len(category), 0, -1, dtype=np.float32)[None, :]
    columns, best = capped(category, 0.4).best(scores, 10)
    assert columns[0][np.isfinite(best[0])].tolist() == [0, 1, 2, 3, *range(2000, 2005)]


def test_a_share_of_a_list_is_rounded_up() -> None:
    assert [Policy(category_share=0.4).most_of_category(k) for k in (1, 5, 10, 11)] == [1, 2, 4, 5]


def test_what_is_like_something_looked_at_stands_on_the_same_shelf() -> None:
    allowed = capped([0, 0, 1, 1, -1], 1.0)
    looked = sparse.csr_matrix(np.array([[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]], np.float32))
    kept = np.isfinite(allowed.near(np.zeros((2, 5), np.float32), looked))
    assert kept.tolist() == [[True, True, False, False, False], [True] * 5]
    bare = capped([-1] * 5, 1.0)
    assert np.isfinite(bare.near(np.zeros((2, 5), np.float32), looked)).all()


def test_who_is_not_known_has_less_of_one_category() -> None:
    policy = Policy(category_share=0.4, stranger_share=0.2)
    assert [policy.most_of_category(10, known=known) for known in (True, False)] == [4, 2]
    assert Policy(category_share=0.1).most_of_category(10, known=False) == 1
    allowed = capped([0] * 10 + [1] * 10 + [-1] * 10, 0.4)
    columns, _ = allowed.best(
        np.arange(30, 0, -1, dtype=np.float32)[None].repeat(2, axis=0), 6, np.array([True, False])
    )
    assert columns.tolist() == [[0, 1, 2, 10, 11, 12], [0, 1, 10, 11, 20, 21]]


def test_what_has_no_category_counts_towards_none() -> None:
    columns, _ = capped([-1] * 20, 0.1).best(np.ones((1, 20), np.float32), 10)
    assert columns[0].tolist() == list(range(10))


def test_only_goods_that_are_there_may_be_shown() -> None:
    products = pl.DataFrame(
        {
            "product_id": ["sold", "gone", "unsaid", "fee"],
            "available": [True, False, None, True],
            "merchandise": [True, True, None, False],
        }
    )
    candidates = pl.Series(["fee", "gone", "sold", "unlisted", "unsaid"])
    assert recommendable(products, candidates).tolist() == [False, False, True, False, True]
    assert recommendable(products.select("product_id"), candidates).tolist() == [True, True, True, False, True]
    assert recommendable(pl.DataFrame(), candidates).all()


@given(st.lists(st.floats(-50, 50, width=32) | st.just(-np.inf), min_size=1, max_size=30))
@example([float(np.finfo(np.float32).tiny), -4.0])
@settings(deadline=None, max_examples=60)
def test_a_common_scale_keeps_the_order_and_what_is_not_recommended(row: list[float]) -> None:
    scores = np.array([row], np.float32)
    scaled = in_log_odds(scores.copy())[0]
    assert (np.isneginf(scaled) == np.isneginf(scores[0])).all()
    assert not np.isnan(scaled).any()
    order = np.argsort(scores[0], kind="stable")
    with np.errstate(invalid="ignore"):
        assert not (np.diff(scaled[order]) < 0).any()


def test_counts_become_logs_so_that_what_is_added_multiplies() -> None:
    scaled = in_log_odds(np.array([[1, 2, 4, 0]], np.float32))[0]
    np.testing.assert_allclose(np.diff(scaled[:3]), np.log(2), rtol=1e-4)
    assert scaled[3] < scaled[0] - 5


def weekly(customer: str, product: str, last: dt.date, weeks: int = 10) -> list[tuple[str | None, str, dt.date]]:
    return [(customer, product, last - week * 7 * DAY) for week in range(weeks)]


@pytest.fixture(scope="module")
def bought() -> Allowance:
    """`due` was last bought a week ago, `fresh` yesterday, `given_up` two months ago; all weekly until then."""
    lines = [line for n in range(20) for line in weekly(f"c{n:02}", f"p{n % 3}", CUT - (n % 7 + 1) * DAY)]
    lines += weekly("due", "p0", CUT - 7 * DAY) + weekly("fresh", "p0", CUT - DAY)
    lines += weekly("given_up", "p0", CUT - 70 * DAY, 12)
    history = interactions(order_lines(lines), CUT, 1)
    policy, products = Policy(), pl.DataFrame({"product_id": ["p0", "p1", "p2"]})
    rhythm = learn_rhythm(history, products, CUT)
    rows.update(zip(("due", "fresh", "given_up"), rhythm.row_of(pl.Series(["due", "fresh", "given_up"])), strict=True))
    return allowance(policy, products, history, rhythm)


rows: dict[str, int] = {}


def shift(allowed: Allowance, customer: str) -> np.ndarray:
    row = np.array([rows[customer]], np.int32)
    return allowed.shifted(np.zeros((1, 3), np.float32), row, row)[0]


def test_what_is_about_to_run_out_comes_forward_and_what_was_just_bought_goes_back(bought: Allowance) -> None:
    assert shift(bought, "due")[0] > 0 > shift(bought, "fresh")[0]
    assert shift(bought, "given_up")[0] < 0
    assert (shift(bought, "due")[1:] == 0).all()


def test_what_is_put_forward_or_back_is_bounded(bought: Allowance) -> None:
    policy = bought.policy
    assert bought.shift.data.max() <= policy.forward
    assert bought.shift.data.min() >= -max(policy.back, policy.given_up)


def test_a_stranger_is_put_nothing_forward_and_held_back_from_nothing(bought: Allowance) -> None:
    scores = np.array([[1, 2, 3]], np.float32)
    assert bought.bar(bought.shifted(scores.copy(), NOBODY, NOBODY), NOBODY).tolist() == scores.tolist()


def test_a_just_bought_product_of_a_lasting_type_is_barred_with_all_its_type() -> None:
    products = pl.DataFrame({"product_id": ["f1", "f2", "p0"], "type": ["fridge", "fridge", "milk"]})
    lines = [*weekly("a", "p0", CUT - DAY), ("b", "f1", CUT - DAY), ("c", "f2", START)]
    history = interactions(order_lines(lines), CUT, 1)
    rhythm = learn_rhythm(history, products, CUT)
    allowed = allowance(Policy(), products, history, rhythm)
    scores = allowed.bar(np.zeros((3, 3), np.float32), rhythm.row_of(pl.Series(["a", "b", "nobody"])))
    assert np.isneginf(scores).tolist() == [[False, False, False], [True, True, False], [False, False, False]]
