"""The schema, composed of each dataset's root fields; `python -m graph.schema` writes schema.graphql."""

from pathlib import Path

import strawberry
from strawberry.schema.config import StrawberryConfig

from graph.atlas import Agent, AtlasQuery, Concept, Work
from graph.cycles import CycleQuery
from graph.execution import AtlasSchema, Compiling
from graph.lineage import LineageQuery
from graph.listings import ListingQuery
from graph.operations import OperationsQuery, Subscription
from graph.raw_records import RawRecordQuery
from graph.records import RecordQuery
from graph.roadmap import RoadmapQuery
from graph.runs import RunQuery
from graph.scalars import SCALARS

FILE = Path(__file__).parent.parent / "schema.graphql"


@strawberry.type(description="Where every query begins.")
class Query(
    RoadmapQuery,
    AtlasQuery,
    ListingQuery,
    LineageQuery,
    CycleQuery,
    RecordQuery,
    RawRecordQuery,
    RunQuery,
    OperationsQuery,
):
    """The root fields of all datasets."""


def build(compiling: Compiling = Compiling.SEEN_BEFORE, *, suggestions: bool = True) -> AtlasSchema:
    """Build the schema; errors may suggest names that there are."""
    return AtlasSchema(
        Query,
        subscription=Subscription,
        compiling=compiling,
        suggestions=suggestions,
        types=[Agent, Work, Concept],
        config=StrawberryConfig(scalar_map=SCALARS),
    )


schema = build()

if __name__ == "__main__":
    FILE.write_text(schema.as_str() + "\n", encoding="utf-8")
