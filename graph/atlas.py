"""The knowledge graph's types: entities of three kinds, and the fields that lead from one to the next."""

from typing import Annotated, Any

import strawberry

from db import dates
from db.keys import internal_id
from db.lookups import Neighbours
from db.models import atlas as models
from db.models.atlas import Kind, RelationshipType
from graph.context import Info
from graph.dates import HistoricalDate
from graph.errors import bad_input
from graph.influences import Dataset, InfluenceConnection, dataset_of, influences_of
from graph.measures import Measures, measures_of
from graph.pagination import MAX_PAGE, check_first, cut, resolved
from graph.scalars import Date, Year

DEFAULT_FIRST = 50

First = Annotated[int, strawberry.argument(description="How many at most, up to 100.")]
AnId = Annotated[strawberry.ID, strawberry.argument(description='A public id: "Q868", "metacademy:bayes_rule".')]

AnyEntity = strawberry.Parent[models.Entity]
AnAgent = strawberry.Parent[models.Agent]
AWork = strawberry.Parent[models.Work]
AConcept = strawberry.Parent[models.Concept]

_TYPE_NAMES = {Kind.AGENT: "Agent", Kind.WORK: "Work", Kind.CONCEPT: "Concept"}


async def entity_by_key(info: Info, key: str) -> models.Entity | None:
    """Return the entity of a public id, or None; raises InvalidKeyError when the text has no form of one."""
    entity = await info.context.loaders.entities_by_id.load(internal_id(key))
    return entity if entity is not None and entity.key == key else None


async def _neighbours(info: Info, entity: models.Entity, wanted: Neighbours) -> list[models.Entity]:
    check_first(wanted.first)
    found = await info.context.loaders.neighbours_by_entity.load((entity.id, wanted))
    return cut(info, found, wanted.first)


def _label(
    root: AnyEntity,
    language: Annotated[str, strawberry.argument(description='A language code as Wikidata has it: "de", "ja".')],
) -> str | None:
    return root.labels.get(language)


@strawberry.type(description="A name in one language.")
class Label:
    """A language and the name in it."""

    language: str = strawberry.field(description='The language code as Wikidata has it: "en", "de", "ja".')
    text: str = strawberry.field(description="The name in that language.")


def _labels(root: AnyEntity) -> list[Label]:
    return [Label(language=language, text=text) for language, text in sorted(root.labels.items())]


def _name(root: AnyEntity) -> str | None:
    return root.name


def _start(root: AnyEntity) -> dates.HistoricalDate | None:
    return root.start


def _end(root: AnyEntity) -> dates.HistoricalDate | None:
    return root.end


def _start_year(root: AnyEntity) -> int | None:
    return root.start_year


def _end_year(root: AnyEntity) -> int | None:
    return root.end_year


@strawberry.interface(description="Anything with a global id (Relay's Global Object Identification).")
class Node:
    """Relay's node; the key is called `id`, since rows have an internal id of that name."""

    key: strawberry.ID = strawberry.field(
        name="id",
        description='The public id, stable and readable: "Q868" for a Wikidata item, else "metacademy:bayes_rule".',
    )

    @staticmethod
    def resolve_type(value: models.Entity, *_: object) -> str:
        """Name the type of an entity by its kind."""
        return _TYPE_NAMES[value.kind]


@strawberry.interface(description="What every agent, work and concept has: names, dates, and edges to others.")
class Entity(Node):
    """What the three kinds have in common."""

    kind: Kind = strawberry.field(description="What it is; the same as its type.")
    name: str | None = strawberry.field(
        description="The name in English, or in the language its source falls back to; null when the source has none."
    )
    label: str | None = resolved(_label, "The name in a language; null when it is not known.")
    labels: list[Label] = resolved(_labels, "The names in every known language, by language code.")
    description: str | None = strawberry.field(description="A sentence or a paragraph on what it is.")
    is_stub: bool = strawberry.field(
        description="Whether it is only known because another's record mentions it: expect no dates or description."
    )
    start: HistoricalDate | None = strawberry.field(
        description="An agent's birth, a work's publication, a concept's first use; null when unknown."
    )
    end: HistoricalDate | None = strawberry.field(
        description="An agent's death, a concept's end; null when unknown or when there is none."
    )
    dataset: Dataset = resolved(dataset_of, "The dataset that describes it, with the terms of its use.")
    influences: InfluenceConnection | None = resolved(
        influences_of, "The edges that end here or begin here, with their types, certainty and provenance."
    )
    measures: Measures | None = resolved(
        measures_of, "Its level, PageRank and degrees; null until the graph is measured after the load that brought it."
    )


async def _works(root: AnAgent, info: Info, first: First = DEFAULT_FIRST) -> list[models.Work]:
    return cut(info, await info.context.loaders.works_by_agent.load((root.id, check_first(first))), first)


async def _influenced_by(root: AnAgent, info: Info, first: First = DEFAULT_FIRST) -> list[models.Entity]:
    return await _neighbours(info, root, Neighbours((RelationshipType.INFLUENCED,), Kind.AGENT, first))


async def _influenced(root: AnAgent, info: Info, first: First = DEFAULT_FIRST) -> list[models.Entity]:
    wanted = Neighbours((RelationshipType.INFLUENCED,), Kind.AGENT, first, backward=False)
    return await _neighbours(info, root, wanted)


def _discipline(root: AnAgent) -> str | None:
    return root.disciplines[0] if root.disciplines else None


def _countries(root: AnAgent) -> list[str]:
    return [str(country) for country in root.details.get("countries") or ()]


@strawberry.type(description="A person or group: a philosopher, an inventor, a school.")
class Agent(Entity):
    """An entity of the kind AGENT."""

    birth_date: Date | None = resolved(_start, "The birth; see `birth` for how exactly it is known.")
    death_date: Date | None = resolved(_end, "The death; see `death` for how exactly it is known.")
    birth: HistoricalDate | None = resolved(_start, "The birth with its precision, bounds and wording.")
    death: HistoricalDate | None = resolved(_end, "The death with its precision, bounds and wording.")
    birth_year: Year | None = resolved(_start_year, "The astronomical year of birth.")
    death_year: Year | None = resolved(_end_year, "The astronomical year of death.")
    discipline: str | None = resolved(_discipline, "The first of `disciplines`; null when none is known.")
    disciplines: list[str] = strawberry.field(description="The fields the agent worked in.")
    countries: list[str] = resolved(_countries, "The countries the agent belonged to.")
    works: "list[Work | None] | None" = resolved(_works, "What the agent made, by publication; undated works last.")
    influenced_by: "list[Agent | None] | None" = resolved(
        _influenced_by, "The agents who influenced this one (INFLUENCED edges), the surest first."
    )
    influenced: "list[Agent | None] | None" = resolved(
        _influenced, "The agents whom this one influenced (INFLUENCED edges), the surest first."
    )

    @classmethod
    def is_type_of(cls, value: object, _info: Any) -> bool:
        """Tell agents from the other kinds."""
        return isinstance(value, models.Agent)


async def _author(root: AWork, info: Info) -> models.Agent | None:
    authors = await info.context.loaders.authors_by_work.load((root.id, 1))
    return authors[0] if authors else None


async def _authors(root: AWork, info: Info, first: First = DEFAULT_FIRST) -> list[models.Agent]:
    return cut(info, await info.context.loaders.authors_by_work.load((root.id, check_first(first))), first)


async def _built_upon(root: AWork, info: Info, first: First = DEFAULT_FIRST) -> list[models.Entity]:
    types = (RelationshipType.BUILT_ON, RelationshipType.DERIVED_FROM)
    return await _neighbours(info, root, Neighbours(types, Kind.WORK, first))


@strawberry.type(description="Something made: a book, a painting, a machine.")
class Work(Entity):
    """An entity of the kind WORK."""

    title: str | None = resolved(_name, "The title; the same as `name`.")
    publication_date: Date | None = resolved(_start, "When it was published; see `start` for how exactly.")
    publication_year: Year | None = resolved(_start_year, "The astronomical year of publication.")
    work_type: str | None = strawberry.field(name="type", description='What sort of work it is: "book", "painting".')
    author: Agent | None = resolved(_author, "The author; of several, the one with the lowest id. See `authors`.")
    authors: list[Agent] = resolved(_authors, "All authors, by id.")
    built_upon: "list[Work | None] | None" = resolved(
        _built_upon, "The works it was built on or derived from (BUILT_ON and DERIVED_FROM edges), the surest first."
    )

    @classmethod
    def is_type_of(cls, value: object, _info: Any) -> bool:
        """Tell works from the other kinds."""
        return isinstance(value, models.Work)


def _definition(root: AConcept) -> str | None:
    return root.description


async def _prerequisites(root: AConcept, info: Info, first: First = DEFAULT_FIRST) -> list[models.Entity]:
    return await _neighbours(info, root, Neighbours((RelationshipType.PREREQUISITE_FOR,), Kind.CONCEPT, first))


async def _prerequisite_for(root: AConcept, info: Info, first: First = DEFAULT_FIRST) -> list[models.Entity]:
    wanted = Neighbours((RelationshipType.PREREQUISITE_FOR,), Kind.CONCEPT, first, backward=False)
    return await _neighbours(info, root, wanted)


async def _associated_agents(root: AConcept, info: Info, first: First = DEFAULT_FIRST) -> list[models.Entity]:
    types = (RelationshipType.ASSOCIATED_WITH, RelationshipType.INVENTED_BY)
    return await _neighbours(info, root, Neighbours(types, Kind.AGENT, first))


@strawberry.type(description="An idea, a field or a skill.")
class Concept(Entity):
    """An entity of the kind CONCEPT."""

    definition: str | None = resolved(_definition, "What it means; the same as `description`.")
    field: str | None = strawberry.field(description="The field it belongs to; null when its source states none.")
    prerequisites: "list[Concept | None] | None" = resolved(
        _prerequisites,
        "What must be learnt directly before (PREREQUISITE_FOR edges), the surest first. `knowledgeRoadmap` goes on.",
    )
    prerequisite_for: "list[Concept]" = resolved(_prerequisite_for, "What this is a direct prerequisite for.")
    associated_agents: "list[Agent | None] | None" = resolved(
        _associated_agents, "The agents who worked in it or invented it (ASSOCIATED_WITH and INVENTED_BY edges)."
    )

    @classmethod
    def is_type_of(cls, value: object, _info: Any) -> bool:
        """Tell concepts from the other kinds."""
        return isinstance(value, models.Concept)


async def _node(info: Info, id: AnId) -> models.Entity | None:
    return await entity_by_key(info, id)


async def _nodes(
    info: Info, ids: Annotated[list[strawberry.ID], strawberry.argument(description="Public ids, at most 100.")]
) -> list[models.Entity | None]:
    if len(ids) > MAX_PAGE:
        raise bad_input(f"ids has {len(ids)} entries: give at most {MAX_PAGE} at a time")
    found = await info.context.loaders.entities_by_id.load_many([internal_id(key) for key in ids])
    return [entity if entity and entity.key == key else None for key, entity in zip(ids, found, strict=True)]


async def _figure_detail(info: Info, id: AnId) -> models.Entity | None:
    entity = await entity_by_key(info, id)
    return entity if isinstance(entity, models.Agent) else None


@strawberry.type
class AtlasQuery:
    """Root fields that fetch by id."""

    node: Node | None = resolved(_node, "The entity of an id; null when there is none.")
    nodes: list[Node | None] = resolved(
        _nodes, "The entities of several ids, in the order of the ids; null where there is none."
    )
    entity: Entity | None = resolved(_node, "The same as `node`, with the fields of every entity at hand.")
    figure_detail: Agent | None = resolved(_figure_detail, "An agent by id; null when there is none.")
