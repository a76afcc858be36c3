"""Schema of decision: the decision log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from mc_pipelines.foundation.database import insert_only

revision = "0004_decision"
down_revision = "0003_keys"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "policy_decision",
        sa.Column("decided_on", sa.Date, nullable=False),
        sa.Column("decision_id", sa.Uuid, nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("pack", sa.Text, nullable=False),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text),
        sa.Column("input_digest", sa.Text, nullable=False),
        sa.Column("input", JSONB, nullable=False),
        sa.Column("erased", JSONB, nullable=False),
        sa.Column("result", JSONB),
        sa.Column("error", sa.Text),
        sa.Column("engine", sa.Text, nullable=False),
        sa.Column("metrics", JSONB, nullable=False),
        sa.PrimaryKeyConstraint("decided_on", "decision_id", name="pk_policy_decision"),
    )
    op.create_index("ix_policy_decision_pack_day", "policy_decision", ["pack", "decided_on", "decided_at"])
    for statement in insert_only("policy_decision"):
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("policy_decision")
