"""What must be learnt before a concept: its roadmap as nodes, edges, an order and a drawing."""

from functools import cached_property
from typing import Annotated, Any

import strawberry

from db.keys import internal_id
from db.lookups import EntityKey, Link
from db.models.atlas import Kind, RelationshipType
from db.rows import EntityRow
from db.text import fold
from db.traversal import Cut, LinkRows, Links, Reach, Walk, WalkFrom, edges_among, reached_rows, walk
from graph.atlas import Concept
from graph.compiled.mapping import SQL, Listed, One, Part, Row, Walked, mapped
from graph.context import Info
from graph.influences import PROVENANCE, Provenance, provenance_of
from graph.learning import LearningOrder, learning_order, mermaid
from graph.lineage import (
    SOURCE,
    TARGET,
    DepthArgument,
    EdgeAmong,
    NodesArgument,
    check_bounds,
    is_truncated_sql,
    truncated_by_sql,
)
from graph.pagination import resolved

PREREQUISITE = (RelationshipType.PREREQUISITE_FOR,)
PREREQUISITES = Links(RelationshipType.PREREQUISITE_FOR, Kind.CONCEPT)
DEFAULT_DEPTH = 16
DEFAULT_NODES = 200

ConceptId = Annotated[
    strawberry.ID, strawberry.argument(description='The concept to learn: "metacademy:bayesian_logistic_regression".')
]


@strawberry.type(description="A concept of a roadmap.")
class RoadmapNode:
    """A concept and its distance from the goal."""

    concept: Concept = strawberry.field(description="The concept.", metadata={SQL: Part(Row.whole)})
    depth: int = strawberry.field(
        description="How many steps it is from the goal at least; 1 is a direct prerequisite."
    )


def _is_redundant(root: strawberry.Parent[EdgeAmong]) -> bool:
    is_redundant: bool = (root.link.source_id, root.link.target_id) in root.roadmap.order.redundant
    return is_redundant


@strawberry.type(description="That one concept of a roadmap must be learnt before another.")
class RoadmapEdge:
    """A prerequisite between two concepts of a roadmap; a view of `EdgeAmong`."""

    source: Concept = strawberry.field(description="What must be learnt first.", metadata=SOURCE)
    target: Concept = strawberry.field(description="What it must be learnt for.", metadata=TARGET)
    type: RelationshipType = strawberry.field(description="Always PREREQUISITE_FOR.")
    confidence: float = strawberry.field(description="How sure the edge is, 0 to 1.")
    is_derived: bool = strawberry.field(description="Whether it rests on rules alone, not on statements.")
    is_redundant: bool = resolved(
        _is_redundant,
        "Whether a longer way through the roadmap says the same; drawings are clearer without such edges.",
    )
    note: str | None = strawberry.field(description="Why, in words, where the source says so.")
    provenance: list[Provenance] = mapped(provenance_of, "The statements it rests on.", PROVENANCE)


@strawberry.type(description="A step of learning: one concept, or several that presuppose each other.")
class LearningStep:
    """A position in the learning order."""

    position: int = strawberry.field(description="The step's number, from 1.")
    concepts: list[Concept] = strawberry.field(description="The concept to learn; all concepts of a cycle.")
    is_cycle: bool = strawberry.field(
        description="Whether the concepts presuppose each other in a circle, so that they must be learnt together."
    )


ARoadmap = strawberry.Parent["Roadmap"]


def title(entity: EntityRow) -> str:
    """Return what to call an entity: its name, or its id when it has none."""
    return entity.name or entity.key


def _goal(root: ARoadmap) -> EntityRow:
    return root.concepts[root.goal]


def _nodes(root: ARoadmap) -> list[RoadmapNode]:
    return _nodes_of(root.concepts, root.depths)


def _nodes_of(concepts: dict[int, Any], depths: dict[int, int]) -> list[RoadmapNode]:
    return [RoadmapNode(concept=concepts[node], depth=depth) for node, depth in depths.items() if node in concepts]


def _edges(root: ARoadmap) -> list[Any]:
    return [EdgeAmong(link, root.concepts, root) for link in root.links]


def _learning_order(root: ARoadmap) -> list[LearningStep]:
    concepts: dict[int, Any] = root.concepts
    return [
        LearningStep(position=position, concepts=[concepts[node] for node in group], is_cycle=len(group) > 1)
        for position, group in enumerate(root.order.groups, 1)
    ]


def _mermaid(root: ARoadmap) -> str:
    names = {node: title(concept) for node, concept in root.concepts.items()}
    edges = ((link.source_id, link.target_id) for link in root.links)
    return mermaid(names, root.goal, (edge for edge in edges if edge not in root.order.redundant))


@strawberry.type(description="Everything to learn before a concept, and how it hangs together.")
class Roadmap:
    """The outcome of a walk over prerequisites."""

    goal: strawberry.Private[int]
    concepts: strawberry.Private[dict[int, EntityRow]]
    depths: strawberry.Private[dict[int, int]]
    links: strawberry.Private[list[Link]]
    concept: Concept = mapped(_goal, "The concept to learn.", Part(Row.whole))
    nodes: list[RoadmapNode] = mapped(
        _nodes,
        "What to learn before, nearest first, each once at its smallest depth.",
        Listed(lambda row, _: reached_rows(row, Kind.CONCEPT)),
    )
    edges: list[RoadmapEdge] = mapped(
        _edges,
        "What must be learnt before what, the concept itself included.",
        Listed(lambda row, _: LinkRows(row, PREREQUISITES)),
    )
    learning_order: list[LearningStep] = resolved(
        _learning_order,
        "An order to learn it all in: prerequisites first, the concept last. What presupposes each other is one step.",
    )
    mermaid: str = resolved(
        _mermaid, "The roadmap as a Mermaid flowchart, ready to be drawn; redundant edges are left out."
    )
    is_truncated: bool = strawberry.field(
        description="Whether a bound cut the roadmap: then there is more to learn.",
        metadata={SQL: is_truncated_sql(PREREQUISITES)},
    )
    truncated_by: list[Cut] = strawberry.field(
        description="The bounds that cut it.", metadata={SQL: truncated_by_sql(PREREQUISITES)}
    )

    @cached_property
    def order(self) -> LearningOrder:
        """The learning order, computed when first asked for."""
        ranks = {node: (self.depths.get(node, 0), fold(title(concept))) for node, concept in self.concepts.items()}
        return learning_order(ranks, [(link.source_id, link.target_id) for link in self.links])


def _reach(concept_id: str, max_depth: int, first: int) -> Reach:
    check_bounds(max_depth, first)
    return Reach(internal_id(concept_id), RelationshipType.PREREQUISITE_FOR, max_depth, first)


def _asked(concept_id: str, max_depth: int, first: int) -> WalkFrom:
    reach = _reach(concept_id, max_depth, first)
    return WalkFrom(EntityKey(internal_id(concept_id), concept_id, Kind.CONCEPT), reach)


async def _knowledge_roadmap(
    info: Info, concept_id: ConceptId, max_depth: DepthArgument = DEFAULT_DEPTH, first: NodesArgument = DEFAULT_NODES
) -> list[RoadmapNode]:
    check_bounds(max_depth, first)
    session = info.context.session
    goal = internal_id(concept_id)
    reached = await walk(session, goal, PREREQUISITE, backward=True, max_depth=max_depth, first=first)
    for bound, limit in ((Cut.FIRST, first), (Cut.MAX_DEPTH, max_depth)):
        if bound in reached.cuts:
            info.context.tell_cut(info.path.as_list(), limit)
    return _nodes_of(_concepts(reached), reached.depths)


async def _roadmap(
    info: Info, concept_id: ConceptId, max_depth: DepthArgument = DEFAULT_DEPTH, first: NodesArgument = DEFAULT_NODES
) -> Roadmap | None:
    check_bounds(max_depth, first)
    session = info.context.session
    goal = internal_id(concept_id)
    reached = await walk(session, goal, PREREQUISITE, backward=True, max_depth=max_depth, first=first)
    concepts = _concepts(reached)
    if goal not in concepts or concepts[goal].key != concept_id:
        return None
    links, has_more = await edges_among(session, list(concepts), PREREQUISITE)
    cuts = [*reached.cuts, Cut.EDGES] if has_more else list(reached.cuts)
    return Roadmap(
        goal=goal,
        concepts=concepts,
        depths=reached.depths,
        links=links,
        is_truncated=bool(cuts),
        truncated_by=cuts,
    )


def _concepts(reached: Walk) -> dict[int, EntityRow]:
    return {node: entity for node, entity in reached.entities.items() if entity.kind == Kind.CONCEPT}


@strawberry.type
class RoadmapQuery:
    """Root fields about what to learn first."""

    knowledge_roadmap: list[RoadmapNode] | None = mapped(
        _knowledge_roadmap,
        "Everything to learn before a concept, nearest first: its direct prerequisites at depth 1, theirs at depth 2"
        " and so on, each once at its smallest depth. The concept itself is not listed. An empty list when there is no"
        " such concept or it presupposes nothing.",
        Walked(
            lambda reach: reach.rows(),
            lambda row, _: reached_rows(row, Kind.CONCEPT),
            lambda row, reach: [(row["is_cut_by_first"], reach.first), (row["is_cut_by_depth"], reach.max_depth)],
            _reach,
        ),
    )
    roadmap: Roadmap | None = mapped(
        _roadmap,
        "The same as `knowledgeRoadmap` with the edges, an order to learn it in, and a drawing."
        " Null when there is no such concept.",
        One(lambda _, asked: asked.rows(), _asked),
    )
