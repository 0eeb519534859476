from typing import Any

import httpx
import pytest

from tests.client import Client, serving

QUERY = '{ figureDetail(id: "Q868") { name } }'
ANSWER = {"data": {"figureDetail": {"name": "Aristotle"}}}
GRAPHQL_JSON = "application/graphql-response+json"


async def test_query_by_post_and_by_get(atlas: Client) -> None:
    posted = await atlas.http.post("/graphql", json={"query": QUERY})
    got = await atlas.http.get("/graphql", params={"query": QUERY, "variables": "{}", "operationName": ""})
    assert (posted.status_code, posted.json()) == (got.status_code, got.json()) == (200, ANSWER)
    assert posted.headers["content-type"] == "application/json; charset=utf-8"


async def test_graphiql_is_for_browsers_without_a_query(atlas: Client) -> None:
    browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    page = await atlas.http.get("/graphql", headers=browser)
    assert page.headers["content-type"].startswith("text/html")
    assert "bayesian_logistic_regression" in page.text
    assert (await atlas.http.get("/graphql", headers=browser, params={"query": QUERY})).json() == ANSWER
    assert (await atlas.http.get("/graphql")).json()["errors"][0]["extensions"] == {"code": "BAD_INPUT"}


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b'"x"', "application/json", 400),
        (b"null", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'[{"query": "{ stats { authorships } }"}]', "application/json", 400),
        (b"7", "application/json", 400),
        (b"", "application/json", 400),
        (b'{"query": "\xff"}', "application/json", 400),
        (b'{"query": 1}', "application/json", 400),
        (b'{"query": "{ a }", "variables": []}', "application/json", 400),
        (b'{"query": "{ a }", "operationName": {}}', "application/json", 400),
        (b'{"query": "{ a }", "extensions": "x"}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"query": "{ a }"}', "text/plain", 415),
        (b'{"query": "{ a }"}', "", 415),
        (b'{"query": "{ a }"}', "application/json; charset=utf-16", 415),
        (b"query=1", "application/x-www-form-urlencoded", 415),
        (b"", "multipart/form-data; boundary=x", 415),
    ],
)
async def test_request_that_is_none_gets_a_clean_error(
    atlas: Client, body: bytes, content_type: str, status: int
) -> None:
    response = await atlas.http.post("/graphql", content=body, headers={"content-type": content_type})
    (error,) = response.json()["errors"]
    assert (response.status_code, error["extensions"]) == (status, {"code": "BAD_INPUT"})


@pytest.mark.parametrize("params", [{"query": QUERY, "variables": "{"}, {"query": QUERY, "variables": "[1]"}])
async def test_get_with_malformed_variables_gets_a_clean_error(atlas: Client, params: dict[str, str]) -> None:
    response = await atlas.http.get("/graphql", params=params)
    assert (response.status_code, response.json()["errors"][0]["extensions"]) == (400, {"code": "BAD_INPUT"})


async def test_media_type_is_read_in_any_case(atlas: Client) -> None:
    body = b'{"query": "{ dataVersion { version } }"}'
    response = await atlas.http.post("/graphql", content=body, headers={"content-type": "Application/JSON"})
    assert response.status_code == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_other_methods_are_refused(atlas: Client, method: str) -> None:
    response = await atlas.http.request(method, "/graphql")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD, POST")


@pytest.mark.parametrize(
    ("document", "name", "status"),
    [(QUERY, None, 200), ("{", None, 400), ("{ nope }", None, 400), (QUERY, "B", 400), ("mutation { a }", None, 400)],
)
async def test_graphqls_own_media_type_tells_failure_by_status(
    atlas: Client, document: str, name: str | None, status: int
) -> None:
    body = {"query": document, "operationName": name}
    response = await atlas.http.post("/graphql", json=body, headers={"accept": GRAPHQL_JSON})
    assert response.headers["content-type"] == f"{GRAPHQL_JSON}; charset=utf-8"
    assert (response.status_code, "data" in response.json()) == (status, status == 200)
    plain = await atlas.http.post("/graphql", json=body)
    assert plain.status_code == 200


async def test_root_tells_what_is_here(atlas: Client) -> None:
    assert (await atlas.http.get("/")).json()["graphql"] == "/graphql"
    missing = await atlas.http.get("/nothing")
    assert (missing.status_code, "GET /nothing" in missing.json()["error"]) == (404, True)
    assert missing.json()["code"] == "NOT_FOUND"


async def test_health_of_a_serving_process_is_ok(atlas: Client) -> None:
    assert (await atlas.http.get("/health/live")).json() == {"status": "ok"}
    ready = await atlas.http.get("/health/ready")
    assert (ready.status_code, ready.json()) == (
        200,
        {"status": "ok", "problem": None, "breakers": {"database": "closed"}},
    )
    both = (await atlas.http.get("/health")).json()
    assert (both["live"], both["ready"]) == (True, True)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("postgresql://nobody@127.0.0.1:1/none", "the database cannot be reached"),
        (None, "the database has no tables: migrate it"),
    ],
)
async def test_health_without_a_usable_database_is_not(server_url: str, url: str | None, problem: str) -> None:
    async with serving(url or server_url) as client:
        ready = await client.http.get("/health/ready")
        found = ready.json()
        assert (ready.status_code, found["status"], found["problem"]) == (503, "unavailable", problem)
        assert (await client.http.get("/health/live")).status_code == 200
        assert (await client.http.get("/health")).json()["ready"] is False


def preflight(origin: str) -> dict[str, Any]:
    headers = {"origin": origin, "access-control-request-method": "POST"}
    return {"headers": headers | {"access-control-request-headers": "content-type"}}


async def test_cors_lets_in_the_origins_of_the_settings(server_url: str) -> None:
    allowed, other = "https://atlas.example", "https://other.example"
    async with serving(server_url, cors_origins=(allowed,)) as client:
        answer = await client.http.options("/graphql", **preflight(allowed))
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, allowed)
        refused = await client.http.options("/graphql", **preflight(other))
        assert (refused.status_code, "access-control-allow-origin" in refused.headers) == (400, False)


async def test_cors_is_off_without_origins(atlas: Client) -> None:
    answer: httpx.Response = await atlas.http.options("/graphql", **preflight("https://atlas.example"))
    assert "access-control-allow-origin" not in answer.headers
