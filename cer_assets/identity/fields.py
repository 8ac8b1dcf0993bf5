"""What a field of a record is: how its kind is made comparable, blocked and compared; no data is read here.

Everything is SQL text over two records `l` and `r`, written once here and turned into a query by `sql`. The columns of
`l` and `r` are `value` (the field), what the kind's `facets` derive from it, and `partner` (the other name field).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

Kind = Literal["name", "date", "email", "phone", "postcode", "code", "address", "text", "category"]


@dataclass(frozen=True)
class MatchField:
    """A column that tells people apart, and the kind of thing it holds."""

    column: str
    kind: Kind

    def __post_init__(self) -> None:
        """Refuse a kind that does not exist."""
        if self.kind not in get_args(Kind):
            raise ValueError(f"field {self.column}: kind {self.kind!r} is not one of {', '.join(get_args(Kind))}")


CUSTOMER_FIELDS: tuple[MatchField, ...] = (
    MatchField("given_name", "name"),
    MatchField("surname", "name"),
    MatchField("birth_date", "date"),
    MatchField("email", "email"),
    MatchField("phone", "phone"),
    MatchField("street", "address"),
    MatchField("city", "text"),
    MatchField("postcode", "postcode"),
)
"""The columns of identity.records that tell customers apart."""


@dataclass(frozen=True)
class Level:
    """One outcome of a comparison.

    `condition` is tried after those of the levels before it; the last level has none. `expected` is the share of pairs
    of one person's records, both filled, that end here: a belief held until labels correct it.
    """

    label: str
    expected: float
    condition: str = "true"


@dataclass(frozen=True)
class Key:
    """A value that two records must share to be compared.

    `coarse` keys may stand together in threes; the others are sharp enough in twos.
    """

    name: str
    expression: str
    coarse: bool = False


@dataclass(frozen=True)
class KindSpec:
    """How one kind of field is read: `standard` from the raw `value`, the rest from the standard one."""

    standard: str
    levels: tuple[Level, ...]
    keys: tuple[Key, ...]
    facets: Mapping[str, str] = field(default_factory=dict[str, str])


MISSING = "missing"
"""The level of every comparison where one of the two values is missing; it is tried first."""

EXACT = "exact"
"""The level that term frequency speaks to: to agree on a rare value says more than on a common one."""

_WORDS = r"nullif(trim(regexp_replace(lower(strip_accents(value)), '[^\p{L}\p{N}]+', ' ', 'g')), '')"
_UNDOTTED = r"regexp_replace(lower(strip_accents(value)), '[''`\x{2019}.]', '', 'g')"
_SOLID = r"nullif(regexp_replace(lower(strip_accents(value)), '[^\p{L}\p{N}]', '', 'g'), '')"
_ONE_EDIT = """
    abs(length(l.value) - length(r.value)) <= 1 and levenshtein(l.value, r.value) <= 2
    and damerau_levenshtein(l.value, r.value) <= 1
"""
"""Levenshtein first: it refuses nearly every pair at an eighth of damerau's price."""
_LONG_WORDS = r"""
    string_split(nullif(trim(regexp_replace(' ' || value || ' ', ' \S( \S)* ', ' ', 'g')), ''), ' ')
"""
"""Words of two letters and more: to share a middle initial is to share next to nothing."""

_SHARED_WORD = """
    (contains(l.value, ' ') or contains(r.value, ' ')) and list_has_any(l.words, r.words)
"""
GENERATION = r" (jr|sr|junior|senior|ii|iii|iv)$"
"""What father and son put behind one name."""

KINDS: Mapping[Kind, KindSpec] = {
    "name": KindSpec(
        standard=rf"nullif(trim(regexp_replace({_UNDOTTED}, '[^\p{{L}}\p{{N}}]+', ' ', 'g')), '')",
        facets={
            "words": _LONG_WORDS,
            "skeleton": "left(value, 1) || regexp_replace(substr(value, 2), '[aeiouyhw ]', '', 'g')",
        },
        keys=(
            Key("whole", "l.value"),
            Key("skeleton", "l.skeleton"),
            Key("start", "case when length(l.value) > 3 then left(l.value, 4) end"),
            Key("initials", "left(l.value, 2)", coarse=True),
            Key("either", "least(l.value, l.partner) || ' ' || greatest(l.value, l.partner)"),
        ),
        levels=(
            Level(EXACT, 0.70, "l.value = r.value"),
            Level(
                "swapped",
                0.02,
                """
                (l.value = r.partner or jaro_winkler_similarity(l.value, r.partner) >= 0.9)
                and (l.partner = r.value or jaro_winkler_similarity(l.partner, r.value) >= 0.9)
                """,
            ),
            Level("shared word", 0.03, _SHARED_WORD),
            Level("diminutive", 0.04, "list_has_any(l.forms, r.forms)"),
            Level(
                "initial",
                0.03,
                "(length(l.value) = 1 or length(r.value) = 1) and left(l.value, 1) = left(r.value, 1)",
            ),
            Level(
                "near",
                0.09,
                f"""
                least(length(l.value), length(r.value)) >= 3
                and (jaro_winkler_similarity(l.value, r.value) >= 0.94 or ({_ONE_EDIT}))
                """,
            ),
            Level("similar", 0.03, "jaro_winkler_similarity(l.value, r.value) >= 0.8"),
            Level("different", 0.06),
        ),
    ),
    "date": KindSpec(
        standard=r"""
            case
                when regexp_full_match(trim(value), '\d{1,2}\D\d{1,2}\D\d{4}') then
                    regexp_extract(value, '\d{4}')
                    || lpad(regexp_extract(value, '\D(\d{1,2})\D', 1), 2, '0')
                    || lpad(regexp_extract(value, '\d{1,2}'), 2, '0')
                else nullif(regexp_replace(left(value, 10), '\D', '', 'g'), '')
            end
        """,
        keys=(
            Key("whole", "l.value"),
            Key("month and day", "case when length(l.value) = 8 then right(l.value, 4) end"),
            Key("year", "left(l.value, 4)", coarse=True),
        ),
        levels=(
            Level(EXACT, 0.80, "l.value = r.value"),
            Level(
                "day and month swapped",
                0.02,
                "left(l.value, 4) || substr(l.value, 7, 2) || substr(l.value, 5, 2) = r.value",
            ),
            Level("one digit", 0.08, _ONE_EDIT),
            Level(
                "two parts of three",
                0.04,
                """
                (left(l.value, 4) = left(r.value, 4))::int + (substr(l.value, 5, 2) = substr(r.value, 5, 2))::int
                + (substr(l.value, 7, 2) = substr(r.value, 7, 2))::int >= 2
                """,
            ),
            Level("year", 0.01, "left(l.value, 4) = left(r.value, 4)"),
            Level("different", 0.05),
        ),
    ),
    "email": KindSpec(
        standard="nullif(lower(trim(value)), '')",
        facets={"user": "nullif(split_part(value, '@', 1), '')"},
        keys=(Key("whole", "l.value"), Key("user", "l.user"), Key("start", "left(l.user, 4)")),
        levels=(
            Level(EXACT, 0.65, "l.value = r.value"),
            Level("same user elsewhere", 0.07, "l.user = r.user"),
            Level(
                "near",
                0.08,
                """
                abs(length(l.user) - length(r.user)) <= 2 and length(l.user) >= 4
                and levenshtein(l.user, r.user) <= 2
                """,
            ),
            Level("similar user", 0.05, "jaro_winkler_similarity(l.user, r.user) >= 0.88"),
            Level("different", 0.15),
        ),
    ),
    "phone": KindSpec(
        standard=r"""
            case when length(regexp_replace(value, '\D', '', 'g')) >= 5
            then regexp_replace(value, '\D', '', 'g') end
        """,
        keys=(Key("whole", "l.value"), Key("last seven", "right(l.value, 7)")),
        levels=(
            Level(EXACT, 0.65, "l.value = r.value"),
            Level("last seven", 0.03, "right(l.value, 7) = right(r.value, 7)"),
            Level("one digit", 0.07, _ONE_EDIT),
            Level("different", 0.25),
        ),
    ),
    "postcode": KindSpec(
        standard=_SOLID,
        keys=(Key("whole", "l.value"), Key("start", "left(l.value, 3)", coarse=True)),
        levels=(
            Level(EXACT, 0.75, "l.value = r.value"),
            Level("one character", 0.06, _ONE_EDIT),
            Level("start", 0.05, "left(l.value, 3) = left(r.value, 3)"),
            Level("different", 0.14),
        ),
    ),
    "code": KindSpec(
        standard=_SOLID,
        keys=(
            Key("whole", "l.value"),
            Key("start", "left(l.value, 3)", coarse=True),
            Key("end", "case when length(l.value) > 4 then right(l.value, 4) end"),
        ),
        levels=(
            Level(EXACT, 0.80, "l.value = r.value"),
            Level("one character", 0.09, f"least(length(l.value), length(r.value)) >= 4 and {_ONE_EDIT}"),
            Level("different", 0.11),
        ),
    ),
    "address": KindSpec(
        standard=_WORDS,
        facets={
            "number": r"nullif(regexp_extract(value, '\d+'), '')",
            "road": r"nullif(regexp_extract(value, '\p{L}{3,}'), '')",
        },
        keys=(
            Key("whole", "l.value"),
            Key("number and road", "l.number || ' ' || left(l.road, 3)"),
            Key("road", "l.road", coarse=True),
        ),
        levels=(
            Level(EXACT, 0.60, "l.value = r.value"),
            Level(
                "near",
                0.13,
                "l.number = r.number and jaro_winkler_similarity(l.value, r.value) >= 0.9",
            ),
            Level("same number and road", 0.04, "l.number = r.number and l.road = r.road"),
            Level(
                "similar",
                0.04,
                "l.road = r.road or jaro_winkler_similarity(l.value, r.value) >= 0.9",
            ),
            Level("different", 0.19),
        ),
    ),
    "text": KindSpec(
        standard=_WORDS,
        facets={"words": _LONG_WORDS},
        keys=(
            Key("whole", "l.value"),
            Key("first word", "split_part(l.value, ' ', 1)"),
            Key("start", "left(l.value, 3)", coarse=True),
        ),
        levels=(
            Level(EXACT, 0.70, "l.value = r.value"),
            Level("near", 0.08, "jaro_winkler_similarity(l.value, r.value) >= 0.92"),
            Level("shared word", 0.05, _SHARED_WORD),
            Level("different", 0.17),
        ),
    ),
    "category": KindSpec(
        standard=_WORDS,
        keys=(Key("whole", "l.value", coarse=True),),
        levels=(Level(EXACT, 0.92, "l.value = r.value"), Level("different", 0.08)),
    ),
}


def name_partner(fields: Sequence[MatchField], position: int) -> int | None:
    """The field that a name may have been swapped with: the first two name fields are each other's partner."""
    names = [i for i, f in enumerate(fields) if f.kind == "name"][:2]
    if len(names) < 2 or position not in names:
        return None
    return names[1 - names.index(position)]
