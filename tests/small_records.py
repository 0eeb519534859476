"""A few records of two sources, with what is awkward in real ones: gaps, ties, large numbers, odd characters."""

from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from db.models.operations import EtlRun, Quarantine
from db.models.records import RawRecord, Record, RecordField, RunQuality

START = datetime(2024, 1, 1, tzinfo=UTC)
BIG = 123456789012345678901234567890
CITIES = cycle(["Berlin", "Paris", "Rome"])

RUNS: list[dict[str, Any]] = [
    {"id": 1, "source": "shop", "status": "DONE", "seconds": 2},
    {"id": 2, "source": "people", "status": "PARTIAL", "seconds": 4},
    {"id": 3, "source": "shop", "status": "FAILED", "seconds": 6, "error": "https://shop.example/items: 503"},
    {"id": 4, "source": "shop", "status": "DONE", "seconds": 10},
    {"id": 5, "source": "people", "status": "RUNNING"},
]


def _record(source: str, external_id: str, **given: Any) -> dict[str, Any]:
    run = 4 if source == "shop" else 2
    row: dict[str, Any] = {"source": source, "external_id": external_id, "run_id": run, "attributes": {}}
    return row | dict.fromkeys(("title", "value", "description", "created_at", "updated_at")) | given


RECORDS = [
    *(
        _record(
            source,
            f"{n:02}",
            title=None if n % 5 == 4 else f"Lamp {n % 4}",
            value=None if n % 4 == 3 else n % 3 + 0.5,
            description=f"Number {n}.",
            created_at=None if n % 6 == 5 else START + timedelta(days=n % 7),
            updated_at=START + timedelta(microseconds=n % 2),
            attributes={"address": {"city": next(CITIES)}, "n": n, "tags": ["a", f"t{n % 2}"]},
        )
        for source in ("shop", "people")
        for n in range(12)
    ),
    _record("shop", "a/b %", title='100% "wild" _card\\', attributes={"big": BIG, "a.b": {"": None}, "null": None}),
    _record("shop", "Ä", title="Ärger mit Äpfeln", description="Über die grüne Lampe", value=1e300),
    _record("people", "inf", value=float("inf")),
    _record("people", "nan", value=float("nan")),
    _record("people", "-inf", value=float("-inf")),
]

_RUN: dict[str, Any] = {"params": {}, "error": None, "finished_at": None}
_DRIFT = [{"field": "price", "change": "RETYPED", "before": ["number"], "after": ["text"]}]
_ANOMALY = [{"figure": "rows", "value": 13.0, "median": 26.0, "score": -4.2}]
_SHARES: dict[str, Any] = {"completeness": 0.9, "validity": 1.0, "uniqueness": 1.0, "freshness": None, "score": 0.9667}
QUALITIES: list[dict[str, Any]] = [
    {"run_id": 1, "rows": 26, "drift": [], "anomalies": [], **_SHARES},
    {"run_id": 4, "rows": 13, "drift": _DRIFT, "anomalies": _ANOMALY, **_SHARES},
]
REFUSED: list[dict[str, Any]] = [
    {"external_id": "7", "payload": '{"price": 1e400}', "field": "price", "value": "1e400", "reason": "too large"},
    {"external_id": "8", "payload": "not JSON", "field": None, "value": None, "reason": "not JSON"},
    {"external_id": "9", "payload": "{}", "field": "id", "value": None, "reason": "no id"},
]


async def load(engine: AsyncEngine) -> None:
    """Write the records, their raw rows and runs into an empty migrated database."""
    async with engine.begin() as connection:
        for run in RUNS:
            times = {"started_at": START}
            if seconds := run.get("seconds"):
                times["finished_at"] = START + timedelta(seconds=seconds)
            row = {name: value for name, value in run.items() if name not in ("id", "seconds")}
            await connection.execute(insert(EtlRun), _RUN | row | times)
        await connection.execute(insert(Record), RECORDS)
        raw: list[dict[str, Any]] = [
            {"kind": "rest", "source": "shop", "external_id": "00", "payload": f'{{"value": {BIG}}}'},
            {"kind": "csv", "source": "people", "external_id": "00", "payload": '{"value": "0.5"}'},
        ]
        await connection.execute(insert(RawRecord), [row | {"is_processed": True, "run_id": 1} for row in raw])
        await connection.execute(insert(RunQuality), QUALITIES)
        fields = [{"run_id": 4, "field": "price", "type": kind, "count": 5} for kind in ("text", "null")]
        await connection.execute(insert(RecordField), fields)
        refused = [{"source": "shop", "run_id": 1, "resolved_run_id": 4, **row} for row in REFUSED]
        await connection.execute(insert(Quarantine), refused)
        await connection.execute(insert(Quarantine), {"source": "people", "run_id": 2, **REFUSED[0]})
