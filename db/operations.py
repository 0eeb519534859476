"""What there is and how it came: counts, runs, raw records, the data version."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import BigInteger, ColumnElement, Double, Select, cast, func, literal, or_, select, tuple_
from sqlalchemy.dialects.postgresql import distinct_on

from db.models.atlas import Authorship, Entity, Influence, Kind, PrerequisiteCycle, RelationshipType
from db.models.operations import DataVersion, EtlRun, Quarantine, RunStatus
from db.models.records import RawRecord, Record
from db.reading import ReadSession

T = TypeVar("T")

RawPosition = tuple[str, str, str]
"""Where a page of raw records ends: source, external id and kind."""


@dataclass(frozen=True, slots=True)
class SourceState:
    """How a source's runs went; the mean is over those that ended."""

    source: str
    run_count: int
    mean_duration_seconds: float | None
    last_success: EtlRun | None
    last_failure: EtlRun | None
    open_quarantine: int

    @property
    def last_ended(self) -> EtlRun | None:
        """The newest run with an end."""
        ended = [run for run in (self.last_success, self.last_failure) if run is not None and run.finished_at]
        return max(ended, key=lambda run: run.id, default=None)


@dataclass(frozen=True, slots=True)
class RawFilter:
    """Which raw records; None leaves a condition out. `search` is a part of the record's text, in any case."""

    source: str | None = None
    search: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the SQL of the conditions that are given."""
        found: list[ColumnElement[bool]] = []
        if self.source is not None:
            within = RawRecord.source.startswith(f"{self.source}/", autoescape=True)
            found.append(or_(RawRecord.source == self.source, within))
        if self.search is not None:
            in_payload = RawRecord.payload.icontains(self.search, autoescape=True)
            found.append(or_(in_payload, RawRecord.external_id.icontains(self.search, autoescape=True)))
        return found


async def raw_page(
    session: ReadSession, wanted: RawFilter, size: int, after: RawPosition | None
) -> tuple[list[RawRecord], bool]:
    """Return raw records by source, external id and kind, after a position, and whether there are more."""
    key = (RawRecord.source, RawRecord.external_id, RawRecord.kind)
    statement = select(RawRecord).where(*wanted.conditions())
    if after:
        statement = statement.where(tuple_(*key) > tuple_(*(literal(part) for part in after)))
    return await _page(session, statement.order_by(*key), size)


async def count_raw(session: ReadSession, wanted: RawFilter) -> int:
    """Return how many raw records fit the filter."""
    return await session.scalar(select(func.count()).select_from(RawRecord).where(*wanted.conditions())) or 0


async def run_page(
    session: ReadSession, source: str | None, status: RunStatus | None, size: int, after: int | None
) -> tuple[list[EtlRun], bool]:
    """Return runs, the newest first, older than the run `after`, and whether there are more."""
    statement = select(EtlRun).where(*_run_conditions(source, status))
    if after is not None:
        statement = statement.where(EtlRun.id < after)
    return await _page(session, statement.order_by(EtlRun.id.desc()), size)


async def count_runs(session: ReadSession, source: str | None, status: RunStatus | None) -> int:
    """Return how many runs there are."""
    statement = select(func.count()).select_from(EtlRun).where(*_run_conditions(source, status))
    return await session.scalar(statement) or 0


async def cycle_page(
    session: ReadSession, size: int, after: tuple[int, int] | None
) -> tuple[list[PrerequisiteCycle], bool]:
    """Return cycles of prerequisites, the largest first, after a position (size and id), and whether there are more."""
    key = tuple_(PrerequisiteCycle.size, PrerequisiteCycle.id)
    statement = select(PrerequisiteCycle).order_by(PrerequisiteCycle.size.desc(), PrerequisiteCycle.id.desc())
    if after is not None:
        statement = statement.where(key < tuple_(literal(after[0], BigInteger), literal(after[1], BigInteger)))
    return await _page(session, statement, size)


async def count_cycles(session: ReadSession) -> int:
    """Return how many cycles of prerequisites there are."""
    return await session.scalar(select(func.count()).select_from(PrerequisiteCycle)) or 0


async def data_version(session: ReadSession) -> DataVersion | None:
    """Return the version of the data that the session sees."""
    return await session.scalar(select(DataVersion))


async def entity_counts(session: ReadSession) -> dict[Kind, tuple[int, int]]:
    """Return how many entities there are of each kind, and how many of them are stubs."""
    stubs = func.count().filter(Entity.is_stub)
    rows = await session.rows(select(Entity.kind, func.count(), stubs).group_by(Entity.kind))
    found: dict[Kind, tuple[int, int]] = {kind: (count, stub_count) for kind, count, stub_count in rows}
    return {kind: found.get(kind, (0, 0)) for kind in Kind}


async def edge_counts(session: ReadSession) -> dict[RelationshipType, tuple[int, int]]:
    """Return how many edges there are of each type, and how many of them are derived."""
    derived = func.count().filter(Influence.is_derived)
    rows = await session.rows(select(Influence.type, func.count(), derived).group_by(Influence.type))
    found: dict[RelationshipType, tuple[int, int]] = {edge_type: (count, own) for edge_type, count, own in rows}
    return {edge_type: found.get(edge_type, (0, 0)) for edge_type in RelationshipType}


async def count_all_records(session: ReadSession) -> int:
    """Return how many records there are of all sources."""
    return await session.scalar(select(func.count()).select_from(Record)) or 0


async def count_authorships(session: ReadSession) -> int:
    """Return how many pairs of a work and one of its authors there are."""
    return await session.scalar(select(func.count()).select_from(Authorship)) or 0


async def status_counts(session: ReadSession) -> dict[RunStatus, int]:
    """Return how many runs ended in each status."""
    rows = await session.rows(select(EtlRun.status, func.count()).group_by(EtlRun.status))
    found: dict[str, int] = dict(rows)
    return {status: found.get(status, 0) for status in RunStatus}


async def open_quarantine(session: ReadSession) -> dict[str, int]:
    """Return how many rows wait in quarantine, by source."""
    waiting = Quarantine.resolved_run_id.is_(None)
    rows = await session.rows(select(Quarantine.source, func.count()).where(waiting).group_by(Quarantine.source))
    return dict(rows)


async def source_states(session: ReadSession) -> list[SourceState]:
    """Return every source that was ever run, by name, with its last success and last failure."""
    successes = await _last_runs(session, (RunStatus.DONE, RunStatus.PARTIAL))
    failures = await _last_runs(session, (RunStatus.FAILED, RunStatus.INTERRUPTED, RunStatus.ABANDONED))
    waiting = await open_quarantine(session)
    seconds = func.extract("epoch", EtlRun.finished_at - EtlRun.started_at)
    summary = select(EtlRun.source, func.count(), cast(func.avg(seconds), Double)).group_by(EtlRun.source)
    return [
        SourceState(name, count, mean, successes.get(name), failures.get(name), sum_within(name, waiting))
        for name, count, mean in await session.rows(summary.order_by(EtlRun.source))
    ]


def sum_within(source: str, counts: dict[str, int]) -> int:
    """Sum the counts of a run's source: rows are named by it, or by a part of it ("sample/people")."""
    return sum(count for name, count in counts.items() if is_within(name, source))


def is_within(name: str, source: str) -> bool:
    """Tell whether rows of this name belong to a run's source."""
    return name == source or name.startswith(f"{source}/")


def _run_conditions(source: str | None, status: RunStatus | None) -> list[ColumnElement[bool]]:
    by_source = [] if source is None else [EtlRun.source == source]
    return by_source if status is None else [*by_source, EtlRun.status == status]


async def _last_runs(session: ReadSession, statuses: Sequence[RunStatus]) -> dict[str, EtlRun]:
    statement = (
        select(EtlRun)
        .where(EtlRun.status.in_(statuses))
        .ext(distinct_on(EtlRun.source))
        .order_by(EtlRun.source, EtlRun.id.desc())
    )
    return {run.source: run for run in await session.scalars(statement)}


async def _page(session: ReadSession, statement: Select[T], size: int) -> tuple[list[T], bool]:
    found = await session.scalars(statement.limit(size + 1))
    return list(found[:size]), len(found) > size
