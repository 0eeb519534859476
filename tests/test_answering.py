import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from graph.answering import STALE_SECONDS, Answers, Level
from graph.cache import LASTING_SECONDS, Answer
from graph.versions import FRESH_SECONDS, VISIBLE_SECONDS
from tests.client import Client, serving

COUNT = "{ entities { totalCount } }"
VERSION = "{ dataVersion { version } }"
TELL = {"cache": True}


async def statements_of(client: Client, query: str, times: int = 1) -> int:
    """Return how many statements it costs to ask a query so many times at once."""
    with client.statements() as statements:
        await asyncio.gather(*(client.ask(query) for _ in range(times)))
    return len(statements)


async def tell(client: Client, query: str) -> tuple[Any, dict[str, Any]]:
    """Return the data of a query, and where it came from."""
    response = await client.http.post("/graphql", json={"query": query, "extensions": TELL})
    answer = response.json()
    return answer["data"], answer["extensions"]["cache"]


async def raise_version(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE data_version SET version = version + 1, raised_at = now()"))


async def test_answer_is_computed_once(sample_url: str) -> None:
    async with serving(sample_url) as client:
        first, told = await tell(client, COUNT)
        assert told == {"hit": False, "level": "computed", "age": 0}
        again, told = await tell(client, f"# laid out otherwise\n{COUNT}")
        assert (again, told["hit"], told["level"], told["age"] > 0) == (first, True, "memory", True)


async def test_simultaneous_requests_are_computed_once(sample_url: str) -> None:
    async with serving(sample_url) as client:
        await client.ask(VERSION)
        alone = await statements_of(client, COUNT)
        client.app.state.answers.counts.clear()
        assert await statements_of(client, COUNT, times=30) == alone
        assert client.app.state.answers.counts == {Level.COMPUTED: 1, Level.JOINED: 29}


async def test_first_of_many_may_go_away(sample_url: str) -> None:
    async with serving(sample_url) as client:
        await client.ask(VERSION)
        first = asyncio.create_task(client.ask(COUNT))
        second = asyncio.create_task(client.ask(COUNT))
        await asyncio.sleep(0.001)
        first.cancel()
        assert (await second)["entities"]["totalCount"] > 0
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_failure_is_told_to_all_and_not_kept(sample_url: str) -> None:
    async with serving(sample_url) as client:
        answers: Answers = client.app.state.answers
        calls = []

        async def fail() -> Answer:
            calls.append(1)
            await asyncio.sleep(0.01)
            raise ValueError("broken")

        found = await asyncio.gather(*(answers.find("k", fail) for _ in range(3)), return_exceptions=True)
        assert ([str(error) for error in found], len(calls)) == (["broken"] * 3, 1)
        with pytest.raises(ValueError, match="broken"):
            await answers.find("k", fail)
        assert len(calls) == 2


@pytest.mark.parametrize(
    "query", ["{ etlRuns { totalCount } }", "{ rawRecords { totalCount } }", '{ node(id: "868") { id } }']
)
async def test_what_may_change_or_has_an_error_is_not_kept(database: str, query: str) -> None:
    async with serving(database) as client:
        await client.answer(query)
        await client.answer(query)
        assert len(client.app.state.answers.memory) == 0
        assert client.app.state.answers.counts == {Level.COMPUTED: 2}


async def test_statistics_are_kept_for_a_moment(database: str) -> None:
    async with serving(database) as client:
        assert [(await tell(client, "{ stats { openQuarantine } }"))[1]["level"] for _ in "12"] == [
            "computed",
            "memory",
        ]
        (kept,) = client.app.state.answers.memory._entries.values()
        kept.made_at -= kept.ttl_seconds
        assert (await tell(client, "{ stats { openQuarantine } }"))[1]["level"] == "stale"
        await asyncio.sleep(0.05)
        assert (await tell(client, "{ stats { openQuarantine } }"))[1]["level"] == "memory"
        (kept,) = client.app.state.answers.memory._entries.values()
        kept.made_at -= kept.ttl_seconds + STALE_SECONDS
        assert (await tell(client, "{ stats { openQuarantine } }"))[1]["level"] == "computed"


async def test_cut_list_is_told_from_the_cache_too(sample_url: str) -> None:
    async with serving(sample_url) as client:
        query = '{ knowledgeRoadmap(conceptId: "metacademy:bayesian_logistic_regression", first: 2) { depth } }'
        first, second = await client.answer(query), await client.answer(query)
        assert first == second
        assert first["extensions"]["truncated"] == [{"path": ["knowledgeRoadmap"], "limit": 2}]
        told = (await client.http.post("/graphql", json={"query": query, "extensions": TELL})).json()
        assert told["extensions"]["truncated"] == first["extensions"]["truncated"]
        assert told["extensions"]["cache"]["hit"] is True


async def test_new_version_is_seen_soon_and_the_old_one_never_again(database: str, engine: AsyncEngine) -> None:
    async with serving(database) as client:
        await client.ask(VERSION)
        await raise_version(engine)
        seen = []
        for _ in range(60):
            data, told = await tell(client, VERSION)
            seen.append((data["dataVersion"]["version"], told["level"]))
            await asyncio.sleep(0.02)
        numbers = [number for number, _ in seen]
        assert (numbers, numbers[-1]) == (sorted(numbers), 1)
        assert (0, "stale") in seen


async def test_old_version_is_not_given_out_after_its_time(database: str, engine: AsyncEngine) -> None:
    async with serving(database) as client:
        assert (await client.ask(VERSION))["dataVersion"] == {"version": 0}
        await raise_version(engine)
        await asyncio.sleep(VISIBLE_SECONDS)
        # Nobody asked meanwhile, so that the process has not noticed it.
        assert (await client.ask(VERSION))["dataVersion"] == {"version": 1}


async def test_versions_are_never_mixed_in_an_answer(database: str, engine: AsyncEngine) -> None:
    query = "{ a: dataVersion { version } stats { dataVersion { version } } b: dataVersion { version } }"
    async with serving(database) as client:

        async def ask() -> set[int]:
            data = await client.ask(query)
            return {data["a"]["version"], data["b"]["version"], data["stats"]["dataVersion"]["version"]}

        for _ in range(8):
            found = await asyncio.gather(raise_version(engine), *(ask() for _ in range(5)))
            assert all(len(versions) == 1 for versions in found if versions is not None)
            client.app.state.answers.memory.clear()


async def test_version_is_read_beside_the_requests(sample_url: str) -> None:
    async with serving(sample_url) as client:
        newest = client.app.state.answers.newest
        assert newest.known() is None
        versions = await asyncio.gather(*(newest.get() for _ in range(5)))
        assert len(set(versions)) == 1
        newest._read_at -= FRESH_SECONDS / 2
        assert newest.known() == versions[0]
        reading = newest._reading
        assert reading is not None
        await reading
        assert newest.known() == versions[0]


async def test_without_a_database_nothing_is_given_out(database: str) -> None:
    async with serving("postgresql://nobody@127.0.0.1:1/none") as client:
        assert await client.refusal(COUNT) == await client.refusal(COUNT)
        assert (await client.refusal(COUNT))[0] == "UNAVAILABLE"
        assert len(client.app.state.answers.memory) == 0


async def test_large_answer_is_given_out_once(sample_url: str) -> None:
    async with serving(sample_url) as client:

        async def make() -> Answer:
            return Answer(b"x" * (1024 * 1024 + 1), ttl_seconds=LASTING_SECONDS)

        assert (await client.app.state.answers.find("k", make)).kept is None
        assert len(client.app.state.answers.memory) == 0
