"""Records of any kind, such as a REST API or a CSV file has: the row as it was received, and its normal form."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, Computed, DateTime, Double, ForeignKey, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base

RAW_KINDS = ("rest", "csv", "jsonl")
"""The kinds of source with a partition of `raw_record` of their own; the rest share one."""

SORTED_CHARACTERS = 200
"""Titles are ordered by so many of their first characters: an index entry has an upper size."""


class RawRecord(Base):
    """A row as its source gave it: JSON text, since jsonb would bend numbers, key order and NUL characters.

    `is_processed` tells whether records were made of it; a row that is not stands in quarantine. Runs are never
    deleted, so `run_id` needs no foreign key, whose checks would take as long as writing the rows.
    """

    __tablename__ = "raw_record"

    source: Mapped[str] = mapped_column(Text, primary_key=True)
    external_id: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    payload: Mapped[str] = mapped_column(Text)
    content_hash: Mapped[UUID] = mapped_column(Computed("md5(payload)::uuid", persisted=True))
    is_processed: Mapped[bool] = mapped_column(Boolean)
    run_id: Mapped[int] = mapped_column(BigInteger)
    received_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=text("now()"))

    __table_args__ = ({"postgresql_partition_by": "LIST (kind)"},)


class Record(Base):
    """A row in the form that all sources share; what the form has no column for is in `attributes`.

    `value` is the nearest double to what the source states; `raw_record.payload` has it exactly.
    """

    __tablename__ = "record"

    source: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    external_id: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    title: Mapped[str | None] = mapped_column(Text)
    value: Mapped[float | None] = mapped_column(Double)
    description: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    attributes: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    run_id: Mapped[int] = mapped_column(ForeignKey("etl_run.id"))
    title_sort: Mapped[str | None] = mapped_column(
        Text(collation="C"), Computed(f"left(title, {SORTED_CHARACTERS})", persisted=True), deferred=True
    )
    document: Mapped[str] = mapped_column(
        TSVECTOR,
        Computed(
            "to_tsvector('simple'::regconfig, left(coalesce(title, ''), 100000)"
            " || ' ' || left(coalesce(description, ''), 100000))",
            persisted=True,
        ),
        deferred=True,
        deferred_raiseload=True,
    )

    __table_args__ = (
        Index(None, "source", "created_at", "external_id"),
        Index(None, "source", "updated_at", "external_id"),
        Index(None, "source", "value", "external_id"),
        Index(None, "source", "title_sort", "external_id"),
        Index("ix_record_document", "document", postgresql_using="gin"),
    )


class SourceState(Base):
    """What a source's last complete run ended with, for the next to begin from: a cursor, validators of HTTP caches."""

    __tablename__ = "source_state"

    source: Mapped[str] = mapped_column(Text, primary_key=True)
    state: Mapped[dict[str, Any]] = mapped_column(JSONB)
    run_id: Mapped[int] = mapped_column(ForeignKey("etl_run.id"))


class RecordField(Base):
    """How often a run met a field of its source's rows with values of a type (`null` is one)."""

    __tablename__ = "record_field"

    run_id: Mapped[int] = mapped_column(ForeignKey("etl_run.id"), primary_key=True)
    field: Mapped[str] = mapped_column(Text, primary_key=True)
    type: Mapped[str] = mapped_column(Text, primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)


class RunQuality(Base):
    """How good the rows of a run were, and how they differ from those of earlier runs; shares are 0 to 1.

    `drift` is a list of {field, change, before, after}; `anomalies` of {figure, value, median, score}.
    """

    __tablename__ = "run_quality"

    run_id: Mapped[int] = mapped_column(ForeignKey("etl_run.id"), primary_key=True)
    rows: Mapped[int] = mapped_column(BigInteger)
    completeness: Mapped[float | None] = mapped_column(Double)
    validity: Mapped[float | None] = mapped_column(Double)
    uniqueness: Mapped[float | None] = mapped_column(Double)
    freshness: Mapped[float | None] = mapped_column(Double)
    score: Mapped[float | None] = mapped_column(Double)
    drift: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    anomalies: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
