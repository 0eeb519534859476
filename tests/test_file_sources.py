"""CSV files and JSON Lines on their way into a database."""

import asyncio
import csv
import gzip
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.models.operations import RunStatus
from etl import pipeline
from etl.pipeline import Options, Progress
from etl.record_source import RecordSource
from etl.sources import CONFIGURED, csv_file, json_lines, rebuild
from tests.test_files import Server, serving

RECORDS = Path(__file__).parent / "data" / "records"
RECORD = {"id": "id", "title": "title", "description": "note"}
ROWS = [
    {"id": str(number), "title": f"título {number}", "note": "a\nnote" if number % 7 == 0 else "plain"}
    for number in range(5000)
]


def csv_of(rows: list[dict[str, str]]) -> bytes:
    content = io.StringIO(newline="")
    writer = csv.DictWriter(content, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return content.getvalue().encode()


def json_lines_of(rows: list[dict[str, str]]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


WRITTEN: dict[str, Callable[[list[dict[str, str]]], bytes]] = {"csv": csv_of, "jsonl": json_lines_of}
BAD = {
    "csv": b'5001,"x" y,z\n5002,too,many,cells\n5003,nul\0,z\n5004,\xff,z\n5005,last,',
    "jsonl": b'{bad}\n[1,2]\n{"id":"5003","title":"\\u0000"}\n{"a":"\xff"}\n{"id":"5005","title":"last"}',
}
REASONS = {
    "csv": [
        ("5003", "holds a NUL character"),
        ("line 5717", "is not CSV: ',' expect"),
        ("line 5718", "has 4 cells where 3 ar"),
        ("line 5720", "has bytes that are not"),
    ],
    "jsonl": [
        ("5003", "holds a NUL character"),
        ("line 5001", "not JSON: "),
        ("line 5002", "expected an object with"),
        ("line 5004", "not JSON: "),
    ],
}
TABLES = {
    "record": "SELECT external_id, title, description, attributes FROM record ORDER BY 1",
    "raw": "SELECT external_id, payload, is_processed FROM raw_record ORDER BY 1",
    "quarantine": "SELECT external_id, payload, reason FROM quarantine WHERE resolved_run_id IS NULL ORDER BY 1",
}


def source(kind: str, location: object, record: dict[str, Any] = RECORD) -> RecordSource:
    return CONFIGURED[kind].build(
        {"name": "table", "config": {"kind": kind, "location": str(location), "record": record}}
    )


async def kept(engine: AsyncEngine) -> dict[str, Sequence[Any]]:
    async with engine.connect() as connection:
        return {name: (await connection.execute(text(query))).all() for name, query in TABLES.items()}


@pytest.mark.parametrize("kind", WRITTEN)
async def test_counts_add_up_and_a_second_run_changes_nothing(engine: AsyncEngine, tmp_path: Path, kind: str) -> None:
    (tmp_path / "table").write_bytes(WRITTEN[kind](ROWS) + BAD[kind])
    counts = (await pipeline.run(engine, source(kind, tmp_path / "table"), Options())).counts
    assert (counts.processed, counts.inserted, counts.updated, counts.unchanged, counts.failed) == (5005, 5001, 0, 0, 4)
    first = await kept(engine)
    assert len(first["record"]) == 5001
    for (external_id, _, told), (place, reason) in zip(first["quarantine"], REASONS[kind], strict=True):
        assert (external_id, told[: len(reason)]) == (place, reason)
    again = (await pipeline.run(engine, source(kind, tmp_path / "table"), Options())).counts
    assert (again.inserted, again.updated, again.unchanged, again.failed) == (0, 0, 5001, 4)
    assert await kept(engine) == first


@pytest.mark.parametrize("kind", WRITTEN)
async def test_interrupted_run_goes_on_to_the_same_tables(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(csv_file, "PAGE_ROWS", 700)
    monkeypatch.setattr(json_lines, "PAGE_ROWS", 700)
    (tmp_path / "table").write_bytes(gzip.compress(WRITTEN[kind](ROWS) + BAD[kind]))
    options = Options()

    def interrupt(progress: Progress) -> None:
        if progress.processed >= 2000:
            options.stop.set()

    options.watch = interrupt
    begun = source(kind, tmp_path / "table")
    report = await pipeline.run(engine, begun, options)
    assert (report.status, report.counts.processed) == (RunStatus.INTERRUPTED, 2100)
    report = await pipeline.resume(engine, rebuild("table", begun.params()), Options(), report.run)
    assert (report.status, report.counts.processed, report.counts.failed) == (RunStatus.DONE, 5005, 4)
    resumed = await kept(engine)
    again = await pipeline.run(engine, source(kind, tmp_path / "table"), Options())
    assert again.counts.unchanged == 5001
    assert await kept(engine) == resumed


async def test_cancelled_run_goes_on(engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "PAGE_ROWS", 700)
    (tmp_path / "table").write_bytes(csv_of(ROWS))
    begun = asyncio.Event()
    run = asyncio.create_task(
        pipeline.run(engine, source("csv", tmp_path / "table"), Options(watch=lambda _: begun.set()))
    )
    await begun.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    async with engine.connect() as connection:
        (number,) = (await connection.execute(text("SELECT id FROM etl_run"))).scalars()
    report = await pipeline.resume(engine, source("csv", tmp_path / "table"), Options(), number)
    assert (report.counts.processed, report.counts.inserted) == (5000, 5000)


async def test_table_of_a_server_is_loaded(engine: AsyncEngine) -> None:
    server = Server(gzip.compress((RECORDS / "seattle-weather.csv").read_bytes()), limit=5000)
    async with serving(server) as url:
        report = await pipeline.run(engine, source("csv", url, {"id": "date", "value": "temp_max"}), Options())
    assert (report.counts.inserted, report.counts.failed) == (1461, 0)
    assert len(server.asked) > 1
