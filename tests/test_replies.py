import gzip
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from graph.packing import takes_gzip
from graph.replies import accepted_media_type, with_extension
from graph.versions import VISIBLE_SECONDS
from tests.client import Client, serving

GRAPHQL_JSON = "application/graphql-response+json"
COUNT = "{ entities { totalCount } }"
PAGE = "{ entities(first: 100) { edges { node { id name description } } } }"
LASTING = "public, max-age=5, stale-while-revalidate=30"


async def get(client: Client, query: str, method: str = "GET", **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.http.request(method, "/graphql", params={"query": query}, headers=given)


async def test_what_is_got_may_be_kept_by_caches(sample: Client) -> None:
    first, again = await get(sample, COUNT), await get(sample, COUNT)
    assert first.headers["cache-control"] == again.headers["cache-control"] == LASTING
    assert first.headers["etag"] == again.headers["etag"]
    assert first.headers["vary"] == "accept, accept-encoding, authorization"
    posted = await sample.http.post("/graphql", json={"query": COUNT})
    assert not {"etag", "cache-control"} & posted.headers.keys()


@pytest.mark.parametrize("name", ['"{etag}"', 'W/"other", {etag}', "{etag}"])
async def test_etag_that_stands_is_answered_with_304(sample: Client, name: str) -> None:
    etag = (await get(sample, COUNT)).headers["etag"]
    sample.app.state.answers.memory.clear()
    sample.app.state.answers.counts.clear()
    response = await get(sample, COUNT, if_none_match=name.replace('"{etag}"', etag).replace("{etag}", etag))
    assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", etag)
    assert response.headers["cache-control"] == LASTING
    # The data version told it: nothing was computed or looked up.
    assert not sample.app.state.answers.counts


async def test_etag_is_another_with_the_data_the_request_and_the_answer(database: str, engine: AsyncEngine) -> None:
    async with serving(database) as client:
        etag = (await get(client, COUNT)).headers["etag"]
        assert (await get(client, "{ dataVersion { version } }", if_none_match=etag)).status_code == 200
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE data_version SET version = 1, raised_at = now()"))
        client.app.state.answers.newest._read_at -= VISIBLE_SECONDS
        response = await get(client, COUNT, if_none_match=etag)
        assert (response.status_code, response.headers["etag"] != etag) == (200, True)


async def test_answer_that_may_change_is_compared_itself(database: str) -> None:
    query = "{ stats { openQuarantine } }"
    async with serving(database) as client:
        first = await get(client, query)
        assert first.headers["cache-control"] == "public, max-age=1"
        client.app.state.answers.memory.clear()
        assert (await get(client, query, if_none_match=first.headers["etag"])).status_code == 304


@pytest.mark.parametrize("query", ["{ etlRuns { totalCount } }", '{ node(id: "868") { id } }', "{", "{ nope }", ""])
async def test_what_is_not_kept_here_is_kept_nowhere(sample: Client, query: str) -> None:
    response = await get(sample, query)
    assert (response.headers["cache-control"], "etag" in response.headers) == ("no-store", False)


async def test_answer_to_somebody_is_not_for_shared_caches(sample: Client) -> None:
    response = await get(sample, COUNT, authorization="Bearer x")
    if response.status_code == 200:
        assert response.headers["cache-control"] == "private, no-cache"


async def test_head_is_get_without_the_body(sample: Client) -> None:
    got, head = await get(sample, PAGE), await get(sample, PAGE, "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert {**got.headers, "x-request-id": ""} == {**head.headers, "x-request-id": ""}


async def test_answer_is_compressed_for_those_who_take_it(sample: Client) -> None:
    async with sample.http.stream("GET", "/graphql", params={"query": PAGE}) as response:
        packed = b"".join([chunk async for chunk in response.aiter_raw()])
    plain = await get(sample, PAGE, accept_encoding="identity")
    assert response.headers["content-encoding"] == "gzip"
    assert (int(response.headers["content-length"]), gzip.decompress(packed)) == (len(packed), plain.content)
    assert (len(packed) < len(plain.content) / 2, plain.headers.get("content-encoding")) == (True, None)
    assert plain.headers["etag"] == response.headers["etag"]
    small = await get(sample, COUNT, accept_encoding="gzip")
    assert "content-encoding" not in small.headers


async def test_answer_of_one_request_is_compressed_too(sample: Client) -> None:
    query = "{ " + " ".join(f'a{number}: node(id: "868") {{ id }}' for number in range(15)) + " }"
    response = await sample.http.post("/graphql", json={"query": query})
    assert response.headers["content-encoding"] == "gzip"
    assert response.json()["errors"]


@pytest.mark.parametrize(
    ("accepted", "is_taken"),
    [
        (b"", False),
        (b"gzip", True),
        (b"GZIP;q=0.5, zstd", True),
        (b"br, *", True),
        (b"*;q=0", False),
        (b"gzip;q=0, *", False),
        (b"identity", False),
    ],
)
def test_gzip_is_for_those_who_take_it(accepted: bytes, is_taken: bool) -> None:
    assert takes_gzip(accepted) is is_taken


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        (GRAPHQL_JSON, GRAPHQL_JSON),
        (f"{GRAPHQL_JSON}, application/json;q=0.9", GRAPHQL_JSON),
        (f"{GRAPHQL_JSON};q=0.5, application/json", "application/json"),
        (f"{GRAPHQL_JSON};q=x", "application/json"),
        (f"{GRAPHQL_JSON.upper()}; charset=utf-8", GRAPHQL_JSON),
    ],
)
def test_accepted_media_type_is_the_preferred_one(accept: str, expected: str) -> None:
    assert accepted_media_type(accept.encode()) == expected


@pytest.mark.parametrize(
    ("body", "extensions"),
    [
        (b'{"data":{"a":1.0}}', {"cache": [1]}),
        (b'{"data":{"a":1.0},"extensions":{"truncated":[]}}', {"truncated": [], "cache": [1]}),
    ],
)
def test_extension_is_added_to_what_stands(body: bytes, extensions: dict[str, Any]) -> None:
    found = with_extension(body, "cache", [1])
    assert found.startswith(b'{"data":{"a":1.0}')
    assert orjson.loads(found)["extensions"] == extensions
