"""Lists as SQL: the same definition is batched for many parents by a loader and nested in a compiled operation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, ClassVar, Protocol, TypeGuard

import asyncpg
import orjson
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Select,
    Table,
    Text,
    UnaryExpression,
    bindparam,
    cast,
    func,
    literal,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine

from db.dates import Calendar, HistoricalDate, Precision
from db.models.atlas import DATE_PARTS, Entity

ENTITY: Table = Entity.__table__  # type: ignore[assignment]
ENTITY_COLUMNS = tuple(column.name for column in ENTITY.columns if column.name != "document")


PARTS = {"parts": True}
"""Marks a field of a request whose entries are requests themselves; a tuple is one value else."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Stands in a list's definition for a value of a type that its statement is given each time it runs."""

    name: str
    kind: type


def bound(value: object, kind: TypeEngine[Any]) -> ColumnElement[Any]:
    """Return the parameter for a value, or for what a slot will hold."""
    if isinstance(value, Slot):
        return bindparam(value.name, type_=kind, required=False)
    return literal(value, kind)


def bound_list(values: Slot | Sequence[object], kind: TypeEngine[Any]) -> ColumnElement[Any]:
    """Return one parameter for all values, so that lists of every length share a prepared statement."""
    return bound(values if isinstance(values, Slot) else list(values), ARRAY(kind))


def kind_of(value: object) -> type:
    """Return the type of a value, or of what a slot will hold."""
    return value.kind if isinstance(value, Slot) else type(value)


Columns = Mapping[str, ColumnElement[Any]]
Order = Sequence[ColumnElement[Any]]


class Ordered(Protocol):
    """Rows in an order, unless that is empty."""

    @property
    def columns(self) -> Columns:
        """What can be asked of them, by name."""

    @property
    def order(self) -> Order:
        """What they are ordered by, in terms of where they come from; empty also where only `n` tells."""

    def select(self, names: Sequence[str], *guards: ColumnElement[bool]) -> Select[Any]:
        """Select columns: of `columns`, `n` for each row's number in the order, from 1, and those of `keys_of`."""


def keys_of(order: Order) -> dict[str, ColumnElement[Any]]:
    """Return what rows are ordered by as columns of theirs, by name."""
    return {f"key_{place}": one.element if _has_direction(one) else one for place, one in enumerate(order)}


def ordered_by(order: Order, rows: Callable[[str], ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    """Return the same order in terms of selected rows' columns, which PostgreSQL then need not sort again."""
    columns = [rows(name) for name in keys_of(order)]
    return [
        UnaryExpression(column, modifier=one.modifier) if _has_direction(one) else column
        for column, one in zip(columns, order, strict=True)
    ]


def _has_direction(one: ColumnElement[Any]) -> TypeGuard[UnaryExpression[Any]]:
    return isinstance(one, UnaryExpression) and one.modifier is not None


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a source: what can be asked of them by name, where they come from, and which they are."""

    columns: Columns
    source: FromClause
    conditions: Sequence[ColumnElement[bool]] = ()
    order: Order = ()
    group: Sequence[ColumnElement[Any]] = ()
    most: int | None = None

    def select(self, names: Sequence[str], *guards: ColumnElement[bool]) -> Select[Any]:
        """See Ordered."""
        offered = {**self.columns, **keys_of(self.order), "n": func.row_number().over(order_by=self.order or None)}
        chosen = [offered[name].label(name) for name in names]
        statement = select(*chosen).select_from(self.source).where(*self.conditions, *guards)
        return statement.group_by(*self.group).order_by(*self.order).limit(self.most)


def limited(statement: Select[Any], first: int | Slot) -> Select[Any]:
    """Limit a list to one more row than asked for, which tells whether there are more."""
    return statement.limit(bound(first, BigInteger()) + 1)


def columns_of(source: FromClause, prefix: str = "") -> dict[str, ColumnElement[Any]]:
    """Return an entity's columns by name."""
    return {prefix + name: source.c[name] for name in ENTITY_COLUMNS}


_AS_TEXT = ("labels", "details")


def _date(side: str) -> property:
    """Make a property of a date in several columns."""
    parts_of = itemgetter(*(f"{side}_{part}" for part in DATE_PARTS))

    def read(row: "EntityRow") -> HistoricalDate | None:
        parts = parts_of(row)
        year, _, _, precision, calendar, first, last = parts
        if year is None or first is None or last is None:
            return None
        date: HistoricalDate = tuple.__new__(HistoricalDate, parts)
        if precision is None or calendar is None:
            return date._replace(precision=Precision(precision or 0), calendar=Calendar(calendar or 0))
        return date

    return property(read)


def entity_columns(source: FromClause) -> list[ColumnElement[Any]]:
    """Return what an `EntityRow` is made of; JSON is read when it is asked for, which is seldom."""
    return [cast(source.c[name], Text).label(name) if name in _AS_TEXT else source.c[name] for name in ENTITY_COLUMNS]


class Found(asyncpg.Record):
    """A row as the driver makes it; the columns that a class names are its attributes."""

    __slots__ = ()
    SELDOM: ClassVar[frozenset[str]] = frozenset()
    """The columns that are read only for who wants them."""

    def __init_subclass__(cls) -> None:
        """Make them."""
        for name in cls.__annotations__:
            setattr(cls, name, property(itemgetter(name)))


class EntityRow(Found):
    """An entity: nothing is made of its row but what is asked for."""

    __slots__ = ()
    SELDOM = frozenset(ENTITY_COLUMNS) - {"id", "key", "kind"}

    id: int
    key: str
    kind: str
    name: str | None
    description: str | None
    is_stub: bool
    disciplines: list[str]
    field: str | None
    work_type: str | None
    start_year: int | None
    end_year: int | None
    dataset: str

    @property
    def labels(self) -> dict[str, str]:
        """The names by language code."""
        labels: dict[str, str] = orjson.loads(self["labels"])
        return labels

    @property
    def details(self) -> dict[str, Any]:
        """What only some entities have."""
        details: dict[str, Any] = orjson.loads(self["details"])
        return details

    start, end = _date("start"), _date("end")


@dataclass(frozen=True, slots=True)
class Sequel:
    """Rows in parts, one after the other, each in an order; a later part is read only when those before are too few.

    A part is given what to select, and limited to `most` rows: the planner must know that there are few. Where there is
    one part only, its order can be told.
    """

    columns: Columns
    parts: Sequence[Callable[[Sequence[ColumnElement[Any]]], Select[Any]]]
    most: int
    order: Order = ()

    def select(self, names: Sequence[str], *guards: ColumnElement[bool]) -> Select[Any]:
        """See Ordered."""
        offered = {**self.columns, **keys_of(self.order)}
        chosen = [offered[name].label(name) for name in dict.fromkeys([*names, *keys_of(self.order)]) if name != "n"]
        limited_parts = [select(part(chosen).limit(self.most).subquery()) for part in self.parts]
        joined = limited_parts[0] if len(limited_parts) == 1 else union_all(*limited_parts)
        whole = joined.subquery()
        order = ordered_by(self.order, lambda name: whole.c[name])
        numbered = {**dict(whole.c), "n": func.row_number().over(order_by=order or None).label("n")}
        return select(*(numbered[name] for name in names)).where(*guards).order_by(*order)
