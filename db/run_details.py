"""What single runs left beside their counts: the quality of their rows, the fields they met, the rows refused."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, func, literal, select, true
from sqlalchemy.dialects.postgresql import ARRAY, distinct_on
from sqlalchemy.orm import aliased

from db.lookups import is_any
from db.models.operations import EtlRun, Quarantine
from db.models.records import RawRecord, RecordField, RunQuality
from db.operations import is_within
from db.reading import ReadSession


@dataclass(frozen=True, slots=True)
class QuarantinePage:
    """Which rows that a run refused: `first` after the one with an id, and one more when there are more."""

    first: int
    after: int = 0


async def quality_by_run(session: ReadSession, ids: Sequence[int]) -> dict[int, RunQuality]:
    """Return the quality of the runs that have been judged."""
    found = await session.scalars(select(RunQuality).where(is_any(RunQuality.run_id, ids)))
    return {quality.run_id: quality for quality in found}


async def quality_by_source(session: ReadSession, sources: Sequence[str]) -> dict[str, RunQuality]:
    """Return the quality of each source's newest run that has been judged."""
    statement = (
        select(EtlRun.source, RunQuality)
        .join(RunQuality, RunQuality.run_id == EtlRun.id)
        .where(is_any(EtlRun.source, sources))
        .ext(distinct_on(EtlRun.source))
        .order_by(EtlRun.source, EtlRun.id.desc())
    )
    return dict(await session.rows(statement))


async def fields_by_run(session: ReadSession, ids: Sequence[int]) -> dict[int, list[RecordField]]:
    """Return the fields that the runs met, by name and type."""
    statement = select(RecordField).where(is_any(RecordField.run_id, ids))
    found: dict[int, list[RecordField]] = defaultdict(list)
    for field in await session.scalars(statement.order_by(RecordField.field, RecordField.type)):
        found[field.run_id].append(field)
    return found


async def quarantine_by_run(
    session: ReadSession, ids: Sequence[int], page: QuarantinePage
) -> dict[int, list[Quarantine]]:
    """Return a page of the rows that each run refused, the earliest first."""
    runs = func.unnest(literal(list(ids), ARRAY(BigInteger))).table_valued("id").render_derived()
    refused = (
        select(Quarantine)
        .where(Quarantine.run_id == runs.c.id, Quarantine.id > page.after)
        .order_by(Quarantine.id)
        .limit(page.first + 1)
        .lateral()
    )
    row = aliased(Quarantine, refused)
    found: dict[int, list[Quarantine]] = defaultdict(list)
    for one in await session.scalars(select(row).select_from(runs.join(refused, true())).order_by(row.id)):
        found[one.run_id].append(one)
    return found


async def quarantine_counts_by_run(session: ReadSession, ids: Sequence[int]) -> dict[int, int]:
    """Return how many rows the runs refused."""
    statement = select(Quarantine.run_id, func.count()).where(is_any(Quarantine.run_id, ids))
    return dict(await session.rows(statement.group_by(Quarantine.run_id)))


async def kinds_by_source(session: ReadSession, sources: Sequence[str]) -> dict[str, str]:
    """Return the kind of the sources that have raw rows, found by skipping through the primary key."""
    columns = RawRecord.source, RawRecord.kind
    ordered = select(*columns).order_by(RawRecord.source, RawRecord.external_id, RawRecord.kind).limit(1)
    pairs = ordered.cte("pairs", recursive=True)
    following = ordered.where(RawRecord.source > pairs.c.source).lateral()
    pairs = pairs.union_all(select(following).select_from(pairs.join(following, true())))
    found = await session.rows(select(pairs))
    return {source: kind for source in sources for name, kind in found if is_within(name, source)}
