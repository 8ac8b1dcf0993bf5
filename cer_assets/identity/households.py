"""Households: customers who live together. A level of its own; nobody is merged here, and no record is compared."""

import logging

import duckdb
import numpy as np
import polars as pl

from cer_assets.identity.cluster import MILLION, Ints, average_linkage
from cer_assets.identity.ids import assign_ids, run_of

logger = logging.getLogger(__name__)

CUT = 0.5
"""Customers are joined while the mean evidence between all of the ones and all of the others is at least this."""

HOUSEHOLD_CAP = 20
"""Most customers of one household."""

MOST_SURNAMES = 3
"""More surnames than this at one door are a building, a shop's own address or a form's default: there the address says
nothing by itself. Surnames of the same two first letters count once, since they may be one with a slip."""

BLOCK_CAP = 12
"""A building, or a surname within one, that more customers share brings no pairs; a closer block may."""

CONTACT_CAP = 6
"""A phone number or e-mail address of more customers than this is nobody's home."""

EVIDENCE = {
    "address and contact": 0.95,
    "address": 0.9,
    "address and surname": 0.85,
    "contact and surname": 0.7,
    "contact": 0.6,
    "address but for a letter": 0.6,
    "perhaps neighbours": 0.3,
}
"""How much each kind of agreement says that two customers live together, the strongest first.

address and contact: one building, no two units, and a phone number or e-mail address in common.
address: one door with at most `MOST_SURNAMES` surnames.
address and surname: one building, no two units, and a surname in common; where more than `BLOCK_CAP` customers live in
the building, the unit of one of them has to be known.
contact and surname: both in common, and no home in common, since one has moved and not every system was told.
contact: a phone number or e-mail address in common, and one has no known home.
address but for a letter: as `address`, with a slip of one letter in a word of the road that is no house number.
perhaps neighbours: one building, the unit of one or both unknown, nothing else in common; enough to let somebody into
a household that another of its customers speaks for, never enough by itself.
"""

ALONE = "alone"

_COLUMNS = ("surname", "street", "city", "postcode")

_HOMES = r"""
create or replace temp table homes as
with lived_in as (
    select
        l.customer_id,
        nullif(trim(regexp_replace(r.street, '\bapt \S+', '')), '') as road,
        nullif(regexp_extract(r.street, '\bapt (\S+)', 1), '') as unit,
        coalesce(r.postcode, r.city) as place
    from held_links as l join held_records as r on l.record_id = r.record_id
),
unit_there as (
    -- The unit that a customer's other records name at the same road: forms often lose it.
    select customer_id, road, place, case when count(distinct unit) = 1 then min(unit) end as unit
    from lived_in group by all
),
now as (
    select
        number as position,
        customer_id,
        surname,
        list_filter(
            string_split(regexp_replace(coalesce(surname, ''), ' (jr|sr|junior|senior|ii|iii|iv)$', ''), ' '),
            lambda word: length(word) > 2
        ) as names,
        nullif(trim(regexp_replace(street, '\bapt \S+', '')), '') as road,
        nullif(regexp_extract(street, '\bapt (\S+)', 1), '') as unit,
        coalesce(postcode, city) as place
    from held_customers
)
select
    now.position, now.customer_id, now.surname, now.names,
    case when now.place is not null then now.road end as road,
    now.place,
    coalesce(now.unit, unit_there.unit) as unit,
    nullif(regexp_extract(now.road, '\d+'), '') as number,
    nullif(regexp_extract(now.road, '\p{L}{4,}'), '') as word,
    regexp_extract(now.road, '\p{L}+$') as ending
from now
left join unit_there on now.customer_id = unit_there.customer_id
    and now.road = unit_there.road and now.place = unit_there.place
"""

_CONTACTS = """
create or replace temp table contacts as
with held as (
    select distinct h.position, contact.kind, contact.value
    from held_links as l
    join held_records as r on l.record_id = r.record_id
    join homes as h on l.customer_id = h.customer_id,
    unnest([{'kind': 'phone', 'value': r.phone}, {'kind': 'email', 'value': r.email}]) as pairs(contact)
    where contact.value is not null
)
select * from held
qualify count(*) over (partition by kind, value) between 2 and $contact_cap
"""

_PAIRS = """
with named as (
    select position, road, place, number, unnest(names) as name from homes where road is not null
),
building as (
    select road, place, count(unit) > 0 as has_units, count(*) > $block_cap as crowded
    from homes where road is not null group by all
),
door as (
    select road, place, unit, count(distinct left(surname, 2)) as surnames
    from homes where road is not null group by all
),
block as (
    select 'contact' as kind, kind || ' ' || value as shared, position from contacts
    union all
    select 'door', concat_ws('|', road, place, coalesce(unit, '')), position from homes where road is not null
    union all
    select 'building', concat_ws('|', road, place), position from homes where road is not null
    union all
    select 'number and road', concat_ws('|', number, place, left(word, 1), ending), position
    from homes where word is not null
    union all
    select 'name in a building', concat_ws('|', road, place, name), position from named
    union all
    select 'name at a number', concat_ws('|', number, place, name), position from named where number is not null
    union all
    select 'name at a road', concat_ws('|', road, name), position from named where number is not null
),
in_block as (
    select * from block
    qualify count(*) over (partition by kind, shared) between 2 and $block_cap
),
pair as (
    select a.position as first, b.position as second, bool_or(a.kind = 'contact') as contact
    from in_block as a
    join in_block as b on a.kind = b.kind and a.shared = b.shared and a.position < b.position
    group by all
),
compared as (
    select
        pair.first, pair.second, pair.contact,
        list_has_any(a.names, b.names)
            or coalesce(jaro_winkler_similarity(a.surname, b.surname) >= 0.92, false) as name,
        a.road is null or b.road is null as homeless,
        a.unit is distinct from b.unit as unit_differs,
        coalesce(a.unit <> b.unit, false) as two_units,
        coalesce(a.road = b.road and a.place = b.place, false) as same_building,
        coalesce(
            a.number = b.number and (
                (a.place = b.place and jaro_winkler_similarity(a.road, b.road) >= 0.9)
                or (a.road = b.road and levenshtein(a.place, b.place) <= 2
                    and damerau_levenshtein(a.place, b.place) <= 1)
            ),
            false
        ) as near,
        coalesce(
            a.number = b.number and a.place = b.place and a.word <> b.word
            and replace(a.road, a.word, '') = replace(b.road, b.word, '')
            and levenshtein(a.word, b.word) <= 2 and damerau_levenshtein(a.word, b.word) <= 1,
            false
        ) as slip,
        coalesce(building.crowded and a.unit is null and b.unit is null, false) as lost_in_a_crowd,
        coalesce(
            a.number is not null and door.surnames <= $most_surnames
            and (a.unit is not null or not building.has_units),
            false
        ) as own_door
    from pair
    join homes as a on pair.first = a.position
    join homes as b on pair.second = b.position
    left join building on a.road = building.road and a.place = building.place
    left join door on a.road = door.road and a.place = door.place and a.unit is not distinct from door.unit
)
select
    first, second,
    case
        when (same_building or near) and not two_units and contact then 'address and contact'
        when same_building and not unit_differs and own_door then 'address'
        when (same_building or near) and not two_units and name and not lost_in_a_crowd then 'address and surname'
        when contact and name then 'contact and surname'
        when contact and homeless then 'contact'
        when slip and not unit_differs and own_door then 'address but for a letter'
        when same_building and not two_units then 'perhaps neighbours'
    end as why
from compared
where why is not null
order by first, second
"""


def households(
    customers: pl.DataFrame,
    records: pl.DataFrame,
    links: pl.DataFrame,
    known: pl.DataFrame | None = None,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> pl.DataFrame:
    """Put customers together who live together.

    Where somebody lives is the address of the golden customer, since people move; a unit that it lacks is taken from
    the customer's other records of that address. Phone numbers and e-mail addresses are those of all its records. What
    two customers have in common is evidence of a stated strength (`EVIDENCE`); groups come from average linkage, with 0
    for each pair that has nothing in common. So nobody is drawn in by one common number with one of many, and a
    chain A-B-C of which A and C have nothing in common is cut at its weaker link.

    The same input in any order gives the same rows, whatever the number of threads.

    Args:
        customers: identity.customers: customer_id, surname, street, city, postcode.
        records: identity.records: record_id, phone, email, street, city, postcode.
        links: record_id, customer_id.
        known: the households before (household_id, customer_id), whose ids are kept where their customers stay
            together; by the largest overlap, as ids of customers are (`ids.assign_ids`).
        connection: whose memory limit, spill folder and threads to use.

    Returns:
        household_id, customer_id, customers (how many live there, so far as is known), why (of `EVIDENCE`, the
        strongest that the customer has in common with another of the household, or `alone`); every customer once, by
        household_id and customer_id.
    """
    people = customers.select("customer_id", *_COLUMNS).sort("customer_id")
    cursor = duckdb.connect() if connection is None else connection.cursor()
    try:
        pairs = _pairs(cursor, people, records, links)
        group = _groups(pairs, people.height)
        before = None if known is None else known.select(record_id="customer_id", customer_id="household_id")
        members = people.rename({"customer_id": "record_id"})
        named, _ = assign_ids(
            members.select("record_id", group=pl.Series(group, dtype=pl.Int64)),
            before,
            run_of(members, _COLUMNS, before),
            cursor,
        )
    finally:
        cursor.close()
    found = (
        named.select(household_id="customer_id", customer_id="record_id", group=pl.Series(group, dtype=pl.Int64))
        .with_columns(customers=pl.len().over("household_id").cast(pl.Int64), why=_reasons(pairs, group))
        .drop("group")
        .sort("household_id", "customer_id")
    )
    logger.info("%d customers live in %d households", found.height, found["household_id"].n_unique())
    return found


def _pairs(
    cursor: duckdb.DuckDBPyConnection, people: pl.DataFrame, records: pl.DataFrame, links: pl.DataFrame
) -> pl.DataFrame:
    """Pairs of customers with something in common: first < second (places in `people`) and `why`, ordered."""
    frames = {
        "held_customers": people.with_row_index("number").with_columns(pl.col("number").cast(pl.Int64)),
        "held_records": records.select("record_id", "phone", "email", "street", "city", "postcode"),
        "held_links": links.select("record_id", "customer_id"),
    }
    for name, frame in frames.items():
        cursor.register(name, frame)
    cursor.execute(_HOMES)
    cursor.execute(_CONTACTS, {"contact_cap": CONTACT_CAP})
    pairs = cursor.sql(_PAIRS, params={"block_cap": BLOCK_CAP, "most_surnames": MOST_SURNAMES}).pl()
    for name in frames:
        cursor.unregister(name)
    for name in ("homes", "contacts"):
        cursor.execute(f"drop table {name}")
    return pairs


def _groups(pairs: pl.DataFrame, size: int) -> Ints:
    """Per customer the smallest place in its household."""
    weights = {why: round(weight * MILLION) for why, weight in EVIDENCE.items()}
    score = pairs["why"].replace_strict(weights, return_dtype=pl.Int64)
    first, second = (pairs[column].to_numpy().astype(np.int64) for column in ("first", "second"))
    return average_linkage(first, second, score.to_numpy(), size, round(CUT * MILLION), HOUSEHOLD_CAP)


def _reasons(pairs: pl.DataFrame, group: Ints) -> pl.Series:
    """Per customer the strongest evidence within its household, in the order of places."""
    kinds = list(EVIDENCE)
    first, second = (pairs[column].to_numpy().astype(np.int64) for column in ("first", "second"))
    rank = pairs["why"].replace_strict(kinds, range(len(kinds)), return_dtype=pl.Int64).to_numpy()
    within = group[first] == group[second]
    best = np.full(len(group), len(kinds), dtype=np.int64)
    for one in (first, second):
        np.minimum.at(best, one[within], rank[within])
    return pl.Series(np.array([*kinds, ALONE])[best], dtype=pl.String)
