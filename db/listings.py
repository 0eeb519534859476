"""Lists of entities: filtered, ordered, and paged by key, so that page 1,000 costs what page 1 does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Double,
    Select,
    Text,
    UnaryExpression,
    and_,
    any_,
    cast,
    func,
    literal_column,
    null,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.sql.operators import custom_op

from db.dates import Precision, first_day, last_day
from db.lookups import MEASURE, literal_of
from db.models.atlas import Entity, Kind
from db.reading import ReadSession
from db.rows import (
    ENTITY,
    ENTITY_COLUMNS,
    EntityRow,
    Rows,
    Sequel,
    Slot,
    bound,
    bound_list,
    columns_of,
    entity_columns,
    kind_of,
    limited,
)
from db.text import fold

LIFETIME_DAYS = 36_524
"""A hundred years at most: how long someone counts as alive when the other end of the life is not known."""

WIDEST_BIRTH_YEARS = 1_000
"""Births known less well than to the millennium are not looked for in a range of years."""

MOST_ROWS = 101
"""A full page and the one row more that tells whether there is another."""


class EntityOrder(StrEnum):
    """How a list of entities is ordered; what is unknown comes last, ties go by internal id."""

    NAME_ASC = "NAME_ASC"
    NAME_DESC = "NAME_DESC"
    START_ASC = "START_ASC"
    START_DESC = "START_DESC"
    LEVEL_ASC = "LEVEL_ASC"
    LEVEL_DESC = "LEVEL_DESC"
    PAGERANK_ASC = "PAGERANK_ASC"
    PAGERANK_DESC = "PAGERANK_DESC"
    DEGREE_ASC = "DEGREE_ASC"
    DEGREE_DESC = "DEGREE_DESC"
    ID_ASC = "ID_ASC"
    ID_DESC = "ID_DESC"

    @property
    def column(self) -> Column[Any] | None:
        """What it compares first; None when that is the internal id."""
        return _ORDERED_BY.get(self.partition("_")[0])

    @property
    def is_measured(self) -> bool:
        """Whether that is a measure."""
        return self.column is not None and self.column.table is MEASURE


_ORDERED_BY: dict[str, Column[Any]] = {
    "NAME": ENTITY.c.name_folded,
    "START": ENTITY.c.start_first,
    "LEVEL": MEASURE.c.level,
    "PAGERANK": MEASURE.c.page_rank,
    "DEGREE": MEASURE.c.degree,
}


class EntityPosition(NamedTuple):
    """Where a page ends: an entity's order value (its folded name, first day or measure) and its internal id."""

    value: Any
    id: Any


class DaySpan(NamedTuple):
    """The days of a range of years."""

    first: Any
    last: Any

    @classmethod
    def of(cls, first_year: int, last_year: int) -> "DaySpan":
        """Return the days of astronomical years, both included."""
        return cls(first_day(first_year), last_day(last_year))


class BirthSpan(NamedTuple):
    """The days of a range of years, and the first day from which on a birth may reach into them."""

    reach: Any
    first: Any
    last: Any

    @classmethod
    def of(cls, first_year: int, last_year: int) -> "BirthSpan":
        """Return the days of astronomical years, both included."""
        return cls(first_day(first_year - WIDEST_BIRTH_YEARS), first_day(first_year), last_day(last_year))


@dataclass(frozen=True, slots=True)
class EntityFilter:
    """What entities must have; None leaves a condition out."""

    kind: Kind | None = None
    kinds: tuple[str, ...] | Slot | None = None
    name_like: str | Slot | None = None
    disciplines: tuple[str, ...] | Slot | None = None
    field: str | Slot | None = None
    born_between: BirthSpan | None = None
    start_between: DaySpan | None = None
    is_stub: bool | None = None
    datasets: tuple[str, ...] | Slot | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the SQL of the conditions that are given."""
        entity, found = ENTITY.c, []
        if self.kind is not None:
            # The index on (kind, start_first) gives the order only where the kind is one.
            found.append(entity.kind == literal_of(self.kind))
        if self.kinds is not None:
            found.append(entity.kind == any_(bound_list(self.kinds, Entity.kind.type)))
        if self.name_like is not None:
            found.append(entity.name_folded.like(bound(self.name_like, Text())))
        if self.disciplines is not None:
            found.append(has_discipline(self.disciplines))
        if self.field is not None:
            found.append(entity.field == bound(self.field, Text()))
        if self.born_between is not None:
            found += [entity.kind == literal_of(Kind.AGENT), is_born_within(self.born_between)]
        if self.start_between is not None:
            found.append(starts_within(self.start_between))
        if self.is_stub is not None:
            found.append(entity.is_stub if self.is_stub else ~entity.is_stub)
        if self.datasets is not None:
            found.append(entity.dataset == any_(bound_list(self.datasets, Text())))
        return found


@dataclass(frozen=True, slots=True)
class EntityPage:
    """Which page of an ordered list: entities after a position, or before it when backward, as `rows` tell them."""

    wanted: EntityFilter
    order: EntityOrder
    first: int | Slot
    position: EntityPosition | None = None
    is_backward: bool = False

    @property
    def has_cursor(self) -> bool:
        """Whether it goes on from a position."""
        return self.position is not None

    def rows(self) -> Sequel:
        """Return its rows, in reverse when backward, and as `order_value` what the order compares first."""
        column = self.order.column
        value: ColumnElement[Any] = null() if column is None else column
        if column is MEASURE.c.page_rank:
            value = cast(column, Double)
        columns = {**columns_of(ENTITY), "order_value": value}
        segments = _segments(self)
        order = segments[0].order if len(segments) == 1 else ()
        return Sequel(columns, [self._part(segment) for segment in segments], MOST_ROWS, order)

    def _part(self, segment: "_Segment") -> Callable[[Sequence[ColumnElement[Any]]], Select[Any]]:
        def part(chosen: Sequence[ColumnElement[Any]]) -> Select[Any]:
            source: Any = ENTITY
            if self.order.is_measured:
                # An outer join hides from the planner that the index on the measure gives the order.
                source = ENTITY.join(MEASURE, MEASURE.c.entity_id == ENTITY.c.id, isouter=not segment.is_known)
            statement = select(*chosen).select_from(source)
            return statement.where(*self.wanted.conditions(), *segment.conditions).order_by(*segment.order)

        return part

    def count(self) -> Rows:
        """Return one row with the `count` of the entities on all pages."""
        return Rows({"count": func.count()}, ENTITY, self.wanted.conditions())


async def entity_page(session: ReadSession, page: EntityPage) -> tuple[list[EntityRow], bool]:
    """Return a page in the list's own order, and whether there is more beyond it in the direction of paging.

    The entities come with their `order_value`.
    """
    assert isinstance(page.first, int)
    rows = await session.load(_page, page, EntityRow)
    found = rows[: page.first]
    return (found[::-1] if page.is_backward else found), len(rows) > page.first


def _page(page: EntityPage) -> Select[Any]:
    near = limited(page.rows().select([*ENTITY_COLUMNS, "order_value", "n"]), page.first).subquery("near")
    return select(*entity_columns(near), near.c.order_value).order_by(near.c.n)


async def count_entities(session: ReadSession, page: EntityPage) -> int:
    """Return how many entities fit the filter."""
    ((count,),) = await session.load(_count, page)
    return int(count)


def _count(page: EntityPage) -> Select[Any]:
    return page.count().select(["count"])


async def listed(session: ReadSession, wanted: "Births | Lives") -> list[EntityRow]:
    """Return a list of agents, `first` and one more at most."""
    return await session.load(_listed, wanted, EntityRow)


def _listed(wanted: "Births | Lives") -> Select[Any]:
    near = limited(wanted.rows().select([*ENTITY_COLUMNS, "n"]), wanted.first).subquery("near")
    return select(*entity_columns(near)).order_by(near.c.n)


@dataclass(frozen=True, slots=True)
class Births:
    """Agents by birth, of any of the disciplines; without a span, all whose birth is known."""

    first: int | Slot
    disciplines: tuple[str, ...] | Slot | None = None
    span: BirthSpan | None = None

    def rows(self) -> Rows:
        """Return their rows."""
        conditions = [] if self.disciplines is None else [has_discipline(self.disciplines)]
        entity = ENTITY.c
        if self.span is None:
            conditions += [entity.kind == literal_of(Kind.AGENT), entity.start_first.is_not(None)]
            return Rows(columns_of(ENTITY), ENTITY, conditions, (entity.start_first, entity.id))
        first, last = bound(self.span.first, BigInteger()), bound(self.span.last, BigInteger())
        is_agent = entity.kind == literal_of(Kind.AGENT)
        # Only births known less well than to the year can begin before the range and reach into it: few, with an index
        # of their own. Its condition is written out, since a prepared statement's plan knows no parameters.
        is_coarse = literal_column(f"entity.kind = 'AGENT' AND entity.start_precision < {Precision.YEAR:d}", Boolean)
        near = union_all(
            *(
                select(
                    select(entity.id, entity.start_first)
                    .where(part, is_born_within(self.span), *conditions)
                    .order_by(entity.start_first, entity.id)
                    .limit(MOST_ROWS)
                    .subquery()
                )
                for part in (
                    and_(is_coarse, entity.start_first < first),
                    and_(is_agent, entity.start_first.between(first, last)),
                )
            )
        ).subquery("born")
        agent = ENTITY.alias()
        source = near.join(agent, agent.c.id == near.c.id)
        return Rows(columns_of(agent), source, (), (near.c.start_first, near.c.id))


@dataclass(frozen=True, slots=True)
class Lives:
    """Agents who may have been alive on some day of a span, by birth, of any of the disciplines.

    An unknown end of a life is taken to lie at most LIFETIME_DAYS from the known one; agents without any date are
    left out.
    """

    first: int | Slot
    span: DaySpan
    disciplines: tuple[str, ...] | Slot | None = None

    def rows(self) -> Rows:
        """Return their rows."""
        entity, lifetime = ENTITY.c, literal_column(str(LIFETIME_DAYS), BigInteger)
        birth = func.coalesce(entity.start_first, entity.end_first - lifetime)
        death = func.coalesce(entity.end_last, entity.start_last + lifetime)
        conditions = [
            entity.kind == literal_of(Kind.AGENT),
            birth <= bound(self.span.last, BigInteger()),
            death >= bound(self.span.first, BigInteger()),
        ]
        if self.disciplines is not None:
            conditions.append(has_discipline(self.disciplines))
        return Rows(columns_of(ENTITY), ENTITY, conditions, (birth, entity.id))


def spellings(names: Sequence[str]) -> tuple[str, ...]:
    """Return disciplines as given and in lower case, which is how sources write most of them."""
    return tuple(dict.fromkeys(spelling for name in names for spelling in (name, name.casefold())))


def prefix_pattern(name: str) -> str:
    """Return the LIKE pattern of folded names that begin with a name."""
    return fold(name).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


def has_discipline(names: tuple[str, ...] | Slot) -> ColumnElement[bool]:
    """Test for any of the disciplines, in these spellings."""
    return ENTITY.c.disciplines.bool_op("&&")(bound_list(names, Text()))


def starts_within(span: DaySpan | BirthSpan) -> ColumnElement[bool]:
    """Test whether the start may lie in the days: its interval overlaps them."""
    last, first = bound(span.last, BigInteger()), bound(span.first, BigInteger())
    return and_(ENTITY.c.start_first <= last, ENTITY.c.start_last >= first)


def is_born_within(span: BirthSpan) -> ColumnElement[bool]:
    """Test whether the birth may lie in the days."""
    # The lower bound lets the index on start_first skip everyone born long before.
    earliest = ENTITY.c.start_first >= bound(span.reach, BigInteger())
    coarsest: ColumnElement[int] = literal_column(str(int(Precision.MILLENNIUM)))
    return and_(earliest, ENTITY.c.start_precision >= coarsest, starts_within(span))


@dataclass(frozen=True, slots=True)
class _Segment:
    """A part of an ordered list that one index scan can read: entities whose order value is known, or unknown."""

    conditions: tuple[ColumnElement[bool], ...]
    order: tuple[ColumnElement[Any], ...]
    is_known: bool = True


@dataclass(frozen=True, slots=True)
class _Column:
    """A column with its comparison: names compare by bytes, which is what the prefix index is sorted by."""

    value: Any
    is_text: bool = False

    def by(self, descending: bool) -> ColumnElement[Any]:
        if self.is_text:
            return UnaryExpression(self.value, modifier=custom_op("USING ~>~" if descending else "USING ~<~"))
        return self.value.desc() if descending else self.value.asc()  # type: ignore[no-any-return]

    def beyond(self, value: object, descending: bool, *, or_at: bool = False) -> ColumnElement[bool]:
        operator = ("<" if descending else ">") + ("=" if or_at else "")
        other = bound(value, Text() if self.is_text else BigInteger())
        return self.value.bool_op(f"~{operator}~" if self.is_text else operator)(other)  # type: ignore[no-any-return]


def _beyond_both(value: Any, id: Any, position: EntityPosition, descending: bool) -> ColumnElement[bool]:
    """Compare as a row, which bounds the index scan however many entities share the value.

    Numbers are compared at full width, whatever the column's: a cursor that someone made up must not overflow.
    """
    number = bound(position.value, BigInteger() if kind_of(position.value) is int else Double())
    at, here = tuple_(number, bound(position.id, BigInteger())), tuple_(value, id)
    return here < at if descending else here > at


def _segments(page: EntityPage) -> list[_Segment]:
    """Split what follows the position into at most two segments, in the direction of paging."""
    order, position = page.order, page.position
    descending = order.endswith("_DESC") != page.is_backward
    by_id = _Column(MEASURE.c.entity_id if order.is_measured else ENTITY.c.id)
    beyond_id = () if position is None else (_Column(ENTITY.c.id).beyond(position.id, descending),)
    if order.column is None:
        return [_Segment(beyond_id, (by_id.by(descending),))]
    by_value = _Column(order.column, order.column is ENTITY.c.name_folded)
    is_within_unknown = position is not None and position.value is None
    after_value: tuple[ColumnElement[bool], ...] = (by_value.value.is_not(None),)
    if position is not None and kind_of(position.value) is str:
        # Written so that the first condition bounds the index scan; a row of the two cannot compare by bytes.
        at_or_beyond = by_value.beyond(position.value, descending, or_at=True)
        after_value = (at_or_beyond, or_(by_value.beyond(position.value, descending), *beyond_id))
    elif position is not None and position.value is not None:
        after_value = (_beyond_both(by_value.value, by_id.value, position, descending),)
    known = _Segment(after_value, (by_value.by(descending), by_id.by(descending)))
    still_unknown = (by_value.value.is_(None), *(beyond_id if is_within_unknown else ()))
    unknown = _Segment(still_unknown, (_Column(ENTITY.c.id).by(descending),), is_known=False)
    if page.is_backward:
        return [known] if position is not None and position.value is not None else [unknown, known]
    return [unknown] if is_within_unknown else [known, unknown]
