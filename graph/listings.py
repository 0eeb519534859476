"""Lists of entities: by filter and order, by words, and the two timelines of the front end."""

from typing import Annotated, Any, TypeVar

import strawberry
from sqlalchemy import JSON, ColumnElement, literal_column
from sqlalchemy.dialects.postgresql import REAL

from db.dates import MAX_YEAR
from db.listings import (
    Births,
    BirthSpan,
    DaySpan,
    EntityFilter,
    EntityOrder,
    EntityPage,
    EntityPosition,
    Lives,
    count_entities,
    entity_page,
    listed,
    prefix_pattern,
    spellings,
)
from db.models.atlas import Kind
from db.rows import EntityRow
from db.search import count_hits, search_page
from db.text import fold
from graph.atlas import DEFAULT_FIRST, Agent, Entity, First
from graph.compiled.mapping import Listed, Page, Row, mapped
from graph.context import Info
from graph.errors import bad_input, check_text
from graph.pagination import (
    After,
    Before,
    Connection,
    LastSize,
    PageSize,
    check_first,
    connection,
    cursor_sql,
    cut,
    decode_cursor,
    encode_cursor,
    resolved,
)
from graph.scalars import Year, described, given, given_items

SEARCH_CURSOR = "SEARCH"

T = TypeVar("T")

described(
    EntityOrder,
    "EntityOrder",
    "How a list of entities is ordered. Entities whose name, start or measure is unknown come last, whatever the"
    " direction.",
    {
        "NAME_ASC": "By name without accents and case, A first.",
        "NAME_DESC": "By name without accents and case, Z first.",
        "START_ASC": "By the earliest day of birth, publication or first use; the oldest first.",
        "START_DESC": "By the earliest day of birth, publication or first use; the newest first.",
        "LEVEL_ASC": "By `measures.level`, the foundations first.",
        "LEVEL_DESC": "By `measures.level`, what needs the longest chain of prerequisites first.",
        "PAGERANK_ASC": "By `measures.pageRank`, what led to little first.",
        "PAGERANK_DESC": "By `measures.pageRank`, what led to most first.",
        "DEGREE_ASC": "By `measures.degree`, the fewest edges first.",
        "DEGREE_DESC": "By `measures.degree`, the most edges first.",
        "ID_ASC": "By Wikidata's number, then all others in a fixed order.",
        "ID_DESC": "The reverse of ID_ASC.",
    },
)

Kinds = Annotated[list[Kind] | None, strawberry.argument(description="Only entities of these kinds.")]


@strawberry.input(description="A range of astronomical years, both ends included.")
class YearRange:
    """Years from and to."""

    from_: Year = strawberry.field(name="from", description="The first year; -383 is 384 BCE.")
    to: Year = strawberry.field(description="The last year.")


@strawberry.input(description="What entities must have. All that you give must hold.", name="EntityFilter")
class EntityFilterInput:
    """GraphQL's view of `EntityFilter`."""

    kinds: list[Kind] | None = strawberry.field(default=None, description="To be of one of these kinds.")
    name_starts_with: str | None = strawberry.field(
        default=None, description="A name that begins so; accents and case do not matter."
    )
    disciplines: list[str] | None = strawberry.field(default=None, description="To work in any of these disciplines.")
    field: str | None = strawberry.field(default=None, description="To belong to this field.")
    born_between: YearRange | None = strawberry.field(
        default=None,
        description="To be an agent who may be born in these years: a birth known only to the century counts when the"
        " century overlaps them.",
    )
    start_between: YearRange | None = strawberry.field(
        default=None, description="To have a start that may lie in these years, at its precision."
    )
    is_stub: bool | None = strawberry.field(default=None, description="To be a stub (true) or to be described (false).")
    datasets: list[str] | None = strawberry.field(default=None, description="To be described by one of these datasets.")

    def filter(self) -> EntityFilter:
        """Return what it asks of the database; raises RequestError."""
        texts = [self.name_starts_with or "", self.field or "", *(self.disciplines or ()), *(self.datasets or ())]
        for text in texts:
            check_text("the filter's text", text)
        born, start = _years("bornBetween", self.born_between), _years("startBetween", self.start_between)
        kinds = self.kinds
        return EntityFilter(
            kind=kinds[0] if kinds and len(kinds) == 1 else None,
            kinds=None if kinds is None or len(kinds) == 1 else tuple(kinds),
            name_like=None if self.name_starts_with is None else prefix_pattern(self.name_starts_with),
            disciplines=None if self.disciplines is None else spellings(self.disciplines),
            field=self.field,
            born_between=BirthSpan.of(*born) if born else None,
            start_between=DaySpan.of(*start) if start else None,
            is_stub=self.is_stub,
            datasets=None if self.datasets is None else tuple(self.datasets),
        )


def _years(name: str, given_range: YearRange | None) -> tuple[int, int] | None:
    if given_range is None:
        return None
    return check_years(name, given_range.from_, given_range.to)


def check_years(name: str, first: int, last: int) -> tuple[int, int]:
    """Return a range of years; raises RequestError when it is upside down or out of range."""
    if first > last:
        raise bad_input(f"{name} is {first} to {last}: give the earlier year first (BCE years are negative)")
    if max(abs(first), abs(last)) > MAX_YEAR:
        raise bad_input(f"{name} is {first} to {last}: years go from {-MAX_YEAR} to {MAX_YEAR}")
    return first, last


async def _entities(
    info: Info,
    filter: Annotated[
        EntityFilterInput | None, strawberry.argument(description="What entities must have; all when left out.")
    ] = strawberry.UNSET,
    order_by: Annotated[EntityOrder, strawberry.argument(description="How to order them.")] = EntityOrder.NAME_ASC,
    first: PageSize = strawberry.UNSET,
    after: After = strawberry.UNSET,
    last: LastSize = strawberry.UNSET,
    before: Before = strawberry.UNSET,
) -> object:
    page = _page(filter, order_by, first, after, last, before)
    session = info.context.session
    found, has_more = await entity_page(session, page)
    return connection(
        found,
        lambda entity: encode_cursor(order_by, (entity["order_value"], entity.id)),
        lambda: count_entities(session, page),
        has_next=page.has_cursor if page.is_backward else has_more,
        has_previous=has_more if page.is_backward else page.has_cursor,
    )


def _page(
    filter: EntityFilterInput | None,
    order_by: EntityOrder,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> EntityPage:
    first, after, last, before = given(first), given(after), given(last), given(before)
    if (first is not None or after is not None) and (last is not None or before is not None):
        raise bad_input("first and after page forwards, last and before backwards: give only one of the two pairs")
    is_backward = last is not None or before is not None
    size = check_first(last, "last") if last is not None else check_first(20 if first is None else first)
    cursor = before if is_backward else after
    position = None if cursor is None else decode_cursor(cursor, order_by, _value_type(order_by), int)
    conditions = given(filter)
    wanted = conditions.filter() if conditions else EntityFilter()
    return EntityPage(wanted, order_by, size, EntityPosition(*position) if position else None, is_backward)


def _page_cursor(row: Row, page: EntityPage) -> ColumnElement[Any]:
    value: ColumnElement[Any] = literal_column("NULL::text") if page.order.column is None else row["order_value"]
    if page.order.column is not None and isinstance(page.order.column.type, REAL):
        # As Python writes a float: PostgreSQL leaves the fraction out when it is zero.
        value = literal_column(
            f"(CASE WHEN {value} = trunc({value}) THEN {value} || '.0' ELSE {value}::text END)::json", JSON
        )
    return cursor_sql(page.order, value, row["id"])


def _value_type(order: EntityOrder) -> type | tuple[type, ...]:
    if order.column is None:
        return type(None)
    return (order.column.type.python_type, type(None))


async def _search(
    info: Info,
    query: Annotated[str, strawberry.argument(description='What to look for: "godel", "categorical imperative".')],
    kinds: Kinds = strawberry.UNSET,
    first: PageSize = strawberry.UNSET,
    after: After = strawberry.UNSET,
) -> object:
    # Accents alone fold to nothing, and nothing begins every name.
    if not fold(check_text("query", query)):
        raise bad_input(f"query is {query!r}: give at least one letter")
    size = check_first(20 if given(first) is None else first or 0)
    cursor = given(after)
    position = None if cursor is None else decode_cursor(cursor, SEARCH_CURSOR, int, float, int)
    wanted = given(kinds) or list(Kind)
    session = info.context.session
    after_hit = (position[0], position[1], position[2]) if position else None
    hits, has_more = await search_page(session, query, wanted, size, after_hit)
    positions = {hit.entity.id: hit.position for hit in hits}
    return connection(
        [hit.entity for hit in hits],
        lambda entity: encode_cursor(SEARCH_CURSOR, positions[entity.id]),
        lambda: count_hits(session, query, wanted),
        has_next=has_more,
        has_previous=position is not None,
    )


async def _timeline_figures(
    info: Info,
    discipline: Annotated[
        list[str | None] | None, strawberry.argument(description='Only agents of any of these: ["philosophy"].')
    ] = strawberry.UNSET,
    year_range: Annotated[
        list[int | None] | None,
        strawberry.argument(description="Two astronomical years, [-500, -300]: only agents who may be born in them."),
    ] = strawberry.UNSET,
    first: First = DEFAULT_FIRST,
) -> list[EntityRow]:
    return cut(info, await listed(info.context.session, _births(discipline, year_range, first)), first)


def _births(discipline: list[str | None] | None, year_range: list[int | None] | None, first: int) -> Births:
    years = None
    bounds = given(year_range)
    if bounds is not None:
        if len(bounds) != 2 or bounds[0] is None or bounds[1] is None:
            raise bad_input(f"yearRange is {bounds}: give exactly two years, such as [-500, -300]")
        years = check_years("yearRange", bounds[0], bounds[1])
    return Births(check_first(first), _texts("discipline", discipline), BirthSpan.of(*years) if years else None)


async def _interdisciplinary_context(
    info: Info,
    year: Annotated[int, strawberry.argument(description="An astronomical year: 1880, -399 for 400 BCE.")],
    fields: Annotated[
        list[str | None] | None, strawberry.argument(description='Only agents of any of these: ["philosophy"].')
    ] = strawberry.UNSET,
    first: First = DEFAULT_FIRST,
) -> list[EntityRow]:
    return cut(info, await listed(info.context.session, _lives(year, fields, first)), first)


def _lives(year: int, fields: list[str | None] | None, first: int) -> Lives:
    return Lives(check_first(first), DaySpan.of(year, year), _texts("fields", fields))


def _texts(name: str, values: list[str | None] | None) -> tuple[str, ...] | None:
    texts = given_items(values)
    return spellings([check_text(name, text) for text in texts]) if texts else None


@strawberry.type
class ListingQuery:
    """Root fields that list entities."""

    entities: Connection[Entity] | None = mapped(
        _entities,
        "Entities by filter and order, a page at a time.",
        Page(lambda _, page: page.rows(), _page_cursor, lambda _, page: page.count(), _page),
        reads_once=True,
    )
    search: Connection[Entity] | None = resolved(
        _search,
        "Entities by words. Exact names come first, then names that begin so, then entities whose names in any"
        " language or description hold the words, the best match first. Accents and case do not matter in names; the"
        " last word may be begun only.",
    )
    timeline_figures: list[Agent] | None = mapped(
        _timeline_figures,
        "Agents by birth, the oldest first. Those whose birth is unknown are left out; a birth known only to the"
        " century counts when the century overlaps `yearRange`. When there are more than `first`,"
        " `extensions.truncated` of the response says so.",
        Listed(lambda _, wanted: wanted.rows(), _births),
        reads_once=True,
    )
    interdisciplinary_context: list[Agent] | None = mapped(
        _interdisciplinary_context,
        "Agents who were, or may have been, alive in a year, by birth. When the death is unknown, a life is taken to"
        " last at most 100 years from the birth, and when the birth is unknown, to have begun at most 100 years before"
        " the death; agents with neither are left out. When there are more than `first`, `extensions.truncated` of the"
        " response says so.",
        Listed(lambda _, wanted: wanted.rows(), _lives),
        reads_once=True,
    )
