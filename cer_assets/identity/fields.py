"""What a field of a record is: how its kind is made comparable, blocked and compared; no data is read here.

Everything is SQL text over two records `l` and `r`, written once here and turned into a query by `compare.levels_sql`.
The columns of `l` and `r` are `value` (the field), what the kind's `facets` derive from it, and `partner` (the other
name field, its facets `partner_...`). The columns of `p` are the kind's `measures`: what is worked out once for a pair
and read by several levels.

What is read for every pair costs more than what is done with it, a text several times a number: facets that are only
tested for being equal are numbers. Of the functions, Jaro and Winkler's similarity is the cheapest, Levenshtein's twice
and Damerau's ten times as dear, so each stands behind what is cheaper and refuses most pairs.
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
    measures: Mapping[str, str] = field(default_factory=dict[str, str])
    junk: str = "false"
    """Which standard values stand for none."""


MISSING = "missing"
"""The level of every comparison where one of the two values is missing; it is tried first."""

EXACT = "exact"
"""The level that term frequency speaks to: to agree on a rare value says more than on a common one."""

GENERATION = r" (jr|sr|junior|senior|ii|iii|iv)$"
"""What father and son put behind one name."""

_NO_VALUE = (
    "n a", "nan", "nil", "none", "null", "nul", "unknown", "unk", "not known", "not given", "not provided", "no name",
    "no value", "missing", "undefined", "anonymous", "test", "tbd", "tba", "xx", "xxx", "xxxx", "asdf", "refused",
    "declined", "unbekannt", "keine angabe", "inconnu", "inconnue", "desconocido", "desconocida", "sconosciuto",
    "desconhecido", "onbekend", "ukjent", "okand", "ukendt", "неизвестно", "αγνωστο", "不明", "未知", "なし",
)  # fmt: skip
_NO_ADDRESS = ("test@", "none@", "noemail@", "nomail@", "no@", "na@", "unknown@", "noreply@", "no-reply@", "example@")
_NO_PROVIDER = ("@test.", "@none.", "@noemail.", "@nomail.", "@example.", "@unknown.", "@invalid.")


def _listed(words: Sequence[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


_NOTHING = f"value in ({_listed(_NO_VALUE)})"
_NOTHING_SOLID = f"value in ('na', {_listed([w.replace(' ', '') for w in _NO_VALUE])})"
_ONE_DIGIT = "(length(value) >= 4 and regexp_full_match(value, '0+|9+'))"
"""Forms that insist on a number are given zeros or nines."""

# Accents come off by rule, these by name. A final sigma is one only where a text is in lower case.
_NAMED_LETTERS = {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ı": "i", "ħ": "h", "ŧ": "t", "ς": "σ", "’": "'", "`": "'"}  # noqa: RUF001
_PAIRS_OF_LETTERS = {"ß": "ss", "æ": "ae", "œ": "oe", "þ": "th"}


def _folded() -> str:
    """Lower case without accents; text in plain letters, as most is, is spared the rest."""
    one, other = ("".join(letters).replace("'", "''") for letters in zip(*_NAMED_LETTERS.items(), strict=True))
    folded = f"translate(lower(strip_accents(value)), '{one}', '{other}')"
    for letter, letters in _PAIRS_OF_LETTERS.items():
        folded = f"replace({folded}, '{letter}', '{letters}')"
    return f"case when strlen(value) = length(value) then lower(value) else {folded} end"


_FOLDED = _folded()
_WORDS = rf"nullif(trim(regexp_replace({_FOLDED}, '[^\p{{L}}\p{{M}}\p{{N}}]+', ' ', 'g')), '')"
_UNDOTTED = rf"regexp_replace({_FOLDED}, '[''.]', '', 'g')"
_SOLID = rf"nullif(ltrim(regexp_replace({_FOLDED}, '[^\p{{L}}\p{{M}}\p{{N}}]', '', 'g'), '0'), '')"
"""Spreadsheets take zeros from the front, so they count for nothing."""

# One Latin letter for each letter of Greek and Cyrillic; those at the end of the first have none.
_OTHER_LETTERS = "абвгдежзиклмнопрстуфхцчшщыэюяієґαβγδεζηθικλμνξοπρσστυφχψωъь"
_LATIN_LETTERS = "abvgdezziklmnoprstufhccssyeuaiegavgdezitiklmnxoprsstyfhpo"

PLAIN = f"""
    case
        when strlen(value) = length(value) then value
        else array_to_string(
            list_transform(
                string_split(translate(value, '{_OTHER_LETTERS}', '{_LATIN_LETTERS}'), ''),
                lambda c: case
                    when strlen(c) = 1 then c
                    else chr((58 + unicode(c) % 39)::int) || chr((58 + unicode(c) // 39 % 39)::int)
                end
            ),
            ''
        )
    end
"""
"""A standard value in plain letters, for the functions that compare texts compare their bytes.

Greek and Cyrillic become Latin letters, those of other scripts two signs each that no standard value holds otherwise.
"""


def _likeness(one: str, other: str) -> str:
    return f"jaro_winkler_similarity(l.{one}, r.{other})"


def _swapped(one: str, other: str) -> str:
    """Whether the one name is nearly the other name of the other record.

    Letters that only one of two texts holds match nothing; to be as like as .9 they may be a third of all at most.
    """
    letters = {"value": "letters", "partner": "partner_letters"}
    return f"""
        3 * bit_count(xor(l.{letters[one]}, r.{letters[other]})) <= strlen(l.{one}) + strlen(r.{other})
        and {_likeness(one, other)} >= 0.9
    """


def _edits(most: int, name: str = "value") -> str:
    """Whether at most so many letters are to be put in, left out or exchanged."""
    return f"abs(strlen(l.{name})::int - strlen(r.{name})::int) <= {most} and levenshtein(l.{name}, r.{name}) <= {most}"


_ONE_EDIT = f"""
    ({_edits(2)} and abs(strlen(l.value)::int - strlen(r.value)::int) <= 1 and (levenshtein(l.value, r.value) <= 1
        or (strlen(l.value) = strlen(r.value) and damerau_levenshtein(l.value, r.value) <= 1)))
"""
"""One letter put in, left out or exchanged, or two neighbours swapped, which Levenshtein takes for two edits."""

_WORD_FACETS = {
    "words": "case when contains(value, ' ') then len(string_split(value, ' '))::int else 1 end",
    "word_bits": """
        case when contains(value, ' ') then
            coalesce(list_bit_or(list_transform(
                list_filter(string_split(value, ' '), lambda w: strlen(w) > 1),
                lambda w: 1::ubigint << (hash(w) % 64)
            )), 0)::ubigint
        else 1::ubigint << (hash(value) % 64) end
    """,
}
"""Two texts that share a word share a bit; few that share a bit share no word."""

_LETTERS = """
    list_bit_or(list_transform(
        string_split(replace(value, ' ', ''), ''), lambda c: 1::ubigint << (ascii(c) & 63)
    ))::ubigint
"""
"""A bit for each letter that a text holds, blanks left out."""

_SHARED_WORDS = """
    case when l.words > 1 or r.words > 1 then
        case when l.word_bits & r.word_bits = 0 then 0
        else len(list_intersect(
            list_filter(string_split(l.value, ' '), lambda w: strlen(w) > 1), string_split(r.value, ' ')
        )) end
    end
"""
"""How many, null where each is one word; to share a middle initial is to share next to nothing."""

_MOST_WORDS = """
    2 * p.shared >= greatest(l.words, r.words)
"""
_INITIALS = "list_sort(list_transform(string_split({0}.value, ' '), lambda w: w[1]))"

_STREET_WORDS = (
    "street", "road", "lane", "avenue", "drive", "court", "close", "place", "the", "flat", "apartment", "unit",
    "rue", "boulevard", "blvd", "allee", "chemin", "impasse", "quai", "cours", "calle", "avenida", "avda", "plaza",
    "paseo", "camino", "carrera", "via", "viale", "piazza", "corso", "rua", "avenue", "ave", "del", "della", "des",
    "las", "los", "der", "dem", "den", "van", "ulica", "улица", "проспект", "переулок", "οδοσ", "λεωφοροσ", "jalan",
)  # fmt: skip
"""What streets are called by; not what a street is called."""
_ROAD = rf"""
    nullif(regexp_extract(
        regexp_replace(' ' || replace(value, ' ', '  ') || ' ', ' ({"|".join(_STREET_WORDS)}) ', '', 'g'),
        '\p{{L}}{{3,}}'
    ), '')
"""

KINDS: Mapping[Kind, KindSpec] = {
    "name": KindSpec(
        standard=rf"nullif(trim(regexp_replace({_UNDOTTED}, '[^\p{{L}}\p{{M}}\p{{N}}]+', ' ', 'g')), '')",
        junk=_NOTHING,
        facets={"letters": _LETTERS, **_WORD_FACETS},
        measures={"likeness": _likeness("value", "value"), "shared": _SHARED_WORDS},
        keys=(
            Key("whole", "l.value"),
            Key(
                "skeleton",
                """
                translate(left(l.value, 1) || regexp_replace(substr(l.value, 2), '[aeiouyhw ]', '', 'g'), 'cqz', 'kks')
                """,
            ),
            Key("start", "case when length(l.value) > 3 then left(l.value, 4) end"),
            Key("initials", "left(l.value, 2)", coarse=True),
            Key("either", "least(l.value, l.partner) || ' ' || greatest(l.value, l.partner)"),
            Key("first word", "list_min(string_split(l.value, ' '))"),
            Key("last word", "list_max(string_split(l.value, ' '))"),
        ),
        levels=(
            Level(EXACT, 0.70, "l.value = r.value"),
            Level("swapped", 0.02, f"{_swapped('value', 'partner')} and {_swapped('partner', 'value')}"),
            Level(
                "same words",
                0.01,
                """
                p.shared is not null and l.letters = r.letters
                and (replace(l.value, ' ', '') = replace(r.value, ' ', '')
                    or list_sort(string_split(l.value, ' ')) = list_sort(string_split(r.value, ' ')))
                """,
            ),
            Level(
                "part",
                0.03,
                """
                p.shared > 0 and (list_has_all(string_split(l.value, ' '), string_split(r.value, ' '))
                    or list_has_all(string_split(r.value, ' '), string_split(l.value, ' ')))
                """,
            ),
            Level(
                "diminutive",
                0.04,
                """
                l.forms is not null and r.forms is not null
                and (l.forms = r.forms or list_has_any(string_split(l.forms, ' '), string_split(r.forms, ' ')))
                and (coalesce(p.shared, 1) > 0
                    or not regexp_matches(l.value, ' ..') or not regexp_matches(r.value, ' ..'))
                """,
            ),
            Level(
                "initial",
                0.03,
                f"""
                (p.shared is null and (strlen(l.value) = 1 or strlen(r.value) = 1) and l.value[1] = r.value[1])
                or (p.shared > 0 and regexp_matches(l.value || ' ' || r.value, '(^| ).( |$)')
                    and {_INITIALS.format("l")} = {_INITIALS.format("r")})
                """,
            ),
            Level(
                "near",
                0.08,
                f"""
                strlen(l.value) > 2 and strlen(r.value) > 2 and p.likeness >= 0.7
                and (p.likeness >= 0.94 or {_ONE_EDIT})
                """,
            ),
            Level("shared word", 0.02, "p.shared > 0"),
            Level("similar", 0.02, "p.likeness >= 0.8"),
            Level("different", 0.05),
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
        junk="""
            regexp_full_match(value, '0+|9+|1+|(0000|9999|0001).*') or value in ('19000101', '19010101', '19700101')
        """,
        facets={
            "number": """
                case length(value) when 8 then try_cast(value as integer)
                when 6 then try_cast(value as integer) * 100 when 4 then try_cast(value as integer) * 10000 end
            """,
        },
        measures={
            "parts": """
                (l.number // 10000 = r.number // 10000)::int + (l.number % 100 = r.number % 100)::int
                + (l.number // 100 % 100 = r.number // 100 % 100)::int
            """,
        },
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
                """
                l.number // 10000 = r.number // 10000 and l.number % 100 = r.number // 100 % 100
                and r.number % 100 = l.number // 100 % 100
                """,
            ),
            # One slip leaves one part of two full dates as it was.
            Level(
                "one digit",
                0.07,
                f"""
                coalesce(p.parts > 0, true) and {_ONE_EDIT}
                """,
            ),
            Level("two parts of three", 0.04, "p.parts >= 2 and l.number % 100 != 0 and r.number % 100 != 0"),
            Level(
                "as far as known",
                0.01,
                """
                l.number // 10000 = r.number // 10000 and (l.number % 100 = 0 or r.number % 100 = 0)
                and (l.number // 100 % 100 in (0, r.number // 100 % 100) or r.number // 100 % 100 = 0)
                """,
            ),
            Level("year", 0.01, "l.number // 10000 = r.number // 10000"),
            Level("different", 0.05),
        ),
    ),
    "email": KindSpec(
        standard=rf"nullif(regexp_replace({_FOLDED}, '\s|^mailto:', '', 'g'), '')",
        junk=f"""
            value in ('na', 'n/a', '-', {_listed(_NO_VALUE)}, 'noemail', 'no', 'nomail')
            or regexp_matches(value, '^({"|".join(_NO_ADDRESS)})|{"|".join(_NO_PROVIDER).replace(".", "[.]")}')
        """,
        facets={"user": "nullif(split_part(value, '@', 1), '')"},
        measures={"likeness": _likeness("user", "user")},
        keys=(
            Key("whole", "l.value"),
            Key("user", "l.user"),
            Key("start", "left(l.user, 4)"),
            Key("end", "right(l.user, 5)"),
        ),
        levels=(
            Level(EXACT, 0.65, "l.value = r.value"),
            Level("same user elsewhere", 0.07, "l.user = r.user"),
            Level(
                "near", 0.08, f"p.likeness >= 0.7 and strlen(l.user) > 3 and strlen(r.user) > 3 and {_edits(2, 'user')}"
            ),
            Level("similar user", 0.05, "p.likeness >= 0.88"),
            Level("different", 0.15),
        ),
    ),
    "phone": KindSpec(
        standard=r"""
            case when length(regexp_replace(value, '\D', '', 'g')) >= 5
            then nullif(ltrim(regexp_replace(value, '\D', '', 'g'), '0'), '') end
        """,
        junk="""
            replace(value, left(value, 1), '') = '' or contains('12345678901234567890', value)
            or contains('9876543210987654321', value)
        """,
        facets={"end": "right(value, 7)", "end_id": "hash(right(value, 7))"},
        keys=(
            Key("whole", "l.value"),
            Key("last seven", "l.end"),
            Key("middle", "case when length(l.value) > 7 then substr(right(l.value, 9), 1, 5) end"),
        ),
        levels=(
            Level(EXACT, 0.65, "l.value = r.value"),
            Level("last seven", 0.05, "l.end_id = r.end_id"),
            Level("one digit", 0.07, _ONE_EDIT),
            Level("different", 0.23),
        ),
    ),
    "postcode": KindSpec(
        standard=_SOLID,
        junk=f"{_NOTHING_SOLID} or {_ONE_DIGIT}",
        facets={"start": "left(value, 3)", "start_id": "hash(left(value, 3))"},
        keys=(Key("whole", "l.value"), Key("start", "l.start", coarse=True)),
        levels=(
            Level(EXACT, 0.75, "l.value = r.value"),
            Level("one character", 0.06, _ONE_EDIT),
            Level("start", 0.05, "l.start_id = r.start_id"),
            Level("different", 0.14),
        ),
    ),
    "code": KindSpec(
        standard=_SOLID,
        junk=f"{_NOTHING_SOLID} or {_ONE_DIGIT}",
        keys=(
            Key("whole", "l.value"),
            Key("start", "left(l.value, 3)", coarse=True),
            Key("end", "case when length(l.value) > 4 then right(l.value, 4) end"),
        ),
        levels=(
            Level(EXACT, 0.80, "l.value = r.value"),
            Level("one character", 0.09, f"least(strlen(l.value), strlen(r.value)) >= 4 and {_ONE_EDIT}"),
            Level("different", 0.11),
        ),
    ),
    "address": KindSpec(
        standard=_WORDS,
        junk=_NOTHING,
        facets={
            "number": r"try_cast(regexp_extract(value, '\d{1,9}') as integer)",
            "road": _ROAD,
            "road_id": "hash(road)",
        },
        keys=(
            Key("whole", "l.value"),
            Key("number and road", "l.number || ' ' || left(l.road, 3)"),
            Key("road", "l.road", coarse=True),
            Key("number", "l.number::varchar", coarse=True),
        ),
        levels=(
            Level(EXACT, 0.60, "l.value = r.value"),
            Level("near", 0.13, f"l.number = r.number and {_likeness('value', 'value')} >= 0.9"),
            Level("same number and road", 0.04, "l.number = r.number and l.road_id = r.road_id"),
            Level("similar", 0.04, f"l.road_id = r.road_id or {_likeness('value', 'value')} >= 0.9"),
            Level("different", 0.19),
        ),
    ),
    "text": KindSpec(
        standard=_WORDS,
        junk=_NOTHING,
        facets=_WORD_FACETS,
        measures={"shared": _SHARED_WORDS},
        keys=(
            Key("whole", "l.value"),
            Key("first word", "split_part(l.value, ' ', 1)"),
            Key("start", "left(l.value, 3)", coarse=True),
        ),
        levels=(
            Level(EXACT, 0.70, "l.value = r.value"),
            Level("near", 0.08, f"{_likeness('value', 'value')} >= 0.92"),
            Level("most words", 0.03, f"p.shared > 0 and {_MOST_WORDS}"),
            Level("shared word", 0.03, "p.shared > 0"),
            Level("different", 0.16),
        ),
    ),
    "category": KindSpec(
        standard=_WORDS,
        junk=_NOTHING,
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
