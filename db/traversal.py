"""Walks over the edges: bounded in depth and in nodes, safe in cycles, each node once at its smallest depth."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Integer, TextClause, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from db.lookups import is_any
from db.models.atlas import Influence, RelationshipType
from db.session import ReadSession

MAX_DEPTH = 32
MAX_NODES = 5_000
MAX_EDGES = 20_000
MAX_PATH_NODES = 200_000
"""How many nodes the search for a path may see before it gives up."""


class Cut(StrEnum):
    """Which bound ended a walk before the graph did."""

    MAX_DEPTH = "MAX_DEPTH"
    FIRST = "FIRST"
    EDGES = "EDGES"


@dataclass(frozen=True, slots=True)
class Walk:
    """The nodes reached, by depth and then internal id, without the start; and what cut the walk, if anything."""

    depths: dict[int, int]
    cuts: tuple[Cut, ...]


class Link(NamedTuple):
    """An edge as a walk gives it; a row of the ORM costs three times as much to make."""

    source_id: int
    target_id: int
    type: RelationshipType
    confidence: float
    is_derived: bool
    note: str | None
    provenance: dict[str, Any]


_LINK = select(*(getattr(Influence, name) for name in Link._fields))


class PathLimitError(Exception):
    """The search for a path saw MAX_PATH_NODES nodes without an answer."""


def _walk_statement(near: str, far: str) -> TextClause:
    # One row a depth: arrays are far cheaper than a row a node, and EXCEPT against `seen` is the cycle guard.
    # The level beyond max_depth is asked for one node only, to know whether the bound cut anything.
    return text(f"""
        WITH RECURSIVE walk (depth, frontier, seen) AS (
            SELECT 0, ARRAY[:start], ARRAY[:start]
            UNION ALL
            SELECT walk.depth + 1, fresh.ids, walk.seen || fresh.ids
            FROM walk CROSS JOIN LATERAL (
                SELECT array_agg(id) AS ids FROM (
                    SELECT {far} AS id FROM influence WHERE {near} = ANY (walk.frontier) AND type = ANY (:types)
                    EXCEPT SELECT unnest(walk.seen)
                    ORDER BY id LIMIT CASE WHEN walk.depth < :max_depth THEN :first + 1 ELSE 1 END
                ) AS level
            ) AS fresh
            WHERE walk.depth <= :max_depth AND cardinality(walk.seen) <= :first + 1 AND fresh.ids IS NOT NULL
        )
        SELECT walk.depth, node.id FROM walk CROSS JOIN LATERAL unnest(walk.frontier) AS node (id)
        WHERE walk.depth > 0 ORDER BY walk.depth, node.id LIMIT :first + 1
    """).bindparams(
        bindparam("start", type_=BigInteger),
        bindparam("types", type_=ARRAY(Influence.type.type)),
        bindparam("max_depth", type_=Integer),
        bindparam("first", type_=Integer),
    )


_WALK_BACKWARD = _walk_statement("target_id", "source_id")
_WALK_FORWARD = _walk_statement("source_id", "target_id")

# Both ends are widened a whole level at a time, the smaller one first; when a new level touches the other side's
# frontier the shortest length is known, since every shorter way would have met before. `chain` then goes from the
# smallest meeting node to each end through the levels, always by the smallest id: the same path every time.
_PATH = text("""
    WITH RECURSIVE search (step, ahead_depth, back_depth, ahead, back, ahead_seen, back_seen, grown_ahead, meeting) AS (
        SELECT 0, 0, 0, ARRAY[:start], ARRAY[:goal], ARRAY[:start], ARRAY[:goal], NULL::boolean, NULL::bigint
        UNION ALL
        SELECT step + 1,
            ahead_depth + choice.is_ahead::int, back_depth + (NOT choice.is_ahead)::int,
            CASE WHEN choice.is_ahead THEN fresh.ids ELSE ahead END,
            CASE WHEN choice.is_ahead THEN back ELSE fresh.ids END,
            CASE WHEN choice.is_ahead THEN ahead_seen || fresh.ids ELSE ahead_seen END,
            CASE WHEN choice.is_ahead THEN back_seen ELSE back_seen || fresh.ids END,
            choice.is_ahead,
            (SELECT min(id) FROM (
                SELECT unnest(fresh.ids) AS id
                INTERSECT SELECT unnest(CASE WHEN choice.is_ahead THEN back ELSE ahead END)
            ) AS met)
        FROM search
        CROSS JOIN LATERAL (SELECT cardinality(ahead) <= cardinality(back) AS is_ahead) AS choice
        CROSS JOIN LATERAL (
            SELECT array_agg(id ORDER BY id) AS ids FROM (
                (SELECT target_id AS id FROM influence
                WHERE choice.is_ahead AND source_id = ANY (ahead) AND type = ANY (:types)
                UNION SELECT source_id FROM influence
                WHERE NOT choice.is_ahead AND target_id = ANY (back) AND type = ANY (:types))
                EXCEPT SELECT unnest(CASE WHEN choice.is_ahead THEN ahead_seen ELSE back_seen END)
            ) AS level
        ) AS fresh
        WHERE meeting IS NULL AND step < :max_depth AND fresh.ids IS NOT NULL
            AND cardinality(ahead_seen) + cardinality(back_seen) <= :max_nodes
    ),
    levels AS (
        SELECT grown_ahead AS is_ahead, CASE WHEN grown_ahead THEN ahead_depth ELSE back_depth END AS depth,
            CASE WHEN grown_ahead THEN ahead ELSE back END AS ids
        FROM search WHERE step > 0
        UNION ALL VALUES (true, 0, ARRAY[:start]), (false, 0, ARRAY[:goal])
    ),
    chain (is_ahead, depth, id) AS (
        SELECT side.is_ahead, CASE WHEN side.is_ahead THEN ahead_depth ELSE back_depth END, meeting
        FROM search CROSS JOIN (VALUES (true), (false)) AS side (is_ahead) WHERE meeting IS NOT NULL
        UNION ALL
        SELECT chain.is_ahead, chain.depth - 1, next.id
        FROM chain CROSS JOIN LATERAL (
            SELECT min(step.id) AS id FROM (
                SELECT source_id AS id FROM influence
                WHERE chain.is_ahead AND target_id = chain.id AND type = ANY (:types)
                UNION ALL SELECT target_id FROM influence
                WHERE NOT chain.is_ahead AND source_id = chain.id AND type = ANY (:types)
            ) AS step
            JOIN levels ON levels.is_ahead = chain.is_ahead AND levels.depth = chain.depth - 1
                AND step.id = ANY (levels.ids)
        ) AS next
        WHERE chain.depth > 0
    )
    SELECT chain.id,
        (SELECT max(cardinality(ahead_seen) + cardinality(back_seen)) FROM search) AS seen
    FROM (VALUES (1)) AS always LEFT JOIN chain ON true
    ORDER BY NOT chain.is_ahead, CASE WHEN chain.is_ahead THEN chain.depth ELSE -chain.depth END
""").bindparams(
    bindparam("start", type_=BigInteger),
    bindparam("goal", type_=BigInteger),
    bindparam("types", type_=ARRAY(Influence.type.type)),
    bindparam("max_depth", type_=Integer),
    bindparam("max_nodes", type_=Integer),
)


async def walk(
    session: ReadSession,
    start: int,
    types: Sequence[RelationshipType],
    *,
    backward: bool,
    max_depth: int,
    first: int,
) -> Walk:
    """Visit what lies before a node (backward: to sources) or after it, nearest first.

    At most `first` nodes (0 to MAX_NODES), at depth 1 to `max_depth` (0 to MAX_DEPTH).
    """
    parameters = {"start": start, "types": list(types), "max_depth": max_depth, "first": first}
    rows = await session.rows(_WALK_BACKWARD if backward else _WALK_FORWARD, parameters)
    inside = [row for row in rows if row.depth <= max_depth]
    cuts = [Cut.FIRST] if len(inside) > first else []
    if len(inside) < len(rows):
        cuts.append(Cut.MAX_DEPTH)
    return Walk({row.id: row.depth for row in inside[:first]}, tuple(cuts))


async def edges_among(
    session: ReadSession, ids: Sequence[int], types: Sequence[RelationshipType]
) -> tuple[list[Link], bool]:
    """Return the edges whose both ends are among the ids, at most MAX_EDGES, and whether there are more."""
    edges = await session.rows(
        _LINK.where(is_any(Influence.target_id, ids), is_any(Influence.source_id, ids), is_any(Influence.type, types))
        .order_by(Influence.target_id, Influence.type, Influence.source_id)
        .limit(MAX_EDGES + 1)
    )
    return [Link._make(edge) for edge in edges[:MAX_EDGES]], len(edges) > MAX_EDGES


async def shortest_path(
    session: ReadSession, start: int, goal: int, types: Sequence[RelationshipType], max_depth: int
) -> list[int] | None:
    """Return the nodes of a shortest way along the edges from start to goal, both included; None if there is none.

    Of several shortest ways it is always the same one. Raises PathLimitError.
    """
    if start == goal:
        return [start]
    parameters = {
        "start": start,
        "goal": goal,
        "types": list(types),
        "max_depth": max_depth,
        "max_nodes": MAX_PATH_NODES,
    }
    rows = await session.rows(_PATH, parameters)
    # The meeting node ends one half and begins the other.
    nodes = list(dict.fromkeys(row.id for row in rows if row.id is not None))
    if not nodes and rows[0].seen > MAX_PATH_NODES:
        raise PathLimitError(f"no path was found among the first {MAX_PATH_NODES} entities")
    return nodes or None
