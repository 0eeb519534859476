"""The one loop every source goes through: extract, stage raw, transform, stage, checkpoint; then publish at once."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncEngine

from db.errors import AtlasError, DatabaseUnavailableError, InvalidDateError, InvalidKeyError
from db.models.operations import RunStatus
from db.session import DATABASE_ERRORS, WriteSession, fault_of_server, one_line, write_session
from etl import runs
from etl.follow_up import follow_up
from etl.measurement import EarlyMeasures
from etl.source import Batch, Checkpoint, Prepared, RawRow, RowError, Source
from etl.staging import Changes, Counts, Load, Staging, Transactions, storable

JUDGED_FROM_ROWS = 1000
"""A share of failed rows ends a run early only once this many rows were seen."""


class TooManyFailedError(AtlasError):
    """More of a source's rows are bad than it may have."""


@dataclass(slots=True)
class Progress:
    """How far a run is, for whoever watches it."""

    total: int | None = None
    processed: int = 0
    failed: int = 0
    stage: str = "extracting"


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did: its number, how it ended and its counts."""

    run: int
    source: str
    status: RunStatus
    counts: Counts
    data_version: int | None
    problems: Sequence[str] = ()
    notes: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the report as `--json` prints it."""
        return {
            "run": self.run,
            "source": self.source,
            "status": self.status.value,
            **asdict(self.counts),
            "data_version": self.data_version,
            "problems": list(self.problems),
            "notes": list(self.notes),
        }


@dataclass(slots=True)
class Options:
    """How to run: at most `limit` rows; `dry_run` rolls everything back; `stop` asks to end after the batch."""

    limit: int | None = None
    dry_run: bool = False
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    watch: Callable[[Progress], None] | None = None


async def run(engine: AsyncEngine, source: Source, options: Options) -> Report:
    """Load a source from its start; what an unfinished earlier run of it had staged is given up."""
    async with _alone(engine, source, options) as transactions:
        async with transactions() as session:
            for earlier in await runs.unfinished(session, source.name):
                await runs.abandon(session, earlier.id, Staging(earlier.id, source.load))
            run_id = await runs.start(session, source.name, source.params() | _limit(options))
            staging = Staging(run_id, source.load)
            await staging.create(session)
        report = await _guarded(transactions, source, staging, options, None, 0)
    return await _concluded(engine, options, report, staging.early)


async def resume(engine: AsyncEngine, source: Source, options: Options, run_id: int) -> Report:
    """Go on with an unfinished run from its last checkpoint; raises AtlasError when nothing of it is left."""
    async with _alone(engine, source, options) as transactions:
        staging = Staging(run_id, source.load)
        async with transactions() as session:
            found = [row for row in await runs.unfinished(session, source.name) if row.id == run_id]
            if not found or not await staging.exists(session):
                raise AtlasError(f"run {run_id} cannot be resumed: start {source.name} anew")
            await runs.reopen(session, run_id)
        report = await _guarded(transactions, source, staging, options, found[0].checkpoint, found[0].processed)
    return await _concluded(engine, options, report, staging.early)


async def _concluded(engine: AsyncEngine, options: Options, report: Report, early: EarlyMeasures | None) -> Report:
    """Follow up a published run, once its source's lock is free."""
    if report.status in (RunStatus.DONE, RunStatus.PARTIAL) and not options.dry_run:
        _tell(options, Progress(report.counts.processed, report.counts.processed, report.counts.failed, "measuring"))
        await follow_up(engine, report.run, early)
    return report


def _tell(options: Options, progress: Progress) -> None:
    if options.watch is not None:
        options.watch(progress)


def _limit(options: Options) -> dict[str, Any]:
    return {} if options.limit is None else {"limit": options.limit}


@asynccontextmanager
async def _alone(engine: AsyncEngine, source: Source, options: Options) -> AsyncIterator[Transactions]:
    """Hold the source's lock and give a maker of transactions, each of which makes sure of the lock.

    In a dry run they are savepoints of one that is rolled back.
    """
    async with runs.source_lock(engine, source) as lock:

        @asynccontextmanager
        async def transaction() -> AsyncIterator[WriteSession]:
            async with write_session(engine) as session:
                await lock.check(session)
                yield session

        if options.dry_run:
            async with _rolled_back(engine) as savepoints:
                yield savepoints
        else:
            yield transaction


@asynccontextmanager
async def _rolled_back(engine: AsyncEngine) -> AsyncIterator[Transactions]:
    async with engine.connect() as connection:

        @asynccontextmanager
        async def savepoint() -> AsyncIterator[WriteSession]:
            async with connection.begin_nested():
                yield WriteSession(connection)

        yield savepoint
        await connection.rollback()


async def _guarded(
    transactions: Transactions,
    source: Source,
    staging: Staging,
    options: Options,
    checkpoint: Checkpoint | None,
    processed: int,
) -> Report:
    """Extract and publish, and record the failure of a run that cannot go on."""
    progress = Progress(processed=processed)
    try:
        source.attach(staging, transactions)
        progress.total = await source.count()
        stopped = await _extract(transactions, source, staging, options, checkpoint, progress)
        if stopped:
            return await _interrupted(transactions, source, staging, progress.processed)
        progress.stage = "publishing"
        _tell(options, progress)
        if options.limit is None and not source.problems:
            staging.retiring = source.speaks_for
        if not options.dry_run:
            staging.early = EarlyMeasures()
        return await _publish(transactions, source, staging, progress.processed)
    except Exception as error:
        is_left = True
        # Where the database itself is gone the run stays RUNNING without its lock, which says as much.
        with contextlib.suppress(DatabaseUnavailableError, runs.LockLostError, *DATABASE_ERRORS):
            is_left = await _failed(transactions, source, staging, error, progress)
        fault = fault_of_server(error)
        told = error if fault is None else DatabaseUnavailableError(f"{source.name}: {fault}")
        if is_left and not options.dry_run:
            told.add_note(
                f"run {staging.run_id} is unfinished: `python -m etl resume {staging.run_id}` goes on with it"
            )
        if told is error:
            raise
        raise told from error


async def _extract(
    transactions: Transactions,
    source: Source,
    staging: Staging,
    options: Options,
    checkpoint: Checkpoint | None,
    progress: Progress,
) -> bool:
    """Stage batch after batch; returns whether it was asked to stop before the source's end."""
    if checkpoint is not None and checkpoint.get("complete"):
        return False
    async with _closing(source.batches(checkpoint)) as batches:
        async for batch in batches:
            if options.limit is not None:
                batch = batch.first(max(0, options.limit - progress.processed), uncounted(source.load))
            await _stage(transactions, source, staging, batch, progress)
            _tell(options, progress)
            if options.limit is not None and progress.processed >= options.limit:
                break
            if options.stop.is_set():
                return True
    if not source.problems:
        async with transactions() as session:
            await runs.reach(session, staging.run_id, {"complete": True}, progress.processed, progress.processed)
    return False


@asynccontextmanager
async def _closing(batches: AsyncIterator[Batch]) -> AsyncIterator[AsyncIterator[Batch]]:
    try:
        yield batches
    finally:
        # Files and processes that a source holds are let go here, not whenever it is collected.
        if isinstance(batches, AsyncGenerator):
            await batches.aclose()


async def _stage(
    transactions: Transactions, source: Source, staging: Staging, batch: Batch, progress: Progress
) -> None:
    prepared = batch.prepared or prepare(source, batch.rows, progress.processed)
    failed, processed = progress.failed + len(prepared.rejects), progress.processed + prepared.processed
    try:
        _check_share(source, failed, processed, JUDGED_FROM_ROWS)
    except TooManyFailedError:
        # Of the batch that goes too far only the refusals are kept: they say what is wrong.
        async with transactions() as session:
            await staging.append(session, Prepared(0, {}, prepared.rejects))
        raise
    async with transactions() as session:
        # A crash of the server may lose the last batches, each with its checkpoint: they are then read again.
        await session.execute("SET LOCAL synchronous_commit = off")
        await staging.append(session, prepared)
        await runs.reach(session, staging.run_id, batch.checkpoint, progress.processed, processed)
    progress.failed, progress.processed = failed, processed


def prepare(source: Source, rows: Sequence[RawRow], first_number: int) -> Prepared:
    """Transform rows and make them ready to be staged, numbered from `first_number` on. Pure."""
    prepared = Prepared(0, {table.name: [] for table in source.load.tables}, [])
    not_counted = uncounted(source.load)
    if source.keeps_raw:
        prepared.tables["raw"] = [
            (number, row.source, storable(row.external_id), row.payload)
            for number, row in enumerate(rows, first_number)
        ]
    for number, row in enumerate(rows, first_number):
        try:
            made = transform(source, row)
        except RowError as error:
            prepared.rejects.append((number, row, error))
            made = []
        for target, values in made:
            prepared.tables[target].append((number, *values))
        prepared.processed += max(1, sum(target not in not_counted for target, _ in made))
    return prepared


def uncounted(load: Load) -> frozenset[str]:
    """Return the names of the staging tables whose rows do not count."""
    return frozenset(table.name for table in load.tables if not table.counts)


def transform(source: Source, row: RawRow) -> list[tuple[str, tuple[Any, ...]]]:
    """Turn a raw row into staged records; raises RowError, whatever made the row unfit."""
    return staged(source.load, lambda: source.transform(row))


def staged(load: Load, make: Callable[[], Iterable[object]]) -> list[tuple[str, tuple[Any, ...]]]:
    """Make records and stage them; raises RowError, whatever makes them unfit."""
    try:
        return [load.stage(record) for record in make()]
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or None
        value = str(first["input"])[:200] if where else None
        raise RowError(first["msg"].removeprefix("Value error, "), where, value) from error
    except (InvalidKeyError, InvalidDateError) as error:
        raise RowError(str(error)) from error


def _check_share(source: Source, failed: int, processed: int, judged_from: int) -> None:
    if processed >= judged_from and failed > processed * source.max_failed_share:
        raise TooManyFailedError(
            f"{failed} of {processed} rows of {source.name} cannot be loaded, more than"
            f" {source.max_failed_share:.0%}: nothing was published; see `python -m etl quarantine list`"
        )


async def _failed(
    transactions: Transactions, source: Source, staging: Staging, error: Exception, progress: Progress
) -> bool:
    """Record that a run failed; returns whether it can be gone on with."""
    async with transactions() as session:
        await runs.stop(session, staging.run_id, RunStatus.FAILED, one_line(error))
        is_hopeless = isinstance(error, TooManyFailedError)
        if is_hopeless:
            await staging.keep_rejects(session, source.name)
        # A run that got nowhere leaves nothing to go on from: it is begun anew.
        is_left = not is_hopeless and progress.processed > 0
        if not is_left:
            await staging.drop(session)
    return is_left


async def _interrupted(transactions: Transactions, source: Source, staging: Staging, processed: int) -> Report:
    async with transactions() as session:
        await runs.stop(session, staging.run_id, RunStatus.INTERRUPTED)
        failed = (await staging.counts(session, processed, Changes())).failed
    counts = Counts(processed, inserted=0, updated=0, unchanged=0, failed=failed, retired=0)
    return Report(staging.run_id, source.name, RunStatus.INTERRUPTED, counts, None)


async def _publish(transactions: Transactions, source: Source, staging: Staging, processed: int) -> Report:
    """Merge the whole run into the tables readers see, in one transaction."""
    async with transactions() as session:
        # One publisher at a time: merges would otherwise wait for each other's rows in any order, and deadlock.
        await session.execute("SELECT version FROM data_version FOR UPDATE")
        staged = await staging.counts(session, processed, Changes())
        _check_share(source, staged.failed, processed, judged_from=1)
        await _keep_terms(session, source)
        changes = await source.load.publish(session, staging)
        await _keep_rows(session, source, staging)
        counts = await staging.counts(session, processed, changes)
        status = RunStatus.PARTIAL if source.problems else RunStatus.DONE
        version = await runs.finish(session, staging.run_id, counts, status, "; ".join(source.problems) or None)
        if status is RunStatus.DONE:
            await staging.drop(session)
    if staging.early is not None:
        staging.early.version = version
    return Report(staging.run_id, source.name, status, counts, version, source.problems, source.notes)


async def _keep_rows(session: WriteSession, source: Source, staging: Staging) -> None:
    if source.keeps_raw:
        await staging.keep_raw(session, source.kind)
    await staging.keep_rejects(session, source.name)
    if source.keeps_raw:
        await staging.release(session)
    if staging.retiring:
        await staging.release_all(session, source.name)


async def _keep_terms(session: WriteSession, source: Source) -> None:
    for terms in source.datasets:
        await session.execute(
            "INSERT INTO dataset (name, title, url, licence, licence_url, attribution)"
            " VALUES (:name, :title, :url, :licence, :licence_url, :attribution)"
            " ON CONFLICT (name) DO UPDATE SET title = excluded.title, url = excluded.url,"
            " licence = excluded.licence, licence_url = excluded.licence_url, attribution = excluded.attribution",
            **asdict(terms),
        )
