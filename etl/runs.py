"""Run records, and the lock that keeps two runs of one source apart."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Row, delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from db.errors import AtlasError
from db.models.operations import EtlRun, RunReport, RunStatus
from db.session import WriteSession
from etl.source import Checkpoint, Source
from etl.staging import SCHEMA, Counts, Staging

RESUMABLE = (RunStatus.RUNNING, RunStatus.INTERRUPTED, RunStatus.FAILED, RunStatus.PARTIAL)
NOTIFY_CHANNEL = "atlas_data_version"

_END = func.greatest(text("clock_timestamp()"), EtlRun.started_at)
"""When a run ends: not before it began, though the clock was set back."""


class RunLockedError(AtlasError):
    """Another process is running the source."""


class LockLostError(AtlasError):
    """The lock of a run went with its connection, so that another process may have taken the run over."""


def lock_of(source: str) -> str:
    """Return the SQL condition that a row of pg_locks is the lock of the run of a source, which is given as SQL."""
    return f"""
        locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND classid::bigint = hashtext('etl')::bigint & 4294967295
        AND objid::bigint = hashtext({source})::bigint & 4294967295 AND objsubid = 2
    """


@dataclass(frozen=True, slots=True)
class SourceLock:
    """A source's lock, and the backend that holds it: PostgreSQL drops it when either end of its connection dies."""

    source: str
    backend: int

    async def check(self, session: WriteSession) -> None:
        """Raise LockLostError unless the lock is held still; a server that was restarted has forgotten it."""
        held = await session.execute(
            f"SELECT EXISTS (SELECT FROM pg_locks WHERE pid = :backend AND {lock_of(':source')})",
            backend=self.backend,
            source=self.source,
        )
        if not held.scalar_one():
            raise LockLostError(
                f"{self.source}: the connection that held its lock is gone: PostgreSQL restarted, or the network failed"
            )


@asynccontextmanager
async def source_lock(engine: AsyncEngine, source: Source) -> AsyncIterator[SourceLock]:
    """Hold the source's lock; raises RunLockedError when another process loads the same records.

    There are two: one by the name of the run's source, by which it is seen to be alive, and one by that of the source
    whose records it makes, since rows may be loaded, replayed and made anew.
    """
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        taken = await connection.execute(
            text(
                "SELECT pg_try_advisory_lock(hashtext('etl records'), hashtext(:loads))"
                " AND pg_try_advisory_lock(hashtext('etl'), hashtext(:source)), pg_backend_pid()"
            ),
            {"source": source.name, "loads": source.loads},
        )
        is_taken, backend = taken.one()
        if not is_taken:
            raise RunLockedError(f"{source.loads} is being loaded by another process: wait for it, or stop it first")
        yield SourceLock(source.name, backend)


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


async def standing(session: WriteSession, run_id: int) -> Row[Any] | None:
    """Return the complete run (id, processed) that a run would only repeat, or None.

    It had the same parameters, no limit, and none has changed the atlas since it was published.
    """
    found = await session.execute(
        """
        SELECT earlier.id, earlier.processed FROM etl_run AS own
        JOIN etl_run AS earlier ON earlier.source = own.source AND earlier.params = own.params AND earlier.id < own.id
        WHERE own.id = :run AND earlier.status = 'DONE' AND NOT jsonb_exists(own.params, 'limit') AND NOT EXISTS (
            SELECT FROM etl_run AS other
            WHERE other.data_version > earlier.data_version AND NOT jsonb_exists(other.params, 'config')
              AND other.inserted + other.updated + other.retired > 0)
        ORDER BY earlier.id DESC LIMIT 1
        """,
        run=run_id,
    )
    return found.first()


@cache
def code_digest() -> str:
    """Return a digest of the code that loads: what it made of a file is known only as long as it stands."""
    digest = hashlib.blake2b(digest_size=8)
    root = Path(__file__).parent.parent
    for path in sorted((*root.glob("etl/**/*.py"), *root.glob("db/**/*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


async def abandon(session: WriteSession, run_id: int, staging: Staging) -> None:
    """Give up an unfinished run: what it staged is dropped."""
    await staging.drop(session)
    await session.execute(
        update(EtlRun)
        .where(EtlRun.id == run_id, EtlRun.status.in_((RunStatus.RUNNING, RunStatus.INTERRUPTED)))
        .values(status=RunStatus.ABANDONED, finished_at=_END)
    )


async def reach(session: WriteSession, run_id: int, checkpoint: Checkpoint, before: int, processed: int) -> None:
    """Record the position after a batch, in the batch's own transaction.

    Raises LockLostError when the run is no longer where the batch begins: another process goes on with it.
    """
    at = (EtlRun.id == run_id, EtlRun.processed == before)
    reached = await session.execute(update(EtlRun).where(*at).values(checkpoint=checkpoint, processed=processed))
    if reached.rowcount != 1:
        raise LockLostError(f"another process goes on with run {run_id}")


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
    # A partial run that was resumed is finished a second time, and reported on again.
    await session.execute(delete(RunReport).where(RunReport.run_id == run_id))
    await session.execute(
        update(EtlRun)
        .where(EtlRun.id == run_id)
        .values(
            status=status,
            finished_at=_END,
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
        update(EtlRun).where(EtlRun.id == run_id).values(status=status, error=error, finished_at=_END)
    )
