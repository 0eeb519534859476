"""create the atlas"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, and the schema that holds rows of unfinished runs."""
    op.execute("CREATE SCHEMA staging")
    create_operations()
    create_entity()
    create_edges()
    create_functions()


def create_operations() -> None:
    op.create_table(
        "etl_run",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("params", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("processed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("inserted", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("updated", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("unchanged", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("failed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("retired", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("checkpoint", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("data_version", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('RUNNING', 'DONE', 'PARTIAL', 'FAILED', 'INTERRUPTED', 'ABANDONED')", name="ck_etl_run_status"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_etl_run"),
    )
    op.create_index("ix_etl_run_source_id", "etl_run", ["source", "id"], unique=False)
    op.create_table(
        "data_version",
        sa.Column("id", sa.Integer(), server_default="1", autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("raised_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_data_version_one_row"),
        sa.ForeignKeyConstraint(["run_id"], ["etl_run.id"], name="fk_data_version_run_id"),
        sa.PrimaryKeyConstraint("id", name="pk_data_version"),
    )
    op.create_table(
        "raw_record",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["etl_run.id"], name="fk_raw_record_run_id"),
        sa.PrimaryKeyConstraint("source", "external_id", name="pk_raw_record"),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=True),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("quarantined_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("resolved_run_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["resolved_run_id"], ["etl_run.id"], name="fk_quarantine_resolved_run_id"),
        sa.ForeignKeyConstraint(["run_id"], ["etl_run.id"], name="fk_quarantine_run_id"),
        sa.PrimaryKeyConstraint("id", name="pk_quarantine"),
    )
    op.create_index("ix_quarantine_run_id", "quarantine", ["run_id"], unique=False)
    op.create_index(
        "uq_quarantine_open",
        "quarantine",
        ["source", "external_id"],
        unique=True,
        postgresql_where=sa.text("resolved_run_id IS NULL"),
    )
    op.execute("INSERT INTO data_version (version) VALUES (0)")


def create_entity() -> None:
    op.create_table(
        "dataset",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("licence", sa.Text(), nullable=False),
        sa.Column("licence_url", sa.Text(), nullable=False),
        sa.Column("attribution", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_dataset"),
    )
    op.create_table(
        "entity",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Enum("AGENT", "WORK", "CONCEPT", name="entity_kind"), nullable=False),
        sa.Column("is_stub", sa.Boolean(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("name_folded", sa.Text(), nullable=True),
        sa.Column("labels", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("disciplines", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("field", sa.Text(), nullable=True),
        sa.Column("work_type", sa.Text(), nullable=True),
        sa.Column("start_year", sa.BigInteger(), nullable=True),
        sa.Column("start_month", sa.SmallInteger(), nullable=True),
        sa.Column("start_day", sa.SmallInteger(), nullable=True),
        sa.Column("start_precision", sa.SmallInteger(), nullable=True),
        sa.Column("start_calendar", sa.SmallInteger(), nullable=True),
        sa.Column("start_first", sa.BigInteger(), nullable=True),
        sa.Column("start_last", sa.BigInteger(), nullable=True),
        sa.Column("end_year", sa.BigInteger(), nullable=True),
        sa.Column("end_month", sa.SmallInteger(), nullable=True),
        sa.Column("end_day", sa.SmallInteger(), nullable=True),
        sa.Column("end_precision", sa.SmallInteger(), nullable=True),
        sa.Column("end_calendar", sa.SmallInteger(), nullable=True),
        sa.Column("end_first", sa.BigInteger(), nullable=True),
        sa.Column("end_last", sa.BigInteger(), nullable=True),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "document",
            postgresql.TSVECTOR(),
            sa.Computed(
                "setweight(to_tsvector('simple'::regconfig, coalesce(name_folded, '')), 'A') || setweight(jsonb_to_tsvector('simple'::regconfig, labels, '[\"string\"]'::jsonb), 'B') || setweight(to_tsvector('english'::regconfig, coalesce(description, '')), 'C')",
                persisted=True,
            ),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["dataset"], ["dataset.name"], name="fk_entity_dataset"),
        sa.ForeignKeyConstraint(["run_id"], ["etl_run.id"], name="fk_entity_run_id"),
        sa.PrimaryKeyConstraint("id", name="pk_entity"),
        sa.UniqueConstraint("key", name="uq_entity_key"),
    )
    op.create_index(
        "ix_entity_birth_year", "entity", ["start_year"], unique=False, postgresql_where=sa.text("kind = 'AGENT'")
    )
    op.create_index("ix_entity_disciplines", "entity", ["disciplines"], unique=False, postgresql_using="gin")
    op.create_index("ix_entity_document", "entity", ["document"], unique=False, postgresql_using="gin")
    op.create_index("ix_entity_field", "entity", ["field"], unique=False, postgresql_where=sa.text("field IS NOT NULL"))
    op.create_index("ix_entity_kind_start", "entity", ["kind", "start_first", "id"], unique=False)
    op.create_index(
        "ix_entity_name_prefix",
        "entity",
        ["name_folded", "id"],
        unique=False,
        postgresql_ops={"name_folded": "text_pattern_ops"},
    )
    op.create_index(
        "ix_entity_publication_year", "entity", ["start_year"], unique=False, postgresql_where=sa.text("kind = 'WORK'")
    )


def create_edges() -> None:
    op.create_table(
        "authorship",
        sa.Column("work_id", sa.BigInteger(), nullable=False),
        sa.Column("agent_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["entity.id"], name="fk_authorship_agent_id"),
        sa.ForeignKeyConstraint(["dataset"], ["dataset.name"], name="fk_authorship_dataset"),
        sa.ForeignKeyConstraint(["run_id"], ["etl_run.id"], name="fk_authorship_run_id"),
        sa.ForeignKeyConstraint(["work_id"], ["entity.id"], name="fk_authorship_work_id"),
        sa.PrimaryKeyConstraint("work_id", "agent_id", name="pk_authorship"),
    )
    op.create_index("ix_authorship_agent_id_work_id", "authorship", ["agent_id", "work_id"], unique=False)
    op.create_table(
        "influence",
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "type",
            sa.Enum(
                "INFLUENCED",
                "PREREQUISITE_FOR",
                "BUILT_ON",
                "ASSOCIATED_WITH",
                "DERIVED_FROM",
                "PART_OF",
                "TAUGHT",
                "INVENTED_BY",
                "SUCCEEDED_BY",
                "CAUSED",
                "NAMED_AFTER",
                name="relationship_type",
            ),
            nullable=False,
        ),
        sa.Column("target_id", sa.BigInteger(), nullable=False),
        sa.Column("confidence", sa.REAL(), nullable=False),
        sa.Column("is_derived", sa.Boolean(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("provenance", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("confidence BETWEEN 0 AND 1", name="ck_influence_confidence"),
        sa.CheckConstraint("source_id <> target_id", name="ck_influence_no_loop"),
        sa.ForeignKeyConstraint(["run_id"], ["etl_run.id"], name="fk_influence_run_id"),
        sa.ForeignKeyConstraint(["source_id"], ["entity.id"], name="fk_influence_source_id"),
        sa.ForeignKeyConstraint(["target_id"], ["entity.id"], name="fk_influence_target_id"),
        sa.PrimaryKeyConstraint("source_id", "type", "target_id", name="pk_influence"),
    )
    op.create_index("ix_influence_target", "influence", ["target_id", "type", "source_id"], unique=False)


def create_functions() -> None:
    """Create what merges the provenance of an edge; Python's etl.atlas computes the same for a single statement."""
    op.execute(
        """
        CREATE FUNCTION provenance_confidence(provenance jsonb) RETURNS real
        LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN (
            SELECT round((1 - exp(sum(ln(1 - least((statement.value ->> 'confidence')::float8, 0.9999)))))::numeric, 4)
            FROM jsonb_each(provenance) AS statement
        )::real
        """
    )
    op.execute("CREATE AGGREGATE provenance_merge (jsonb) (SFUNC = jsonb_concat, STYPE = jsonb)")


def downgrade() -> None:
    for table in (
        "influence",
        "authorship",
        "entity",
        "dataset",
        "raw_record",
        "quarantine",
        "data_version",
        "etl_run",
    ):
        op.drop_table(table)
    op.execute("DROP AGGREGATE provenance_merge (jsonb)")
    op.execute("DROP FUNCTION provenance_confidence")
    op.execute("DROP TYPE relationship_type")
    op.execute("DROP TYPE entity_kind")
    op.execute("DROP SCHEMA staging CASCADE")
