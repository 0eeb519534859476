import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from db.errors import ConfigurationError
from graph.documents import read_documents, sha256_of
from tests.client import Client, serving
from tests.redis_server import redis_server

QUERY = "query Q($id: ID!) { node(id: $id) { ... on Entity { name } } }"
VARIABLES = {"id": "metacademy:ada_boost"}
ANSWER = {"data": {"node": {"name": "AdaBoost"}}}
HASH = sha256_of(QUERY)
PERSISTED = {"persistedQuery": {"version": 1, "sha256Hash": HASH}}


async def post(client: Client, **members: Any) -> Any:
    response = await client.http.post("/graphql", json={"variables": VARIABLES} | members)
    return response.json()


def code_of(answer: Any) -> str:
    (error,) = answer["errors"]
    return str(error["extensions"]["code"])


async def test_document_is_known_by_its_hash_after_it_was_sent(sample_url: str) -> None:
    async with serving(sample_url) as client:
        missing = await post(client, extensions=PERSISTED)
        assert missing["errors"] == [
            {"message": "PersistedQueryNotFound", "extensions": {"code": "PERSISTED_QUERY_NOT_FOUND"}}
        ]
        assert await post(client, query=QUERY, extensions=PERSISTED) == ANSWER
        assert await post(client, extensions=PERSISTED) == ANSWER
        assert await post(client, documentId=f"sha256:{HASH}") == ANSWER
        got = {"extensions": json.dumps(PERSISTED), "variables": json.dumps(VARIABLES)}
        response = await client.http.get("/graphql", params=got)
        assert (response.json(), response.headers["cache-control"][:6]) == (ANSWER, "public")


async def test_document_is_sent_again_after_it_was_forgotten(sample_url: str) -> None:
    async with serving(sample_url) as client:
        for _ in range(2):
            assert await post(client, query=QUERY, extensions=PERSISTED) == ANSWER
            assert await post(client, documentId=f"sha256:{HASH}") == ANSWER
            client.app.state.documents._recent.clear()


@pytest.mark.parametrize("accept", ["application/json", "application/graphql-response+json"])
async def test_missing_document_is_told_by_status_in_graphqls_own_media_type(sample: Client, accept: str) -> None:
    response = await sample.http.post("/graphql", json={"documentId": "nothing"}, headers={"accept": accept})
    assert (response.status_code == 200) is (accept == "application/json")
    assert code_of(response.json()) == "PERSISTED_QUERY_NOT_FOUND"


@pytest.mark.parametrize(
    "members",
    [
        {"query": QUERY + " ", "extensions": PERSISTED},
        {"query": QUERY, "documentId": "mine"},
        {"extensions": {"persistedQuery": {"version": 2, "sha256Hash": HASH}}},
        {"extensions": {"persistedQuery": {"version": 1}}},
        {"extensions": {"persistedQuery": "x"}},
        {"documentId": 1},
    ],
)
async def test_document_that_is_not_the_named_one_is_refused(sample: Client, members: dict[str, Any]) -> None:
    assert code_of(await post(sample, **members)) == "BAD_INPUT"


async def test_document_that_cannot_be_executed_is_not_kept(sample_url: str) -> None:
    async with serving(sample_url) as client:
        bad = {"persistedQuery": {"version": 1, "sha256Hash": sha256_of("{ nope }")}}
        assert code_of(await post(client, query="{ nope }", extensions=bad)) == "VALIDATION"
        assert code_of(await post(client, extensions=bad)) == "PERSISTED_QUERY_NOT_FOUND"


@pytest.mark.usefixtures("patient_cache")
async def test_document_is_shared_by_redis(sample_url: str, tmp_path: Path) -> None:
    async with (
        redis_server(tmp_path) as server,
        serving(sample_url, redis_url=server.url) as one,
        serving(sample_url, redis_url=server.url) as other,
    ):
        assert await post(one, query=QUERY, extensions=PERSISTED) == ANSWER
        assert await post(other, extensions=PERSISTED) == ANSWER
        async with Redis.from_url(server.url) as redis:
            await redis.set(f"atlas:1:document:{sha256_of('{ a }')}", "{ b }")
        assert code_of(await post(other, documentId=f"sha256:{sha256_of('{ a }')}")) == "PERSISTED_QUERY_NOT_FOUND"


@pytest.fixture
async def strict(sample_url: str, tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a server that answers only the documents of a file."""
    file = tmp_path / "documents.json"
    file.write_text(json.dumps({"ada": QUERY, sha256_of("{ __typename }"): "{ __typename }"}))
    async with serving(sample_url, documents_file=file) as client:
        yield client


async def test_trusted_documents_are_answered_by_name_hash_and_text(strict: Client) -> None:
    for members in ({"documentId": "ada"}, {"documentId": f"sha256:{HASH}"}, {"extensions": PERSISTED}):
        assert await post(strict, **members) == ANSWER
    assert await post(strict, query=QUERY) == await post(strict, query=QUERY, extensions=PERSISTED) == ANSWER
    assert (await post(strict, documentId=sha256_of("{ __typename }"), variables=None))["data"]


async def test_no_other_document_is_answered_where_some_are_trusted(strict: Client) -> None:
    other = {"persistedQuery": {"version": 1, "sha256Hash": sha256_of("{ a }")}}
    for members in ({"query": QUERY + " "}, {"documentId": "bob"}, {"extensions": other}):
        answer = await post(strict, **members)
        assert code_of(answer) == "DOCUMENT_NOT_TRUSTED"
        assert "documentId" in answer["errors"][0]["message"]
    assert code_of(await post(strict, query="{ a }", extensions=other)) == "DOCUMENT_NOT_TRUSTED"
    assert code_of(await post(strict)) == "BAD_INPUT"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read"),
        ("{", "not JSON"),
        ('["{ a }"]', "must be an object"),
        ('{"a": 1}', "must be an object"),
        (f'{{"{"0" * 64}": "{{ a }}"}}', "is not the SHA-256"),
        ('{"sha256:0": "{ a }"}', "is not the SHA-256"),
    ],
)
def test_file_of_documents_that_cannot_be_used_is_told(tmp_path: Path, content: str | None, complaint: str) -> None:
    file = tmp_path / "documents.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError, match=complaint):
        read_documents(file)
