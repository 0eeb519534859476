"""Statements by the shape of what is asked: written once, and given the values each time they run.

A request is a frozen dataclass or a named tuple. Its strings, numbers and tuples are values, which become parameters;
whether they are given, and its booleans, enums and `FIXED` fields, are its shape.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import Field, dataclass, fields
from datetime import datetime
from enum import Enum
from functools import lru_cache
from itertools import count
from typing import Any, Generic, TypeVar

from sqlalchemy import BindParameter, Select
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.sql.visitors import iterate

from db.rows import Slot

MAX_PLANS = 512

Shape = Any
"""Hashable: all of a request but its values, in whose place their types stand."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
R = TypeVar("R")

_SLOT = "given_"
_DIALECT = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]
_SHAPES = (bool, Enum)
_SCALARS = (str, int, float, datetime)
_EXACTLY = frozenset(_SCALARS)


class Recent(OrderedDict[K, V], Generic[K, V]):
    """What was used last."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def find(self, key: K) -> V | None:
        """Return what is kept under a key, if it is."""
        found = self.get(key)
        if found is not None:
            self.move_to_end(key)
        return found

    def keep(self, key: K, value: V) -> V:
        """Keep a value, and return it."""
        self[key] = value
        if len(self) > self._size:
            self.popitem(last=False)
        return value


@dataclass(frozen=True, slots=True)
class Plan:
    """A statement without any value of a client; its parameters are the values in these places."""

    sql: str
    places: tuple[int, ...]

    def arguments(self, values: list[Any]) -> list[Any]:
        """Return the parameters."""
        return [values[place] for place in self.places]


def prepared(
    statement_of: Callable[[R], Select[Any]], request: R, unread: frozenset[str] = frozenset()
) -> tuple[str, list[Any]]:
    """Return the statement for a request, as PostgreSQL prepares it, and its parameters; some columns are left out."""
    values: list[Any] = []
    key = (statement_of, split(request, values), unread)
    plan = _PLANS.find(key)
    if plan is None:
        statement = statement_of(fill(request, slots()))
        columns = statement.selected_columns
        if not unread.isdisjoint(columns.keys()):
            statement = statement.with_only_columns(*(one for name, one in columns.items() if name not in unread))
        plan = _PLANS.keep(key, plan_of(statement))
    return plan.sql, plan.arguments(values)


_PLANS: Recent[Hashable, Plan] = Recent(MAX_PLANS)


def split(request: Any, values: list[Any]) -> Shape:
    """Return a request's shape, and append its values."""
    if (own := type(request)) in _EXACTLY:
        values.append(request)
        return own
    if request is None or isinstance(request, _SHAPES):
        return request
    if isinstance(request, _SCALARS):
        values.append(request)
        return type(request)
    if isinstance(request, tuple) and not hasattr(request, "_fields"):
        values.append([entry.value if isinstance(entry, Enum) else entry for entry in request])
        return tuple
    if isinstance(request, tuple):
        return type(request), tuple([split(part, values) for part in request])
    kind: Any = type(request)
    return kind, tuple([_split_field(one, getattr(request, one.name), values) for one in _fields_of(kind)])


@lru_cache
def _fields_of(kind: type) -> tuple[Field[Any], ...]:
    # `fields` would look for them each time.
    return fields(kind)


def _split_field(one: Field[Any], value: Any, values: list[Any]) -> Shape:
    if "parts" in one.metadata:
        return tuple([split(part, values) for part in value])
    return value if "fixed" in one.metadata else split(value, values)


def slots() -> Iterator[str]:
    """Give the names of slots."""
    return (f"{_SLOT}{number}" for number in count())


def fill(request: Any, names: Iterator[str]) -> Any:
    """Return a request with slots in the place of its values, named in the order of `split`."""
    if request is None or isinstance(request, _SHAPES):
        return request
    if isinstance(request, _SCALARS) or (isinstance(request, tuple) and not hasattr(request, "_fields")):
        return Slot(next(names), tuple if isinstance(request, tuple) else type(request))
    if isinstance(request, tuple):
        return type(request)(*[fill(part, names) for part in request])
    kind: Any = type(request)
    return kind(**{one.name: _fill_field(one, getattr(request, one.name), names) for one in _fields_of(kind)})


def _fill_field(one: Field[Any], value: Any, names: Iterator[str]) -> Any:
    if "parts" in one.metadata:
        return tuple([fill(part, names) for part in value])
    return value if "fixed" in one.metadata else fill(value, names)


def plan_of(statement: Select[Any]) -> Plan:
    """Write a statement as PostgreSQL prepares it; the code's constants stand in it, where the planner sees them."""
    for part in iterate(statement):
        if isinstance(part, BindParameter) and not part.key.startswith(_SLOT):
            part.literal_execute = True
    compiled = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    return Plan(str(compiled), tuple([int(name.removeprefix(_SLOT)) for name in compiled.positiontup or ()]))
