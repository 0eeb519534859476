"""The knowledge graph's types: entities of three kinds, and the fields that lead from one to the next."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import strawberry
from sqlalchemy import ColumnElement, Text, func, literal_column

from db.keys import internal_id
from db.lookups import (
    AuthorsOf,
    EntityKey,
    EntityKeys,
    EntityList,
    Neighbours,
    WorksOf,
    entity_row,
    entity_rows,
    label_rows,
)
from db.models.atlas import Kind, RelationshipType
from db.rows import EntityRow, Slot, bound
from graph.compiled.dates import date_object, date_text
from graph.compiled.mapping import SQL, Listed, Mapped, One, Row, Value, column, mapped
from graph.context import Info
from graph.dates import HistoricalDate
from graph.errors import bad_input, check_text
from graph.influences import DATASET, INFLUENCES, Dataset, InfluenceConnection, dataset_of, influences_of
from graph.measures import MEASURES, Measures, measures_of
from graph.pagination import MAX_PAGE, check_first, cut
from graph.scalars import Date, Year

DEFAULT_FIRST = 50

First = Annotated[int, strawberry.argument(description="How many at most, up to 100.")]
AnId = Annotated[strawberry.ID, strawberry.argument(description='A public id: "Q868", "metacademy:bayes_rule".')]

AnyEntity = strawberry.Parent[EntityRow]


def _of(attribute: str, description: str, sql: Mapped) -> Any:
    """Make a field of an attribute of another name."""

    def resolve(root: AnyEntity) -> Any:
        return getattr(root, attribute)

    return mapped(resolve, description, sql)


_TYPE_NAMES: dict[str, str] = {Kind.AGENT: "Agent", Kind.WORK: "Work", Kind.CONCEPT: "Concept"}


async def entity_by_key(info: Info, key: str) -> EntityRow | None:
    """Return the entity of a public id, or None; raises InvalidKeyError when the text has no form of one."""
    entity = await info.context.loaders.entities_by_id.load(internal_id(key))
    return entity if entity is not None and entity.key == key else None


def _listed(make: Callable[[int], EntityList], description: str) -> Any:
    """Make a field of entities in a list that belongs to their parent."""

    async def resolve(root: AnyEntity, info: Info, first: First = DEFAULT_FIRST) -> Any:
        found = await info.context.loaders.lists_by_parent.load((root.id, make(check_first(first))))
        return cut(info, found, first)

    def read(first: int) -> EntityList:
        return make(check_first(first))

    return mapped(resolve, description, Listed(lambda row, wanted: wanted.rows(row["id"]), read))


def _neighbours(types: tuple[RelationshipType, ...], kind: Kind, description: str, *, backward: bool = True) -> Any:
    return _listed(lambda first: Neighbours(first, types, kind, backward), description)


def _label(
    root: AnyEntity,
    language: Annotated[str, strawberry.argument(description='A language code as Wikidata has it: "de", "ja".')],
) -> str | None:
    return root.labels.get(language)


@dataclass(frozen=True, slots=True)
class _LabelIn:
    language: str | Slot

    def sql(self, row: Row) -> ColumnElement[Any]:
        return row["labels"].op("->>", return_type=Text())(bound(self.language, Text()))


def _label_in(language: str) -> _LabelIn:
    return _LabelIn(check_text("language", language))


@strawberry.type(description="A name in one language.")
class Label:
    """A language and the name in it."""

    language: str = strawberry.field(description='The language code as Wikidata has it: "en", "de", "ja".')
    text: str = strawberry.field(description="The name in that language.")


def _labels(root: AnyEntity) -> list[Label]:
    return [Label(language=language, text=text) for language, text in sorted(root.labels.items())]


@strawberry.interface(description="Anything with a global id (Relay's Global Object Identification).")
class Node:
    """Relay's node; the key is called `id`, since rows have an internal id of that name."""

    key: strawberry.ID = strawberry.field(
        name="id",
        description='The public id, stable and readable: "Q868" for a Wikidata item, else "metacademy:bayes_rule".',
    )

    @staticmethod
    def resolve_type(value: EntityRow, *_: object) -> str:
        """Name the type of an entity by its kind."""
        return _TYPE_NAMES[value.kind]


@strawberry.interface(description="What every agent, work and concept has: names, dates, and edges to others.")
class Entity(Node):
    """What the three kinds have in common."""

    kind: Kind = strawberry.field(description="What it is; the same as its type.")
    name: str | None = strawberry.field(
        description="The name in English, or in the language its source falls back to; null when the source has none."
    )
    label: str | None = mapped(
        _label,
        "The name in a language; null when it is not known.",
        Value(lambda row, label: label.sql(row), _label_in),
    )
    labels: list[Label] = mapped(
        _labels,
        "The names in every known language, by language code.",
        Listed(lambda row, _: label_rows(row["labels"])),
    )
    description: str | None = strawberry.field(description="A sentence or a paragraph on what it is.")
    is_stub: bool = strawberry.field(
        description="Whether it is only known because another's record mentions it: expect no dates or description."
    )
    start: HistoricalDate | None = strawberry.field(
        description="An agent's birth, a work's publication, a concept's first use; null when unknown.",
        metadata={SQL: date_object("start_")},
    )
    end: HistoricalDate | None = strawberry.field(
        description="An agent's death, a concept's end; null when unknown or when there is none.",
        metadata={SQL: date_object("end_")},
    )
    dataset: Dataset = mapped(dataset_of, "The dataset that describes it, with the terms of its use.", DATASET)
    influences: InfluenceConnection | None = mapped(
        influences_of, "The edges that end here or begin here, with their types, certainty and provenance.", INFLUENCES
    )
    measures: Measures | None = mapped(
        measures_of,
        "Its level, PageRank and degrees; null until the graph is measured after the load that brought it.",
        MEASURES,
    )


def _discipline(root: AnyEntity) -> str | None:
    return root.disciplines[0] if root.disciplines else None


def _first_discipline(row: Row, _request: Any) -> ColumnElement[Any]:
    return literal_column(f"({row['disciplines']})[1]", Text)


def _countries_sql(row: Row, _request: Any) -> ColumnElement[Any]:
    countries = row["details"].op("->")(literal_column("'countries'"))
    return func.coalesce(func.nullif(countries, literal_column("'null'::jsonb")), literal_column("'[]'::jsonb"))


def _countries(root: AnyEntity) -> list[str]:
    return [str(country) for country in root.details.get("countries") or ()]


@strawberry.type(description="A person or group: a philosopher, an inventor, a school.")
class Agent(Entity):
    """An entity of the kind AGENT."""

    birth_date: Date | None = _of("start", "The birth; see `birth` for how exactly it is known.", date_text("start_"))
    death_date: Date | None = _of("end", "The death; see `death` for how exactly it is known.", date_text("end_"))
    birth: HistoricalDate | None = _of(
        "start", "The birth with its precision, bounds and wording.", date_object("start_")
    )
    death: HistoricalDate | None = _of("end", "The death with its precision, bounds and wording.", date_object("end_"))
    birth_year: Year | None = column("start_year", "The astronomical year of birth.")
    death_year: Year | None = column("end_year", "The astronomical year of death.")
    discipline: str | None = mapped(
        _discipline, "The first of `disciplines`; null when none is known.", Value(_first_discipline)
    )
    disciplines: list[str] = strawberry.field(description="The fields the agent worked in.")
    countries: list[str] = mapped(_countries, "The countries the agent belonged to.", Value(_countries_sql))
    works: "list[Work | None] | None" = _listed(WorksOf, "What the agent made, by publication; undated works last.")
    influenced_by: "list[Agent | None] | None" = _neighbours(
        (RelationshipType.INFLUENCED,),
        Kind.AGENT,
        "The agents who influenced this one (INFLUENCED edges), the surest first.",
    )
    influenced: "list[Agent | None] | None" = _neighbours(
        (RelationshipType.INFLUENCED,),
        Kind.AGENT,
        "The agents whom this one influenced (INFLUENCED edges), the surest first.",
        backward=False,
    )

    @classmethod
    def is_type_of(cls, value: object, _info: Any) -> bool:
        """Tell agents from the other kinds."""
        return isinstance(value, EntityRow) and value.kind == Kind.AGENT


async def _author(root: AnyEntity, info: Info) -> EntityRow | None:
    authors = await info.context.loaders.lists_by_parent.load((root.id, AuthorsOf(1)))
    return authors[0] if authors else None


@strawberry.type(description="Something made: a book, a painting, a machine.")
class Work(Entity):
    """An entity of the kind WORK."""

    title: str | None = column("name", "The title; the same as `name`.")
    publication_date: Date | None = _of(
        "start", "When it was published; see `start` for how exactly.", date_text("start_")
    )
    publication_year: Year | None = column("start_year", "The astronomical year of publication.")
    work_type: str | None = strawberry.field(name="type", description='What sort of work it is: "book", "painting".')
    author: Agent | None = mapped(
        _author,
        "The author; of several, the one with the lowest id. See `authors`.",
        One(lambda row, _: AuthorsOf(1).rows(row["id"])),
    )
    authors: list[Agent] = _listed(AuthorsOf, "All authors, by id.")
    built_upon: "list[Work | None] | None" = _neighbours(
        (RelationshipType.BUILT_ON, RelationshipType.DERIVED_FROM),
        Kind.WORK,
        "The works it was built on or derived from (BUILT_ON and DERIVED_FROM edges), the surest first.",
    )

    @classmethod
    def is_type_of(cls, value: object, _info: Any) -> bool:
        """Tell works from the other kinds."""
        return isinstance(value, EntityRow) and value.kind == Kind.WORK


@strawberry.type(description="An idea, a field or a skill.")
class Concept(Entity):
    """An entity of the kind CONCEPT."""

    definition: str | None = column("description", "What it means; the same as `description`.")
    field: str | None = strawberry.field(description="The field it belongs to; null when its source states none.")
    prerequisites: "list[Concept | None] | None" = _neighbours(
        (RelationshipType.PREREQUISITE_FOR,),
        Kind.CONCEPT,
        "What must be learnt directly before (PREREQUISITE_FOR edges), the surest first. `knowledgeRoadmap` goes on.",
    )
    prerequisite_for: "list[Concept]" = _neighbours(
        (RelationshipType.PREREQUISITE_FOR,),
        Kind.CONCEPT,
        "What this is a direct prerequisite for.",
        backward=False,
    )
    associated_agents: "list[Agent | None] | None" = _neighbours(
        (RelationshipType.ASSOCIATED_WITH, RelationshipType.INVENTED_BY),
        Kind.AGENT,
        "The agents who worked in it or invented it (ASSOCIATED_WITH and INVENTED_BY edges).",
    )

    @classmethod
    def is_type_of(cls, value: object, _info: Any) -> bool:
        """Tell concepts from the other kinds."""
        return isinstance(value, EntityRow) and value.kind == Kind.CONCEPT


async def _node(info: Info, id: AnId) -> EntityRow | None:
    return await entity_by_key(info, id)


def _key(id: str, kind: Kind | None = None) -> EntityKey:
    return EntityKey(internal_id(id), id, kind)


def _agent_key(id: str) -> EntityKey:
    return _key(id, Kind.AGENT)


def _keys(ids: list[strawberry.ID]) -> EntityKeys:
    if len(ids) > MAX_PAGE:
        raise bad_input(f"ids has {len(ids)} entries: give at most {MAX_PAGE} at a time")
    return EntityKeys(tuple([internal_id(key) for key in ids]), tuple(ids))


async def _nodes(
    info: Info, ids: Annotated[list[strawberry.ID], strawberry.argument(description="Public ids, at most 100.")]
) -> list[EntityRow | None]:
    found = await info.context.loaders.entities_by_id.load_many(list(_keys(ids).ids))
    return [entity if entity and entity.key == key else None for key, entity in zip(ids, found, strict=True)]


async def _figure_detail(info: Info, id: AnId) -> EntityRow | None:
    entity = await entity_by_key(info, id)
    return entity if entity is not None and entity.kind == Kind.AGENT else None


ENTITY_OF_KEY = One(lambda _, key: entity_row(key), _key)


@strawberry.type
class AtlasQuery:
    """Root fields that fetch by id."""

    node: Node | None = mapped(_node, "The entity of an id; null when there is none.", ENTITY_OF_KEY, reads_once=True)
    nodes: list[Node | None] = mapped(
        _nodes,
        "The entities of several ids, in the order of the ids; null where there is none.",
        Listed(lambda _, keys: entity_rows(keys), _keys, lambda row: row["id"].is_not(None)),
        reads_once=True,
    )
    entity: Entity | None = mapped(
        _node, "The same as `node`, with the fields of every entity at hand.", ENTITY_OF_KEY, reads_once=True
    )
    figure_detail: Agent | None = mapped(
        _figure_detail,
        "An agent by id; null when there is none.",
        One(lambda _, key: entity_row(key), _agent_key),
        reads_once=True,
    )
