"""Schema of executions: their present state, and every move."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from mc_pipelines.foundation.database import grant_app, insert_only

revision = "0005_executions"
down_revision = "0004_decision"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "execution",
        sa.Column("execution_id", sa.Uuid, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("workflow", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("idempotency_key", sa.Text, nullable=False),
        sa.Column("manifest_digest", sa.Text, nullable=False),
        sa.Column("manifest", JSONB, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("fence", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
        sa.Column("attempt_id", sa.Uuid),
        sa.Column("cloud", sa.Text),
        sa.Column("region", sa.Text),
        sa.Column("placement", JSONB),
        sa.Column("estimate", JSONB),
        sa.Column("lease_owner", sa.Text),
        sa.Column("lease_until", _MOMENT),
        sa.Column("not_before", _MOMENT),
        sa.Column("published_at", _MOMENT, nullable=False),
        sa.Column("claimed_at", _MOMENT),
        sa.Column("started_at", _MOMENT),
        sa.Column("finished_at", _MOMENT),
        sa.Column("receipt_path", sa.Text),
        sa.Column("receipt_digest", sa.Text),
        sa.PrimaryKeyConstraint("execution_id", name="pk_execution"),
        sa.UniqueConstraint("tenant", "idempotency_key", name="uq_execution_tenant_idempotency_key"),
    )
    op.create_index("ix_execution_queue", "execution", ["published_at"], postgresql_where=sa.text("state = 'queued'"))
    op.create_index(
        "ix_execution_leases",
        "execution",
        ["lease_until"],
        postgresql_where=sa.text("state in ('claimed', 'running')"),
    )
    op.create_index("ix_execution_tenant_published_at", "execution", ["tenant", "published_at"])
    op.execute(grant_app("execution", "select", "insert", "update"))
    op.create_table(
        "execution_transition",
        sa.Column("transition_id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("execution_id", sa.Uuid, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("state_before", sa.Text),
        sa.Column("state_after", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("transition_id", name="pk_execution_transition"),
        sa.UniqueConstraint(
            "execution_id", "fence", "state_after", name="uq_execution_transition_execution_id_fence_state_after"
        ),
    )
    for statement in insert_only("execution_transition"):
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("execution_transition")
    op.drop_table("execution")
