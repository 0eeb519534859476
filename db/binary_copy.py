"""PostgreSQL's binary COPY format: rows are written in any process, and only forwarded by the one that is connected.

A row is the number of its columns, and for each column its length and value; see "Binary Format" at
https://www.postgresql.org/docs/current/sql-copy.html.
"""

from collections.abc import Callable, Iterator, Sequence
from struct import Struct
from typing import Any

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

Writer = Callable[[Any], bytes]

_NULL = b"\xff\xff\xff\xff"
_LENGTH, _WIDTH = Struct(">i"), Struct(">h")
_INT8, _INT4, _INT2, _FLOAT4, _JSONB = Struct(">iq"), Struct(">ii"), Struct(">ih"), Struct(">if"), Struct(">ib")
_NUMBER = Struct(">hiq")
# Dimensions, whether there are nulls, the elements' type; then of the one dimension its size and first index.
_ARRAY, _DIMENSION = Struct(">iiii"), Struct(">ii")


def _fixed(form: Struct) -> Writer:
    length, pack = form.size - _LENGTH.size, form.pack
    return lambda value: _NULL if value is None else pack(length, value)


def _bool(value: Any) -> bytes:
    return _NULL if value is None else b"\0\0\0\1\1" if value else b"\0\0\0\1\0"


def _text(value: str | None) -> bytes:
    if value is None:
        return _NULL
    encoded = value.encode()
    return _LENGTH.pack(len(encoded)) + encoded


def _jsonb(value: str | None) -> bytes:
    if value is None:
        return _NULL
    encoded = value.encode()
    return _JSONB.pack(len(encoded) + 1, 1) + encoded


def _array(element_oid: int, write: Writer) -> Writer:
    empty = _ARRAY.pack(_ARRAY.size - _LENGTH.size, 0, 0, element_oid)

    def write_array(values: Any) -> bytes:
        if not values:
            return _NULL if values is None else empty
        elements = b"".join(map(write, values))
        length = _ARRAY.size - _LENGTH.size + _DIMENSION.size + len(elements)
        return _ARRAY.pack(length, 1, 0, element_oid) + _DIMENSION.pack(len(values), 1) + elements

    return write_array


_int8 = _fixed(_INT8)
WRITERS: dict[str, Writer] = {
    "bigint": _int8,
    "integer": _fixed(_INT4),
    "smallint": _fixed(_INT2),
    "real": _fixed(_FLOAT4),
    "boolean": _bool,
    "text": _text,
    "jsonb": _jsonb,
    "bigint[]": _array(20, _int8),
    "text[]": _array(25, _text),
    # An enum's label.
    "entity_kind": _text,
    "relationship_type": _text,
}
"""How a value of an SQL type is written; JSON is given as text."""


def row_writer(types: Sequence[str]) -> Callable[[Sequence[Any]], bytes]:
    """Make what writes a row of columns of these SQL types."""
    width, writers = _WIDTH.pack(len(types)), [WRITERS[name] for name in types]
    return lambda values: width + b"".join([write(value) for write, value in zip(writers, values, strict=True)])


def numbered_rows(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the rows that were written one after the other, each with its first column, a bigint."""
    start = 0
    while start < len(data):
        width, _, number = _NUMBER.unpack_from(data, start)
        end = start + _WIDTH.size
        for _ in range(width):
            (length,) = _LENGTH.unpack_from(data, end)
            end += _LENGTH.size + max(0, length)
        yield number, data[start:end]
        start = end
