import pytest

from tests.client import Client

ROADMAP = """
query ($id: ID!, $maxDepth: Int! = 16, $first: Int! = 200) {
  roadmap(conceptId: $id, maxDepth: $maxDepth, first: $first) {
    concept { id }
    nodes { depth concept { id } }
    edges { source { id } target { id } type confidence isDerived isRedundant note provenance { rule } }
    learningOrder { position isCycle concepts { id } }
    mermaid isTruncated truncatedBy
  }
}
"""
PLAN = "query ($id: ID!) { knowledgeRoadmap(conceptId: $id) { depth concept { id name } } }"


async def test_knowledge_roadmap_lists_what_to_learn_nearest_first(atlas: Client) -> None:
    nodes = (await atlas.ask(PLAN, id="test:goal"))["knowledgeRoadmap"]
    assert sorted((node["depth"], node["concept"]["id"]) for node in nodes) == [
        (1, "test:near"),
        (1, "test:right"),
        (2, "test:far"),
        (2, "test:left"),
        (2, "test:middle"),
    ]
    assert [node["depth"] for node in nodes] == [1, 1, 2, 2, 2]


@pytest.mark.parametrize("key", ["test:alone", "test:none", "Q868", "Q404"])
async def test_knowledge_roadmap_of_what_presupposes_nothing_is_empty(atlas: Client, key: str) -> None:
    assert await atlas.ask(PLAN, id=key) == {"knowledgeRoadmap": []}


async def test_knowledge_roadmap_tells_what_cut_it(atlas: Client) -> None:
    query = '{ knowledgeRoadmap(conceptId: "test:goal", %s) { depth } }'
    answer = await atlas.answer(query % "first: 3")
    assert len(answer["data"]["knowledgeRoadmap"]) == 3
    assert answer["extensions"]["truncated"] == [{"path": ["knowledgeRoadmap"], "limit": 3}]
    answer = await atlas.answer(query % "maxDepth: 1")
    assert answer["extensions"]["truncated"] == [{"path": ["knowledgeRoadmap"], "limit": 1}]
    assert "extensions" not in await atlas.answer(query % "maxDepth: 2, first: 5")


async def test_roadmap_orders_learning_and_names_cycles(atlas: Client) -> None:
    roadmap = (await atlas.ask(ROADMAP, id="test:goal"))["roadmap"]
    steps = [[concept["id"] for concept in step["concepts"]] for step in roadmap["learningOrder"]]
    assert steps == [["test:far"], ["test:left", "test:right"], ["test:middle"], ["test:near"], ["test:goal"]]
    assert [step["position"] for step in roadmap["learningOrder"]] == [1, 2, 3, 4, 5]
    assert [step["isCycle"] for step in roadmap["learningOrder"]] == [False, True, False, False, False]


async def test_roadmap_marks_redundant_edges_and_does_not_draw_them(atlas: Client) -> None:
    roadmap = (await atlas.ask(ROADMAP, id="test:goal"))["roadmap"]
    redundant = [(e["source"]["id"], e["target"]["id"]) for e in roadmap["edges"] if e["isRedundant"]]
    assert redundant == [("test:far", "test:near")]
    assert len(roadmap["edges"]) == 7
    assert roadmap["mermaid"].count("-->") == 6
    assert roadmap["mermaid"].startswith('flowchart TD\n    n0["goal"]\n')


async def test_roadmap_that_is_cut_holds_together(atlas: Client) -> None:
    roadmap = (await atlas.ask(ROADMAP, id="test:goal", first=1))["roadmap"]
    assert (roadmap["isTruncated"], roadmap["truncatedBy"]) == (True, ["FIRST"])
    inside = {"test:goal", *(node["concept"]["id"] for node in roadmap["nodes"])}
    assert {edge[side]["id"] for edge in roadmap["edges"] for side in ("source", "target")} == inside
    roadmap = (await atlas.ask(ROADMAP, id="test:goal", maxDepth=0))["roadmap"]
    assert (roadmap["nodes"], roadmap["edges"], roadmap["truncatedBy"]) == ([], [], ["MAX_DEPTH"])
    assert [step["concepts"] for step in roadmap["learningOrder"]] == [[{"id": "test:goal"}]]


@pytest.mark.parametrize("key", ["test:none", "Q868", "Q404"])
async def test_roadmap_of_what_is_no_concept_is_null(atlas: Client, key: str) -> None:
    assert await atlas.ask(ROADMAP, id=key) == {"roadmap": None}


async def test_roadmap_costs_two_statements(atlas: Client) -> None:
    with atlas.statements() as seen:
        await atlas.ask('{ roadmap(conceptId: "test:goal") { nodes { depth } edges { note } mermaid } }')
    assert len(seen) == 2


async def test_sample_has_the_roadmap_to_bayesian_logistic_regression(sample: Client) -> None:
    roadmap = (await sample.ask(ROADMAP, id="metacademy:bayesian_logistic_regression"))["roadmap"]
    position = {c["id"]: step["position"] for step in roadmap["learningOrder"] for c in step["concepts"]}
    assert not roadmap["isTruncated"]
    assert position["metacademy:bayesian_logistic_regression"] == max(position.values())
    assert position["metacademy:bayes_rule"] < position["metacademy:bayesian_linear_regression"]
    for edge in roadmap["edges"]:
        assert position[edge["source"]["id"]] <= position[edge["target"]["id"]]
    plan = (await sample.ask(PLAN, id="metacademy:bayesian_logistic_regression"))["knowledgeRoadmap"]
    assert [(node["depth"], node["concept"]["id"]) for node in plan] == [
        (node["depth"], node["concept"]["id"]) for node in roadmap["nodes"]
    ]
