"""Walks from an entity: what led to it, what it led to, and how one thing led to another."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from operator import attrgetter
from typing import Annotated, Any, NamedTuple

import strawberry
from sqlalchemy import ColumnElement, Text, case, func, literal_column, null, or_
from sqlalchemy.dialects.postgresql import array

from db.keys import internal_id
from db.lookups import EntityKey, Link, entities_by_id
from db.models.atlas import RelationshipType
from db.traversal import (
    ALL_LINKS,
    MAX_DEPTH,
    MAX_NODES,
    Cut,
    LinkRows,
    Links,
    PathLimitError,
    Reach,
    WalkFrom,
    cut_columns,
    edges_among,
    reached_rows,
    shortest_path,
    walk,
)
from graph.atlas import AnId, Entity
from graph.compiled.mapping import SQL, Listed, One, Part, Row, Value, mapped
from graph.context import Info
from graph.errors import Code, RequestError, bad_input
from graph.influences import PROVENANCE, Direction, Provenance, provenance_of
from graph.pagination import resolved
from graph.scalars import described, given

described(
    Cut,
    "Cut",
    "Which bound ended a walk before the graph did.",
    {
        "MAX_DEPTH": "There is more beyond `maxDepth`.",
        "FIRST": "There are more entities than `first`; the nearest are here.",
        "EDGES": "There are more edges among the entities than the 20000 that are given.",
    },
)

DepthArgument = Annotated[int, strawberry.argument(description="How many steps to go at most, up to 32.")]
NodesArgument = Annotated[int, strawberry.argument(description="How many entities to visit at most, up to 5000.")]
TypesArgument = Annotated[
    list[RelationshipType] | None, strawberry.argument(description="Only edges of these types; all when left out.")
]


def is_truncated_sql(of: Links = ALL_LINKS) -> Value:
    """Map to whether a bound cut a walk."""
    return Value(lambda row, _: or_(*cut_columns(row, of).values()))


def truncated_by_sql(of: Links = ALL_LINKS) -> Value:
    """Map to the bounds that cut a walk."""

    def sql(row: Row, _request: Any) -> ColumnElement[Any]:
        named = [case((is_cut, literal_column(f"'{cut}'"))) for cut, is_cut in cut_columns(row, of).items()]
        return func.array_remove(array[Any](named, type_=Text), null())

    return Value(sql)


@strawberry.type(description="An entity that a walk reached.")
class LineageNode:
    """An entity and its distance from the start."""

    entity: Entity = strawberry.field(description="The entity.", metadata={SQL: Part(Row.whole)})
    depth: int = strawberry.field(description="How many steps it is from the start at least.")


class _Among(NamedTuple):
    link: Link
    entities: Mapping[int, Any]
    roadmap: Any = None


class EdgeAmong(_Among):
    """An edge among entities, by id; nothing is made of it but what is asked for, since there may be thousands."""

    __slots__ = ()

    @property
    def source(self) -> Any:
        """Where it begins."""
        return self.entities[self.link.source_id]

    @property
    def target(self) -> Any:
        """Where it ends."""
        return self.entities[self.link.target_id]

    type, confidence, is_derived, note, provenance = (
        property(attrgetter(f"link.{name}")) for name in ("type", "confidence", "is_derived", "note", "provenance")
    )


SOURCE, TARGET = ({SQL: Part(lambda row: row.part("source_"))}, {SQL: Part(lambda row: row.part("target_"))})


@strawberry.type(description="An edge between two entities that a walk reached.")
class LineageEdge:
    """An edge with both of its sides; a view of `EdgeAmong`."""

    source: Entity = strawberry.field(description="The earlier or enabling side.", metadata=SOURCE)
    target: Entity = strawberry.field(description="The later or dependent side.", metadata=TARGET)
    type: RelationshipType = strawberry.field(description="What the edge says.")
    confidence: float = strawberry.field(description="How sure the edge is, 0 to 1.")
    is_derived: bool = strawberry.field(description="Whether it rests on rules alone, not on statements.")
    note: str | None = strawberry.field(description="Why, in words, where the source says so.")
    provenance: list[Provenance] = mapped(provenance_of, "The statements it rests on.", PROVENANCE)


@strawberry.type(description="What lies before or after an entity: a part of the graph, nearest first.")
class Lineage:
    """The outcome of a walk."""

    entity: Entity = strawberry.field(description="Where the walk started.", metadata={SQL: Part(Row.whole)})
    nodes: list[LineageNode] = strawberry.field(
        description="The entities reached, each once at its smallest depth.",
        metadata={SQL: Listed(lambda row, _: reached_rows(row))},
    )
    edges: list[LineageEdge] = strawberry.field(
        description="The edges among them and the start, of the chosen types.",
        metadata={SQL: Listed(lambda row, _: LinkRows(row))},
    )
    is_truncated: bool = strawberry.field(
        description="Whether a bound cut the walk: then there is more to see.", metadata={SQL: is_truncated_sql()}
    )
    truncated_by: list[Cut] = strawberry.field(
        description="The bounds that cut it.", metadata={SQL: truncated_by_sql()}
    )


@strawberry.type(description="How one entity led to another: a shortest chain of edges.")
class Path:
    """A chain from the earlier entity to the later one."""

    length: int = strawberry.field(description="The number of steps; 0 when both are the same entity.")
    nodes: list[Entity] = strawberry.field(description="The entities on the way, both ends included.")
    edges: list[LineageEdge] = strawberry.field(description="The edges of each step; a step may have several types.")


def check_bounds(max_depth: int, first: int = 0) -> None:
    """Refuse bounds of a walk that are out of range; raises RequestError."""
    if not 0 <= max_depth <= MAX_DEPTH:
        raise bad_input(f"maxDepth is {max_depth}: give 0 to {MAX_DEPTH}")
    if not 0 <= first <= MAX_NODES:
        raise bad_input(f"first is {first}: give 0 to {MAX_NODES}")


async def _lineage(
    info: Info,
    id: AnId,
    direction: Annotated[
        Direction, strawberry.argument(description="To what led here (BACKWARD) or to what this led to (FORWARD).")
    ] = Direction.BACKWARD,
    types: TypesArgument = strawberry.UNSET,
    max_depth: DepthArgument = 6,
    first: NodesArgument = 100,
) -> Lineage | None:
    check_bounds(max_depth, first)
    session = info.context.session
    start = internal_id(id)
    wanted = given(types) or list(RelationshipType)
    backward = direction is Direction.BACKWARD
    reached = await walk(session, start, wanted, backward=backward, max_depth=max_depth, first=first)
    entities: dict[int, Any] = reached.entities
    if start not in entities or entities[start].key != id:
        return None
    edges, has_more = await edges_among(session, list(entities), wanted) if reached.depths else ([], False)
    cuts = [*reached.cuts, Cut.EDGES] if has_more else list(reached.cuts)
    return Lineage(
        entity=entities[start],
        nodes=[LineageNode(entity=entities[node], depth=depth) for node, depth in reached.depths.items()],
        edges=_among(edges, entities),
        is_truncated=bool(cuts),
        truncated_by=cuts,
    )


def _asked(id: str, direction: Direction, types: list[RelationshipType] | None, max_depth: int, first: int) -> WalkFrom:
    check_bounds(max_depth, first)
    start, wanted = internal_id(id), given(types) or list(RelationshipType)
    return WalkFrom(
        EntityKey(start, id), Reach(start, tuple(wanted), max_depth, first, direction is Direction.BACKWARD)
    )


async def _path(
    info: Info,
    source: Annotated[strawberry.ID, strawberry.argument(name="from", description="The earlier entity's public id.")],
    target: Annotated[strawberry.ID, strawberry.argument(name="to", description="The later entity's public id.")],
    types: TypesArgument = strawberry.UNSET,
    max_depth: DepthArgument = 12,
) -> Path | None:
    check_bounds(max_depth)
    session = info.context.session
    wanted = given(types) or list(RelationshipType)
    try:
        nodes = await shortest_path(session, internal_id(source), internal_id(target), wanted, max_depth)
    except PathLimitError as error:
        message = f"{error} from {source!r} to {target!r}: lower maxDepth or choose fewer types"
        raise RequestError(Code.LIMIT, message) from error
    if nodes is None:
        return None
    entities: dict[int, Any] = await entities_by_id(session, nodes)
    if [entities[node].key for node in (nodes[0], nodes[-1]) if node in entities] != [source, target]:
        return None
    edges = await _steps(info, nodes, wanted)
    return Path(
        length=len(nodes) - 1,
        nodes=[entities[node] for node in nodes],
        edges=_among(edges, entities),
    )


async def _steps(info: Info, nodes: list[int], types: Sequence[RelationshipType]) -> list[Link]:
    if len(nodes) < 2:
        return []
    edges, _ = await edges_among(info.context.session, nodes, types)
    position = {step: number for number, step in enumerate(pairwise(nodes))}
    steps = [edge for edge in edges if (edge.source_id, edge.target_id) in position]
    return sorted(steps, key=lambda edge: position[edge.source_id, edge.target_id])


def _among(edges: Sequence[Link], entities: Mapping[int, Any]) -> list[Any]:
    return [EdgeAmong(edge, entities) for edge in edges]


@strawberry.type
class LineageQuery:
    """Root fields that walk the graph."""

    lineage: Lineage | None = mapped(
        _lineage,
        "What led to an entity or what it led to, over edges of any types, as nodes and edges."
        " Null when there is no such entity.",
        One(lambda _, asked: asked.rows(), _asked),
    )
    path: Path | None = resolved(
        _path,
        "How one entity led to another: a shortest chain of edges from the earlier to the later, always the same one."
        " Null when there is none within `maxDepth`, or no such entity.",
    )
