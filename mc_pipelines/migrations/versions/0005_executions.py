"""Schema of executions."""

from __future__ import annotations

revision = "0005_executions"
down_revision = "0004_decision"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""


def downgrade() -> None:
    """Drop the tables."""
