"""Which records, in which order, and the rows of a page of them.

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
    BigInteger,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    Subquery,
    Table,
    Text,
    UnaryExpression,
    cast,
    func,
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
from db.rows import Sequel, Slot, bound

RECORD: Table = Record.__table__  # type: ignore[assignment]
RECORD_COLUMNS = tuple(column.name for column in RECORD.columns if column.name not in ("title_sort", "document"))

MOST_ROWS = 101
"""A full page and the one row more that tells whether there is another."""

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

    source: str | Slot | None = None
    search: str | Slot | None = None
    filter: RecordFilter | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the SQL of what is asked beside the source."""
        found: list[ColumnElement[bool]] = []
        if self.search is not None:
            words = func.plainto_tsquery(literal_column("'simple'::regconfig"), bound(self.search, Text()))
            begun = cast(func.nullif(cast(words, Text), literal_column("''")).concat(literal_column("':*'")), TSQUERY)
            found.append(Record.document.bool_op("@@")(begun))
        if self.filter is not None:
            found.append(self.filter.sql())
        return found

    def all_conditions(self) -> list[ColumnElement[bool]]:
        """Return the SQL of all that is asked."""
        if self.source is None:
            return self.conditions()
        return [Record.source == bound(self.source, Record.source.type), *self.conditions()]


@dataclass(frozen=True, slots=True)
class Position:
    """A record's place in an ordered list."""

    value: OrderValue | Slot
    source: str | Slot
    external_id: str | Slot


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Which page of an ordered list: `first` records after a position, or before it when backward, as `rows` tell them.

    `is_within` tells that the position is of the wanted source, which is then faster. `offset` more records are
    skipped, which costs what reading their keys costs.
    """

    wanted: Wanted
    order: RecordOrder
    first: int | Slot
    position: Position | None = None
    is_backward: bool = False
    is_within: bool = False
    offset: int | Slot | None = None

    @property
    def has_cursor(self) -> bool:
        """Whether it goes on from a position."""
        return self.position is not None

    @property
    def is_descending(self) -> bool:
        """In which direction the index is read."""
        return self.order.endswith("_DESC") != self.is_backward

    def rows(self) -> Sequel:
        """Return its rows, in reverse when backward, and as `order_value` what the order compares first."""
        if self.order.column is None:
            columns = {**_of(RECORD), "order_value": null()}
            return Sequel(columns, [self._by_id], MOST_ROWS, self._id_order())
        keys, record = page_keys(self), RECORD.alias()
        here = (keys.c.source == record.c.source) & (keys.c.external_id == record.c.external_id)
        order = in_direction(keys, self.is_descending)

        def part(chosen: Sequence[ColumnElement[Any]]) -> Select[Any]:
            return select(*chosen).select_from(keys.join(record, here)).order_by(*order)

        return Sequel({**_of(record), "order_value": keys.c.value}, [part], MOST_ROWS, order)

    def _by_id(self, chosen: Sequence[ColumnElement[Any]]) -> Select[Any]:
        key: list[Any] = [Record.source, Record.external_id]
        statement: Select[Any] = select(*chosen).select_from(RECORD).where(*self.wanted.all_conditions())
        if (at := self.position) is not None:
            # Within one source, a comparison of both would not bound the index scan.
            first = 1 if self.is_within else 0
            place = [bound(at.source, Record.source.type), bound(at.external_id, Record.external_id.type)]
            statement = statement.where(_beyond(key[first:], place[first:], self.is_descending))
        return statement.order_by(*self._id_order()).offset(_skipped(self))

    def _id_order(self) -> list[ColumnElement[Any]]:
        return [_directed(column, self.is_descending) for column in (RECORD.c.source, RECORD.c.external_id)]


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of an ordered list that each source's index has in one piece: known values, or unknown ones.

    `sign` tells how the part's sources compare with the position's; "" takes all.
    """

    place: int
    sign: str = ""
    conditions: tuple[ColumnElement[bool], ...] = ()


def page_keys(page: RecordPage) -> Subquery:
    """Select the keys of a page ordered by a value, and one more: `place`, `value`, `source` and `external_id`.

    Sorted by `in_direction` of all four they are in the direction of paging.
    """
    column, wanted = page.order.column, page.wanted
    assert column is not None
    pieces = []
    for part in _parts(column, page):
        # Also where all are unknown: by this the planner sees that the index has the order.
        key: list[Any] = [column, Record.external_id]
        columns: list[Any] = [_place(part.place), column.label("value"), Record.source, Record.external_id]
        piece = select(*columns).where(*part.conditions, *wanted.all_conditions())
        pieces.append(_of_sources(piece.order_by(*(_directed(one, page.is_descending) for one in key)), part, page))
    merged = union_all(*pieces).subquery("merged")
    statement = select(merged).order_by(*in_direction(merged, page.is_descending))
    return _few(statement.offset(_skipped(page)), page).subquery("keys")


def _few(statement: Select[Any], page: RecordPage, skipped: ColumnElement[int] | None = None) -> Select[Any]:
    """Limit to a page and one more, and to what is skipped; the planner must know, too, that there are few."""
    one = literal_column("1", BigInteger)
    most: ColumnElement[int] = literal_column(str(MOST_ROWS), BigInteger)
    more = bound(page.first, BigInteger()) + one
    if skipped is not None:
        most, more = most + skipped, more + skipped
    return select(statement.limit(most).subquery()).limit(more)


def _skipped(page: RecordPage) -> ColumnElement[int] | None:
    return None if page.offset is None else bound(page.offset, BigInteger())


def in_direction(rows: FromClause, descending: bool) -> list[ColumnElement[Any]]:
    """Order rows of keys in the direction of paging."""
    named = [rows.c[name] for name in ("value", "source", "external_id")]
    return [rows.c.place, *(_directed(column, descending) for column in named)]


def _of_sources(piece: Select[Any], part: _Part, page: RecordPage) -> Select[Any]:
    """Read a part from the one source that is asked for, or from each of the part's sources."""
    source = Record.source if page.wanted.source is not None else _SOURCES.c.source
    pivot = []
    if part.sign and page.position:
        pivot = [source.bool_op(part.sign)(bound(page.position.source, Record.source.type))]
    if page.wanted.source is not None:
        return select(_few(piece.where(*pivot), page, _skipped(page)).subquery())
    # By its name, since SQLAlchemy would not look for it two levels above.
    of_source = Record.source == literal_column("sources.source", Text)
    each = _few(piece.where(of_source), page, _skipped(page)).lateral()
    return select(each).select_from(_SOURCES.join(each, true())).where(*pivot)


def _parts(column: InstrumentedAttribute[Any], page: RecordPage) -> list[_Part]:
    """Split what follows the position, in the direction of paging."""
    descending = page.is_descending
    beyond = "<" if descending else ">"
    before = ">" if descending else "<"
    known, unknown = (1, 0) if page.is_backward else (0, 1)
    is_unknown = column.is_(None)
    all_known = _Part(known, conditions=(column.is_not(None),))
    all_unknown = _Part(unknown, conditions=(is_unknown,))
    if page.position is None:
        return [all_known, all_unknown]
    value, last_id = page.position.value, bound(page.position.external_id, Record.external_id.type)
    if value is None:
        after_id = Record.external_id.bool_op(beyond)(last_id)
        rest = [_Part(unknown, "=", (is_unknown, after_id)), _Part(unknown, beyond, (is_unknown,))]
        last = all_known if page.is_backward else None
    else:
        at = bound(value, column.type)
        rest = [
            _Part(known, "=", (_beyond((column, Record.external_id), (at, last_id), descending),)),
            _Part(known, beyond, (column.bool_op(f"{beyond}=")(at),)),
            _Part(known, before, (column.bool_op(beyond)(at),)),
        ]
        last = None if page.is_backward else all_unknown
    if page.is_within:
        rest = rest[:1]
    return [*rest, last] if last else rest


def _sources() -> CTE:
    """Select the sources of records: from one to the next in the primary key, whatever lies between them."""
    first = select(func.min(Record.source).label("source"))
    sources = first.cte("sources", recursive=True)
    following = select(func.min(Record.source)).where(Record.source > sources.c.source).scalar_subquery()
    return sources.union_all(select(following).where(sources.c.source.is_not(None)))


_SOURCES = _sources()
"""One for all lists, so that a statement with several has it once."""


def _of(source: FromClause) -> dict[str, ColumnElement[Any]]:
    return {name: source.c[name] for name in RECORD_COLUMNS}


def _place(number: int) -> ColumnElement[int]:
    return literal_column(str(number), Integer).label("place")


def _beyond(key: Sequence[Any], position: Sequence[Any], descending: bool) -> ColumnElement[bool]:
    """Compare as a row, which bounds the index scan however many records share the first value."""
    here, at = tuple_(*key), tuple_(*position)
    return here < at if descending else here > at


def _directed(column: Any, descending: bool) -> UnaryExpression[Any]:
    return column.desc() if descending else column.asc()  # type: ignore[no-any-return]
