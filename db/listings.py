"""Lists of entities: filtered, ordered, and paged by key, so that page 1,000 costs what page 1 does."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    ColumnExpressionArgument,
    Double,
    Select,
    UnaryExpression,
    and_,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.operators import custom_op

from db.dates import Precision, first_day, last_day
from db.lookups import is_any
from db.models.atlas import Agent, Entity, EntityMeasure, Kind
from db.session import ReadSession
from db.text import fold

LIFETIME_DAYS = 36_524
"""A hundred years at most: how long someone counts as alive when the other end of the life is not known."""

WIDEST_BIRTH_YEARS = 1_000
"""Births known less well than to the millennium are not looked for in a range of years."""


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
    def column(self) -> InstrumentedAttribute[Any] | None:
        """What it compares first; None when that is the internal id."""
        return _ORDERED_BY.get(self.partition("_")[0])

    @property
    def is_measured(self) -> bool:
        """Whether that is a measure."""
        return self.column is not None and self.column.class_ is EntityMeasure


_ORDERED_BY: dict[str, InstrumentedAttribute[Any]] = {
    "NAME": Entity.name_folded,
    "START": Entity.start_first,
    "LEVEL": EntityMeasure.level,
    "PAGERANK": EntityMeasure.page_rank,
    "DEGREE": EntityMeasure.degree,
}

OrderValue = str | int | float | None
"""What an order compares first of an entity; None when it is not known."""


@dataclass(frozen=True, slots=True)
class EntityFilter:
    """What entities must have; None leaves a condition out. Ranges are of astronomical years, both included."""

    kinds: tuple[Kind, ...] | None = None
    name_starts_with: str | None = None
    disciplines: tuple[str, ...] | None = None
    field: str | None = None
    born_between: tuple[int, int] | None = None
    start_between: tuple[int, int] | None = None
    is_stub: bool | None = None
    datasets: tuple[str, ...] | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the SQL of the conditions that are given."""
        found: list[ColumnElement[bool]] = []
        if self.kinds is not None:
            # The index on (kind, start_first) gives the order only where the kind is one.
            is_one = len(self.kinds) == 1
            found.append(Entity.kind == self.kinds[0] if is_one else is_any(Entity.kind, self.kinds))
        if self.name_starts_with is not None:
            found.append(Entity.name_folded.startswith(fold(self.name_starts_with), autoescape=True))
        if self.disciplines is not None:
            found.append(has_discipline(self.disciplines))
        if self.field is not None:
            found.append(Entity.field == self.field)
        if self.born_between is not None:
            found += [Entity.kind == Kind.AGENT, is_born_within(*self.born_between)]
        if self.start_between is not None:
            found.append(starts_within(*self.start_between))
        if self.is_stub is not None:
            found.append(Entity.is_stub == self.is_stub)
        if self.datasets is not None:
            found.append(is_any(Entity.dataset, self.datasets))
        return found


@dataclass(frozen=True, slots=True)
class EntityPage:
    """Which page of an ordered list: `size` entities after a position, or before it when `backward`.

    A position is an entity's order value (its folded name, first day or measure) and its internal id.
    """

    size: int
    position: tuple[OrderValue, int] | None = None
    backward: bool = False


async def entity_page(
    session: ReadSession, wanted: EntityFilter, order: EntityOrder, page: EntityPage
) -> tuple[list[tuple[Entity, OrderValue]], bool]:
    """Return a page in the list's own order, and whether there is more beyond it in the direction of paging.

    The entities come with their order values.
    """
    found: list[tuple[Entity, OrderValue]] = []
    chosen = select(Entity, null() if order.column is None else order.column).select_from(Entity)
    for segment in _segments(order, page):
        statement = chosen.where(*wanted.conditions(), *segment.conditions).order_by(*segment.order)
        if order.is_measured:
            # An outer join hides from the planner that the index on the measure gives the order.
            joined = EntityMeasure.entity_id == Entity.id
            statement = statement.join(EntityMeasure, joined, isouter=not segment.is_known)
        rows = await session.rows(statement.limit(page.size + 1 - len(found)))
        found += [(entity, value) for entity, value in rows]
        if len(found) > page.size:
            break
    has_more = len(found) > page.size
    found = found[: page.size]
    return (found[::-1] if page.backward else found), has_more


async def count_entities(session: ReadSession, wanted: EntityFilter) -> int:
    """Return how many entities fit the filter."""
    return await session.scalar(select(func.count()).select_from(Entity).where(*wanted.conditions())) or 0


def agents_born(disciplines: Sequence[str] | None, years: tuple[int, int] | None, limit: int) -> Select[Agent]:
    """Select agents by birth; without a range of years, all whose birth is known."""
    conditions = [] if disciplines is None else [has_discipline(disciplines)]
    if years is None:
        statement = select(Agent).where(Agent.start_first.is_not(None), *conditions)
        return statement.order_by(Agent.start_first, Agent.id).limit(limit)
    first, last = first_day(years[0]), last_day(years[1])
    begun = Agent.start_first.between(first, last)
    # Only births known less well than to the year can begin before the range and reach into it: few, with an index
    # of their own. Its condition is written out, since a prepared statement's plan knows no parameters.
    is_coarse = literal_column(f"entity.kind = 'AGENT' AND entity.start_precision < {Precision.YEAR:d}", Boolean)
    reaching = and_(is_coarse, Agent.start_first < first)
    near = union_all(
        *(
            select(Agent.id, Agent.start_first)
            .where(part, is_born_within(*years), *conditions)
            .order_by(Agent.start_first, Agent.id)
            .limit(limit)
            for part in (reaching, begun)
        )
    ).subquery("near")
    statement = select(Agent).join(near, Agent.id == near.c.id)
    return statement.order_by(near.c.start_first, near.c.id).limit(limit)


def agents_alive(year: int, disciplines: Sequence[str] | None, limit: int) -> Select[Agent]:
    """Select agents who may have been alive on some day of a year, by birth.

    An unknown end of a life is taken to lie at most LIFETIME_DAYS from the known one; agents without any date are
    left out.
    """
    birth = func.coalesce(Agent.start_first, Agent.end_first - LIFETIME_DAYS)
    death = func.coalesce(Agent.end_last, Agent.start_last + LIFETIME_DAYS)
    statement = select(Agent).where(birth <= last_day(year), death >= first_day(year))
    if disciplines is not None:
        statement = statement.where(has_discipline(disciplines))
    return statement.order_by(birth, Agent.id).limit(limit)


def has_discipline(names: Sequence[str]) -> ColumnElement[bool]:
    """Test for any of the disciplines, as given or in lower case, which is how sources write most of them."""
    spellings = list(dict.fromkeys(spelling for name in names for spelling in (name, name.casefold())))
    return Entity.disciplines.bool_op("&&")(literal(spellings, Entity.disciplines.type))


def starts_within(first_year: int, last_year: int) -> ColumnElement[bool]:
    """Test whether the start may lie in the years: its interval overlaps them."""
    return and_(Entity.start_first <= last_day(last_year), Entity.start_last >= first_day(first_year))


def is_born_within(first_year: int, last_year: int) -> ColumnElement[bool]:
    """Test whether the birth may lie in the years."""
    # The lower bound lets the index on start_first skip everyone born long before.
    earliest = Entity.start_first >= first_day(first_year - WIDEST_BIRTH_YEARS)
    return and_(earliest, Entity.start_precision >= Precision.MILLENNIUM, starts_within(first_year, last_year))


@dataclass(frozen=True, slots=True)
class _Segment:
    """A part of an ordered list that one index scan can read: entities whose order value is known, or unknown."""

    conditions: tuple[ColumnElement[bool], ...]
    order: tuple[ColumnExpressionArgument[Any], ...]
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
        return self.value.bool_op(f"~{operator}~" if self.is_text else operator)(value)  # type: ignore[no-any-return]


def _beyond_both(value: Any, id: Any, position: tuple[int | float, int], descending: bool) -> ColumnElement[bool]:
    """Compare as a row, which bounds the index scan however many entities share the value.

    Numbers are compared at full width, whatever the column's: a cursor that someone made up must not overflow.
    """
    number = literal(position[0], BigInteger if isinstance(position[0], int) else Double)
    at, here = tuple_(number, literal(position[1], BigInteger)), tuple_(value, id)
    return here < at if descending else here > at


def _segments(order: EntityOrder, page: EntityPage) -> list[_Segment]:
    """Split what follows the position into at most two segments, in the direction of paging."""
    descending = order.endswith("_DESC") != page.backward
    by_id = _Column(EntityMeasure.entity_id if order.is_measured else Entity.id)
    value, last_id = page.position or (None, None)
    beyond_id = () if last_id is None else (_Column(Entity.id).beyond(last_id, descending),)
    if order.column is None:
        return [_Segment(beyond_id, (by_id.by(descending),))]
    by_value = _Column(order.column, order.column is Entity.name_folded)
    is_within_unknown = page.position is not None and value is None
    after_value: tuple[ColumnElement[bool], ...] = (by_value.value.is_not(None),)
    if isinstance(value, str):
        # Written so that the first condition bounds the index scan; a row of the two cannot compare by bytes.
        at_or_beyond = by_value.beyond(value, descending, or_at=True)
        after_value = (at_or_beyond, or_(by_value.beyond(value, descending), *beyond_id))
    elif value is not None and last_id is not None:
        after_value = (_beyond_both(by_value.value, by_id.value, (value, last_id), descending),)
    known = _Segment(after_value, (by_value.by(descending), by_id.by(descending)))
    still_unknown = (by_value.value.is_(None), *(beyond_id if is_within_unknown else ()))
    unknown = _Segment(still_unknown, (_Column(Entity.id).by(descending),), is_known=False)
    if page.backward:
        return [known] if value is not None else [unknown, known]
    return [unknown] if is_within_unknown else [known, unknown]
