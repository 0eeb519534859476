"""Batched selects: everything the dataloaders ask for many parents, in one statement each.

The lists are classes whose `rows` say what they are in SQL; loaders batch them, compiled operations nest them.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
    Integer,
    Select,
    Table,
    Text,
    any_,
    cast,
    column,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy import tuple_ as row_of
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import InstrumentedAttribute

from db.models.atlas import Authorship, Dataset, Entity, EntityMeasure, Influence, Kind, Measurement, RelationshipType
from db.models.operations import DataVersion, EtlRun, RunReport
from db.reading import ReadSession
from db.rows import ENTITY, EntityRow, Found, Rows, Slot, bound, bound_list, columns_of, entity_columns, limited

INFLUENCE: Table = Influence.__table__  # type: ignore[assignment]
AUTHORSHIP: Table = Authorship.__table__  # type: ignore[assignment]
MEASURE: Table = EntityMeasure.__table__  # type: ignore[assignment]
DATASET: Table = Dataset.__table__  # type: ignore[assignment]
MEASUREMENT: Table = Measurement.__table__  # type: ignore[assignment]
DATA_VERSION: Table = DataVersion.__table__  # type: ignore[assignment]

F = TypeVar("F", bound=Found)

FIXED = {"fixed": True}
"""Marks a field that the code chooses, never a client: its value may stand in a statement."""


class InfluencePosition(NamedTuple):
    """Where a page of edges ends: their order is by type, then by the far side's internal id."""

    type: str
    far_id: int


class Link(Found):
    """An edge; its type is text, and so is the JSON of `provenance`, since few ask for it."""

    __slots__ = ()
    SELDOM = frozenset({"confidence", "is_derived", "note", "provenance"})

    source_id: int
    target_id: int
    type: RelationshipType
    confidence: float
    is_derived: bool
    note: str | None
    provenance: str


class LinkedRow(EntityRow):
    """An entity on the far side of an edge, with what Link tells of that."""

    __slots__ = ()
    SELDOM = EntityRow.SELDOM | Link.SELDOM

    type: RelationshipType
    confidence: float
    is_derived: bool
    note: str | None
    provenance: str


class DatasetRow(Found):
    """A dataset."""

    __slots__ = ()

    name: str
    title: str
    url: str
    licence: str
    licence_url: str
    attribution: str


class MeasuredRow(Found):
    """What `measured_row` tells."""

    __slots__ = ()

    level: int | None
    page_rank: float
    degree: int
    incoming: str
    outgoing: str
    is_in_cycle: bool
    data_version: Any
    is_current: bool


class EntityList(Hashable, Protocol):
    """A list of entities that belong to a parent; `first` and one more at most are read."""

    @property
    def first(self) -> int | Slot:
        """How many to list."""

    def rows(self, parent: ColumnElement[int]) -> Rows:
        """Return the rows of the parent with an internal id; their columns are the entities'."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Neighbours along edges of these types, of this kind: the surest edges first, then by internal id."""

    first: int | Slot
    types: tuple[RelationshipType, ...] = field(metadata=FIXED)
    kind: Kind = field(metadata=FIXED)
    backward: bool = True

    def rows(self, parent: ColumnElement[int]) -> Rows:
        """See EntityList."""
        edge, far = INFLUENCE.alias(), ENTITY.alias()
        near_id, far_id = ends(edge, self.backward)
        types = edge.c.type.in_([literal_of(edge_type) for edge_type in self.types])
        conditions = (near_id == parent, types, far.c.kind == literal_of(self.kind))
        source = edge.join(far, far.c.id == far_id)
        if len(self.types) == 1:
            return Rows(columns_of(far), source, conditions, (edge.c.confidence.desc(), far_id))
        surest = func.max(edge.c.confidence).desc()
        return Rows(columns_of(far), source, conditions, (surest, far.c.id), group=(far.c.id,))


@dataclass(frozen=True, slots=True)
class WorksOf:
    """An agent's works by publication; undated ones last."""

    first: int | Slot

    def rows(self, parent: ColumnElement[int]) -> Rows:
        """See EntityList."""
        made, work = AUTHORSHIP.alias(), ENTITY.alias()
        conditions = (made.c.agent_id == parent, work.c.kind == literal_of(Kind.WORK))
        source = made.join(work, work.c.id == made.c.work_id)
        return Rows(columns_of(work), source, conditions, (work.c.start_first, work.c.id))


@dataclass(frozen=True, slots=True)
class AuthorsOf:
    """A work's authors by internal id."""

    first: int | Slot = field(default=1)

    def rows(self, parent: ColumnElement[int]) -> Rows:
        """See EntityList."""
        made, agent = AUTHORSHIP.alias(), ENTITY.alias()
        conditions = (made.c.work_id == parent, agent.c.kind == literal_of(Kind.AGENT))
        source = made.join(agent, agent.c.id == made.c.agent_id)
        return Rows(columns_of(agent), source, conditions, (agent.c.id,))


@dataclass(frozen=True, slots=True)
class MembersOf:
    """A cycle's entities by internal id."""

    first: int | Slot

    def rows(self, parent: ColumnElement[int]) -> Rows:
        """See EntityList."""
        measure, member = MEASURE.alias(), ENTITY.alias()
        source = measure.join(member, member.c.id == measure.c.entity_id)
        return Rows(columns_of(member), source, (measure.c.cycle_id == parent,), (member.c.id,))


@dataclass(frozen=True, slots=True)
class InfluencePage:
    """Which edges of an entity to list, with their far sides; `backward` means edges that end at it.

    No types means all. The rows' columns are the far entities', and the edges' with `edge_` before them.
    """

    backward: bool
    types: tuple[RelationshipType, ...] | Slot | None
    first: int | Slot = 0
    after: InfluencePosition | None = None

    @property
    def is_backward(self) -> bool:
        """Whether the rows come in the list's reverse order: it is only read onwards."""
        return False

    @property
    def has_cursor(self) -> bool:
        """Whether it goes on from a position."""
        return self.after is not None

    def rows(self, parent: ColumnElement[int]) -> Rows:
        """See EntityList."""
        edge, far = INFLUENCE.alias(), ENTITY.alias()
        near_id, far_id = ends(edge, self.backward)
        conditions: list[ColumnElement[bool]] = [near_id == parent, *self._of_types(edge)]
        if self.after:
            position = (bound(self.after.type, edge.c.type.type), bound(self.after.far_id, BigInteger()))
            conditions.append(row_of(edge.c.type, far_id) > row_of(*position))
        columns = columns_of(far) | edge_columns(edge, "edge_")
        return Rows(columns, edge.join(far, far.c.id == far_id), conditions, (edge.c.type, far_id))

    def count(self, parent: ColumnElement[int]) -> Rows:
        """Return one row with the `count` of the edges on all pages."""
        edge = INFLUENCE.alias()
        near_id, _ = ends(edge, self.backward)
        return Rows({"count": func.count()}, edge, [near_id == parent, *self._of_types(edge)])

    def _of_types(self, edge: Any) -> list[ColumnElement[bool]]:
        return [edge.c.type == any_(bound_list(self.types, edge.c.type.type))] if self.types else []


def measured_row(entity_id: ColumnElement[int]) -> Rows:
    """Return an entity's measures, the data version that they are of, and whether that is the newest."""
    measure = MEASURE.alias()
    # Joined, these tables of one row would be taken for a thousand: nobody has analysed them.
    measured, newest = (select(one.c.version).scalar_subquery() for one in (MEASUREMENT, DATA_VERSION))
    columns = {
        **{name: measure.c[name] for name in ("level", "degree", "incoming", "outgoing")},
        "page_rank": cast(measure.c.page_rank, Double),
        "is_in_cycle": measure.c.cycle_id.is_not(None),
        "data_version": measured,
        "is_current": measured.is_not_distinct_from(newest),
    }
    return Rows(columns, measure, [measure.c.entity_id == entity_id])


def degree_rows(incoming: ColumnElement[Any], outgoing: ColumnElement[Any]) -> Rows:
    """Return the counts of edges by type that two maps hold, in the types' order."""
    types = literal_column("'{{{}}}'::text[]".format(",".join(RelationshipType)), ARRAY(Text))
    listed = func.unnest(types).table_valued(column("type", Text), with_ordinality="place")
    listed = listed.render_derived()
    counts = [func.coalesce(cast(way.op("->>")(listed.c.type), Integer), 0) for way in (incoming, outgoing)]
    columns = {"type": listed.c.type, "incoming": counts[0], "outgoing": counts[1]}
    has_any = [way.op("->")(listed.c.type).is_not(None) for way in (incoming, outgoing)]
    return Rows(columns, listed, [or_(*has_any)], (listed.c.place,))


def label_rows(labels: ColumnElement[Any]) -> Rows:
    """Return the names in a map, by language."""
    entry = func.jsonb_each_text(labels).table_valued(column("language", Text), column("text", Text))
    entry = entry.render_derived()
    return Rows(dict(entry.c), entry, (), (entry.c.language.collate("C"),))


def statement_rows(provenance: ColumnElement[Any]) -> Rows:
    """Return the statements that an edge's provenance holds, by dataset and rule."""
    entry = func.jsonb_each(provenance).table_valued(column("key", Text), column("value", JSONB))
    entry = entry.render_derived()
    key, value = entry.c.key, entry.c.value
    columns = {
        "dataset_name": func.split_part(key, "/", 1),
        "rule": func.substr(key, func.length(func.split_part(key, "/", 1)) + 2),
        "statement": value.op("->>", return_type=Text())("statement"),
        "confidence": value.op("->")("confidence"),
        "is_derived": value.op("->")("derived"),
    }
    return Rows(columns, entry, (), (key.collate("C"),))


def dataset_row(name: ColumnElement[str]) -> Rows:
    """Return the dataset of a name."""
    dataset = DATASET.alias()
    return Rows(dict(dataset.c), dataset, [dataset.c.name == name])


def entity_row(key: "EntityKey") -> Rows:
    """Return the entity of an id."""
    entity = ENTITY.alias()
    conditions = [entity.c.id == bound(key.id, BigInteger()), entity.c.key == bound(key.key, Text())]
    if key.kind is not None:
        conditions.append(entity.c.kind == literal_of(key.kind))
    return Rows(columns_of(entity), entity, conditions)


def entity_rows(keys: "EntityKeys") -> Rows:
    """Return a row for each of several ids, in their order; its columns are null where there is no such entity."""
    # Behind a SELECT the planner does not see how many there are: for few it would plan anew each time, which is dear.
    lists = [
        select(one).scalar_subquery() for one in (bound_list(keys.ids, BigInteger()), bound_list(keys.keys, Text()))
    ]
    asked = func.unnest(*lists).table_valued(column("id", BigInteger), column("key", Text), with_ordinality="place")
    asked, entity = asked.render_derived(), ENTITY.alias()
    is_same = (entity.c.id == asked.c.id) & (entity.c.key == asked.c.key)
    return Rows(columns_of(entity), asked.outerjoin(entity, is_same), (), (asked.c.place,))


@dataclass(frozen=True, slots=True)
class EntityKey:
    """The internal and the public id of an entity, of one kind if any is given."""

    id: int | Slot
    key: str | Slot
    kind: Kind | None = None


@dataclass(frozen=True, slots=True)
class EntityKeys:
    """The internal and the public ids of entities."""

    ids: Any
    keys: tuple[str, ...] | Slot


def edge_columns(edge: Any, prefix: str = "") -> dict[str, ColumnElement[Any]]:
    """Return an edge's columns by name; confidence is as wide as Python reads it."""
    names = ("type", "is_derived", "note", "provenance", "source_id", "target_id")
    return {
        **{prefix + name: edge.c[name] for name in names},
        f"{prefix}confidence": cast(edge.c.confidence, Double),
    }


def literal_of(value: Kind | RelationshipType) -> ColumnElement[Any]:
    """Write a constant into the statement, where the planner sees it."""
    kind = Entity.kind.type if isinstance(value, Kind) else Influence.type.type
    return literal(value, kind, literal_execute=True)


def is_any(attribute: InstrumentedAttribute[Any], values: Sequence[object]) -> ColumnElement[bool]:
    """Compare with a list in one parameter, so that lists of every length share one prepared statement."""
    return attribute == any_(bound_list(values, attribute.type))


def ends(edge: Any, backward: bool) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """Return an edge's near and far column when walking backward (to sources) or forward (to targets)."""
    return (edge.c.target_id, edge.c.source_id) if backward else (edge.c.source_id, edge.c.target_id)


async def entities_by_id(session: ReadSession, ids: Sequence[int]) -> dict[int, EntityRow]:
    """Return the entities that exist among the ids."""
    return {row.id: row for row in await session.load(_entities, tuple(ids), EntityRow)}


def _entities(ids: Slot) -> Select[Any]:
    return select(*entity_columns(ENTITY)).where(ENTITY.c.id == any_(bound_list(ids, BigInteger())))


class _OfParents(NamedTuple):
    """What is asked for several parents at once."""

    ids: tuple[int, ...]
    wanted: Any


async def lists_by_parent(session: ReadSession, ids: Sequence[int], wanted: EntityList) -> dict[int, list[EntityRow]]:
    """Return each parent's list."""
    return _grouped(await session.load(_lists, _OfParents(tuple(ids), wanted), EntityRow))


def _lists(of: _OfParents) -> Select[Any]:
    parent = _parents(of.ids)
    near = limited(of.wanted.rows(parent.c.id).select(["id", "n"]), of.wanted.first).correlate(parent).lateral("near")
    found = parent.join(near, true()).join(ENTITY, ENTITY.c.id == near.c.id)
    statement = select(*entity_columns(ENTITY), parent.c.id.label("parent")).select_from(found)
    return statement.order_by(parent.c.id, near.c.n)


async def influences_by_entity(
    session: ReadSession, ids: Sequence[int], page: InfluencePage
) -> dict[int, list[LinkedRow]]:
    """Return each entity's edges with their far sides, `first` and one more at most."""
    return _grouped(await session.load(_influences, _OfParents(tuple(ids), page), LinkedRow))


def _influences(of: _OfParents) -> Select[Any]:
    parent = _parents(of.ids)
    names = {name: f"edge_{name}" for name in LinkedRow.__annotations__}
    edges = limited(of.wanted.rows(parent.c.id).select(["id", *names.values(), "n"]), of.wanted.first)
    near = edges.correlate(parent).lateral("near")
    found = parent.join(near, true()).join(ENTITY, ENTITY.c.id == near.c.id)
    edge: dict[str, ColumnElement[Any]] = {name: near.c[column] for name, column in names.items()}
    edge["provenance"] = cast(edge["provenance"], Text)
    columns = [*entity_columns(ENTITY), parent.c.id.label("parent"), *(one.label(name) for name, one in edge.items())]
    return select(*columns).select_from(found).order_by(parent.c.id, near.c.n)


def _grouped(rows: Sequence[F]) -> dict[int, list[F]]:
    groups: dict[int, list[F]] = defaultdict(list)
    for row in rows:
        groups[row["parent"]].append(row)
    return groups


async def influence_counts_by_entity(session: ReadSession, ids: Sequence[int], page: InfluencePage) -> dict[int, int]:
    """Return how many edges each entity has on all pages."""
    return dict(await session.load(_influence_counts, _OfParents(tuple(ids), page)))


def _influence_counts(of: _OfParents) -> Select[Any]:
    parent = _parents(of.ids)
    counted = of.wanted.count(parent.c.id).select(["count"]).correlate(parent).lateral("counted")
    return select(parent.c.id, counted.c.count).select_from(parent).join(counted, true())


async def datasets_by_name(session: ReadSession, names: Sequence[str]) -> dict[str, DatasetRow]:
    """Return the datasets that exist among the names."""
    return {row.name: row for row in await session.load(_datasets, tuple(names), DatasetRow)}


def _datasets(names: Slot) -> Select[Any]:
    return select(DATASET).where(DATASET.c.name == any_(bound_list(names, Text())))


async def runs_by_id(session: ReadSession, ids: Sequence[int]) -> dict[int, EtlRun]:
    """Return the runs that exist among the ids."""
    runs = await session.scalars(select(EtlRun).where(is_any(EtlRun.id, ids)))
    return {run.id: run for run in runs}


async def reports_by_run(session: ReadSession, ids: Sequence[int]) -> dict[int, RunReport]:
    """Return the reports that exist of the runs."""
    reports = await session.scalars(select(RunReport).where(is_any(RunReport.run_id, ids)))
    return {report.run_id: report for report in reports}


async def measures_by_entity(session: ReadSession, ids: Sequence[int]) -> dict[int, MeasuredRow]:
    """Return the measures of those entities that were measured."""
    return {row["parent"]: row for row in await session.load(_measures, tuple(ids), MeasuredRow)}


def _measures(ids: Slot) -> Select[Any]:
    parent = _parents(ids)
    found = measured_row(parent.c.id)
    measured = found.select(list(found.columns)).correlate(parent).lateral("measured")
    as_text = {name: cast(measured.c[name], Text).label(name) for name in ("incoming", "outgoing")}
    columns = [as_text.get(one.name, one) for one in measured.c]
    return select(parent.c.id.label("parent"), *columns).select_from(parent).join(measured, true())


def _parents(ids: Any) -> Any:
    parents = func.unnest(bound_list(ids, BigInteger()))
    return parents.table_valued(column("id", BigInteger), name="parent").render_derived()
