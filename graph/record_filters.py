"""Filters of records as a client gives them, checked and turned into the database's."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import strawberry
from strawberry.scalars import JSON

from db.record_filters import AllOf, AnyOf, AttributeTest, ColumnTest, Not, Operator, RecordFilter
from graph.errors import bad_input, check_text

MAX_TESTS = 50
MAX_NESTING = 10
MAX_VALUES = 100
MAX_STEPS = 10
MAX_JSON_CHARACTERS = 2_000

_DOT = re.compile(r"(?<!\\)\.")


def _test(description: str, name: str | None = None) -> Any:
    return strawberry.field(name=name, default=strawberry.UNSET, description=description)


@strawberry.input(description="What a text must be. All that you give must hold.")
class TextFilter:
    """Tests of a text."""

    eq: str | None = _test("To be exactly this.")
    in_: list[str] | None = _test("To be exactly one of these, up to 100.", "in")
    contains: str | None = _test("To hold this anywhere, in any case. Without a source it reads many records.")
    starts_with: str | None = _test("To begin exactly so.")
    is_null: bool | None = _test("To be missing (true) or to be there (false).")


@strawberry.input(description="What a number must be. All that you give must hold.")
class NumberFilter:
    """Tests of a number."""

    eq: float | None = _test("To be this.")
    lt: float | None = _test("To be less than this.")
    lte: float | None = _test("To be this or less.")
    gt: float | None = _test("To be more than this.")
    gte: float | None = _test("To be this or more.")
    is_null: bool | None = _test("To be missing (true) or to be there (false).")


@strawberry.input(description="When something must be. All that you give must hold. Without an offset, times are UTC.")
class TimeFilter:
    """Tests of a time."""

    eq: datetime | None = _test("To be at this very time.")
    lt: datetime | None = _test("To be before this.")
    lte: datetime | None = _test("To be at this time or before.")
    gt: datetime | None = _test("To be after this.")
    gte: datetime | None = _test("To be at this time or after.")
    is_null: bool | None = _test("To be missing (true) or to be there (false).")


@strawberry.input(description="What must stand at a path in a record's attributes. All that you give must hold.")
class AttributeFilter:
    """Tests of a value in the attributes."""

    path: str = strawberry.field(
        description='The names on the way to the value, joined by dots: "address.city", "tags.0". A dot within a name'
        r' is written "\\.".'
    )
    eq: JSON | None = _test("To be this: a text, a number, a boolean, null, a list or an object. 1 equals 1.0.")
    in_: list[JSON] | None = _test("To be one of these, up to 100.", "in")
    contains: JSON | None = _test(
        "A text to hold this text, in any case; a list to hold this entry; an object to hold these members."
    )
    lt: JSON | None = _test("To be less than this: a number among numbers, or a text before this text, such as a date.")
    lte: JSON | None = _test("To be this or less.")
    gt: JSON | None = _test("To be more than this.")
    gte: JSON | None = _test("To be this or more.")
    exists: bool | None = _test("To be there, be it null (true), or not to be there (false).")


@strawberry.input(
    description="What records must have. All that you give must hold; 50 tests at most.", name="RecordFilter"
)
class RecordFilterInput:
    """GraphQL's view of `RecordFilter`."""

    external_id: TextFilter | None = strawberry.field(
        default=None, name="sourceId", description="What the id in the source must be."
    )
    title: TextFilter | None = strawberry.field(default=None, description="What the title must be.")
    description: TextFilter | None = strawberry.field(default=None, description="What the description must be.")
    value: NumberFilter | None = strawberry.field(default=None, description="What the value must be.")
    created_at: TimeFilter | None = strawberry.field(default=None, description="When it was created in its source.")
    updated_at: TimeFilter | None = strawberry.field(default=None, description="When it was last updated there.")
    attributes: list[AttributeFilter] | None = strawberry.field(
        default=None, description="What the attributes must have; all of these must hold."
    )
    and_: list["RecordFilterInput"] | None = strawberry.field(
        default=None, name="and", description="Further filters, all of which must hold."
    )
    or_: list["RecordFilterInput"] | None = strawberry.field(
        default=None, name="or", description="Filters, at least one of which must hold."
    )
    not_: "RecordFilterInput | None" = strawberry.field(
        default=None, name="not", description="A filter that must not hold; what is missing does not hold."
    )


def read_filter(given: RecordFilterInput) -> RecordFilter:
    """Return what a filter asks of the database; raises RequestError."""
    return _Reader().read(given, "filter", 1)


class _Reader:
    """Reads one filter; counts its tests, that they stay few."""

    def __init__(self) -> None:
        self._tests = 0

    def read(self, given: RecordFilterInput, where: str, depth: int) -> RecordFilter:
        if depth > MAX_NESTING:
            raise bad_input(f"{where} is nested {depth} deep: nest filters at most {MAX_NESTING} deep")
        self._count(where)
        parts: list[RecordFilter] = []
        for column in ("external_id", "title", "description", "value", "created_at", "updated_at"):
            if (tests := getattr(given, column)) is not None:
                parts += self._column_tests(column, tests, f"{where}.{_camel(column)}")
        for number, attribute in enumerate(given.attributes or ()):
            parts += self._attribute_tests(attribute, f"{where}.attributes[{number}]")
        parts += (self.read(one, f"{where}.and[{place}]", depth + 1) for place, one in enumerate(given.and_ or ()))
        if given.or_ is not None:
            if not given.or_:
                raise bad_input(f"{where}.or is []: give at least one filter, or leave it out")
            choices = [self.read(one, f"{where}.or[{place}]", depth + 1) for place, one in enumerate(given.or_)]
            parts.append(AnyOf(tuple(choices)))
        if given.not_ is not None:
            parts.append(Not(self.read(given.not_, f"{where}.not", depth + 1)))
        return AllOf(tuple(parts))

    def _count(self, where: str) -> None:
        self._tests += 1
        if self._tests > MAX_TESTS:
            raise bad_input(f"{where} is one test too many: give at most {MAX_TESTS}, nested filters counted")

    def _column_tests(self, column: str, given: object, where: str) -> Iterator[ColumnTest]:
        for operator, value in _given_tests(given):
            self._count(where)
            yield ColumnTest(column, operator, check_value(f"{where}.{operator}", value))

    def _attribute_tests(self, given: AttributeFilter, where: str) -> Iterator[AttributeTest]:
        path = _read_path(f"{where}.path", given.path)
        tests = list(_given_tests(given))
        if not tests:
            raise bad_input(f"{where} tests nothing at {given.path[:60]!r}: give eq, in, contains, lt, gt or exists")
        for operator, value in tests:
            self._count(where)
            yield AttributeTest(path, operator, _read_operand(f"{where}.{operator}", operator, value))


def _given_tests(given: Any) -> Iterator[tuple[Operator, Any]]:
    for field in fields(given):
        value = getattr(given, field.name)
        # Only in JSON is null a value.
        is_null = value is None and not (isinstance(given, AttributeFilter) and field.name == "eq")
        if field.name != "path" and value is not strawberry.UNSET and not is_null:
            yield Operator(_camel(field.name)), value


def _camel(name: str) -> str:
    first, *rest = ("sourceId" if name == "external_id" else name.rstrip("_")).split("_")
    return first + "".join(word.capitalize() for word in rest)


def check_value(where: str, value: Any) -> Any:
    """Return a value that a column can be compared with; raises RequestError for any other."""
    if isinstance(value, list):
        _check_length(where, value)
        return tuple(check_value(where, one) for one in value)
    if isinstance(value, str):
        return check_text(where, value)
    if isinstance(value, float) and not math.isfinite(value):
        raise bad_input(f"{where} is {value}: give a number")
    return _in_utc(where, value) if isinstance(value, datetime) else value


def _in_utc(where: str, value: datetime) -> datetime:
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise bad_input(f"{where} is {value.isoformat()}: give a time from the years 1 to 9999 in UTC") from None


def _check_length(where: str, values: list[Any]) -> None:
    if len(values) > MAX_VALUES:
        raise bad_input(f"{where} has {len(values)} entries: give at most {MAX_VALUES}")


def _read_path(where: str, path: str) -> tuple[str, ...]:
    check_text(where, path)
    steps = tuple(step.replace("\\.", ".") for step in _DOT.split(path))
    if len(steps) > MAX_STEPS:
        raise bad_input(f"{where} {path[:60]!r} has {len(steps)} names: give at most {MAX_STEPS}")
    if not all(steps):
        raise bad_input(f'{where} is {path[:60]!r}: give names joined by single dots, such as "address.city"')
    return steps


def _read_operand(where: str, operator: Operator, value: Any) -> Any:
    if operator is Operator.EXISTS:
        return value
    if operator is Operator.IN:
        _check_length(where, value)
        return tuple(_json_text(where, one) for one in value)
    is_ordered = isinstance(value, int | float | str) and not isinstance(value, bool)
    if operator not in (Operator.EQ, Operator.CONTAINS) and not is_ordered:
        raise bad_input(f"{where} is {_shown(value)}: give a number or a text")
    return _json_text(where, value)


def _json_text(where: str, value: Any) -> str:
    """Write JSON that PostgreSQL can read; raises RequestError when it cannot."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        raise bad_input(f"{where} is {_shown(value)}: give JSON, whose numbers are finite") from None
    if len(text) > MAX_JSON_CHARACTERS:
        raise bad_input(f"{where} has {len(text)} characters as JSON: give at most {MAX_JSON_CHARACTERS}")
    _check_json_texts(where, value)
    return text


def _check_json_texts(where: str, value: Any) -> None:
    if isinstance(value, str):
        check_text(where, value)
    elif isinstance(value, list):
        for one in value:
            _check_json_texts(where, one)
    elif isinstance(value, dict):
        for name, one in value.items():
            check_text(where, name)
            _check_json_texts(where, one)


def _shown(value: Any) -> str:
    try:
        return repr(value)[:60]
    except (ValueError, RecursionError):
        return type(value).__name__
