"""Which entities are asked for: many and in no order, so that no request is like the one before."""

from collections.abc import Sequence

import asyncpg

from benchmarks.serving.shapes import Sample

MOST = {"entity": 20_000, "page": 5_000, "nested": 5_000, "roadmap": 1_000, "data": 5_000}
ROADMAP_NODES = range(180, 221)
MAX_DEPTH = 16

_ENTITIES = "SELECT id, key FROM entity ORDER BY hashint8(id) LIMIT $1"
_RECORDS = "SELECT external_id FROM record WHERE source = 'items' ORDER BY hashtext(external_id) LIMIT $1"
_CONCEPTS = "SELECT id, key FROM entity WHERE kind = 'CONCEPT' ORDER BY hashint8(id) LIMIT $1"
_WITH_20_INFLUENCES = """
    SELECT entity.key FROM entity JOIN (
        SELECT target_id FROM influence GROUP BY target_id HAVING count(*) >= 20
    ) AS rich ON rich.target_id = entity.id
    ORDER BY hashint8(entity.id) LIMIT $1
"""
# How many entities a walk back has met at each depth, itself left out.
_LEVELS = """
    WITH RECURSIVE walk (depth, frontier, seen) AS (
        SELECT 0, ARRAY[$1::bigint], ARRAY[$1::bigint]
        UNION ALL
        SELECT walk.depth + 1, fresh.ids, walk.seen || fresh.ids
        FROM walk CROSS JOIN LATERAL (
            SELECT array_agg(id) AS ids FROM (
                SELECT source_id AS id FROM influence
                WHERE target_id = ANY (walk.frontier) AND type = 'PREREQUISITE_FOR'
                EXCEPT SELECT unnest(walk.seen)
            ) AS level
        ) AS fresh
        WHERE walk.depth < $2 AND cardinality(walk.seen) <= $3 AND fresh.ids IS NOT NULL
    )
    SELECT depth, cardinality(seen) - 1 AS nodes FROM walk WHERE depth > 0 ORDER BY depth
"""


async def collect(connection: asyncpg.Connection, shape: str) -> list[Sample]:
    """Return the variables of a shape's requests."""
    if shape == "entity":
        return [{"id": row["key"]} for row in await connection.fetch(_ENTITIES, MOST[shape])]
    if shape == "page":
        return [{"row_id": row["id"]} for row in await connection.fetch(_ENTITIES, MOST[shape])]
    if shape == "data":
        return [{"row_id": row["external_id"]} for row in await connection.fetch(_RECORDS, MOST[shape])]
    if shape == "nested":
        return [{"id": row["key"]} for row in await connection.fetch(_WITH_20_INFLUENCES, MOST[shape])]
    walks = await walks_of(connection, ROADMAP_NODES, MOST[shape])
    return [{"id": key, "depth": depth} for _, key, depth in walks]


async def walks_of(connection: asyncpg.Connection, sizes: Sequence[int], most: int) -> list[tuple[int, str, int]]:
    """Return concepts, by id and key, with the depth at which the walk back from them has met so many nodes."""
    levels = await connection.prepare(_LEVELS)
    found = []
    # Not every concept has a depth that fits.
    for row in await connection.fetch(_CONCEPTS, 20 * most):
        for depth, nodes in await levels.fetch(row["id"], MAX_DEPTH, sizes[-1]):
            if nodes in sizes:
                found.append((row["id"], row["key"], depth))
                break
        if len(found) == most:
            break
    return found
