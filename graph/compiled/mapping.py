"""How a GraphQL field is read in SQL: declared beside the field, used by the compiler and by its resolver."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import strawberry
from graphql import GraphQLField
from sqlalchemy import ColumnElement, Text
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

from db.rows import Ordered, Rows, Slot

SQL = "sql"
"""The key of a field's mapping in its metadata."""


ONCE = "once"
"""The key that tells of a root field that one statement reads it, but for what has resolvers of its own."""


class NotCompilableError(Exception):
    """The operation, or its arguments, are for the executor."""


class Plain(Text):
    """The type of texts in which JSON escapes no character: dates, numbers, names that the code knows."""


@dataclass(frozen=True, slots=True)
class Row(Mapping[str, ColumnElement[Any]]):
    """A row in scope: its columns by name. What is asked for is remembered, so that nothing else is selected."""

    columns: Mapping[str, ColumnElement[Any]]
    used: set[str] = field(default_factory=set)
    prefix: str = ""

    def __getitem__(self, name: str) -> ColumnElement[Any]:
        """Return a column; raises NotCompilableError when there is none of the name."""
        full = self.prefix + name
        if full not in self.columns:
            raise NotCompilableError(f"there is no column {full}")
        self.used.add(full)
        return self.columns[full]

    def __iter__(self) -> Iterator[str]:
        """Give the columns' names."""
        return (name.removeprefix(self.prefix) for name in self.columns if name.startswith(self.prefix))

    def __len__(self) -> int:
        """Return how many columns there are."""
        return sum(1 for _ in self)

    def part(self, prefix: str) -> "Row":
        """Return the columns whose names begin so, without that."""
        return Row(self.columns, self.used, self.prefix + prefix)

    def whole(self) -> "Row":
        """Return all columns again."""
        return Row(self.columns, self.used)


Read = Callable[..., Any]
"""Makes a field's request of its arguments, by their Python names; raises a GraphQLError when they are no good.

A request is a frozen dataclass. Its strings, numbers and tuples become parameters; whether they are given, and its
booleans, enums and `FIXED` fields, are the statement's shape.
"""


@dataclass(frozen=True, slots=True)
class Value:
    """A leaf: a column, or an expression of the row."""

    sql: Callable[[Row, Any], ColumnElement[Any]]
    read: Read | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """An object made of columns of the row; null where it does not exist."""

    row: Callable[[Row], Row]
    exists: Callable[[Row], ColumnElement[bool]] | None = None


@dataclass(frozen=True, slots=True)
class One:
    """The object of another row, of which there is at most one; null when there is none."""

    rows: Callable[[Row, Any], Rows]
    read: Read | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A list of objects. When its request has `first`, no more are listed, and that it was cut is told."""

    rows: Callable[[Row, Any], Ordered]
    read: Read | None = None
    exists: Callable[[Row], ColumnElement[bool]] | None = None


@dataclass(frozen=True, slots=True)
class Walked:
    """A list made of the one row that a walk ends in, and the bounds that may have cut it."""

    around: Callable[[Any], Rows]
    rows: Callable[[Row, Any], Rows]
    cuts: Callable[[Row, Any], Sequence[tuple[ColumnElement[bool], int | Slot]]]
    read: Read


class PageRequest(Protocol):
    """What a page needs of its request."""

    @property
    def first(self) -> int | Slot:
        """How many entries."""

    @property
    def is_backward(self) -> bool:
        """Whether the rows come in the list's reverse order."""

    @property
    def has_cursor(self) -> bool:
        """Whether it goes on from a cursor."""


@dataclass(frozen=True, slots=True)
class Page:
    """A connection: its rows, their cursors and, where SQL can tell, their number on all pages."""

    rows: Callable[[Row, Any], Ordered]
    cursor: Callable[[Row, Any], ColumnElement[Any]]
    count: Callable[[Row, Any], Rows] | None
    read: Read


Mapped = Value | Part | One | Listed | Walked | Page

WITHIN_PAGE = Part(Row.whole)
"""The mapping of a connection's fields, which are all made of its page."""


def mapped(resolver: Callable[..., Any], description: str, sql: Mapped, *, reads_once: bool = False) -> Any:
    """Make a field with a resolver and its twin in SQL, where the annotation names the GraphQL type."""
    return strawberry.field(resolver=resolver, description=description, metadata={SQL: sql, ONCE: reads_once})


def column(name: str, description: str) -> Any:
    """Make a field of a column of another name."""

    def resolve(root: strawberry.Parent[Any]) -> Any:
        return getattr(root, name)

    return mapped(resolve, description, Value(lambda row, _: row[name]))


def own_field(definition: GraphQLField | None) -> StrawberryField | None:
    """Return the field of Strawberry that a field of GraphQL was made from."""
    own = (definition.extensions or {}).get(GraphQLCoreConverter.DEFINITION_BACKREF) if definition else None
    return own if isinstance(own, StrawberryField) else None
