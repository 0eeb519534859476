"""Measuring the graph after a run that changed it: read in one snapshot, compute, write in one transaction.

Publishing does not wait for this: readers see the earlier measures until then, and are told that they are not
current. What a kill, an error or a newer run leaves unmeasured is measured after the next run, or by hand.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from struct import Struct
from typing import Any

import numpy as np
import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.binary_copy import HEADER, TRAILER, WRITERS
from db.bulk import bulk_change, without_primary_key
from db.errors import AtlasError
from db.models.atlas import RelationshipType
from db.session import WriteSession, write_session
from etl.measures import TYPES, Graph, Measures, Positions, measure
from etl.runs import NOTIFY_CHANNEL

ATTEMPTS = 5
"""How often to begin again when another run is published meanwhile."""
CHUNK_ROWS = 10_000

_ENTITIES = "SELECT id FROM entity"
_EDGES = """
    SELECT source_id, (array_position(ARRAY[{types}]::relationship_type[], type) - 1)::bigint, target_id
    FROM {{edges}} AS edge
""".format(types=", ".join(f"'{member.value}'" for member in RelationshipType))


class OvertakenError(AtlasError):
    """The data changed while it was measured."""


class EarlyMeasures:
    """Measures of a graph that is not yet published: they are computed while the server inserts it.

    `version` is the data version of the graph, once it is published.
    """

    def __init__(self) -> None:
        self.version: int | None = None
        self._task: asyncio.Task[tuple[Graph, Measures]] | None = None

    async def begin(self, session: WriteSession, edges: str) -> None:
        """Read the graph that the session's transaction will leave, of edges in a table, and go on in a thread.

        An edge may be in the table several times.
        """
        self._task = asyncio.create_task(_measured(await _read_columns(session, edges)))

    def of(self, version: int) -> "asyncio.Task[tuple[Graph, Measures]] | None":
        """Return the task that measures the graph of a data version, if it was begun."""
        return self._task if version == self.version else None


async def _measured(columns: list[Positions]) -> tuple[Graph, Measures]:
    graph = await _built(columns)
    return graph, await asyncio.to_thread(measure, graph)


async def _built(columns: list[Positions]) -> Graph:
    graph = await asyncio.to_thread(Graph.build, *columns)
    # They take as much as the graph does.
    columns.clear()
    return graph


async def measure_graph(engine: AsyncEngine, *, anew: bool = False, early: EarlyMeasures | None = None) -> bool:
    """Bring the measures up to the newest data, or to early ones; returns whether they were not.

    Where the entities and edges are those that were measured, nothing is computed unless `anew`. Raises OvertakenError
    when runs keep being published meanwhile, each of which will try again.
    """
    async with _alone(engine):
        for _ in range(ATTEMPTS):
            found = await _read(engine, anew, early)
            if found is None:
                return False
            version, graph, measures = found
            async with write_session(engine) as session:
                if measures is not None:
                    await _stage(session, graph, measures)
                if await _is_newest(session, version):
                    if measures is not None:
                        await _merge(session, graph, measures)
                    await _raise(session, graph.fingerprint(), measures)
                    return True
    raise OvertakenError("other runs were published while the graph was measured: try `python -m etl measure` later")


@asynccontextmanager
async def _alone(engine: AsyncEngine) -> AsyncIterator[None]:
    """Wait until no other process measures; PostgreSQL drops the lock of one that dies."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("SELECT pg_advisory_lock(hashtext('etl measures'))"))
        yield


async def _read(
    engine: AsyncEngine, anew: bool, early: EarlyMeasures | None
) -> tuple[int, Graph, Measures | None] | None:
    """Return the data version, its graph, and its measures unless they are stored; None when there is no need."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        session = WriteSession(connection)
        found = await session.execute(
            "SELECT data_version.version, measurement.version AS measured, fingerprint"
            " FROM data_version LEFT JOIN measurement ON true"
        )
        stored = found.one()
        if not anew and stored.version in (0, stored.measured):
            return None
        task = None if early is None else early.of(stored.version)
        columns = await _read_columns(session) if task is None else []
    if task is not None:
        graph, measures = await task
        return int(stored.version), graph, measures
    graph = await _built(columns)
    is_measured = not anew and graph.fingerprint() == stored.fingerprint
    return int(stored.version), graph, None if is_measured else await asyncio.to_thread(measure, graph)


async def _read_columns(session: WriteSession, edges: str = "influence") -> list[Positions]:
    """Return what a graph is built of."""
    copied = await session.copied(_EDGES.format(edges=edges))
    return [*_columns(await session.copied(_ENTITIES), 1), *_columns(copied, 3)]


def _columns(copied: bytearray, width: int) -> list[Positions]:
    """Return the columns of copied rows, which are `width` bigints without nulls."""
    names = [f"c{number}" for number in range(width)]
    row = np.dtype([("width", ">i2"), *((f"{part}{name}", kind) for name in names for part, kind in _COLUMN)])
    count = (len(copied) - len(HEADER) - len(TRAILER)) // row.itemsize
    rows = np.frombuffer(copied, row, count, len(HEADER))
    return [rows[name].astype(np.int64) for name in names]


_COLUMN = (("length_", ">i4"), ("", ">i8"))


async def _is_newest(session: WriteSession, version: int) -> bool:
    """Tell whether the version stands, and keep it so until the transaction ends."""
    return bool((await session.execute("SELECT version FROM data_version FOR UPDATE")).scalar_one() == version)


async def _stage(session: WriteSession, graph: Graph, measures: Measures) -> None:
    """Bring the measures to the database before the lock that publishing would wait for is taken."""
    await session.execute("CREATE TEMP TABLE measured (LIKE entity_measure) ON COMMIT DROP")
    schema = (await session.execute("SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()")).scalar_one()
    columns = ("entity_id", "level", "page_rank", "degree", "incoming", "outgoing", "cycle_id")
    await session.copy_written(schema, "measured", columns, _rows(graph, measures))


def _rows(graph: Graph, measures: Measures) -> Iterator[bytes]:
    """Write the rows, CHUNK_ROWS at a time."""
    no_level, no_cycle = _write_integer(None), _write_bigint(None)
    width = 2 * len(TYPES) * measures.incoming.itemsize
    # Most entities share one of a few thousand combinations of degrees.
    shared: dict[bytes, bytes] = {}
    for start in range(0, len(graph.ids), CHUNK_ROWS):
        chunk = slice(start, start + CHUNK_ROWS)
        cycles = graph.ids[measures.cycle_of[chunk]]
        counts = np.hstack((measures.incoming[chunk], measures.outgoing[chunk])).tobytes()
        keys = [counts[at : at + width] for at in range(0, len(counts), width)]
        shared |= {key: _write_degrees(key) for key in set(keys) - shared.keys()}
        yield b"".join(
            [
                _HEAD.pack(7, 8, entity_id)
                + (no_level if level < 0 else _write_integer(level))
                + _write_real(page_rank)
                + shared[key]
                + (no_cycle if first < 0 else _write_bigint(cycle_id))
                for entity_id, level, page_rank, key, first, cycle_id in zip(
                    graph.ids[chunk].tolist(),
                    measures.levels[chunk].tolist(),
                    measures.page_ranks[chunk].tolist(),
                    keys,
                    measures.cycle_of[chunk].tolist(),
                    cycles.tolist(),
                    strict=True,
                )
            ]
        )


_HEAD = Struct(">hiq")
_write_integer, _write_bigint, _write_real, _write_jsonb = map(
    WRITERS.__getitem__, ("integer", "bigint", "real", "jsonb")
)


def _write_degrees(counts: bytes) -> bytes:
    """Write the degree and its parts: the numbers of edges that end and that begin at an entity, by type."""
    both = np.frombuffer(counts, np.int64).reshape(2, len(TYPES))
    named = [{TYPES[at].value: int(side[at]) for at in np.flatnonzero(side)} for side in both]
    return _write_integer(int(both.sum())) + b"".join(_write_jsonb(orjson.dumps(side).decode()) for side in named)


async def _merge(session: WriteSession, graph: Graph, measures: Measures) -> None:
    """Write what differs; a reader's snapshot keeps the earlier rows."""
    await session.execute(
        "DELETE FROM entity_measure AS kept"
        " WHERE NOT EXISTS (SELECT FROM measured WHERE measured.entity_id = kept.entity_id)"
    )
    names, old, new = (", ".join(f"{row}{column}" for column in _VALUES) for row in ("", "kept.", "measured."))
    async with bulk_change(session, "entity_measure", "measured") as outgrows:
        await session.execute(
            f"UPDATE entity_measure AS kept SET ({names}) = ROW({new}) FROM measured"
            f" WHERE measured.entity_id = kept.entity_id AND ({old}) IS DISTINCT FROM ({new})"
        )
        async with without_primary_key(session, "entity_measure") if outgrows else nullcontext():
            await session.execute(
                f"INSERT INTO entity_measure (entity_id, {names}) SELECT entity_id, {names} FROM measured"
                " WHERE NOT EXISTS (SELECT FROM entity_measure AS kept WHERE kept.entity_id = measured.entity_id)"
                " ORDER BY entity_id"
            )
    await session.execute("DELETE FROM prerequisite_cycle")
    cycles = [(int(graph.ids[members[0]]), len(members)) for members in measures.cycles]
    await session.copy("public", "prerequisite_cycle", ("id", "size"), cycles)


_VALUES = ("level", "page_rank", "degree", "incoming", "outgoing", "cycle_id")


async def _raise(session: WriteSession, fingerprint: str, measures: Measures | None) -> None:
    """Raise the data version, of which the measures then are, so that no answer with the earlier ones is given."""
    raised = await session.execute("UPDATE data_version SET version = version + 1, raised_at = now() RETURNING version")
    version = int(raised.scalar_one())
    if measures is None:
        await session.execute("UPDATE measurement SET version = :version", version=version)
    else:
        figures = _figures(measures) | {"version": version, "fingerprint": fingerprint}
        await session.execute("DELETE FROM measurement")
        await session.execute(
            f"INSERT INTO measurement ({', '.join(figures)}) VALUES ({', '.join(f':{name}' for name in figures)})",
            **figures,
        )
    await session.execute("SELECT pg_notify(:channel, :version)", channel=NOTIFY_CHANNEL, version=str(version))


def _figures(measures: Measures) -> dict[str, Any]:
    sizes: Sequence[int] = measures.component_sizes
    return {
        "cycles": len(measures.cycles),
        "components": len(sizes),
        "largest_component": sizes[0] if sizes else 0,
        "unconnected": measures.unconnected,
    }
