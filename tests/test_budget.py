import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from db.errors import ConfigurationError
from graph.budget import HEADERS, Budget, network_of
from graph.limits import MAX_COST, REFUSED_COST
from graph.redis_link import RedisLink
from tests.client import Client, serving
from tests.redis_server import redis_server

BUDGET = 1_000
VERSION = "{ dataVersion { version } }"
VERSION_COST = 5


@pytest.fixture
async def bounded(server_url: str, database: str) -> AsyncIterator[Client]:
    """A client of an API with budgets."""
    async with serving(database, query_budget_per_minute=BUDGET) as client:
        yield client


async def send(client: Client, query: str, **more: Any) -> httpx.Response:
    return await client.http.post("/graphql", json={"query": query, **more})


def remaining(response: httpx.Response) -> int:
    return int(response.headers["ratelimit"].split(";")[1].removeprefix("r="))


@pytest.mark.parametrize(
    ("query", "more", "due"),
    [
        (VERSION, {}, VERSION_COST),
        ("{ entities(first: 10) { edges { cursor } } }", {}, 45),
        (VERSION, {"extensions": {"cost": "dry-run"}}, 1),
        ("{", {}, REFUSED_COST),
        ("{ nope }", {}, REFUSED_COST),
        ("{ " + "a " * 2_000 + "}", {}, REFUSED_COST),
        (VERSION, {"variables": {"a": [1] * 251}}, REFUSED_COST),
    ],
)
async def test_each_operation_is_charged_what_it_asks_for(
    bounded: Client, query: str, more: dict[str, Any], due: int
) -> None:
    for times in (1, 2):
        assert remaining(await send(bounded, query, **more)) == BUDGET - times * due


async def test_spent_budget_is_told_with_the_time_to_wait(bounded: Client) -> None:
    costly = "{ entities(first: 100) { edges { cursor node { id } } } }"
    assert (await send(bounded, costly)).status_code == 200
    refused = await send(bounded, costly)
    (error,) = refused.json()["errors"]
    assert (refused.status_code, error["extensions"]["code"], "data" in refused.json()) == (429, "LIMIT", False)
    assert "the operation costs 905, and 95 of the minute's 1000 are left: wait" in error["message"]
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["ratelimit-policy"] == '"cost";q=1000;w=60'
    # Something smaller still passes: a refused operation takes nothing.
    assert remaining(await send(bounded, VERSION)) == 95 - VERSION_COST


async def test_operation_beyond_the_whole_budget_is_told_so(bounded: Client) -> None:
    refused = await send(bounded, "{ timelineFigures(first: 100) { works(first: 10) { id } } }")
    assert refused.status_code == 429
    assert "and the budget is 1000 a minute: ask for less" in refused.json()["errors"][0]["message"]
    assert "retry-after" not in refused.headers


async def test_cost_is_reported_when_asked_for(bounded: Client) -> None:
    told = (await send(bounded, VERSION, extensions={"cost": "report"})).json()
    cost = told["extensions"]["cost"]
    assert (cost["requested"], cost["actual"], cost["remaining"]) == (5, 5, BUDGET - 5)
    assert cost["resetAt"].endswith("+00:00")
    assert "extensions" not in (await send(bounded, VERSION)).json()


async def test_cost_is_beside_what_else_the_extensions_tell(atlas: Client) -> None:
    query = '{ figureDetail(id: "Q9358") { influencedBy(first: 1) { id } } }'
    for _ in range(2):
        told = (await send(atlas, query, extensions={"cost": "report"})).json()
        assert told["extensions"]["cost"] == {"requested": 9, "actual": 9}
        assert told["extensions"]["truncated"]


async def test_dry_run_tells_the_cost_and_runs_nothing(atlas: Client) -> None:
    deep = (
        "{ entities(first: 100) { edges { node { influences(first: 100) { edges { node { labels { text } } } } } } } }"
    )
    with atlas.statements() as statements:
        told = await send(atlas, deep, extensions={"cost": "dry-run"})
    cost = told.json()["extensions"]["cost"]
    assert (told.status_code, told.json()["data"], cost["actual"], statements) == (200, None, None, [])
    assert cost["requested"] > MAX_COST
    refused = (await send(atlas, deep)).json()["errors"][0]
    assert (refused["extensions"]["code"], str(cost["requested"]) in refused["message"]) == ("LIMIT", True)


async def test_without_budgets_nothing_is_told_of_them(atlas: Client) -> None:
    headers = (await send(atlas, VERSION)).headers
    assert not [name for name in HEADERS if name.lower() in headers]


async def test_callers_have_budgets_of_their_own() -> None:
    budget = Budget(10, None)
    charges = [await budget.charge(caller, 6) for caller in ("a", "b", "a")]
    assert [charge and charge.is_allowed for charge in charges] == [True, True, False]


async def test_processes_share_a_budget_by_redis(tmp_path: Path) -> None:
    async with redis_server(tmp_path) as server:
        links = [RedisLink(server.url), RedisLink(server.url)]
        charges = [await Budget(10, link).charge("a", 6) for link in links]
        for link in links:
            await link.close()
    assert [charge and (charge.is_allowed, charge.remaining) for charge in charges] == [(True, 4), (False, 4)]


async def test_budget_holds_for_all_who_come_at_once(tmp_path: Path) -> None:
    async with redis_server(tmp_path) as server:
        link = RedisLink(server.url)
        budget = Budget(10, link)
        charges = await asyncio.gather(*(budget.charge("a", 6) for _ in range(20)))
        assert [charge.is_allowed for charge in charges].count(True) <= 2
        assert (await budget.charge("a", 4)).is_allowed
        await link.close()


async def test_budgets_without_redis_are_counted_by_each_process(caplog: pytest.LogCaptureFixture) -> None:
    link = RedisLink("redis://127.0.0.1:1/0")
    budget = Budget(10, link)
    assert [(await budget.charge("a", 4)).remaining for _ in range(3)] == [6, 2, 2]
    await link.close()
    assert caplog.text.count("budgets cannot be counted") == 1
    assert caplog.text.count("Redis is left alone until it answers again") == 1


@pytest.mark.usefixtures("patient_cache")
async def test_budgets_and_answers_leave_a_redis_alone_together(
    sample_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        redis_server(tmp_path) as server,
        serving(sample_url, redis_url=server.url, query_budget_per_minute=BUDGET) as client,
    ):
        assert "ratelimit" in (await send(client, VERSION)).headers
        await server.kill()
        for _ in range(3):
            answer = await send(client, VERSION)
            assert (answer.status_code, "ratelimit" in answer.headers) == (200, True)
        assert (await client.http.get("/health/ready")).json()["breakers"]["redis"] == "open"
        await server.start()
        async with asyncio.timeout(20):
            while (await client.http.get("/health/ready")).json()["breakers"]["redis"] != "closed":
                await send(client, VERSION)
                await asyncio.sleep(0.05)
    assert caplog.text.count("Redis is left alone until it answers again") == 1
    assert caplog.text.count("Redis answers again") == 1
    assert caplog.text.count("budgets cannot be counted") == 1


def test_redis_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="REDIS_URL cannot be read"):
        RedisLink("redis://127.0.0.1:x/0")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_addresses_of_one_site_share_a_budget(address: str, network: str) -> None:
    assert network_of(address) == network


async def test_rest_is_charged_too(bounded: Client) -> None:
    page = await bounded.http.get("/data?page_size=10")
    assert remaining(page) == BUDGET - 220
    assert remaining(await bounded.http.get("/stats")) == BUDGET - 620
    refused = await bounded.http.get("/data?page_size=30")
    assert (refused.status_code, refused.json()["code"]) == (429, "LIMIT")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
