"""The suppression list: keyed hashes of what may never be let in again, and a set-wise test of rows and texts by it.

Nothing here reads a file or the environment, and nothing here deletes.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Self

import duckdb
import polars as pl

KEY_VARIABLE = "CER_SUPPRESSION_KEY"
"""The environment variable that holds the key."""
SHORTEST_KEY = 32
"""Characters: record ids can be guessed one by one, so what keeps their hashes from being read is the key alone."""

RECORD, CUSTOMER, VISITOR = "record", "customer", "visitor"
"""What stays on the list: records by `source:source_id`, customer ids, and visitor ids nobody else used."""
EMAIL, PHONE, NAME = "email", "phone", "name"
"""What is looked for in rows that name no record, for as long as the erasure is under way: nothing of it is kept."""
KEY = "key"
"""One row: the hash by which another key is told from the list's own."""

SUPPRESSED = pl.Schema({"request": pl.String, "kind": pl.String, "source": pl.String, "hash": pl.String})
"""Columns of the list: the hash of the request that a row goes back to, of which kind it is, the system of a record."""

_WORD = r"""[^\s,;|:"'{}\[\]()<>=\\]+"""
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_EMAIL = r"""[^\s"',;:<>{}\[\]|=]+@[^\s"',;:<>{}\[\]|=]+"""
_PHONE = r"[0-9][0-9 ()./-]{5,}[0-9]"
_PHONE_DIGITS = 9
_NAME_WORD = r"[\p{L}\p{M}]{2,}"
_NAMES_THAT_TELL = 2
_LONG_ENOUGH = 6
"""Characters from which on an id tells by itself: a shorter one is an amount, a house number, half a date as well."""
_TEXTS_AT_ONCE = 50_000
"""Each of their words is a row for each system: a file of millions of lines does not fit a process at once."""
_BLOCK = 64
_HASHES = """
select sha256($outer::blob || unhex(sha256($inner::blob || encode(text)))) as hash from message
"""


@cache
def _engine() -> duckdb.DuckDBPyConnection:
    """One for all hashing of a process: opening one takes longer than a small table's hashes."""
    return duckdb.connect(":memory:", config={"temp_directory": ""})


class NoKey(RuntimeError):
    """The key is missing, too short, or not the one that the list was made with."""


@dataclass(frozen=True)
class Keyed:
    """HMAC-SHA256 under one key, computed in sets."""

    inner: bytes
    outer: bytes

    @classmethod
    def with_key(cls, key: str | None) -> Self:
        """Take a key.

        Raises:
            NoKey: it is missing or too short.
        """
        if not key:
            raise NoKey(
                f"{KEY_VARIABLE} is not set: without it nobody can be forgotten for good, and who was cannot be told"
                " from others. Set it to the key that was used before, or to a new one where nobody was ever erased"
            )
        if len(key) < SHORTEST_KEY:
            raise NoKey(f"{KEY_VARIABLE} is too short: expected at least {SHORTEST_KEY} characters")
        secret = key.encode()
        secret = hashlib.sha256(secret).digest() if len(secret) > _BLOCK else secret
        block = secret.ljust(_BLOCK, b"\0")
        return cls(bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block))

    def hashes(self, kind: str, values: pl.Series) -> pl.Series:
        """The keyed hash of each value; null of null. A record is `source:source_id`, hashed as it stands."""
        unique = values.cast(pl.String).unique().drop_nulls().sort().alias("value").to_frame()
        message = unique.select(text="value" if kind == RECORD else pl.lit(f"{kind}\x1f") + pl.col("value"))
        if message.is_empty():
            hashed = pl.DataFrame(schema={"hash": pl.String})
        else:
            with _engine().cursor() as con:
                con.register("message", message)
                hashed = con.sql(_HASHES, params={"inner": self.inner, "outer": self.outer}).pl()
        known = unique.with_columns(hashed["hash"])
        asked = values.cast(pl.String).alias("value").to_frame()
        return asked.join(known, on="value", how="left", maintain_order="left")["hash"]

    def listed(
        self, kind: str, requests: pl.Series, values: pl.Series, sources: pl.Series | None = None
    ) -> pl.DataFrame:
        """Rows of the list: the hashes of some values, each under its request (the first, of several), in order."""
        system = pl.repeat(None, len(values), dtype=pl.String, eager=True) if sources is None else sources
        return (
            pl.DataFrame({"request": requests, "source": system, "hash": self.hashes(kind, values)})
            .with_columns(kind=pl.lit(kind))
            .drop_nulls("hash")
            .sort("hash", "request")
            .unique("hash", keep="first", maintain_order=True)
            .select(pl.col(name).cast(dtype) for name, dtype in SUPPRESSED.items())
        )


@dataclass(frozen=True)
class Suppression:
    """The list beside its key; a test answers with the request that a value goes back to, or null."""

    listed: pl.DataFrame
    """`SUPPRESSED`."""
    keyed: Keyed | None

    @classmethod
    def nobody(cls) -> Self:
        """An empty list, which needs no key."""
        return cls(SUPPRESSED.to_frame(), None)

    @classmethod
    def of(cls, listed: pl.DataFrame, key: str | None) -> Self:
        """A list as the lake holds it.

        Raises:
            NoKey: somebody is on it and the key is missing, or is another than the list was made with.
        """
        if listed.is_empty():
            return cls(SUPPRESSED.to_frame(), Keyed.with_key(key) if key else None)
        keyed = Keyed.with_key(key)
        own = listed.filter(pl.col("kind") == KEY)["hash"]
        if len(own) and key_mark(keyed)["hash"][0] not in own:
            raise NoKey(
                f"{KEY_VARIABLE} is not the key that the suppression list was made with: set it to that one, or nobody"
                " on the list can be told from others"
            )
        return cls(listed.select(SUPPRESSED.names()), keyed)

    def with_more(self, listed: pl.DataFrame) -> "Suppression":
        """The same with further rows."""
        return Suppression(pl.concat([self.listed, listed.select(SUPPRESSED.names())]), self.keyed)

    def __len__(self) -> int:
        """How many hashes are on it, the mark of the key aside."""
        return self.listed.filter(pl.col("kind") != KEY).height

    @cached_property
    def sources(self) -> list[str]:
        """The systems that records on the list come from."""
        return self.listed["source"].drop_nulls().unique().sort().to_list()

    def requests(self, kind: str, values: pl.Series) -> pl.Series:
        """The request that each value goes back to; null where it is not on the list."""
        known = self.listed.filter(pl.col("kind") == kind).select("hash", "request").unique("hash")
        if known.is_empty() or self.keyed is None:
            return pl.repeat(None, len(values), dtype=pl.String, eager=True).alias("request")
        hashed = self.keyed.hashes(kind, values).to_frame("hash")
        return hashed.join(known, on="hash", how="left", maintain_order="left")["request"]

    def of_rows(self, rows: pl.DataFrame) -> pl.Series:
        """The request that each row goes back to, by whichever columns it has that name a record or a visitor.

        Args:
            rows: `source` and `source_id`, or `record_a` and `record_b`, or `record_id`; and `anonymous_id`, which
                counts where no record is named.
        """
        found = [pl.repeat(None, rows.height, dtype=pl.String, eager=True).alias("request")]
        if not len(self):
            return found[0]
        if {"source", "source_id"} <= set(rows.columns):
            ids = rows.select(pl.concat_str("source", "source_id", separator=":")).to_series()
            found.append(self.requests(RECORD, ids))
        found += [
            self.requests(RECORD, rows[name]) for name in ("record_a", "record_b", "record_id") if name in rows.columns
        ]
        if "anonymous_id" in rows.columns:
            unnamed = pl.col("source_id").is_null() if "source_id" in rows.columns else pl.lit(value=True)
            visitors = rows.select(pl.when(unnamed).then("anonymous_id")).to_series()
            found.append(self.requests(VISITOR, visitors))
        return pl.select(pl.coalesce(found).alias("request")).to_series()

    def of_texts(self, texts: pl.Series) -> pl.Series:
        """The request that each text goes back to: one that holds an id of a record as a word or as a quoted value.

        While an erasure is under way an e-mail address, a telephone number, or two words of the name tell as well.
        """
        nobody = pl.repeat(None, len(texts), dtype=pl.String, eager=True).alias("request")
        if not len(self) or self.keyed is None or texts.is_empty():
            return nobody
        if len(texts) > _TEXTS_AT_ONCE:
            starts = range(0, len(texts), _TEXTS_AT_ONCE)
            return pl.concat([self.of_texts(texts.slice(start, _TEXTS_AT_ONCE)) for start in starts])
        at = pl.DataFrame({"text": texts.cast(pl.String)}).with_row_index("at").drop_nulls("text")
        records = self._records_in(at).select("at", "request")
        found = pl.concat([records, self._values_in(at)]).unique("at", keep="first", maintain_order=True)
        everywhere = nobody.to_frame().with_row_index("at").select("at")
        return everywhere.join(found, on="at", how="left", maintain_order="left")["request"]

    def of_lines(self, texts: pl.Series) -> tuple[pl.Series, pl.Series]:
        """The request that each line of no known layout goes back to; and which others may name somebody.

        An id of few characters is a word that others' lines hold as well. It tells beside the name of its system, or
        an e-mail address, a telephone number or a word of the name of whose id it is; alone it leaves a doubt.
        """
        if len(texts) > _TEXTS_AT_ONCE:
            starts = range(0, len(texts), _TEXTS_AT_ONCE)
            parts = [self.of_lines(texts.slice(start, _TEXTS_AT_ONCE)) for start in starts]
            return pl.concat([told for told, _ in parts]), pl.concat([doubt for _, doubt in parts])
        if not len(self) or self.keyed is None or texts.is_empty():
            return self.of_texts(texts), pl.repeat(False, len(texts), dtype=pl.Boolean, eager=True)
        at = pl.DataFrame({"text": texts.cast(pl.String)}).with_row_index("at")
        records = self._records_in(at)
        words = _tokens(at, pl.col("text").str.extract_all(_WORD)).select(
            "at", beside=pl.col("token").str.to_lowercase()
        )
        told = pl.concat(
            [
                records.filter(pl.col("beside").is_null()).select("at", "request"),
                records.join(words, on=["at", "beside"], how="semi").select("at", "request"),
                records.join(self._values_in(at, names=1), on=["at", "request"], how="semi").select("at", "request"),
                self._values_in(at),
            ]
        ).unique("at", keep="first", maintain_order=True)
        request = at.select("at").join(told, on="at", how="left", maintain_order="left")["request"]
        return request, at["at"].is_in(records["at"].implode()) & request.is_null()

    def _records_in(self, at: pl.DataFrame) -> pl.DataFrame:
        """Ids on the list that texts hold: `at`, `request`, and of a short one the system that should stand beside."""
        quoted = pl.col("text").str.extract_all(_QUOTED).list.eval(pl.element().str.slice(1).str.head(-1))
        words = pl.concat([_tokens(at, pl.col("text").str.extract_all(_WORD)), _tokens(at, quoted)])
        systems = pl.DataFrame({"source": self.sources}, schema={"source": pl.String})
        # A word may be the whole id of a record already, as in an answer about a pair.
        whole = _tokens(at, pl.col("text").str.extract_all(r"""[^\s,;"'{}\[\]()<>]+"""))
        ids = pl.concat(
            [
                words.with_columns(pl.col("token").str.strip_chars())
                .join(systems, how="cross")
                .select(
                    "at",
                    token=pl.concat_str("source", pl.lit(":"), "token"),
                    beside=pl.when(pl.col("token").str.len_chars() < _LONG_ENOUGH).then(
                        pl.col("source").str.to_lowercase()
                    ),
                ),
                whole.filter(pl.col("token").str.contains(":", literal=True)).with_columns(
                    beside=pl.lit(None, pl.String)
                ),
            ]
        )
        found = ids.with_columns(self.requests(RECORD, ids["token"])).drop_nulls("request")
        return found.select("at", "request", "beside")

    def _values_in(self, at: pl.DataFrame, names: int = _NAMES_THAT_TELL) -> pl.DataFrame:
        """What somebody's records held, and as many words of a name: `at`, `request`."""
        empty = pl.DataFrame(schema={"at": at.schema["at"], "request": pl.String})
        if not self.listed["kind"].is_in([EMAIL, PHONE, NAME]).any():
            return empty
        mails = _tokens(at, pl.col("text").str.extract_all(_EMAIL))
        numbers = _tokens(at, pl.col("text").str.extract_all(_PHONE))
        words = _tokens(at, pl.col("text").str.extract_all(_NAME_WORD))
        told = [empty]
        for kind, tokens, norm in ((EMAIL, mails, as_email), (PHONE, numbers, as_phone)):
            tokens = tokens.with_columns(norm(pl.col("token")))
            told.append(tokens.select("at", self.requests(kind, tokens["token"])).drop_nulls("request"))
        words = words.with_columns(as_word(pl.col("token"))).unique()
        named = words.with_columns(self.requests(NAME, words["token"])).drop_nulls("request")
        several = named.group_by("at", "request").len().filter(pl.col("len") >= names)
        return pl.concat([*told, several.sort("at", "request").select("at", "request")])


def key_mark(keyed: Keyed) -> pl.DataFrame:
    """The row by which the list knows its own key."""
    return keyed.listed(KEY, pl.Series([""]), pl.Series([KEY]))


def values_of(keyed: Keyed, people: pl.DataFrame) -> pl.DataFrame:
    """Rows of the list for what somebody's records hold: e-mail addresses, telephone numbers, words of names.

    Args:
        keyed: the key.
        people: `request`, and any of `full_name`, `given_name`, `surname`, `email`, `phone`, as delivered.
    """

    def given(columns: Sequence[str], norm: Callable[[pl.Expr], pl.Expr], pattern: str | None = None) -> pl.DataFrame:
        held = [
            people.select("request", value=pl.col(name).cast(pl.String)) for name in columns if name in people.columns
        ]
        rows = pl.concat([pl.DataFrame(schema={"request": pl.String, "value": pl.String}), *held])
        if pattern is not None:
            rows = rows.with_columns(pl.col("value").str.extract_all(pattern)).explode("value")
        return rows.with_columns(norm(pl.col("value"))).drop_nulls()

    each = {
        EMAIL: given(["email"], as_email),
        PHONE: given(["phone"], as_phone),
        NAME: given(["full_name", "given_name", "surname"], as_word, _NAME_WORD),
    }
    return pl.concat([keyed.listed(kind, rows["request"], rows["value"]) for kind, rows in each.items()])


def as_email(value: pl.Expr) -> pl.Expr:
    """An e-mail address as it is compared; null where it is none."""
    mail = value.str.strip_chars().str.to_lowercase()
    return pl.when(mail.str.contains(r"^[^@]+@[^@]+$")).then(mail)


def as_phone(value: pl.Expr) -> pl.Expr:
    """The last digits of a telephone number, whatever stands before and between them; null where they are too few."""
    digits = value.str.replace_all(r"[^0-9]", "")
    return pl.when(digits.str.len_bytes() >= _PHONE_DIGITS).then(digits.str.tail(_PHONE_DIGITS))


def as_word(value: pl.Expr) -> pl.Expr:
    """A word of a name in lower case, without accents."""
    return value.str.to_lowercase().str.normalize("NFKD").str.replace_all(r"\p{M}", "")


def _tokens(at: pl.DataFrame, found: pl.Expr) -> pl.DataFrame:
    return at.select("at", token=found).explode("token").drop_nulls("token").unique(maintain_order=True)
