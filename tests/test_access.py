import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import strawberry
from graphql import GraphQLObjectType, get_named_type
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import Message, Receive, Scope, Send

from db.settings import Settings
from graph.access import ANONYMOUS, Caller, Permissions, Role, needs
from graph.errors import RequestError
from graph.gate import Gate
from graph.schema import schema
from graph.tokens import Tokens
from tests.client import Client, serving
from tests.tokens import SETTINGS, bearer, token

ERRORS = "{ etlRuns { edges { node { id error } } } }"
RAW = "{ rawRecords { totalCount } }"
PLAIN = "query Plain { dataVersion { version } }"


@pytest.fixture(scope="module")
async def guarded(sample_url: str) -> AsyncIterator[Client]:
    """A client of an API that tells callers apart."""
    async with serving(sample_url, **SETTINGS) as client:
        yield client


async def post(client: Client, query: str, *roles: str, **body: Any) -> httpx.Response:
    headers = bearer(*roles) if roles else {}
    return await client.http.post("/graphql", json={"query": query} | body, headers=headers)


async def codes(client: Client, query: str, *roles: str, **body: Any) -> list[str]:
    answer = (await post(client, query, *roles, **body)).json()
    return [error["extensions"]["code"] for error in answer.get("errors", ())]


@pytest.mark.parametrize(
    ("query", "needed"),
    [
        (PLAIN, Role.READER),
        ("{ etlRuns { edges { node { id status processed report { dataVersion } } } } }", Role.READER),
        ("{ __schema { queryType { name } } }", Role.READER),
        ('{ search(query: "error payload rawRecords") { totalCount } }', Role.READER),
        (RAW, Role.ANALYST),
        ("{ data { edges { node { raw { payload } } } } }", Role.ANALYST),
        (
            "query ($no: Boolean = true) { dataVersion { version } rawRecords @skip(if: $no) { totalCount } }",
            Role.ANALYST,
        ),
        ("{ innocent: rawRecords { totalCount } }", Role.ANALYST),
        (ERRORS, Role.OPERATOR),
        ("{ dataVersion { run { params } } }", Role.OPERATOR),
        ("{ stats { sources { lastFailure { error } } } }", Role.OPERATOR),
        ("{ etlRuns { edges { node { quarantine { totalCount } } } } }", Role.OPERATOR),
        (
            "{ ...A } fragment A on Query { ...B } fragment B on Query { dataVersion { run { ...C } } }"
            " fragment C on EtlRun { ... @include(if: true) { why: error } }",
            Role.OPERATOR,
        ),
    ],
)
async def test_operation_needs_the_role_of_its_fields(guarded: Client, query: str, needed: Role) -> None:
    for role in Role:
        expected = [] if role >= needed else ["FORBIDDEN"]
        assert await codes(guarded, query, role.name.lower()) == expected, role
    assert await codes(guarded, query) == ([] if needed is Role.READER else ["FORBIDDEN"])


async def test_refusal_names_the_field_and_the_role(guarded: Client) -> None:
    (error,) = (await post(guarded, ERRORS)).json()["errors"]
    assert error["message"] == "EtlRun.error needs the role operator: send a bearer token with it"
    (error,) = (await post(guarded, ERRORS, "analyst")).json()["errors"]
    assert error["message"] == "EtlRun.error needs the role operator: yours is analyst"


async def test_only_the_operation_that_is_meant_counts(guarded: Client) -> None:
    both = f"query Errors {ERRORS} {PLAIN}"
    assert await codes(guarded, both, operationName="Plain") == []
    assert await codes(guarded, both, operationName="Errors") == ["FORBIDDEN"]
    assert await codes(guarded, both) == ["FORBIDDEN"]
    assert await codes(guarded, both, "admin") == ["BAD_INPUT"]


async def test_answer_in_the_cache_is_only_for_those_who_may_ask(guarded: Client) -> None:
    query = "{ dataVersion { version run { error } } }"
    for _ in range(3):
        assert (await post(guarded, query, "operator")).json()["data"]["dataVersion"]["run"] == {"error": None}
        assert await codes(guarded, query) == ["FORBIDDEN"]
        assert await codes(guarded, query, "reader") == ["FORBIDDEN"]


async def test_get_is_checked_like_post(guarded: Client) -> None:
    answer = await guarded.http.get("/graphql", params={"query": ERRORS})
    assert answer.json()["errors"][0]["extensions"] == {"code": "FORBIDDEN"}
    media_type = {"accept": "application/graphql-response+json"}
    answer = await guarded.http.get("/graphql", params={"query": ERRORS}, headers=media_type)
    assert (answer.status_code, "data" in answer.json()) == (403, False)


async def test_syntax_and_validation_errors_stay_what_they_are(guarded: Client) -> None:
    assert await codes(guarded, "{ error") == ["SYNTAX"]
    assert await codes(guarded, "{ error }") == ["VALIDATION"]
    assert await codes(guarded, "{ ...Nowhere } # error") == ["VALIDATION"]
    assert await codes(guarded, "{ etlRuns " + "{ a " * 3000 + "error" + " }" * 3001) in (["SYNTAX"], ["LIMIT"])


async def test_without_keys_everything_is_readable(sample: Client) -> None:
    for query in (ERRORS, RAW):
        assert await codes(sample, query) == []
    assert (await sample.http.get("/metrics")).status_code == 200


@pytest.mark.parametrize("path", ["/graphql", "/data", "/stats", "/health", "/metrics", "/nowhere"])
async def test_bad_token_is_told_at_every_door(guarded: Client, path: str) -> None:
    answer = await guarded.http.get(path, headers=bearer("admin", exp=1))
    challenge = answer.headers["www-authenticate"]
    assert (answer.status_code, 'error="invalid_token"' in challenge) == (401, True)
    body = answer.json()
    message, code = (
        (body["errors"][0]["message"], body["errors"][0]["extensions"]["code"])
        if path == "/graphql"
        else (body["error"], body["code"])
    )
    assert (message, code) == ("the token has expired: get a new one", "UNAUTHENTICATED")
    assert "x-request-id" in answer.headers


async def test_keys_that_cannot_be_fetched_are_no_refusal(sample_url: str) -> None:
    settings = {name: value for name, value in SETTINGS.items() if name != "jwt_secret"}
    async with serving(sample_url, jwks="http://127.0.0.1:1/keys", **settings) as client:
        answer = await client.http.get("/data", headers=bearer("admin"))
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "UNAVAILABLE", "5")
        assert (await client.http.get("/data")).status_code == 200


async def test_metrics_are_for_operators(guarded: Client) -> None:
    anonymous = await guarded.http.get("/metrics")
    assert (anonymous.status_code, anonymous.headers["www-authenticate"]) == (401, 'Bearer realm="chronos-atlas"')
    analyst = await guarded.http.get("/metrics", headers=bearer("analyst"))
    assert (analyst.status_code, analyst.json()["code"]) == (403, "FORBIDDEN")
    assert (await guarded.http.get("/metrics", headers=bearer("operator"))).status_code == 200


async def test_without_introspection_no_names_are_suggested(sample_url: str) -> None:
    async with serving(sample_url, introspection=False) as client:
        _, message = await client.refusal("{ figureDetai { id } }")
        assert "Did you mean" not in message


async def test_introspection_and_graphiql_can_be_off(sample_url: str) -> None:
    browser = {"accept": "text/html"}
    async with serving(sample_url, introspection=False, **SETTINGS) as client:
        for query in ("{ __schema { queryType { name } } }", '{ __type(name: "Agent") { name } }'):
            for roles in ((), ("reader",), ("operator",)):
                assert await codes(client, query, *roles) == ["FORBIDDEN"]
            assert await codes(client, query, "admin") == []
        assert await codes(client, "{ __typename dataVersion { __typename } }") == []
        assert (
            (await client.http.get("/graphql", headers=browser)).headers["content-type"].startswith("application/json")
        )
    async with serving(sample_url, introspection=False) as client:
        assert await codes(client, "{ __schema { queryType { name } } }") == ["FORBIDDEN"]


FAILED_RUN = """
INSERT INTO etl_run (source, params, status, error, finished_at)
VALUES ('sample', '{}', 'FAILED', 'disk of /srv is full', now())
"""


async def test_rest_hides_what_graphql_refuses(database: str, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(FAILED_RUN))
    async with serving(database, **SETTINGS) as client:
        for path in ("/stats", "/health"):
            assert "/srv" not in (await client.http.get(path)).text
            assert "/srv" not in (await client.http.get(path, headers=bearer("analyst"))).text
            assert "/srv" in (await client.http.get(path, headers=bearer("operator"))).text
    async with serving(database) as client:
        assert "/srv" in (await client.http.get("/stats")).text


async def test_authenticated_operations_leave_a_line(guarded: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "graph.audit"):
        await post(guarded, PLAIN)
        await post(guarded, PLAIN, "analyst")
        await post(guarded, ERRORS, "analyst")
        await guarded.http.get("/stats", headers=bearer("admin"))
    lines = [vars(record) for record in caplog.records if record.name == "graph.audit"]
    assert [(line["subject"], line["role"], line.get("operation"), line.get("outcome")) for line in lines] == [
        ("ada", "analyst", "Plain", "ok"),
        ("ada", "analyst", None, "FORBIDDEN"),
        ("ada", "admin", None, None),
    ]
    assert lines[2]["path"] == "/stats"
    assert token("analyst")[:20] not in caplog.text


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_no_form_can_send_an_operation(guarded: Client, content_type: str) -> None:
    body = json.dumps({"query": PLAIN})
    answer = await guarded.http.post("/graphql", content=body, headers={"content-type": content_type})
    assert answer.status_code == 415


async def test_refused_token_can_be_read_by_allowed_origins(sample_url: str) -> None:
    origin = {"origin": "https://atlas.example"}
    async with serving(sample_url, cors_origins=("https://atlas.example",), **SETTINGS) as client:
        answer = await client.http.post("/graphql", json={"query": PLAIN}, headers=origin | bearer(exp=1))
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, "https://atlas.example")
        asked = {
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        }
        assert (await client.http.options("/graphql", headers=origin | asked)).status_code == 200
        asked["access-control-request-headers"] = "x-custom"
        assert (await client.http.options("/graphql", headers=origin | asked)).status_code == 400


def test_fields_that_lead_to_refused_and_raw_rows_have_a_role() -> None:
    internal = {f"{row}{part}" for row in ("QuarantinedRow", "RawRecord") for part in ("", "Edge", "Connection")}
    permissions = Permissions(schema._schema)
    open_fields = [
        f"{kind.name}.{name}"
        for kind in schema._schema.type_map.values()
        if isinstance(kind, GraphQLObjectType) and kind.name not in internal
        for name, field in kind.fields.items()
        if get_named_type(field.type).name in internal and permissions.allow(ANONYMOUS, kind.name, name)
    ]
    assert open_fields == []


def test_interface_field_needs_what_its_types_need() -> None:
    @strawberry.interface
    class Thing:
        name: str
        secret: str

    @strawberry.type
    class Vault(Thing):
        secret: str = needs(Role.ADMIN, strawberry.field())

    @strawberry.type
    class Query:
        thing: Thing

    permissions = Permissions(strawberry.Schema(Query, types=[Vault])._schema)
    permissions.check(ANONYMOUS, "{ thing { name } }", None)
    for query in ("{ thing { secret } }", "{ thing { ... on Vault { secret } } }"):
        with pytest.raises(RequestError, match="needs the role admin"):
            permissions.check(Caller("eve", Role.OPERATOR), query, None)
        permissions.check(Caller("ada", Role.ADMIN), query, None)


@pytest.mark.parametrize(
    ("origin", "is_let_in"),
    [
        (None, True),
        ("https://atlas.example", True),
        ("http://server.example:8000", True),
        ("https://evil.example", False),
        ("https://server.example", False),
        ("null", False),
    ],
)
async def test_websocket_of_a_strange_origin_is_closed(origin: str | None, is_let_in: bool) -> None:
    reached, sent = [], []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope["state"]["caller"])

    async def send(message: Message) -> None:
        sent.append(message["type"])

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    headers = [(b"host", b"server.example:8000"), *([(b"origin", origin.encode())] if origin else [])]
    gate = Gate(app, Tokens(Settings(database_url=None)), ("https://atlas.example",))
    await gate({"type": "websocket", "path": "/graphql", "headers": headers}, receive, send)
    assert (len(reached), sent) == ((1, []) if is_let_in else (0, ["websocket.close"]))
