import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from db import lookups
from db.reading import ReadSession
from db.session import write_engine
from graph.context import Context
from tests.client import Client, serving


@pytest.mark.parametrize(
    ("query", "code", "part"),
    [
        ("{ figureDetail(", "SYNTAX", "Expected Name"),
        ("{ nope }", "VALIDATION", "Cannot query field 'nope'"),
        ("{ figureDetail { name } }", "VALIDATION", "of type 'ID!' is required"),
        ("query A { stats { authorships } } query B { stats { authorships } }", "BAD_INPUT", "one of A, B"),
        ("fragment F on Agent { name }", "BAD_INPUT", "no operation"),
        ("mutation { a }", "VALIDATION", "mutation"),
        ("subscription { a }", "VALIDATION", "subscription"),
        ("{ ...X }", "VALIDATION", "Unknown fragment 'X'"),
        ('{ node(id: "aristotle") { id } }', "BAD_INPUT", "'aristotle' is not an id"),
        ('{ nodes(ids: ["Q0"]) { id } }', "BAD_INPUT", "'Q0' is not an id"),
        ('{ figureDetail(id: "") { id } }', "BAD_INPUT", "'' is not an id"),
        ('{ knowledgeRoadmap(conceptId: "test: x") { depth } }', "BAD_INPUT", "is not an id"),
        ('{ path(from: "Q1", to: "?") { length } }', "BAD_INPUT", "'?' is not an id"),
        ('{ lineage(id: "Q868", maxDepth: 33) { isTruncated } }', "BAD_INPUT", "maxDepth is 33: give 0 to 32"),
        ('{ lineage(id: "Q868", first: 5001) { isTruncated } }', "BAD_INPUT", "first is 5001: give 0 to 5000"),
        ('{ roadmap(conceptId: "test:goal", maxDepth: -1) { mermaid } }', "BAD_INPUT", "maxDepth is -1"),
        ("{ timelineFigures(first: 101) { id } }", "BAD_INPUT", "first is 101: give 0 to 100"),
        ("{ timelineFigures(yearRange: [1]) { id } }", "BAD_INPUT", "give exactly two years"),
        ("{ timelineFigures(yearRange: [1, null]) { id } }", "BAD_INPUT", "give exactly two years"),
        ("{ timelineFigures(yearRange: [2, 1]) { id } }", "BAD_INPUT", "the earlier year first"),
        ("{ interdisciplinaryContext(year: 99999999999) { id } }", "VALIDATION", "32-bit"),
        ("{ entities(first: -1) { totalCount } }", "BAD_INPUT", "first is -1"),
        ("{ entities(last: 101) { totalCount } }", "BAD_INPUT", "last is 101"),
        ("{ entities(first: 1, last: 1) { totalCount } }", "BAD_INPUT", "only one of the two"),
        ('{ entities(after: "!") { totalCount } }', "BAD_INPUT", "cursor '!' is not one of this list"),
        ('{ entities(after: "") { totalCount } }', "BAD_INPUT", "cursor '' is not one of this list"),
        ('{ entities(filter: {bornBetween: {from: "x", to: 1}}) { totalCount } }', "BAD_INPUT", "'x' is not a year"),
        (
            "{ entities(filter: {startBetween: {from: 1, to: 0}}) { totalCount } }",
            "BAD_INPUT",
            "startBetween is 1 to 0",
        ),
        ('{ search(query: " ") { totalCount } }', "BAD_INPUT", "give at least one letter"),
        ('{ search(query: "a\\u0000") { totalCount } }', "BAD_INPUT", "NUL"),
        ('{ search(query: "a", after: "x") { totalCount } }', "BAD_INPUT", "cursor 'x'"),
        ('{ entity(id: "Q868") { influences(first: 101) { totalCount } } }', "BAD_INPUT", "first is 101"),
        ('{ entity(id: "Q868") { influences(after: "x") { totalCount } } }', "BAD_INPUT", "cursor 'x'"),
        ('{ etlRuns(after: "x") { totalCount } }', "BAD_INPUT", "cursor 'x'"),
        ('{ rawRecords(after: "x") { totalCount } }', "BAD_INPUT", "cursor 'x'"),
    ],
)
async def test_error_has_a_code_and_tells_the_fix(atlas: Client, query: str, code: str, part: str) -> None:
    found, message = await atlas.refusal(query)
    assert (found, part in message) == (code, True), message


@pytest.mark.parametrize(
    ("query", "variables", "code", "part"),
    [
        ("query ($id: ID!) { node(id: $id) { id } }", {}, "BAD_INPUT", "$id"),
        ("query ($n: Int!) { timelineFigures(first: $n) { id } }", {"n": "x"}, "BAD_INPUT", "$n"),
        ('query ($k: Kind!) { search(query: "a", kinds: [$k]) { totalCount } }', {"k": "X"}, "BAD_INPUT", "$k"),
        ("query ($q: String!) { search(query: $q) { totalCount } }", {"q": "x" * 501}, "BAD_INPUT", "501 characters"),
        ("query ($i: [ID!]!) { nodes(ids: $i) { id } }", {"i": ["Q1"] * 101}, "BAD_INPUT", "101 entries"),
        (
            "query ($f: EntityFilter) { entities(filter: $f) { totalCount } }",
            {"f": {"bornBetween": {"from": 2 * 10**10 + 1, "to": 1}}},
            "BAD_INPUT",
            "is not a year",
        ),
    ],
)
async def test_malformed_variable_is_bad_input(
    atlas: Client, query: str, variables: dict[str, Any], code: str, part: str
) -> None:
    answer = await atlas.answer(query, **variables)
    (error,) = answer["errors"]
    assert (error["extensions"]["code"], part in error["message"]) == (code, True), error


async def test_a_failing_field_leaves_the_others(atlas: Client) -> None:
    answer = await atlas.answer('{ good: figureDetail(id: "Q868") { name } bad: figureDetail(id: "x") { name } }')
    assert answer["data"] == {"good": {"name": "Aristotle"}, "bad": None}
    assert answer["errors"][0]["path"] == ["bad"]


async def test_unforeseen_failure_is_masked_and_logged(
    atlas: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(lookups, "entities_by_id", fail)
    with caplog.at_level(logging.ERROR, "graph.errors"):
        # A name so long is for the executor.
        code, message = await atlas.refusal(f'{{ node(id: "Q868") {{ {"a" * 64}: id }} }}')
    assert (code, "secret" in message) == ("INTERNAL", False)
    assert "secret" in caplog.text


async def test_statement_that_takes_too_long_is_a_timeout(database: str) -> None:
    async with serving(database, deadline_seconds=0.05) as client:
        async with write_engine(database).connect() as blocker:
            await blocker.exec_driver_sql("LOCK TABLE entity IN ACCESS EXCLUSIVE MODE")
            code, message = await client.refusal('{ node(id: "Q868") { id } }')
        assert (code, "took too long" in message) == ("TIMEOUT", True)
        assert await client.ask('{ node(id: "Q868") { id } }') == {"node": None}


async def test_database_that_is_gone_is_unavailable() -> None:
    async with serving("postgresql://nobody@127.0.0.1:1/none") as client:
        code, message = await client.refusal('{ node(id: "Q868") { id } }')
    assert (code, "127.0.0.1" in message) == ("UNAVAILABLE", False)


@pytest.fixture
async def narrow(database: str) -> AsyncIterator[Client]:
    """A client of an API with a single connection."""
    async with serving(database, pool_size=1) as client:
        yield client


async def test_connection_comes_back_after_errors_and_cancellation(narrow: Client) -> None:
    query = '{ node(id: "Q868") { id } bad: node(id: "x") { id } stats { authorships } }'
    for _ in range(3):
        assert (await narrow.answer(query))["errors"]
        request = asyncio.create_task(narrow.answer(query))
        await asyncio.sleep(0.001)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
    assert await asyncio.wait_for(narrow.ask("{ stats { authorships } }"), 5) == {"stats": {"authorships": 0}}
    assert narrow.app.state.engine.pool.checkedout() == 0


async def test_reads_after_the_end_of_a_request_are_refused(narrow: Client) -> None:
    context = Context(narrow.app.state.engine)
    session = context.session
    assert isinstance(session, ReadSession)
    await context.close()
    with pytest.raises(RuntimeError, match="has ended"):
        await lookups.entities_by_id(session, [1])


async def test_an_operation_sees_one_snapshot(narrow: Client) -> None:
    with narrow.statements():
        data = await narrow.ask("{ a: dataVersion { version } b: stats { dataVersion { version } } }")
    assert data == {"a": {"version": 0}, "b": {"dataVersion": {"version": 0}}}
