"""How much a Parquet file unpacks to, told by the headers of its pages before any page is unpacked.

The footer cannot be trusted with that: it may be damaged, and a page of a few bytes may hold millions of values.
Headers are Thrift structures in the compact protocol
(https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md), laid out as
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

_UNPACKED, _PACKED, _DATA, _DICTIONARY, _DATA_V2 = 2, 3, 5, 7, 8
_VALUES, _ENCODING, _ENCODING_V2 = 1, 2, 4
_PREFIXED = 7
"""The encoding in which a value is a part of the one before it, and something more."""
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8, "BYTE_ARRAY": 16}
_MOST_PAGES, _DEEPEST = 1_000_000, 16


class DamagedPages(ValueError):
    """Pages lie elsewhere, or hold other numbers of values, than the footer says."""


@dataclass(frozen=True)
class Column:
    """What the pages of one column hold, over all row groups."""

    name: str
    nested: bool
    values: int
    """Nulls among them."""
    unpacked: int
    """Bytes of its pages, once they are decompressed."""
    longest: int
    """A text meant by reference, or built upon the one before it, is at most so long; 0 where there is none."""
    prefixed: bool
    """Whether texts are built upon those before them."""
    width: int
    """Bytes that a value takes in memory, and a text besides its letters."""

    @property
    def at_least(self) -> int:
        """Bytes it takes in memory at least: what is written once is held once."""
        return max(self.unpacked, self.values * self.width)

    @property
    def at_most(self) -> int:
        """Bytes it takes in memory at most."""
        return self.at_least + self.values * self.longest


def columns_of(content: bytes, footer: Any) -> list[Column]:
    """What each column's pages hold.

    Raises:
        DamagedPages: They are not where the footer says, or hold other numbers of rows.
    """
    schema = footer.schema
    found: list[Column] = []
    pages = 0
    for at in range(footer.num_columns):
        leaf: Any = schema.column(at)
        flat = leaf.max_repetition_level == 0
        values = unpacked = longest = 0
        prefixed = False
        for number in range(footer.num_row_groups):
            group = footer.row_group(number)
            chunk = _pages(content, group.column(at), _MOST_PAGES - pages)
            if flat and chunk.values != group.num_rows:
                raise DamagedPages("a column's pages hold another number of rows than the footer says")
            values += chunk.values
            unpacked += chunk.unpacked
            longest = max(longest, chunk.longest)
            prefixed |= chunk.prefixed
            pages += chunk.pages
        is_text = leaf.physical_type == "BYTE_ARRAY"
        width = leaf.length if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY" else _WIDTHS[leaf.physical_type]
        nested = not flat or leaf.path != leaf.name
        found.append(Column(leaf.path, nested, values, unpacked, longest if is_text else 0, prefixed, width))
    return found


@dataclass(frozen=True)
class _Chunk:
    pages: int
    values: int
    unpacked: int
    longest: int
    prefixed: bool


def _pages(content: bytes, chunk: Any, most: int) -> _Chunk:
    """Walk over a column's pages in one row group."""
    offsets = [chunk.data_page_offset]
    if chunk.has_dictionary_page and chunk.dictionary_page_offset is not None:
        offsets.append(chunk.dictionary_page_offset)
    at = min(offsets)
    end = at + chunk.total_compressed_size
    if not 0 <= at <= end <= len(content):
        raise DamagedPages("a column lies outside the file")
    pages = values = unpacked = longest = 0
    prefixed = False
    while at < end and values < chunk.num_values:
        try:
            header, at = _struct(content, at, 0)
            packed, size = cast("int", header[_PACKED]), cast("int", header[_UNPACKED])
        except (IndexError, KeyError, TypeError) as error:
            raise DamagedPages("a page has no header") from error
        if min(packed, size) < 0 or at + packed > end:
            raise DamagedPages("a page lies outside its column")
        at += packed
        pages += 1
        unpacked += size
        data = _part(header, _DATA) or _part(header, _DATA_V2)
        if _DICTIONARY in header:
            longest = max(longest, size)
        elif data:
            held = data.get(_VALUES)
            if not isinstance(held, int) or held < 0:
                raise DamagedPages("a page holds no number of values")
            values += held
            if data.get(_ENCODING if _DATA in header else _ENCODING_V2) == _PREFIXED:
                longest, prefixed = max(longest, size), True
        if pages > most:
            raise DamagedPages(f"there are more than {_MOST_PAGES} pages")
    return _Chunk(pages, values, unpacked, longest, prefixed)


def _part(header: dict[int, object], field: int) -> dict[int, object] | None:
    part = header.get(field)
    return cast("dict[int, object]", part) if isinstance(part, dict) else None


def _struct(data: bytes, at: int, depth: int) -> tuple[dict[int, object], int]:
    """A Thrift structure as field -> number or structure, and where it ends."""
    fields: dict[int, object] = {}
    field = 0
    if depth > _DEEPEST:
        raise DamagedPages("a page's header is nested too deep")
    while kind := data[at]:
        at += 1
        if kind >> 4:
            field += kind >> 4
        else:
            field, at = _zigzag(data, at)
        fields[field], at = _value(data, at, kind & 15, depth)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[object, int]:
    match kind:
        case 1 | 2:
            return kind == 1, at
        case 3:
            return data[at], at + 1
        case 4 | 5 | 6:
            return _zigzag(data, at)
        case 7:
            return None, at + 8
        case 8:
            length, at = _varint(data, at)
            return None, at + length
        case 12:
            return _struct(data, at, depth + 1)
        case _:  # lists, sets and maps do not occur in a page's header
            raise DamagedPages("a page's header holds what no page's header does")


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    number, at = _varint(data, at)
    return (number >> 1) ^ -(number & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
    raise DamagedPages("a page's header holds a number without an end")
