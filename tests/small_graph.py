"""A small graph made by hand, with what is awkward in real ones: BCE, gaps, cycles, stubs, several authors."""

from collections import Counter
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from db.dates import HistoricalDate, Precision
from db.keys import internal_id
from db.models.atlas import (
    DATE_PARTS,
    Authorship,
    Dataset,
    EntityMeasure,
    Influence,
    Kind,
    Measurement,
    PrerequisiteCycle,
    RelationshipType,
)
from db.models.base import Base
from db.models.operations import EtlRun, Quarantine
from db.models.records import RawRecord
from db.text import fold

YEAR, CENTURY, DAY = Precision.YEAR, Precision.CENTURY, Precision.DAY


def _agent(key: str, name: str | None, birth: Any = None, death: Any = None, **more: Any) -> dict[str, Any]:
    return _entity(key, Kind.AGENT, name, start=birth, end=death, **more)


def _entity(key: str, kind: Kind, name: str | None, start: Any = None, end: Any = None, **more: Any) -> dict[str, Any]:
    row = {"id": internal_id(key), "key": key, "kind": kind, "is_stub": False, "name": name, "dataset": "test"}
    row |= {"labels": {}, "disciplines": [], "details": {}, "description": None, "field": None, "work_type": None}
    row |= {"name_folded": fold(name) if name else None, "run_id": 1, **more}
    for side, date in (("start", start), ("end", end)):
        built = HistoricalDate.build(*date) if date else None
        row |= {f"{side}_{part}": None if built is None else getattr(built, part) for part in DATE_PARTS}
    return row


PHILOSOPHY = {"disciplines": ["philosophy"]}

ENTITIES = [
    _agent("Q913", "Socrates", (-469, None, None, YEAR), (-398, None, None, YEAR), **PHILOSOPHY),
    _agent("Q859", "Plato", (-427, None, None, YEAR), (-347, None, None, YEAR), **PHILOSOPHY),
    _agent(
        "Q868",
        "Aristotle",
        (-383, None, None, YEAR),
        (-321, None, None, YEAR),
        labels={"de": "Aristoteles", "ja": "アリストテレス"},
        details={"countries": ["Macedonia"]},
        disciplines=["philosophy", "biology"],
    ),
    _agent("Q9358", "Friedrich Nietzsche", (1844, 10, 15, DAY), (1900, 8, 25, DAY), **PHILOSOPHY),
    _agent("Q41390", "Kurt Gödel", (1906, 4, 28, DAY), (1978, 1, 14, DAY), disciplines=["mathematics"]),
    _agent("Q101", "Anaxagoras", (-499, None, None, CENTURY)),
    _agent("Q102", "Without Death", (1830, None, None, YEAR)),
    _agent("Q103", "Without Birth", None, (1885, None, None, YEAR)),
    _agent("Q104", None, is_stub=True),
    _agent("Q105", "100% [wild] _card\\"),
    _agent("Q106", "Kant", (1724, 4, 22, DAY), (1804, 2, 12, DAY), **PHILOSOPHY),
    _agent("Q107", "Kantor Someone", (1724, 4, 22, DAY)),
    _agent("Q108", "Reader", description="Wrote on Kant and on knowledge."),
    _entity("Q201", Kind.WORK, "Republic", (-374, None, None, YEAR), work_type="dialogue"),
    _entity("Q202", Kind.WORK, "Metaphysics"),
    _entity("Q203", Kind.WORK, "Ecce Homo", (1908, None, None, YEAR)),
    _entity("Q204", Kind.WORK, "The Gay Science", (1882, None, None, YEAR)),
    *(
        _entity(f"test:{name}", Kind.CONCEPT, name, field="logic", description=f"What {name} is.")
        for name in ("goal", "near", "middle", "far", "left", "right", "alone")
    ),
]

_I, _P = RelationshipType.INFLUENCED, RelationshipType.PREREQUISITE_FOR

EDGES = [
    ("Q913", _I, "Q859"),
    ("Q859", _I, "Q868"),
    ("Q868", _I, "Q9358"),
    ("Q859", _I, "Q9358"),
    ("Q9358", _I, "Q41390"),
    ("Q102", _I, "Q103"),
    ("Q103", _I, "Q102"),
    ("Q102", RelationshipType.TAUGHT, "Q41390"),
    ("Q201", RelationshipType.BUILT_ON, "Q202"),
    ("Q868", RelationshipType.ASSOCIATED_WITH, "test:goal"),
    ("test:far", _P, "test:middle"),
    ("test:middle", _P, "test:near"),
    ("test:near", _P, "test:goal"),
    ("test:far", _P, "test:near"),
    ("test:left", _P, "test:right"),
    ("test:right", _P, "test:left"),
    ("test:right", _P, "test:goal"),
]

AUTHORS = [("Q201", "Q859"), ("Q202", "Q868"), ("Q202", "Q859"), ("Q203", "Q9358"), ("Q204", "Q9358")]

LEVELS = {"test:far": 0, "test:left": 0, "test:right": 0, "test:middle": 1, "test:near": 2, "test:goal": 3}
CYCLE = ("test:left", "test:right")
UNMEASURED = ("Q105",)


def _measure(key: str) -> dict[str, Any]:
    incoming = Counter(edge_type.value for _, edge_type, target in EDGES if target == key)
    outgoing = Counter(edge_type.value for source, edge_type, _ in EDGES if source == key)
    ends = {"entity_id": internal_id(key), "incoming": dict(incoming), "outgoing": dict(outgoing)}
    # The rank is made up: reading it is what is tested with it.
    rank = {"page_rank": 0.4 + 0.3 * outgoing.total(), "degree": incoming.total() + outgoing.total()}
    cycle = min(map(internal_id, CYCLE)) if key in CYCLE else None
    return ends | rank | {"level": LEVELS.get(key), "cycle_id": cycle}


MEASURES = {row["key"]: _measure(row["key"]) for row in ENTITIES if row["key"] not in UNMEASURED}
MEASUREMENT = {"version": 0, "fingerprint": "", "components": 3, "largest_component": 8, "unconnected": 11, "cycles": 1}

TERMS = {"title": "Test", "url": "https://example.org/", "licence": "CC0 1.0", "attribution": "nobody"}


def _edge(source: str, edge_type: RelationshipType, target: str) -> dict[str, Any]:
    statement = {"confidence": 0.9, "derived": False, "statement": f"{source}-{target}"}
    ends = {"source_id": internal_id(source), "type": edge_type, "target_id": internal_id(target), "run_id": 1}
    return ends | {"confidence": 0.9, "is_derived": False, "note": None, "provenance": {"test/P737": statement}}


async def load(engine: AsyncEngine) -> None:
    """Write the graph, a run, raw records and a quarantined row into an empty migrated database."""
    async with engine.begin() as connection:
        await connection.execute(
            insert(EtlRun), {"source": "test", "params": {}, "status": "DONE", "data_version": 1, "processed": 3}
        )
        await connection.execute(
            insert(EtlRun), {"source": "test", "params": {"limit": 1}, "status": "FAILED", "error": "no such file"}
        )
        await connection.execute(insert(Dataset), {"name": "test", "licence_url": "https://example.org/cc0", **TERMS})
        await connection.execute(insert(Base.metadata.tables["entity"]), ENTITIES)
        await connection.execute(insert(Influence), [_edge(*edge) for edge in EDGES])
        authorships = [
            {"work_id": internal_id(w), "agent_id": internal_id(a), "dataset": "test", "run_id": 1} for w, a in AUTHORS
        ]
        await connection.execute(insert(Authorship), authorships)
        await connection.execute(insert(EntityMeasure), list(MEASURES.values()))
        cycle = {"id": min(map(internal_id, CYCLE)), "size": len(CYCLE)}
        await connection.execute(insert(PrerequisiteCycle), cycle)
        await connection.execute(insert(Measurement), MEASUREMENT)
        payloads = ['{"big": 123456789012345678901234567890, "ok": "ä"}', '{"n": 1}', "not JSON", "NaN"]
        rows = [(f"test/part{n % 2}", str(n), payload) for n, payload in enumerate(payloads)]
        records = [
            {"kind": "atlas", "source": s, "external_id": e, "payload": p, "is_processed": True, "run_id": 1}
            for s, e, p in rows
        ]
        await connection.execute(insert(RawRecord), records)
        await connection.execute(
            insert(Quarantine),
            {"source": "test/part0", "external_id": "9", "payload": "{}", "reason": "bad", "run_id": 1},
        )
