"""Pairs as levels of agreement, one per comparison; what a level is worth is the model's business."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import polars as pl
from sqlglot import exp, parse_one

from cer_assets.arrays import distinct
from cer_assets.identity.fields import EXACT, KINDS, MISSING, Level, MatchField, name_partner
from cer_assets.identity.prepare import DIALECT, Prepared, fill, of_field, rename

Levels = npt.NDArray[np.uint8]
Rarities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Comparison:
    """One question put to a pair: its levels in the order they are tried, as SQL over `prepared` twice, `l` and `r`.

    `position` is the field it speaks of, null for one that speaks of several. `belief` holds each level's log-odds
    before any label where that is not to be measured from the records.
    """

    name: str
    labels: tuple[str, ...]
    conditions: tuple[exp.Expr, ...]
    position: int | None = None
    expected: tuple[float, ...] = ()
    belief: tuple[float, ...] | None = None

    def level(self) -> exp.Expr:
        """The number of the first level whose condition holds."""
        case = exp.Case()
        for number, condition in enumerate(self.conditions[:-1]):
            case = case.when(condition.copy(), exp.Literal.number(number), copy=False)
        case = case.else_(exp.Literal.number(len(self.conditions) - 1), copy=False)
        return exp.cast(case, "utinyint", copy=False, dialect=DIALECT)


@dataclass(frozen=True)
class Compared:
    """Pairs of record positions (first < second) with a level per comparison and a rarity per field.

    A rarity is how much rarer than usual the shared value is, in natural logarithms; 0 unless the values are equal.
    """

    pairs: npt.NDArray[np.int32]
    levels: Levels
    rarities: Rarities

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.pairs)

    def take(self, rows: npt.NDArray[np.intp]) -> "Compared":
        """The pairs at these rows."""
        return Compared(self.pairs[rows], self.levels[rows], self.rarities[rows])

    def without(self, pairs: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
        """Those of the pairs that are not among these."""
        return pairs[~np.isin(_codes(pairs), _codes(self.pairs))]

    def places(self, pairs: npt.NDArray[np.integer]) -> npt.NDArray[np.intp]:
        """The rows that hold these pairs, in order; pairs that are not here are passed over."""
        return np.flatnonzero(np.isin(_codes(self.pairs), _codes(pairs)))

    @classmethod
    def joined(cls, *parts: "Compared") -> "Compared":
        """The pairs of parts that have none in common, ordered by pair."""
        pairs, levels, rarities = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("pairs", "levels", "rarities")
        )
        return cls(pairs, levels, rarities).take(np.argsort(_codes(pairs)))


def _codes(pairs: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """One number per pair, which rises with it."""
    return pairs.astype(np.int64) @ np.array([1 << 32, 1])


Fields = tuple[MatchField, ...]


@cache
def comparisons(fields: Fields) -> tuple[Comparison, ...]:
    """One comparison per field, then those that look at several fields at once."""
    of_fields = [_of_field(fields, i) for i in range(len(fields))]
    return tuple(of_fields + _generation(fields) + _household(fields))


def _of_field(fields: Fields, position: int) -> Comparison:
    levels = KINDS[fields[position].kind].levels
    if name_partner(fields, position) is None:
        levels = tuple(level for level in levels if "partner" not in level.condition)
    missing = Level(MISSING, 0, "l.value is null or r.value is null")
    conditions = [of_field(x.condition, fields, position) for x in (missing, *levels)]
    return Comparison(
        name=fields[position].column,
        labels=(MISSING, *(level.label for level in levels)),
        conditions=tuple(conditions),
        position=position,
        expected=tuple(level.expected for level in levels),
    )


def _several(name: str, levels: list[tuple[str, float, str]]) -> Comparison:
    """A comparison over columns of `prepared`, its levels given as label, belief and condition."""
    return Comparison(
        name=name,
        labels=tuple(label for label, _, _ in levels),
        conditions=tuple(rename(c, lambda table, column: f"{table}.{column}") for *_, c in levels),
        belief=tuple(belief for _, belief, _ in levels),
    )


def _generation(fields: Fields) -> list[Comparison]:
    """Father and son of one name: what stands behind it tells them apart."""
    if not any(f.kind == "name" for f in fields):
        return []
    levels = [
        (MISSING, 0.0, "l.generation is null and r.generation is null"),
        ("same", 1.0, "l.generation = r.generation"),
        ("one only", -0.5, "l.generation is null or r.generation is null"),
        ("different", -4.0, "true"),
    ]
    return [_several("generation", levels)]


def _household(fields: Fields) -> list[Comparison]:
    """People who live together share a home, a phone or a surname without being one person."""
    names = [i for i, f in enumerate(fields) if f.kind == "name"]
    homes = [i for i, f in enumerate(fields) if f.kind in ("address", "phone", "email")]
    dates = [i for i, f in enumerate(fields) if f.kind == "date"]
    if not names or not homes:
        return []
    given = f"p.f{names[0]}_likeness < 0.8"
    shared = "(" + " or ".join(f"coalesce(l.f{i} = r.f{i}, false)" for i in homes) + ")"
    apart = " and ".join(f"l.f{i} != r.f{i} and levenshtein(l.f{i}, r.f{i}) > 2" for i in dates)
    levels = [("otherwise", 0.0, f"not {shared}")]
    if apart:
        levels.append(("other name and birth date", -6.0, f"{given} and {apart}"))
    levels.append(("other name", -3.0, given))
    if apart:
        levels.append(("other birth date", -2.0, apart))
    levels.append(("one home", 0.0, "true"))
    return [_several("household", levels)]


def levels_sql(fields: Fields, pairs: str, left: str = "prepared") -> str:
    """Select `first`, `second`, `level{c}` per comparison and `rarity{i}` per field over a table of pairs.

    `left` is a table that holds what `prepared` holds of every `first`.
    """
    return _levels_sql(fields).replace(" pairs AS p ", f" {pairs} AS p ").replace(" prepared AS l ", f" {left} AS l ")


@cache
def _levels_sql(fields: Fields) -> str:
    """The same over a table that is called `pairs`, and `prepared`."""
    levels = [exp.alias_(c.level(), f"level{n}", copy=False) for n, c in enumerate(comparisons(fields))]
    rarities = [
        parse_one(f"case when l.f{i} = r.f{i} then l.f{i}_rarity end as rarity{i}", dialect=DIALECT)
        for i in range(len(fields))
    ]
    measures = {
        f"f{i}_{name}": of_field(template, fields, i)
        for i, field in enumerate(fields)
        for name, template in KINDS[field.kind].measures.items()
        if "partner" not in template or name_partner(fields, i) is not None
    }
    # What is worked out once per pair is a query of its own: DuckDB would repeat it in every condition.
    outer = exp.select("first", "second", *(_flat(column) for column in (*levels, *rarities)))
    used = {column.name for column in outer.find_all(exp.Column)}
    inner = (
        exp.select("p.first", "p.second")
        .select(*(f"{side}.{name} as {side}_{name}" for side, name in sorted(_read(levels + rarities))))
        .select(*(exp.alias_(measure, f"p_{name}") for name, measure in measures.items() if f"p_{name}" in used))
        .from_("pairs as p")
        .join("prepared as l", on="l.position = p.first")
        .join("prepared as r", on="r.position = p.second")
    )
    return outer.from_(inner.subquery("measured")).sql(DIALECT)


def _read(expressions: Sequence[exp.Expr]) -> set[tuple[str, str]]:
    """The columns of the two records that are read, as side and name."""
    columns = (column for expression in expressions for column in expression.find_all(exp.Column))
    return {(column.table, column.name) for column in columns if column.table in ("l", "r")}


def _flat(expression: exp.Expr) -> exp.Expr:
    """The expression over one row per pair: `l.f0` as `l_f0`."""

    def renamed(node: exp.Expr) -> exp.Expr:
        return exp.column(f"{node.table}_{node.name}") if isinstance(node, exp.Column) and node.table else node

    return expression.transform(renamed)


def compare(prepared: Prepared, pairs: pl.DataFrame) -> Compared:
    """Compare pairs of positions (`first`, `second`); the answer is ordered by pair."""
    connection = prepared.connection
    if not prepared.complete:
        fill(prepared, distinct(pairs.select("first", "second").to_numpy()))
    connection.register("pairs_to_compare", pairs.select(pl.col("first", "second").cast(pl.Int32)))
    query = levels_sql(prepared.fields, "pairs_to_compare")
    frame = connection.sql(f"{query} order by first, second").pl()
    connection.unregister("pairs_to_compare")
    usual = prepared.uniqueness
    rarities = frame.select((pl.col(f"rarity{i}") - usual[i]).fill_null(0).cast(pl.Float32) for i in range(len(usual)))
    return Compared(
        pairs=frame.select("first", "second").to_numpy().astype(np.int32),
        levels=frame.select(pl.col("^level.*$")).to_numpy().astype(np.uint8),
        rarities=rarities.to_numpy(),
    )


def exact_level(comparison: Comparison) -> int:
    """The number of the level at which values are equal."""
    return comparison.labels.index(EXACT)
