from collections.abc import Iterable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.keys import internal_id
from db.models.atlas import Kind
from etl import pipeline
from etl.facts import MentionRecord
from etl.pipeline import Options, Report
from etl.source import RawRow
from etl.staging import StagedRow
from tests.rows import Rows

EDGE = {"from": "Q1", "to": "Q2", "rule": "P184"}


async def load(engine: AsyncEngine, *rows: dict[str, Any], name: str = "rows") -> Report:
    return await pipeline.run(engine, Rows(rows, name), Options())


async def query(engine: AsyncEngine, sql: str) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(sql))]


@pytest.mark.parametrize("mention_first", [True, False])
async def test_mention_is_completed_by_its_own_record(engine: AsyncEngine, mention_first: bool) -> None:
    rows = [EDGE, {"id": "Q1", "name": "One", "kind": "WORK"}]
    for row in rows if mention_first else reversed(rows):
        await load(engine, row)
    found = await query(engine, "SELECT key, kind::text, is_stub, name FROM entity ORDER BY id")
    assert found == [("Q1", "WORK", False, "One"), ("Q2", "AGENT", True, None)]


async def test_field_a_source_does_not_speak_about_stays(engine: AsyncEngine) -> None:
    await load(engine, {"id": "Q1", "name": "One", "description": "first"})
    await load(engine, {"id": "Q1", "name": "Uno"})
    assert await query(engine, "SELECT name, name_folded, description FROM entity") == [("Uno", "uno", "first")]
    await load(engine, {"id": "Q1", "description": None})
    assert await query(engine, "SELECT name, description FROM entity") == [("Uno", None)]


@pytest.mark.parametrize("together", [True, False])
async def test_statements_of_one_edge_add_up(engine: AsyncEngine, together: bool) -> None:
    inverse = EDGE | {"rule": "P185", "confidence": 0.5, "derived": True}
    loads: list[list[dict[str, Any]]] = [[EDGE, inverse]] if together else [[EDGE], [inverse]]
    for rows in loads:
        await load(engine, *rows)
    rules = "(SELECT array_agg(rule ORDER BY rule) FROM jsonb_object_keys(provenance) AS rule)"
    sql = f"SELECT confidence::text, is_derived, {rules} FROM influence"
    assert await query(engine, sql) == [("0.95", False, ["test/P184", "test/P185"])]
    assert (await load(engine, EDGE)).counts.unchanged == 1


async def test_edge_that_time_forbids_is_quarantined(engine: AsyncEngine) -> None:
    await load(engine, {"id": "Q1", "name": "Late"}, {"id": "Q2", "name": "Early"})
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE entity SET start_year = 1900, start_first = 693596 WHERE id = 1"))
        await connection.execute(text("UPDATE entity SET end_year = 1800, end_last = 657438 WHERE id = 2"))
    harmless = [{"from": "Q2", "to": f"Q{number}", "rule": "P737"} for number in range(3, 20)]
    assert (await load(engine, EDGE, EDGE | {"type": "PART_OF", "rule": "P361"}, *harmless)).counts.failed == 1
    assert await query(engine, "SELECT external_id, reason FROM quarantine") == [
        ("Q1-Q2-P184", "Q1 begins in 1900, after Q2 ended in 1800: it cannot have led there")
    ]
    assert await query(engine, "SELECT type::text FROM influence WHERE source_id = 1") == [("PART_OF",)]


async def test_edge_that_later_dates_forbid_is_quarantined(engine: AsyncEngine) -> None:
    await load(engine, EDGE)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE entity SET end_year = 1800, end_last = 657438 WHERE id = 2"))
        await connection.execute(text("UPDATE entity SET start_year = 1900, start_first = 693596 WHERE id = 1"))
    assert (await load(engine, {"id": "Q1", "name": "Late"}, name="names")).counts.retired == 1
    assert await query(engine, "SELECT count(*) FROM influence") == [(0,)]
    assert await query(engine, "SELECT source, external_id FROM quarantine") == [("names", "Q1 INFLUENCED Q2")]


CONCLUSION = EDGE | {"derived": True, "joins": "AGENT"}


async def test_conclusion_is_taken_back_when_an_end_turns_out_to_be_of_another_kind(engine: AsyncEngine) -> None:
    assert (await load(engine, CONCLUSION)).counts.inserted == 1
    counts = (await load(engine, CONCLUSION, {"id": "Q2", "kind": "WORK"})).counts
    assert (counts.processed, counts.updated, counts.retired) == (1, 1, 1)
    assert await query(engine, "SELECT count(*) FROM influence") == [(0,)]


async def test_conclusion_is_drawn_when_its_end_is_of_the_kind_after_all(engine: AsyncEngine) -> None:
    rows: list[dict[str, Any]] = [CONCLUSION, {"id": "Q2", "kind": "WORK"}, {"id": "Q2", "kind": "AGENT"}]
    partial = Rows(rows[:2])
    partial.problems.append("the third could not be read")
    report = await pipeline.run(engine, partial, Options())
    assert (report.counts.processed, report.counts.inserted) == (1, 1)
    counts = (await pipeline.resume(engine, Rows(rows), Options(), report.run)).counts
    assert (counts.processed, counts.inserted, counts.updated, counts.unchanged) == (3, 1, 1, 1)
    assert await query(engine, "SELECT count(*) FROM influence") == [(1,)]


class Complete(Rows):
    keeps_raw = False
    speaks_for = ("test/P184",)


async def test_complete_run_retires_what_it_no_longer_states(engine: AsyncEngine) -> None:
    other = EDGE | {"to": "Q3"}
    both: list[dict[str, Any]] = [EDGE, EDGE | {"rule": "P185", "confidence": 0.5}, other]
    await load(engine, *both)
    report = await pipeline.run(engine, Complete([other]), Options())
    assert (report.counts.unchanged, report.counts.retired) == (1, 1)
    left = "SELECT target_id, confidence::text, provenance ? 'test/P184' FROM influence ORDER BY 1"
    assert await query(engine, left) == [(2, "0.5", False), (3, "0.9", True)]
    report = await pipeline.run(engine, Complete([]), Options())
    assert report.counts.retired == 1
    assert await query(engine, left) == [(2, "0.5", False)]


class Authors(Rows):
    keeps_raw = False
    speaks_for = ("test/authorship",)

    def transform(self, row: RawRow) -> Iterable[object]:
        value = row.json()
        for end in ("from", "to"):
            yield MentionRecord(key=value[end], kind=Kind.AGENT, dataset="test")
        yield StagedRow("authorship", (internal_id(value["from"]), internal_id(value["to"]), "test"))


async def test_complete_run_retires_authorships_too(engine: AsyncEngine) -> None:
    rows = [{"from": "Q1", "to": "Q2"}, {"from": "Q1", "to": "Q3"}]
    assert (await pipeline.run(engine, Authors(rows), Options())).counts.inserted == 2
    counts = (await pipeline.run(engine, Authors(rows[1:]), Options())).counts
    assert (counts.unchanged, counts.retired) == (1, 1)
    assert await query(engine, "SELECT work_id, agent_id FROM authorship") == [(1, 3)]


@pytest.mark.parametrize("limit", [1, None])
async def test_only_a_complete_run_retires(engine: AsyncEngine, limit: int | None) -> None:
    await load(engine, EDGE, EDGE | {"to": "Q3"})
    source = Complete([EDGE])
    if limit is None:
        source.problems.append("half of it could not be read")
    report = await pipeline.run(engine, source, Options(limit=limit))
    assert (report.status, report.counts.retired) == ("DONE" if limit else "PARTIAL", 0)


async def test_second_key_of_an_internal_id_is_quarantined(engine: AsyncEngine) -> None:
    await load(engine, {"id": "test:one", "name": "One"})
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE entity SET key = 'test:other'"))
    rows = [{"id": f"Q{number}"} for number in range(1, 20)]
    assert (await load(engine, *rows, {"id": "test:one", "name": "Uno"})).counts.failed == 1
    reasons = await query(engine, "SELECT value, reason FROM quarantine")
    assert reasons == [("test:one", "has the same internal id as test:other")]
    assert await query(engine, "SELECT name FROM entity WHERE key = 'test:other'") == [("One",)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": "868"}, "is not an id"),
        ({"id": "Q1", "name": "a\0b"}, "NUL character"),
        ({"id": "Q1", "name": "x" * 20_001}, "at most 20000"),
        ({"from": "Q1", "to": "Q1", "rule": "P737"}, "to itself"),
        ({"from": "Q1", "to": "Q2", "rule": "P737", "confidence": 1.5}, "less than or equal to 1"),
    ],
)
async def test_unfit_row_is_quarantined_with_its_reason(engine: AsyncEngine, row: dict[str, Any], reason: str) -> None:
    source = Rows([row])
    source.max_failed_share = 1.0
    assert (await pipeline.run(engine, source, Options())).counts.failed == 1
    ((found,),) = await query(engine, "SELECT reason FROM quarantine")
    assert reason in found
