"""measure the graph and report runs"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of measures and reports, and the indexes that lists by start and births need."""
    op.create_table(
        "measurement",
        sa.Column("id", sa.Integer(), server_default="1", autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("cycles", sa.Integer(), nullable=False),
        sa.Column("components", sa.Integer(), nullable=False),
        sa.Column("largest_component", sa.Integer(), nullable=False),
        sa.Column("unconnected", sa.Integer(), nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_measurement_one_row"),
        sa.PrimaryKeyConstraint("id", name="pk_measurement"),
    )
    op.create_table(
        "prerequisite_cycle",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_prerequisite_cycle"),
    )
    op.create_index("ix_prerequisite_cycle_size_id", "prerequisite_cycle", ["size", "id"], unique=False)
    op.create_table(
        "run_report",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("previous_run_id", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("figures", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["previous_run_id"], ["etl_run.id"], name="fk_run_report_previous_run_id"),
        sa.ForeignKeyConstraint(["run_id"], ["etl_run.id"], name="fk_run_report_run_id"),
        sa.PrimaryKeyConstraint("run_id", name="pk_run_report"),
    )
    op.create_table(
        "entity_measure",
        sa.Column("entity_id", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=True),
        sa.Column("page_rank", sa.REAL(), nullable=False),
        sa.Column("degree", sa.Integer(), nullable=False),
        sa.Column("incoming", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("outgoing", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("cycle_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["entity_id"], ["entity.id"], name="fk_entity_measure_entity_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("entity_id", name="pk_entity_measure"),
    )
    op.create_index(
        "ix_entity_measure_cycle",
        "entity_measure",
        ["cycle_id", "entity_id"],
        unique=False,
        postgresql_where=sa.text("cycle_id IS NOT NULL"),
    )
    op.create_index("ix_entity_measure_degree_entity_id", "entity_measure", ["degree", "entity_id"], unique=False)
    op.create_index(
        "ix_entity_measure_level",
        "entity_measure",
        ["level", "entity_id"],
        unique=False,
        postgresql_where=sa.text("level IS NOT NULL"),
    )
    op.create_index("ix_entity_measure_page_rank_entity_id", "entity_measure", ["page_rank", "entity_id"], unique=False)
    op.create_index(
        "ix_entity_coarse_birth",
        "entity",
        ["start_first", "id"],
        unique=False,
        postgresql_where=sa.text("kind = 'AGENT' AND start_precision < 9"),
    )
    op.create_index("ix_entity_start", "entity", ["start_first", "id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_entity_start", table_name="entity")
    op.drop_index("ix_entity_coarse_birth", table_name="entity")
    for table in ("entity_measure", "prerequisite_cycle", "measurement", "run_report"):
        op.drop_table(table)
