"""Golden customers: which record speaks for each field, by rules held in configuration, as one select.

Who is whom is decided before; households are another matter.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal, Self

import duckdb
import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from sqlglot import exp

from cer_assets.identity.standardise import COLUMNS
from cer_assets.lake import SqlFile
from cer_assets.lake.sql import FrontMatter, tables_read

DIALECT = "duckdb"
TABLE = "identity.customers"
GOLDEN_FIELDS = tuple(c for c in COLUMNS if c not in ("record_id", "source", "source_id", "updated_at"))
"""The columns of identity.records of which a customer has one value."""

Rule = Literal["most_recent", "most_frequent", "most_trusted", "longest_valid", "most_complete", "longest"]
"""
most_recent: the record that was changed last; a record without a date comes last.
most_frequent: the value that most records hold.
most_trusted: the record whose source is named first in `trusted`; sources not named are all alike and come last.
longest_valid: the value that has stood longest, counted from the oldest last change among the records that hold it.
most_complete: the record that holds most of the `core` columns.
longest: the longest text, so that a name goes before its initial.
"""
ONLY_VALUE = "only_value"
"""The rule of a field of which all records that hold any value hold the same one."""
RECORD_ID = "record_id"
"""The rule where every other left several values: the smallest record_id speaks."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]

_DESCRIPTIONS = {
    "given_name": "Given name.",
    "surname": "Family name, with jr and the like behind it.",
    "birth_date": "Date of birth.",
    "email": "E-mail address.",
    "phone": "Phone number, E.164.",
    "street": "Street, number and unit, or box.",
    "city": "Town.",
    "region": "State or province.",
    "postcode": "Postcode.",
    "country": "ISO code of the country.",
}


class FieldRules(BaseModel):
    """How one field, or a group of columns that belong together, is chosen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: tuple[str, ...] = ()
    """Columns that are taken from one and the same record; the field's own name where none are given."""
    core: tuple[str, ...] = ()
    """Of the columns those by which two records are said to agree; all of them where none are given."""
    rules: tuple[Rule, ...] = Field(min_length=1)
    """Tried in order, until one value is left."""
    trusted: tuple[str, ...] = ()
    """Sources for `most_trusted` in this field, where they differ from the common ones."""


class Survivorship(BaseModel):
    """The rules of every field of a customer; `columns`, `core` and `trusted` of each are filled in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trusted: tuple[str, ...] = ()
    """Sources, the most trusted first."""
    fields: dict[Name, FieldRules]

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: object) -> object:
        if not isinstance(given, Mapping) or not isinstance(given.get("fields"), Mapping):
            return given
        common = given.get("trusted", ())

        def filled(name: object, rules: object) -> object:
            if not isinstance(rules, Mapping):
                return rules
            columns = rules.get("columns") or [name]
            return {"trusted": common} | dict(rules) | {"columns": columns, "core": rules.get("core") or columns}

        return dict(given) | {"fields": {name: filled(name, rules) for name, rules in given["fields"].items()}}

    @model_validator(mode="after")
    def _whole(self) -> Self:
        chosen = [(column, name) for name, rules in self.fields.items() for column in rules.columns]
        places: dict[str, list[str]] = {}
        for column, name in chosen:
            places.setdefault(column, []).append(name)
        wrong = [f"fields.{n}: {c!r} is no column of identity.records" for c, n in chosen if c not in GOLDEN_FIELDS]
        wrong += [f"fields.{' and fields.'.join(n)}: {c!r} is chosen twice" for c, n in places.items() if len(n) > 1]
        wrong += [f"fields: {c!r} has no rule" for c in GOLDEN_FIELDS if c not in places]
        for name, rules in self.fields.items():
            if len(set(rules.rules)) < len(rules.rules):
                wrong.append(f"fields.{name}.rules: a rule stands twice")
            if outside := sorted(set(rules.core) - set(rules.columns)):
                wrong.append(f"fields.{name}.core: {outside} are not among its columns")
            if "most_trusted" in rules.rules and not rules.trusted:
                wrong.append(f"fields.{name}.rules: most_trusted needs a list of sources, `trusted`")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


def read_rules(text: str) -> Survivorship:
    """Read rules from YAML, as `survivorship.yaml` shows them.

    Raises:
        ValueError: the text is no YAML, or a rule, column or source is not as it has to be; the message names it.
    """
    try:
        return Survivorship.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ValueError(f"survivorship: not YAML: {error}") from error
    except ValidationError as error:
        found = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}".removeprefix(": ") for e in error.errors())
        raise ValueError(f"survivorship: {'; '.join(found)}") from error


@cache
def default_rules() -> Survivorship:
    """The rules of `survivorship.yaml`, beside this module."""
    return read_rules(files("cer_assets.identity").joinpath("survivorship.yaml").read_text())


def golden_customers(
    records: pl.DataFrame,
    links: pl.DataFrame,
    rules: Survivorship | None = None,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> pl.DataFrame:
    """One row a customer: of each field the value that survives, the record it came from and the rule that chose it.

    Args:
        records: identity.records.
        links: record_id, customer_id.
        rules: by default those of `survivorship.yaml`.
        connection: whose memory limit, spill folder and threads to use.

    Returns:
        customer_id, records, and for each of `GOLDEN_FIELDS` f: f, f_record, f_rule (all three null where the record
        that speaks holds no f); by customer_id.
    """
    cursor = duckdb.connect() if connection is None else connection.cursor()
    frames = {"links": links.select("record_id", "customer_id"), "records": records}

    def handed_over(node: exp.Expr) -> exp.Expr:
        return exp.to_table(f"golden_{node.name}", alias=node.alias) if _is_table(node) else node

    try:
        for name, frame in frames.items():
            cursor.register(f"golden_{name}", frame)
        query = golden_query(rules or default_rules()).transform(handed_over)
        return cursor.sql(query.sql(DIALECT)).pl()
    finally:
        for name in frames:
            cursor.unregister(f"golden_{name}")
        cursor.close()


def _is_table(node: exp.Expr) -> bool:
    return isinstance(node, exp.Table) and node.db == "identity"


def golden_table(rules: Survivorship | None = None) -> SqlFile:
    """identity.customers as if it lay in a file of `sql/`: what it reads, what its columns hold, and the select."""
    rules = rules or default_rules()
    query = golden_query(rules)
    body = query.sql(DIALECT, pretty=True)
    front = FrontMatter(
        description=(
            "A person: the golden record. Of each field the value that survives by the rules of "
            "cer_assets/identity/survivorship.yaml, which record it came from and which rule chose it."
        ),
        owners=["team:data"],
        personal=True,
        columns=_columns(rules),
    )
    return SqlFile(TABLE, front, body, tables_read(query, TABLE), _code(query))


def _code(query: exp.Query) -> str:
    return hashlib.sha256(query.sql(DIALECT, comments=False).encode()).hexdigest()[:12]


def _columns(rules: Survivorship) -> dict[str, str]:
    described = {"customer_id": "The person.", "records": "Number of records that are this person."}
    group_of = {column: chosen for chosen in rules.fields.values() for column in chosen.columns}
    for column in GOLDEN_FIELDS:
        together = [c for c in group_of[column].columns if c != column]
        beside = f"; the same record speaks for {', '.join(together)}" if together else ""
        tried = ", ".join([ONLY_VALUE, *group_of[column].rules, RECORD_ID])
        described |= {
            column: _DESCRIPTIONS[column],
            f"{column}_record": f"The record that {column} was taken from; null where {column} is{beside}.",
            f"{column}_rule": f"The rule that chose {column}, the first that decides of: {tried}.",
        }
    return described


def golden_query(rules: Survivorship) -> exp.Select:
    """The select behind identity.customers, over identity.links and identity.records.

    For each field the records that hold it are its claims; the standing of a claim is what each rule says of it, and
    the first in that order speaks. A claim of another value lost at the first rule that tells it from the winner, and
    the rule that decided is the last one at which a claim was lost.
    """
    held = ("record_id", "source", "updated_at", *GOLDEN_FIELDS)
    linked = (
        exp.select("l.customer_id", *(exp.column(c, "r") for c in held))
        .from_("identity.links as l")
        .join("identity.records as r", on="l.record_id = r.record_id")
    )
    customer = exp.select("customer_id", "count(record_id) as records").from_("linked_record").group_by("customer_id")
    rows: dict[str, exp.Select] = {"linked_record": linked, "customer": customer}
    speakers: dict[str, str] = {}
    for name, chosen in rules.fields.items():
        rows[f"{name}_claim"] = _claims(chosen)
        rows[f"{name}_standing"] = _standing(f"{name}_claim", chosen)
        rows[f"{name}_speaker"] = _speaker(f"{name}_standing", chosen)
        speakers |= dict.fromkeys(chosen.columns, f"{name}_speaker")
    told = [told for column in GOLDEN_FIELDS for told in _told(column, speakers[column])]
    query = exp.select("c.customer_id", "c.records", *told).from_("customer as c").order_by("c.customer_id")
    for speaker in dict.fromkeys(speakers.values()):
        query.join(speaker, on=f"c.customer_id = {speaker}.customer_id", join_type="left", copy=False)
    for name, row in rows.items():
        query.with_(name, as_=row, copy=False)
    return query


def _told(column: str, speaker: str) -> list[exp.Expr]:
    """A column of the record that speaks, which record that is, and which rule chose it; all null where it has none."""
    value = exp.column(column, speaker)
    there = value.is_(exp.null()).not_()
    about = {what: exp.case().when(there, exp.column(what, speaker)) for what in ("record", "rule")}
    return [value.as_(column), *(told.as_(f"{column}_{what}") for what, told in about.items())]


def _claims(chosen: FieldRules) -> exp.Select:
    """Records that hold any of the columns, what each rule says of them, and `value`, by which they agree or differ.

    A value of several columns is named by the smallest record that holds it.
    """
    says = [_says(rule, chosen).as_(rule) for rule in chosen.rules]
    alike = exp.Window(this=exp.func("min", exp.column("record_id")), partition_by=_same_value(chosen))
    value = (exp.column(chosen.core[0]) if len(chosen.core) == 1 else alike).as_("value")
    holds = exp.or_(*(exp.column(c).is_(exp.null()).not_() for c in chosen.columns))
    plain = [exp.column(c) for c in ("customer_id", "record_id", *chosen.columns)]
    return exp.select(*plain, value, *says).from_("linked_record").where(holds)


def _same_value(chosen: FieldRules) -> list[exp.Column]:
    return [exp.column(c) for c in ("customer_id", *chosen.core)]


def _says(rule: Rule, chosen: FieldRules) -> exp.Expr:
    """What a rule orders claims by: see `_direction` for which end wins."""
    changed = exp.column("updated_at")
    filled = [exp.cast(exp.column(c).is_(exp.null()).not_(), "integer") for c in chosen.core]
    match rule:
        case "most_recent":
            return changed
        case "most_frequent":
            return exp.Window(this=exp.func("count", exp.Star()), partition_by=_same_value(chosen))
        case "longest_valid":
            return exp.Window(this=exp.func("min", changed), partition_by=_same_value(chosen))
        case "most_complete":
            return _sum(filled)
        case "longest":
            return _sum([exp.func("coalesce", _length(c), exp.Literal.number(0)) for c in chosen.core])
        case "most_trusted":
            rank = exp.case(exp.column("source")).else_(exp.Literal.number(len(chosen.trusted)))
            for place, source in enumerate(chosen.trusted):
                rank = rank.when(exp.Literal.string(source), exp.Literal.number(place))
            return rank


def _length(column: str) -> exp.Expr:
    return exp.func("length", exp.cast(exp.column(column), "varchar"))


def _sum(terms: Sequence[exp.Expr]) -> exp.Expr:
    total, *rest = terms
    for term in rest:
        total = exp.Add(this=total, expression=term)
    return total


def _standing(claims: str, chosen: FieldRules) -> exp.Select:
    """Claims in their order: `place` 1 speaks; `lost_at` is the rule at which a claim of another value lost, from 1."""
    order = [_direction(rule) for rule in chosen.rules] + [exp.Ordered(this=exp.column("record_id"), nulls_first=False)]

    def over(function: exp.Expr) -> exp.Window:
        return exp.Window(
            this=function,
            partition_by=[exp.column("customer_id")],
            order=exp.Order(expressions=[key.copy() for key in order]),
        )

    def loses(key: str) -> exp.Expr:
        return exp.NullSafeNEQ(this=exp.column(key), expression=over(exp.func("first_value", exp.column(key))))

    lost = exp.case().else_(exp.Literal.number(len(chosen.rules) + 1))
    lost = lost.when(exp.Not(this=loses("value")), exp.Literal.number(0))
    for number, rule in enumerate(chosen.rules, 1):
        lost = lost.when(loses(rule), exp.Literal.number(number))
    plain = [exp.column(c) for c in ("customer_id", "record_id", *chosen.columns)]
    return exp.select(*plain, over(exp.func("row_number")).as_("place"), lost.as_("lost_at")).from_(claims)


def _direction(rule: Rule) -> exp.Ordered:
    descending = rule not in ("longest_valid", "most_trusted")
    return exp.Ordered(this=exp.column(rule), desc=descending, nulls_first=False)


def _speaker(standing: str, chosen: FieldRules) -> exp.Select:
    """One row a customer: the values of the claim that speaks, its `record` and the `rule` that chose it."""

    def spoken(column: str) -> exp.Expr:
        first = exp.Where(this=exp.column("place").eq(1))
        return exp.Filter(this=exp.func("max", exp.column(column)), expression=first)

    rule = exp.case(exp.func("max", exp.column("lost_at"))).else_(exp.Literal.string(RECORD_ID))
    for number, name in enumerate((ONLY_VALUE, *chosen.rules)):
        rule = rule.when(exp.Literal.number(number), exp.Literal.string(name))
    values = [spoken(column).as_(column) for column in chosen.columns]
    return (
        exp.select("customer_id", *values, spoken("record_id").as_("record"), rule.as_("rule"))
        .from_(standing)
        .group_by("customer_id")
    )
