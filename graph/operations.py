"""How the data came: statistics, and the version of the data."""

from datetime import datetime

import strawberry

from db import operations
from db.models import operations as models
from db.models import records
from db.models.atlas import Kind, RelationshipType
from db.models.operations import RunStatus
from graph.context import Info
from graph.pagination import resolved
from graph.quality import RunQuality
from graph.runs import EtlRun, duration_seconds
from graph.scalars import BigInt

STATS_TTL_SECONDS = 1
"""Counts of the whole database are dear, and told of a moment anyway."""


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


ASource = strawberry.Parent[operations.SourceState]


async def _kind(root: ASource, info: Info) -> str | None:
    return await info.context.loaders.kinds_by_source.load(root.source)


async def _records(root: ASource, info: Info) -> int:
    return await info.context.loaders.record_counts_by_source.load(root.source) or 0


async def _quality(root: ASource, info: Info) -> records.RunQuality | None:
    return await info.context.loaders.quality_by_source.load(root.source)


def _last_duration(root: ASource) -> float | None:
    return None if root.last_ended is None else duration_seconds(root.last_ended)


@strawberry.type(description="How a source's runs went, and what it has.")
class SourceStats:
    """GraphQL's view of `SourceState`."""

    source: str = strawberry.field(description='The source: "sample".')
    kind: str | None = resolved(
        _kind, 'The kind of source: "rest", "csv", "jsonl", or "atlas" for the graph\'s; null when it has no raw rows.'
    )
    records: BigInt = resolved(_records, "How many records it has; a source of the graph has none.")
    run_count: BigInt = strawberry.field(description="How many runs it had.")
    mean_duration_seconds: float | None = strawberry.field(
        description="How long its runs took on average; null when none has ended."
    )
    last_duration_seconds: float | None = resolved(
        _last_duration, "How long the last run took that has ended; null when none has."
    )
    quality: RunQuality | None = resolved(
        _quality,
        "How good the rows of its newest judged run were, with drift and anomalies; null for a source of the graph.",
    )
    last_success: EtlRun | None = strawberry.field(description="Its last run that was finished, wholly or partly.")
    last_failure: EtlRun | None = strawberry.field(
        description="Its last run that failed, was stopped or given up; the reason is in `error`."
    )
    open_quarantine: BigInt = strawberry.field(description="How many of its rows wait in quarantine.")


async def _entity_counts(info: Info) -> list[KindCount]:
    counts = await operations.entity_counts(info.context.session)
    return [KindCount(kind=kind, count=count, stubs=stubs) for kind, (count, stubs) in counts.items()]  # type: ignore[arg-type]


async def _edge_counts(info: Info) -> list[TypeCount]:
    counts = await operations.edge_counts(info.context.session)
    return [TypeCount(type=edge_type, count=count, derived=own) for edge_type, (count, own) in counts.items()]  # type: ignore[arg-type]


async def _authorships(info: Info) -> int:
    return await operations.count_authorships(info.context.session)


async def _all_records(info: Info) -> int:
    return await operations.count_all_records(info.context.session)


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
    records: BigInt = resolved(_all_records, "The number of records of all sources; see `data`.")
    raw_records: BigInt = resolved(
        _raw_records, "The number of rows kept as their sources gave them; see `rawRecords`."
    )
    runs: list[StatusCount] = resolved(_status_counts, "The number of runs by status.")
    sources: list[SourceStats] = resolved(_sources, "Every source that was ever run, by name.")
    open_quarantine: BigInt = resolved(_open_quarantine, "The number of rows that could not be loaded and wait.")


def _stats(info: Info) -> Stats:
    info.context.may_change(STATS_TTL_SECONDS)
    return Stats()


@strawberry.type
class OperationsQuery:
    """Root fields about the data itself."""

    stats: Stats = resolved(_stats, "What there is and how it came: counts, runs, sources, quarantine.")
    data_version: DataVersion | None = resolved(_data_version, "The version of the data.")


@strawberry.type(description="What is told again whenever it has changed, over a WebSocket at the same address.")
class Subscription:
    """Each field asks the query of its name again; see graph.sockets."""

    data_version: DataVersion | None = strawberry.field(
        description="The version of the data: at once, and whenever it has risen. Ask again then."
    )
