from typing import Any

import orjson
import pytest

from tests.client import Client

DATA = """
query ($source: String, $search: String, $first: Int! = 20, $after: String) {
  data(source: $source, search: $search, first: $first, after: $after) {
    totalCount pageInfo { hasNextPage endCursor }
    edges { node { id source sourceId attributes receivedAt run { id } } }
  }
}
"""


async def test_records_are_given_as_received(atlas: Client) -> None:
    response = await atlas.http.post("/graphql", json={"query": DATA, "variables": {}})
    assert b'{"big": 123456789012345678901234567890, "ok": "\xc3\xa4"}' in response.content
    attributes = [edge["node"]["attributes"] for edge in response.json()["data"]["data"]["edges"]]
    assert attributes[1:] == ["not JSON", {"n": 1}, "NaN"]
    assert orjson.loads(response.content)["data"]["data"]["totalCount"] == 4


async def test_records_page_by_source_and_id(atlas: Client) -> None:
    found, after, has_next = [], None, True
    while has_next:
        page = (await atlas.ask(DATA, first=1, after=after))["data"]
        found += [edge["node"]["id"] for edge in page["edges"]]
        after, has_next = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert found == ["test/part0/0", "test/part0/2", "test/part1/1", "test/part1/3"]


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
async def test_records_are_filtered(atlas: Client, wanted: dict[str, Any], count: int) -> None:
    assert (await atlas.ask(DATA, **wanted))["data"]["totalCount"] == count
