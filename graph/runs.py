"""The runs of the ETL: how they went, and what they met and refused."""

from datetime import datetime
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from db import operations
from db.models import operations as models
from db.models import records
from db.models.operations import RunStatus
from db.run_details import QuarantinePage
from graph.access import Role, needs
from graph.context import Info
from graph.errors import check_text
from graph.pagination import Connection, check_first, connection, decode_cursor, encode_cursor, resolved
from graph.passed_on import passed_on
from graph.quality import RunQuality
from graph.reports import RunReport
from graph.scalars import BigInt, described, given

CURSOR = "RUNS"
QUARANTINE_CURSOR = "QUARANTINE"

ARun = strawberry.Parent[models.EtlRun]
ARefusedRow = strawberry.Parent[models.Quarantine]

PageSize = Annotated[int, strawberry.argument(description="The size of a page, up to 100.")]
After = Annotated[str | None, strawberry.argument(description="The cursor to go on after.")]

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


def duration_seconds(root: ARun) -> float | None:
    """Return how long a run took; None while it runs."""
    return None if root.finished_at is None else (root.finished_at - root.started_at).total_seconds()


async def _report(root: ARun, info: Info) -> models.RunReport | None:
    return await info.context.loaders.reports_by_run.load(root.id)


async def _quality(root: ARun, info: Info) -> records.RunQuality | None:
    return await info.context.loaders.quality_by_run.load(root.id)


async def _fields(root: ARun, info: Info) -> list[records.RecordField]:
    return await info.context.loaders.fields_by_run.load(root.id) or []


async def _quarantine(root: ARun, info: Info, first: PageSize = 20, after: After = strawberry.UNSET) -> object:
    loaders = info.context.loaders
    cursor = given(after)
    position = None if cursor is None else decode_cursor(cursor, QUARANTINE_CURSOR, int)[0]
    page = QuarantinePage(check_first(first), position or 0)
    found = await loaders.quarantine_by_run.load((root.id, page))

    async def count() -> int:
        return await loaders.quarantine_counts_by_run.load(root.id) or 0

    return connection(
        found[:first],
        lambda row: encode_cursor(QUARANTINE_CURSOR, (row.id,)),
        count,
        has_next=len(found) > first,
        has_previous=position is not None,
    )


def _payload(root: ARefusedRow) -> object:
    return passed_on(root.payload)


async def _resolved_by(root: ARefusedRow, info: Info) -> models.EtlRun | None:
    return None if root.resolved_run_id is None else await info.context.loaders.runs_by_id.load(root.resolved_run_id)


@strawberry.type(description="A field of a source's rows, as a run met it with values of one type.")
class MetField:
    """GraphQL's view of a row of `record_field`."""

    field: str = strawberry.field(description='The field\'s name in the source: "price".')
    type: str = strawberry.field(description='The type of its values: "number", "text", "null".')
    count: BigInt = strawberry.field(description="How many rows had it with values of this type.")


@strawberry.type(description="A row that could not be loaded, and why.")
class QuarantinedRow:
    """GraphQL's view of a row of `quarantine`."""

    id: BigInt = strawberry.field(description="Its number in quarantine.")
    source: str = strawberry.field(description='Where it came from: "shop", "sample/people".')
    external_id: str = strawberry.field(name="sourceId", description="Its id there, or its place when it has none.")
    field: str | None = strawberry.field(description="The field that was wrong; null when the row was as a whole.")
    value: str | None = strawberry.field(description="What was in the field.")
    reason: str = strawberry.field(description="Why it could not be loaded, in words.")
    payload: JSON = resolved(_payload, "The row as received, as JSON; a string when it is no JSON.")
    quarantined_at: datetime = strawberry.field(description="When it was put here.")
    resolved_by: "EtlRun | None" = resolved(_resolved_by, "The later run that could load it; null while it waits.")


@strawberry.type(description="One run of one source of the ETL.")
class EtlRun:
    """GraphQL's view of a row of `etl_run`."""

    id: BigInt = strawberry.field(description="The run's number; later runs have higher ones.")
    source: str = strawberry.field(description='What was loaded: "sample".')
    params: JSON = needs(Role.OPERATOR, strawberry.field(description="With what parameters."))
    status: RunStatus = strawberry.field(description="Where it stands.")
    started_at: datetime = strawberry.field(description="When it started.")
    finished_at: datetime | None = strawberry.field(description="When it ended; null while it runs.")
    duration_seconds: float | None = resolved(duration_seconds, "How long it took; null while it runs.")
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
    error: str | None = needs(Role.OPERATOR, strawberry.field(description="Why it failed; null when it did not."))
    report: RunReport | None = resolved(
        _report, "What it left in the atlas, counted at its end; null for a run that is not finished."
    )
    quality: RunQuality | None = resolved(
        _quality, "How good its rows were; null for a run that loaded no records, such as one of the graph."
    )
    fields: list[MetField] = resolved(_fields, "The fields its rows had, by name and type.")
    quarantine: Connection[QuarantinedRow] = needs(
        Role.OPERATOR,
        resolved(_quarantine, "The rows it refused, the earliest first, also those that a later run could load."),
    )


async def _etl_run(
    info: Info, id: Annotated[BigInt, strawberry.argument(description="The run's number.")]
) -> models.EtlRun | None:
    info.context.may_change()
    return await info.context.loaders.runs_by_id.load(id)


async def _etl_runs(
    info: Info,
    first: PageSize = 20,
    after: After = strawberry.UNSET,
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
        found,
        lambda run: encode_cursor(CURSOR, (run.id,)),
        lambda: operations.count_runs(session, of_source, of_status),
        has_next=has_more,
        has_previous=position is not None,
    )


@strawberry.type
class RunQuery:
    """Root fields about runs."""

    etl_runs: Connection[EtlRun] | None = resolved(_etl_runs, "The runs of the ETL, the newest first.")
    etl_run: EtlRun | None = resolved(_etl_run, "A run of the ETL by its number; null when there is none.")
