"""Where an entity stands in the whole graph, as it was measured after a load."""

import orjson
import strawberry

from db.lookups import degree_rows, measured_row
from db.models.atlas import RelationshipType
from db.rows import EntityRow
from graph.compiled.mapping import SQL, Listed, One
from graph.context import Info
from graph.scalars import BigInt


@strawberry.type(description="How many edges of a type an entity has.")
class Degree:
    """Counts of edges."""

    type: RelationshipType = strawberry.field(description="The type.")
    incoming: int = strawberry.field(description="How many edges end at the entity.")
    outgoing: int = strawberry.field(description="How many edges begin at it.")


@strawberry.type(description="Where an entity stands in the whole graph. Measured once after a load, so cheap to ask.")
class Measures:
    """GraphQL's view of a row of `entity_measure`."""

    level: int | None = strawberry.field(
        description="How far it is from the foundations: the length of the longest chain of prerequisites below it,"
        " where the members of a cycle count as one. 0 needs nothing; null has no PREREQUISITE_FOR edge at all."
    )
    page_rank: float = strawberry.field(
        description="How much was led to by it, directly and further on: the PageRank (damping 0.85) of a reader who"
        " keeps asking what led to this, over edges of all types. The average over all entities is 1."
    )
    degree: int = strawberry.field(description="How many edges it has, of all types and in both directions.")
    degrees: list[Degree] = strawberry.field(
        description="Its edges by type; types without any are left out.",
        metadata={SQL: Listed(lambda row, _: degree_rows(row["incoming"], row["outgoing"]))},
    )
    is_in_cycle: bool = strawberry.field(
        description="Whether it is, over others, its own prerequisite; see `prerequisiteCycles`."
    )
    data_version: BigInt | None = strawberry.field(description="The version of the data that was measured.")
    is_current: bool = strawberry.field(
        description="Whether that is the newest version; false for the moments between a load and its measuring."
    )


async def measures_of(root: strawberry.Parent[EntityRow], info: Info) -> Measures | None:
    """Return an entity's measures; None when it came after the last measuring."""
    row = await info.context.loaders.measures_by_entity.load(root.id)
    if row is None:
        return None
    incoming, outgoing = orjson.loads(row.incoming), orjson.loads(row.outgoing)
    return Measures(
        level=row.level,
        page_rank=row.page_rank,
        degree=row.degree,
        degrees=[
            Degree(type=edge_type, incoming=incoming.get(edge_type, 0), outgoing=outgoing.get(edge_type, 0))
            for edge_type in RelationshipType
            if edge_type in incoming or edge_type in outgoing
        ],
        is_in_cycle=row.is_in_cycle,
        data_version=row.data_version,
        is_current=row.is_current,
    )


MEASURES = One(lambda row, _: measured_row(row["id"]))
