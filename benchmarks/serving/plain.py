"""Strawberry as one would write it by hand: a small schema, loaders, both of its caches, prepared SQL, orjson."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from enum import Enum
from typing import Any

import orjson
import strawberry
import uvicorn
from aiodataloader import DataLoader
from starlette.applications import Starlette
from starlette.routing import Route
from strawberry.asgi import GraphQL
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.scalars import JSON

from benchmarks.serving.connections import Connections, read, read_roadmap

connections = Connections()


@strawberry.enum
class EntityOrder(Enum):
    """The one order that the benchmark asks for."""

    ID_ASC = "ID_ASC"


@strawberry.type
class Date:
    """A date."""

    year: float


@strawberry.type
class Entity:
    """A row of `entity`."""

    row_id: strawberry.Private[int | None]
    id: strawberry.ID
    kind: str | None = None
    name: str | None = None
    description: str | None = None
    is_stub: bool | None = None
    start: Date | None = None

    @strawberry.field
    async def influences(self, info: strawberry.Info[Any, None], first: int = 20) -> "InfluenceConnection":
        """List the edges that end here."""
        return InfluenceConnection(edges=await info.context["influences"].load((self.row_id, first)))


@strawberry.type
class InfluenceEdge:
    """A row of `influence`."""

    type: str
    confidence: float
    node: Entity


@strawberry.type
class InfluenceConnection:
    """Edges of an entity."""

    edges: list[InfluenceEdge]


@strawberry.type
class PageInfo:
    """Where a page stands."""

    has_next_page: bool
    end_cursor: str | None


@strawberry.type
class EntityEdge:
    """An entry of a page."""

    node: Entity


@strawberry.type
class EntityConnection:
    """A page of entities."""

    edges: list[EntityEdge]
    page_info: PageInfo


@strawberry.type
class Record:
    """A row of `record`."""

    source_id: str
    title: str | None
    value: float | None
    created_at: datetime | None
    attributes: JSON


@strawberry.type
class RecordEdge:
    """An entry of a page."""

    node: Record


@strawberry.type
class RecordConnection:
    """A page of records."""

    edges: list[RecordEdge]
    page_info: PageInfo


@strawberry.type
class RoadmapNode:
    """A concept of a roadmap."""

    depth: int
    concept: Entity


@strawberry.type
class RoadmapEdge:
    """An edge of a roadmap."""

    source: Entity
    target: Entity
    type: str
    confidence: float


@strawberry.type
class Roadmap:
    """What to learn before a concept."""

    concept: Entity
    nodes: list[RoadmapNode]
    edges: list[RoadmapEdge]
    is_truncated: bool


def _entity(row: Any) -> Entity:
    year = row["start_year"]
    return Entity(
        row_id=row["id"],
        id=row["key"],
        kind=row["kind"],
        name=row["name"],
        description=row["description"],
        is_stub=row["is_stub"],
        start=None if year is None else Date(year=year),
    )


def _record(row: Any) -> Record:
    return Record(
        source_id=row["external_id"],
        title=row["title"],
        value=row["value"],
        created_at=row["created_at"],
        attributes=orjson.Fragment(row["attributes"]),  # type: ignore[arg-type]
    )


def _mention(value: dict[str, str]) -> Entity:
    return Entity(row_id=None, id=strawberry.ID(value["id"]), name=value.get("name"))


async def _load_influences(keys: list[tuple[int, int]]) -> list[list[InfluenceEdge]]:
    # Parents of one field of one query ask for as many.
    async with connections.use() as statements:
        rows = await statements["influences"].fetch([parent for parent, _ in keys], keys[0][1])
    found: dict[int, list[InfluenceEdge]] = {parent: [] for parent, _ in keys}
    for row in rows:
        node = Entity(row_id=row["id"], id=row["key"], name=row["name"])
        found[row["parent_id"]].append(InfluenceEdge(type=row["type"], confidence=row["confidence"], node=node))
    return [found[parent] for parent, _ in keys]


@strawberry.type
class Query:
    """The root fields that the benchmark asks for."""

    @strawberry.field
    async def entity(self, id: strawberry.ID) -> Entity | None:
        """Look up one entity."""
        async with connections.use() as statements:
            row = await statements["entity"].fetchrow(id)
        return _entity(row) if row else None

    @strawberry.field
    async def entities(self, first: int, order_by: EntityOrder, after: str | None = None) -> EntityConnection:  # noqa: ARG002
        """List entities by id."""
        async with connections.use() as statements:
            rows = await statements["page"].fetch(int(after or 0), first + 1)
        kept = rows[:first]
        return EntityConnection(
            edges=[EntityEdge(node=_entity(row)) for row in kept],
            page_info=PageInfo(has_next_page=len(rows) > first, end_cursor=str(kept[-1]["id"]) if kept else None),
        )

    @strawberry.field
    async def data(self, first: int, after: str = "") -> RecordConnection:
        """List records by their id."""
        async with connections.use() as statements:
            rows = await statements["records"].fetch(after, first + 1)
        kept = rows[:first]
        return RecordConnection(
            edges=[RecordEdge(node=_record(row)) for row in kept],
            page_info=PageInfo(has_next_page=len(rows) > first, end_cursor=kept[-1]["external_id"] if kept else None),
        )

    @strawberry.field
    async def roadmap(self, concept_id: strawberry.ID, max_depth: int, first: int) -> Roadmap | None:
        """Walk over prerequisites."""
        async with connections.use() as statements:
            row = await statements["roadmap"].fetchrow(concept_id, max_depth, first)
        if row is None:
            return None
        return Roadmap(
            concept=Entity(row_id=None, id=row["key"], name=row["name"]),
            nodes=[
                RoadmapNode(depth=node["depth"], concept=_mention(node["concept"]))
                for node in orjson.loads(row["nodes"] or "[]")
            ],
            edges=[
                RoadmapEdge(
                    source=_mention(edge["source"]),
                    target=_mention(edge["target"]),
                    type=edge["type"],
                    confidence=edge["confidence"],
                )
                for edge in orjson.loads(row["edges"] or "[]")
            ],
            is_truncated=row["is_truncated"],
        )


class Endpoint(GraphQL[Any, None]):
    """Strawberry's own endpoint with orjson."""

    async def get_context(self, *_: Any, **__: Any) -> dict[str, Any]:
        """Make the loaders of a request."""
        return {"influences": DataLoader(_load_influences)}

    def decode_json(self, data: str | bytes) -> object:
        """Read JSON."""
        return orjson.loads(data)

    def encode_json(self, data: object) -> bytes:
        """Write JSON."""
        return orjson.dumps(data)


@asynccontextmanager
async def _lifespan(_: Starlette) -> AsyncIterator[None]:
    await connections.open(read("entity", "page", "influences", "records") | {"roadmap": read_roadmap()})
    yield


def main() -> None:
    """Serve on PORT."""
    schema = strawberry.Schema(Query, extensions=[ParserCache, ValidationCache])
    app = Starlette(routes=[Route("/graphql", Endpoint(schema, graphql_ide=None))], lifespan=_lifespan)
    uvicorn.run(app, port=int(os.environ["PORT"]), http="httptools", log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
