from collections.abc import Iterator
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cer_assets.identity.ids import HISTORY_SCHEMA, assign_ids, run_of, survivors, with_age, with_run


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        yield con


def grouped(**groups: str) -> pl.DataFrame:
    """Groups of one-letter records: `grouped(one="ab", two="c")`."""
    rows = [(record, number) for number, records in enumerate(groups.values()) for record in records]
    return pl.DataFrame(rows, schema={"record_id": pl.String, "group": pl.Int64}, orient="row")


def known_as(**groups: str) -> pl.DataFrame:
    rows = [(record, name) for name, records in groups.items() for record in records]
    return pl.DataFrame(rows, schema={"record_id": pl.String, "customer_id": pl.String}, orient="row")


def events(history: pl.DataFrame) -> list[tuple[str, str | None, str | None]]:
    return history.select("event", "from", "to").rows()


def ids(links: pl.DataFrame) -> dict[str, str]:
    return dict(links.iter_rows())


def test_the_first_load_names_each_person_after_the_first_record(connection: duckdb.DuckDBPyConnection) -> None:
    links, history = assign_ids(grouped(x="cab", y="d"), None, "run", connection)
    again, _ = assign_ids(grouped(y="d", x="bac"), None, "another run", connection)
    assert links.equals(again)
    assert links["customer_id"].n_unique() == 2
    assert links["customer_id"].str.len_chars().unique().to_list() == [16]
    assert set(history["event"]) == {"birth"}
    assert history["from"].null_count() == 2


def test_nothing_changed_is_no_history(connection: duckdb.DuckDBPyConnection) -> None:
    links, _ = assign_ids(grouped(x="ab", y="cd"), None, "run", connection)
    again, history = assign_ids(grouped(x="ab", y="cd"), links, "next", connection)
    assert again.equals(links)
    assert history.is_empty()


def test_a_merge_keeps_the_id_of_the_larger_part_and_says_where_the_other_went(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    links, history = assign_ids(grouped(x="abc"), known_as(small="a", large="bc"), "run", connection)
    assert set(ids(links).values()) == {"large"}
    assert events(history) == [("merge", "small", "large")]


def test_equal_claims_go_to_the_smaller_id(connection: duckdb.DuckDBPyConnection) -> None:
    links, _ = assign_ids(grouped(x="ab"), known_as(q="a", p="b"), "run", connection)
    assert set(ids(links).values()) == {"p"}


def test_of_equal_claims_the_older_id_wins_where_ages_are_known(connection: duckdb.DuckDBPyConnection) -> None:
    known = known_as(q="a", p="b", r="c").with_columns(born=pl.Series([1, 2, None]))
    links, _ = assign_ids(grouped(x="abc"), known, "run", connection)
    assert set(ids(links).values()) == {"q"}


def test_an_id_in_use_elsewhere_is_not_given_again(connection: duckdb.DuckDBPyConnection) -> None:
    first, _ = assign_ids(grouped(x="a"), None, "run", connection)
    again, _ = assign_ids(grouped(x="a"), known_as(p=""), "run", connection, taken=first["customer_id"])
    assert again["customer_id"].item() != first["customer_id"].item()


def test_a_split_keeps_the_id_on_the_larger_part(connection: duckdb.DuckDBPyConnection) -> None:
    links, history = assign_ids(grouped(x="a", y="bc"), known_as(old="abc"), "run", connection)
    assert ids(links)["b"] == ids(links)["c"] == "old"
    assert events(history) == [("split", "old", ids(links)["a"])]


def test_a_founder_that_leaves_does_not_take_the_name_it_gave(connection: duckdb.DuckDBPyConnection) -> None:
    first, _ = assign_ids(grouped(x="abc"), None, "run", connection)
    second, _ = assign_ids(grouped(x="a", y="bc"), first, "next", connection)
    assert ids(second)["b"] == ids(first)["b"]
    assert ids(second)["a"] != ids(first)["a"]


def test_a_record_that_changes_sides_is_a_move(connection: duckdb.DuckDBPyConnection) -> None:
    links, history = assign_ids(grouped(x="ab", y="cde"), known_as(p="abc", q="de"), "run", connection)
    assert ids(links)["c"] == "q"
    assert events(history) == [("move", "p", "q")]


def test_an_id_without_records_ends(connection: duckdb.DuckDBPyConnection) -> None:
    _, history = assign_ids(grouped(x="a"), known_as(p="a", gone="z"), "run", connection)
    assert events(history) == [("end", "gone", None)]


partitions = st.dictionaries(st.sampled_from("abcdefghij"), st.integers(0, 4), min_size=1)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(partitions, partitions)
def test_laws_of_ids(connection: duckdb.DuckDBPyConnection, before: dict[str, int], after: dict[str, int]) -> None:
    first, _ = assign_ids(
        pl.DataFrame(list(before.items()), ["record_id", "group"], orient="row"), None, "1", connection
    )
    groups = pl.DataFrame(list(after.items()), ["record_id", "group"], orient="row")
    second, history = assign_ids(groups, first, "2", connection)
    old, new = ids(first), ids(second)

    # The ids say exactly what the groups say.
    assert len({(after[r], new[r]) for r in after}) == len(set(after.values())) == len(set(new.values()))
    # Every old id is still in use, or the ledger says where it went; a new one says where it came from.
    assert set(old.values()) - set(new.values()) == set(
        history.filter(pl.col("event").is_in(["merge", "end"]))["customer_id"]
    )
    assert set(new.values()) - set(old.values()) == set(
        history.filter(pl.col("event").is_in(["birth", "split"]))["customer_id"]
    )
    # Every record that changed its id is accounted for.
    moved = {(old[r], new[r]) for r in after if r in old and old[r] != new[r]}
    assert moved == {(a, b) for _, a, b in events(history) if a is not None and b is not None}


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(partitions, min_size=1, max_size=5), st.randoms())
def test_an_old_id_always_leads_to_its_survivors(
    connection: duckdb.DuckDBPyConnection, runs: list[dict[str, int]], random: Any
) -> None:
    known, ledger, was = None, None, list[dict[str, str]]()
    for number, groups in enumerate(runs):
        frame = pl.DataFrame(list(groups.items()), ["record_id", "group"], orient="row")
        known, history = assign_ids(frame, known, run_of(frame, ["group"], known), connection)
        ledger = with_run(ledger, history, number - 1)
        was.append(ids(known))
    assert ledger is not None
    found = survivors(ledger)
    assert found.equals(survivors(ledger.sample(fraction=1, shuffle=True, seed=random.randrange(1_000))))
    leads: dict[str, set[str | None]] = {}
    for old, new in found.iter_rows():
        leads.setdefault(old, set()).add(new)
    now = was[-1]
    for number, then in enumerate(was):
        stayed = {record for record in then if all(record in later for later in was[number:])}
        assert all(now[record] in leads[then[record]] for record in stayed)
    assert set().union(*leads.values()) - {None} <= set(now.values())
    assert all(leads[living] >= {living} for living in now.values())


def test_ids_that_are_bound_released_and_bound_again_lead_where_their_records_are(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    records = pl.DataFrame({"record_id": ["a", "b", "c"]})
    apart, together = grouped(x="ab", y="c"), grouped(x="abc")
    states = [apart, together, apart, together]
    known, ledger, names, living = None, None, list[str](), list[set[str]]()
    for version, groups in enumerate(states, -1):
        name = run_of(records, [], known)
        known, happened = assign_ids(groups, known, name, connection)
        ledger = with_run(ledger, happened, version)
        names.append(name)
        living.append(set(known["customer_id"]))
        assert set(survivors(ledger.reverse())["customer_id"]) == living[-1]
    # The second run starts from what the fourth starts from, and is named like it.
    assert ledger is not None
    assert names[1] == names[3]
    assert ledger.filter(run=names[1])["links_version"].unique().sort().to_list() == [0, 2]
    (stands,) = living[-1]
    assert survivors(ledger).rows() == sorted((old, stands) for old in set().union(*living))


def test_the_ledger_of_a_run_takes_the_place_of_one_that_started_from_the_same_links(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    links, born = assign_ids(grouped(x="a", y="b"), None, "first", connection)
    ledger = with_run(None, born, -1)
    assert ledger.schema == {**HISTORY_SCHEMA, "links_version": pl.Int64}
    _, killed = assign_ids(grouped(x="ab"), links, "killed", connection)
    _, again = assign_ids(grouped(x="a", y="b", z="c"), links, "again", connection)
    after = with_run(with_run(ledger, killed, 0).reverse(), again.reverse(), 0)
    assert after["run"].unique().sort().to_list() == ["again", "first"]
    assert after.equals(with_run(ledger, again, 0))
    assert after["links_version"].is_sorted()
    # A run in which nothing happened takes a killed one's rows as well.
    assert with_run(with_run(ledger, killed, 0), again.clear(), 0).equals(ledger)


def test_the_run_is_named_by_its_input_in_any_order() -> None:
    records = pl.DataFrame({"record_id": ["b", "a"], "surname": ["x", "y"]})
    links = known_as(p="ab")
    name = run_of(records, ["surname"], links)
    assert name == run_of(records.reverse(), ["surname"], links.reverse())
    assert name != run_of(records, ["surname"], None)
    assert name != run_of(records.with_columns(surname=pl.lit("z")), ["surname"], links)


def test_an_id_is_as_old_as_the_run_that_gave_it_out() -> None:
    rows = [("r1", "a", "birth", None, "a", -1), ("r2", "b", "split", "a", "b", 3), ("r3", "b", "move", "a", "b", 4)]
    history = pl.DataFrame(rows, schema={**HISTORY_SCHEMA, "links_version": pl.Int64}, orient="row")
    known = pl.DataFrame({"record_id": ["1", "2", "3"], "customer_id": ["b", "a", "c"]})
    assert with_age(known, history, 5)["born"].to_list() == [3, -1, None]
    assert with_age(known, None, 5)["born"].to_list() == [None, None, None]
    # What a run wrote that was killed before its links is not known.
    assert with_age(known, history, 3)["born"].to_list() == [None, -1, None]
