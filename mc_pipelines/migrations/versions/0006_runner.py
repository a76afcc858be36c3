"""Schema of runner."""

from __future__ import annotations

revision = "0006_runner"
down_revision = "0005_executions"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""


def downgrade() -> None:
    """Drop the tables."""
