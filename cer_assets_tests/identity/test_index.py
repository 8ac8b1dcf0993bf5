import dataclasses

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cer_assets.identity import Resolution, resolve_all
from cer_assets.identity.index import GROWTH, Index, decided_by, rows_of
from cer_assets.identity.pairs import Near
from cer_assets_tests.identity.conftest import Trained


@pytest.fixture(scope="module")
def whole(trained: Trained) -> Resolution:
    return resolve_all(trained.records, trained.model)


def moved_on(records: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Some records gone, some changed, one new."""
    rng = np.random.default_rng(seed)
    kept = records.filter(pl.Series(rng.random(len(records)) < 0.98))
    changed = pl.Series(rng.random(len(kept)) < 0.02)
    renamed = kept.with_columns(surname=pl.when(changed).then(pl.col("surname").shift(1)).otherwise("surname"))
    return pl.concat([renamed, kept.head(1).with_columns(record_id=pl.lit("zz"))])


@settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 1000), st.booleans())
def test_an_index_changes_nothing_but_what_is_read(
    trained: Trained, whole: Resolution, seed: int, shuffled: bool
) -> None:
    records = moved_on(trained.records, seed)
    expected = resolve_all(records, trained.model, known=whole.links, edges=whole.edges)
    given_order = records.sample(fraction=1, shuffle=True, seed=seed) if shuffled else records
    found = resolve_all(given_order, trained.model, known=whole.links, edges=whole.edges, index=whole.index)
    for name in ("links", "edges", "history", "blocking", "scores"):
        assert getattr(found, name).equals(getattr(expected, name)), name
    assert found.touched == expected.touched
    assert found.index == expected.index


def test_an_index_of_records_long_gone_is_as_good_as_none(trained: Trained, whole: Resolution) -> None:
    half = trained.records.head(len(trained.records) // 2)
    earlier = resolve_all(half, trained.model)
    again = resolve_all(trained.records, trained.model, index=earlier.index)
    assert again.links.equals(whole.links)
    assert again.index == whole.index


def test_an_index_of_another_model_is_not_used(trained: Trained, whole: Resolution) -> None:
    stricter = dataclasses.replace(trained.model, cut=0.9)
    found = resolve_all(trained.records, stricter, known=whole.links, edges=whole.edges, index=whole.index)
    assert found.index.basis != whole.index.basis
    assert found.links.equals(resolve_all(trained.records, stricter, known=whole.links, edges=whole.edges).links)


def test_an_index_can_be_kept_as_a_table_that_holds_no_value(trained: Trained, whole: Resolution) -> None:
    frame = whole.index.frame()
    again = Index.from_frame(whole.index.basis, frame)
    assert again == whole.index
    assert set(frame.select(pl.col(pl.String)).columns) == {"record_id", "fingerprint"}


def test_all_links_are_decided_anew_when_the_records_have_become_a_quarter_more(trained: Trained) -> None:
    sizes = [1, 10, 100, 381, 1000, 10**6]
    assert all(decided_by(trained.model, n) != decided_by(trained.model, int(n * GROWTH) + 1) for n in sizes)
    assert decided_by(trained.model, 198_000) == decided_by(trained.model, 200_000)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=30), st.lists(st.integers(0, 2**64 - 1), max_size=30))
def test_a_few_hashes_are_found_among_many(few: list[int], others: list[int]) -> None:
    wanted = np.unique(np.array(few, dtype=np.uint64))
    many = np.array([*others, *few], dtype=np.uint64)
    there, number = Near(wanted).places(many)
    assert there.tolist() == np.flatnonzero(np.isin(many, wanted)).tolist()
    assert (wanted[number] == many[there]).all()


def test_an_id_is_found_at_its_row_or_not_at_all() -> None:
    among = pl.Series(["a", "b", "d"])
    assert rows_of(pl.Series(["b", "c", "a"]), among).tolist() == [1, -1, 0]
    assert rows_of(among, among).tolist() == [0, 1, 2]
    assert rows_of(among, among.clear()).tolist() == [-1, -1, -1]
