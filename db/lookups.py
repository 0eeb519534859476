"""Batched selects: everything the dataloaders ask for many parents, in one statement each."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, any_, column, func, literal, select, true, tuple_
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import InstrumentedAttribute

from db.models.atlas import (
    Agent,
    Authorship,
    Dataset,
    Entity,
    EntityMeasure,
    Influence,
    Kind,
    Measurement,
    RelationshipType,
    Work,
)
from db.models.operations import DataVersion, EtlRun, RunReport
from db.session import ReadSession

InfluencePosition = tuple[RelationshipType, int]
"""Where a page of edges ends: their order is by type, then by the far side's internal id."""


Measured = tuple[EntityMeasure, int | None, bool]
"""An entity's measures, the data version that they are of, and whether that is the newest."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Which neighbours to list: along edges of these types, of this kind, `first` and one more at most."""

    types: tuple[RelationshipType, ...]
    kind: Kind
    first: int
    backward: bool = True


@dataclass(frozen=True, slots=True)
class InfluencePage:
    """Which edges of an entity to list; `backward` means edges that end at it. No types means all."""

    backward: bool
    types: tuple[RelationshipType, ...]
    first: int = 0
    after: InfluencePosition | None = None


def is_any(attribute: InstrumentedAttribute[Any], values: Sequence[object]) -> ColumnElement[bool]:
    """Compare with a list in one parameter, so that lists of every length share one prepared statement."""
    return attribute == any_(literal(list(values), ARRAY(attribute.type)))


def ends(backward: bool) -> tuple[InstrumentedAttribute[int], InstrumentedAttribute[int]]:
    """Return an edge's near and far column when walking backward (to sources) or forward (to targets)."""
    if backward:
        return Influence.target_id, Influence.source_id
    return Influence.source_id, Influence.target_id


async def entities_by_id(session: ReadSession, ids: Sequence[int]) -> dict[int, Entity]:
    """Return the entities that exist among the ids."""
    entities = await session.scalars(select(Entity).where(is_any(Entity.id, ids)))
    return {entity.id: entity for entity in entities}


async def neighbours_by_entity(session: ReadSession, ids: Sequence[int], wanted: Neighbours) -> dict[int, list[Entity]]:
    """Return each entity's neighbours, the surest edges first, then by internal id."""
    parent = _parents(ids)
    near, far = ends(wanted.backward)
    near_rows = (
        select(far.label("id"), func.max(Influence.confidence).label("confidence"))
        .join(Entity, Entity.id == far)
        .where(near == parent.c.id, is_any(Influence.type, wanted.types), Entity.kind == wanted.kind)
        .group_by(far)
        .order_by(func.max(Influence.confidence).desc(), far)
        .correlate(parent)
        .limit(wanted.first + 1)
        .lateral("near")
    )
    rows = await session.rows(
        select(parent.c.id, Entity)
        .select_from(parent)
        .join(near_rows, true())
        .join(Entity, Entity.id == near_rows.c.id)
        .order_by(parent.c.id, near_rows.c.confidence.desc(), near_rows.c.id)
    )
    return _grouped(rows)


async def works_by_agent(session: ReadSession, ids: Sequence[int], first: int) -> dict[int, list[Work]]:
    """Return each agent's works by publication, `first` and one more at most; undated ones last."""
    parent = _parents(ids)
    near = (
        select(Work.id, Work.start_first)
        .join(Authorship, Authorship.work_id == Work.id)
        .where(Authorship.agent_id == parent.c.id)
        .order_by(Work.start_first, Work.id)
        .correlate(parent)
        .limit(first + 1)
        .lateral("near")
    )
    rows = await session.rows(
        select(parent.c.id, Work)
        .select_from(parent)
        .join(near, true())
        .join(Work, Work.id == near.c.id)
        .order_by(parent.c.id, near.c.start_first, near.c.id)
    )
    return _grouped(rows)


async def authors_by_work(session: ReadSession, ids: Sequence[int], first: int) -> dict[int, list[Agent]]:
    """Return each work's authors by internal id, `first` and one more at most."""
    parent = _parents(ids)
    near = (
        select(Agent.id)
        .join(Authorship, Authorship.agent_id == Agent.id)
        .where(Authorship.work_id == parent.c.id)
        .order_by(Agent.id)
        .correlate(parent)
        .limit(first + 1)
        .lateral("near")
    )
    rows = await session.rows(
        select(parent.c.id, Agent)
        .select_from(parent)
        .join(near, true())
        .join(Agent, Agent.id == near.c.id)
        .order_by(parent.c.id, near.c.id)
    )
    return _grouped(rows)


async def influences_by_entity(
    session: ReadSession, ids: Sequence[int], page: InfluencePage
) -> dict[int, list[tuple[Influence, Entity]]]:
    """Return each entity's edges with their far sides, `first` and one more at most."""
    parent = _parents(ids)
    near, far = ends(page.backward)
    statement = select(Influence.source_id, Influence.type, Influence.target_id).where(near == parent.c.id)
    if page.types:
        statement = statement.where(is_any(Influence.type, page.types))
    if page.after:
        position = tuple_(literal(page.after[0], Influence.type.type), literal(page.after[1], BigInteger))
        statement = statement.where(tuple_(Influence.type, far) > position)
    found = statement.correlate(parent).order_by(Influence.type, far).limit(page.first + 1).lateral("found")
    same_edge = (
        (Influence.source_id == found.c.source_id)
        & (Influence.type == found.c.type)
        & (Influence.target_id == found.c.target_id)
    )
    rows = await session.rows(
        select(parent.c.id, Influence, Entity)
        .select_from(parent)
        .join(found, true())
        .join(Influence, same_edge)
        .join(Entity, Entity.id == far)
        .order_by(parent.c.id, Influence.type, far)
    )
    groups: dict[int, list[tuple[Influence, Entity]]] = defaultdict(list)
    for parent_id, influence, entity in rows:
        groups[parent_id].append((influence, entity))
    return groups


async def influence_counts_by_entity(session: ReadSession, ids: Sequence[int], page: InfluencePage) -> dict[int, int]:
    """Return how many edges each entity has on all pages; entities without any are left out."""
    near, _ = ends(page.backward)
    statement = select(near, func.count()).where(is_any(near, ids)).group_by(near)
    if page.types:
        statement = statement.where(is_any(Influence.type, page.types))
    return dict(await session.rows(statement))


async def datasets_by_name(session: ReadSession, names: Sequence[str]) -> dict[str, Dataset]:
    """Return the datasets that exist among the names."""
    datasets = await session.scalars(select(Dataset).where(is_any(Dataset.name, names)))
    return {dataset.name: dataset for dataset in datasets}


async def runs_by_id(session: ReadSession, ids: Sequence[int]) -> dict[int, EtlRun]:
    """Return the runs that exist among the ids."""
    runs = await session.scalars(select(EtlRun).where(is_any(EtlRun.id, ids)))
    return {run.id: run for run in runs}


async def reports_by_run(session: ReadSession, ids: Sequence[int]) -> dict[int, RunReport]:
    """Return the reports that exist of the runs."""
    reports = await session.scalars(select(RunReport).where(is_any(RunReport.run_id, ids)))
    return {report.run_id: report for report in reports}


async def measures_by_entity(session: ReadSession, ids: Sequence[int]) -> dict[int, Measured]:
    """Return the measures of those entities that were measured."""
    rows = await session.rows(
        select(EntityMeasure, Measurement.version, DataVersion.version)
        .select_from(EntityMeasure)
        .outerjoin(Measurement, true())
        .outerjoin(DataVersion, true())
        .where(is_any(EntityMeasure.entity_id, ids))
    )
    return {measure.entity_id: (measure, version, version == newest) for measure, version, newest in rows}


async def members_by_cycle(session: ReadSession, ids: Sequence[int], first: int) -> dict[int, list[Entity]]:
    """Return each cycle's entities by internal id, `first` and one more at most."""
    parent = _parents(ids)
    near = (
        select(EntityMeasure.entity_id)
        .where(EntityMeasure.cycle_id == parent.c.id)
        .order_by(EntityMeasure.entity_id)
        .correlate(parent)
        .limit(first + 1)
        .lateral("near")
    )
    rows = await session.rows(
        select(parent.c.id, Entity)
        .select_from(parent)
        .join(near, true())
        .join(Entity, Entity.id == near.c.entity_id)
        .order_by(parent.c.id, near.c.entity_id)
    )
    return _grouped(rows)


def _parents(ids: Sequence[int]) -> Any:
    parents = func.unnest(literal(list(ids), ARRAY(BigInteger)))
    return parents.table_valued(column("id", BigInteger), name="parent").render_derived()


def _grouped(rows: Sequence[Any]) -> dict[int, list[Any]]:
    groups: dict[int, list[Any]] = defaultdict(list)
    for parent_id, child in rows:
        groups[parent_id].append(child)
    return groups
