from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest

from cer_assets.identity.block import (
    BLOCK_CAP,
    PAIRS_PER_RECORD,
    PAIRS_PER_RECORD_AND_RULE,
    Rule,
    affordable_rules,
    block_keys,
    candidate_rules,
    choose_rules,
)
from cer_assets.identity.fields import CUSTOMER_FIELDS, MatchField
from cer_assets.identity.pairs import ends, find_blocks, hash_keys
from cer_assets.identity.prepare import Prepared, prepared
from cer_assets_tests.identity.people import population

KEYS = block_keys(CUSTOMER_FIELDS)


@pytest.fixture
def ready() -> Iterator[Prepared]:
    with prepared(population(150)[0], CUSTOMER_FIELDS) as workspace:
        yield workspace


def pairs_of(workspace: Prepared, *rules: Rule) -> set[tuple[int, int]]:
    blocks = find_blocks(hash_keys(workspace, KEYS), rules).blocks
    return {
        pair
        for codes in blocks.batches(None, 10_000, workspace.size)
        for pair in zip(*map(list, ends(codes)), strict=True)
    }


def test_rules_are_conjunctions_over_different_fields() -> None:
    for rule in candidate_rules(KEYS):
        read = [position for key in rule for position in KEYS[key].positions]
        assert len(read) == len(set(read))
        assert len(rule) <= 3


def test_every_affordable_rule_stays_within_the_budget(ready: Prepared) -> None:
    rules = affordable_rules(hash_keys(ready, KEYS), candidate_rules(KEYS), np.random.default_rng(0))
    assert rules
    for rule in rules[::7]:
        assert len(pairs_of(ready, rule)) <= PAIRS_PER_RECORD_AND_RULE * ready.size


def test_a_pair_is_found_by_exactly_the_rules_whose_keys_it_shares(ready: Prepared) -> None:
    city = next(n for n, k in enumerate(KEYS) if (k.column, k.name) == ("city", "whole"))
    surname = next(n for n, k in enumerate(KEYS) if (k.column, k.name) == ("surname", "whole"))
    frame = ready.connection.sql("select position, f1 as surname, f6 as city from prepared").pl()
    joined = frame.join(frame, on=["surname", "city"], suffix="_b").filter(pl.col("position") < pl.col("position_b"))
    assert pairs_of(ready, (surname, city)) == set(joined.select("position", "position_b").iter_rows())


def test_a_rule_of_two_keys_finds_what_both_find(ready: Prepared) -> None:
    assert pairs_of(ready, (0, 5)) == pairs_of(ready, (0,)) & pairs_of(ready, (5,))


def test_a_block_over_the_cap_is_not_compared() -> None:
    size = BLOCK_CAP + 1
    records = pl.DataFrame({"record_id": [f"{i:04d}" for i in range(size)], "surname": ["smith"] * size})
    fields = [MatchField("surname", "name")]
    for rows, pairs in ((records, 0), (records.head(20), 190)):
        with prepared(rows, fields) as workspace:
            assert find_blocks(hash_keys(workspace, block_keys(fields)), [(0,)]).pairs == (pairs,)


def test_rules_are_chosen_for_matches_found_and_pairs_saved() -> None:
    wide = [(0, 0, second) for second in range(1, 101)]
    sharp = [(1, 0, 1), (1, 0, 2), (1, 0, 3)]
    frame = pl.DataFrame(wide + sharp, schema=["rule", "first", "second"], orient="row").sort("first", "second", "rule")
    likely = np.array([0.99] * 3 + [0.0] * 97)
    assert choose_rules(frame, likely, rules=2, records=100)[0] == 1


def test_all_rules_together_stay_within_the_budget() -> None:
    size = int(PAIRS_PER_RECORD * 2) + 10
    frame = pl.DataFrame({"rule": [0] * 10 + [1] * size, "first": 0, "second": range(10 + size)}).with_columns(
        pl.col("second") + 1
    )
    chance = np.full(10 + size, 0.5)
    assert choose_rules(frame, chance, rules=2, records=1) == [0]


def test_a_key_that_says_what_another_says_is_in_no_rule(ready: Prepared) -> None:
    rules = affordable_rules(hash_keys(ready, KEYS), candidate_rules(KEYS), np.random.default_rng(0))
    words = {n for n, k in enumerate(KEYS) if k.column == "surname" and k.name in ("first word", "last word")}
    assert words
    assert not words & {key for rule in rules for key in rule}


def test_however_many_fields_there_are_a_bounded_number_of_rules_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cer_assets.identity.block.MOST_MEASURED", 10)
    fields = [MatchField(f"c{n}", "code") for n in range(12)]
    rng = np.random.default_rng(0)
    columns = {f.column: [f"{value:06d}" for value in rng.integers(0, 15, 200)] for f in fields}
    with prepared(pl.DataFrame({"record_id": range(200)} | columns), fields) as workspace:
        keys = block_keys(fields)
        rules = affordable_rules(hash_keys(workspace, keys), candidate_rules(keys), rng)
    assert 0 < len([rule for rule in rules if len(rule) > 1]) <= 10


@pytest.mark.parametrize("rows", [0, 1])
def test_few_records_have_no_rules(rows: int) -> None:
    records = population(2)[0].head(rows)
    with prepared(records, CUSTOMER_FIELDS) as workspace:
        hashes = hash_keys(workspace, KEYS)
        assert affordable_rules(hashes, candidate_rules(KEYS), np.random.default_rng(0)) == []
