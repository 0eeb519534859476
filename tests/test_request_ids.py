import asyncio
import errno
import io
import json
import logging
from typing import Any

import pytest

from db import run_details
from graph import logs
from tests.client import Client, serving

SECRET = "open-sesame"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Full(io.StringIO):
    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    for handler in logging.root.handlers:
        handler.flush()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize("given", ["abc", "A-z_0.9", "x" * 128])
async def test_sane_id_is_taken_over(atlas: Client, given: str) -> None:
    response = await atlas.http.get("/health/live", headers={"x-request-id": given})
    assert response.headers.get_list("x-request-id") == [given]


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a;b", "ä", '"', "a\tb"])
async def test_other_ids_are_replaced(atlas: Client, given: str) -> None:
    response = await atlas.http.get("/health/live", headers=[(b"x-request-id", given.encode())])
    (made,) = response.headers.get_list("x-request-id")
    assert (made != given, len(made)) == (True, 32)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/nothing"),
        ("GET", "/data"),
        ("GET", "/data?page=0"),
        ("DELETE", "/data"),
        ("GET", "/graphql"),
        ("PUT", "/graphql"),
        ("GET", "/static/nothing.js"),
        ("HEAD", "/stats"),
    ],
)
async def test_every_answer_has_an_id_of_its_own(atlas: Client, method: str, path: str) -> None:
    ids = {(await atlas.http.request(method, path)).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2


async def test_preflight_has_an_id_and_browsers_may_read_it(server_url: str) -> None:
    async with serving(server_url, cors_origins=("https://atlas.example",)) as client:
        origin = {"origin": "https://atlas.example", "access-control-request-method": "POST"}
        assert "x-request-id" in (await client.http.options("/graphql", headers=origin)).headers
        answer = await client.http.get("/health/live", headers=origin)
    assert answer.headers["access-control-expose-headers"] == "X-Request-ID, RateLimit-Policy, RateLimit, Retry-After"


@pytest.mark.parametrize("is_alone", [True, False])
async def test_request_leaves_one_line_without_its_query(atlas: Client, logged: io.StringIO, is_alone: bool) -> None:
    if is_alone:
        # Without pytest's own handlers, which were added since.
        logs.configure(logged)
    headers = {"x-request-id": "mine", "authorization": SECRET}
    await atlas.http.get(f"/data?title={SECRET}", headers=headers)
    await asyncio.sleep(3 * logs.GATHER_SECONDS)
    assert logged.getvalue()
    (line,) = lines(logged)
    assert (line["event"], line["method"], line["path"], line["status"]) == ("request", "GET", "/data", 200)
    assert (line["request_id"], line["level"], line["ms"] > 0) == ("mine", "info", True)
    assert list(line) == ["event", "request_id", "level", "logger", "method", "path", "status", "ms", "timestamp"]
    assert SECRET not in logged.getvalue()


@pytest.mark.parametrize(
    "request_of",
    [
        {"method": "GET", "url": "/" + "x" * 5_000},
        {"method": "GET", "url": "/" + '"\u00e4\\' * 900},
        {"method": "GET", "url": "/data?" + "&".join(f"p{n}=1" for n in range(900))},
        {"method": "POST", "url": "/graphql", "content": b"{" * 9_000, "headers": {"content-type": "application/json"}},
        {"method": "POST", "url": "/graphql", "json": {"query": "{ " + "nope " * 900 + "}"}},
        {"method": "POST", "url": "/graphql", "json": {"query": '{ record(id: "' + "x" * 9_000 + '") { id } }'}},
    ],
)
async def test_bad_request_writes_little(atlas: Client, logged: io.StringIO, request_of: dict[str, Any]) -> None:
    response = await atlas.http.request(**request_of)
    assert response.status_code in (200, 400, 404)
    lines(logged)
    assert 0 < len(logged.getvalue().encode()) <= 1_024


async def test_failure_of_the_server_is_masked_logged_once_and_found_by_its_id(
    atlas: Client, logged: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise KeyError(SECRET)

    monkeypatch.setattr(run_details, "kinds_by_source", fail)
    # What no compiled operation answers: loaders do.
    query = "{ " + " ".join(f"f{n}: stats {{ sources {{ kind }} }}" for n in range(15)) + " }"
    answer = await atlas.http.post("/graphql", json={"query": query}, headers={"x-request-id": "mine"})
    assert {error["extensions"]["requestId"] for error in answer.json()["errors"]} == {"mine"}
    failed, access = lines(logged)
    assert (failed["level"], failed["request_id"], access["request_id"]) == ("error", "mine", "mine")
    assert SECRET in failed["exception"]
    assert len(failed["exception"]) <= logs.MAX_TRACEBACK_CHARACTERS


async def test_failure_outside_graphql_is_answered_with_an_id(database: str, logged: io.StringIO) -> None:
    async with serving(database) as client:
        engine = client.app.state.engine
        client.app.state.engine = None
        answer = await client.http.get("/stats")
        client.app.state.engine = engine
    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    failed, access = lines(logged)
    assert ("Traceback" in failed["exception"], access["status"]) == (True, 500)


async def test_database_that_is_gone_is_told_once_a_request(logged: io.StringIO) -> None:
    async with serving("postgresql://nobody@127.0.0.1:1/none") as client:
        fields = " ".join(f'f{n}: node(id: "Q868") {{ id }}' for n in range(15))
        answer = await client.answer(f"{{ {fields} }}")
    assert answer["errors"][0]["extensions"]["requestId"]
    *warnings, access = lines(logged)
    assert [line["level"] for line in warnings if line["logger"] == "graph.errors"] == ["warning"]
    assert access["event"] == "request"
    assert len(logged.getvalue()) <= 1_024


def test_libraries_write_through_the_same_logs(logged: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("sqlalchemy.pool").error("lost %s", "it")
    logging.getLogger("alembic").info("not told")
    assert [(line["logger"], line["event"]) for line in lines(logged)] == [
        ("uvicorn.error", "Invalid HTTP request received."),
        ("sqlalchemy.pool", "lost it"),
    ]


def test_logs_on_a_terminal_are_for_people(logged: io.StringIO) -> None:
    terminal = Terminal()
    logs.configure(terminal)
    logging.getLogger("graph").info("request", extra={"path": "/data"})
    assert "request" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")


async def test_log_that_cannot_be_written_fails_no_request(atlas: Client, logged: io.StringIO) -> None:
    logs.configure(Full())
    assert (await atlas.http.get("/health/live")).status_code == 200
    assert logged.getvalue() == ""
