from typing import Any

import orjson
import pytest

from tests.client import Client

RAW = """
query ($source: String, $search: String, $first: Int! = 20, $after: String) {
  rawRecords(source: $source, search: $search, first: $first, after: $after) {
    totalCount pageInfo { hasNextPage endCursor }
    edges { node { id source sourceId kind payload contentHash isProcessed receivedAt run { id } } }
  }
}
"""


async def test_raw_records_are_given_as_received(atlas: Client) -> None:
    response = await atlas.http.post("/graphql", json={"query": RAW, "variables": {}})
    assert b'{"big": 123456789012345678901234567890, "ok": "\xc3\xa4"}' in response.content
    payloads = [edge["node"]["payload"] for edge in response.json()["data"]["rawRecords"]["edges"]]
    assert payloads[1:] == ["not JSON", {"n": 1}, "NaN"]
    assert orjson.loads(response.content)["data"]["rawRecords"]["totalCount"] == 4


async def test_raw_records_page_by_source_and_id(atlas: Client) -> None:
    found, after, has_next = [], None, True
    while has_next:
        page = (await atlas.ask(RAW, first=1, after=after))["rawRecords"]
        found += [edge["node"]["id"] for edge in page["edges"]]
        after, has_next = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert found == ["atlas/test/part0/0", "atlas/test/part0/2", "atlas/test/part1/1", "atlas/test/part1/3"]


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ({"source": "test"}, 4),
        ({"source": "test/part1"}, 2),
        ({"source": "tes"}, 0),
        ({"search": "not json"}, 1),
        ({"search": "%"}, 0),
    ],
)
async def test_raw_records_are_filtered(atlas: Client, wanted: dict[str, Any], count: int) -> None:
    assert (await atlas.ask(RAW, **wanted))["rawRecords"]["totalCount"] == count
