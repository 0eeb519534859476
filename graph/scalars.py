"""Scalars that GraphQL lacks, and enums of the database with a description for every value."""

from enum import Enum
from typing import NewType, TypeVar

import strawberry
from strawberry.types.enum import StrawberryEnumDefinition
from strawberry.types.scalar import ScalarDefinition

from db.dates import MAX_YEAR, HistoricalDate
from db.models.atlas import Kind, RelationshipType
from graph.errors import bad_input

Date = NewType("Date", HistoricalDate)
Year = NewType("Year", int)
BigInt = NewType("BigInt", int)

MAX_SAFE_INTEGER = 2**53 - 1

E = TypeVar("E", bound=type[Enum])
T = TypeVar("T")


def _write_date(value: object) -> str:
    return value.isoformat() if isinstance(value, HistoricalDate) else str(value)


def _read_date(value: object) -> HistoricalDate:
    if not isinstance(value, str):
        raise bad_input(f'{value!r} is not a date: give a string such as "-0383-01-01"')
    return HistoricalDate.parse(value)


def _read_year(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_YEAR:
        raise bad_input(f"{value!r} is not a year: give a whole number from {-MAX_YEAR} to {MAX_YEAR}")
    return value


def _read_integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_SAFE_INTEGER:
        raise bad_input(f"{value!r} is not a whole number of at most 53 bits")
    return value


SCALARS: dict[object, ScalarDefinition] = {
    Date: strawberry.scalar(
        name="Date",
        description=(
            "A day in extended ISO 8601 with an astronomical year: `1844-10-15`, `-0383-01-01` for 384 BCE (1 BCE is"
            " `0000`, 2 BCE is `-0001`). What is known less well is written with `01`: read `precision` beside it."
        ),
        specified_by_url="https://en.wikipedia.org/wiki/ISO_8601#Years",
        serialize=_write_date,
        parse_value=_read_date,
    ),
    Year: strawberry.scalar(
        name="Year",
        description="An astronomical year as a whole number: 1844, 0 for 1 BCE, -383 for 384 BCE, -13800000000.",
        serialize=int,
        parse_value=_read_year,
    ),
    BigInt: strawberry.scalar(
        name="BigInt",
        description="A whole number beyond the 32 bits of Int; exact as a JavaScript number.",
        serialize=int,
        parse_value=_read_integer,
    ),
}


def described(enum: E, name: str, description: str, values: dict[str, str]) -> E:
    """Make a Python enum GraphQL's, under a name and with a description for each of its members."""
    made = strawberry.enum(enum, name=name, description=description)
    definition: StrawberryEnumDefinition = made.__strawberry_definition__  # type: ignore[attr-defined]
    for value in definition.values:
        value.description = values[value.name]
    return made


def given(value: T) -> T | None:
    """Return an optional argument's value, None when it was left out."""
    return None if value is strawberry.UNSET else value


def given_items(values: list[T | None] | None) -> list[T] | None:
    """Return a list argument without its nulls; None when it was left out or holds nothing else."""
    return [value for value in given(values) or () if value is not None] or None


described(
    Kind,
    "Kind",
    "What an entity is.",
    {
        "AGENT": "A person or group: a philosopher, an inventor, a school. Its type is `Agent`.",
        "WORK": "Something made: a book, a painting, a machine. Its type is `Work`.",
        "CONCEPT": "An idea, a field or a skill. Its type is `Concept`.",
    },
)
described(
    RelationshipType,
    "RelationshipType",
    "What an edge says. Its source is always the earlier or enabling side, its target the later or dependent one.",
    {
        "INFLUENCED": "The source influenced the target: Schopenhauer INFLUENCED Nietzsche.",
        "PREREQUISITE_FOR": "The source must be learnt before the target.",
        "BUILT_ON": "The target was built on the source, or uses it.",
        "ASSOCIATED_WITH": "The source is associated with the target: a person with a field of work.",
        "DERIVED_FROM": "The target was derived from the source: a translation, an adaptation.",
        "PART_OF": "The source is a part of the target.",
        "TAUGHT": "The source taught the target.",
        "INVENTED_BY": "The target was invented, discovered, developed or founded by the source.",
        "SUCCEEDED_BY": "The source was followed or replaced by the target.",
        "CAUSED": "The source caused the target.",
        "NAMED_AFTER": "The target was named after the source.",
    },
)
