"""Walks over the edges: bounded in depth and in nodes, safe in cycles, each node once at its smallest depth."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    Text,
    TextualSelect,
    any_,
    bindparam,
    case,
    cast,
    column,
    false,
    func,
    literal_column,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.types import TypeEngine

from db.lookups import INFLUENCE, EntityKey, Link, edge_columns, entity_row, literal_of
from db.models.atlas import Influence, Kind, RelationshipType
from db.reading import ReadSession
from db.rows import (
    ENTITY,
    ENTITY_COLUMNS,
    Columns,
    EntityRow,
    Order,
    Rows,
    Slot,
    bound,
    bound_list,
    columns_of,
    entity_columns,
    keys_of,
)

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
    entities: dict[int, EntityRow] = field(default_factory=dict, compare=False)
    """The start, if there is such an entity, and those nodes, by internal id."""


class _ReachedRow(EntityRow):
    """An entity that a walk reached, with how the walk ended."""

    __slots__ = ()

    depth: int
    is_cut_by_first: bool
    is_cut_by_depth: bool


class PathLimitError(Exception):
    """The search for a path saw MAX_PATH_NODES nodes without an answer."""


_WALK = """
    WITH RECURSIVE walk (depth, frontier, seen) AS (
        SELECT 0, ARRAY[:{start}], ARRAY[:{start}]
        UNION ALL
        SELECT walk.depth + 1, fresh.ids, walk.seen || fresh.ids
        FROM walk CROSS JOIN LATERAL (
            SELECT array_agg(id) AS ids FROM (
                SELECT {far} AS id FROM influence WHERE {near} = ANY (walk.frontier){of_types}
                EXCEPT SELECT unnest(walk.seen)
                ORDER BY id LIMIT CASE WHEN walk.depth < :{max_depth} THEN :{first} + 1 ELSE 1 END
            ) AS level
        ) AS fresh
        WHERE walk.depth <= :{max_depth} AND cardinality(walk.seen) <= :{first} + 1 AND fresh.ids IS NOT NULL
    )
    SELECT walk.depth, node.id FROM walk CROSS JOIN LATERAL unnest(walk.frontier) AS node (id)
    WHERE walk.depth > 0 ORDER BY walk.depth, node.id LIMIT :{first} + 1
"""
# One row a depth: arrays are far cheaper than a row a node, and EXCEPT against `seen` is the cycle guard.
# The level beyond max_depth is asked for one node only, to know whether the bound cut anything.


Types = tuple[str, ...] | Slot | RelationshipType | None
"""The types of edges to follow: those a client chose, one that the code knows, or all."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What to visit: before a node (backward: to sources) or after it, over edges of types, nearest first.

    At most `first` nodes (0 to MAX_NODES), at depth 1 to `max_depth` (0 to MAX_DEPTH).
    """

    start: int | Slot
    types: Types
    max_depth: int | Slot
    first: int | Slot
    backward: bool = True

    def visits(self) -> TextualSelect:
        """Select depth and id of the nodes in the order of the walk, and of one beyond its bounds if there is any."""
        values: dict[str, tuple[Any, TypeEngine[Any]]] = {
            "start": (self.start, BigInteger()),
            "max_depth": (self.max_depth, Integer()),
            "first": (self.first, Integer()),
        }
        of_types = f" AND type = '{self.types}'" if isinstance(self.types, RelationshipType) else ""
        if self.types is not None and not of_types:
            values["types"] = (self.types, ARRAY(Influence.type.type))
        names = {name: value.name if isinstance(value, Slot) else name for name, (value, _) in values.items()}
        of_types = f" AND type = ANY (:{names['types']})" if "types" in names else of_types
        near, far = ("target_id", "source_id") if self.backward else ("source_id", "target_id")
        given: list[Any] = [
            bindparam(names[name], None if isinstance(value, Slot) else value, type_=kind)
            for name, (value, kind) in values.items()
        ]
        statement = text(_WALK.format(near=near, far=far, of_types=of_types, **names)).bindparams(*given)
        return statement.columns(depth=Integer, id=BigInteger)

    def rows(self) -> Rows:
        """Return the one row of its outcome."""
        outcome = self.outcome().subquery("outcome")
        return Rows(dict(outcome.c), outcome)

    def outcome(self) -> Select[*tuple[Any, ...]]:
        """Select one row: the nodes' `ids` and `depths` in order, and whether `first` or `max_depth` cut the walk."""
        visit = self.visits().subquery("visit")
        first, max_depth = bound(self.first, Integer()), bound(self.max_depth, Integer())
        is_inside = visit.c.depth <= max_depth

        def kept(column: ColumnElement[int]) -> ColumnElement[Any]:
            # Those inside are the first of all: a slice costs less than numbers.
            listed = func.array_agg(aggregate_order_by(column, visit.c.depth, visit.c.id), type_=ARRAY(column.type))
            return Grouping(listed.filter(is_inside))[1:first]

        return select(
            kept(visit.c.id).label("ids"),
            kept(visit.c.depth).label("depths"),
            (func.count().filter(is_inside) > first).label("is_cut_by_first"),
            (func.count().filter(~is_inside) > 0).label("is_cut_by_depth"),
        )


@dataclass(frozen=True, slots=True)
class WalkFrom:
    """A walk from an entity, which must be there."""

    entity: EntityKey
    reach: Reach

    def rows(self) -> Rows:
        """Return the entity's row with the walk's outcome, `all_ids` with its own, and chosen `types`."""
        start, outcome = entity_row(self.entity), self.reach.outcome().subquery("outcome")
        columns = {
            **start.columns,
            **dict(outcome.c),
            "all_ids": func.array_append(outcome.c.ids, start.columns["id"]),
        }
        if isinstance(self.reach.types, Slot):
            columns["types"] = bound_list(self.reach.types, Influence.type.type)
        return replace(start, columns=columns, source=start.source.join(outcome, true()))


@dataclass(frozen=True, slots=True)
class Links:
    """Edges of one type, between entities of one kind; None stands for all that the walk followed."""

    type: RelationshipType | None = None
    kind: Kind | None = None


ALL_LINKS = Links()


def reached_rows(outcome: Columns, kind: Kind | None = None) -> Rows:
    """Return the entities of a walk's outcome, with their `depth`; only those of a kind if one is given."""
    node = func.unnest(outcome["ids"], outcome["depths"]).table_valued(
        column("id", BigInteger), column("depth", Integer), with_ordinality="place"
    )
    node, conditions = node.render_derived(), [] if kind is None else [ENTITY.c.kind == literal_of(kind)]
    entity = select(*columns_of(ENTITY).values()).where(ENTITY.c.id == any_(outcome["ids"]), *conditions).subquery()
    # Hashed, whatever the planner expects: to read them together costs less than one by one. See LinkRows.
    joined = node.join(entity, entity.c.id == node.c.id, full=True)
    is_both = func.num_nonnulls(node.c.place, entity.c.id) == literal_column("2", Integer)
    return Rows({**columns_of(entity), "depth": node.c.depth}, joined, [is_both], (node.c.place,))


@dataclass(frozen=True, slots=True)
class LinkRows:
    """The edges among what a walk reached, with both ends' columns after `source_` and `target_`."""

    outcome: Columns
    of: Links = ALL_LINKS
    most: int | ColumnElement[int] = MAX_EDGES

    @property
    def columns(self) -> Columns:
        """See Ordered."""
        return {**columns_of(ENTITY, "source_"), **columns_of(ENTITY, "target_"), **edge_columns(INFLUENCE)}

    @property
    def order(self) -> Order:
        """See Ordered."""
        return INFLUENCE.c.target_id, INFLUENCE.c.type, INFLUENCE.c.source_id

    def select(self, names: Sequence[str], *guards: ColumnElement[bool]) -> Select[Any]:
        """See Ordered."""
        of_ends = [name for name in names if name in self.columns.keys() - edge_columns(INFLUENCE).keys()]
        node = self._nodes({name.partition("_")[2] for name in of_ends})
        edge = self.edges(None if self.of.kind is None else node).subquery()
        order = [edge.c[key] for key in keys_of(self.order)]
        chosen: dict[str, ColumnElement[Any]] = {**dict(edge.c), "n": func.row_number().over(order_by=order)}
        source: Any = edge
        for side in ("source_", "target_"):
            if found := [name for name in of_ends if name.startswith(side)]:
                end = node.alias()
                # An inner join would compare each edge with each node, since the planner takes both to be few; a full
                # one is hashed. What it gives of nodes without an edge is left out where the planner does not see it.
                source = source.join(end, end.c.id == edge.c[f"{side}id"], full=True)
                chosen |= {name: end.c[name.removeprefix(side)] for name in found}
        statement = select(*(chosen[name].label(name) for name in names)).select_from(source)
        if of_ends or self.of.kind is not None:
            statement = statement.add_cte(node, nest_here=True)
        return statement.where(func.num_nonnulls(edge.c.type) > 0, *guards).order_by(*order)

    def _nodes(self, names: Collection[str]) -> CTE:
        """Select the entities that were reached, each once, however many edges it has."""
        entity = ENTITY.alias()
        found = select(*(entity.c[name] for name in ENTITY_COLUMNS if name in {"id", *names}))
        conditions = [] if self.of.kind is None else [entity.c.kind == literal_of(self.of.kind)]
        return found.where(entity.c.id == any_(self.outcome["all_ids"]), *conditions).cte()

    def edges(self, node: CTE | None = None) -> Select[Any]:
        """Select the edges among the nodes, or among all that was reached."""
        ids, each = self.outcome["all_ids"], select(func.unnest(self.outcome["all_ids"]))
        if node is not None:
            each = select(node.c.id)
            ids = func.array(each.scalar_subquery())
        # Written so that the sources are hashed once: PostgreSQL would try every pair of ends in the index, or join.
        is_source = INFLUENCE.c.source_id.in_(each).is_(true())
        columns = {**edge_columns(INFLUENCE), **keys_of(self.order)}
        found = select(*(column.label(name) for name, column in columns.items()))
        found = found.where(INFLUENCE.c.target_id == any_(ids), is_source, *self._of_types())
        return found.order_by(*self.order).limit(self.most)

    def _of_types(self) -> list[ColumnElement[bool]]:
        if self.of.type is not None:
            return [INFLUENCE.c.type == literal_of(self.of.type)]
        return [INFLUENCE.c.type == any_(self.outcome["types"])] if "types" in self.outcome else []

    def has_more(self) -> ColumnElement[bool]:
        """Return whether there are more than `most`."""
        most = literal_column(str(self.most), Integer)
        ends_here = INFLUENCE.c.target_id == any_(self.outcome["all_ids"])
        ending = select(INFLUENCE.c.type).where(ends_here, *self._of_types()).limit(self.most + 1)
        among = replace(self, most=self.most + 1).select(["type"])
        counts = [select(func.count()).select_from(one.subquery()).scalar_subquery() for one in (ending, among)]
        # Seldom do so many end at what was reached; only then it matters where they begin.
        return case((counts[0] > most, counts[1] > most), else_=false())


def cut_columns(outcome: Columns, of: Links = ALL_LINKS) -> dict[Cut, ColumnElement[bool]]:
    """Return whether each of the bounds cut a walk."""
    return {
        Cut.FIRST: outcome["is_cut_by_first"],
        Cut.MAX_DEPTH: outcome["is_cut_by_depth"],
        Cut.EDGES: LinkRows(outcome, of).has_more(),
    }


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
    """Visit what lies before a node or after it; see Reach."""
    reach = Reach(start, tuple(types), max_depth, first, backward)
    rows = await session.load(_reached, reach, _ReachedRow)
    cuts = {Cut.FIRST: rows[0].is_cut_by_first, Cut.MAX_DEPTH: rows[0].is_cut_by_depth} if rows else {}
    return Walk(
        {row.id: row.depth for row in rows if row.depth},
        tuple([cut for cut, is_cut in cuts.items() if is_cut]),
        {row.id: row for row in rows},
    )


def _reached(reach: Reach) -> Select[Any]:
    outcome = reach.outcome().subquery("outcome")
    ids = func.array_prepend(bound(reach.start, BigInteger()), outcome.c.ids)
    depths = func.array_prepend(literal_column("0", Integer), outcome.c.depths)
    node = func.unnest(ids, depths).table_valued(
        column("id", BigInteger), column("depth", Integer), with_ordinality="place"
    )
    node = node.render_derived(name="node")
    found = outcome.join(node, true()).join(ENTITY, ENTITY.c.id == node.c.id)
    columns = [*entity_columns(ENTITY), node.c.depth, outcome.c.is_cut_by_first, outcome.c.is_cut_by_depth]
    return select(*columns).select_from(found).order_by(node.c.place)


class _Among(NamedTuple):
    """Which edges: those among nodes, of types, and how many of them at most."""

    all_ids: Any
    types: Any
    most: Any


async def edges_among(
    session: ReadSession, ids: Sequence[int], types: Sequence[RelationshipType]
) -> tuple[list[Link], bool]:
    """Return the edges whose both ends are among the ids, at most MAX_EDGES, and whether there are more."""
    edges = await session.load(_among, _Among(tuple(ids), tuple(types), MAX_EDGES + 1), Link)
    return edges[:MAX_EDGES], len(edges) > MAX_EDGES


def _among(wanted: _Among) -> Select[Any]:
    ids = bound_list(wanted.all_ids, BigInteger())
    outcome = {"all_ids": ids, "types": bound_list(wanted.types, Influence.type.type)}
    rows = LinkRows(outcome, most=bound(wanted.most, Integer()))
    edge = rows.edges().subquery()
    columns = [cast(edge.c[name], Text) if name == "provenance" else edge.c[name] for name in Link.__annotations__]
    return select(*columns).order_by(*(edge.c[key] for key in keys_of(rows.order)))


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
