from collections.abc import AsyncIterator
from random import Random
from typing import Any
from unittest.mock import patch

import asyncpg
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.observe import OBSERVERS
from db.reading import ReadSession
from db.session import read_engine, write_engine
from db.shapes import Plan
from db.statements import Readers
from graph.compiled.mapping import NotCompilableError
from graph.compiled.plans import Compiler
from graph.context import Context
from graph.execution import Compiling
from graph.schema import build
from tests import small_graph
from tests.client import Client
from tests.differential import Differential, material
from tests.generated_operations import Generator, Operation

SCHEMA = build(compiling=Compiling.NEVER)
ENTITY = "query($id: ID!) { entity(id: $id) { name } }"


@pytest.fixture(scope="module")
async def engine(sample_url: str) -> AsyncIterator[AsyncEngine]:
    engine = read_engine(sample_url, 2, 30)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="module")
async def differential(engine: AsyncEngine) -> Differential:
    return Differential(engine)


@pytest.fixture(scope="module")
async def sample_generator(engine: AsyncEngine) -> Generator:
    return Generator(SCHEMA._schema, await material(engine))


@pytest.fixture(scope="module")
async def awkward_differential(atlas: Client) -> Differential:
    return Differential(atlas.app.state.engine)


@pytest.fixture(scope="module")
async def awkward_generator(atlas: Client) -> Generator:
    return Generator(SCHEMA._schema, await material(atlas.app.state.engine))


@pytest.fixture(scope="module")
async def record_differential(shop: Client) -> Differential:
    return Differential(shop.app.state.engine)


@pytest.fixture(scope="module")
async def record_generator(shop: Client) -> Generator:
    return Generator(SCHEMA._schema, await material(shop.app.state.engine))


GENERATED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(chance=st.randoms(use_true_random=True))
@GENERATED
async def test_compiled_operation_answers_as_the_executor_does(
    differential: Differential, sample_generator: Generator, chance: Random
) -> None:
    await differential.check(sample_generator.operation(chance))


@given(chance=st.randoms(use_true_random=True))
@GENERATED
async def test_so_it_does_over_awkward_data(
    awkward_differential: Differential, awkward_generator: Generator, chance: Random
) -> None:
    await awkward_differential.check(awkward_generator.operation(chance))


@given(chance=st.randoms(use_true_random=True))
@GENERATED
async def test_so_it_does_over_records(
    record_differential: Differential, record_generator: Generator, chance: Random
) -> None:
    await record_differential.check(record_generator.operation(chance))


@pytest.mark.parametrize(
    ("document", "variables"),
    [
        ('{ entity(id: "Q9358") { r1: name n: description data: id cuts: kind } }', {}),
        ('{ entity(id: "Q9358") { id id kind id ... on Agent { id influencedBy { id } influencedBy { name } } } }', {}),
        ('{ a: entity(id: "Q9358") { ...F } b: node(id: "Q868") { ...F } } fragment F on Entity { name }', {}),
        ('{ entity(id: "Q9358") { __typename ... on Work { title } ... on Agent { t: __typename } } }', {}),
        ('{ __typename entity(id: "Q9358") { id } }', {}),
        ('{ entity(id: "Q9358") { name @skip(if: true) } }', {}),
        ('{ entity(id: "Q9358") { labels { text @skip(if: true) } start { year @skip(if: true) } } }', {}),
        ('query($a: Boolean!) { dataVersion @skip(if: $a) { version } entity(id: "Q868") { id } }', {"a": True}),
        ("query($f: Int = 3) { timelineFigures(first: $f) { name works(first: 1) { title } } }", {}),
        ("query($f: Int) { timelineFigures(first: $f) { name } }", {}),
        ('{ timelineFigures(first: 1) { works(first: 1) { id } } nodes(ids: ["?"]) { id } }', {}),
        ("query($f: Int) { timelineFigures(first: $f) { name } }", {"f": None}),
        ("query($f: Float) { timelineFigures(first: $f) { name } }", {"f": 1.5}),
        (ENTITY, {"id": 9358}),
        (ENTITY, {"id": "'; DROP TABLE entity; --"}),
        (ENTITY, {"id": "test:'; DROP"}),
        (ENTITY, {}),
        ("query($n: String) { entities(filter: {nameStartsWith: $n}) { totalCount } }", {"n": "a'%_\\"}),
        ("query($n: String) { entities(filter: {nameStartsWith: $n}) { totalCount } }", {"n": "\u0000"}),
        ("{ entities(last: 3, orderBy: NAME_DESC) { pageInfo { startCursor endCursor } edges { cursor } } }", {}),
        ("{ entities(last: 3) { edges { node { ... on Agent { works(first: 0) { id } } } } } }", {}),
        ('{ entity(id: "Q9358") { label(language: "d\'\\"e") labels { language text } } }', {}),
        (
            '{ entity(id: "Q9358") { influences(first: 0) { edges { type } pageInfo { hasNextPage endCursor } } } }',
            {},
        ),
    ],
)
async def test_compiled_operation_that_was_thought_of(
    differential: Differential, document: str, variables: dict[str, Any]
) -> None:
    await differential.check(Operation(document, variables))


@pytest.mark.parametrize(
    "document",
    [
        ENTITY,
        "query($id: ID!) { figureDetail(id: $id) { birth { text earliest precision } birthDate disciplines } }",
        "{ entities(orderBy: ID_ASC, first: 100) { edges { node { id kind } } pageInfo { hasNextPage endCursor } } }",
        "query($id: ID!) { entity(id: $id) { influences { edges { node { influences { edges { type } } } } } } }",
        "query($id: ID!) { roadmap(conceptId: $id) { nodes { depth } edges { source { id } } isTruncated } }",
        "query($id: ID!) { lineage(id: $id) { nodes { entity { name } } edges { provenance { rule } } } }",
        "query($id: ID!) { knowledgeRoadmap(conceptId: $id) { concept { prerequisites { name } } } }",
        "{ timelineFigures { works { author { name } } } interdisciplinaryContext(year: 1880) { name } }",
        "{ data(first: 50) { edges { node { sourceId title value createdAt attributes } } pageInfo { endCursor } } }",
    ],
)
def test_what_is_asked_most_is_compiled(document: str) -> None:
    assert Compiler(SCHEMA).prepare(document, None, {"id": "Q9358"}).sql.startswith("SELECT")


@pytest.mark.parametrize(
    "document",
    [
        "{ stats { authorships } }",
        '{ roadmap(conceptId: "Q1") { mermaid } }',
        '{ entity(id: "Q1") { id } dataVersion { version } }',
        "{ __schema { queryType { name } } }",
        '{ a: entity(id: "Q1") { ' + " ".join(f"n{n}: name" for n in range(500)) + " } }",
        '{ entity(id: "Q1") { ' + "a" * 64 + ": name } }",
    ],
)
def test_what_has_no_mapping_or_is_too_large_is_left_to_the_executor(document: str) -> None:
    with pytest.raises(NotCompilableError):
        Compiler(SCHEMA).prepare(document, None, {})


def test_plan_holds_no_value_of_a_client() -> None:
    compiler = Compiler(SCHEMA)
    document = """query($id: ID!, $first: Int!, $after: String) {
        entity(id: $id) { influences(types: [TAUGHT], first: $first) { totalCount } label(language: "xy") }
        entities(first: $first, after: $after, filter: {disciplines: ["zz"], field: "ff"}) { totalCount }
    }"""
    given = {"id": "secret:key", "first": 77, "after": None}
    one = compiler.prepare(document, None, given)
    assert not any(value in one.sql for value in ("secret", "77", "TAUGHT", "xy", "zz", "ff'"))
    assert {"secret:key", 77, "xy", "ff"} <= {value for value in one.arguments if not isinstance(value, list)}
    assert compiler.prepare(document, None, given | {"id": "other:key", "first": 3}).sql is one.sql
    assert len(compiler._plans) == 1


def test_plans_are_bounded() -> None:
    compiler = Compiler(SCHEMA, most=3)
    for number in range(5):
        compiler.prepare(f'{{ n{number}: entity(id: "Q1") {{ id }} }}', None, {})
    assert (len(compiler._plans), len(compiler._operations)) == (3, 3)
    used = next(iter(compiler._plans))
    compiler.prepare('{ n2: entity(id: "Q1") { id } }', None, {})
    compiler.prepare('{ n9: entity(id: "Q1") { id } }', None, {})
    assert used in compiler._plans


def test_operation_is_compiled_when_it_comes_again() -> None:
    compiler = Compiler(SCHEMA, patience=1)
    with pytest.raises(NotCompilableError):
        compiler.prepare(ENTITY, None, {"id": "Q1"})
    assert compiler.prepare(ENTITY, None, {"id": "Q2"}).arguments == [2, "Q2"]


async def test_answer_written_by_the_database_is_the_body(sample: Client) -> None:
    response = await sample.http.post("/graphql", json={"query": ENTITY, "variables": {"id": "Q9358"}})
    assert response.content == b'{"data":{"entity":{"name":"Friedrich Nietzsche"}}}'


async def test_operation_whose_statement_fails_is_executed(sample_url: str, caplog: pytest.LogCaptureFixture) -> None:
    schema = build(compiling=Compiling.ALWAYS)
    document = '{ entity(id: "Q9358") { name } }'
    plan = schema.compiler.prepare(document, None, {})
    schema.compiler._plans[plan.key] = Plan("SELECT nothing AS data", ())
    engine = read_engine(sample_url, 2, 30)
    readers = Readers(engine)
    for _ in range(2):
        answer = await schema.answer(readers, Context(engine), document, None, None)
        assert answer.body == b'{"data":{"entity":{"name":"Friedrich Nietzsche"}}}'
    assert caplog.text.count('column "nothing" does not exist') == 1
    await engine.dispose()


async def test_compiled_statement_cannot_write(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        assert (await connection.execute(text("SHOW default_transaction_read_only"))).scalar_one() == "on"


MIXED = """query($id: ID!, $first: Int) {
    stats { authorships } entity(id: $id) { name } bad: lineage(id: "?") { nodes { depth } }
    works: timelineFigures(first: $first) { name } dataVersion { version }
}"""


async def test_root_fields_that_can_be_are_compiled_beside_others(sample: Client, differential: Differential) -> None:
    given = {"id": "Q9358", "first": 1}
    parts = differential.compiling.compiler.prepare_parts(MIXED, None, given)
    assert list(parts) == ["entity", "works"]
    assert await differential.check(Operation(MIXED, given)) == ["compiled in part"]
    answer = await sample.answer(MIXED, **given)
    assert list(answer["data"]) == ["stats", "entity", "bad", "works", "dataVersion"]
    assert answer["data"]["entity"] == {"name": "Friedrich Nietzsche"}
    assert [error["path"] for error in answer["errors"]] == [["bad"]]
    assert answer["extensions"]["truncated"] == [{"path": ["works"], "limit": 1}]


async def test_mixed_answer_is_of_one_snapshot(database: str) -> None:
    schema, writer = build(compiling=Compiling.ALWAYS), write_engine(database)
    engine = read_engine(database, 2, 30)
    document = "{ entities { totalCount } stats { entities { count stubs } } }"
    read = ReadSession.row

    async def then_write(session: ReadSession, sql: str, arguments: Any) -> Any:
        row = await read(session, sql, arguments)
        await small_graph.load(writer)
        return row

    with patch.object(ReadSession, "row", then_write):
        answer = await schema.answer(Readers(engine), Context(engine), document, None, None)
    data = orjson.loads(answer.body)["data"]
    assert data["entities"]["totalCount"] == 0
    assert {kind["count"] for kind in data["stats"]["entities"]} <= {0}
    await engine.dispose()
    await writer.dispose()


@pytest.mark.parametrize(
    ("document", "transactions", "json"),
    [
        ('{ entity(id: "Q9358") { name start { year } } }', 0, set()),
        ('{ entity(id: "Q9358") { name ... on Agent { works { title } } } }', 1, set()),
        ("{ timelineFigures(first: 2) { labels { text } ... on Agent { countries } } }", 0, {"labels", "details"}),
        ('{ entity(id: "Q9358") { influences { totalCount edges { node { id } } } } }', 1, set()),
        ('{ a: entity(id: "Q9358") { name } b: entity(id: "Q9358") { name } }', 1, set()),
        (
            '{ roadmap(conceptId: "metacademy:bayes_rule") { nodes { depth } edges { note provenance { rule } } } }',
            1,
            {"provenance"},
        ),
    ],
)
async def test_executor_reads_no_more_than_it_must(
    sample_url: str, document: str, transactions: int, json: set[str]
) -> None:
    schema, engine = build(compiling=Compiling.NEVER), read_engine(sample_url, 2, 30)
    seen: list[str] = []
    engine.get_execution_options()[OBSERVERS].append(lambda statement: seen.append(statement.sql))
    begun: list[str] = []
    execute = asyncpg.Connection.execute

    async def executed(connection: Any, sql: str, *further: Any, **options: Any) -> Any:
        begun.append(sql)
        return await execute(connection, sql, *further, **options)

    with patch.object(asyncpg.Connection, "execute", executed):
        answer = await schema.answer(Readers(engine), Context(engine), document, None, None)
    assert answer.was_executed
    assert sum(sql.startswith("BEGIN") for sql in begun) == transactions
    selected = [sql.split("FROM")[0] for sql in seen]
    assert {name for name in ("labels", "details", "provenance") if any(name in sql for sql in selected)} == json
    assert not any("name_folded" in sql or "run_id" in sql for sql in selected)
    await engine.dispose()


async def test_part_whose_statement_fails_is_executed_with_the_others(sample_url: str) -> None:
    schema, engine = build(compiling=Compiling.ALWAYS), read_engine(sample_url, 2, 30)
    document = '{ entity(id: "Q9358") { name } stats { openQuarantine } }'
    plan = schema.compiler.prepare_parts(document, None, {})["entity"]
    schema.compiler._plans[plan.key] = Plan("SELECT nothing AS data", ())
    for _ in range(2):
        answer = await schema.answer(Readers(engine), Context(engine), document, None, None)
        data = orjson.loads(answer.body)["data"]
        assert data == {"entity": {"name": "Friedrich Nietzsche"}, "stats": {"openQuarantine": 0}}
    assert schema.compiler.prepare_parts(document, None, {}) == {}
    await engine.dispose()
