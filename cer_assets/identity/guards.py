"""Whether links may go live: what over-merging, gluing and churn look like from outside, measured against bounds.

Guards look at values, links and the run before, not at how sure the model is: they must see what the model does not.
Nothing is linked or mended here.
"""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field

import duckdb
import polars as pl
from sqlglot import exp

from cer_assets.identity.fields import KINDS, Kind, MatchField
from cer_assets.identity.model import Model
from cer_assets.identity.prepare import DIALECT, rename

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bounds:
    """How much of each trouble is let through; a value above its bound fails.

    Shares are granted two standard errors more, by the number of customers: among few customers one is no sign yet.
    """

    merged_homes: float = 0.05
    """Share of customers of several records. Where people are told apart only records with both a wrong name and a
    wrong date are counted, a few in a hundred of badly kept data; where homes are merged about one in three is."""
    names_on_a_contact: int = 5
    """A nickname beside a first name and a maiden name beside a surname make four names of one person, a slip in an
    initial one more; a default address shows about as many as it has records."""
    bridged: float = 0.05
    """Share of the pairs inside customers of three records and more. Who moved, married or changed the provider leaves
    records with nothing in common: under one pair in thirty even of badly kept data, one in ten where strangers hang
    together by a record in the middle. It is counted in pairs, for a customer of many records soon has one such."""
    records_of_a_customer: int = 40
    """More is a shop's card or a default value, and what hangs on it (consents, value) is nobody's."""
    jump: float = 0.10
    """Share of the customers before. Beyond what new, changed and withdrawn records explain the number moves only with
    the model; training anew moves it by a few in a hundred."""
    changed_ids: float = 0.10
    """Share of the records known before that are still there. Whatever is kept under an id elsewhere (lists, campaigns)
    loses so much; training anew costs a few in a hundred."""

    def __post_init__(self) -> None:
        """Refuse bounds that nothing could keep."""
        wrong = [f"{name}: {bound}" for name, bound in asdict(self).items() if not bound >= 0]
        if wrong:
            raise ValueError(f"bounds: {', '.join(wrong)}; each must be 0 or more")


BOUNDS = Bounds()

OFFENDERS = 5
"""Customers named per guard that fails."""

NAMES_APART = 0.7
"""Jaro-Winkler similarity under which two words are taken for two names."""

TIED = 0.5
"""Score from which a record counts as tied to another: more likely one person than not."""

NEAR_NOTHING = 0.05
"""Score under which two records have nothing to do with each other."""

NAMES: tuple[Kind, ...] = ("name",)
DATES: tuple[Kind, ...] = ("date",)
CONTACTS: tuple[Kind, ...] = ("email", "phone", "code")
"""What is meant to be one person's own."""
HOMES: tuple[Kind, ...] = ("phone", "email", "address")
"""What people who live together share."""

NEIGHBOURS = 40
"""Inside a customer each record is compared with so many that follow it: all pairs of a customer within the usual
bound on records, and so many per record where thousands were glued together."""


@dataclass(frozen=True)
class Guarded:
    """What the guards found."""

    figures: pl.DataFrame
    """guard, value (null where the guard does not apply), bound, passed, sentence; one row per guard."""
    offenders: pl.DataFrame
    """guard, customer_id, worth (in the guard's own unit, the worst first), of the guards that failed."""


@dataclass(frozen=True)
class _Finding:
    """One guard's value and the query of its offenders: customer_id, worth; with the query's parameters."""

    guard: str
    value: float | None
    bound: float
    sentence: str
    offenders: str | None = None
    parameters: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def passed(self) -> bool:
        return self.value is None or self.value <= self.bound


def guard(
    records: pl.DataFrame,
    links: pl.DataFrame,
    edges: pl.DataFrame,
    model: Model,
    known_links: pl.DataFrame | None = None,
    bounds: Bounds = BOUNDS,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> Guarded:
    """Measure links against bounds and name the worst customers, by id only.

    A guard whose kinds of field the model does not have, or that needs a run before where there was none, says so and
    passes.

    Args:
        records: `record_id` and the model's columns; a record that links know and that is not here was withdrawn.
        links: record_id, customer_id and, where known, fingerprint.
        edges: record_a, record_b, score, as in `Resolution.edges`.
        model: whose fields say what is a name, a date, an e-mail address and so on.
        known_links: links of the run before, in the same columns; none at the first run.
        bounds: what is let through.
        connection: whose memory limit, spill folder and threads to use.
    """
    base = connection if connection is not None else duckdb.connect()
    # A cursor has temporary tables of its own, so the caller's connection never sees ours.
    with closing(base.cursor()) as cursor:
        try:
            _create_members(cursor, records, links, model.fields)
            findings = [
                _merged_homes(cursor, model.fields, bounds),
                _junk_contact(cursor, model.fields, bounds),
                _bridges(cursor, edges, bounds),
                _size_cap(cursor, links, bounds),
                *_against_the_run_before(cursor, records, links, known_links, bounds),
            ]
            offenders = _offenders(cursor, [f for f in findings if not f.passed])
        finally:
            if connection is None:
                base.close()
    for finding in findings:
        if not finding.passed:
            logger.warning("guard %s: %s", finding.guard, finding.sentence)
    return Guarded(_figures(findings), offenders)


def _figures(findings: Sequence[_Finding]) -> pl.DataFrame:
    schema = {
        "guard": pl.String,
        "value": pl.Float64,
        "bound": pl.Float64,
        "passed": pl.Boolean,
        "sentence": pl.String,
    }
    rows = [(f.guard, f.value, float(f.bound), f.passed, f.sentence) for f in findings]
    return pl.DataFrame(rows, schema=schema, orient="row")


def _offenders(cursor: duckdb.DuckDBPyConnection, failed: Sequence[_Finding]) -> pl.DataFrame:
    found = [pl.DataFrame(schema={"guard": pl.String, "customer_id": pl.String, "worth": pl.Int64})]
    found += [
        cursor.sql(
            f"""
            select customer_id::varchar as customer_id, worth::bigint as worth from ({f.offenders})
            order by worth desc, customer_id limit $most
            """,
            params={**f.parameters, "most": OFFENDERS},
        )
        .pl()
        .select(pl.lit(f.guard).alias("guard"), "customer_id", "worth")
        for f in failed
        if f.offenders is not None
    ]
    return pl.concat(found)


def _columns(fields: Sequence[MatchField], kinds: Sequence[Kind]) -> list[str]:
    """What `members` calls the fields of these kinds."""
    return [f"f{i}" for i, match_field in enumerate(fields) if match_field.kind in kinds]


def _create_members(
    cursor: duckdb.DuckDBPyConnection, records: pl.DataFrame, links: pl.DataFrame, fields: Sequence[MatchField]
) -> None:
    """Create `members`: the records of customers of several records, `place` in the customer, fields in standard form.

    `words` are those of all names together, so that it does not matter which name stands in which field.
    """
    cursor.register(
        "guarded_records",
        records.select("record_id", *(pl.col(f.column).cast(pl.String).alias(f"raw{i}") for i, f in enumerate(fields))),
    )
    cursor.register("guarded_links", links.select("record_id", "customer_id"))
    standard = exp.select("r.record_id", "l.customer_id").from_("guarded_records as r")
    standard = standard.join("several as l", on="l.record_id = r.record_id")
    for i, match_field in enumerate(fields):
        if match_field.kind not in (*NAMES, *DATES, *CONTACTS, *HOMES):
            continue
        value = rename(KINDS[match_field.kind].standard, lambda _, _name, raw=f"raw{i}": f"r.{raw}")
        standard = standard.select(exp.alias_(value, f"f{i}"))
    names = ", ".join(_columns(fields, NAMES)) or "null"
    cursor.execute(
        f"""
        create or replace temp table members as
        with several as (
            select record_id, customer_id from guarded_links qualify count(*) over (partition by customer_id) > 1
        ),
        standard as ({standard.sql(DIALECT)})
        select
            *, row_number() over (partition by customer_id order by record_id) as place,
            string_split(nullif(concat_ws(' ', {names}), ''), ' ') as words
        from standard
        """
    )
    for view in ("guarded_records", "guarded_links"):
        cursor.unregister(view)


def _one(cursor: duckdb.DuckDBPyConnection, query: str, **parameters: float) -> tuple[float, ...]:
    """The figures of a query of one row, nulls as 0."""
    (row,) = cursor.execute(query, parameters).fetchall()
    return tuple(0.0 if value is None else float(value) for value in row)


def _share(part: float, whole: float) -> float:
    return round(part / whole, 6) if whole else 0.0


def _granted(bound: float, whole: float) -> float:
    """The bound of a share, and two standard errors of it among so many customers."""
    return round(bound + 2 * math.sqrt(max(bound * (1 - bound), 0.0) / whole), 6) if whole else bound


def _absent(guard: str, bound: float, reason: str) -> _Finding:
    return _Finding(guard, None, bound, f"Not applicable: {reason}.")


def _either(conditions: Iterable[str]) -> str:
    return "(" + " or ".join(conditions) + ")"


def _merged_homes(cursor: duckdb.DuckDBPyConnection, fields: Sequence[MatchField], bounds: Bounds) -> _Finding:
    """People of one home under one customer: they share where they live or how they are reached, not name and birth."""
    name, bound = "shared_home", bounds.merged_homes
    dates, shared = _columns(fields, DATES), _columns(fields, HOMES)
    if not (_columns(fields, NAMES) and dates and shared):
        return _absent(name, bound, "it takes a name, a date and a phone, e-mail or address field")
    other_day = _either(
        f"""
        (levenshtein(l.{d}, r.{d}) > 2
        and left(l.{d}, 4) || substr(l.{d}, 7, 2) || substr(l.{d}, 5, 2) != r.{d})
        """
        for d in dates
    )
    same_day = _either(f"coalesce(l.{d} = r.{d}, false)" for d in dates)
    cursor.execute(
        f"""
        create or replace temp table merged_homes as
        with one_home as (
            select l.customer_id, l.words as l_words, r.words as r_words
            from members as l
            join members as r
                on l.customer_id = r.customer_id and r.place > l.place and r.place <= l.place + $neighbours
            where {_either(f"l.{s} = r.{s}" for s in shared)} and {other_day} and not {same_day}
        )
        select customer_id, count(*) as worth from one_home
        where {_has_other_word("l_words", "r_words")} and {_has_other_word("r_words", "l_words")}
        group by customer_id
        """,
        {"neighbours": NEIGHBOURS, "names_apart": NAMES_APART},
    )
    merged, several = _one(
        cursor,
        "select (select count(*) from merged_homes), (select count(distinct customer_id) from members)",
    )
    value, bound = _share(merged, several), _granted(bound, several)
    sentence = (
        f"{value:.2%} of the customers of several records hold two records of one home, phone or e-mail whose names "
        f"and dates both differ, as if people who live together had been merged; at most {bound:.2%} may."
    )
    return _Finding(name, value, bound, sentence, "from merged_homes")


def _has_other_word(words: str, others: str) -> str:
    """SQL: some word has no counterpart among the others; takes the parameter `names_apart`."""
    return f"""
        len(list_filter({words}, lambda x: list_max(list_transform({others},
        lambda y: jaro_winkler_similarity(x, y))) < $names_apart)) > 0
    """


def _junk_contact(cursor: duckdb.DuckDBPyConnection, fields: Sequence[MatchField], bounds: Bounds) -> _Finding:
    """One address, number or code inside one customer under many names: a default value that glued people."""
    name, bound = "junk_contact", bounds.names_on_a_contact
    contacts = _columns(fields, CONTACTS)
    if not (_columns(fields, NAMES) and contacts):
        return _absent(name, bound, "it takes a name and an e-mail, phone or code field")
    per_contact = " union all ".join(
        f"""
        select customer_id, count(distinct least(left(words[1], 1), left(words[-1], 1))
            || greatest(left(words[1], 1), left(words[-1], 1))) as names
        from members where {c} is not null group by customer_id, {c}
        """
        for c in contacts
    )
    cursor.execute(
        f"""
        create or replace temp table names_on_contacts as
        with per_contact as ({per_contact})
        select customer_id, max(names) as worth from per_contact group by customer_id
        """
    )
    (value,) = _one(cursor, "select max(worth) from names_on_contacts")
    sentence = (
        f"Inside a customer one e-mail, phone or code stands beside {value:.0f} different names at most, told by their "
        f"initials; more than {bound} say that a default value glued people together."
    )
    return _Finding(name, value, bound, sentence, "from names_on_contacts where worth > $bound", {"bound": bound})


def _bridges(cursor: duckdb.DuckDBPyConnection, edges: pl.DataFrame, bounds: Bounds) -> _Finding:
    """Two records that have nothing to do with each other, put together by a third that is tied to both."""
    cursor.register("guarded_edges", edges.select("record_a", "record_b", "score"))
    cursor.execute(
        """
        create or replace temp table inside as
        select l.customer_id, l.record_id as one, r.record_id as other, e.score
        from guarded_edges as e
        join members as l on l.record_id = e.record_a
        join members as r on r.record_id = e.record_b and r.customer_id = l.customer_id
        where e.score >= $near_nothing
        """,
        {"near_nothing": NEAR_NOTHING},
    )
    cursor.unregister("guarded_edges")
    cursor.execute(
        """
        create or replace temp table bridged as
        with seen as (select one, other from inside union all select other, one from inside),
        tied as (
            select one, other from inside where score >= $tied
            union all select other, one from inside where score >= $tied
        ),
        customers as (select customer_id, count(*) as records from members group by customer_id having count(*) > 2),
        scored as (select customer_id, count(*) as pairs from inside group by customer_id),
        gappy as (
            select customer_id from customers left join scored using (customer_id)
            where coalesce(pairs, 0) < records * (records - 1) // 2
        ),
        apart as (
            select l.customer_id, l.record_id as one, r.record_id as other
            from members as l semi join gappy using (customer_id)
            join members as r
                on l.customer_id = r.customer_id and r.place > l.place and r.place <= l.place + $neighbours
            anti join seen on seen.one = l.record_id and seen.other = r.record_id
        ),
        held as (
            select distinct apart.customer_id, apart.one, apart.other
            from apart
            join tied as near on near.one = apart.one
            join tied as far on far.one = near.other and far.other = apart.other
        )
        select customer_id, count(*) as worth from held group by customer_id
        """,
        {"tied": TIED, "neighbours": NEIGHBOURS},
    )
    bridged, pairs, three = _one(
        cursor,
        """
        with sized as (select *, count(*) over (partition by customer_id) as records from members)
        select (select sum(worth) from bridged), sum(least(records - place, $neighbours)), count(distinct customer_id)
        from sized where records > 2
        """,
        neighbours=NEIGHBOURS,
    )
    value, bound = _share(bridged, pairs), _granted(bounds.bridged, three)
    sentence = (
        f"{value:.2%} of the pairs inside customers of three records and more score under {NEAR_NOTHING} though a "
        f"third record is tied to both; at most {bound:.2%} may."
    )
    return _Finding("bridge", value, bound, sentence, "from bridged")


def _size_cap(cursor: duckdb.DuckDBPyConnection, links: pl.DataFrame, bounds: Bounds) -> _Finding:
    bound = bounds.records_of_a_customer
    (several,) = _one(cursor, "select max(records) from (select count(*) as records from members group by customer_id)")
    value = max(several, float(min(len(links), 1)))
    sentence = f"The largest customer is made of {value:.0f} records; at most {bound} may be one person's."
    offenders = "select customer_id, count(*) as worth from members group by customer_id having count(*) > $bound"
    return _Finding("size_cap", value, bound, sentence, offenders, {"bound": bound})


def _against_the_run_before(
    cursor: duckdb.DuckDBPyConnection,
    records: pl.DataFrame,
    links: pl.DataFrame,
    known_links: pl.DataFrame | None,
    bounds: Bounds,
) -> list[_Finding]:
    """The two guards of change: the number of customers, and whose id is another now."""
    if known_links is None or known_links.is_empty():
        reason = "there was no run before"
        return [_absent("customer_jump", bounds.jump, reason), _absent("ids_changed", bounds.changed_ids, reason)]
    _create_fates(cursor, records, links, known_links)
    change = _Change(
        *_one(
            cursor,
            """
            select count(distinct before) filter (where stays), count(distinct now) filter (where stays),
                count(*) filter (where stays), count(*) filter (where stays and before is distinct from now),
                count(*) filter (where before is null), count(*) filter (where changed),
                count(*) filter (where before is not null and not stays)
            from fates
            """,
        )
    )
    return [_customer_jump(change, bounds.jump), _ids_changed(change, bounds.changed_ids)]


@dataclass(frozen=True)
class _Change:
    """Counts of what became of the run before; all but `new` and `gone` among the records that stay."""

    before: float
    """Customers before,"""
    now: float
    """and now."""
    stay: float
    """Records known before that were not withdrawn."""
    moved: float
    """Records under another id, or none."""
    new: float
    """Records that were not known."""
    changed: float
    """Records whose values are others."""
    gone: float
    """Records known before that were withdrawn."""

    @property
    def causes(self) -> str:
        return f"{self.new:.0f} new, {self.changed:.0f} changed and {self.gone:.0f} withdrawn records"


def _create_fates(
    cursor: duckdb.DuckDBPyConnection, records: pl.DataFrame, links: pl.DataFrame, known_links: pl.DataFrame
) -> None:
    """Create `fates`: per record its customer `before` and `now`, whether its values `changed`, and whether it `stays`.

    With a new model every fingerprint is another: then none says that values changed.
    """
    for name, frame in (("links_now", links), ("links_before", known_links)):
        fingerprint = pl.col("fingerprint") if "fingerprint" in frame.columns else pl.lit(None, pl.String)
        cursor.register(name, frame.select("record_id", "customer_id", fingerprint.alias("fingerprint")))
    cursor.register("records_now", records.select("record_id"))
    cursor.execute(
        """
        create or replace temp table fates as
        with fates as (
            select b.customer_id as before, n.customer_id as now,
                b.record_id is not null and r.record_id is not null as stays,
                coalesce(b.fingerprint != n.fingerprint, false) as changed
            from links_before as b
            full join links_now as n on b.record_id = n.record_id
            left join records_now as r on r.record_id = b.record_id
        )
        select before, now, stays, stays and changed and bool_or(stays and not changed) over () as changed from fates
        """
    )
    for name in ("links_now", "links_before", "records_now"):
        cursor.unregister(name)


def _customer_jump(change: _Change, bound: float) -> _Finding:
    """A new or changed record may join two customers, a changed or withdrawn one may have held one together."""
    fewer = change.before - change.now - change.new - change.changed
    more = change.now - change.before - change.gone - change.changed
    beyond = max(fewer, more, 0.0)
    value, bound = _share(beyond, change.before), _granted(bound, change.before)
    sentence = (
        f"The records that stay were {change.before:.0f} customers before and are {change.now:.0f} now; "
        f"{change.causes} leave {beyond:.0f} unexplained, {value:.2%} of those before; at most {bound:.2%} may be."
    )
    offenders = """
        select customer_id, max(others) as worth
        from (
            select now as customer_id, count(distinct before) - 1 as others from fates where stays group by now
            union all select before, count(distinct now) - 1 from fates where stays group by before
        )
        where customer_id is not null and others > 0 group by customer_id
    """
    return _Finding("customer_jump", value, bound, sentence, offenders)


def _ids_changed(change: _Change, bound: float) -> _Finding:
    """A new, changed or withdrawn record may move one that stays; records move by customers, so these are counted."""
    beyond = max(change.moved - change.new - change.changed - change.gone, 0.0)
    value, bound = _share(beyond, change.stay), _granted(bound, change.before)
    sentence = (
        f"Of {change.stay:.0f} records known before that stay {change.moved:.0f} are under another id or none; "
        f"{change.causes} leave {value:.2%} unexplained; at most {bound:.2%} may be."
    )
    offenders = """
        select before as customer_id, count(*) as worth from fates
        where stays and before is distinct from now group by before
    """
    return _Finding("ids_changed", value, bound, sentence, offenders)
