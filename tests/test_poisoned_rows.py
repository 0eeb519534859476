"""A row that cannot be stored, among others that can, in each kind of configured source."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from etl import pipeline
from etl.pipeline import Options
from etl.sources import CONFIGURED
from tests.rest_server import Server, sends, serving
from tests.test_pipeline import query

RECORD = {"id": "id", "title": "title", "value": "value", "description": "note"}
BIG = 10 << 20
GOOD = [b'{"id":"%d","title":"Row %d","value":"%d","note":"plain"}' % (number, number, number) for number in range(12)]

JSON_ROWS: dict[str, bytes] = {
    "NUL written as escape": b'{"id":"bad","title":"a\\u0000b"}',
    "NUL in an attribute's name": b'{"id":"bad","a\\u0000b":1}',
    "NUL as a byte": b'{"id":"bad","title":"a\0b"}',
    "lone surrogate": b'{"id":"bad","title":"\\ud800"}',
    "lone surrogate as bytes": b'{"id":"bad","title":"\xed\xa0\x80"}',
    "deep nesting": b'{"id":"bad","deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep nesting left open": b'{"id":"bad","deep":' + b'{"a":' * 50_000,
    "number beyond doubles": b'{"id":"bad","value":1e400}',
    "number of a million digits": b'{"id":"bad","value":' + b"9" * 1_000_000 + b"}",
    "number as attribute of a million digits": b'{"id":"bad","huge":' + b"9" * 1_000_000 + b"}",
    "NaN": b'{"id":"bad","value":NaN}',
    "NaN as text": b'{"id":"bad","value":"NaN"}',
    "infinity as text": b'{"id":"bad","value":"-Infinity"}',
    "id of ten megabytes": b'{"id":"' + b"x" * BIG + b'"}',
}
CSV_ROWS: dict[str, bytes] = {
    "NUL": b"bad,a\0b,1,x",
    "bytes that are no text": b"bad,\xed\xa0\x80,1,x",
    "number beyond doubles": b"bad,x,1e400,x",
    "number of a million digits": b"bad,x," + b"9" * 1_000_000 + b",x",
    "NaN": b"bad,x,NaN,x",
    "infinity": b"bad,x,-inf,x",
    "id of ten megabytes": b"x" * BIG + b",x,1,x",
}


def csv_of(bad: bytes) -> bytes:
    # With letters beyond ASCII, or bytes that are no UTF-8 would be taken for another encoding's.
    rows = [f"{number},Réihe {number},{number},plain".encode() for number in range(12)]
    return b"\n".join([b"id,title,value,note", *rows[:6], bad, *rows[6:]]) + b"\n"


def json_lines_of(bad: bytes) -> bytes:
    return b"\n".join([*GOOD[:6], bad, *GOOD[6:]]) + b"\n"


def array_of(bad: bytes) -> bytes:
    return b"[" + b",".join([*GOOD[:6], bad, *GOOD[6:]]) + b"]"


WRITTEN: dict[str, Callable[[bytes], bytes]] = {"csv": csv_of, "jsonl": json_lines_of, "rest": array_of}
CASES = [
    pytest.param(kind, row, id=f"{kind}: {name}")
    for kind, rows in (("csv", CSV_ROWS), ("jsonl", JSON_ROWS), ("rest", JSON_ROWS))
    for name, row in rows.items()
    # An answer that is cut has no end; so does a row without one.
    if not (kind == "rest" and name == "deep nesting left open")
]


@asynccontextmanager
async def configured(kind: str, content: bytes, directory: Path) -> AsyncIterator[Any]:
    config: dict[str, Any] = {"kind": kind, "record": RECORD, "max_failed_share": 0.2}
    if kind == "rest":
        async with serving(Server(always=sends(body=content))) as url:
            yield CONFIGURED[kind].build({"name": "table", "config": {**config, "url": f"{url}/plain/users"}})
    else:
        file = directory / "table"
        await asyncio.to_thread(file.write_bytes, content)
        yield CONFIGURED[kind].build({"name": "table", "config": {**config, "location": str(file)}})


@pytest.mark.parametrize(("kind", "bad"), CASES)
async def test_poisoned_row_is_quarantined_and_the_rest_loaded(
    engine: AsyncEngine, tmp_path: Path, kind: str, bad: bytes
) -> None:
    async with configured(kind, WRITTEN[kind](bad), tmp_path) as source:
        counts = (await pipeline.run(engine, source, Options())).counts
    assert (counts.processed, counts.inserted, counts.failed) == (13, 12, 1)
    loaded = await query(engine, "SELECT external_id FROM record ORDER BY value")
    assert loaded == [(str(number),) for number in range(12)]
    ((payload, reason),) = await query(engine, "SELECT payload, reason FROM quarantine")
    assert payload
    assert len(reason) < 1000


@pytest.mark.parametrize("kind", WRITTEN)
async def test_field_of_ten_megabytes_is_loaded_whole(engine: AsyncEngine, tmp_path: Path, kind: str) -> None:
    big = "word " * (BIG // 5)
    row = f"bad,{big},1,x".encode() if kind == "csv" else orjson.dumps({"id": "bad", "title": big, "more": big})
    async with configured(kind, WRITTEN[kind](row), tmp_path) as source:
        counts = (await pipeline.run(engine, source, Options())).counts
    assert (counts.inserted, counts.failed) == (13, 0)
    assert await query(engine, "SELECT length(title) FROM record WHERE external_id = 'bad'") == [(BIG // 5 * 5,)]
