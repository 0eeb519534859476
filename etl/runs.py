"""Run records, and the lock that keeps two runs of one source apart."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from sqlalchemy import Row, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from db.errors import AtlasError
from db.models.operations import EtlRun, RunStatus
from db.session import WriteSession
from etl.source import Checkpoint
from etl.staging import SCHEMA, Counts, Staging

RESUMABLE = (RunStatus.RUNNING, RunStatus.INTERRUPTED, RunStatus.FAILED, RunStatus.PARTIAL)
NOTIFY_CHANNEL = "atlas_data_version"


class RunLockedError(AtlasError):
    """Another process is running the source."""


@asynccontextmanager
async def source_lock(engine: AsyncEngine, source: str) -> AsyncIterator[None]:
    """Hold the source's lock; raises RunLockedError when another process holds it.

    The lock is the connection's: PostgreSQL drops it with a dead holder.
    """
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        taken = await connection.execute(
            text("SELECT pg_try_advisory_lock(hashtext('etl'), hashtext(:source))"), {"source": source}
        )
        if not taken.scalar_one():
            raise RunLockedError(f"{source} is being loaded by another process: wait for it, or stop it first")
        yield


async def start(session: WriteSession, source: str, params: dict[str, Any]) -> int:
    """Record a new run and return its number."""
    result = await session.execute(
        "INSERT INTO etl_run (source, params, status) VALUES (:source, CAST(:params AS jsonb), 'RUNNING') RETURNING id",
        source=source,
        params=orjson.dumps(params).decode(),
    )
    return int(result.scalar_one())


async def unfinished(session: WriteSession, source: str | None = None) -> list[Row[Any]]:
    """Return the runs that may be resumed, newest first: id, source, params, status, checkpoint, processed."""
    query = (
        select(EtlRun.id, EtlRun.source, EtlRun.params, EtlRun.status, EtlRun.checkpoint, EtlRun.processed)
        .where(
            EtlRun.status.in_(RESUMABLE),
            func.to_regclass(func.concat(f"{SCHEMA}.run_", EtlRun.id, "_raw")).is_not(None),
        )
        .order_by(EtlRun.id.desc())
    )
    if source is not None:
        query = query.where(EtlRun.source == source)
    return list((await session.execute(query)).all())


async def abandon(session: WriteSession, run_id: int, staging: Staging) -> None:
    """Give up an unfinished run: what it staged is dropped."""
    await staging.drop(session)
    await session.execute(
        update(EtlRun)
        .where(EtlRun.id == run_id, EtlRun.status.in_((RunStatus.RUNNING, RunStatus.INTERRUPTED)))
        .values(status=RunStatus.ABANDONED, finished_at=text("now()"))
    )


async def reach(session: WriteSession, run_id: int, checkpoint: Checkpoint, processed: int) -> None:
    """Record the position after a batch, in the batch's own transaction."""
    await session.execute(update(EtlRun).where(EtlRun.id == run_id).values(checkpoint=checkpoint, processed=processed))


async def reopen(session: WriteSession, run_id: int) -> None:
    """Record that an unfinished run goes on."""
    await session.execute(
        update(EtlRun).where(EtlRun.id == run_id).values(status=RunStatus.RUNNING, finished_at=None, error=None)
    )


async def finish(session: WriteSession, run_id: int, counts: Counts, status: RunStatus, error: str | None) -> int:
    """Record how a run ended and return the data version, raised if the run changed anything."""
    changed = counts.inserted + counts.updated + counts.retired > 0
    if changed:
        await session.execute(
            "UPDATE data_version SET version = version + 1, run_id = :run, raised_at = now()", run=run_id
        )
    version = int((await session.execute("SELECT version FROM data_version")).scalar_one())
    if changed:
        # A configured source's records leave the graph as it is, and so its measures.
        await session.execute(
            "UPDATE measurement SET version = :version FROM etl_run WHERE measurement.version = :version - 1"
            " AND etl_run.id = :run AND jsonb_exists(etl_run.params, 'config')",
            version=version,
            run=run_id,
        )
    await session.execute(
        update(EtlRun)
        .where(EtlRun.id == run_id)
        .values(
            status=status,
            finished_at=text("clock_timestamp()"),
            processed=counts.processed,
            inserted=counts.inserted,
            updated=counts.updated,
            unchanged=counts.unchanged,
            failed=counts.failed,
            retired=counts.retired,
            data_version=version,
            error=error,
        )
    )
    if changed:
        await session.execute("SELECT pg_notify(:channel, :version)", channel=NOTIFY_CHANNEL, version=str(version))
    return version


async def stop(session: WriteSession, run_id: int, status: RunStatus, error: str | None = None) -> None:
    """Record that a run stopped before it was published."""
    await session.execute(
        update(EtlRun)
        .where(EtlRun.id == run_id)
        .values(status=status, error=error, finished_at=text("clock_timestamp()"))
    )
