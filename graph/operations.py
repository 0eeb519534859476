"""How the data came: runs of the ETL, statistics, and the version of the data."""

from datetime import datetime
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from db import operations
from db.models import operations as models
from db.models.atlas import Kind, RelationshipType
from db.models.operations import RunStatus
from graph.context import Info
from graph.errors import check_text
from graph.pagination import Connection, check_first, connection, decode_cursor, encode_cursor, resolved
from graph.reports import RunReport
from graph.scalars import BigInt, described, given

CURSOR = "RUNS"

described(
    RunStatus,
    "RunStatus",
    "Where a run of the ETL stands.",
    {
        "RUNNING": "It is running, or was killed and waits to be resumed.",
        "DONE": "It is finished, and every row was taken.",
        "PARTIAL": "It is finished; some rows went to quarantine.",
        "FAILED": "It failed: see `error`.",
        "INTERRUPTED": "A person stopped it; it can be resumed.",
        "ABANDONED": "It was given up for a newer run of the same source.",
    },
)


def _duration(root: strawberry.Parent[models.EtlRun]) -> float | None:
    return None if root.finished_at is None else (root.finished_at - root.started_at).total_seconds()


async def _report(root: strawberry.Parent[models.EtlRun], info: Info) -> models.RunReport | None:
    return await info.context.loaders.reports_by_run.load(root.id)


@strawberry.type(description="One run of one source of the ETL.")
class EtlRun:
    """GraphQL's view of a row of `etl_run`."""

    id: BigInt = strawberry.field(description="The run's number; later runs have higher ones.")
    source: str = strawberry.field(description='What was loaded: "sample".')
    params: JSON = strawberry.field(description="With what parameters.")
    status: RunStatus = strawberry.field(description="Where it stands.")
    started_at: datetime = strawberry.field(description="When it started.")
    finished_at: datetime | None = strawberry.field(description="When it ended; null while it runs.")
    duration_seconds: float | None = resolved(_duration, "How long it took; null while it runs.")
    processed: BigInt = strawberry.field(description="Rows read: inserted, updated, unchanged and failed together.")
    inserted: BigInt = strawberry.field(description="Rows that brought something new.")
    updated: BigInt = strawberry.field(description="Rows that changed something.")
    unchanged: BigInt = strawberry.field(description="Rows that changed nothing.")
    failed: BigInt = strawberry.field(description="Rows that went to quarantine.")
    retired: BigInt = strawberry.field(
        description="Edges of earlier runs that were taken away, since a complete run no longer states them; no rows."
    )
    data_version: BigInt | None = strawberry.field(
        description="The version of the data that it published; null when it published nothing."
    )
    error: str | None = strawberry.field(description="Why it failed; null when it did not.")
    report: RunReport | None = resolved(
        _report, "What it left in the atlas, counted at its end; null for a run that is not finished."
    )


async def _run(root: strawberry.Parent[models.DataVersion], info: Info) -> models.EtlRun | None:
    return None if root.run_id is None else await info.context.loaders.runs_by_id.load(root.run_id)


@strawberry.type(description="The version of the data: what you cache is good as long as it stands.")
class DataVersion:
    """GraphQL's view of the row of `data_version`."""

    version: BigInt = strawberry.field(
        description="It rises with every run that changes what readers see, and when the graph is measured after one."
    )
    raised_at: datetime = strawberry.field(description="When it rose last.")
    run: EtlRun | None = resolved(_run, "The run that raised it; null as long as nothing was loaded.")


@strawberry.type(description="How many entities there are of a kind.")
class KindCount:
    """A count of entities."""

    kind: Kind = strawberry.field(description="The kind.")
    count: BigInt = strawberry.field(description="How many there are, stubs included.")
    stubs: BigInt = strawberry.field(description="How many of them are only mentioned by others.")


@strawberry.type(description="How many edges there are of a type.")
class TypeCount:
    """A count of edges."""

    type: RelationshipType = strawberry.field(description="The type.")
    count: BigInt = strawberry.field(description="How many there are.")
    derived: BigInt = strawberry.field(description="How many of them rest on rules alone.")


@strawberry.type(description="How many runs there are of a status.")
class StatusCount:
    """A count of runs."""

    status: RunStatus = strawberry.field(description="The status.")
    count: BigInt = strawberry.field(description="How many there are.")


@strawberry.type(description="How a source's last runs went.")
class SourceStats:
    """GraphQL's view of `SourceState`."""

    source: str = strawberry.field(description='The source: "sample".')
    last_success: EtlRun | None = strawberry.field(description="Its last run that was finished, wholly or partly.")
    last_failure: EtlRun | None = strawberry.field(description="Its last run that failed, was stopped or given up.")
    open_quarantine: BigInt = strawberry.field(description="How many of its rows wait in quarantine.")


async def _entity_counts(info: Info) -> list[KindCount]:
    counts = await operations.entity_counts(info.context.session)
    return [KindCount(kind=kind, count=count, stubs=stubs) for kind, (count, stubs) in counts.items()]  # type: ignore[arg-type]


async def _edge_counts(info: Info) -> list[TypeCount]:
    counts = await operations.edge_counts(info.context.session)
    return [TypeCount(type=edge_type, count=count, derived=own) for edge_type, (count, own) in counts.items()]  # type: ignore[arg-type]


async def _authorships(info: Info) -> int:
    return await operations.count_authorships(info.context.session)


async def _raw_records(info: Info) -> int:
    return await operations.count_raw(info.context.session, operations.RawFilter())


async def _status_counts(info: Info) -> list[StatusCount]:
    counts = await operations.status_counts(info.context.session)
    return [StatusCount(status=status, count=count) for status, count in counts.items()]  # type: ignore[arg-type]


async def _sources(info: Info) -> list[operations.SourceState]:
    return await operations.source_states(info.context.session)


async def _open_quarantine(info: Info) -> int:
    return sum((await operations.open_quarantine(info.context.session)).values())


async def _data_version(info: Info) -> models.DataVersion | None:
    return await operations.data_version(info.context.session)


@strawberry.type(description="What there is and how it came. Each field is counted only when you ask for it.")
class Stats:
    """Statistics; every field has its own statement."""

    data_version: DataVersion | None = resolved(_data_version, "The version of the data that is counted here.")
    entities: list[KindCount] = resolved(_entity_counts, "The number of entities by kind.")
    edges: list[TypeCount] = resolved(_edge_counts, "The number of edges by type.")
    authorships: BigInt = resolved(_authorships, "The number of pairs of a work and one of its authors.")
    raw_records: BigInt = resolved(_raw_records, "The number of rows kept as their sources gave them; see `data`.")
    runs: list[StatusCount] = resolved(_status_counts, "The number of runs by status.")
    sources: list[SourceStats] = resolved(_sources, "Every source that was ever run, by name.")
    open_quarantine: BigInt = resolved(_open_quarantine, "The number of rows that could not be loaded and wait.")


def _stats(info: Info) -> Stats:
    info.context.may_change()
    return Stats()


async def _etl_run(
    info: Info, id: Annotated[BigInt, strawberry.argument(description="The run's number.")]
) -> models.EtlRun | None:
    info.context.may_change()
    return await info.context.loaders.runs_by_id.load(id)


async def _etl_runs(
    info: Info,
    first: Annotated[int, strawberry.argument(description="The size of a page, up to 100.")] = 20,
    after: Annotated[str | None, strawberry.argument(description="The cursor to go on after.")] = strawberry.UNSET,
    source: Annotated[str | None, strawberry.argument(description="Only runs of this source.")] = strawberry.UNSET,
    status: Annotated[
        RunStatus | None, strawberry.argument(description="Only runs of this status.")
    ] = strawberry.UNSET,
) -> object:
    info.context.may_change()
    cursor = given(after)
    position = None if cursor is None else decode_cursor(cursor, CURSOR, int)[0]
    of_source = given(source)
    if of_source is not None:
        check_text("source", of_source)
    of_status = given(status)
    session = info.context.session
    found, has_more = await operations.run_page(session, of_source, of_status, check_first(first), position)
    return connection(
        [(encode_cursor(CURSOR, (run.id,)), run) for run in found],
        lambda: operations.count_runs(session, of_source, of_status),
        has_next=has_more,
        has_previous=position is not None,
    )


@strawberry.type
class OperationsQuery:
    """Root fields about the data itself."""

    stats: Stats = resolved(_stats, "What there is and how it came: counts, runs, sources, quarantine.")
    etl_runs: Connection[EtlRun] | None = resolved(_etl_runs, "The runs of the ETL, the newest first.")
    etl_run: EtlRun | None = resolved(_etl_run, "A run of the ETL by its number; null when there is none.")
    data_version: DataVersion | None = resolved(_data_version, "The version of the data.")
