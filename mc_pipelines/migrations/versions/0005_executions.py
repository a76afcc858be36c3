"""Schema of executions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from mc_pipelines.foundation.database import insert_only

revision = "0005_executions"
down_revision = "0004_decision"
branch_labels = None
depends_on = None

_FINAL = "state in ('cancelled', 'denied', 'failed', 'lost', 'succeeded')"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "execution",
        sa.Column("execution_id", sa.Uuid, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("workflow", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("manifest_digest", sa.Text, nullable=False),
        sa.Column("manifest", JSONB, nullable=False),
        sa.Column("idempotency_key", sa.Text, nullable=False, comment="as published, else the digest of the manifest"),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("tenant", "idempotency_key", name="uq_execution_tenant_idempotency_key"),
    )
    op.create_index("ix_execution_published_at", "execution", ["published_at"])
    op.create_table(
        "execution_transition",
        sa.Column("transition_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("execution_id", sa.Uuid, sa.ForeignKey("execution.execution_id"), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column(
            "fence",
            sa.BigInteger,
            nullable=False,
            comment="of the claim that wrote it; only the newest claim may write",
        ),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("detail", JSONB, nullable=False),
        sa.UniqueConstraint(
            "execution_id", "attempt", "state", name="uq_execution_transition_execution_id_attempt_state"
        ),
    )
    op.create_index(
        "uq_execution_transition_final",
        "execution_transition",
        ["execution_id"],
        unique=True,
        postgresql_where=sa.text(_FINAL),
    )
    op.create_index("ix_execution_transition_ended", "execution_transition", ["at"], postgresql_where=sa.text(_FINAL))
    op.create_table(
        "execution_receipt",
        sa.Column("execution_id", sa.Uuid, sa.ForeignKey("execution.execution_id"), primary_key=True),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("receipt_digest", sa.Text, nullable=False, comment="sha256 of the signed envelope"),
        sa.Column("path", sa.Text, nullable=False, comment="of the sealed envelope in the object store"),
        sa.Column("sealed_digest", sa.Text, nullable=False, comment="sha256 of the sealed bytes"),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_execution_receipt_recorded_at", "execution_receipt", ["recorded_at"])
    for table in ("execution", "execution_transition", "execution_receipt"):
        for statement in insert_only(table):
            op.execute(statement)


def downgrade() -> None:
    """Drop the tables."""
    for table in ("execution_receipt", "execution_transition", "execution"):
        op.drop_table(table)
