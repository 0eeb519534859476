from typing import Any

import pytest

from tests.client import Client, cost

FIGURE = """
query ($id: ID!) {
  figureDetail(id: $id) {
    id name birthDate deathDate discipline
    works { id title publicationDate type author { id } builtUpon { id } }
    influencedBy { id name }
  }
}
"""


async def test_figure_has_the_fields_of_the_contract(atlas: Client) -> None:
    figure = (await atlas.ask(FIGURE, id="Q868"))["figureDetail"]
    works = figure.pop("works")
    assert figure == {
        "id": "Q868",
        "name": "Aristotle",
        "birthDate": "-0383-01-01",
        "deathDate": "-0321-01-01",
        "discipline": "philosophy",
        "influencedBy": [{"id": "Q859", "name": "Plato"}],
    }
    metaphysics = {"id": "Q202", "title": "Metaphysics", "publicationDate": None, "type": None}
    assert works == [metaphysics | {"author": {"id": "Q859"}, "builtUpon": [{"id": "Q201"}]}]


async def test_concept_has_the_fields_of_the_contract(atlas: Client) -> None:
    fields = "id name definition field prerequisites { id } prerequisiteFor { id } associatedAgents { id }"
    node = (await atlas.ask(f'{{ node(id: "test:goal") {{ ... on Concept {{ {fields} }} }} }}'))["node"]
    prerequisites = node.pop("prerequisites")
    assert sorted(concept["id"] for concept in prerequisites) == ["test:near", "test:right"]
    expected = {"id": "test:goal", "name": "goal", "definition": "What goal is.", "field": "logic"}
    assert node == expected | {"prerequisiteFor": [], "associatedAgents": [{"id": "Q868"}]}


async def test_works_come_by_publication_with_all_authors(atlas: Client) -> None:
    query = "query ($id: ID!) { figureDetail(id: $id) { works { title authors { name } } } }"
    figure = (await atlas.ask(query, id="Q9358"))["figureDetail"]
    assert [work["title"] for work in figure["works"]] == ["The Gay Science", "Ecce Homo"]
    figure = (await atlas.ask(query, id="Q859"))["figureDetail"]
    assert [work["title"] for work in figure["works"]] == ["Republic", "Metaphysics"]
    assert [agent["name"] for agent in figure["works"][1]["authors"]] == ["Plato", "Aristotle"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("Q868", {"date": "-0383-01-01", "year": -383, "precision": "YEAR", "text": "384 BCE"}),
        ("Q868", {"earliest": "-0383-01-01", "latest": "-0383-12-31", "month": None, "day": None}),
        ("Q9358", {"date": "1844-10-15", "month": 10, "day": 15, "calendar": "GREGORIAN", "text": "15 October 1844"}),
        ("Q101", {"precision": "CENTURY", "text": "5th century BCE"}),
        ("Q101", {"earliest": "-0499-01-01", "latest": "-0400-12-31"}),
    ],
)
async def test_birth_tells_its_precision(atlas: Client, key: str, expected: dict[str, Any]) -> None:
    query = f"query ($id: ID!) {{ entity(id: $id) {{ start {{ {' '.join(expected)} }} }} }}"
    assert (await atlas.ask(query, id=key))["entity"]["start"] == expected


async def test_entity_fields_serve_every_kind(atlas: Client) -> None:
    query = """query ($ids: [ID!]!) { nodes(ids: $ids) {
        __typename id ... on Entity { kind name isStub dataset { name licence } influences { totalCount } } } }"""
    nodes = (await atlas.ask(query, ids=["test:goal", "Q404", "Q104", "Q201"]))["nodes"]
    assert [node and node["__typename"] for node in nodes] == ["Concept", None, "Agent", "Work"]
    assert nodes[2] == {
        "__typename": "Agent",
        "id": "Q104",
        "kind": "AGENT",
        "name": None,
        "isStub": True,
        "dataset": {"name": "test", "licence": "CC0 1.0"},
        "influences": {"totalCount": 0},
    }


async def test_agent_tells_labels_and_countries(atlas: Client) -> None:
    fields = 'label(language: "de") missing: label(language: "fr") labels { language text } countries disciplines'
    figure = (await atlas.ask(f'{{ figureDetail(id: "Q868") {{ {fields} birthYear deathYear }} }}'))["figureDetail"]
    assert figure == {
        "label": "Aristoteles",
        "missing": None,
        "labels": [{"language": "de", "text": "Aristoteles"}, {"language": "ja", "text": "アリストテレス"}],
        "countries": ["Macedonia"],
        "disciplines": ["philosophy", "biology"],
        "birthYear": -383,
        "deathYear": -321,
    }


@pytest.mark.parametrize(
    "query", ['figureDetail(id: "Q404")', 'figureDetail(id: "test:goal")', 'node(id: "test:none")']
)
async def test_unknown_id_is_null(atlas: Client, query: str) -> None:
    assert list((await atlas.ask(f"{{ {query} {{ id }} }}")).values()) == [None]


async def test_influences_page_over_all_edges(atlas: Client) -> None:
    query = """query ($after: String) { entity(id: "Q9358") { influences(first: 1, after: $after) {
        totalCount pageInfo { hasNextPage hasPreviousPage endCursor }
        edges { type confidence isDerived note node { __typename name }
                provenance { rule statement confidence isDerived dataset { name } } } } } }"""
    names, after = [], None
    for _ in range(2):
        page = (await atlas.ask(query, after=after))["entity"]["influences"]
        names.append(page["edges"][0]["node"]["name"])
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        after = page["pageInfo"]["endCursor"]
    assert (names, page["totalCount"], page["pageInfo"]["hasNextPage"]) == (["Plato", "Aristotle"], 2, False)
    (statement,) = page["edges"][0]["provenance"]
    expected = {"rule": "P737", "statement": "Q868-Q9358", "confidence": 0.9, "isDerived": False}
    assert statement == expected | {"dataset": {"name": "test"}}


async def test_influences_follow_direction_and_types(atlas: Client) -> None:
    query = """query ($types: [RelationshipType!]) { entity(id: "Q102") {
        influences(direction: FORWARD, types: $types) { totalCount edges { type node { id } } } } }"""
    both = (await atlas.ask(query))["entity"]["influences"]
    assert [(edge["type"], edge["node"]["id"]) for edge in both["edges"]] == [
        ("INFLUENCED", "Q103"),
        ("TAUGHT", "Q41390"),
    ]
    taught = (await atlas.ask(query, types=["TAUGHT"]))["entity"]["influences"]
    assert (taught["totalCount"], len(taught["edges"])) == (1, 1)


async def test_lists_that_are_cut_say_so(atlas: Client) -> None:
    answer = await atlas.answer('{ who: figureDetail(id: "Q9358") { influencedBy(first: 1) { id } works { id } } }')
    assert answer["extensions"] == {"truncated": [{"path": ["who", "influencedBy"], "limit": 1}]}


@pytest.mark.parametrize(
    ("query", "statements"),
    [
        ('{ figureDetail(id: "Q9358") { name } }', 1),
        (
            "{ timelineFigures { name influencedBy { name influencedBy { name influenced { name } } } } }",
            4,
        ),
        ("{ timelineFigures { works { title authors { name works { title } } builtUpon { title } } } }", 5),
        ("{ timelineFigures { works { author { birthDate } } dataset { name } } }", 4),
        (
            "{ timelineFigures { influences { edges { node { dataset { title } influences { totalCount } } } } } }",
            5,
        ),
        (
            '{ knowledgeRoadmap(conceptId: "test:goal") { concept { prerequisites { prerequisites { name } } } } }',
            3,
        ),
        ('{ nodes(ids: ["Q868", "Q859", "test:goal"]) { id ... on Agent { influencedBy { name } } } }', 2),
        ('{ a: figureDetail(id: "Q868") { name } b: figureDetail(id: "Q859") { name } }', 1),
    ],
)
async def test_each_level_costs_one_statement(atlas: Client, query: str, statements: int) -> None:
    with atlas.statements() as seen:
        await atlas.ask(query)
    assert len(seen) == cost(statements), seen


async def test_lists_with_other_arguments_cost_one_statement_each(atlas: Client) -> None:
    with atlas.statements() as seen:
        data = await atlas.ask("{ timelineFigures { one: influencedBy(first: 1) { id } all: influencedBy { id } } }")
    assert len(seen) == cost(3)
    assert max(len(figure["one"]) for figure in data["timelineFigures"]) == 1
    assert max(len(figure["all"]) for figure in data["timelineFigures"]) == 2
