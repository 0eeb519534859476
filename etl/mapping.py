"""From a row of any source to a record's columns, by the mapping in the file of sources. Pure."""

import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import orjson

from etl.source import RowError
from etl.source_config import Column, FieldType, RecordMapping

COLUMN_TYPES: dict[str, FieldType] = {
    "title": "text",
    "value": "number",
    "description": "text",
    "created_at": "timestamp",
    "updated_at": "timestamp",
}
"""The columns of `record` that a field may fill, and what they hold."""

RECORD_COLUMNS = ("external_id", *COLUMN_TYPES, "attributes")
"""The columns of `record` that a mapped row has, in the order of its values."""

MAX_ID_CHARACTERS = 500
MILLISECONDS_FROM = 100_000_000_000
"""Unix times from here on are milliseconds: as seconds they would be in the year 5138 and later."""

_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*")
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_BOOLEANS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}

Convert = Callable[[Any], Any]


class Mapper:
    """Maps the rows of one source."""

    def __init__(self, mapping: RecordMapping, types: Mapping[str, FieldType]) -> None:
        self._ids = mapping.id
        columns = columns_of(mapping)
        self._columns = tuple(_reader(columns.get(name), kind) for name, kind in COLUMN_TYPES.items())
        taken = {column.path for column in columns.values()} | (set(mapping.id) if len(mapping.id) == 1 else set())
        self._taken = frozenset(taken)
        self._types = tuple((path, _CONVERTS[kind]) for path, kind in types.items())

    def values(self, row: Any, payload: str) -> tuple[Any, ...]:
        """Return the values of RECORD_COLUMNS; raises RowError with the field, its value and what was expected."""
        if not isinstance(row, dict):
            raise RowError(f"expected an object with fields, not {_type_name(row)}", value=payload[:200])
        external_id = self.external_id(row, payload)
        columns = [read(row) if read else None for read in self._columns]
        for path, convert in self._types:
            _replace(row, path, convert)
        taken = self._taken
        rest = {name: value for name, value in row.items() if name not in taken} if taken else row
        return (external_id, *columns, _json_text(rest))

    def external_id(self, row: Mapping[str, Any], payload: str) -> str:
        """Return the id of a row in its source: a field, several joined by "/" (RFC 6901), or a hash of all it has."""
        if not self._ids:
            return hashlib.blake2b(payload.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        if len(self._ids) == 1:
            found = _id_part(row, self._ids[0])
        else:
            found = "/".join(_id_part(row, path).replace("~", "~0").replace("/", "~1") for path in self._ids)
        if len(found) > MAX_ID_CHARACTERS:
            raise RowError(f"the id has {len(found)} characters, more than {MAX_ID_CHARACTERS}", value=found[:200])
        return found


def columns_of(mapping: RecordMapping) -> dict[str, Column]:
    """Return the columns of `record` that a mapping fills, by name, and what each is filled from."""
    columns = (mapping.title, mapping.value, mapping.description, mapping.created, mapping.updated)
    return {name: column for name, column in zip(COLUMN_TYPES, columns, strict=True) if column is not None}


def look_up(row: Mapping[str, Any], path: str) -> Any:
    """Return the value at a path, None when there is none."""
    if path in row:
        return row[path]
    found: Any = row
    for part in path.split("."):
        if isinstance(found, Mapping):
            found = found.get(part)
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            return None
    return found


def _id_part(row: Mapping[str, Any], path: str) -> str:
    value = look_up(row, path)
    if value is None or value == "":
        raise RowError("the row has no id", path)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RowError(f"expected a text or a number as id, not {_type_name(value)}", path, value)
    return _checked_text(str(value), path)


def _reader(column: Column | None, default: FieldType) -> Callable[[Mapping[str, Any]], Any] | None:
    """Make the function that reads a column's value from a row."""
    if column is None:
        return None
    path, is_nested = column.path, "." in column.path
    convert = _dated(column.format) if column.format else _CONVERTS[default]
    declared = _CONVERTS[column.type] if column.type and column.type != default and not column.format else None

    def read(row: Mapping[str, Any]) -> Any:
        value = look_up(row, path) if is_nested else row.get(path)
        if value is None or value == "":
            return None
        try:
            return convert(value if declared is None else declared(value))
        except RowError as error:
            raise RowError(error.reason, path, value) from error

    return read


def _replace(row: dict[str, Any], path: str, convert: Convert) -> None:
    """Convert the value at a path where it stands, if there is one."""
    holder: Any = row
    name = path
    if path not in row:
        above, _, name = path.rpartition(".")
        holder = look_up(row, above) if above else None
    if not isinstance(holder, dict) or holder.get(name) is None:
        return
    value = holder[name]
    try:
        converted = None if value == "" else convert(value)
    except RowError as error:
        raise RowError(error.reason, path, value) from error
    holder[name] = converted.isoformat() if isinstance(converted, date) else converted


def _text(value: Any) -> str:
    if isinstance(value, str):
        return _checked_text(value, None)
    return _json_text(value)


def _checked_text(value: str, path: str | None) -> str:
    if "\0" in value:
        raise RowError("holds a NUL character, which no text may", path, value.replace("\0", "\\u0000")[:200])
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise RowError("is not valid Unicode", path, ascii(value)[:200]) from error
    return value


def _number(value: Any) -> float:
    try:
        # Python reads "1_000" too, which no other program writes.
        number = math.nan if isinstance(value, bool) or (isinstance(value, str) and "_" in value) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise RowError("expected a finite number")
    return number


def _integer(value: Any) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return _whole(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise RowError("expected an integer")
    return int(value)


def _whole(digits: str) -> int:
    try:
        return int(digits)
    except ValueError as error:
        # Python reads 4,300 digits at most: its time grows with their square.
        raise RowError(f"expected a number of {sys.get_int_max_str_digits()} digits at most") from error


def _attribute_number(value: Any) -> int | float:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return _whole(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else _number(value)


def _boolean(value: Any) -> bool:
    found = _BOOLEANS.get(str(value).strip().lower())
    if found is None:
        raise RowError("expected true or false (or yes, no, 1, 0)")
    return found


def _timestamp(value: Any) -> datetime:
    """Read ISO 8601, or the seconds or milliseconds since 1970; what names no time zone is UTC."""
    try:
        if isinstance(value, str):
            return _in_utc(datetime.fromisoformat(value.strip()))
        if not isinstance(value, bool) and isinstance(value, int | float):
            return datetime.fromtimestamp(value / 1000 if abs(value) >= MILLISECONDS_FROM else value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise RowError("expected a date or time such as 2024-05-17T08:30:00Z, or give its `format`")


def _dated(date_format: str) -> Convert:
    def convert(value: Any) -> datetime:
        try:
            return _in_utc(datetime.strptime(str(value).strip(), date_format))
        except (ValueError, OverflowError) as error:
            raise RowError(f"expected a date or time written {date_format}") from error

    return convert


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _date(value: Any) -> date:
    return _timestamp(value).date()


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise RowError(f"expected JSON: {error}") from error


_CONVERTS: dict[FieldType, Convert] = {
    "text": _text,
    "integer": _integer,
    "number": _attribute_number,
    "boolean": _boolean,
    "date": _date,
    "timestamp": _timestamp,
    "json": _json,
}


def _json_text(value: Any) -> str:
    """Write JSON that jsonb takes; raises RowError where it does not."""
    try:
        written = orjson.dumps(value).decode()
    except TypeError:
        written = _long_numbers(value)
    if "\\u0000" in written and _NUL.search(written):
        raise RowError("holds a NUL character, which no text may", value=written[:200])
    return written


def _long_numbers(value: Any) -> str:
    # orjson refuses integers beyond 64 bits, lone surrogates and nesting beyond 254; the first are fine in jsonb.
    try:
        written = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        written.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise RowError(f"cannot be written as JSON: {error}", value=ascii(value)[:200]) from error
    return written


def _type_name(value: Any) -> str:
    return TYPE_NAMES.get(type(value), type(value).__name__)


TYPE_NAMES: dict[type, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
    list: "list",
    dict: "object",
}
"""How the types of parsed JSON are called."""
