"""What the ETL did: runs, quarantined rows, reports, and the version of the data."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Identity, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base


class RunStatus(StrEnum):
    """Where a run stands. RUNNING without a process that holds its lock means it was killed."""

    RUNNING = "RUNNING"
    DONE = "DONE"
    PARTIAL = "PARTIAL"
    FAILED = "FAILED"
    INTERRUPTED = "INTERRUPTED"
    ABANDONED = "ABANDONED"


class EtlRun(Base):
    """One run of one source. processed = inserted + updated + unchanged + failed once it is finished."""

    __tablename__ = "etl_run"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    source: Mapped[str] = mapped_column(Text)
    params: Mapped[dict[str, Any]] = mapped_column(JSONB)
    status: Mapped[str] = mapped_column(Text)
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=text("now()"))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    processed: Mapped[int] = mapped_column(BigInteger, server_default="0")
    inserted: Mapped[int] = mapped_column(BigInteger, server_default="0")
    updated: Mapped[int] = mapped_column(BigInteger, server_default="0")
    unchanged: Mapped[int] = mapped_column(BigInteger, server_default="0")
    failed: Mapped[int] = mapped_column(BigInteger, server_default="0")
    retired: Mapped[int] = mapped_column(BigInteger, server_default="0")
    checkpoint: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    data_version: Mapped[int | None] = mapped_column(BigInteger)
    error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        CheckConstraint("status IN ({})".format(", ".join(f"'{status}'" for status in RunStatus)), name="status"),
        Index(None, "source", "id"),
    )


class Quarantine(Base):
    """A row that could not be loaded, as received, with the reason; open until a later run loads it."""

    __tablename__ = "quarantine"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    source: Mapped[str] = mapped_column(Text)
    external_id: Mapped[str] = mapped_column(Text)
    payload: Mapped[str] = mapped_column(Text)
    field: Mapped[str | None] = mapped_column(Text)
    value: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    run_id: Mapped[int] = mapped_column(ForeignKey("etl_run.id"))
    quarantined_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=text("now()"))
    resolved_run_id: Mapped[int | None] = mapped_column(ForeignKey("etl_run.id"))

    __table_args__ = (
        Index(
            "uq_quarantine_open",
            "source",
            "external_id",
            unique=True,
            postgresql_where=text("resolved_run_id IS NULL"),
        ),
        Index(None, "run_id"),
    )


class FigureGroup(StrEnum):
    """What a figure of a run's report counts."""

    ROWS = "ROWS"
    REJECTS = "REJECTS"
    FIELDS = "FIELDS"
    ENTITIES = "ENTITIES"
    STATEMENTS = "STATEMENTS"
    LABELS = "LABELS"
    DATES = "DATES"
    GRAPH = "GRAPH"


class RunReport(Base):
    """What a run left behind, counted at its end, beside the same counts of the source's previous finished run.

    `figures` is a list of {group, name, value, previous, odd}; `previous` is null when there is nothing to compare.
    """

    __tablename__ = "run_report"

    run_id: Mapped[int] = mapped_column(ForeignKey("etl_run.id"), primary_key=True)
    previous_run_id: Mapped[int | None] = mapped_column(ForeignKey("etl_run.id"))
    version: Mapped[int] = mapped_column(BigInteger)
    figures: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    made_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=text("now()"))


class DataVersion(Base):
    """The one row that counts changes of what readers see; raised in the transaction that publishes a run."""

    __tablename__ = "data_version"

    id: Mapped[int] = mapped_column(primary_key=True, server_default="1", autoincrement=False)
    version: Mapped[int] = mapped_column(BigInteger)
    run_id: Mapped[int | None] = mapped_column(ForeignKey("etl_run.id"))
    raised_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=text("now()"))

    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)
