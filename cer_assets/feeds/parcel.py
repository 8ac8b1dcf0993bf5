"""A drop that has been opened: its rows as delivered, and what every format needs to get there.

What a value means is judged in `casts.py` and by the contract, not here.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

import polars as pl
from polars.datatypes import DataTypeClass

from cer_assets.feeds.catalogue import Layout
from cer_assets.feeds.landing import Drop
from cer_assets.feeds.moments import in_calendar

BROKEN = pl.Schema({"file_line": pl.Int64, "column": pl.String, "reason": pl.String, "content": pl.String})
"""A delivered row that cannot be split into columns."""

JSON_CELL = pl.Struct({"text": pl.String, "number": pl.Float64})
"""A value out of JSON: a floating-point number, or else its text."""

UNDECODED = "\N{REPLACEMENT CHARACTER}"
"""What stands in a text for bytes that are not of its encoding."""


class UnreadableDrop(ValueError):
    """A drop cannot be read at all; says which, what is wrong, what was expected, what to do."""


def refusal(drop: Drop, fault: str, expected: str, remedy: str) -> UnreadableDrop:
    """The error that refuses a drop."""
    return UnreadableDrop(f"{drop.feed}/{drop.name}: {fault}; expected {expected}. {remedy}")


BYTES_A_ROW = 100
"""What a row weighs at least, however short it is: a frame takes room for all columns of the contract."""


def too_large(drop: Drop, most_bytes: int) -> UnreadableDrop:
    """The error that refuses a drop that holds, once unpacked, more than it may."""
    return refusal(
        drop,
        f"it holds more than {most_bytes / 1e6:,.0f} MB or {most_bytes // BYTES_A_ROW:,} rows once unpacked",
        "files that can be read within the memory there is",
        f"Deliver it in parts ({drop.day}.1, {drop.day}.2, ...), or raise CER_DROP_MB if it is to be so large.",
    )


@dataclass(frozen=True)
class Parcel:
    """What one drop holds."""

    drop: Drop
    layout: Layout
    wanted: dict[str, str]
    """Contract column to delivered column, for those that the layout does not set itself."""
    bytes: int
    fingerprint: str
    delivered: int
    """Rows, counted on the file itself and not on the frames below."""
    rows: pl.DataFrame
    """The delivered columns under their delivered names, with the types the format gives them."""
    lines: pl.Series
    """Each row's physical line; in Parquet, which has no lines, its number. From 1, Int64."""
    broken: pl.DataFrame
    """The rows that have no columns, with the schema `BROKEN`."""
    found: frozenset[str]
    """Names of the delivered columns."""
    originals: pl.Series | None
    """Each row as JSON, where the format has that already."""

    @property
    def ignored(self) -> frozenset[str]:
        """Delivered columns that no contract column comes from."""
        return self.found - frozenset(self.wanted.values())

    @property
    def absent(self) -> frozenset[str]:
        """Contract columns that nothing was delivered for."""
        return frozenset(column for column, name in self.wanted.items() if name not in self.found)


@dataclass(frozen=True)
class Refused:
    """A drop that cannot be read at all."""

    drop: Drop
    bytes: int
    fingerprint: str
    """SHA-256 of its content; empty where not even that could be had."""
    fault: str
    """The file, what is wrong with it, what was expected, and what to do."""

    @classmethod
    def of(cls, drop: Drop, content: bytes | None, fault: UnreadableDrop) -> Self:
        """The drop with its content, where that could be had."""
        if content is None:
            return cls(drop, drop.bytes, "", str(fault))
        return cls(drop, len(content), hashlib.sha256(content).hexdigest(), str(fault))


@dataclass(frozen=True)
class Opened:
    """A drop's bytes with all that is needed to understand them."""

    drop: Drop
    layout: Layout
    wanted: dict[str, str]
    """Contract column to delivered column, for those that the layout does not set itself."""
    required: frozenset[str]
    """The contract columns that must hold a value in every row."""
    content: bytes
    most_bytes: int
    """What it may unpack to."""

    def parcel(
        self,
        delivered: int,
        rows: pl.DataFrame,
        lines: pl.Series,
        broken: pl.DataFrame,
        found: frozenset[str],
        originals: pl.Series | None = None,
    ) -> Parcel:
        """What the drop holds, without its bytes."""
        return Parcel(
            drop=self.drop,
            layout=self.layout,
            wanted=self.wanted,
            bytes=len(self.content),
            fingerprint=hashlib.sha256(self.content).hexdigest(),
            delivered=delivered,
            rows=rows,
            lines=lines,
            broken=broken,
            found=found,
            originals=originals,
        )

    def refusal(self, fault: str, expected: str, remedy: str) -> UnreadableDrop:
        """The error that refuses this drop."""
        return refusal(self.drop, fault, expected, remedy)

    def too_large(self) -> UnreadableDrop:
        """The error that refuses a drop that would unpack to more than it may."""
        return too_large(self.drop, self.most_bytes)

    def require_room(self, rows: int) -> None:
        """Refuse a file of more rows than there is room for.

        Raises:
            UnreadableDrop: It holds more.
        """
        if rows * BYTES_A_ROW > self.most_bytes:
            raise self.too_large()

    def require_columns(self, found: Collection[str]) -> None:
        """Refuse a file that lacks a required column.

        The message leaves out the names found: in a file without a header line they are a
        person's.

        Raises:
            UnreadableDrop: A required column is missing.
        """
        names = [name for column, name in self.wanted.items() if column in self.required]
        if missing := [name for name in names if name not in found]:
            raise self.refusal(
                f"required columns are missing: {', '.join(missing)}",
                f"them among the {len(found)} columns found",
                "Deliver them, or name the delivered columns under `columns` in the feed's defs.yaml; a wrong"
                " delimiter or encoding or a missing header line looks the same.",
            )

    def decoded(self) -> tuple[str, bool]:
        """The content as text, and whether some bytes are not of the layout's encoding: `UNDECODED` stands for them.

        Raises:
            UnreadableDrop: It is compressed and damaged, or unpacks to too much.
        """
        plain, encoding = self._plain(), self.layout.encoding
        try:
            text, damaged = plain.decode(encoding), False
        except UnicodeError:
            text, damaged = plain.decode(encoding, errors="replace"), True
        return text.removeprefix("\N{BYTE ORDER MARK}"), damaged

    @property
    def encoding_reason(self) -> str:
        """Why a row with `UNDECODED` in it is rejected."""
        return f"expected text in the encoding {self.layout.encoding}"

    def _plain(self) -> bytes:
        if self.drop.format != "csv.gz":
            return self.content
        try:
            with gzip.open(io.BytesIO(self.content)) as file:
                plain = file.read(self.most_bytes + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise self.refusal("it cannot be decompressed", "a whole gzip file", "Deliver it again.") from error
        if len(plain) > self.most_bytes:
            raise self.too_large()
        return plain


def as_json(rows: pl.DataFrame) -> pl.Series:
    """Each row as a JSON object of its columns, named `content`.

    Bytes become base64, times outside the calendar numbers; a column that JSON has no notation for is left out.
    """
    columns = [_notation(rows, name) for name, kind in rows.schema.items() if _has_json(kind)]
    if not columns:
        return pl.repeat("{}", rows.height, dtype=pl.String, eager=True).alias("content")
    return rows.select(content=pl.struct(columns).struct.json_encode())["content"]


def _notation(rows: pl.DataFrame, name: str) -> pl.Expr:
    kind, column = rows.schema[name], pl.col(name)
    if isinstance(kind, pl.Binary):
        return column.bin.encode("base64")
    if isinstance(kind, pl.Date | pl.Datetime):
        told = rows.select(column.is_not_null() & in_calendar(column, kind).is_null()).to_series().not_().all()
        return column if told else column.to_physical()
    return column


def _has_json(kind: pl.DataType | DataTypeClass, *, inside: bool = False) -> bool:
    if isinstance(kind, pl.List | pl.Array):
        return _has_json(kind.inner, inside=True)
    if isinstance(kind, pl.Struct):
        return all(_has_json(inner, inside=True) for inner in kind.to_schema().values())
    plain = isinstance(kind, pl.String | pl.Categorical | pl.Enum | pl.Boolean | pl.Null)
    return plain or kind.is_numeric() or (not inside and (kind.is_temporal() or isinstance(kind, pl.Binary)))
