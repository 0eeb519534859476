from collections.abc import Iterator

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    is_introspection_type,
    is_required_argument,
    is_specified_scalar_type,
)

from db.models.atlas import RelationshipType
from graph.schema import FILE, schema

CONTRACT = """
knowledgeRoadmap: [RoadmapNode!]
timelineFigures: [Agent!]
figureDetail: Agent
interdisciplinaryContext: [Agent!]
RoadmapNode.concept: Concept!
RoadmapNode.depth: Int!
Agent.id: ID!
Agent.name: String
Agent.birthDate: Date
Agent.deathDate: Date
Agent.discipline: String
Agent.works: [Work]
Agent.influencedBy: [Agent]
Work.id: ID!
Work.title: String
Work.publicationDate: Date
Work.type: String
Work.author: Agent
Work.builtUpon: [Work]
Concept.id: ID!
Concept.name: String
Concept.definition: String
Concept.field: String
Concept.prerequisites: [Concept]
Concept.associatedAgents: [Agent]
"""
ARGUMENTS = """
knowledgeRoadmap.conceptId: ID!
timelineFigures.discipline: [String]
timelineFigures.yearRange: [Int]
figureDetail.id: ID!
interdisciplinaryContext.year: Int!
interdisciplinaryContext.fields: [String]
"""


def descriptions() -> Iterator[tuple[str, str | None]]:
    """Give every type, field, argument and enum value of our own with its description."""
    for name, kind in schema._schema.type_map.items():
        if is_introspection_type(kind) or is_specified_scalar_type(kind):
            continue
        yield name, kind.description
        if isinstance(kind, GraphQLEnumType):
            yield from ((f"{name}.{value}", member.description) for value, member in kind.values.items())
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            for field_name, field in kind.fields.items():
                yield f"{name}.{field_name}", field.description
                for argument_name, argument in getattr(field, "args", {}).items():
                    yield f"{name}.{field_name}({argument_name})", argument.description


def test_everything_has_a_description() -> None:
    found = list(descriptions())
    assert len(found) > 200
    assert [name for name, description in found if not (description or "").strip()] == []


def test_committed_schema_is_the_code() -> None:
    assert FILE.read_text(encoding="utf-8") == schema.as_str() + "\n", "run python -m graph.schema"


def test_contract_stands() -> None:
    types = schema._schema.type_map
    for line in CONTRACT.split("\n")[1:-1]:
        path, _, expected = line.partition(": ")
        owner, _, field = path.rpartition(".")
        kind = types[owner or "Query"]
        assert isinstance(kind, GraphQLObjectType)
        assert str(kind.fields[field].type) == expected, path


def test_contract_arguments_stand_and_no_other_is_required() -> None:
    fields = schema._schema.type_map["Query"].fields  # type: ignore[attr-defined]
    promised = dict(line.split(": ") for line in ARGUMENTS.split("\n")[1:-1])
    for path, expected in promised.items():
        field, argument = path.split(".")
        assert str(fields[field].args[argument].type) == expected
    for field in {path.split(".")[0] for path in promised} | {"data", "stats"}:
        required = {name for name, argument in fields[field].args.items() if is_required_argument(argument)}
        assert required <= {path.split(".")[1] for path in promised if path.startswith(f"{field}.")}


def test_relationship_types_are_all_of_the_databases() -> None:
    kind = schema._schema.type_map["RelationshipType"]
    assert isinstance(kind, GraphQLEnumType)
    assert list(kind.values) == [member.name for member in RelationshipType]
