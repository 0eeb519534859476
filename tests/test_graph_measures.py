import base64
import json
from typing import Any

import pytest

from tests.client import Client

MEASURES = """query ($ids: [ID!]!) { nodes(ids: $ids) { id ... on Entity { measures {
    level pageRank degree degrees { type incoming outgoing } isInCycle dataVersion isCurrent } } } }"""
CYCLES = """query ($first: Int, $after: String) { prerequisiteCycles(first: $first, after: $after) {
    totalCount pageInfo { hasNextPage endCursor } edges { node { size members { id } } } } }"""


async def test_measures_are_those_stored(atlas: Client) -> None:
    goal, agent, unmeasured = (await atlas.ask(MEASURES, ids=["test:goal", "Q868", "Q105"]))["nodes"]
    assert goal["measures"] == {
        "level": 3,
        "pageRank": pytest.approx(0.4),
        "degree": 3,
        "degrees": [
            {"type": "PREREQUISITE_FOR", "incoming": 2, "outgoing": 0},
            {"type": "ASSOCIATED_WITH", "incoming": 1, "outgoing": 0},
        ],
        "isInCycle": False,
        "dataVersion": 0,
        "isCurrent": True,
    }
    assert (agent["measures"]["level"], agent["measures"]["degree"]) == (None, 3)
    assert unmeasured["measures"] is None


async def test_cycles_are_listed_with_their_members(atlas: Client) -> None:
    page = (await atlas.ask(CYCLES))["prerequisiteCycles"]
    ((cycle,), total) = ([edge["node"] for edge in page["edges"]], page["totalCount"])
    assert (cycle["size"], total) == (2, 1)
    assert {member["id"] for member in cycle["members"]} == {"test:left", "test:right"}
    cursor = page["pageInfo"]["endCursor"]
    assert (await atlas.ask(CYCLES, after=cursor))["prerequisiteCycles"]["edges"] == []


@pytest.mark.parametrize(
    ("query", "statements"),
    [
        ("{ timelineFigures { measures { level } influenced { measures { pageRank } } } }", 4),
        ("{ entities(orderBy: PAGERANK_DESC) { edges { node { measures { degrees { type } } } } } }", 2),
        ("{ prerequisiteCycles { edges { node { members { measures { level } } } } } }", 3),
        ("{ etlRuns { edges { node { report { figures { value } } } } } }", 2),
    ],
)
async def test_each_level_of_measures_costs_one_statement(atlas: Client, query: str, statements: int) -> None:
    with atlas.statements() as seen:
        await atlas.ask(query)
    assert len(seen) <= statements, seen


def cursor(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("value", [1e300, -1e300, 0.1])
async def test_rank_that_nobody_has_is_a_place_all_the_same(atlas: Client, value: float) -> None:
    query = "query ($after: String) { entities(orderBy: PAGERANK_ASC, after: $after) { edges { node { id } } } }"
    answer = await atlas.ask(query, after=cursor("PAGERANK_ASC", value, 7))
    assert len(answer["entities"]["edges"]) == (1 if value == 1e300 else 20)


@pytest.mark.parametrize("value", [2**40, -(2**40)])
async def test_level_beyond_all_is_a_place_all_the_same(atlas: Client, value: int) -> None:
    query = "query ($after: String) { entities(orderBy: LEVEL_ASC, after: $after) { edges { node { id } } } }"
    await atlas.ask(query, after=cursor("LEVEL_ASC", value, 7))
    code, _ = await atlas.refusal(query, after=cursor("LEVEL_ASC", "1", 7))
    assert code == "BAD_INPUT"


async def test_sample_ranks_what_led_to_much(sample: Client) -> None:
    query = """query ($orderBy: EntityOrder!, $kinds: [Kind!]) { entities(
        filter: {kinds: $kinds}, orderBy: $orderBy, first: 3) {
            edges { node { name measures { level isCurrent } } } } }"""
    page = (await sample.ask(query, orderBy="PAGERANK_DESC", kinds=["AGENT"]))["entities"]
    assert {"Plato", "Aristotle"} <= {edge["node"]["name"] for edge in page["edges"]}
    page = (await sample.ask(query, orderBy="LEVEL_DESC", kinds=None))["entities"]
    assert page["edges"][0]["node"]["measures"] == {"level": 17, "isCurrent": True}


async def test_run_tells_its_report(sample: Client) -> None:
    query = """{ none: etlRun(id: 9) { id } etlRun(id: 1) { retired report { dataVersion previousRunId
        odd: figures(oddOnly: true) { name } figures { group name value previous isOdd } } } }"""
    data = await sample.ask(query)
    report = data["etlRun"]["report"]
    assert (data["none"], data["etlRun"]["retired"]) == (None, 0)
    assert (report["dataVersion"], report["previousRunId"], report["odd"]) == (2, None, [])
    figure = {"group": "STATEMENTS", "name": "wikidata/P737", "value": 3326, "previous": None, "isOdd": False}
    assert figure in report["figures"]
    assert {row["group"] for row in report["figures"]} >= {"ROWS", "ENTITIES", "LABELS", "DATES", "GRAPH"}


async def test_unfinished_run_has_no_report(atlas: Client) -> None:
    assert (await atlas.ask("{ etlRun(id: 2) { report { dataVersion } } }"))["etlRun"] == {"report": None}
