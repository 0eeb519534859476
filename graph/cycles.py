"""Cycles of prerequisites: where a graph of what must be learnt first contradicts itself."""

import strawberry

from db.lookups import MembersOf
from db.models import atlas as models
from db.operations import count_cycles, cycle_page
from db.rows import EntityRow
from graph.atlas import DEFAULT_FIRST, Entity, First
from graph.context import Info
from graph.pagination import (
    After,
    Connection,
    PageSize,
    check_first,
    connection,
    cut,
    decode_cursor,
    encode_cursor,
    resolved,
)
from graph.scalars import given

CURSOR = "CYCLES"


async def _members(
    root: strawberry.Parent[models.PrerequisiteCycle], info: Info, first: First = DEFAULT_FIRST
) -> list[EntityRow]:
    return cut(info, await info.context.loaders.lists_by_parent.load((root.id, MembersOf(check_first(first)))), first)


@strawberry.type(description="Entities each of which is, directly or over others, a prerequisite of every other.")
class PrerequisiteCycle:
    """GraphQL's view of a row of `prerequisite_cycle`."""

    size: int = strawberry.field(description="How many entities it has.")
    members: list[Entity] = resolved(_members, "Its entities, in a fixed order.")


async def _prerequisite_cycles(
    info: Info, first: PageSize = strawberry.UNSET, after: After = strawberry.UNSET
) -> object:
    size = check_first(20 if given(first) is None else first or 0)
    cursor = given(after)
    position = None if cursor is None else decode_cursor(cursor, CURSOR, int, int)
    session = info.context.session
    found, has_more = await cycle_page(session, size, (position[0], position[1]) if position else None)
    return connection(
        found,
        lambda cycle: encode_cursor(CURSOR, (cycle.size, cycle.id)),
        lambda: count_cycles(session),
        has_next=has_more,
        has_previous=position is not None,
    )


@strawberry.type
class CycleQuery:
    """The root field of cycles."""

    prerequisite_cycles: Connection[PrerequisiteCycle] | None = resolved(
        _prerequisite_cycles,
        "The cycles of PREREQUISITE_FOR edges, the largest first, as they were when the graph was measured. Each group"
        " of entities that need each other is one.",
    )
