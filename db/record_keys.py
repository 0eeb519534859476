"""Which records, in which order, and the statement that finds the keys of a page of them.

Every order has an index that begins with the source. A list over all sources therefore merges the sources' lists,
each read from its index; the sources themselves are found by skipping through the primary key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    Subquery,
    Text,
    UnaryExpression,
    cast,
    func,
    literal,
    literal_column,
    null,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.orm import InstrumentedAttribute

from db.models.records import Record
from db.record_filters import RecordFilter

OrderValue = str | float | datetime | None
"""What an order compares first of a record; None when it is not known."""


class RecordOrder(StrEnum):
    """How a list of records is ordered; what is unknown comes last, ties go by source and external id."""

    ID_ASC = "ID_ASC"
    ID_DESC = "ID_DESC"
    TITLE_ASC = "TITLE_ASC"
    TITLE_DESC = "TITLE_DESC"
    VALUE_ASC = "VALUE_ASC"
    VALUE_DESC = "VALUE_DESC"
    CREATED_ASC = "CREATED_ASC"
    CREATED_DESC = "CREATED_DESC"
    UPDATED_ASC = "UPDATED_ASC"
    UPDATED_DESC = "UPDATED_DESC"

    @property
    def column(self) -> InstrumentedAttribute[Any] | None:
        """What it compares first; None when that is the source."""
        return _ORDERED_BY.get(self.partition("_")[0])


_ORDERED_BY: dict[str, InstrumentedAttribute[Any]] = {
    "TITLE": Record.title_sort,
    "VALUE": Record.value,
    "CREATED": Record.created_at,
    "UPDATED": Record.updated_at,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records; None leaves a condition out. `search` are words, the last of which may be begun only."""

    source: str | None = None
    search: str | None = None
    filter: RecordFilter | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the SQL of what is asked beside the source."""
        found: list[ColumnElement[bool]] = []
        if self.search is not None:
            words = func.plainto_tsquery(literal_column("'simple'::regconfig"), self.search)
            begun = cast(func.nullif(cast(words, Text), "") + ":*", TSQUERY)
            found.append(Record.document.bool_op("@@")(begun))
        if self.filter is not None:
            found.append(self.filter.sql())
        return found

    def all_conditions(self) -> list[ColumnElement[bool]]:
        """Return the SQL of all that is asked."""
        return self.conditions() if self.source is None else [Record.source == self.source, *self.conditions()]


@dataclass(frozen=True, slots=True)
class Position:
    """A record's place in an ordered list."""

    value: OrderValue
    source: str
    external_id: str


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Which page of an ordered list: `size` records after a position, or before it when `backward`.

    `offset` more are skipped, which costs what reading their keys costs.
    """

    size: int
    position: Position | None = None
    backward: bool = False
    offset: int = 0


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of an ordered list that each source's index has in one piece: known values, or unknown ones.

    `sign` tells how the part's sources compare with the position's; "" takes all.
    """

    place: int
    sign: str = ""
    conditions: tuple[ColumnElement[bool], ...] = ()


def page_keys(wanted: Wanted, order: RecordOrder, page: RecordPage) -> Subquery:
    """Select the keys of a page and one more, as columns `place`, `value`, `source` and `external_id`.

    Sorted by `direction` of all four they are in the direction of paging.
    """
    descending = is_descending(order, page)
    if order.column is None:
        statement = _by_id(wanted, page, descending)
    else:
        statement = _merged(wanted, order.column, page, descending)
    return statement.limit(page.size + 1).offset(page.offset or None).subquery("keys")


def is_descending(order: RecordOrder, page: RecordPage) -> bool:
    """Tell in which direction the index is read."""
    return order.endswith("_DESC") != page.backward


def in_direction(rows: FromClause, descending: bool) -> list[ColumnElement[Any]]:
    """Order rows of keys in the direction of paging."""
    named = [rows.c[name] for name in ("value", "source", "external_id")]
    return [rows.c.place, *(_directed(column, descending) for column in named)]


def _by_id(wanted: Wanted, page: RecordPage, descending: bool) -> Select[Any]:
    key: list[Any] = [Record.source, Record.external_id]
    statement: Select[Any] = select(_place(0), null().label("value"), *key).where(*wanted.all_conditions())
    if (at := page.position) is not None:
        # Within one source, a comparison of both would not bound the index scan.
        place = [at.source, at.external_id]
        first = 1 if wanted.source == at.source else 0
        statement = statement.where(_beyond(key[first:], place[first:], descending))
    return statement.order_by(*(_directed(column, descending) for column in key))


def _merged(wanted: Wanted, column: InstrumentedAttribute[Any], page: RecordPage, descending: bool) -> Select[Any]:
    sources = _sources() if wanted.source is None else None
    pieces = []
    for part in _parts(column, page, descending):
        # Also where all are unknown: by this the planner sees that the index has the order.
        key: list[Any] = [column, Record.external_id]
        columns: list[Any] = [_place(part.place), column.label("value"), Record.source, Record.external_id]
        piece = select(*columns).where(*part.conditions, *wanted.all_conditions())
        piece = piece.order_by(*(_directed(one, descending) for one in key)).limit(page.size + 1 + page.offset)
        pieces.append(_of_sources(piece, part, page, sources))
    merged = union_all(*pieces).subquery("merged")
    return select(merged).order_by(*in_direction(merged, descending))


def _of_sources(piece: Select[Any], part: _Part, page: RecordPage, sources: CTE | None) -> Select[Any]:
    """Read a part from the one source that is asked for, or from each of the part's sources."""
    source = Record.source if sources is None else sources.c.source
    pivot = [source.bool_op(part.sign)(page.position.source)] if part.sign and page.position else []
    if sources is None:
        return select(piece.where(*pivot).subquery())
    each = piece.where(Record.source == source).lateral()
    return select(each).select_from(sources.join(each, true())).where(*pivot)


def _parts(column: InstrumentedAttribute[Any], page: RecordPage, descending: bool) -> list[_Part]:
    """Split what follows the position, in the direction of paging."""
    beyond = "<" if descending else ">"
    before = ">" if descending else "<"
    known, unknown = (1, 0) if page.backward else (0, 1)
    is_unknown = column.is_(None)
    all_known = _Part(known, conditions=(column.is_not(None),))
    all_unknown = _Part(unknown, conditions=(is_unknown,))
    if page.position is None:
        return [all_known, all_unknown]
    value, last_id = page.position.value, page.position.external_id
    if value is None:
        after_id = Record.external_id.bool_op(beyond)(last_id)
        rest = [_Part(unknown, "=", (is_unknown, after_id)), _Part(unknown, beyond, (is_unknown,))]
        return [*rest, all_known] if page.backward else rest
    at = literal(value, column.type)
    rest = [
        _Part(known, "=", (_beyond((column, Record.external_id), (at, last_id), descending),)),
        _Part(known, beyond, (column.bool_op(f"{beyond}=")(at),)),
        _Part(known, before, (column.bool_op(beyond)(at),)),
    ]
    return rest if page.backward else [*rest, all_unknown]


def _sources() -> CTE:
    """Select the sources of records: from one to the next in the primary key, whatever lies between them."""
    first = select(func.min(Record.source).label("source"))
    sources = first.cte("sources", recursive=True)
    following = select(func.min(Record.source)).where(Record.source > sources.c.source).scalar_subquery()
    return sources.union_all(select(following).where(sources.c.source.is_not(None)))


def _place(number: int) -> ColumnElement[int]:
    return literal_column(str(number), Integer).label("place")


def _beyond(key: Sequence[Any], position: Sequence[Any], descending: bool) -> ColumnElement[bool]:
    """Compare as a row, which bounds the index scan however many records share the first value."""
    here, at = tuple_(*key), tuple_(*position)
    return here < at if descending else here > at


def _directed(column: Any, descending: bool) -> UnaryExpression[Any]:
    return column.desc() if descending else column.asc()  # type: ignore[no-any-return]
