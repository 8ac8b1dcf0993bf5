"""The content hash: what changes it and what does not."""

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from cer_assets.lake import content_hash
from cer_assets.lake.content import sums_by

rows = st.lists(
    st.tuples(st.one_of(st.none(), st.text(max_size=4)), st.one_of(st.none(), st.integers(-9, 9))), max_size=8
)


def frame(values: list[tuple[str | None, int | None]]) -> pl.DataFrame:
    return pl.DataFrame(values, schema={"name": pl.String, "count": pl.Int64}, orient="row")


@settings(deadline=None, max_examples=40)
@given(rows, st.randoms())
def test_the_order_of_rows_does_not_matter(values, random) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    assert content_hash(frame(values)) == content_hash(frame(shuffled))


@settings(deadline=None, max_examples=40)
@given(rows, st.integers(0, 7))
def test_a_changed_value_changes_the_hash(values, place) -> None:
    if not values:
        return
    changed = list(values)
    name, count = changed[place % len(values)]
    changed[place % len(values)] = (name, (count or 0) + 100)
    assert content_hash(frame(values)) != content_hash(frame(changed))


def test_a_row_that_stands_twice_is_not_a_row_that_stands_once() -> None:
    assert content_hash(frame([("a", 1), ("a", 1)])) != content_hash(frame([("a", 1)]))


def test_null_is_not_the_empty_text() -> None:
    assert content_hash(frame([(None, 1)])) != content_hash(frame([("", 1)]))


def test_values_do_not_run_into_each_other() -> None:
    pair = {"x": pl.String, "y": pl.String}
    left, right = pl.DataFrame([("ab", "c")], pair, orient="row"), pl.DataFrame([("a", "bc")], pair, orient="row")
    assert content_hash(left) != content_hash(right)


def test_the_type_of_a_column_counts() -> None:
    assert content_hash(pl.DataFrame({"x": [1]})) != content_hash(pl.DataFrame({"x": ["1"]}))


def test_the_hash_of_the_whole_is_added_up_from_its_parts() -> None:
    frame = pl.DataFrame({"part": ["a", "a", "b"], "x": [1, None, 3]})
    assert content_hash(frame, sums_by(frame, "part")) == content_hash(frame)
