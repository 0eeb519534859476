import pytest

from tests.client import Client

LINEAGE = """
query ($id: ID!, $direction: Direction! = BACKWARD, $types: [RelationshipType!], $maxDepth: Int! = 6) {
  lineage(id: $id, direction: $direction, types: $types, maxDepth: $maxDepth) {
    entity { id } isTruncated truncatedBy
    nodes { depth entity { id } }
    edges { type source { id } target { id } confidence isDerived note provenance { statement } }
  }
}
"""
PATH = """
query ($from: ID!, $to: ID!, $types: [RelationshipType!]) {
  path(from: $from, to: $to, types: $types) { length nodes { id name } edges { type source { id } target { id } } }
}
"""


async def test_lineage_goes_back_to_what_led_here(atlas: Client) -> None:
    lineage = (await atlas.ask(LINEAGE, id="Q9358"))["lineage"]
    assert [(node["depth"], node["entity"]["id"]) for node in lineage["nodes"]] == [
        (1, "Q859"),
        (1, "Q868"),
        (2, "Q913"),
    ]
    assert {(edge["source"]["id"], edge["target"]["id"]) for edge in lineage["edges"]} == {
        ("Q859", "Q868"),
        ("Q859", "Q9358"),
        ("Q868", "Q9358"),
        ("Q913", "Q859"),
    }
    assert (lineage["entity"], lineage["isTruncated"], lineage["truncatedBy"]) == ({"id": "Q9358"}, False, [])


async def test_lineage_goes_forward_in_cycles_once(atlas: Client) -> None:
    lineage = (await atlas.ask(LINEAGE, id="Q102", direction="FORWARD"))["lineage"]
    assert [(node["depth"], node["entity"]["id"]) for node in lineage["nodes"]] == [(1, "Q103"), (1, "Q41390")]
    assert len(lineage["edges"]) == 3


async def test_lineage_keeps_to_types_and_says_what_cut_it(atlas: Client) -> None:
    taught = (await atlas.ask(LINEAGE, id="Q102", direction="FORWARD", types=["TAUGHT"]))["lineage"]
    assert [node["entity"]["id"] for node in taught["nodes"]] == ["Q41390"]
    short = (await atlas.ask(LINEAGE, id="Q9358", maxDepth=1))["lineage"]
    assert (short["isTruncated"], short["truncatedBy"], len(short["nodes"])) == (True, ["MAX_DEPTH"], 2)


@pytest.mark.parametrize("key", ["Q404", "test:none"])
async def test_lineage_of_an_unknown_entity_is_null(atlas: Client, key: str) -> None:
    assert await atlas.ask(LINEAGE, id=key) == {"lineage": None}


async def test_path_tells_how_one_led_to_another(atlas: Client) -> None:
    path = (await atlas.ask(PATH, **{"from": "Q913", "to": "Q41390"}))["path"]
    assert [node["name"] for node in path["nodes"]] == ["Socrates", "Plato", "Friedrich Nietzsche", "Kurt Gödel"]
    assert [(edge["source"]["id"], edge["target"]["id"]) for edge in path["edges"]] == [
        ("Q913", "Q859"),
        ("Q859", "Q9358"),
        ("Q9358", "Q41390"),
    ]
    assert path["length"] == 3


@pytest.mark.parametrize(("start", "goal"), [("Q41390", "Q913"), ("Q404", "Q868"), ("Q868", "Q404"), ("Q404", "Q404")])
async def test_path_that_is_not_there_is_null(atlas: Client, start: str, goal: str) -> None:
    assert await atlas.ask(PATH, **{"from": start, "to": goal}) == {"path": None}


async def test_path_to_itself_has_no_steps(atlas: Client) -> None:
    path = (await atlas.ask(PATH, **{"from": "Q868", "to": "Q868"}))["path"]
    assert path == {"length": 0, "nodes": [{"id": "Q868", "name": "Aristotle"}], "edges": []}


async def test_sample_leads_from_aristotle_to_nietzsche(sample: Client) -> None:
    path = (await sample.ask(PATH, **{"from": "Q868", "to": "Q9358"}))["path"]
    assert (path["nodes"][0]["name"], path["nodes"][-1]["name"]) == ("Aristotle", "Friedrich Nietzsche")
    assert len(path["nodes"]) == path["length"] + 1 == len(path["edges"]) + 1
