"""The knowledge graph: entities of three kinds, who made which work, and the edges that lead from one to another."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    DateTime,
    Enum,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base


class Kind(StrEnum):
    """What an entity is."""

    AGENT = "AGENT"
    WORK = "WORK"
    CONCEPT = "CONCEPT"


class RelationshipType(StrEnum):
    """What an edge says; its source is always the earlier or enabling side."""

    INFLUENCED = "INFLUENCED"
    PREREQUISITE_FOR = "PREREQUISITE_FOR"
    BUILT_ON = "BUILT_ON"
    ASSOCIATED_WITH = "ASSOCIATED_WITH"
    DERIVED_FROM = "DERIVED_FROM"
    PART_OF = "PART_OF"
    TAUGHT = "TAUGHT"
    INVENTED_BY = "INVENTED_BY"
    SUCCEEDED_BY = "SUCCEEDED_BY"
    CAUSED = "CAUSED"
    NAMED_AFTER = "NAMED_AFTER"


DATE_PARTS = ("year", "month", "day", "precision", "calendar", "first", "last")


class Dataset(Base):
    """Where facts come from, and on what terms they may be used."""

    __tablename__ = "dataset"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    title: Mapped[str] = mapped_column(Text)
    url: Mapped[str] = mapped_column(Text)
    licence: Mapped[str] = mapped_column(Text)
    licence_url: Mapped[str] = mapped_column(Text)
    attribution: Mapped[str] = mapped_column(Text)


class Entity(Base):
    """An agent, a work or a concept; `start` and `end` are birth and death, publication, or first and last use."""

    __tablename__ = "entity"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(Text, unique=True)
    kind: Mapped[Kind] = mapped_column(Enum(Kind, name="entity_kind"))
    is_stub: Mapped[bool]
    name: Mapped[str | None] = mapped_column(Text)
    name_folded: Mapped[str | None] = mapped_column(Text)
    labels: Mapped[dict[str, str]] = mapped_column(JSONB, server_default="{}")
    description: Mapped[str | None] = mapped_column(Text)
    disciplines: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    field: Mapped[str | None] = mapped_column(Text)
    work_type: Mapped[str | None] = mapped_column(Text)
    start_year: Mapped[int | None] = mapped_column(BigInteger)
    start_month: Mapped[int | None] = mapped_column(SmallInteger)
    start_day: Mapped[int | None] = mapped_column(SmallInteger)
    start_precision: Mapped[int | None] = mapped_column(SmallInteger)
    start_calendar: Mapped[int | None] = mapped_column(SmallInteger)
    start_first: Mapped[int | None] = mapped_column(BigInteger)
    start_last: Mapped[int | None] = mapped_column(BigInteger)
    end_year: Mapped[int | None] = mapped_column(BigInteger)
    end_month: Mapped[int | None] = mapped_column(SmallInteger)
    end_day: Mapped[int | None] = mapped_column(SmallInteger)
    end_precision: Mapped[int | None] = mapped_column(SmallInteger)
    end_calendar: Mapped[int | None] = mapped_column(SmallInteger)
    end_first: Mapped[int | None] = mapped_column(BigInteger)
    end_last: Mapped[int | None] = mapped_column(BigInteger)
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    dataset: Mapped[str] = mapped_column(ForeignKey("dataset.name"))
    run_id: Mapped[int] = mapped_column(ForeignKey("etl_run.id"))
    document: Mapped[str] = mapped_column(
        TSVECTOR,
        Computed(
            "setweight(to_tsvector('simple'::regconfig, coalesce(name_folded, '')), 'A')"
            " || setweight(jsonb_to_tsvector('simple'::regconfig, labels, '[\"string\"]'::jsonb), 'B')"
            " || setweight(to_tsvector('english'::regconfig, coalesce(description, '')), 'C')",
            persisted=True,
        ),
        deferred=True,
        deferred_raiseload=True,
    )

    __mapper_args__ = {"polymorphic_on": "kind"}  # noqa: RUF012 (SQLAlchemy's declarative form)
    __table_args__ = (
        Index("ix_entity_kind_start", "kind", "start_first", "id"),
        Index("ix_entity_start", "start_first", "id"),
        Index(
            "ix_entity_coarse_birth",
            "start_first",
            "id",
            # Precision 9 is the year: see db.dates.Precision.
            postgresql_where=text("kind = 'AGENT' AND start_precision < 9"),
        ),
        Index("ix_entity_birth_year", "start_year", postgresql_where=text("kind = 'AGENT'")),
        Index("ix_entity_publication_year", "start_year", postgresql_where=text("kind = 'WORK'")),
        Index("ix_entity_field", "field", postgresql_where=text("field IS NOT NULL")),
        Index("ix_entity_disciplines", "disciplines", postgresql_using="gin"),
        Index("ix_entity_name_prefix", "name_folded", "id", postgresql_ops={"name_folded": "text_pattern_ops"}),
        Index("ix_entity_document", "document", postgresql_using="gin"),
    )


class Agent(Entity):
    """A person or group that did something."""

    __mapper_args__ = {"polymorphic_identity": Kind.AGENT}  # noqa: RUF012


class Work(Entity):
    """Something made: a book, a painting, a machine."""

    __mapper_args__ = {"polymorphic_identity": Kind.WORK}  # noqa: RUF012


class Concept(Entity):
    """An idea, a field or a skill."""

    __mapper_args__ = {"polymorphic_identity": Kind.CONCEPT}  # noqa: RUF012


class Authorship(Base):
    """That an agent made a work."""

    __tablename__ = "authorship"

    work_id: Mapped[int] = mapped_column(ForeignKey("entity.id"), primary_key=True)
    agent_id: Mapped[int] = mapped_column(ForeignKey("entity.id"), primary_key=True)
    dataset: Mapped[str] = mapped_column(ForeignKey("dataset.name"))
    run_id: Mapped[int] = mapped_column(ForeignKey("etl_run.id"))

    __table_args__ = (Index(None, "agent_id", "work_id"),)


class Influence(Base):
    """An edge, with every statement it rests on.

    `provenance` maps "dataset/rule" to {confidence, derived, statement}: merging two edges merges the maps, in
    whatever order they arrive. `confidence` is that at least one of the statements holds, taken as independent.
    """

    __tablename__ = "influence"

    # The column order serves look-ups by source and type; the index below is its mirror.
    source_id: Mapped[int] = mapped_column(ForeignKey("entity.id"), primary_key=True)
    type: Mapped[RelationshipType] = mapped_column(Enum(RelationshipType, name="relationship_type"), primary_key=True)
    target_id: Mapped[int] = mapped_column(ForeignKey("entity.id"), primary_key=True)
    confidence: Mapped[float] = mapped_column(REAL)
    is_derived: Mapped[bool]
    note: Mapped[str | None] = mapped_column(Text)
    provenance: Mapped[dict[str, Any]] = mapped_column(JSONB)
    run_id: Mapped[int] = mapped_column(ForeignKey("etl_run.id"))

    __table_args__ = (
        CheckConstraint("confidence BETWEEN 0 AND 1", name="confidence"),
        CheckConstraint("source_id <> target_id", name="no_loop"),
        Index("ix_influence_target", "target_id", "type", "source_id"),
    )


class Measurement(Base):
    """The one row that tells which graph the measures are of; none before the first.

    `version` is the data version whose graph they describe: they are current as long as it is the newest. The
    fingerprint is of the entities' ids and the edges, whatever else the records say.
    """

    __tablename__ = "measurement"

    id: Mapped[int] = mapped_column(primary_key=True, server_default="1", autoincrement=False)
    version: Mapped[int] = mapped_column(BigInteger)
    fingerprint: Mapped[str] = mapped_column(Text)
    cycles: Mapped[int] = mapped_column(Integer)
    components: Mapped[int] = mapped_column(Integer)
    largest_component: Mapped[int] = mapped_column(Integer)
    unconnected: Mapped[int] = mapped_column(Integer)
    measured_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=text("now()"))

    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)


class PrerequisiteCycle(Base):
    """Entities each of which is, directly or not, a prerequisite of every other; `id` is the least of their ids."""

    __tablename__ = "prerequisite_cycle"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(Integer)

    __table_args__ = (Index(None, "size", "id"),)


class EntityMeasure(Base):
    """Where an entity stands in the graph, as of the measurement's version; `etl.measures` has the formulas.

    `incoming` and `outgoing` map a relationship type to the number of its edges; types without any are left out.
    """

    __tablename__ = "entity_measure"

    entity_id: Mapped[int] = mapped_column(ForeignKey("entity.id", ondelete="CASCADE"), primary_key=True)
    level: Mapped[int | None] = mapped_column(Integer)
    page_rank: Mapped[float] = mapped_column(REAL)
    degree: Mapped[int] = mapped_column(Integer)
    incoming: Mapped[dict[str, int]] = mapped_column(JSONB)
    outgoing: Mapped[dict[str, int]] = mapped_column(JSONB)
    # Without a foreign key: cycle and members are replaced in one transaction, and a check a row would double its time.
    cycle_id: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (
        Index("ix_entity_measure_level", "level", "entity_id", postgresql_where=text("level IS NOT NULL")),
        Index(None, "page_rank", "entity_id"),
        Index(None, "degree", "entity_id"),
        Index("ix_entity_measure_cycle", "cycle_id", "entity_id", postgresql_where=text("cycle_id IS NOT NULL")),
    )
