"""The ETL in figures, for monitoring: what its runs did, by source, and the version of the data."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from db.models.operations import EtlRun
from db.operations import data_version, open_quarantine
from db.reading import ReadSession


@dataclass(frozen=True, slots=True)
class RunTotals:
    """The runs of a source that stand at a status, summed up.

    `last_run` is the number of the newest, `last_finished_at` when that one ended, None while it has not: numbers tell
    the order of runs, since a clock may be set back.
    """

    source: str
    status: str
    runs: int
    inserted: int
    updated: int
    unchanged: int
    failed: int
    last_run: int
    last_finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class EtlTotals:
    """Everything that monitoring tells of the ETL."""

    by_source_and_status: tuple[RunTotals, ...] = ()
    open_quarantine: tuple[tuple[str, int], ...] = ()
    data_version: int = 0


async def etl_totals(session: ReadSession) -> EtlTotals:
    """Sum up all runs: one statement over a row a run, one over what waits in quarantine, one for the version."""
    counts = (EtlRun.inserted, EtlRun.updated, EtlRun.unchanged, EtlRun.failed)
    statement = (
        select(
            EtlRun.source,
            EtlRun.status,
            func.count(),
            *(func.sum(count) for count in counts),
            func.max(EtlRun.id),
            func.array_agg(aggregate_order_by(EtlRun.finished_at, EtlRun.id.desc()))[1],
        )
        .group_by(EtlRun.source, EtlRun.status)
        .order_by(EtlRun.source, EtlRun.status)
    )
    rows = await session.rows(statement)
    totals = tuple(
        # The sum of bigints is a numeric.
        RunTotals(source, status, runs, int(inserted), int(updated), int(unchanged), int(failed), last, ended)
        for source, status, runs, inserted, updated, unchanged, failed, last, ended in rows
    )
    waiting = await open_quarantine(session)
    version = await data_version(session)
    return EtlTotals(totals, tuple(sorted(waiting.items())), version.version if version else 0)
