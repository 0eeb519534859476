"""keep records of any source"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Partition the raw rows by kind of source; add records, their sources' states, and the quality of runs."""
    op.execute("ALTER TABLE raw_record RENAME TO former_raw_record")
    op.execute("ALTER TABLE former_raw_record RENAME CONSTRAINT pk_raw_record TO pk_former_raw_record")
    op.create_table(
        "raw_record",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Uuid(), sa.Computed("md5(payload)::uuid", persisted=True), nullable=False),
        sa.Column("is_processed", sa.Boolean(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("source", "external_id", "kind", name="pk_raw_record"),
        postgresql_partition_by="LIST (kind)",
    )
    for kind in ("rest", "csv", "jsonl"):
        op.execute(f"CREATE TABLE raw_record_{kind} PARTITION OF raw_record FOR VALUES IN ('{kind}')")
    op.execute("CREATE TABLE raw_record_other PARTITION OF raw_record DEFAULT")
    op.execute(
        """
        INSERT INTO raw_record (kind, source, external_id, payload, is_processed, run_id, received_at)
        SELECT 'atlas', source, external_id, payload, NOT EXISTS (
            SELECT FROM quarantine WHERE quarantine.source = kept.source
                AND quarantine.external_id = kept.external_id AND resolved_run_id IS NULL
        ), run_id, received_at FROM former_raw_record AS kept
        """
    )
    op.drop_table("former_raw_record")
    op.create_table(
        "record",
        sa.Column("source", sa.Text(collation="C"), nullable=False),
        sa.Column("external_id", sa.Text(collation="C"), nullable=False),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("title_sort", sa.Text(collation="C"), sa.Computed("left(title, 200)", persisted=True), nullable=True),
        sa.Column(
            "document",
            postgresql.TSVECTOR(),
            sa.Computed(
                "to_tsvector('simple'::regconfig, left(coalesce(title, ''), 100000)"
                " || ' ' || left(coalesce(description, ''), 100000))",
                persisted=True,
            ),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["run_id"], ["etl_run.id"], name="fk_record_run_id"),
        sa.PrimaryKeyConstraint("source", "external_id", name="pk_record"),
    )
    for column in ("created_at", "updated_at", "value", "title_sort"):
        op.create_index(f"ix_record_source_{column}_external_id", "record", ["source", column, "external_id"])
    op.create_index("ix_record_document", "record", ["document"], postgresql_using="gin")
    op.create_table(
        "source_state",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("state", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["etl_run.id"], name="fk_source_state_run_id"),
        sa.PrimaryKeyConstraint("source", name="pk_source_state"),
    )
    op.create_table(
        "record_field",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["etl_run.id"], name="fk_record_field_run_id"),
        sa.PrimaryKeyConstraint("run_id", "field", "type", name="pk_record_field"),
    )
    op.create_table(
        "run_quality",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        *(
            sa.Column(name, sa.Double(), nullable=True)
            for name in ("completeness", "validity", "uniqueness", "freshness", "score")
        ),
        sa.Column("drift", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("anomalies", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["etl_run.id"], name="fk_run_quality_run_id"),
        sa.PrimaryKeyConstraint("run_id", name="pk_run_quality"),
    )


def downgrade() -> None:
    """Drop them; the raw rows go back into one table."""
    for table in ("run_quality", "record_field", "source_state", "record"):
        op.drop_table(table)
    op.execute("ALTER TABLE raw_record RENAME TO former_raw_record")
    op.execute("ALTER TABLE former_raw_record RENAME CONSTRAINT pk_raw_record TO pk_former_raw_record")
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
    op.execute(
        "INSERT INTO raw_record (source, external_id, payload, run_id, received_at)"
        " SELECT DISTINCT ON (source, external_id) source, external_id, payload, run_id, received_at"
        " FROM former_raw_record ORDER BY source, external_id, received_at DESC"
    )
    op.drop_table("former_raw_record")
