from typing import Any

import pytest

from tests.client import Client

RUN = """
query ($id: BigInt!, $first: Int! = 20, $after: String) { etlRun(id: $id) {
  durationSeconds error fields { field type count }
  quality {
    rows completeness freshness score drift { field change before after } anomalies { figure value median score }
  }
  quarantine(first: $first, after: $after) {
    totalCount pageInfo { hasNextPage endCursor }
    edges { node { id source sourceId field value reason payload quarantinedAt resolvedBy { id } } }
  }
} }
"""


async def run(client: Client, number: int, **page: Any) -> Any:
    return (await client.ask(RUN, id=number, **page))["etlRun"]


async def test_run_tells_its_fields_and_quality(shop: Client) -> None:
    found = await run(shop, 4)
    assert (found["durationSeconds"], found["quality"]["rows"]) == (10, 13)
    assert found["fields"] == [{"field": "price", "type": kind, "count": 5} for kind in ("null", "text")]
    assert found["quality"]["drift"] == [
        {"field": "price", "change": "RETYPED", "before": ["number"], "after": ["text"]}
    ]
    assert found["quality"]["anomalies"] == [{"figure": "rows", "value": 13, "median": 26, "score": -4.2}]
    assert (found["quality"]["completeness"], found["quality"]["freshness"]) == (0.9, None)


async def test_run_without_quality_has_none(shop: Client) -> None:
    found = await run(shop, 3)
    assert (found["quality"], found["fields"], found["quarantine"]["totalCount"]) == (None, [], 0)
    assert found["error"] == "https://shop.example/items: 503"


async def test_quarantine_of_a_run_pages(shop: Client) -> None:
    page = (await run(shop, 1, first=2))["quarantine"]
    assert (page["totalCount"], page["pageInfo"]["hasNextPage"]) == (3, True)
    first, second = (edge["node"] for edge in page["edges"])
    assert (first["sourceId"], first["field"], first["resolvedBy"]) == ("7", "price", {"id": 4})
    assert (second["payload"], second["field"]) == ("not JSON", None)
    rest = (await run(shop, 1, first=2, after=page["pageInfo"]["endCursor"]))["quarantine"]
    assert ([edge["node"]["sourceId"] for edge in rest["edges"]], rest["pageInfo"]["hasNextPage"]) == (["9"], False)


async def test_quarantine_gives_the_payload_as_received(shop: Client) -> None:
    query = "{ etlRun(id: 2) { quarantine { edges { node { payload resolvedBy { id } } } } } }"
    response = await shop.http.post("/graphql", json={"query": query})
    assert b'{"payload":{"price": 1e400},"resolvedBy":null}' in response.content


@pytest.mark.parametrize(
    ("fields", "cost"),
    [
        ("quality { rows } fields { count }", 3),
        ("quarantine(first: 1) { edges { node { resolvedBy { id } } } }", 3),
        ("quarantine(first: 1) { totalCount }", 3),
    ],
)
async def test_fields_of_runs_cost_a_statement_each(shop: Client, fields: str, cost: int) -> None:
    with shop.statements() as seen:
        await shop.ask(f"{{ etlRuns {{ edges {{ node {{ {fields} }} }} }} }}")
    assert len(seen) == cost


async def test_stats_tell_of_each_source(shop: Client) -> None:
    stats = (
        await shop.ask("""{ stats { records rawRecords sources {
            source kind records runCount meanDurationSeconds lastDurationSeconds openQuarantine
            lastSuccess { id } lastFailure { id error } quality { score drift { field } anomalies { figure } } } } }""")
    )["stats"]
    people, items = stats["sources"]
    assert (stats["records"], stats["rawRecords"]) == (29, 2)
    assert people == {
        "source": "people",
        "kind": "csv",
        "records": 15,
        "runCount": 2,
        "meanDurationSeconds": 4,
        "lastDurationSeconds": 4,
        "openQuarantine": 1,
        "lastSuccess": {"id": 2},
        "lastFailure": None,
        "quality": None,
    }
    assert [items[name] for name in ("kind", "records", "runCount")] == ["rest", 14, 3]
    assert [items[name] for name in ("meanDurationSeconds", "lastDurationSeconds")] == [6, 10]
    assert items["lastFailure"] == {"id": 3, "error": "https://shop.example/items: 503"}
    assert items["quality"] == {"score": 0.9667, "drift": [{"field": "price"}], "anomalies": [{"figure": "rows"}]}


async def test_stats_of_sources_cost_a_statement_a_field(shop: Client) -> None:
    with shop.statements() as seen:
        await shop.ask("{ stats { sources { kind records quality { rows } } } }")
    assert len(seen) == 4 + 3


async def test_kind_of_the_graphs_sources_is_that_of_their_parts(atlas: Client) -> None:
    assert (await atlas.ask("{ stats { sources { kind records } } }"))["stats"]["sources"] == [
        {"kind": "atlas", "records": 0}
    ]
