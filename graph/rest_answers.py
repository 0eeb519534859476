"""What the REST endpoints answer: the same rows as GraphQL's, as plain JSON; the OpenAPI document is made of these."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from db.models.operations import EtlRun, RunStatus
from db.models.records import RunQuality
from db.operations import SourceState
from db.records import RecordRow
from graph.access import Caller
from graph.schema import schema


@dataclass(frozen=True, slots=True)
class RecordAnswer:
    """A row of a source in the form that all sources share."""

    id: Annotated[str, Field(description="The source and the id there, joined by a slash.")]
    source: Annotated[str, Field(description="Where it came from.")]
    source_id: Annotated[str, Field(description="Its id there.")]
    title: Annotated[str | None, Field(description="What it is called.")]
    value: Annotated[float | None, Field(description="Its number, such as a price; null when it is not finite.")]
    description: Annotated[str | None, Field(description="What it is, in words.")]
    created_at: Annotated[datetime | None, Field(description="When it was created in its source.")]
    updated_at: Annotated[datetime | None, Field(description="When it was last updated there.")]
    attributes: Annotated[dict[str, Any], Field(description="All else that the source says of it, with every digit.")]

    @classmethod
    def of(cls, row: RecordRow) -> "RecordAnswer":
        """Make the answer of a record."""
        attributes: Any = orjson.Fragment(row.attributes)
        times = (row.created_at, row.updated_at)
        key = (f"{row.source}/{row.external_id}", row.source, row.external_id)
        return cls(*key, row.title, row.value, row.description, *times, attributes)


@dataclass(frozen=True, slots=True)
class DataAnswer:
    """A page of records."""

    data: Annotated[list[RecordAnswer], Field(description="The records.")]
    total: Annotated[int, Field(description="How many records there are on all pages.")]
    total_kind: Annotated[
        Literal["EXACT", "ESTIMATED"], Field(description="Whether `total` was counted; above 10000 it is estimated.")
    ]
    page: Annotated[int | None, Field(description="The page's number, from 1; null when it was found by `cursor`.")]
    page_size: Annotated[int, Field(description="How many records a page has.")]
    has_more: Annotated[bool, Field(description="Whether more records follow.")]
    next_cursor: Annotated[str | None, Field(description="Give it as `cursor` to go on; null at the end.")]
    request_id: Annotated[str | None, Field(description="The request's id, as in the header X-Request-ID.")]
    api_latency_ms: Annotated[float, Field(description="How long the server took, in milliseconds.")]


@dataclass(frozen=True, slots=True)
class RunAnswer:
    """A run of the ETL."""

    id: Annotated[int, Field(description="The run's number; later runs have higher ones.")]
    source: Annotated[str, Field(description="What was loaded.")]
    status: Annotated[RunStatus, Field(description="Where it stands.")]
    started_at: Annotated[datetime, Field(description="When it started.")]
    finished_at: Annotated[datetime | None, Field(description="When it ended; null while it runs.")]
    duration_seconds: Annotated[float | None, Field(description="How long it took; null while it runs.")]
    processed: Annotated[int, Field(description="Rows read.")]
    inserted: Annotated[int, Field(description="Rows that brought something new.")]
    updated: Annotated[int, Field(description="Rows that changed something.")]
    unchanged: Annotated[int, Field(description="Rows that changed nothing.")]
    failed: Annotated[int, Field(description="Rows that went to quarantine.")]
    error: Annotated[
        str | None,
        Field(description="Why it failed; null when it did not, and for callers whom GraphQL would refuse it."),
    ]

    @classmethod
    def of(cls, run: EtlRun, caller: Caller) -> "RunAnswer":
        """Make the answer of a run, for a caller."""
        seconds = None if run.finished_at is None else (run.finished_at - run.started_at).total_seconds()
        counts = (run.processed, run.inserted, run.updated, run.unchanged, run.failed)
        status = RunStatus(run.status)
        error = run.error if schema.permissions.allow(caller, "EtlRun", "error") else None
        return cls(run.id, run.source, status, run.started_at, run.finished_at, seconds, *counts, error)


@dataclass(frozen=True, slots=True)
class QualityAnswer:
    """How good the rows of a run were: shares from 0 (none) to 1 (all)."""

    run_id: Annotated[int, Field(description="The run whose rows these were.")]
    rows: Annotated[int, Field(description="How many rows were judged.")]
    completeness: Annotated[float | None, Field(description="The share of the mapped values that are there.")]
    validity: Annotated[float | None, Field(description="The share of rows that could be loaded.")]
    uniqueness: Annotated[float | None, Field(description="The share of rows with an id of their own.")]
    freshness: Annotated[float | None, Field(description="1 while the newest record is as young as promised.")]
    score: Annotated[float | None, Field(description="The mean of those that are known.")]
    drift: Annotated[list[dict[str, Any]], Field(description="Fields that are NEW, MISSING or RETYPED since before.")]
    anomalies: Annotated[list[dict[str, Any]], Field(description="Figures far from their median over earlier runs.")]

    @classmethod
    def of(cls, quality: RunQuality) -> "QualityAnswer":
        """Make the answer of a run's quality."""
        shares = (quality.completeness, quality.validity, quality.uniqueness, quality.freshness, quality.score)
        return cls(quality.run_id, quality.rows, *shares, quality.drift, quality.anomalies)


@dataclass(frozen=True, slots=True)
class SourceAnswer:
    """A source: what it has, and how its runs went."""

    source: Annotated[str, Field(description="The source's name.")]
    kind: Annotated[str | None, Field(description="rest, csv, jsonl, or atlas; null when it has no raw rows.")]
    records: Annotated[int, Field(description="How many records it has.")]
    run_count: Annotated[int, Field(description="How many runs it had.")]
    mean_duration_seconds: Annotated[float | None, Field(description="How long its runs took on average.")]
    last_success: Annotated[RunAnswer | None, Field(description="Its last run that was finished.")]
    last_failure: Annotated[RunAnswer | None, Field(description="Its last run that was not; see its `error`.")]
    open_quarantine: Annotated[int, Field(description="How many of its rows wait in quarantine.")]
    quality: Annotated[QualityAnswer | None, Field(description="How good its newest judged run was.")]

    @classmethod
    def of(
        cls, state: SourceState, caller: Caller, kind: str | None, records: int, quality: RunQuality | None
    ) -> "SourceAnswer":
        """Make the answer of a source, for a caller."""
        success, failure = (
            None if run is None else RunAnswer.of(run, caller) for run in (state.last_success, state.last_failure)
        )
        judged = None if quality is None else QualityAnswer.of(quality)
        runs = (state.run_count, state.mean_duration_seconds, success, failure)
        return cls(state.source, kind, records, *runs, state.open_quarantine, judged)


@dataclass(frozen=True, slots=True)
class StatsAnswer:
    """What there is and how it came."""

    data_version: Annotated[int | None, Field(description="It rises with every run that changes what readers see.")]
    records: Annotated[int, Field(description="How many records there are of all sources.")]
    raw_records: Annotated[int, Field(description="How many rows are kept as their sources gave them.")]
    entities: Annotated[dict[str, int], Field(description="How many entities of the graph there are, by kind.")]
    edges: Annotated[dict[str, int], Field(description="How many edges of the graph there are, by type.")]
    runs: Annotated[dict[str, int], Field(description="How many runs there are, by status.")]
    open_quarantine: Annotated[int, Field(description="How many rows wait in quarantine.")]
    sources: Annotated[list[SourceAnswer], Field(description="Every source that was ever run, by name.")]
    request_id: Annotated[str | None, Field(description="The request's id, as in the header X-Request-ID.")]
    api_latency_ms: Annotated[float, Field(description="How long the server took, in milliseconds.")]


@dataclass(frozen=True, slots=True)
class ReadyAnswer:
    """Whether queries can be answered."""

    status: Annotated[Literal["ok", "unavailable"], Field(description="Whether they can.")]
    problem: Annotated[str | None, Field(description="Why they cannot.")]
    breakers: Annotated[
        dict[str, Literal["closed", "open"]],
        Field(description="Of each dependency, whether it is left alone after failures (open)."),
    ]


@dataclass(frozen=True, slots=True)
class HealthAnswer:
    """How the server and the ETL are."""

    status: Annotated[Literal["ok", "unavailable"], Field(description="Whether queries can be answered.")]
    live: Annotated[bool, Field(description="Whether the process answers.")]
    ready: Annotated[bool, Field(description="Whether queries can be answered.")]
    problem: Annotated[str | None, Field(description="Why they cannot.")]
    db_connected: Annotated[bool, Field(description="Whether the database can be reached.")]
    last_etl_run: Annotated[RunAnswer | None, Field(description="The newest run; null before the first.")]
    etl_status: Annotated[RunStatus | None, Field(description="Where that run stands.")]
    breakers: Annotated[
        dict[str, Literal["closed", "open"]],
        Field(description="Of each dependency, whether it is left alone after failures (open)."),
    ]
