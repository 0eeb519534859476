"""Over a real connection, written byte by byte: what httpx sends would differ from request to request."""

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import asyncpg
import httpx
import orjson
import pytest
from starlette.types import Receive, Scope, Send

from graph import versions
from graph.asked import read_members
from graph.compiled.plans import Prepared
from graph.execution import AtlasSchema, Compiling
from graph.replies import Formed
from graph.short_way import Exchange, ShortRequest, ShortWay
from tests.client import COMPILING, Client
from tests.loopback import on_loopback
from tests.test_request_ids import lines

QUERY = "query Names { entities(first: 20) { edges { node { id name description } } } }"
NODE = '{ node(id: "Q868") { id } }'
BODY = orjson.dumps({"query": QUERY})
POST = {"content-type": "application/json"}
LONG = {"x-nobody-knows": "1"}
"""What makes any request go the long way."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture(autouse=True)
def version_stays_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that have to wait for it are executed."""
    monkeypatch.setattr(versions, "FRESH_SECONDS", 60)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the requests on the short way: "executed", "computed" by a statement, and those that are "at hand"."""
    found: Counter[str] = Counter()
    execute, compute, at_hand = ShortWay.__call__, ShortRequest.compute, ShortRequest.at_hand

    async def executed(self: ShortWay, scope: Scope, receive: Receive, send: Send) -> None:
        found["executed"] += 1
        await execute(self, scope, receive, send)

    def computed(self: ShortRequest, exchange: Exchange) -> bool:
        is_computed = compute(self, exchange)
        found["computed"] += is_computed
        return is_computed

    def found_at_hand(self: ShortRequest) -> Formed | None:
        answer = at_hand(self)
        found["at hand"] += answer is not None
        return answer

    monkeypatch.setattr(ShortWay, "__call__", executed)
    monkeypatch.setattr(ShortRequest, "compute", computed)
    monkeypatch.setattr(ShortRequest, "at_hand", found_at_hand)
    return found


@pytest.fixture
async def served(sample_url: str) -> AsyncIterator[Client]:
    async with on_loopback(sample_url) as client:
        yield client


def request(method: str, target: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    given = {"host": "atlas", **headers} | ({"content-length": str(len(body))} if body else {})
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + body


async def talk(client: Client, *parts: bytes, count: int = 1) -> list[Answer]:
    """Send the parts, one after the other, and return as many answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.http.base_url.port)
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0.02 if len(parts) > 1 else 0)
    async with asyncio.timeout(30):
        answers = [await read(reader) for _ in range(count)]
    writer.close()
    await writer.wait_closed()
    return answers


async def read(reader: asyncio.StreamReader) -> Answer:
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().removesuffix("\r\n\r\n").split("\r\n")
    pairs = [line.split(": ", 1) for line in lines]
    assert len(pairs) == len(dict(pairs))
    headers = dict(pairs)
    return Answer(int(status.split()[1]), headers, await reader.readexactly(int(headers["content-length"])))


def got(query: str) -> str:
    return f"/graphql?{httpx.QueryParams(query=query)}"


REQUESTS: dict[str, tuple[str, str, dict[str, str], bytes]] = {
    "post": ("POST", "/graphql", POST, BODY),
    "get": ("GET", got(QUERY), {}, b""),
    "graphql media type": ("POST", "/graphql", POST | {"accept": "application/graphql-response+json"}, BODY),
    "gzip": ("POST", "/graphql", POST | {"accept-encoding": "gzip, br"}, BODY),
    "browser": ("GET", got(QUERY), {"accept": "*/*", "cookie": "a=b", "sec-fetch-mode": "cors"}, b""),
    "not valid": (
        "POST",
        "/graphql",
        POST | {"accept": "application/graphql-response+json"},
        b'{"query": "{ nothing }"}',
    ),
    "not JSON": ("POST", "/graphql", POST, b"{"),
    "no media type": ("POST", "/graphql", {}, BODY),
    "no query": ("GET", "/graphql?", {}, b""),
    "told": ("POST", "/graphql", POST, orjson.dumps({"query": QUERY, "extensions": {"cost": {"dryRun": True}}})),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_both_ways_give_the_same_answer(served: Client, ways: Counter[str], name: str) -> None:
    method, target, headers, body = REQUESTS[name]
    found = []
    for further in ({}, {}, LONG):
        (answer,) = await talk(served, request(method, target, headers | further | {"x-request-id": "mine"}, body))
        answer.headers.pop("date")
        found.append(answer)
    assert found[0] == found[1] == found[2]
    assert found[0].headers["x-request-id"] == "mine"
    is_kept = found[0].status == 200 and name != "told"
    assert ways == Counter({"executed": 1, "at hand": 1} if is_kept else {"executed": 2, "at hand": 0})


@pytest.mark.parametrize(
    "header",
    ["authorization", "if-none-match", "origin", "x-request-timeout", "traceparent", "expect", *LONG],
)
async def test_who_asks_for_more_goes_the_long_way(served: Client, ways: Counter[str], header: str) -> None:
    for _ in range(2):
        await talk(served, request("POST", "/graphql", POST | {header: "1"}, BODY))
    assert not ways.total()


@pytest.mark.parametrize("settings", [{"query_budget_per_minute": 1000}, {"otlp_endpoint": "http://127.0.0.1:1"}])
async def test_budgets_and_traces_take_the_long_way(
    sample_url: str, ways: Counter[str], settings: dict[str, Any]
) -> None:
    async with on_loopback(sample_url, **settings) as client:
        (answer,) = await talk(client, request("POST", "/graphql", POST, BODY))
    assert (answer.status, ways.total()) == (200, 0)


async def test_request_in_pieces_is_answered(served: Client, ways: Counter[str]) -> None:
    whole = request("POST", "/graphql", POST, BODY)
    expected = (await talk(served, whole))[0].body
    for cut in (1, 40, len(whole) - len(BODY), len(whole) - 5):
        (answer,) = await talk(served, whole[:cut], whole[cut:])
        assert answer.body == expected
    assert ways == Counter({"executed": 1, "at hand": 0})


async def test_answers_come_in_the_order_of_the_requests(served: Client) -> None:
    names = [orjson.dumps({"query": f"{{ a{number}: dataVersion {{ version }} }}"}) for number in range(6)]
    kept = [request("POST", "/graphql", POST, body) for body in names]
    await talk(served, *kept[::2], count=3)
    answers = await talk(served, b"".join([*kept, request("GET", "/health/live", {}), *kept]), count=13)
    keys = [next(iter(orjson.loads(answer.body).get("data", ["live"]))) for answer in answers]
    expected = [f"a{number}" for number in range(6)]
    assert keys == [*expected, "live", *expected]


async def test_answer_at_hand_is_counted_and_logged(served: Client, logged: io.StringIO, ways: Counter[str]) -> None:
    for name in ("one", "two"):
        await talk(served, request("POST", "/graphql", POST | {"x-request-id": name}, BODY))
    assert ways["at hand"] == 1
    page = (await served.http.get("/metrics")).text
    assert 'atlas_http_requests_total{method="POST",route="/graphql",status="200"} 2.0' in page
    assert 'atlas_operations_total{operation="Names",outcome="ok"} 2.0' in page
    assert 'atlas_operation_seconds_count{operation="Names"} 2.0' in page
    assert 'atlas_cache_reads_total{level="memory",result="hit"} 1.0' in page
    one, two = [line for line in lines(logged) if line["path"] == "/graphql"]
    assert (one["request_id"], two["request_id"]) == ("one", "two")
    volatile = ("request_id", "ms", "timestamp")
    assert {k: v for k, v in one.items() if k not in volatile} == {k: v for k, v in two.items() if k not in volatile}


async def test_ids_are_made_for_who_brings_none(served: Client) -> None:
    answers = [(await talk(served, request("POST", "/graphql", POST, BODY)))[0] for _ in range(3)]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 3


async def test_connection_is_kept_until_its_client_closes_it(served: Client, ways: Counter[str]) -> None:
    one = request("POST", "/graphql", POST, BODY)
    await talk(served, one)
    assert len(await talk(served, one, one, one, count=3)) == 3
    (last,) = await talk(served, request("POST", "/graphql", POST | {"connection": "close"}, BODY))
    assert last.headers["connection"] == "close"
    assert ways == Counter({"executed": 1, "at hand": 3})


def about(key: str) -> bytes:
    query = "query One($id: ID!) { entity(id: $id) { id name description } }"
    return orjson.dumps({"query": query, "variables": {"id": key}})


async def test_statement_that_is_known_answers_as_the_long_way_does(
    served: Client, logged: io.StringIO, ways: Counter[str]
) -> None:
    for key in ("Q868", "Q5891"):
        await talk(served, request("POST", "/graphql", POST, about(key)))
    ways.clear()
    for headers in (POST, POST | {"accept-encoding": "gzip", "accept": "application/graphql-response+json"}):
        found = []
        key = f"Q{len(headers)}"
        for further in ({}, LONG):
            given = headers | further | {"x-request-id": "mine"}
            (answer,) = await talk(served, request("POST", "/graphql", given, about(key)))
            answer.headers.pop("date")
            found.append(answer)
        assert found[0] == found[1]
    assert ways == Counter({"executed" if COMPILING is Compiling.NEVER else "computed": 2})
    page = (await served.http.get("/metrics")).text
    assert 'atlas_http_requests_total{method="POST",route="/graphql",status="200"} 6.0' in page
    assert 'atlas_operations_total{operation="One",outcome="ok"} 6.0' in page
    told = [line for line in lines(logged) if line["path"] == "/graphql"]
    assert [line["request_id"] for line in told[2:]] == ["mine"] * 4
    assert {(line["method"], line["status"]) for line in told} == {("POST", 200)}


async def test_computed_answers_come_in_the_order_of_the_requests(served: Client, ways: Counter[str]) -> None:
    keys = [f"Q{number}" for number in range(1, 30)]
    for key in keys[:2]:
        await talk(served, request("POST", "/graphql", POST, about(key)))
    pipeline = [request("POST", "/graphql", POST, about(key).replace(b"id name", b"name id")) for key in keys]
    pipeline += [request("POST", "/graphql", POST, b'{"query": "{ dataVersion { version } }"}')]
    answers = await talk(served, b"".join(pipeline), count=30)
    assert [answer.status for answer in answers] == [200] * 30
    assert "dataVersion" in orjson.loads(answers[-1].body)["data"]
    assert ways["computed"] + ways["executed"] > 2


SLEEP = "SELECT '{\"slow\":1}'::bytea AS data, NULL::text AS cuts FROM pg_sleep(60)"


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first of these texts is the statement that answers, if there is one."""
    found: list[str] = []

    def statement(*_: Any) -> Prepared | None:
        return Prepared(None, found[0], [], {"slow": []}, True) if found else None

    monkeypatch.setattr(AtlasSchema, "statement", statement)
    return found


async def running(url: str) -> int:
    is_slow = "query LIKE '%slow%' AND state = 'active' AND pid <> pg_backend_pid()"
    there = f"SELECT count(*) FROM pg_stat_activity WHERE {is_slow}"
    connection = await asyncpg.connect(url)
    count: int = await connection.fetchval(there)
    await connection.close()
    return count


async def until_running(url: str, count: int) -> None:
    async with asyncio.timeout(10):
        while await running(url) != count:  # noqa: ASYNC110 - PostgreSQL has no event for it
            await asyncio.sleep(0.02)


async def have_version_known(client: Client) -> None:
    """Have the document known too, without an answer."""
    await talk(client, request("POST", "/graphql", POST, b'{"query": "{ __typename }"}'))
    client.app.state.short_way.endpoint.know(read_members({"query": QUERY}), QUERY)


@asynccontextmanager
async def asking(client: Client, body: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """Send a request, and leave at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.http.base_url.port)
    writer.write(request("POST", "/graphql", POST, body))
    try:
        yield reader
    finally:
        writer.close()
        await writer.wait_closed()


async def test_client_that_leaves_ends_its_statement(
    served: Client, sample_url: str, statements: list[str], logged: io.StringIO
) -> None:
    await have_version_known(served)
    statements.append(SLEEP)
    async with asking(served, BODY):
        await until_running(sample_url, 1)
    await until_running(sample_url, 0)
    _, line = [line for line in lines(logged) if line["path"] == "/graphql"]
    assert line["status"] == 499
    page = (await served.http.get("/metrics")).text
    assert 'atlas_operations_total{operation="other",outcome="CANCELLED"} 1.0' in page


async def test_statement_goes_on_for_who_has_joined(served: Client, sample_url: str, statements: list[str]) -> None:
    await have_version_known(served)
    statements.append(SLEEP.replace("60", "1"))
    async with asking(served, BODY):
        await until_running(sample_url, 1)
        second = asyncio.create_task(talk(served, request("POST", "/graphql", POST, BODY)))
        await asyncio.sleep(0.1)
    statements[:] = [SLEEP]
    (answer,) = await second
    assert (answer.status, answer.body) == (200, b'{"data":{"slow":1}}')


async def test_statement_ends_with_the_last_who_has_joined(
    served: Client, sample_url: str, statements: list[str]
) -> None:
    await have_version_known(served)
    statements.append(SLEEP)
    async with AsyncExitStack() as last:
        async with asking(served, BODY):
            await until_running(sample_url, 1)
            await last.enter_async_context(asking(served, BODY))
            await asyncio.sleep(0.2)
        await asyncio.sleep(0.2)
        assert await running(sample_url) == 1
    await until_running(sample_url, 0)


async def test_statement_that_takes_too_long_is_told_so(sample_url: str, statements: list[str]) -> None:
    async with on_loopback(sample_url, deadline_seconds=0.3) as client:
        await have_version_known(client)
        statements.append(SLEEP)
        accept = {"accept": "application/graphql-response+json"}
        (answer,) = await talk(client, request("POST", "/graphql", POST | accept, BODY))
    assert answer.status == 504
    assert answer.headers["retry-after"]
    extensions = orjson.loads(answer.body)["errors"][0]["extensions"]
    assert extensions == {"code": "TIMEOUT", "requestId": answer.headers["x-request-id"]}


async def test_request_ends_with_its_deadline(
    served: Client, sample_url: str, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await have_version_known(served)
    monkeypatch.setattr(served.app.state.short_way, "_seconds", 0.3)
    statements.append(SLEEP)
    (answer,) = await talk(served, request("POST", "/graphql", POST, BODY))
    error = orjson.loads(answer.body)["errors"][0]
    assert (answer.status, error["extensions"]["code"]) == (504, "TIMEOUT")
    assert error["extensions"]["requestId"] == answer.headers["x-request-id"]
    await until_running(sample_url, 0)


async def test_statement_that_fails_leaves_the_answer_to_others(served: Client, statements: list[str]) -> None:
    (expected,) = await talk(served, request("POST", "/graphql", POST | LONG, BODY))
    statements.append("SELECT 1 / 0")
    other = BODY.replace(b"Names", b"Other")
    first, second = await asyncio.gather(*[talk(served, request("POST", "/graphql", POST, other)) for _ in "12"])
    assert first[0].body == second[0].body == expected.body


async def test_server_that_stops_answers_first(sample_url: str, statements: list[str]) -> None:
    async with AsyncExitStack() as last:
        async with on_loopback(sample_url) as client:
            await have_version_known(client)
            statements.append(SLEEP.replace("60", "1"))
            reader = await last.enter_async_context(asking(client, BODY))
            await until_running(sample_url, 1)
        answer = await read(reader)
    assert (answer.status, answer.headers["connection"]) == (200, "close")


async def test_client_that_leaves_ends_what_is_executed(served: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def endless(*_: Any) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    monkeypatch.setattr("graph.endpoint.Endpoint.make", endless)
    async with asking(served, orjson.dumps({"query": NODE})):
        await asyncio.wait_for(begun.wait(), 10)
    await asyncio.wait_for(ended.wait(), 10)
