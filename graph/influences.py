"""Edges as their entities list them, and where they come from."""

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import strawberry

from db.lookups import DatasetRow, InfluencePage, InfluencePosition, LinkedRow, dataset_row, statement_rows
from db.models.atlas import RelationshipType
from db.rows import EntityRow
from graph.compiled.mapping import SQL, WITHIN_PAGE, Listed, One, Page, Part, Row, Value, mapped
from graph.context import Info
from graph.errors import bad_input
from graph.pagination import TOTAL_COUNT, PageInfo, check_first, cursor_sql, decode_cursor, encode_cursor, page_info
from graph.scalars import BigInt, described, given

if TYPE_CHECKING:
    from graph.atlas import Entity

CURSOR = "INFLUENCES"


class Direction(Enum):
    """Which way to follow edges."""

    BACKWARD = "BACKWARD"
    FORWARD = "FORWARD"


described(
    Direction,
    "Direction",
    "Which way to follow edges. An edge leads from its source, the earlier or enabling side, to its target.",
    {
        "BACKWARD": "From target to source: what came before, what enabled it, what must be learnt first.",
        "FORWARD": "From source to target: what it led to.",
    },
)


@strawberry.type(description="Where facts come from, and on what terms they may be used.")
class Dataset:
    """GraphQL's view of a row of `dataset`."""

    name: str = strawberry.field(description='The short name that filters use: "wikidata".')
    title: str = strawberry.field(description="The name for people.")
    url: str = strawberry.field(description="The dataset's home.")
    licence: str = strawberry.field(description='The licence of its facts: "CC0 1.0".')
    licence_url: str = strawberry.field(description="The licence's text.")
    attribution: str = strawberry.field(description="Whom to credit where you show its facts.")


DATASET = One(lambda row, _: dataset_row(row["dataset"]))


async def dataset_of(root: strawberry.Parent[EntityRow], info: Info) -> DatasetRow | None:
    """Return an entity's dataset."""
    return await info.context.loaders.datasets_by_name.load(root.dataset)


async def _named_dataset(root: "strawberry.Parent[Provenance]", info: Info) -> DatasetRow | None:
    return await info.context.loaders.datasets_by_name.load(root.dataset_name)


@strawberry.type(description="A statement that an edge rests on.")
class Provenance:
    """One entry of an edge's provenance."""

    dataset_name: strawberry.Private[str]
    dataset: Dataset | None = mapped(
        _named_dataset, "The dataset that says so.", One(lambda row, _: dataset_row(row["dataset_name"]))
    )
    rule: str = strawberry.field(description='The property or rule that made the edge: "P737", "prerequisite".')
    statement: str | None = strawberry.field(description="The statement's or row's id there; null when it has none.")
    confidence: float = strawberry.field(description="How far the rule is to be trusted, 0 to 1.")
    is_derived: bool = strawberry.field(description="Whether it was derived by rule instead of being stated.")


def provenance_of(root: strawberry.Parent[Any]) -> list[Provenance]:
    """List what an edge's provenance holds, by dataset and rule."""
    return [
        Provenance(
            dataset_name=key.partition("/")[0],
            rule=key.partition("/")[2],
            statement=entry.get("statement"),
            confidence=entry["confidence"],
            is_derived=entry["derived"],
        )
        for key, entry in sorted(orjson.loads(root.provenance).items())
    ]


PROVENANCE = Listed(lambda row, _: statement_rows(row["provenance"]))


def _cursor(root: strawberry.Parent[LinkedRow]) -> str:
    return encode_cursor(CURSOR, (root.type, root.id))


def _far_side(root: strawberry.Parent[LinkedRow]) -> Any:
    return root


@strawberry.type(description="An edge of an entity, with the entity on its far side.")
class InfluenceEdge:
    """Relay's edge, with what is known of the edge itself; a view of `LinkedRow`."""

    cursor: str = mapped(_cursor, "The edge's position: give it as `after`.", Value(lambda row, _: row["cursor"]))
    node: Annotated["Entity", strawberry.lazy("graph.atlas")] = mapped(
        _far_side, "The entity on the far side.", Part(Row.whole)
    )
    type: RelationshipType = strawberry.field(description="What the edge says.")
    confidence: float = strawberry.field(description="How sure the edge is, 0 to 1.")
    is_derived: bool = strawberry.field(description="Whether it rests on rules alone, not on statements.")
    note: str | None = strawberry.field(description="Why, in words, where the source says so.")
    provenance: list[Provenance] = mapped(provenance_of, "The statements it rests on.", PROVENANCE)


async def _influence_count(root: "strawberry.Parent[InfluenceConnection]", info: Info) -> int:
    return await info.context.loaders.influence_counts_by_entity.load(root.counted)


@strawberry.type(description="A page of an entity's edges.")
class InfluenceConnection:
    """Relay's connection of an entity's edges."""

    counted: strawberry.Private[tuple[int, InfluencePage]]
    edges: list[InfluenceEdge] = strawberry.field(
        description="The edges, by type and then by id.", metadata={SQL: WITHIN_PAGE}
    )
    page_info: PageInfo = strawberry.field(
        description="Where the page stands in the list.", metadata={SQL: WITHIN_PAGE}
    )
    total_count: BigInt = mapped(_influence_count, TOTAL_COUNT, WITHIN_PAGE)


async def influences_of(
    root: strawberry.Parent[EntityRow],
    info: Info,
    direction: Annotated[
        Direction, strawberry.argument(description="Edges that end here (BACKWARD) or begin here (FORWARD).")
    ] = Direction.BACKWARD,
    types: Annotated[
        list[RelationshipType] | None, strawberry.argument(description="Only edges of these types; all when left out.")
    ] = strawberry.UNSET,
    first: Annotated[int, strawberry.argument(description="The size of a page, up to 100.")] = 20,
    after: Annotated[str | None, strawberry.argument(description="The cursor to go on after.")] = strawberry.UNSET,
) -> InfluenceConnection:
    """List an entity's edges of one direction."""
    page = _page(direction, types, first, after)
    found = await info.context.loaders.influences_by_entity.load((root.id, page))
    edges: list[Any] = found[:first]
    return InfluenceConnection(
        counted=(root.id, replace(page, first=0, after=None)),
        edges=edges,
        page_info=page_info(edges, _cursor, has_next=len(found) > first, has_previous=page.has_cursor),
    )


def _page(direction: Direction, types: list[RelationshipType] | None, first: int, after: str | None) -> InfluencePage:
    cursor = given(after)
    position = None if cursor is None else _position(cursor)
    wanted = tuple(sorted(set(given(types) or ()))) or None
    return InfluencePage(direction is Direction.BACKWARD, wanted, check_first(first), position)


def _position(cursor: str) -> InfluencePosition:
    edge_type, far_id = decode_cursor(cursor, CURSOR, str, int)
    if edge_type not in RelationshipType.__members__:
        raise bad_input(f"cursor {cursor!r} is not one of this list: give an endCursor of `influences`")
    return InfluencePosition(edge_type, far_id)


INFLUENCES = Page(
    lambda row, page: page.rows(row["id"]),
    lambda row, _: cursor_sql(CURSOR, row["edge_type"], row["id"]),
    lambda row, page: page.count(row["id"]),
    _page,
)
